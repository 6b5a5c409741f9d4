// One cell in full.
const PHASES = DATA.phases.filter((name) => name !== "total" && name !== "waited");

/** The path of a file of the run folder, relative to this page: never another address, whatever is in it. */
const relative = (path) => `./${path.split("/").map(encodeURIComponent).join("/")}`;

/** What to type in a shell: quoted as a POSIX shell reads it. */
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

function said(value) {
  if (value === null || value === undefined) return "not known";
  if (Array.isArray(value)) return value.length ? value.map(said).join(", ") : "none";
  if (typeof value === "object") return Object.entries(value).map(([key, one]) => `${key}: ${said(one)}`).join("; ") || "none";
  return typeof value === "number" ? figure(value, 7) : String(value);
}

const words = (key) => key.replaceAll("_", " ");
const entries = (held) => Object.entries(held ?? {}).map(([key, one]) => [words(key), said(one)]);

/** Shares of a machine in percent, and what else was seen there. */
const loads = (load) => entries(load).map(([key, one]) =>
  ["cpu by others", "cpu pressure", "quota throttled"].includes(key) && one !== "not known" ? [key, `${(100 * one).toFixed(1)} %`] : [key, one]);

function Stacked({ parts: all, label }) {
  const parts = all.filter(([, seconds]) => seconds > 0);
  const sum = d3.sum(parts, ([, seconds]) => seconds);
  if (!sum) return null;
  return html`<div class="stacked" role="img" aria-label=${`${label}: ${parts.map(([name, s]) => `${words(name)} ${duration(s)}`).join(", ")}`}>
    ${parts.map(([name, seconds]) => html`<span class=${`phase p-${name}`} style=${{ flexGrow: seconds / sum }}></span>`)}</div>`;
}

function Seconds({ row }) {
  const seconds = part(row, "seconds");
  const parts = PHASES.map((name) => [name, seconds?.[name]]).filter(([, value]) => value);
  if (!parts.length) return null;
  return html`<section><h3>Seconds</h3>
    <${Stacked} parts=${parts} label="Seconds per phase" />
    <ul class="keys">${parts.map(([name, value]) => html`<li><span class=${`swatch p-${name}`}></span>${words(name)} <b>${figure(value)}</b></li>`)}</ul>
    <p class="soft">The phases are those of the first process; ${figure(seconds.total)} s is what all processes of the cell
      took${seconds.waited ? `, and it stood still for ${figure(seconds.waited)} s more so that others could measure` : ""}.</p></section>`;
}

function latencyChart(latency, eager, width) {
  const at = (value) => [{ value }];
  const tick = { y: 0, insetTop: 14, insetBottom: 14 };
  return Plot.plot({
    ...{ width, height: 104, marginLeft: 12, marginRight: 28, marginTop: 22, marginBottom: 40, style: LOOK },
    x: { type: "log", label: "ms a call", tickFormat: "~r", ticks: 5, nice: true },
    y: { axis: null, domain: [0, 1] },
    marks: [
      Plot.ruleY([0.5], { x1: latency.min, x2: latency.max, stroke: "var(--line-strong)" }),
      Plot.rect([0], { x1: latency.p50_low, x2: latency.p50_high, y1: 0.25, y2: 0.75, fill: "var(--accent)", fillOpacity: 0.3 }),
      ...["p50", "p90", "p99"].flatMap((name) => [
        Plot.ruleX(at(latency[name]), { x: "value", y1: 0.2, y2: 0.8, stroke: "var(--accent)", strokeWidth: name === "p50" ? 3 : 1.5 }),
      ]),
      Plot.dot(at(latency.mean), { x: "value", y: 0.5, fill: "var(--ink)", r: 3 }),
      Plot.ruleX(eager ? at(eager.p50_ms) : [], { x: "value", stroke: "var(--eager)", strokeWidth: 2, strokeDasharray: "4 3" }),
      Plot.text(eager ? at(eager.p50_ms) : [], { x: "value", y: 1, text: () => "eager p50", dy: -10, fill: "var(--eager)" }),
    ],
  });
}

