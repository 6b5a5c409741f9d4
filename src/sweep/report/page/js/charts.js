// Charts of one group: what speed costs in fidelity, and how latencies are spread.
const SHAPES = { ok: "circle", mismatch: "times", unproved: "diamond" };
const colour = (row) => (ranks(row) ? "var(--accent)" : row.status === "ok" ? "var(--skipped)" : `var(--${row.status === "unproved" ? "unproved" : "mismatch"})`);
const heard = (row) => [row.verdict, row.standing].filter(Boolean).join(" ");

/** Points with an error of 0 stand a decade left of the least other one: a log scale has no place for 0. */
function zeroAt(rows) {
  const least = d3.min(rows, (row) => row.error || undefined);
  return 10 ** Math.floor(Math.log10(least ?? 1e-7) - 1);
}

/** Rows that none is both faster and nearer than, nearest first. */
function pareto(rows) {
  const front = [];
  for (const row of d3.sort(rows.filter(ranks), (one) => one.error, (one) => one.p50))
    if (!front.length || row.p50 < front.at(-1).p50) front.push(row);
  return front;
}

/** Of the points of a front, those whose names would not lie on one another; the ends first. */
function labelled(front, x) {
  const across = (row) => Math.log10(x(row));
  const up = (row) => Math.log10(row.p50);
  const wide = (d3.max(front, across) - d3.min(front, across)) * 0.4;
  const high = (d3.max(front, up) - d3.min(front, up)) * 0.16;
  const kept = [];
  for (const row of [front[0], front.at(-1), ...front.slice(1, -1)])
    if (row && kept.every((one) => Math.abs(across(one) - across(row)) > wide || Math.abs(up(one) - up(row)) > high)) kept.push(row);
  return kept;
}

/** Whole powers of ten for an axis, as many as there is room for. */
function decades(values, width) {
  const [from, to] = d3.extent(values, (value) => Math.round(Math.log10(value)));
  const step = Math.ceil((to - from + 1) / (width / 70));
  return d3.range(from, to + 1, step).map((power) => Number(`1e${power}`));
}

function fidelityChart(rows, front, width) {
  const zero = zeroAt(rows);
  const x = (row) => row.error || zero;
  const said = (row) => `${row.conversion}\n${heard(row)}\np50 ${row.said.p50} ms, ${row.said.speedup}\nrel. error ${row.said.error}`;
  const middle = d3.mean(d3.extent(rows, (row) => Math.log(x(row)))); // names grow towards it
  const hasZero = rows.some((row) => row.error === 0);
  return Plot.plot({
    ...{ width, height: Math.min(420, Math.max(280, width * 0.55)), marginLeft: 52, marginRight: 24, marginBottom: 42, inset: 14, style: LOOK },
    x: { type: "log", label: "relative error", grid: true, ticks: decades(rows.map(x), width), tickFormat: (value) => (hasZero && value <= zero * 1.01 ? "0" : d3.format(".0e")(value)) },
    y: { type: "log", label: "p50 ms", grid: true, tickFormat: "~r", ticks: 6 },
    symbol: { domain: Object.keys(SHAPES), range: Object.values(SHAPES) },
    marks: [
      Plot.line(front, { x, y: "p50", stroke: "var(--accent)", strokeWidth: 1.5, curve: "step-after", strokeOpacity: 0.7 }),
      Plot.dot(rows, {
        ...{ x, y: "p50", symbol: "status", r: 4.5, strokeWidth: 1.5 },
        stroke: colour,
        fill: (row) => (front.includes(row) ? "var(--accent)" : "var(--surface)"),
      }),
      ...["start", "end"].map((textAnchor) => Plot.text(
        width > 500 ? labelled(front, x).filter((row) => (textAnchor === "end") === Math.log(x(row)) > middle) : [],
        {
          ...{ x, y: "p50", text: (row) => fitted(row.conversion, 40), dy: -12, fill: "var(--ink)", stroke: "var(--bg)" },
          ...{ strokeWidth: 4, textAnchor, fontSize: 11 },
        },
      )),
      Plot.tip(rows, Plot.pointer({ x, y: "p50", title: said, ...TIP })),
    ],
  });
}

const mark = (row) => (row.status !== "ok" ? "≠ " : row.disturbed ? "! " : "");

