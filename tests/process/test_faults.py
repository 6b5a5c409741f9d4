"""Every way to fail has its status and reason, hurts no other cell, and leaves nothing running."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.process import misbehaving as misbehaving_models

from sweep import isolate, reaper
from sweep.cell import Cell, Limits, Measure, Model
from sweep.isolate.zygote import Zygote
from sweep.record import RunFolder
from sweep.result import Outcome, Result

MakeCell = Callable[..., Cell]
QUICK = Measure(max_warmup_seconds=0.3, block_seconds=0.03, seconds=0.15, budget=0)


def misbehaving(how: str, marker: Path) -> Model:
    config = {"_target_": "misbehaving.Misbehaving", "how": how, "marker": str(marker), "input": {"shape": [8]}}
    return Model(name="misbehaving", config=config)


def verdict(row: Result) -> str:
    return f"{row.status}/{row.reason}" if row.reason else str(row.status)


@pytest.fixture
def behave(make_cell: MakeCell, supervisor: isolate.Supervisor, tmp_path: Path) -> Callable[..., Outcome]:
    def run(how: str, **changes: Any) -> Outcome:
        model = misbehaving(how, tmp_path / "marker")
        try:
            return isolate.run(make_cell(model=model, **{"measure": QUICK} | changes), supervisor)
        finally:
            supervisor.end_controls()

    return run


FAULTS = [
    ("raise", "crashed/raised", "RuntimeError in phase eager: raise on purpose"),
    ("raise without words", "crashed/raised", "misbehaving.Unprintable in phase eager"),
    ("raise what cannot be pickled", "crashed/raised", "Local in phase eager"),
    ("raise an interrupt", "crashed/raised", "KeyboardInterrupt in phase eager"),
    ("recurse", "crashed/raised", "RecursionError in phase eager"),
    ("fill its quota", "crashed/raised", "OSError in phase eager: [Errno 27] File too large"),
    ("constructor raises", "invalid/bad-model", "ValueError in phase build: cannot be built"),
    ("constructor hangs", "crashed/timeout", "limits.build=4 s in phase build"),
    ("give what cannot be read", "invalid/bad-model", "holds a generator, of which no tensors can be read"),
    ("segfault", "crashed/signal", "SIGSEGV in phase eager"),
    ("segfault in a thread", "crashed/signal", "SIGSEGV in phase eager"),
    ("segfault after a good report", "crashed/signal", "SIGSEGV in phase verify"),
    ("abort", "crashed/signal", "SIGABRT in phase eager"),
    ("bus error", "crashed/signal", "SIGBUS in phase eager"),
    ("illegal instruction", "crashed/signal", "SIGILL in phase eager"),
    ("divide by zero", "crashed/signal", "SIGFPE in phase eager"),
    ("kill itself", "crashed/signal", "SIGKILL in phase eager"),
    ("kill its group", "crashed/signal", "SIGKILL in phase eager"),
    ("terminate itself", "crashed/signal", "SIGTERM in phase eager"),
    ("leave a daemon and crash", "crashed/signal", "SIGSEGV in phase eager"),
    ("sys.exit", "crashed/exited", "code 7 in phase eager"),
    ("exit 1 after a good report", "crashed/exited", "code 1 in phase verify"),
    ("close its report", "crashed/exited", "code 1 in phase eager"),
    ("os._exit", "crashed/no-report", "code 0 in phase eager"),
    ("half a report", "crashed/no-report", "code 0 in phase eager"),
    ("report without end", "crashed/no-report", "more than a cell has to say"),
    ("stop itself", "crashed/timeout", "limits.eager=4 s in phase eager"),
    ("hang", "crashed/timeout", "limits.eager=4 s in phase eager"),
    ("hang when done", "crashed/timeout", "limits.verify=4 s in phase verify"),
    ("ignore TERM", "crashed/timeout", "limits.eager=4 s in phase eager"),
    ("hold the GIL", "crashed/timeout", "limits.eager=4 s in phase eager"),
    ("spin", "crashed/timeout", "limits.eager=4 s in phase eager"),
    ("fork bomb", "crashed/timeout", "limits.eager=4 s in phase eager"),
    ("leave a grandchild and hang", "crashed/timeout", "limits.eager=4 s in phase eager"),
    ("hog memory slowly", "crashed/memory", "more than limits.memory=1000 MB"),
    ("hog memory at once", "crashed/memory", "more than limits.memory=1000 MB"),
    ("ask for too much memory", "crashed/memory", "can't allocate memory"),
    ("kill the zygote", "crashed/lost", "the process that starts cells was killed"),
    ("report nonsense", "ok", ""),  # what is reported later stands
    ("report garbage", "ok", ""),
    ("report what cannot be written", "ok", ""),
    ("stop its zygote", "ok", ""),
    ("print", "ok", ""),
    ("print without end", "ok", ""),
    ("read stdin", "ok", ""),
    ("change its folder", "ok", ""),
    ("delete its folder", "ok", ""),
    ("leave a grandchild", "ok", ""),
    ("leave a grandchild in a session of its own", "ok", ""),
    ("leave a daemon", "ok", ""),
]


@pytest.mark.parametrize("fault", FAULTS, ids=[how for how, _, _ in FAULTS])
def test_each_way_to_fail_has_its_reason_and_hurts_nobody(
    behave: Callable[..., Outcome],
    make_cell: MakeCell,
    supervisor: isolate.Supervisor,
    tmp_path: Path,
    fault: tuple[str, str, str],
) -> None:
    how, expected, part_of_message = fault
    short = {"build": 4, "eager": 4, "verify": 4} if expected == "crashed/timeout" else {}
    row = behave(how, limits=Limits(**short, grace=0.5, memory=1000)).result
    assert verdict(row) == expected, row.message
    assert part_of_message in row.message
    assert "\x1b" not in row.message
    if how.startswith("leave a "):
        assert not Path(f"/proc/{int((tmp_path / 'marker').read_text())}").exists()
    assert isolate.run(make_cell(), supervisor).result.status == "ok"


def test_what_a_cell_reports_can_be_written_and_read_again(behave: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = behave("report what cannot be written")
    assert outcome.result.node == "abc"
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.journal.touch()
    written = folder.append(outcome)
    assert folder.load() == [written]


@pytest.mark.parametrize(("then", "expected"), [("crash", "crashed/signal"), ("kill the zygote", "crashed/lost")])
def test_shared_memory_goes_with_the_cell_that_left_it_and_no_other(
    behave: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, expected: str
) -> None:
    ours = Path(f"/dev/shm/ours-{os.getpid()}")
    monkeypatch.setenv("SWEEP_TEST_PUTS", str(ours))
    assert verdict(behave(f"leave shared memory and {then}", env=("SWEEP_TEST_PUTS",)).result) == expected
    assert ours.exists()
    ours.unlink()
    assert not Path((tmp_path / "marker").read_text()).exists()


def test_who_asks_for_a_turn_without_end_blocks_nobody(
    behave: Callable[..., Outcome], make_cell: MakeCell, supervisor: isolate.Supervisor
) -> None:
    behave("ask without end", limits=Limits(grace=0.5))  # whatever becomes of it
    assert isolate.run(make_cell(), supervisor).result.status == "ok"


CAN_FREEZE = os.access(misbehaving_models.FREEZER, os.W_OK)


@pytest.mark.parametrize("how", ["hang", *(["freeze itself"] if CAN_FREEZE else [])])
def test_a_process_that_cannot_be_killed_is_given_up(
    behave: Callable[..., Outcome],
    make_cell: MakeCell,
    supervisor: isolate.Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    with monkeypatch.context() as change:
        change.setattr(reaper, "DYING_SECONDS", 0.5)
        if how == "hang":
            change.setattr(Zygote, "signal", lambda _zygote, _number: None)  # as if it waited for a dead disk
        row = behave(how, limits=Limits(eager=2, grace=0.2)).result
        for group in misbehaving_models.FREEZER.glob("sweep-*"):
            (group / "freezer.state").write_text("THAWED")
    assert verdict(row) == "crashed/timeout"
    assert "limits.eager=2 s in phase eager" in row.message
    assert "could not be killed" in row.message
    assert isolate.run(make_cell(), supervisor).result.status == "ok"
    for group in misbehaving_models.FREEZER.glob("sweep-*"):
        group.rmdir()


def test_no_descriptor_is_left_open(behave: Callable[..., Outcome]) -> None:
    behave("well")  # so that there are two zygotes from now on
    before = len(list(Path("/proc/self/fd").iterdir()))
    for how in ("segfault", "hang", "well", "report without end"):
        behave(how, limits=Limits(eager=4, grace=0.5))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("how", ["hang", "hold the GIL", "spin", "segfault", "abort", "raise"])
def test_a_crash_says_where_in_python_it_was(behave: Callable[..., Outcome], how: str) -> None:
    row = behave(how, limits=Limits(eager=4, grace=0.5)).result
    assert row.crash is not None
    within = [frame.rpartition(" in ") for frame in row.crash.stack]
    assert next(function for file, _, function in within if "misbehaving.py" in file) == "forward"
    assert row.crash.last_lines
    expected = {"segfault": "SIGSEGV", "abort": "SIGABRT", "raise": None}
    assert row.crash.signal == expected.get(how, "SIGTERM")
    assert row.crash.exception == ("RuntimeError" if how == "raise" else None)


def test_of_endless_output_the_first_and_the_last_is_kept(behave: Callable[..., Outcome]) -> None:
    log = behave("print without end").files["cell.log"]
    assert log.startswith("the first line\n")
    assert "the last line" in log[-10_000:]
    assert "bytes left out" in log
    assert len(log) < 2_000_000


def test_only_what_a_model_needs_of_memory_counts(behave: Callable[..., Outcome]) -> None:
    """A hundred forked processes that share what they hold are not a hundred times as large."""
    row = behave("fork bomb", limits=Limits(eager=4, grace=0.5, memory=2000)).result
    assert verdict(row) == "crashed/timeout", row.message
