import dataclasses
from typing import Any

import pytest

from sweep.cell import Limits, Measure, Phase
from sweep.evidence import Engine
from sweep.result import Eager, Fidelity, Latency, Result, Speedup
from sweep.status import Reason, Status

ROW: dict[str, Any] = {
    "id": "a",
    "model": "m",
    "conversion": "EAGER",
    "device": "cpu",
    "batch_size": 1,
    "threads": None,
}
PROOF: dict[str, Any] = {
    "latency_ms": Latency(p50=1, p90=1, p99=1, mean=1, std=0, min=1, max=1, n=30, p50_low=1, p50_high=1),
    "eager": Eager(p50_ms=1, n=30),
    "speedup": Speedup(value=1, low=1, high=1),
    "fidelity": Fidelity(rel_l2=0, cosine=1, max_abs=0, top1_agreement=1, inputs=8, tolerance_class="fp32"),
    "engine": Engine(requested="eager", actual=None, precision=None),
}


def test_a_reason_belongs_to_one_status_and_the_contract_has_no_other() -> None:
    contract = {
        "mismatch": "output engine device",
        "invalid": "unknown-conversion unimplemented-conversion unknown-model bad-model bad-data unknown-device",
        "skipped": "needs-device no-node needs-package eager-fails excluded duplicate interrupted",
        "crashed": "raised signal exited timeout memory lost no-report",
    }
    assert {reason.value: reason.status.value for reason in Reason} == {
        reason: status for status, reasons in contract.items() for reason in reasons.split()
    }


def test_a_proved_result_is_ok() -> None:
    assert Result(**ROW, status=Status.OK, **PROOF).status == "ok"


@pytest.mark.parametrize("missing", PROOF)
def test_ok_cannot_be_built_without_its_proof(missing: str) -> None:
    proof = {name: part for name, part in PROOF.items() if name != missing}
    with pytest.raises(ValueError, match=missing):
        Result(**ROW, status=Status.OK, **proof)


def test_ok_has_no_reason() -> None:
    with pytest.raises(ValueError, match="no reason"):
        Result(**ROW, status=Status.OK, reason=Reason.OUTPUT, **PROOF)


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (Status.CRASHED, None, "why"),
        (Status.CRASHED, Reason.OUTPUT, "why"),
        (Status.SKIPPED, Reason.NO_NODE, ""),
    ],
)
def test_every_other_status_needs_its_own_reason_and_a_message(
    status: Status, reason: Reason | None, message: str
) -> None:
    with pytest.raises(ValueError, match="a: "):
        Result(**ROW, status=status, reason=reason, message=message)


def test_nouns_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Measure().trials = 2  # type: ignore[misc]


def test_fewer_than_thirty_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="trials"):
        Measure(trials=0)


def test_a_deadline_must_leave_time() -> None:
    with pytest.raises(ValueError, match=r"limits\.eager"):
        Limits(eager=0)


def test_every_phase_has_a_deadline() -> None:
    assert all(Limits().of(phase) > 0 for phase in Phase)
