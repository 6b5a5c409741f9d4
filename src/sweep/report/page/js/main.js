// Puts the page together, keeps it in step with the address, and reads it again while the sweep runs.
const RELOAD_MS = 5000;
const SILENT_MINUTES = 10;
const app = document.getElementById("app");
const floorSaid = app.dataset.floor.replaceAll(" %", "\u00a0%");
app.replaceChildren();

/** A value as it was until what is drawn with the new one has been shown: so typing need not wait for the matrix. */
function useLater(value) {
  const [held, hold] = useState(value);
  useEffect(() => {
    const soon = setTimeout(() => hold(value));
    return () => clearTimeout(soon);
  }, [value]);
  return held;
}

function App({ now, later }) {
  const { text, model, device, family, status, cause, sort, page, shown, group } = now;
  const rows = useMemo(() => filtered(now), [text, model, device, family, status, cause]);
  const inMatrix = useLater(rows);
  return html`
    <div id="cells" tabindex="-1"><${Filters} found=${rows.length} />
      ${useMemo(() => html`<${Matrix} rows=${inMatrix} page=${page} />`, [inMatrix, page])}
      ${useMemo(() => html`<${Table} rows=${rows} sort=${sort} shown=${shown} />`, [rows, sort, shown])}</div>
    ${useMemo(() => later && html`<${Charts} title=${group} />`, [later, group])}
    ${useMemo(() => later && html`<${Phases} /><${Causes} /><${Noise} said=${floorSaid} />`, [later])}
    <${Detail} row=${BY_ID.get(now.cell)} />`;
}

let later = false;
redraw = () => render(html`<${App} now=${state} later=${later} />`, app);
redraw();

// the charts may wait until the tables are there to see
setTimeout(() => {
  later = true;
  redraw();
  comeBack();
}, 0);

addEventListener("hashchange", () => {
  state = fromAddress();
  redraw();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-cell]");
  if (!link || !BY_ID.has(link.dataset.cell)) return;
  event.preventDefault();
  open(BY_ID.get(link.dataset.cell), link);
});

/** Where the reader was before the page read itself again. */
function comeBack() {
  const { left } = history.state ?? {};
  if (!left) return;
  for (const [id, at] of left.scrolled) document.getElementById(id)?.scrollTo(...at);
  scrollTo(0, left.y);
  if (left.focus) document.getElementById(left.focus)?.focus({ preventScroll: true });
  history.replaceState(null, "", location.href);
}

function readAgain() {
  const scrolled = [...document.querySelectorAll(".scroll[id]")].map((box) => [box.id, [box.scrollLeft, box.scrollTop]]);
  const left = { y: scrollY, focus: document.activeElement?.id, scrolled };
  history.scrollRestoration = "manual";
  history.replaceState({ left }, "", location.href);
  location.reload();
}

let touched = 0;
for (const kind of ["pointerdown", "keydown", "input", "wheel", "scroll"])
  addEventListener(kind, () => (touched = Date.now()), { capture: true, passive: true });

/** Whether reading again would take something out of the reader's hands. */
const busy = () =>
  state.paused || state.cell || document.hidden || !getSelection().isCollapsed || Date.now() - touched < RELOAD_MS;

function Live() {
  const written = new Date(document.lastModified);
  const silent = Math.floor((Date.now() - written) / 60000);
  const pause = () => {
    update({ paused: state.paused ? "" : "1" });
    live();
  };
  return html`<button type="button" id="pause" onClick=${pause}>${state.paused ? "Go on" : "Pause"}</button>
    <span class="soft">written ${written.toLocaleTimeString()}${silent >= SILENT_MINUTES ? `, nothing new for ${silent} min` : ""}</span>`;
}

const live = () => render(html`<${Live} />`, document.getElementById("live"));
if (DATA.running) {
  live();
  setInterval(() => busy() || readAgain(), RELOAD_MS);
}
