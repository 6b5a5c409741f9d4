"""Is anything lost? Strikes at sweeps at random moments, resumes them, and counts.

Each sweep has quick cells on a local Ray, and is struck three times at the most: its keeper or driver is killed, one of
Ray's workers, its gcs_server or its raylet, or a zygote; its terminal is closed, or the disk of its run folder is full
for some seconds. One that ends by this is resumed, until it is complete. Then every cell must have one row; rows that
were there before a strike must be there unchanged, but for how sure they are, which depends on the others too; no
process may be left; each exit code must be the one that README promises; and once another sweep has run, no temporary
folder, session of Ray, shared memory or half-written file may be left. Exits 1 if anything is not so.

    .venv/bin/python scripts/bench/chaos.py [SWEEPS: 20] [CELLS: 40] [FIRST SEED: 0] [TARGET …]
"""

import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos_strikes import TARGETS, Disk, Sweep, outlived, reap, shared_memory, strike

from sweep import reaper

CONVERSIONS = ("EAGER", "JIT_TRACE", "EXPORT+EAGER", "TORCH_SCRIPT")
QUICKLY = ("measure=quick", "measure.seconds=0.05", "measure.block_seconds=0.01", "measure.max_warmup_seconds=0.1")
HITS = 3
"""How often a sweep is struck at most."""

MOST_RESTARTS = 2
"""How often a sweep, or a local Ray, is started again by itself."""


@dataclass(kw_only=True)
class Found:
    hits: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    left: list[str] = field(default_factory=list)
    wrong_codes: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    @property
    def bad(self) -> bool:
        wrong = (self.lost, self.doubled, self.changed, self.left, self.wrong_codes)
        return any(wrong) or set(self.statuses) != {"ok"}


def main(sweeps: int, cells: int, first_seed: int, targets: Sequence[str]) -> int:
    reaper.adopt_orphans()
    bad = 0
    for seed in range(first_seed, first_seed + sweeps):
        began = time.monotonic()
        found = one(seed, cells, targets)
        bad += found.bad
        print(
            f"seed {seed}: {'; '.join(found.hits) or 'not struck'}: {found.lost} rows lost, {found.doubled} doubled, "
            f"{found.changed} finished cells run again, {len(found.left)} things left behind, "
            f"{len(found.wrong_codes)} wrong exit codes; {found.statuses} in {time.monotonic() - began:.0f} s",
            *found.left,
            *found.wrong_codes,
            sep="\n    ",
            flush=True,
        )
    print(f"{sweeps - bad} of {sweeps} sweeps came out whole")
    return 1 if bad else 0


