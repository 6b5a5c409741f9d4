"""What several kinds of tests need: alma's registry as a file, cells to start from, and no process left behind."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from sweep.cell import Cell, Device, Limits, Measure, Mode, Model, Tolerance
from sweep.plan import registry
from sweep.request.unseen import THREADS

HERE = Path(__file__).parent

MakeCell = Callable[..., Cell]

HAS_GPU = any(True for _ in Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()

collect_ignore = [] if HAS_GPU else ["cuda"]
"""What needs a GPU is not collected without one: a skipped test looks like one that passed."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what no run here can show."""
    if not HAS_GPU:
        terminalreporter.section("CUDA was not checked")
        terminalreporter.write_line(
            "There is no GPU here: nothing in tests/cuda was run. docs/cuda.md says what that leaves."
        )


@pytest.fixture(scope="session")
def surveyed() -> list[dict[str, Any]]:
    """What alma-torch 0.3.7 registers, as a child reads it; a process test compares it with the installed alma."""
    modes: list[dict[str, Any]] = json.loads((HERE / "unit" / "alma_0_3_7.json").read_text())
    return modes


@pytest.fixture(scope="session")
def modes(surveyed: list[dict[str, Any]]) -> dict[str, Mode]:
    return registry.modes(surveyed)


@pytest.fixture
def make_cell(modes: dict[str, Mode]) -> MakeCell:
    """Builds a cell of a small linear model; keywords replace its fields."""

    def make(**changes: Any) -> Cell:
        conversion = changes.pop("conversion", "EAGER")
        values: dict[str, Any] = {
            "id": f"linear-{conversion.lower()}-cpu-b2-0123456789",
            "model": Model(
                name="linear",
                config={
                    "_target_": "torch.nn.Linear",
                    "in_features": 8,
                    "out_features": 4,
                    "input": {"shape": [8]},
                },
            ),
            "conversion": conversion,
            "mode": modes.get(conversion),
            "device": Device(name="cpu"),
            "batch_size": 2,
            "threads": 1,
            "seed": 0,
            "cache": "cold",
            "start": "fork",
            "env": (),
            "python_path": (str(HERE / "process"),),
            "measure": Measure(max_warmup_seconds=0.5, block_seconds=0.03, seconds=0.2, budget=0),
            "limits": Limits(grace=1),
            "tolerance": {"fp32": Tolerance(rel_l2=1e-4), "bf16": Tolerance(rel_l2=5e-2), "int4": Tolerance()},
            "overrides": {},
        }
        return Cell(**values | changes)

    return make


@pytest.fixture
def weird_path(tmp_path: Path) -> Path:
    """A folder whose name has what shells, URLs and globs stumble over."""
    path = tmp_path / 'it\'s a "weird" [path] ü $HOME'
    path.mkdir()
    return path


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Runs two tests at a time; those that share what takes long to start run in one process."""

    TOGETHER = (
        *((folder, None) for folder in ("gallery/", "page/", "process/", "e2e/test_compare", "e2e/test_odd_models")),
        *((folder, "cluster") for folder in ("ray/", "e2e/test_recipes")),
    )
    """How names of files begin whose tests go together: those of each file, or of all files with that name."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        for start, group in self.TOGETHER:
            if file.removeprefix("tests/").startswith(start):
                return group or file
        return nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    config.option.loadscopereorder = False
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, or the last test runs alone."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


MARK = "LC_SWEEP_TESTS"  # LC_* reaches a cell, and all that it starts


@pytest.fixture(scope="session", autouse=True)
def mark_processes() -> Iterator[None]:
    os.environ[MARK] = str(os.getpid())
    for name in THREADS:  # a sweep is refused where one is set
        os.environ.pop(name, None)
    # a shell starts background jobs with SIGINT ignored, and so would be every process that tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup does the same with this
    yield
    assert not marked_processes(also_kept=True)


def marked_processes(*, of_ray: bool = False, also_kept: bool = False) -> dict[int, str]:
    """What this test session started and is still there: Ray's processes only `of_ray`, and only if `also_kept` its own
    zygotes, and the controls that its supervisors keep.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes().split(b"\0")
                name, _, numbers = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                parent = int(numbers.split()[1])
            except OSError:
                continue
            ray = any(mark in command for mark in ("ray::", "raylet", "gcs_server", "/ray/"))
            # a supervisor keeps them: that of a file until its tests are over
            ours = name == "sweep-control" or ("sweep.child.zygote" in command and parent == os.getpid())
            if (of_ray or not ray) and (also_kept or not ours) and f"{MARK}={os.getpid()}".encode() in environment:
                found[int(entry.name)] = command
    return found


@pytest.fixture(scope="session", autouse=True)
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where sweep remembers, for all tests together: what is installed takes seconds to find out."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "sweep"


@pytest.fixture(autouse=True)
def no_times_remembered(remembered: Path) -> None:
    """How long cells of earlier tests took decides which go first."""
    (remembered / "seconds.json").unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def no_process_survives() -> Iterator[None]:
    """Fails a test after which a process that a cell started is still there."""
    yield
    assert not marked_processes()
