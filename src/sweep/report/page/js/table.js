// Every cell that the filters let through, a hundred at a time.
const SHOWN_AT_ONCE = 100;
const COLUMNS = [
  { name: "conversion", of: (row) => row.conversion },
  { name: "model", of: (row) => row.model },
  { name: "device", of: (row) => row.device },
  { name: "setting", of: (row) => row.group.setting },
  { name: "status", of: (row) => [row.verdict, row.standing].join(" ") },
  { name: "p50 ms", of: (row) => row.p50, said: (row) => row.said.p50, number: true },
  { name: "speed-up", of: (row) => (row.disturbed ? null : row.speedup), said: (row) => row.said.speedup, number: true },
  { name: "trials", of: (row) => row.trials, said: (row) => row.said.trials, number: true },
  { name: "rel. error", of: (row) => row.error, said: (row) => row.said.error, number: true },
  { name: "convert s", of: (row) => row.convert, said: (row) => row.said.convert, number: true },
  { name: "pays off", of: paysOff, said: (row) => row.said.paysOff, number: true },
  { name: "memory MB", of: (row) => row.memory, said: (row) => figure(row.memory), number: true },
  { name: "note", of: (row) => row.message },
];

/** After how many calls; `never` comes after any number, and what was not measured after that. */
function paysOff(row) {
  if (row.said.paysOff === "–") return null;
  return row.said.paysOff === "never" ? Infinity : row.breakEven;
}

/** Rows by a column, upwards or (`-name`) downwards; what has no value comes last either way. */
function sorted(rows, sort) {
  const column = COLUMNS.find(({ name }) => name === sort.replace(/^-/, ""));
  if (!column) return rows;
  const sign = sort.startsWith("-") ? -1 : 1;
  const missing = (value) => value === null || value === "";
  return rows
    .map((row) => [column.of(row), row])
    .sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : sign * d3.ascending(a, b)))
    .map(([, row]) => row);
}

function Heading({ column }) {
  const { name } = column;
  const way = state.sort === name ? "ascending" : state.sort === `-${name}` ? "descending" : "none";
  const firstWay = name === "speed-up" ? `-${name}` : name;
  const otherWay = name === "speed-up" ? name : `-${name}`;
  const next = state.sort === firstWay ? otherWay : state.sort === otherWay ? "" : firstWay;
  const mark = { ascending: "▲", descending: "▼", none: "" }[way];
  return html`<th scope="col" aria-sort=${way} class=${column.number ? "n" : ""}>
    <button type="button" id=${`sort-${name.replace(/\W+/g, "-")}`} onClick=${() => update({ sort: next })}>${name}
      <span class="mark" aria-hidden="true">${mark}</span></button></th>`;
}

function Line({ row }) {
  return html`<tr data-row=${row.number}>${COLUMNS.map((column) => {
    if (column.name === "conversion")
      return html`<th scope="row"><button type="button" id=${`t-${row.number}`} class="open" aria-haspopup="dialog">${row.conversion}</button></th>`;
    if (column.name === "status") return html`<td><${Verdict} row=${row} />${row.standing && html` <span class="quiet">${row.standing}</span>`}</td>`;
    const said = (column.said ?? column.of)(row);
    if (column.name === "note") return html`<td class="message"><div>${said}</div></td>`;
    return html`<td class=${column.number ? "n" : ""}>${said}</td>`;
  })}</tr>`;
}

function Table({ rows, sort, shown }) {
  const ordered = useMemo(() => sorted(rows, sort), [rows, sort]);
  const some = ordered.slice(0, Number(shown) || SHOWN_AT_ONCE);
  const onClick = (event) => {
    const line = event.target.closest("tr[data-row]");
    if (line && getSelection().isCollapsed) open(ROWS[line.dataset.row], line.querySelector("button"));
  };
  const more = () => update({ shown: String(some.length + SHOWN_AT_ONCE) });
  return html`<section aria-labelledby="table-title">
    <h2 id="table-title">All cells</h2>
    <div class="scroll tall" id="table-scroll" role="region" aria-labelledby="table-title" tabindex="0"><table class="cells" onClick=${onClick}>
      <thead><tr>${COLUMNS.map((column) => html`<${Heading} column=${column} />`)}</tr></thead>
      <tbody>${some.map((row) => html`<${Line} key=${row.number} row=${row} />`)}</tbody>
    </table></div>
    ${some.length < ordered.length && html`<p class="more"><button type="button" id="show-more" onClick=${more}>Show more</button>
      <span class="soft">${some.length.toLocaleString("en")} of ${ordered.length.toLocaleString("en")}</span></p>`}
  </section>`;
}
