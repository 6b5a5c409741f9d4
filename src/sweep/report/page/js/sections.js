// What is said of the whole sweep: where its time went, what failed alike, and how much is noise.
const CAUSES_AT_ONCE = 12;
const MOST_EAGER = 60;
const FLOOR = DATA.floor ?? { share: 0, bound: null, trials: 0 };

/** Seconds per phase of sums in the order of DATA.phases; `other` is what they do not tell of the total. */
function phased(sums) {
  const by = Object.fromEntries(DATA.phases.map((name, place) => [name, sums[place]]));
  const parts = PHASES.map((name) => [name, by[name]]);
  return [...parts, ["other", Math.max(0, by.total - d3.sum(parts, ([, seconds]) => seconds))]];
}

function Phases() {
  const families = Object.entries(DATA.seconds).filter(([, sums]) => d3.sum(sums) > 0);
  if (!families.length) return null;
  const all = DATA.phases.map((_, place) => d3.sum(families, ([, sums]) => sums[place]));
  const whole = all[DATA.phases.indexOf("total")];
  const waited = all[DATA.phases.indexOf("waited")];
  const lines = d3.sort(families, ([, sums]) => -d3.sum(phased(sums), ([, seconds]) => seconds));
  const longest = d3.max(lines, ([, sums]) => d3.sum(phased(sums), ([, seconds]) => seconds));
  return html`<section aria-labelledby="phases-title">
    <h2 id="phases-title">Where the time went</h2>
    <p class="soft wide">${duration(whole)} in cells' processes${waited ? `, and ${duration(waited)} in which they stood still so that others could measure` : ""}.
      Phases are those of each cell's first process; other is starting, ending and the later processes.</p>
    <${Stacked} parts=${phased(all)} label="Seconds per phase of the whole sweep" />
    <ul class="keys">${phased(all).map(([name, seconds]) => html`<li><span class=${`swatch p-${name}`}></span>${words(name)} <b>${duration(seconds)}</b></li>`)}</ul>
    <h3>By family of engine</h3>
    <div class="families">${lines.map(([name, sums]) => {
      const parts = phased(sums);
      const seconds = d3.sum(parts, ([, one]) => one);
      return html`<div class="family"><span>${name}</span><div style=${{ width: `${(100 * seconds) / longest}%` }}>
        <${Stacked} parts=${parts} label=${`Seconds per phase of ${name}`} /></div><b>${duration(seconds)}</b></div>`;
    })}</div>
    <${AsTable} headings=${["family", ...phased(all).map(([name]) => words(name))]}
      rows=${[["all", all], ...lines].map(([name, sums]) => [name, ...phased(sums).map(([, seconds]) => duration(seconds))])} />
  </section>`;
}

function Cause({ number }) {
  const [status, reason, text, count, cells] = DATA.causes[number];
  const only = () => {
    refilter({ text: "", model: "", device: "", family: "", status: "", cause: String(number) });
    document.getElementById("cells").scrollIntoView();
    document.getElementById("filter-text").focus({ preventScroll: true });
  };
  return html`<li><p><span class="verdict"><${Glyph} status=${status} /> ${status}/${reason}</span> ${text}</p>
    <p class="soft"><button type="button" class="chip" onClick=${only} id=${`cause-${number}`}>${count.toLocaleString("en")} cell${count === 1 ? "" : "s"}</button>
      ${cells.map(([id, name]) => BY_ID.has(id) ? html`<a href=${`#cell=${encodeURIComponent(id)}`} data-cell=${id}>${name}</a> ` : html`<span>${name}</span> `)}
      ${count > cells.length ? "…" : ""}</p></li>`;
}

function Causes() {
  const [shown, setShown] = useState(CAUSES_AT_ONCE);
  const order = useMemo(() => {
    const left = d3.range(DATA.causes.length).filter((number) => DATA.causes[number][3]); // a cell's newer row may be ok
    return d3.sort(left, (number) => -DATA.causes[number][3]);
  }, []);
  return html`<section aria-labelledby="causes-title">
    <h2 id="causes-title">What is not ok, by cause</h2>
    ${!order.length && html`<p class="quiet">Every row is ok.</p>`}
    <ol class="causes">${order.slice(0, shown).map((number) => html`<${Cause} key=${number} number=${number} />`)}</ol>
    ${shown < order.length && html`<p class="more"><button type="button" onClick=${() => setShown(shown * 4)}>Show more</button>
      <span class="soft">${shown} of ${order.length} causes</span></p>`}
  </section>`;
}

function noiseChart(rows, width) {
  const narrow = width < 560;
  const low = (row) => part(row, "speedup").low;
  const high = (row) => part(row, "speedup").high;
  const titles = new Map(rows.map((row) => [row.id, row.group.title]));
  const trials = rows.flatMap((row) => quotients(row).map((trial) => ({ id: row.id, ...trial })));
  const untold = rows.filter((row) => row.trials === null); // rows of the first version hold no trials
  return Plot.plot({
    ...{ width, height: rows.length * 22 + 68, marginTop: 48, marginLeft: narrow ? 132 : 300, marginRight: 24, style: LOOK },
    x: { label: "eager over eager", axis: "top", labelOffset: 40, grid: true, ticks: width / 110 },
    y: { domain: rows.map((row) => row.id), label: null, tickSize: 0, tickFormat: (id) => fitted(titles.get(id), narrow ? 17 : 44) },
    marks: [
      Plot.rect([0], { x1: 1 - FLOOR.share, x2: 1 + FLOOR.share, fill: "var(--accent)", fillOpacity: 0.1 }),
      Plot.ruleX([1], { stroke: "var(--eager)", strokeDasharray: "4 3" }),
      Plot.ruleY(rows, { y: "id", x1: low, x2: high, stroke: "var(--accent)", strokeWidth: 2 }),
      Plot.dot(untold, { y: "id", x: "speedup", fill: "var(--accent)", r: 4 }),
      Plot.dot(trials, {
        ...{ y: "id", x: "value", r: 3.5, stroke: "var(--accent)" },
        fill: (trial) => (trial.disturbed ? "var(--bg)" : "var(--accent)"),
      }),
    ],
  });
}

function Noise({ said }) {
  const eager = d3.sort(ROWS.filter((row) => row.conversion === "EAGER" && row.status === "ok"), (row) => -Math.abs(row.speedup - 1));
  const rows = eager.slice(0, MOST_EAGER);
  return html`<section aria-labelledby="noise-title">
    <h2 id="noise-title">How much is noise</h2>
    <p class="wide">${said}</p>
    ${rows.length > 0 && html`<figure>
      <${Chart} deps=${[]} draw=${(width) => noiseChart(rows, width)}
        label=${`Speed-up of eager over itself in ${rows.length} groups. ${said}`} />
      <figcaption>EAGER against itself: each dot is a trial, hollow where it was disturbed; lines are 95 % intervals of rows; the
        band is the noise floor${FLOOR.bound === null ? "" : ", one standard deviation either side"}.
        ${eager.length > rows.length ? ` The ${rows.length} furthest from 1 of ${eager.length}.` : ""}</figcaption>
      <${AsTable} headings=${["group", "speed-up", "from", "to", "trials"]}
        rows=${rows.map((row) => [
          ...[row.group.title, row.disturbed ? `(${row.speedup.toFixed(3)})` : row.speedup.toFixed(3)],
          ...["low", "high"].map((name) => part(row, "speedup")[name].toFixed(3)), row.said.trials,
        ])} />
    </figure>`}
  </section>`;
}