function Latencies({ row }) {
  const latency = part(row, "latency_ms");
  const eager = part(row, "eager");
  if (!latency) return null;
  const label = `Latency from ${figure(latency.min)} to ${figure(latency.max)} ms, p50 ${row.said.p50} ms, eager's ${figure(eager?.p50_ms)} ms`;
  return html`<section><h3>Latency</h3>
    <${Chart} label=${label} deps=${[row.id]} draw=${(width) => latencyChart(latency, eager, width)} />
    <p class="soft">Box: 95 % interval of the median. Rules: p50, p90, p99. Dot: mean. Line: from the least to the most.</p>
    <${Pairs} of=${[
      ["p50", `${figure(latency.p50, 4)} ms`], ["95 % interval", `${figure(latency.p50_low, 4)}–${figure(latency.p50_high, 4)} ms`],
      ["p90", `${figure(latency.p90, 4)} ms`], ["p99", `${figure(latency.p99, 4)} ms`], ["mean", `${figure(latency.mean, 4)} ms`],
      ["std", `${figure(latency.std)} ms`], ["min", `${figure(latency.min, 4)} ms`], ["max", `${figure(latency.max, 4)} ms`],
      ["samples", `${latency.n.toLocaleString("en")} of ${latency.processes} trial${latency.processes === 1 ? "" : "s"}`],
      ["throughput", whole(row, "throughput_per_s") === null ? null : `${figure(whole(row, "throughput_per_s"))} a second`],
      ["eager p50", eager && `${figure(eager.p50_ms, 4)} ms (${eager.n.toLocaleString("en")} samples)`],
    ]} /></section>`;
}

function Crashed({ row }) {
  const crash = part(row, "crash");
  if (!crash) return null;
  return html`<section><h3>Crash</h3>
    <${Pairs} of=${[["signal", crash.signal], ["exception", crash.exception], ["in phase", whole(row, "phase")]]} />
    ${crash.stack?.length > 0 && html`<h4>Stack, outermost first</h4><pre tabindex="0" aria-label="Stack">${crash.stack.join("\n")}</pre>`}
    ${crash.last_lines?.length > 0 && html`<h4>The last it printed</h4><pre tabindex="0" aria-label="The last it printed">${crash.last_lines.join("\n")}</pre>`}
  </section>`;
}

/** Each part of the output, the furthest off first. */
function Outputs({ row }) {
  const outputs = row.raw[AT.outputs].map((held) => Object.fromEntries(DATA.output.map((key, place) => [key, held[place]])));
  if (outputs.length < 2 && (!outputs.length || outputs[0].name === "output")) return null;
  return html`<div class="scroll parts" tabindex="0" role="region" aria-label="Parts of the output"><table>
    <thead><tr>${["part", "kind", "error", "allowed", "cosine", "worst in"].map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${outputs.map((one) => html`<tr><th scope="row">${one.name}</th><td>${one.kind}</td>
      <td>${said(one.rel_l2 ?? one.differing_share)}</td><td>${said(one.allowed)}</td><td>${said(one.cosine)}</td><td>${said(one.worst_view)}</td></tr>`)}</tbody>
  </table></div>`;
}

/** How what was converted once takes each of the further sizes. */
function Shapes({ row }) {
  const shapes = row.raw[AT.shapes].map((held) => Object.fromEntries(DATA.shape.map((key, place) => [key, held[place]])));
  if (!shapes.length) return null;
  const ms = (value) => (value === null ? "–" : `${figure(value)} ms`);
  return html`<section><h3>Other sizes</h3><div class="scroll parts" tabindex="0" role="region" aria-label="Other sizes"><table>
    <thead><tr>${["sizes", "is", "a call", "eager", "first call", "compiled", "why"].map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${shapes.map((one) => html`<tr><th scope="row">${one.sizes}</th><td>${one.status}</td><td>${ms(one.p50_ms)}</td>
      <td>${ms(one.eager_p50_ms)}</td><td>${ms(one.first_call_ms)}</td><td>${one.recompiled ?? "–"}</td><td>${one.message}</td></tr>`)}</tbody>
  </table></div></section>`;
}

function Metric({ row }) {
  const metric = part(row, "metric");
  if (!metric) return null;
  const allowed = metric.allowed_drop === null ? "" : ` of ${figure(metric.allowed_drop)} allowed`;
  return html`<section><h3>Your metric</h3><${Pairs} of=${[
    [metric.name, figure(metric.value, 4)], ["eager's", figure(metric.eager, 4)], ["lost", `${figure(metric.drop, 3)}${allowed}`],
    ["of samples", metric.samples.toLocaleString("en")]]} /></section>`;
}

