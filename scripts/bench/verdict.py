"""Does the output check tell honest conversions from wrong ones? On ten models of unlike kinds, in one process.

Each model is converted honestly to each class, by torch itself or by quanto, and then wrongly in eight ways. It prints
how many of the honest are `ok`, how many of each kind of wrong ones are `mismatch` and how many `unproved`, and how far
honest ones were from what they were allowed.

    .venv/bin/python scripts/bench/verdict.py [MODELS: all]
"""

import copy
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sweep.child import compat

compat.before_import()

import torch  # noqa: E402
import torchvision  # noqa: E402
from optimum import quanto  # noqa: E402
from torch import nn  # noqa: E402

from sweep.cell import Cell, Device, Mode, Model, Tolerance  # noqa: E402
from sweep.child.reference import Reference  # noqa: E402
from sweep.evidence import Engine, loss_class  # noqa: E402
from sweep.verdict import output  # noqa: E402

CONF = Path(__file__).resolve().parents[2] / "conf"
SHIPPED: Any = OmegaConf.load(CONF / "tolerance" / "default.yaml")
TOLERANCE = {str(name): Tolerance(**figures) for name, figures in SHIPPED.items()}

Forward = Callable[[torch.Tensor], Any]


class Tokens(nn.Module):
    """A small encoder over token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(64, 1000)

    def forward(self, ids: torch.Tensor) -> Any:
        return self.head(self.body(self.embed(ids)))


class Detector(nn.Module):
    """Boxes in pixels, scores, and the class of each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 32, 5, 4), nn.ReLU(), nn.Conv2d(32, 84, 3))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.body(x).flatten(2).transpose(1, 2)
        return {"boxes": y[..., :4] * 640, "scores": y[..., 4:], "labels": y[..., 4:].argmax(-1)}


