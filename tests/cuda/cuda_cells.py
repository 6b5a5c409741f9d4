"""The cells that prove what sweep says of a GPU: of lies, of what is honest, and of models in every mode."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cuda.cuda_lies import HONEST, LIES

from sweep.cell import Cell, Device, Measure, Mode, Model, Tolerance

HERE = Path(__file__).parent

LAYERS: dict[str, Any] = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {"_target_": "torch.nn.Linear", "in_features": 1024, "out_features": 4096},
        {"_target_": "torch.nn.ReLU"},
        {"_target_": "torch.nn.Linear", "in_features": 4096, "out_features": 1024},
    ],
    "input": {"shape": [1024]},
}
"""Large enough for a GPU to take tensor cores, and for its work to take longer than launching it."""

BERT: dict[str, Any] = {
    "_target_": "cuda_models.Bert",
    "input": {"shape": [128], "dtype": "int64", "fill": "integers", "high": 30522},
}

QUICKLY = Measure(max_warmup_seconds=0.5, block_seconds=0.05, seconds=0.4, budget=0, verify_after_calls=32)


def mode(name: str, kind: str) -> Mode:
    """The label of a lie, or of what is honest and looks like one."""
    function, engine = {**LIES, **HONEST}[name]
    return Mode(
        name=name,
        runs_on=(kind,),
        needs=(),
        dtype="float32",
        precision="fp32",
        engine=engine,
        implemented=True,
        target=f"cuda_lies.{function}",
        source="configuration",
    )


def of_lie(name: str, device: Device, tolerance: Mapping[str, Tolerance]) -> Cell:
    """The cell of a lie, or of what is honest and looks like one."""
    return Cell(
        id=f"layers-{name.lower()}-{device.name}",
        model=Model(name="layers", config=LAYERS),
        conversion=name,
        mode=mode(name, device.kind),
        device=device,
        batch_size=256,
        measure=QUICKLY,
        tolerance=tolerance,
        python_path=(str(HERE),),
    )