function Files({ row }) {
  const [log, samples] = [whole(row, "log"), whole(row, "samples")];
  if (!log) return null;
  const folder = quoted(`${DATA.folder}/cells/${row.id}`);
  return html`<section><h3>Files, and again</h3>
    <p class="links"><a href=${relative(log)}>cell.log</a>${samples && html`<a href=${relative(samples)}>samples.json</a>`}</p>
    <pre tabindex="0" aria-label="The command that runs it again" class="again">python -m sweep.rerun ${folder}</pre></section>`;
}

function converting(row) {
  if (row.convert === null) return null;
  const cpus = row.convert < 0.1 ? null : whole(row, "convert_cpus");
  return `${row.said.convert} s${cpus === null ? "" : `, on ${cpus.toFixed(1)} CPUs`}`;
}

function Body({ row }) {
  const { value, low, high } = part(row, "speedup") ?? {};
  const interval = value && `${low.toFixed(3)}x to ${high.toFixed(3)}x`;
  const engine = whole(row, "engine");
  const { evidence, ...ran } = engine ?? {};
  const memory = part(row, "memory_mb");
  return html`
    <p class="lead"><${Verdict} row=${row} />${row.standing && html` <span class=${`quality q-${row.standing}`}>${row.standing}</span>`}</p>
    ${row.message && html`<p class="message">${row.message}</p>`}
    <${Pairs} of=${[
      ["speed-up", value && row.said.speedup], ["95 % interval", value && (ranks(row) ? interval : `(${interval})`)],
      ["against eager", ranks(row) && row.decision], ["of trials", row.trials && row.said.trials],
      ["pays off after", row.said.paysOff === "–" ? null : row.said.paysOff], ["convert", converting(row)],
      ["memory", memory && `${figure(memory.rss_peak)} MB`], ["device memory", memory?.cuda_peak != null && `${figure(memory.cuda_peak)} MB`],
    ].filter(([, shown]) => shown)} />
    <${Trials} row=${row} /><${Latencies} row=${row} /><${Seconds} row=${row} /><${Crashed} row=${row} />
    ${part(row, "fidelity") && html`<section><h3>Output against eager</h3><${Pairs} of=${entries(part(row, "fidelity"))} />
      <${Outputs} row=${row} /></section>`}
    <${Metric} row=${row} /><${Shapes} row=${row} />
    ${engine && html`<section><h3>What ran</h3><${Pairs} of=${[...entries(ran), ...entries(evidence)]} /></section>`}
    ${whole(row, "load") && html`<section><h3>Load by others, the worst</h3><${Pairs} of=${loads(whole(row, "load"))} /></section>`}
    <${Files} row=${row} />
    <section><h3>Where, and with what</h3><${Pairs} of=${[
      ["id", row.id], ["family", row.family], ["ended in phase", whole(row, "phase")], ["batch size", whole(row, "batch_size")],
      ["threads", whole(row, "threads")], ...entries(whole(row, "overrides")), ["environment", whole(row, "environment")], ["node", whole(row, "node")],
      ["hardware", whole(row, "hardware")], ["fingerprint", whole(row, "fingerprint")],
      ["attempts", whole(row, "attempts").join("; ")], ["fixes of alma", whole(row, "compat").join(", ")], ...entries(whole(row, "versions")),
    ]} /></section>`;
}

function Detail({ row }) {
  const dialog = useRef();
  useLayoutEffect(() => {
    if (row && !dialog.current.open) dialog.current.showModal();
    if (!row && dialog.current.open) dialog.current.close();
    dialog.current.scrollTop = 0;
  }, [row]);
  const onClose = () => {
    update({ cell: "" });
    const back = opener?.isConnected && opener !== document.body ? opener : document.getElementById(`t-${dialog.current.dataset.row}`);
    back?.focus();
  };
  return html`<dialog class="detail" ref=${dialog} aria-labelledby="detail-title" data-row=${row?.number ?? dialog.current?.dataset.row}
    onClose=${onClose} onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
    ${row && html`<div class="sheet"><header><div><h2 id="detail-title" class="mono">${row.conversion}</h2><p class="soft">${row.group.title}</p></div>
      <button type="button" class="close" aria-label="Close" onClick=${() => dialog.current.close()}>✕</button></header>
      <${Body} row=${row} /></div>`}
  </dialog>`;
}
