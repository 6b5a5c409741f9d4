import math
import sys

import pytest
from tests import rows

from sweep.errors import BadRequest
from sweep.report import mlflow
from sweep.result import Fidelity
from sweep.status import Reason


def test_a_row_in_the_nouns_of_mlflow() -> None:
    entry = mlflow.entry_of(rows.ok(message="ran eager"))
    assert entry.params == {
        "model": "mlp",
        "conversion": "ONNX_CPU",
        "device": "cpu",
        "batch_size": "4",
        "threads": "2",
        "overrides.cache": "warm",
    }
    assert entry.tags == {
        "id": "mlp-onnx_cpu-cpu-b4-0123456789",
        "status": "ok",
        "message": "ran eager",
        "node": "node-1",
        "hardware": "a CPU x2",
        "fingerprint": "abcd1234",
        "engine.actual": "onnxruntime",
        "engine.precision": "fp32",
        "versions.torch": "2.13.0",
        "quality": "firm",
        "speedup.decision": "faster",
    }
    assert entry.metrics["latency_ms.p50"] == 2.0
    assert entry.metrics["speedup.break_even_calls"] == 1375.0
    assert entry.metrics["speedup.trials"] == 3.0
    assert entry.metrics["load.heat_throttled"] == 0.0
    assert not {"schema", "batch_size", "threads", "memory_mb.cuda_peak", "id"} & entry.metrics.keys()


def test_what_never_ran_has_no_metric_and_says_why() -> None:
    entry = mlflow.entry_of(rows.not_ok(Reason.NEEDS_DEVICE, "no GPU here"))
    assert entry.metrics == {}
    assert (entry.tags["status"], entry.tags["reason"], entry.tags["message"]) == (
        *("skipped", "needs-device", "no GPU here"),
    )
    assert "threads" not in entry.params


def test_no_name_or_value_is_one_that_mlflow_refuses() -> None:
    fidelity = Fidelity(
        rel_l2=math.nan, cosine=None, max_abs=math.inf, top1_agreement=1.0, inputs=8, tolerance_class="fp32"
    )
    entry = mlflow.entry_of(rows.ok(overrides={"+model/a@b:c": "x" * 7000}, message="m" * 9000, fidelity=fidelity))
    assert len(entry.params["overrides._model_a_b_c"]) == 6000
    assert len(entry.tags["message"]) == 5000
    assert {name for name in entry.metrics if name.startswith("fidelity.")} == {
        *("fidelity.top1_agreement", "fidelity.inputs"),
    }


def test_without_mlflow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(BadRequest, match=r"pip install 'sweep\[mlflow\]'"):
        mlflow.Tracker("file:/nowhere")
