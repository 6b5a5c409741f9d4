// What a reader has chosen. It lives in the address, so that a page read again comes back as it was.
const DEFAULTS = {
  ...{ text: "", model: "", device: "", family: "", status: "", cause: "", sort: "", page: "0", shown: "100" },
  ...{ group: "", cell: "", paused: "" },
};

function fromAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(Object.entries(DEFAULTS).map(([key, usual]) => [key, said.get(key) ?? usual]));
}

function toAddress(state) {
  const said = new URLSearchParams();
  for (const [key, usual] of Object.entries(DEFAULTS)) if (state[key] !== usual) said.set(key, state[key]);
  history.replaceState(null, "", `#${said}`);
}

let state = fromAddress();
let redraw = () => {};

function update(changes) {
  state = { ...state, ...changes };
  toAddress(state);
  redraw();
}

/** A change of a filter begins the matrix and the table anew. */
const refilter = (changes) => update({ page: "0", shown: DEFAULTS.shown, ...changes });

/** The rows that every filter lets through, in the order of their groups and ranks. */
function filtered({ text, model, device, family, status, cause }) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const statuses = new Set(status ? status.split(",") : []);
  return RANKED.filter(
    (row) =>
      (!model || row.model === model) &&
      (!device || row.device === device) &&
      (!family || row.family === family) &&
      (!statuses.size || statuses.has(row.status)) &&
      (!cause || String(row.cause) === cause) &&
      words.every((word) => haystack(row).includes(word)),
  );
}

let opener = null; // what had the focus before a cell was opened

function open(row, from) {
  opener = from ?? document.activeElement;
  update({ cell: row.id });
}
