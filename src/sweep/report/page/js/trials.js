// What each trial of a cell found, in a chart and in a table.
const MOST_TRIALS_DRAWN = 60;
const KINDS = { first: "var(--accent)", confirms: "var(--ok)", disturbed: "var(--skipped)" };

/** What a trial is for, and what was wrong with it, in words. */
function trialSaid({ round, confirms, disturbed }) {
  const kind = confirms ? "confirms" : round === 1 ? "first" : "more";
  return disturbed ? `${kind}, disturbed` : kind;
}

/** Whether a chart of trials has room for eager too. */
const nearEager = (value) => value > 0.5 && value < 2;

function trialsChart(trials, { value, low, high }, width) {
  const colour = ({ confirms, disturbed }) => (disturbed ? KINDS.disturbed : confirms ? KINDS.confirms : KINDS.first);
  const end = (sign) => (trial) => trial.value * (1 + sign * 2 * trial.spread);
  return Plot.plot({
    ...{ width, height: trials.length * 18 + 62, marginTop: 8, marginLeft: 36, marginRight: 24, marginBottom: 40, style: LOOK },
    x: { label: "eager over conversion", grid: true, ticks: width / 90, nice: true },
    y: { domain: trials.map(({ number }) => number), label: null, tickSize: 0 },
    marks: [
      Plot.rect([0], { x1: low, x2: high, fill: "var(--accent)", fillOpacity: 0.12 }),
      Plot.ruleX([value], { stroke: "var(--accent)", strokeWidth: 1.5 }),
      Plot.ruleX(nearEager(value) ? [1] : [], { stroke: "var(--eager)", strokeWidth: 1.5, strokeDasharray: "4 3" }),
      Plot.ruleY(trials, { y: "number", x1: end(-1), x2: end(1), stroke: colour, strokeWidth: 2, strokeOpacity: 0.5 }),
      Plot.dot(trials, {
        ...{ y: "number", x: "value", r: 4, stroke: colour },
        fill: (trial) => (trial.disturbed ? "var(--bg)" : colour(trial)),
      }),
    ],
  });
}

function Trials({ row }) {
  const trials = quotients(row).map((trial, place) => ({ number: place + 1, ...trial }));
  if (!trials.length) return null;
  const drawn = trials.slice(-MOST_TRIALS_DRAWN);
  const confirming = trials.filter(({ confirms }) => confirms).length;
  const label = `Quotients of ${trials.length} trials, ${confirming} of which confirm; the speed-up is ${row.said.speedup}`;
  return html`<section><h3>Trials</h3>
    <${Chart} label=${label} deps=${[row.id]} draw=${(width) => trialsChart(drawn, part(row, "speedup"), width)} />
    <p class="soft">Each trial is a fresh process. Dot: its quotient, with two standard errors either side; green where it
      confirms, hollow where it was disturbed. Rule and band: the speed-up and its 95 % interval${confirming
        ? ", of the confirming trials alone" : ""}.${nearEager(row.speedup) ? " Dashed: eager." : ""}
      ${trials.length > drawn.length ? ` The last ${drawn.length} of ${trials.length}.` : ""}</p>
    <div class="scroll trials" role="region" aria-label="Trials" tabindex="0"><table>
      <thead><tr><th scope="col" class="n">trial</th><th scope="col" class="n">quotient</th><th scope="col" class="n">± error</th>
        <th scope="col" class="n">round</th><th scope="col">for</th></tr></thead>
      <tbody>${trials.map((trial) => html`<tr><th scope="row" class="n">${trial.number}</th>
        <td class="n">${trial.disturbed ? `(${trial.value.toFixed(3)}x)` : `${trial.value.toFixed(3)}x`}</td>
        <td class="n">${(100 * trial.spread).toFixed(1)} %</td><td class="n">${trial.round}</td><td>${trialSaid(trial)}</td></tr>`)}</tbody>
    </table></div></section>`;
}
