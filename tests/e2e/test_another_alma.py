"""An alma that is not the tested one: its helpers have other names, and it has modes that nobody knew."""

from pathlib import Path

import pytest

from tests.e2e.conftest import QUICKLY, Sweep

OPTIONS = """
from dataclasses import dataclass
import torch

@dataclass
class ConversionOption:
    mode: str
    device_override: str | None = None
    data_dtype: torch.dtype = torch.float32

MODEL_CONVERSION_OPTIONS = {
    0: ConversionOption("EAGER"),
    1: ConversionOption("BF16+EAGER"),  # alma casts the input itself
    2: ConversionOption("BF16+JIT_TRACE", data_dtype=torch.bfloat16),
    3: ConversionOption("FP64+EAGER", data_dtype=torch.float64),
    4: ConversionOption("NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED"),
    5: ConversionOption("ONNX_CPU"),
}
"""
SELECT = """
import torch
from .options import bf16, renamed

def select_forward_call_function(model, conversion, data, device):
    match conversion:
        case "EAGER":
            return model.forward
        case "BF16+EAGER":
            return bf16.get_bf16_eager_forward_call
        case "BF16+JIT_TRACE":
            return torch.jit.trace(model.to(torch.bfloat16), data).forward
        case "FP64+EAGER":
            return model.double().forward
        case "NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED":
            return renamed.get_converted(model, data)
"""
BF16 = """
import torch

def get_bf16_eager_forward_call(model):
    model = model.to(torch.bfloat16)
    return lambda data: model(data.to(torch.bfloat16))
"""
RENAMED = """
def get_converted(model, data):
    raise RuntimeError("not on this device")
"""


@pytest.fixture
def another_alma(weird_path: Path) -> dict[str, str]:
    """The environment of one that is found before the installed alma."""
    conversions = weird_path / "another" / "alma" / "conversions"
    (conversions / "options").mkdir(parents=True)
    for folder in (conversions.parent, conversions, conversions / "options"):
        (folder / "__init__.py").touch()
    (conversions / "conversion_options.py").write_text(OPTIONS)
    (conversions / "select.py").write_text(SELECT)
    (conversions / "options" / "bf16.py").write_text(BF16)
    (conversions / "options" / "renamed.py").write_text(RENAMED)
    return {"PYTHONPATH": str(weird_path / "another")}


@pytest.mark.slow
def test_another_alma_is_read_run_and_attested_as_it_is(sweep: Sweep, another_alma: dict[str, str]) -> None:
    ran = sweep("+model=mlp", "conversions=all", "dispatch=serial", *QUICKLY, env=another_alma)
    assert ran.code == 0, ran.err
    assert ran.statuses() == {
        "EAGER": "ok",
        "BF16+EAGER": "ok",
        "BF16+JIT_TRACE": "ok",
        "FP64+EAGER": "ok",
        "NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED": "crashed/raised",
        "ONNX_CPU": "invalid/unimplemented-conversion",
    }
    rows = ran.rows
    assert rows["BF16+EAGER"]["engine"]["precision"] == "bf16"
    assert "bf16-eager-factory-called" in rows["BF16+EAGER"]["compat"]
    assert rows["BF16+JIT_TRACE"]["engine"]["actual"] == "torchscript"
    assert "not on this device" in rows["NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED"]["message"]