function latencyRows(rows, width) {
  const narrow = width < 560;
  const names = rows.map((row) => row.id);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const of = (name) => (row) => part(row, "latency_ms")[name];
  const said = (row) => `${row.conversion}\n${heard(row)}\np50 ${row.said.p50} ms, ${figure(of("p50_low")(row))} to ${figure(of("p50_high")(row))}\np90 ${figure(of("p90")(row))}, p99 ${figure(of("p99")(row))}`;
  const eager = d3.median(rows, (row) => part(row, "eager")?.p50_ms);
  return Plot.plot({
    ...{ width, height: rows.length * 19 + 68, marginTop: 48, marginLeft: narrow ? 132 : 300, marginRight: 24, style: LOOK },
    x: { type: "log", label: "ms a call", axis: "top", labelOffset: 40, grid: true, tickFormat: "~r", ticks: width / 120 },
    y: {
      ...{ domain: names, label: null, tickSize: 0 },
      tickFormat: (id) => `${mark(byId.get(id))}${fitted(byId.get(id).conversion, narrow ? 13 : 34)}`,
    },
    marks: [
      Plot.ruleX(eager ? [eager] : [], { stroke: "var(--eager)", strokeDasharray: "4 3" }),
      Plot.ruleY(rows, { y: "id", x1: of("p50"), x2: of("p99"), stroke: "var(--line-strong)" }),
      Plot.ruleY(rows, { y: "id", x1: of("p50_low"), x2: of("p50_high"), stroke: colour, strokeWidth: 8, strokeOpacity: 0.35 }),
      Plot.dot(rows, { y: "id", x: "p50", fill: colour, r: 3.5 }),
      Plot.tickX(rows, { y: "id", x: of("p90"), stroke: "var(--ink-soft)", insetTop: 5, insetBottom: 5 }),
      Plot.tickX(rows, { y: "id", x: of("p99"), stroke: "var(--ink-soft)", insetTop: 5, insetBottom: 5 }),
      Plot.tip(rows, Plot.pointerY({ y: "id", x: "p50", title: said, ...TIP })),
    ],
  });
}

function Charts({ title }) {
  const group = BY_TITLE.get(title) ?? GROUPS[0];
  if (!group) return null;
  const rows = group.members.map((member) => ROWS[member]).filter((row) => row.p50 !== null);
  const compared = rows.filter((row) => row.error !== null);
  const front = pareto(compared);
  const byTime = d3.sort(rows, (row) => row.p50).slice(0, 120);
  const choose = (event) => update({ group: event.target.value });
  const figures = (row) => part(row, "latency_ms");
  return html`<section aria-labelledby="charts-title">
    <h2 id="charts-title">Speed, fidelity and spread</h2>
    <label class="field" for="chart-group">of the group
      <select id="chart-group" onChange=${choose}>${GROUPS.map(
        ({ title: one }) => html`<option value=${one} selected=${one === group.title}>${one}</option>`,
      )}</select></label>
    ${!rows.length && html`<p class="quiet">Nothing was measured in this group.</p>`}
    ${compared.length > 0 && html`<figure>
      <h3>Latency against fidelity</h3>
      <${Chart} deps=${[group]} onPick=${open} draw=${(width) => fidelityChart(compared, front, width)}
        label=${`p50 against relative error of ${compared.length} conversions; on the Pareto front: ${front.map((row) => row.conversion).join(", ") || "none"}`} />
      <figcaption>Down and left is better. The line is the Pareto front: proved conversions that none is both faster and nearer
        than. Crosses are not ok, grey points were disturbed. Click a point to open its cell.</figcaption>
      <${AsTable} headings=${["conversion", "status", "p50 ms", "rel. error", "on the front"]}
        rows=${compared.map((row) => [row.conversion, heard(row), row.said.p50, row.said.error, front.includes(row) ? "yes" : "no"])} />
    </figure>`}
    ${rows.length > 0 && html`<figure>
      <h3>Spread of latency</h3>
      <${Chart} deps=${[group]} onPick=${open} draw=${(width) => latencyRows(byTime, width)}
        label=${`Latency of ${byTime.length} conversions, from ${byTime[0].conversion} at ${byTime[0].said.p50} ms to ${byTime.at(-1).conversion} at ${byTime.at(-1).said.p50} ms`} />
      <figcaption>Dot: p50, in a bar that is its 95 % interval. Ticks: p90 and p99. Dashed: eager, the median over the cells. ≠: not ok. !: disturbed.
        ${rows.length > byTime.length ? ` The fastest ${byTime.length} of ${rows.length}.` : ""}</figcaption>
      <${AsTable} headings=${["conversion", "p50 ms", "from", "to", "p90", "p99"]}
        rows=${byTime.map((row) => [row.conversion, row.said.p50, ...["p50_low", "p50_high", "p90", "p99"].map((name) => figure(figures(row)[name]))])} />
    </figure>`}
  </section>`;
}
