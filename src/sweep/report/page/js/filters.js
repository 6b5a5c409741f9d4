// What narrows the matrix and the table.
function Choice({ name, label }) {
  const options = useMemo(() => kinds(name), []);
  if (options.length < 2) return null;
  return html`<label class="field" for=${`filter-${name}`}>${label}
    <select id=${`filter-${name}`} value=${state[name]} onChange=${(event) => refilter({ [name]: event.target.value })}>
      <option value="">all</option>
      ${options.map((option) => html`<option value=${option} selected=${option === state[name]}>${option}</option>`)}
    </select></label>`;
}

function Statuses() {
  const counts = useMemo(() => d3.rollup(ROWS, (rows) => rows.length, (row) => row.status), []);
  const on = new Set(state.status ? state.status.split(",") : []);
  const toggle = (status) => {
    on.has(status) ? on.delete(status) : on.add(status);
    refilter({ status: DATA.statuses.filter((one) => on.has(one)).join(",") });
  };
  return html`<div class="field" role="group" aria-label="status"><span aria-hidden="true">status</span><div class="toggles">
    ${DATA.statuses.filter((status) => counts.has(status)).map(
      (status) => html`<button type="button" id=${`status-${status}`} aria-pressed=${on.has(status)} onClick=${() => toggle(status)}>
        <${Glyph} status=${status} /> ${status} <span class="soft">${counts.get(status).toLocaleString("en")}</span></button>`,
    )}</div></div>`;
}

function Filters({ found }) {
  const cause = DATA.causes[state.cause];
  const any = ["text", "model", "device", "family", "status", "cause"].some((name) => state[name]);
  const clear = () => refilter({ text: "", model: "", device: "", family: "", status: "", cause: "" });
  return html`<form class="filters" role="search" aria-label="Filter cells" onSubmit=${(event) => event.preventDefault()}>
    <label class="field grow" for="filter-text">text
      <input id="filter-text" type="search" value=${state.text} autocomplete="off" spellcheck="false"
        placeholder="names, verdicts, messages" onInput=${(event) => refilter({ text: event.target.value })} /></label>
    <${Choice} name="model" label="model" /><${Choice} name="device" label="device" /><${Choice} name="family" label="family" />
    <${Statuses} />
    <div class="found">
      <p role="status" id="found">${found.toLocaleString("en")} of ${ROWS.length.toLocaleString("en")} cells</p>
      ${cause && html`<button type="button" class="chip" onClick=${() => refilter({ cause: "" })}
        aria-label="No longer only this cause">only: ${cause[2].slice(0, 60)} ✕</button>`}
      ${any && html`<button type="button" class="quiet-button" id="clear" onClick=${clear}>Clear filters</button>`}
    </div>
  </form>`;
}
