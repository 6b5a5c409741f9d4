// Small things that several sections are made of.
const Glyph = ({ status }) => html`<span class=${`glyph s-${status}`} aria-hidden="true">${DATA.glyphs[status]}</span>`;

const Verdict = ({ row }) => html`<span class="verdict"><${Glyph} status=${row.status} /> ${row.verdict}</span>`;

/** A number as a person reads it: three digits that count, and no more zeros than needed. */
function figure(number, digits = 3) {
  if (number === null || number === undefined) return "–";
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size < 1e-3) return number.toExponential(1);
  return number.toLocaleString("en", size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: digits });
}

/** The beginning and the end of a name that is longer than there is room for: both tell names apart. */
function fitted(name, most) {
  const half = Math.floor((most - 1) / 2);
  return name.length <= most ? name : `${name.slice(0, half)}…${name.slice(-half)}`;
}

function duration(seconds) {
  if (seconds < 90) return `${seconds < 10 ? figure(seconds, 2) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** Names and values side by side; what has no value is left out. */
function Pairs({ of }) {
  const shown = of.filter(([, said]) => said !== null && said !== undefined && said !== "");
  if (!shown.length) return null;
  return html`<dl class="pairs">${shown.map(([name, said]) => html`<div><dt>${name}</dt><dd>${said}</dd></div>`)}</dl>`;
}

/** The same figures as a chart, for those who would rather read. */
function AsTable({ headings, rows }) {
  return html`<details class="as-table"><summary>Show as table</summary>
    <div class="scroll" role="region" aria-label="The chart's figures" tabindex="0"><table>
      <thead><tr>${headings.map((name, at) => html`<th scope="col" class=${at ? "n" : ""}>${name}</th>`)}</tr></thead>
      <tbody>${rows.map(
        ([name, ...rest]) => html`<tr><th scope="row">${name}</th>${rest.map((said) => html`<td class="n">${said}</td>`)}</tr>`,
      )}</tbody>
    </table></div></details>`;
}

/** A chart that `draw(width)` makes, again whenever its width changes; `onPick` is told the datum under a click. */
function Chart({ draw, label, deps, onPick }) {
  const box = useRef();
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const fit = () => setWidth(Math.max(280, Math.floor(box.current.clientWidth)));
    const watch = new ResizeObserver(fit);
    watch.observe(box.current);
    fit();
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!width) return;
    const chart = draw(width);
    const svg = chart.matches("svg") ? chart : chart.querySelector("svg:last-of-type");
    for (const inner of chart.querySelectorAll("[aria-label]")) inner.removeAttribute("aria-label"); // one image, one label
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    box.current.replaceChildren(chart);
    if (onPick) chart.addEventListener("click", () => chart.value && onPick(chart.value));
  }, [width, ...deps]);
  return html`<div class="chart" ref=${box}></div>`;
}

const LOOK = { background: "transparent", color: "var(--ink-soft)", fontFamily: "inherit", fontSize: "11.5px", overflow: "visible" };
const TIP = { fill: "var(--raised)", stroke: "var(--line-strong)", fontSize: 12 };
