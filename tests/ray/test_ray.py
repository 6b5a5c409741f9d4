"""The same rows through a real Ray as one after the other, and a row for what Ray loses."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import ray
from sweep import reaper
from sweep.cell import Cell, Device, Measure, Model, Request, Tolerance
from sweep.dispatch import Dispatcher, connection, create, patience
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.node import Node
from sweep.dispatch.ray import RayDispatcher
from sweep.errors import BadEnvironment, CarrierLost
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.plan.inventory import all_modes
from sweep.request.settings import Dispatch
from sweep.result import Result

ROOT = Path(__file__).parents[2]
HELPERS = str(ROOT / "tests" / "process")


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "model": Model(
            name="linear",
            config={"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 4, "input": {"shape": [8]}},
        ),
        "device": Device(name="cpu"),
        "conversions": ("EAGER", "OPENVINO", "JIT_TRACE", "COMPILE_CUDAGRAPHS", "ONNX_CPU"),
        "python_path": (HELPERS,),
        "measure": Measure(max_warmup_seconds=0.5, block_seconds=0.03, seconds=0.2, budget=0),
        "tolerance": {"fp32": Tolerance(rel_l2=1e-4)},
    }
    return Request(**values | changes)


def misbehaving(how: str) -> Model:
    config = {"_target_": "misbehaving.Misbehaving", "how": how, "input": {"shape": [8]}}
    return Model(name=how.replace(" ", "_"), config=config)


def rows(options: Dispatch, requests: list[Request]) -> list[tuple[str, str, str | None]]:
    """Every row of a sweep, refused and run, as id, status and reason."""
    with closing(create(options)) as dispatcher:
        nodes = dispatcher.nodes()
        ready, refused = validate.split_by_eligibility(expand(requests, all_modes(nodes)), nodes)
        ended = [outcome.result for outcome in dispatcher.run(Backlog(ready, 0), lambda cell: None)]
    return sorted((row.id, row.status, row.reason) for row in [*refused, *ended])


def test_ray_gives_the_rows_that_serial_gives() -> None:
    requests = [
        request(),
        request(device=Device(name="cuda", kind="cuda", gpus=1), conversions=("EAGER",)),
        request(model=misbehaving("segfault"), conversions=("EAGER",)),
        request(model=misbehaving("raise"), conversions=("EAGER",)),
    ]
    serial, ray = rows(Dispatch(name="serial"), requests), rows(Dispatch(), requests)
    assert ray == serial
    assert [(status, reason) for _, status, reason in serial].count(("ok", None)) == 3
    assert ("skipped", "no-node") in [(status, reason) for _, status, reason in serial]


@pytest.fixture
def local_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayDispatcher]:
    """Closed after the test; then nothing is left in the temporary folder."""
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr("tempfile.tempdir", None)
        dispatcher = RayDispatcher(Dispatch())
        yield dispatcher
        dispatcher.close()
        assert not list(Path(folder).iterdir())


def listening(pids: set[int]) -> set[str]:
    """The addresses that these processes listen on, as /proc/net has them: 127.0.0.1 ends in 0100007F."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # LISTEN
                sockets[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    found = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(sockets.get(str(descriptor.readlink()), ""))
    return found - {""}


def test_a_local_ray_listens_to_this_machine_alone(local_ray: RayDispatcher, make_cell: Callable[..., Cell]) -> None:
    (outcome,) = local_ray.run(Backlog([make_cell()], 0), lambda cell: None)
    assert outcome.result.status == "ok"
    addresses = listening({os.getpid(), *reaper.descendants(os.getpid())})
    assert addresses
    assert {address[-8:] for address in addresses} == {"0100007F"}


@pytest.mark.slow
def test_a_supervisor_that_is_killed_costs_no_cell_but_the_one_that_kills_it(make_cell: Callable[..., Cell]) -> None:
    """Those that ran beside it are lost with it once, and then each runs alone."""
    cells = [
        make_cell(id="killer", model=misbehaving("kill the supervisor")),
        *(make_cell(id=f"beside {n}", model=misbehaving("take two seconds")) for n in range(2)),
        make_cell(id="after"),
    ]
    row_of = recorded(RayDispatcher(Dispatch(cells_per_node=3)), Backlog(cells, retries=1))
    assert row_of["killer"].reason == "lost"
    assert "Ray task" in row_of["killer"].message
    assert len(row_of["killer"].attempts) == 2
    assert all(attempt.startswith("lost, ") for attempt in row_of["killer"].attempts)
    assert {name for name, row in row_of.items() if row.status == "ok"} == {"beside 0", "beside 1", "after"}


def recorded(dispatcher: Dispatcher, backlog: Backlog, then: Callable[[], None] = lambda: None) -> dict[str, Result]:
    """Every row by its cell, each recorded once; `then` is called after each outcome. Closes the dispatcher."""
    row_of: dict[str, Result] = {}
    with closing(dispatcher):
        for outcome in dispatcher.run(backlog, lambda cell: None):
            for ended in backlog.ended(outcome):
                assert ended.result.id not in row_of
                row_of[ended.result.id] = ended.result
            then()
        assert ray.is_initialized(), "leaving it takes seconds, which whoever reads the rows need not wait"
    assert not ray.is_initialized()
    return row_of


@pytest.fixture
def cluster() -> Iterator[Any]:
    with three_nodes() as nodes:
        yield nodes


@contextmanager
def three_nodes() -> Iterator[Any]:
    """A cluster of nodes of one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        client = probe.getsockname()[1]
    head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": client}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        for number in range(2):
            nodes.add_node(num_cpus=1, resources={f"node_{number}": 1})
        nodes.client = f"ray://127.0.0.1:{client}"  # type: ignore[attr-defined]
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_a_cluster_gives_the_rows_that_serial_gives(cluster: Any) -> None:
    requests = [
        request(),
        request(device=Device(name="cuda", kind="cuda", gpus=1), conversions=("EAGER",)),
        request(model=misbehaving("segfault"), conversions=("EAGER",)),
    ]
    assert rows(Dispatch(address=cluster.address), requests) == rows(Dispatch(name="serial"), requests)


@pytest.mark.slow
def test_each_cell_goes_where_there_is_what_its_device_asks_for(
    cluster: Any, make_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one for a GPU that a node declares and has no driver for goes nowhere."""
    cluster.add_node(num_cpus=1, num_gpus=1, resources={"accelerator_type:A100": 1})
    dispatcher = RayDispatcher(Dispatch(address=cluster.address))
    nodes = dispatcher.nodes()
    assert len(nodes) == 4
    assert len({node.fingerprints["cpu"] for node in nodes}) == 1
    devices = [Device(name=name, resources={name: 1}) for name in ("node_0", "node_1")]
    gpu = Device(name="a100", kind="cuda", gpus=1, accelerator="A100")
    cells = [make_cell(id=f"{device.name} {n}", device=device) for device in (*devices, gpu) for n in range(2)]
    ready, refused = validate.split_by_eligibility(cells, nodes)
    assert {row.id: (row.status, row.reason) for row in refused} == dict.fromkeys(
        ("a100 0", "a100 1"), ("skipped", "no-node")
    )
    assert "offers 1 GPU to Ray, but torch finds none there" in refused[0].message
    went: dict[str, set[str]] = {}
    launch = RayDispatcher._launch

    def noted(self: RayDispatcher, node: Node, cell: Cell, *others: Any, **options: Any) -> None:
        went[cell.id] = {name for name in node.has.resources if name.startswith("node_")}
        launch(self, node, cell, *others, **options)

    monkeypatch.setattr(RayDispatcher, "_launch", noted)
    row_of = recorded(dispatcher, Backlog(ready, 0))
    assert {row.status for row in row_of.values()} == {"ok"}
    assert went == {cell.id: {cell.device.name} for cell in ready}
    assert {row.fingerprint for row in row_of.values()} == {nodes[0].fingerprints["cpu"]}


@pytest.mark.slow
def test_a_node_that_joins_is_asked_what_it_has_and_used(cluster: Any, make_cell: Callable[..., Cell]) -> None:
    dispatcher = RayDispatcher(Dispatch(address=cluster.address))
    before = dispatcher.nodes()
    cells = [make_cell(id=f"{n}", model=misbehaving("take two seconds")) for n in range(9)]
    added: list[Any] = []

    def add_a_node() -> None:
        if not added:
            added.append(cluster.add_node(num_cpus=1, labels={"late": "yes"}))

    row_of = recorded(dispatcher, Backlog(cells, 0), add_a_node)
    assert {row.status for row in row_of.values()} == {"ok"}
    after = dispatcher.nodes()
    assert len(after) == len(before) + 1
    assert after[-1].labels["late"] == "yes"


@pytest.mark.slow
def test_the_users_own_code_reaches_the_nodes(cluster: Any, make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    """By the client's way in, from a folder that no node has."""
    project = tmp_path / "project"
    project.mkdir()
    marker = tmp_path / "marker"
    (project / "shipped.py").write_text(
        "import pathlib, torch\n"
        "class Mine(torch.nn.Linear):\n"
        "    def __init__(self, marker, **kwargs):\n"
        "        super().__init__(8, 4)\n"
        "        pathlib.Path(marker).write_text(__file__)\n"
    )
    weights = project / "weights.pt"
    import torch

    torch.save(torch.nn.Linear(8, 4).state_dict(), weights)
    config = {"_target_": "shipped.Mine", "marker": str(marker), "input": {"shape": [8]}, "checkpoint": str(weights)}
    cell = make_cell(model=Model(name="mine", config=config), python_path=(str(project),))
    dispatcher = RayDispatcher(Dispatch(address=cluster.client, working_dir=str(project)))
    assert len(dispatcher.nodes()) == 3
    project.rename(tmp_path / "gone")
    (row,) = recorded(dispatcher, Backlog([cell], 0)).values()
    assert row.status == "ok", row.message
    assert not marker.read_text().startswith(str(tmp_path))


def test_a_cluster_that_cannot_be_reached_is_said() -> None:
    with pytest.raises(BadEnvironment, match="cannot reach the cluster"):
        RayDispatcher(Dispatch(address="127.0.0.1:1")).nodes()


def test_a_client_server_that_died_while_it_started_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does one time in ten on an idle machine: Ray forks it while threads of gRPC run."""
    tries: list[int] = []

    def begin(**_arguments: Any) -> None:
        tries.append(1)
        if len(tries) < wanted:
            raise ConnectionAbortedError(
                f"Initialization failure from server:\n{message}. See ray_client_server_23000.err"
            )

    monkeypatch.setattr("ray.init", begin)
    monkeypatch.setattr("sweep.dispatch.connect.check_that_somebody_listens", lambda address: None)
    for wanted, message, expected in [
        (2, "Starting Ray client server failed", 2),
        (9, "Starting Ray client server failed", 4),
        (2, "Version mismatch", 1),
    ]:
        tries.clear()
        dispatcher = RayDispatcher(Dispatch(address="ray://127.0.0.1:1"))
        with nullcontext() if expected == wanted else pytest.raises(BadEnvironment, match=message):
            dispatcher._connection.open()
        dispatcher.close()
        assert len(tries) == expected


@pytest.mark.slow
def test_a_node_that_goes_away_in_mid_sweep_costs_no_row(cluster: Any, make_cell: Callable[..., Cell]) -> None:
    config = {"_target_": "misbehaving.Misbehaving", "how": "take two seconds", "input": {"shape": [8]}}
    cells = [make_cell(id=f"cell-{n}", model=Model(name="m", config=config)) for n in range(9)]
    went: list[Any] = []

    def lose_a_node() -> None:
        if not went:  # the first outcome is there, so the other two nodes are at work
            went.append(cluster.worker_nodes.copy().pop())
            cluster.remove_node(went[0], allow_graceful=False)

    row_of = recorded(RayDispatcher(Dispatch(address=cluster.address)), Backlog(cells, retries=2), lose_a_node)
    assert {name: row.status for name, row in row_of.items()} == {cell.id: "ok" for cell in cells}
    tried_twice = [row for row in row_of.values() if len(row.attempts) > 1]
    assert len(tried_twice) == 1
    assert tried_twice[0].attempts[0].startswith("lost, ")
    assert tried_twice[0].attempts[1].startswith("ok on ")


@pytest.mark.slow
def test_a_cell_waits_for_a_node_that_joins_late_and_no_longer_than_it_may(
    cluster: Any, make_cell: Callable[..., Cell]
) -> None:
    cells = [make_cell(id=name, device=Device(name=name, resources={name: 1})) for name in ("late", "never")]
    dispatcher = RayDispatcher(Dispatch(address=cluster.address, wait_nodes=8))
    told: list[str] = []
    found = {}
    with closing(dispatcher):
        nodes = dispatcher.nodes()
        assert len(validate.split_by_eligibility(cells, nodes)[0]) == 0
        ready, _ = validate.split_by_eligibility(cells, nodes, may_come=True)
        backlog = Backlog(ready, 0)

        def and_one_joins(text: str) -> None:
            if not told:
                cluster.add_node(num_cpus=1, resources={"late": 1})
            told.append(text)

        for outcome in dispatcher.run(backlog, lambda cell: None, and_one_joins):
            found.update({ended.result.id: ended.result for ended in backlog.ended(outcome)})
    assert (found["late"].status, found["never"].reason) == ("ok", "no-node"), found
    assert told[0] == "waits 8 s at most for a node that can run EAGER on late, EAGER on never"


def test_who_has_a_busy_node_is_said(
    cluster: Any, make_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trainer:
        """Of somebody else, who has a node for herself."""

        def ready(self) -> None:
            pass

    monkeypatch.setattr(patience, "BUSY_SECONDS", 1.0)
    told: list[str] = []
    with closing(RayDispatcher(Dispatch(address=cluster.address))) as dispatcher:
        dispatcher.nodes()
        holder: Any = ray.remote(num_cpus=1, resources={"node_0": 1})(Trainer).remote()
        ray.get(holder.ready.remote())
        cell = make_cell(device=Device(name="node_0", resources={"node_0": 1}))

        def and_let_go(text: str) -> None:
            told.append(text)
            ray.kill(holder)

        (outcome,) = dispatcher.run(Backlog([cell], 0), lambda cell: None, and_let_go)
    assert outcome.result.status == "ok"
    assert "waits for " in told[0]
    assert "1 of its 1 CPUs are in use, by 1 x test_who_has_a_busy_node_is_said.<locals>.Trainer" in told[0]


def fails_on(folder: Path) -> Model:
    config = {"_target_": "sick.Linear", "folder": str(folder), "input": {"shape": [8]}}
    return Model(name="sick", config=config)


@pytest.mark.slow
def test_a_sick_node_costs_no_row_of_a_healthy_model(
    cluster: Any, make_cell: Callable[..., Cell], tmp_path: Path
) -> None:
    """The first node to run a cell is the sick one; all of them are on one machine, so a file says which that is."""
    cells = [
        make_cell(id=f"{name}-{batch}", conversion=name, batch_size=batch, model=fails_on(tmp_path))
        for name in ("EAGER", "JIT_TRACE")
        for batch in (1, 2)
    ]
    dispatcher = RayDispatcher(Dispatch(address=cluster.address))
    row_of = recorded(dispatcher, Backlog(cells, 0))
    assert {row.status for row in row_of.values()} == {"ok"}, [row.message for row in row_of.values()]
    assert any(len(row.attempts) == 2 for row in row_of.values())


def test_a_local_ray_is_started_again_twice_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def fails(connected: connection.Connection) -> None:
        opened.append(connected)
        raise CarrierLost("it does not start")

    monkeypatch.setattr(connection.Connection, "open", fails)
    with pytest.raises(CarrierLost, match="it does not start, after 2 new starts"):
        connection.Connection(Dispatch()).restart("the local Ray lost its raylet")
    assert len(opened) == connection.MOST_RESTARTS


def test_a_local_ray_that_dies_while_it_starts_leaves_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*, _temp_dir: str, **_arguments: Any) -> None:
        (Path(_temp_dir) / "session_1" / "logs").mkdir(parents=True)
        raise ConnectionError("its gcs_server is gone")

    monkeypatch.setattr(ray, "init", dies)
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        with pytest.raises(CarrierLost, match="its gcs_server is gone"):
            connection.Connection(Dispatch()).open()
        assert not list(Path(folder).iterdir())


@pytest.mark.slow
def test_a_cluster_whose_head_dies_leaves_the_rest_to_be_gone_on_with(make_cell: Callable[..., Cell]) -> None:
    """In a process of its own: Ray ends every one that has asked for a cluster's nodes a minute after its head died."""
    cells = [make_cell(id=str(number)) for number in range(20)]
    program = "from tests.ray.test_ray import until_the_head_dies; until_the_head_dies()"
    ended = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(cells), capture_output=True, cwd=ROOT, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()


def until_the_head_dies() -> None:
    """Run the cells that come on standard input on a cluster, the head node of which dies when the first has ended."""
    cells = pickle.load(sys.stdin.buffer)
    connection.GONE_SECONDS = 2.0
    with three_nodes() as cluster, closing(RayDispatcher(Dispatch(address=cluster.address))) as dispatcher:
        outcomes = dispatcher.run(Backlog(cells, 0), lambda cell: None)
        assert next(outcomes).result.status == "ok"
        cluster.head_node.kill_gcs_server()
        with pytest.raises(CarrierLost, match="nobody listens at"):
            list(outcomes)


def test_closing_early_ends_what_runs(local_ray: RayDispatcher, make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    config = {
        "_target_": "misbehaving.Misbehaving",
        "how": "leave a grandchild and hang",
        "marker": str(marker),
        "input": {"shape": [8]},
    }

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if marker.exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    def interrupt_when_it_hangs(_cell: Cell) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)

    outcomes = local_ray.run(Backlog([make_cell(model=Model(name="m", config=config))], 0), interrupt_when_it_hangs)
    try:
        with pytest.raises(KeyboardInterrupt):
            next(outcomes)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert int(marker.read_text()) > 0  # and no_process_survives looks for both
