"""Models whose weights are too many for a machine, come from files, or are of half precision."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sweep import isolate
from sweep.cell import Cell, Limits, Model, Tolerance
from sweep.child import weights
from sweep.child.weights import TooLarge
from sweep.status import Status

MakeCell = Callable[..., Cell]


def test_a_model_whose_weights_do_not_fit_is_refused_before_they_are_made(
    make_cell: MakeCell, supervisor: isolate.Supervisor
) -> None:
    config = {
        "_target_": "sweep.child.libraries.hf_model",
        "name": "llama",
        "seq": 8,
        "inputs": {"_target_": "sweep.child.libraries.hf_inputs", "seq": 8},
    }
    cell = make_cell(model=Model(name="llama", config=config), limits=Limits(memory=20_000))
    row = isolate.run(cell, supervisor).result
    assert (row.status, row.reason) == ("crashed", "memory")
    assert row.message.startswith(
        "6.61 billion weights take 26.4 GB, twice that with its control, and a process of this"
    )
    assert "may hold 20.0 GB (limits.memory)" in row.message


def test_what_does_not_fit_is_found_of_libraries_alone() -> None:
    made: list[str] = []

    def make() -> torch.nn.Module:
        made.append(str(torch.empty(1).device))
        return torch.nn.Linear(1000, 1000)

    with pytest.raises(TooLarge, match=r"0\.00 billion weights take 0\.0 GB"):
        weights.refuse_too_large({"_target_": "timm.create_model"}, make, 3.9)
    weights.refuse_too_large({"_target_": "timm.create_model"}, make, 4.1)
    assert made == ["meta", "meta"]
    for let_through in ({"_target_": "mine.Model"}, {"_target_": "timm.create_model", "pretrained": True}):
        weights.refuse_too_large(let_through, make, 0.001)
    assert len(made) == 2
    weights.refuse_too_large({"_target_": "timm.create_model"}, lambda: torch.empty(2).item(), 0.001)


def test_a_checkpoint_of_an_old_torch_is_read_too(tmp_path: Path) -> None:
    state = {"weight": torch.ones(2, 3)}
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.pt"):
        assert torch.equal(weights.state_dict(tmp_path / name)["weight"], state["weight"])


@pytest.mark.parametrize("conversion", ["EAGER", "EXPORT+EAGER", "JIT_TRACE", "BF16+EAGER", "FP16+EAGER"])
def test_labels_of_fp32_stand_for_what_a_model_in_half_precision_is(
    make_cell: MakeCell, supervisor: isolate.Supervisor, conversion: str
) -> None:
    config = {"_target_": "several.Half", "input": {"shape": [6], "dtype": "int64", "high": 50}}
    classes = {"fp32": Tolerance(rel_l2=2e-5), "bf16": Tolerance(rel_l2=8e-3), "fp16": Tolerance(rel_l2=1e-3)}
    cell = make_cell(model=Model(name="half", config=config), conversion=conversion, tolerance=classes)
    row = isolate.run(cell, supervisor).result
    assert row.status is Status.OK, row.message
    assert {"half"} <= {one.kind for one in row.found}
    assert row.fidelity is not None
    assert row.fidelity.tolerance_class == ("fp16" if conversion == "FP16+EAGER" else "bf16")