class Recurrent(nn.Module):
    """The outputs and the states of an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.lstm = nn.Linear(32, 64), nn.LSTM(64, 64, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.lstm(self.into(x))


def vision_transformer() -> nn.Module:
    """A small one, whose head is not zero, as torchvision begins it."""
    model = torchvision.models.VisionTransformer(64, 16, 4, 4, 128, 256)
    nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


def sequential(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*copy.deepcopy(layers))


SMALL = (3, 64, 64)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (torchvision.models.resnet18, SMALL),
    "mobilenet": (torchvision.models.mobilenet_v3_small, SMALL),
    "squeezenet": (torchvision.models.squeezenet1_1, SMALL),
    "vit": (vision_transformer, SMALL),
    "mlp": (sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10)), (64,)),
    "tokens": (Tokens, (16,)),
    "detector": (Detector, SMALL),
    "lstm": (Recurrent, (20, 32)),
    "upsampler": (sequential(nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(16, 3, 3)), SMALL),
    "wave": (
        sequential(nn.Conv1d(1, 32, 9), nn.Tanh(), nn.Conv1d(32, 32, 9, dilation=4), nn.GroupNorm(4, 32)),
        (1, 400),
    ),
}

CLASSES = {
    "fp32": "EAGER",
    "fp16": "FP16+EAGER",
    "bf16": "BF16+EAGER",
    "int8": "OPTIMUM_QUANTO_WI8",
    "fp8": "OPTIMUM_QUANTO_Wf8E4M3N",
} | {"int4": "OPTIMUM_QUANTO_WI4"}
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
QTYPES = {"int8": quanto.qint8, "fp8": quanto.qfloat8_e4m3fn, "int4": quanto.qint4}


def converted(model: nn.Module, name: str) -> Forward:
    """The model in a class, honestly."""
    model = copy.deepcopy(model)
    if name in QTYPES:
        quanto.quantize(model, weights=QTYPES[name])
        quanto.freeze(model)
    if name in HALVES:
        model = model.to(HALVES[name])
        return lambda x: model(x.to(HALVES[name]) if x.dtype.is_floating_point else x)
    return model


def wrongs(model: nn.Module, name: str) -> Iterator[tuple[str, Forward]]:
    """The model in a class, wrong in one way each."""
    for wrong, change in {"weights shuffled": _shuffle, "a layer zeroed": _zero, "scaled by 1.02": _scale}.items():
        other = copy.deepcopy(model)
        change(other)
        yield wrong, converted(other, name)
    honest = converted(model, name)
    for wrong, change in {"a row negated": _row, "a row zeroed": _zero_row, "a channel by 1.5": _channel}.items():
        yield wrong, lambda x, change=change: _on_floats(honest(x), change)  # type: ignore[misc]
    yield "zeros", lambda x: _on_floats(honest(x), torch.zeros_like)
    yield "ids off by one", lambda x: _off_by_one(honest(x))


def _matrices(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.dim() > 1]


def _shuffle(model: nn.Module) -> None:
    for weight in _matrices(model):
        weight.data = weight.data.flatten()[torch.randperm(weight.numel())].reshape(weight.shape)


def _zero(model: nn.Module) -> None:
    weights = _matrices(model)
    weights[len(weights) // 2].data.zero_()


def _scale(model: nn.Module) -> None:
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.GroupNorm)]
    for parameter in layers[-1].parameters():
        parameter.data *= 1.02


def _row(y: torch.Tensor) -> torch.Tensor:
    y = y.clone()
    rows = y.view(-1, y.shape[-1])
    rows[len(rows) // 2] *= -1
    return y


def _zero_row(y: torch.Tensor) -> torch.Tensor:
    y = y.clone()
    rows = y.view(-1, y.shape[-1])
    rows[len(rows) // 2] = 0
    return y


def _channel(y: torch.Tensor) -> torch.Tensor:
    y = y.clone()
    (y[:, -1] if y.dim() > 2 else y[..., -1]).mul_(1.5)
    return y


def _on_floats(nest: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(nest, torch.Tensor):
        return change(nest.contiguous()) if nest.dtype.is_floating_point else nest
    if isinstance(nest, dict):
        return {key: _on_floats(value, change) for key, value in nest.items()}
    return tuple(_on_floats(value, change) for value in nest)


def _off_by_one(nest: Any) -> Any:
    return {**nest, "labels": nest["labels"] + 1} if isinstance(nest, dict) else None


def cell_of(name: str) -> Cell:
    mode = Mode(
        name=CLASSES[name],
        runs_on=("cpu",),
        needs=(),
        dtype="float32",
        precision=name,
        engine="eager",
        implemented=True,
    )
    return Cell(
        id=name,
        conversion=mode.name,
        mode=mode,
        model=Model(name="", config={}),
        device=Device(name="cpu"),
        tolerance=TOLERANCE,
    )


def main(names: list[str]) -> None:
    torch.set_grad_enabled(False)
    verdicts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    nearness: dict[str, list[float]] = defaultdict(list)
    for model_name in names or MODELS:
        build, shape = MODELS[model_name]
        torch.manual_seed(0)
        model = build().eval()
        ids = model_name == "tokens"
        inputs = [torch.randint(1000, (1, *shape)) if ids else torch.randn(1, *shape) for _ in range(9)]
        reference = Reference(model, inputs[1:])
        reference.find_losses(model, inputs[0])
        for name in CLASSES:
            cell = cell_of(name)
            assert cell.mode
            engine = Engine(requested="eager", actual="eager", precision=name)

            def judged(forward: Forward, cell: Cell = cell, engine: Engine = engine) -> str:
                assert cell.mode
                check = reference.check(forward, lambda x: x, loss_class(cell.mode))  # noqa: B023 - called at once
                if check.problem:
                    return "mismatch"
                found = output.problem(cell, cell.mode, check, engine, ())
                return str(found.status) if found else "ok"

            honest = converted(model, name)
            verdicts["honest", name][judged(honest)] += 1
            check = reference.check(honest, lambda x: x, loss_class(cell.mode))
            if found := check.problem or output.problem(cell, cell.mode, check, engine, ()):
                print(f"  {model_name} {name}: {found}", file=sys.stderr)
            near = [one.excess for one in output.views(cell, cell.mode, check, engine) if one.allowed]
            nearness[name].append(max(near, default=0.0))
            for wrong, forward in wrongs(model, name):
                if wrong != "ids off by one" or model_name == "detector":
                    verdicts[wrong, name][judged(forward)] += 1
        print(f"  {model_name}", file=sys.stderr, flush=True)
    print(f"{'':18}" + "".join(f"{name:>20}" for name in CLASSES))
    for wrong in dict.fromkeys(wrong for wrong, _ in verdicts):
        print(f"{wrong:18}" + "".join(f"{_said(verdicts[wrong, name]):>20}" for name in CLASSES))
    print(f"{'honest / allowed':18}" + "".join(f"{max(nearness[name]):20.2f}" for name in CLASSES))


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {status}" for status, n in counts.most_common())


if __name__ == "__main__":
    main(sys.argv[1:])
