// What Python wrote into the page, as objects. A row's rarer parts are unpacked when they are asked for.
const { html, render, useEffect, useLayoutEffect, useMemo, useRef, useState } = htmPreact;

const DATA = JSON.parse(document.getElementById("data").textContent);
const AT = Object.fromEntries(DATA.fields.map((name, place) => [name, place]));
const SHARED = new Set(DATA.shares);
const GROUPS = DATA.groups.map(([title, setting, members]) => ({ title, setting, members }));

function given(raw, name) {
  const held = raw[AT[name]];
  return SHARED.has(name) ? DATA.shared[held] : held;
}

/** An object of a row's nested part, or null where the cell did not reach it. */
function part(row, name) {
  const held = row.raw[AT[name]];
  return held && Object.fromEntries(DATA.parts[name].map((key, place) => [key, held[place]]));
}

const whole = (row, name) => given(row.raw, name);

/** Proved, and not disturbed: only such rows are ranked. */
const ranks = (row) => row.status === "ok" && !row.disturbed;

/** What each trial of a row found, in the order they were run. */
const quotients = (row) =>
  row.raw[AT.quotients].map((held) => Object.fromEntries(DATA.quotient.map((key, place) => [key, held[place]])));

const first = (held, place = 0) => (held ? held[place] : null);

const ROWS = DATA.rows.map((raw, number) => {
  const [p50, speedup, trials, error, convert, paysOff] = raw[AT.figures];
  const status = given(raw, "status");
  const reason = given(raw, "reason");
  return {
    raw,
    number,
    id: raw[AT.id],
    model: given(raw, "model"),
    conversion: given(raw, "conversion"),
    device: given(raw, "device"),
    family: given(raw, "family"),
    cause: raw[AT.cause],
    status,
    reason,
    quality: given(raw, "quality"),
    decision: given(raw, "decision"),
    disturbed: given(raw, "quality") === "disturbed",
    verdict: reason ? `${status}/${reason}` : status,
    standing: status === "ok" ? given(raw, "quality") : null,
    message: given(raw, "message"),
    p50: first(raw[AT.latency_ms]),
    speedup: first(raw[AT.speedup]),
    error: first(raw[AT.fidelity]),
    convert: first(raw[AT.seconds], DATA.phases.indexOf("convert")),
    trials: raw[AT.quotients].length ? first(raw[AT.speedup], DATA.parts.speedup.indexOf("trials")) : null,
    breakEven: first(raw[AT.speedup], DATA.parts.speedup.indexOf("break_even_calls")),
    memory: first(raw[AT.memory_mb]),
    said: { p50, speedup, trials, error, convert, paysOff },
  };
});
GROUPS.forEach((group, number) => {
  group.model = ROWS[group.members[0]].model;
  group.device = ROWS[group.members[0]].device;
  group.members.forEach((member, rank) => Object.assign(ROWS[member], { group, rank, place: number }));
});
const BY_ID = new Map(ROWS.map((row) => [row.id, row]));
const BY_TITLE = new Map(GROUPS.map((group) => [group.title, group]));
const RANKED = GROUPS.flatMap((group) => group.members.map((member) => ROWS[member]));

/** The different values of a field, in the order of the alphabet. */
const kinds = (name) => [...new Set(ROWS.map((row) => row[name]))].sort();

/** All that a text filter looks at; made when first asked for. */
function haystack(row) {
  row.haystack ??= [row.id, row.conversion, row.group.title, row.verdict, row.standing, ranks(row) && row.decision, row.family, row.message]
    .join("\n").toLowerCase();
  return row.haystack;
}
