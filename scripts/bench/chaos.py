"""Is anything lost? Kills the driver, a worker or a zygote of a sweep at a random moment, resumes, and counts.

Each sweep has quick cells on a local Ray. Some process of it is killed with SIGKILL at a random moment; a sweep that
ends by this is resumed, and may be hit again, until it is complete. Then every cell must have one row, rows that were
there before a resume must be there unchanged, but for how sure they are, which depends on the others too, and no
process may be left. Exits 1 if anything is not so.

    .venv/bin/python scripts/bench/chaos.py [SWEEPS] [CELLS] [FIRST SEED]
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "LC_SWEEP_CHAOS"
CONVERSIONS = ("EAGER", "JIT_TRACE", "EXPORT+EAGER", "TORCH_SCRIPT")
QUICKLY = ("measure=quick", "measure.seconds=0.05", "measure.block_seconds=0.01", "measure.max_warmup_seconds=0.1")
TARGETS = ("driver", "worker", "zygote")
HITS = 3
"""How often a sweep is hit at most."""


@dataclass(frozen=True, kw_only=True)
class Found:
    hits: list[str]
    lost: int
    doubled: int
    changed: int
    left: int
    statuses: dict[str, int]

    @property
    def bad(self) -> bool:
        return any((self.lost, self.doubled, self.changed, self.left)) or set(self.statuses) != {"ok"}


def main(sweeps: int, cells: int, first_seed: int) -> int:
    bad = 0
    for seed in range(first_seed, first_seed + sweeps):
        began = time.monotonic()
        found = one(seed, cells)
        bad += found.bad
        print(
            f"seed {seed}: {', '.join(found.hits) or 'not hit'}; {found.lost} rows lost, {found.doubled} doubled, "
            f"{found.changed} finished cells run again, {found.left} processes left; {found.statuses} "
            f"in {time.monotonic() - began:.0f} s",
            flush=True,
        )
    print(f"{sweeps - bad} of {sweeps} sweeps came out whole")
    return 1 if bad else 0


def one(seed: int, cells: int) -> Found:
    chance = random.Random(seed)
    os.environ[MARK] = f"{os.getpid()}-{seed}"
    batches = ",".join(str(n + 1) for n in range(-(-cells // len(CONVERSIONS))))
    request = ["+model=mlp", f"conversion={','.join(CONVERSIONS)}", f"batch_size={batches}", *QUICKLY]
    hits: list[str] = []
    changed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        while True:
            before = rows(folder)
            driver = start(folder, ["resume=run"] if planned(folder) else [*request, "hydra.sweep.dir=run"])
            if len(hits) < HITS:
                hits += hit(driver, chance, folder, cells)
            driver.wait()
            left = outlived()
            after = rows(folder)
            changed += sum(after.get(id_) != row for id_, row in before.items())
            if driver.returncode not in {0, -signal.SIGKILL}:
                sys.exit(f"seed {seed}: exit code {driver.returncode}\n{(folder / 'out').read_text()}")
            if driver.returncode == 0 or left:
                break
        lines = (folder / "run" / "results.jsonl").read_text().splitlines()
        plan = planned(folder)
        ids = [json.loads(line)["id"] for line in lines]
        statuses = [json.loads(line)["status"] for line in lines]
    return Found(
        hits=hits,
        lost=len(set(plan) - set(ids)),
        doubled=len(ids) - len(set(ids)),
        changed=changed,
        left=left,
        statuses={status: statuses.count(status) for status in sorted(set(statuses))},
    )


def start(folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    with open(folder / "out", "ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "sweep", *arguments], cwd=folder, stdout=out, stderr=out, start_new_session=True
        )


def hit(driver: subprocess.Popen[bytes], chance: random.Random, folder: Path, cells: int) -> list[str]:
    """Kill something, somewhat after a random number of rows; what it was, if it was there before the sweep's end."""
    target, count = chance.choice(TARGETS), chance.randrange(cells - 3)  # a few cells before the end at the latest
    delay = chance.uniform(0, 0.5 if count else 5)  # without a row yet: while it starts
    while driver.poll() is None and len(rows(folder)) < count:
        time.sleep(0.05)
    time.sleep(delay)
    victims: set[int] = set()
    while driver.poll() is None and not victims:
        time.sleep(0.01)
        victims = {driver.pid} if target == "driver" else of_sweep(target)
    if not victims:
        return []
    try:
        os.kill(chance.choice(sorted(victims)), signal.SIGKILL)
    except ProcessLookupError:
        return []
    return [f"{target} {delay:.1f} s after {count} rows"]


def of_sweep(target: str) -> set[int]:
    """The zygotes of this sweep, or the workers that they belong to."""
    parents = {pid: parent for pid, (parent, command) in processes().items() if b"sweep.child.zygote" in command}
    zygotes = {pid: parent for pid, parent in parents.items() if parent not in parents}
    return set(zygotes) if target == "zygote" else set(zygotes.values())


def processes() -> dict[int, tuple[int, bytes]]:
    """Parent and command line of every process that this sweep started, by its id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if f"{MARK}={os.environ[MARK]}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    found[int(entry.name)] = (parent, (entry / "cmdline").read_bytes())
            except OSError:
                continue
    return found


def outlived() -> int:
    """How many processes are left half a minute after their driver; says which."""
    for _ in range(300):
        if not processes():
            return 0
        time.sleep(0.1)
    left = processes()
    for pid, (_, command) in left.items():
        print(f"  left: {pid} {command.replace(bytes(1), b' ').decode(errors='replace')[:100]}")
    return len(left)


def rows(folder: Path) -> dict[str, Any]:
    """What whole lines of the journal say of cells that are done, by their ids."""
    journal = folder / "run" / "results.jsonl"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    done = [row for row in map(json.loads, lines) if row["reason"] != "interrupted"]
    for row in done:
        del row["quality"]
        for sureness in ("low", "high", "decision"):
            (row["speedup"] or {}).pop(sureness, None)
    return {row["id"]: row for row in done}


def planned(folder: Path) -> list[str]:
    request = folder / "run" / "sweep.json"
    return list(json.loads(request.read_text())["plan"]) if request.exists() else []


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*given, *(20, 40, 0)[len(given) :]))