def one(seed: int, cells: int, targets: Sequence[str]) -> Found:
    chance = random.Random(seed)
    batches = ",".join(str(n + 1) for n in range(-(-cells // len(CONVERSIONS))))
    request = ["+model=mlp", f"conversion={','.join(CONVERSIONS)}", f"batch_size={batches}", *QUICKLY]
    pending = [chance.choice(targets) for _ in range(HITS)]
    found, shared = Found(), shared_memory()
    known: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="chaos") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        disk = Disk(folder / "disk")
        run = disk.folder / "run"
        try:
            while True:
                arguments = [f"resume={run}"] if planned(run) else [*request, f"hydra.sweep.dir={run}"]
                sweep = Sweep(folder, arguments, on_terminal="terminal" in pending)
                there = len(rows(run))
                hits = be_struck(sweep, pending, chance, disk, run, cells, known, found)
                code = sweep.wait()
                found.left += outlived()
                if said := wrong(code, hits, run, came=len(rows(run)) - there):
                    found.wrong_codes.append(said)
                known |= {id_: row for id_, row in rows(run).items() if id_ not in known}
                if code == 0 or found.left or code not in {2, 3, -signal.SIGKILL, -signal.SIGHUP}:
                    break
            count(found, known, run)
            if found.bad:
                print((folder / "out").read_text(errors="replace"))
            found.left += outlived() + left_behind(folder, run) + stays(shared_memory() - shared)
        finally:
            disk.close()
    return found


def be_struck(  # noqa: PLR0913, PLR0917 - a benchmark's
    sweep: Sweep,
    pending: list[str],
    chance: random.Random,
    disk: Disk,
    run: Path,
    cells: int,
    known: dict[str, Any],
    found: Found,
) -> Counter[str]:
    """Strike at a sweep with what is pending, one after the other, until it ends; returns what it was struck at with.

    Each time somewhat after a random number of rows, a few cells before the end at the latest, or while it starts.
    """
    hits: Counter[str] = Counter()
    while pending and sweep.code() is None:
        count = chance.choice([0, *[chance.randrange(cells - 3)] * 3])
        delay = chance.uniform(0, 0.5 if count else 5)
        while sweep.code() is None and len(rows(run)) < count:
            time.sleep(0.05)
        time.sleep(delay)
        known |= {id_: row for id_, row in rows(run).items() if id_ not in known}
        if sweep.code() is None and (said := strike(pending[0], sweep, disk, chance)):
            hits[pending.pop(0)] += 1
            found.hits.append(f"{said}, with {len(rows(run))} rows")
            time.sleep(0.1)
    return hits


def wrong(code: int, hits: Counter[str], run: Path, *, came: int) -> str | None:
    """Why an exit code is not what README promises of a sweep that was struck so, and to which so many rows came."""
    plan, done = planned(run), rows(run)
    is_whole = bool(plan) and set(plan) == set(done)
    right = {3} if max(hits["driver"], hits["gcs"] + hits["raylet"]) > MOST_RESTARTS else {0}
    if hits["disk"]:
        right |= {3} if came else {2, 3}
    if hits["terminal"]:  # before Python is there to hear of it, it ends by it
        right = {3, *({0} if is_whole else ()), *(() if plan else {-signal.SIGHUP})} | (right - {0})
    if hits["keeper"]:
        right = {-signal.SIGKILL}
    if code not in right:
        return f"exit code {code} after {dict(hits)}, not {' or '.join(map(str, sorted(right)))}"
    if code == 0 and not is_whole:
        return f"exit code 0, though {len(set(plan) - set(done))} cells have no row"
    if code == 3 and plan and not hits["disk"] and not (run / "matrix.md").exists():
        return f"exit code 3 after {dict(hits)}, and there is no matrix"
    return None


def count(found: Found, known: dict[str, Any], run: Path) -> None:
    """What became of the rows of a sweep, and of those that were known before it was struck."""
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    ids, statuses = [line["id"] for line in lines], Counter(line["status"] for line in lines)
    found.lost = len(set(planned(run)) - set(ids))
    found.doubled = len(ids) - len(set(ids))
    after = rows(run)
    found.changed = sum(after.get(id_) != row for id_, row in known.items())
    found.statuses = dict(sorted(statuses.items()))


def left_behind(folder: Path, run: Path) -> list[str]:
    """What is in the temporary folder once another sweep has run, and what is half written in the run folder."""
    temporary = folder / "tmp"
    next_one = Sweep(
        folder, ["+model=mlp", "conversion=EAGER", *QUICKLY, f"hydra.sweep.dir={folder}/next"], on_terminal=False
    )
    if code := next_one.wait():
        return [f"the next sweep ends with exit code {code}"]
    half = [path for path in run.rglob(".*") if re.search(r"\.\d+\.sweep$", path.name)]
    sessions = [path for path in (temporary / "ray").glob("*") if not path.name.startswith("prom_")]
    return [str(path) for path in (*(path for path in temporary.iterdir() if path.name != "ray"), *sessions, *half)]


def stays(names: set[str]) -> list[str]:
    """Those that are still nobody's ten seconds later: others may be about to be used by whatever else runs here."""
    if names:
        time.sleep(10)
    return sorted(names & shared_memory())


def rows(run: Path) -> dict[str, Any]:
    """What whole lines of the journal say of cells that are done, by their ids."""
    journal = run / "results.jsonl"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    done = [row for row in map(json.loads, lines) if row["reason"] != "interrupted"]
    for row in done:
        del row["quality"]
        for sureness in ("low", "high", "decision"):
            (row["speedup"] or {}).pop(sureness, None)
    return {row["id"]: row for row in done}


def planned(run: Path) -> list[str]:
    request = run / "sweep.json"
    return list(json.loads(request.read_text())["plan"]) if request.exists() else []


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:4]]
    try:
        sys.exit(main(*numbers, *(20, 40, 0)[len(numbers) :], targets=sys.argv[4:] or TARGETS))
    finally:
        reap()
