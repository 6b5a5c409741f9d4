"""Every mode alma registers, on a CPU-only host, through the command line."""

import pytest

from tests.e2e.conftest import QUICKLY, Ran, Sweep


@pytest.mark.slow
def test_every_registered_mode_has_a_true_row(sweep: Sweep) -> None:
    ran: Ran = sweep("+model=mlp", "conversions=all", "device=cpu", "batch_size=4", *QUICKLY)
    assert ran.code == 0, ran.err
    rows = ran.rows
    assert len(rows) == 72
    statuses = ran.statuses()
    assert statuses.pop("OPTIMIM_QUANTO_Wf8E5M2+COMPILE_CUDAGRAPHS") == "invalid/unimplemented-conversion"

    elsewhere = ("CUDAGRAPHS", "TENSORRT", "OPENXLA", "TVM", "ONNX_GPU", "ONNXRT", "AUTOQUANT", "TORCHAO_QUANT_I4")
    cannot = {name for name in statuses if any(word in name for word in elsewhere)}
    assert {name: s for name, s in statuses.items() if name in cannot and not s.startswith("skipped/")} == {}
    not_calibrated = {name for name in statuses if name.startswith(("OPTIMUM_QUANTO_AI8", "NATIVE_CONVERT"))} - cannot
    assert {statuses[name] for name in not_calibrated} <= {"mismatch/output", "unproved/output"}
    two_bits = {"OPTIMUM_QUANTO_WI2"}  # what that loses on random weights may leave no room to prove anything
    assert {statuses[name] for name in two_bits} <= {"ok", "unproved/output"}
    ranges_follow_the_data = {"NATIVE_FAKE_QUANTIZED_AI8WI8_STATIC"}  # its observers stay on
    assert {statuses[name] for name in ranges_follow_the_data} <= {"ok", "mismatch/output"}
    others = statuses.keys() - cannot - not_calibrated - two_bits - ranges_follow_the_data
    assert {name: statuses[name] for name in others if statuses[name] != "ok"} == {}
    assert sum(row["latency_ms"] is not None for row in rows.values()) == 45
    assert all(row["message"] for name, row in rows.items() if name in cannot)

    measured = [row for row in rows.values() if row["latency_ms"]]
    assert all(row["engine"]["actual"] in row["engine"]["requested"].split(" or ") for row in measured)
    assert all(row["engine"]["evidence"] for row in measured)
    assert all(row["fidelity"]["outputs"] for row in measured)
    shares = {row["engine"]["share"] for row in measured}
    assert shares <= {None, 1.0}, shares
    openvino = rows["COMPILE_OPENVINO"]
    assert (openvino["engine"]["precision"] == "bf16") is ("computes in bf16" in openvino["message"])
    bf16 = rows["BF16+EAGER"]
    assert "bf16-eager-factory-called" in bf16["compat"]
    assert 1e-4 < bf16["fidelity"]["rel_l2"] < 2e-2  # unit roundoff of bf16 is 3.9e-3: it really ran, and in bf16
    assert rows["EAGER"]["fidelity"]["rel_l2"] == 0
    assert "export-for-training-renamed" in rows["EXPORT+AI8WI8_STATIC_QUANTIZED"]["compat"]
    assert "onnx-dynamo-export-renamed" in rows["ONNX+DYNAMO_EXPORT"]["compat"]
    assert "onnx-dynamo-export-renamed" not in rows["ONNX_CPU"]["compat"]
    assert "native-convert-device-defined" in rows["NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED"]["compat"]
