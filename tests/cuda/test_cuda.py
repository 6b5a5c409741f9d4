"""On a machine with an NVIDIA GPU only: what sweep says of one is so. Without one this folder is not even collected."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tests.cuda.cuda_cells import BERT, HERE, QUICKLY, of_lie
from tests.cuda.cuda_lies import HONEST, LIES

from sweep import isolate
from sweep.cell import Cell, Device, Model, Tolerance
from sweep.child import device, measure

CUDA = Device(name="cuda", kind="cuda", gpus=1)
SHIPPED: Any = OmegaConf.load(Path(__file__).parents[2] / "conf" / "tolerance" / "default.yaml")
TOLERANCE = {str(name): Tolerance(**figures) for name, figures in SHIPPED.items()}


@pytest.fixture(scope="module")
def supervisor() -> Iterator[isolate.Supervisor]:
    with isolate.Supervisor() as supervisor:
        yield supervisor


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_out(supervisor: isolate.Supervisor, lie: str) -> None:
    row = isolate.run(of_lie(lie, CUDA, TOLERANCE), supervisor).result
    assert row.status == "mismatch", row.message


@pytest.mark.parametrize("honest", HONEST)
def test_what_is_honest_stays_ok(supervisor: isolate.Supervisor, honest: str) -> None:
    row = isolate.run(of_lie(honest, CUDA, TOLERANCE), supervisor).result
    assert row.status == "ok", row.message


@pytest.mark.slow
@pytest.mark.parametrize("model", ["layers", "bert"])
@pytest.mark.parametrize(
    "conversion",
    [
        *("EAGER", "EXPORT+EAGER", "JIT_TRACE", "FP16+EAGER", "BF16+EAGER", "COMPILE_INDUCTOR_DEFAULT"),
        *("COMPILE_INDUCTOR_REDUCE_OVERHEAD", "COMPILE_CUDAGRAPHS", "EXPORT+AOT_INDUCTOR"),
    ],
)
def test_a_conversion_is_proved_on_the_gpu(
    make_cell: Callable[..., Cell], supervisor: isolate.Supervisor, model: str, conversion: str
) -> None:
    config = BERT if model == "bert" else of_lie("GRAPH", CUDA, TOLERANCE).model.config
    values: dict[str, Any] = {"device": CUDA, "measure": QUICKLY, "tolerance": TOLERANCE, "threads": None}
    cell = make_cell(
        conversion=conversion,
        model=Model(name=model, config=config),
        batch_size=8,
        python_path=(str(HERE),),
        **values,
    )
    row = isolate.run(cell, supervisor).result
    assert row.status == "ok", row.message
    assert row.engine is not None
    assert row.engine.evidence["kernels"] > 0
    assert row.memory_mb is not None
    assert row.memory_mb.cuda_peak is not None
    assert row.memory_mb.cuda_peak > 0


def test_memory_is_seen_whoever_takes_it() -> None:
    gpu = torch.device("cuda")
    watch = measure.MemoryWatch(gpu)
    kept = torch.empty(256 << 20, dtype=torch.uint8, device=gpu)
    device.of("cuda").wait()
    peak = watch.peak().cuda_peak
    assert peak is not None
    assert peak >= kept.numel() / 1e6
