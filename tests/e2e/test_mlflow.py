"""Rows in MLflow's stores: one in files, and one on a server that goes away."""

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import BadRequest
from sweep.report.mlflow import MOST_FAILURES, Tracker
from sweep.status import Reason, Status
from tests import rows
from tests.e2e.conftest import Sweep

mlflow: Any = pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 takes no folder without


def test_each_row_is_a_run_of_its_experiment(weird_path: Path) -> None:
    uri = str(weird_path / "store")
    made = [rows.ok(), rows.crashed(id="dead"), rows.not_ok(Reason.NEEDS_DEVICE, "no GPU here", id="elsewhere")]
    tracker = Tracker(uri)
    for row in made:
        tracker.ended(row)
    assert tracker.problems == []
    runs = {run.info.run_name: run for run in stored(uri)}
    assert {name: run.info.status for name, run in runs.items()} == {
        made[0].id: "FINISHED",
        "dead": "FAILED",
        "elsewhere": "FAILED",
    }
    first = runs[made[0].id]
    assert first.data.metrics["speedup.value"] == 2.0
    assert first.data.params["overrides.cache"] == "warm"
    assert first.data.tags["versions.torch"] == "2.13.0"
    assert first.info.end_time - first.info.start_time == 10_750  # 9.5 s, and 1.25 s waited
    assert runs["elsewhere"].data.metrics == {}
    assert runs["elsewhere"].data.tags["message"] == "no GPU here"
    Tracker(uri).ended(rows.ok(id="later"))
    assert len(stored(uri)) == 4  # in the same experiment


def test_a_newer_row_goes_into_the_run_that_its_cell_has(weird_path: Path) -> None:
    uri = str(weird_path / "store")
    tracker = Tracker(uri)
    tracker.ended(rows.ok(message="ran eager"))
    tracker.refined(rows.ok(speedup=rows.speedup(1.5, confirming=3, break_even_calls=None)))
    (run,) = stored(uri)
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["speedup.value"], run.data.metrics["speedup.trials"]) == (1.5, 3)
    assert math.isnan(run.data.metrics["speedup.break_even_calls"])  # it had one before
    assert "message" not in run.data.tags
    assert run.data.params["conversion"] == "ONNX_CPU"
    history = mlflow.MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "speedup.value")
    assert [(metric.step, metric.value) for metric in history] == [(0, 2.0), (1, 1.5)]
    tracker.refined(rows.ok(status=Status.MISMATCH, reason=Reason.OUTPUT, message="off, the third time"))
    (run,) = stored(uri)
    assert (run.info.status, run.data.tags["status"]) == ("FAILED", "mismatch")
    assert run.data.metrics["speedup.break_even_calls"] == 1375
    assert tracker.problems == []


def stored(uri: str) -> list[Any]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    return list(client.search_runs([client.get_experiment_by_name("sweep").experiment_id]))


def test_a_deleted_experiment_is_told_before_anything_runs(weird_path: Path) -> None:
    uri = str(weird_path / "store")
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.create_experiment("sweep"))
    with pytest.raises(BadRequest, match="was deleted there"):
        Tracker(uri)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1", "nonsense://there", "sqlite:////nowhere/at/all.db", "/proc/none"]
)
def test_a_store_that_cannot_be_used_is_told_before_anything_runs(uri: str) -> None:
    with pytest.raises(BadRequest, match=f"record.mlflow={uri}: "):
        Tracker(uri)


def test_mlflow_says_itself_how_to_allow_a_folder(weird_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    with pytest.raises(BadRequest, match="MLFLOW_ALLOW_FILE_STORE=true"):
        Tracker(str(weird_path / "store"))


RUN = {"run_id": "ab12", "run_uuid": "ab12", "experiment_id": "7", "status": "RUNNING", "lifecycle_stage": "active"}
ANSWERS = {
    "experiments/get-by-name": {
        "experiment": {"experiment_id": "7", "name": "sweep", "artifact_location": "/", "lifecycle_stage": "active"}
    },
    "runs/create": {"run": {"info": RUN, "data": {}}},
    "runs/get": {"run": {"info": RUN, "data": {}}},
    "runs/update": {"run_info": RUN},
    "runs/log-batch": {},
}


class Server(ThreadingHTTPServer):
    """Speaks as much of MLflow's REST API as a tracker asks for, and keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.told: list[str] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def go_away(self) -> None:
        self.shutdown()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        name = self.path.partition("/mlflow/")[2].partition("?")[0]
        self.server.told.append(name)
        body = json.dumps(ANSWERS[name]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - named by http.server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what a server prints is no part of a test."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_server_that_goes_away_is_tried_a_few_times_and_told_of_at_the_end(server: Server) -> None:
    tracker = Tracker(server.uri)
    tracker.ended(rows.ok())
    changes = [name for name in server.told if not name.endswith(("get", "get-by-name"))]
    assert changes == ["runs/create", "runs/log-batch", "runs/update"]
    server.go_away()
    for number in range(MOST_FAILURES + 4):
        tracker.ended(rows.ok(id=str(number)))
    *said, last = tracker.problems
    assert said
    assert all(problem.startswith("MLflow did not take a row: ") for problem in said)
    assert last == "MLflow lacks 7 rows; results.jsonl has them"


def test_a_sweep_logs_each_of_its_rows(sweep: Sweep, server: Server) -> None:
    ran = sweep("+model=mlp", "conversion=EGAER,EAGRE", "dispatch=serial", f"record.mlflow={server.uri}")
    assert ran.code == 0, ran.err
    assert len(ran.rows) == 2
    assert server.told.count("runs/log-batch") == 2


def test_a_sweep_that_cannot_log_does_not_start(sweep: Sweep, weird_path: Path) -> None:
    ran = sweep("+model=mlp", "conversion=EGAER", "dispatch=serial", "record.mlflow=http://127.0.0.1:1")
    assert ran.code == 2
    assert ran.err.startswith("sweep: record.mlflow=http://127.0.0.1:1: ")
    assert list(weird_path.iterdir()) == []
