// Conversions down, groups across: one glance at everything.
const GROUPS_A_PAGE = 24;
const STEPS = [1, 1.25, 1.75, 2.5, Infinity];

const MARKS = { same: "≈", undecided: "?", disturbed: "!" };

/** How far from eager, in four steps either way; only what is proved and decided has a colour. */
function heat(row) {
  if (row.status !== "ok" || row.speedup === null) return "";
  if (row.disturbed) return "disturbed";
  if (row.decision !== "faster" && row.decision !== "slower") return row.decision;
  const faster = row.decision === "faster";
  const times = faster ? row.speedup : 1 / row.speedup;
  return `${row.decision}-${STEPS.findIndex((step) => times < step) || 1}`;
}

/** Names of conversions, the fastest at the median of their groups first, those never measured last. */
const CONVERSIONS = (() => {
  const proved = d3.rollup(
    ROWS.filter(ranks), (rows) => d3.median(rows, (row) => row.speedup), (row) => row.conversion,
  );
  const measured = d3.rollup(ROWS, (rows) => rows.some((row) => row.p50 !== null), (row) => row.conversion);
  const order = (name) => proved.get(name) ?? (measured.get(name) ? 0 : -1);
  return kinds("conversion").sort((a, b) => order(b) - order(a));
})();

/** What the matrix says elsewhere, but for the word of which a mark stands. */
const cellText = (row) => (row.speedup === null ? row.reason : row.said.speedup.replace(/^(same|undecided) /, ""));

/** A cell in words, for those who hear it. */
function cellSaid(row) {
  const words = [row.verdict, row.standing].filter(Boolean).join(" ");
  return row.speedup === null ? words : `${words}, ${row.said.speedup}`;
}

/** No component: there are very many of them. */
function matrixCell(rows, group, conversion) {
  if (!rows) return html`<td tabindex="-1" class="empty" aria-label=${`${conversion}, ${group.title}: not here`}></td>`;
  const [row] = rows;
  const shade = heat(row);
  const glyph = MARKS[shade] ?? DATA.glyphs[row.status];
  const more = rows.length > 1 ? html` <span class="soft">+${rows.length - 1}</span>` : "";
  return html`<td tabindex="-1" id=${`m-${row.number}`} data-row=${row.number} class=${`s-${row.status} ${shade}`}
    aria-label=${`${conversion}, ${group.title}: ${cellSaid(row)}`}>
    <i aria-hidden="true">${glyph}</i>${cellText(row)}${more}</td>`;
}

/** Of each conversion shown, its rows by group, the best of each first. */
function laidOut(rows, groups) {
  const places = new Map(groups.map((group, place) => [group, place]));
  const lines = new Map();
  for (const row of rows) {
    const place = places.get(row.group);
    if (place === undefined) continue;
    if (!lines.has(row.conversion)) lines.set(row.conversion, new Array(groups.length));
    const line = lines.get(row.conversion);
    (line[place] ??= []).push(row);
  }
  return CONVERSIONS.filter((name) => lines.has(name)).map((name) => [name, lines.get(name)]);
}

const MOVES = {
  ...{ ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] },
  ...{ Home: [0, -Infinity], End: [0, Infinity], PageUp: [-10, 0], PageDown: [10, 0] },
};

/** Arrow keys go from cell to cell, of which one at a time is in the order of tabs. */
function useRoving(table) {
  const active = useRef(null);
  const take = (cell, focus) => {
    if (active.current) active.current.tabIndex = -1;
    active.current = cell;
    if (!cell) return;
    cell.tabIndex = 0;
    if (focus) cell.focus();
  };
  useLayoutEffect(() => {
    if (!active.current?.isConnected) take(table.current.querySelector("tbody td"));
  });
  const onKeyDown = (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      cell.click();
    }
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    const lines = table.current.tBodies[0].rows;
    const within = (number, most) => Math.max(0, Math.min(number, most - 1));
    const line = lines[within(cell.parentNode.rowIndex - 1 + move[0], lines.length)];
    take(line.cells[1 + within(cell.cellIndex - 1 + move[1], line.cells.length - 1)], true);
  };
  return { onKeyDown, onFocusIn: (event) => event.target.matches("td") && take(event.target) };
}

function Legend() {
  const shades = ["slower-4", "slower-3", "slower-2", "slower-1", "same", "faster-1", "faster-2", "faster-3", "faster-4"];
  return html`<ul class="legend" aria-label="Legend">
    <li>slower <span class="scale">${shades.map((shade) => html`<span class=${shade}>${MARKS[shade] ?? ""}</span>`)}</span>
      faster, in steps at ${STEPS.slice(1, -1).map((step) => `${step}x`).join(", ")}</li>
    ${Object.entries(MARKS).map(([word, mark]) => html`<li><span class="glyph" aria-hidden="true">${mark}</span> ${word}</li>`)}
    ${DATA.statuses.map((status) => html`<li><${Glyph} status=${status} /> ${status}</li>`)}
  </ul>`;
}

function Matrix({ rows, page }) {
  const table = useRef();
  const roving = useRoving(table);
  const groups = useMemo(() => [...new Set(rows.map((row) => row.group))], [rows]);
  const pages = Math.max(1, Math.ceil(groups.length / GROUPS_A_PAGE));
  const at = Math.max(0, Math.min(Number(page) || 0, pages - 1));
  const shown = groups.slice(at * GROUPS_A_PAGE, (at + 1) * GROUPS_A_PAGE);
  const lines = laidOut(rows, shown);
  const onClick = (event) => {
    const cell = event.target.closest("td[data-row]");
    if (cell) open(ROWS[cell.dataset.row], cell);
  };
  return html`<section aria-labelledby="matrix-title">
    <h2 id="matrix-title">Matrix</h2>
    <p class="soft wide">Speed-up over eager, each conversion in each group; in brackets where that is not proved, was
      disturbed, or decides nothing. Arrow keys move, Enter opens.</p>
    <${Legend} />
    ${pages > 1 && html`<div class="pager">
      <button type="button" id="groups-before" disabled=${at === 0} onClick=${() => update({ page: String(at - 1) })}>‹ before</button>
      <span>groups ${at * GROUPS_A_PAGE + 1}–${at * GROUPS_A_PAGE + shown.length} of ${groups.length}</span>
      <button type="button" id="groups-after" disabled=${at === pages - 1} onClick=${() => update({ page: String(at + 1) })}>after ›</button>
    </div>`}
    <div class="scroll tall" id="matrix-scroll"><table class="matrix" role="grid" aria-labelledby="matrix-title" ref=${table}
      onClick=${onClick} ...${roving}>
      <thead><tr><th scope="col">conversion</th>${shown.map(
        (group) => html`<th scope="col"><b>${group.model}</b> <span>${group.device}</span> <small>${group.setting}</small></th>`,
      )}</tr></thead>
      <tbody>${lines.map(
        ([name, line]) => html`<tr key=${name}><th scope="row">${name}</th>${shown.map(
          (group, place) => matrixCell(line[place], group, name),
        )}</tr>`,
      )}</tbody>
    </table></div>
    ${!lines.length && html`<p class="quiet">No cell is like that.</p>`}
  </section>`;
}
