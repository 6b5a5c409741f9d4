"""The kinds of devices that a cell can ask for, and what can be said of each without torch."""

from collections.abc import Mapping
from typing import Literal, get_args

Kind = Literal["cpu", "cuda", "xpu", "mps", "hpu", "mtia", "xla"]
"""torch's own names: the CPU, the kinds of `torch.accelerator`, and torch-xla's."""

KINDS: tuple[Kind, ...] = get_args(Kind)

GPUS: tuple[Kind, ...] = ("cuda", "xpu")
"""The kinds that Ray counts as GPUs."""

VISIBLE: Mapping[str, str] = {
    "cuda": "CUDA_VISIBLE_DEVICES",
    "xpu": "ZE_AFFINITY_MASK",
    "hpu": "HABANA_VISIBLE_DEVICES",
}
"""The variables by which a process is shown some devices of a kind only; kinds that are not here have none."""

READ_BY_DRIVERS = (
    *VISIBLE.values(),
    *("NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR"),
    *("HABANA_VISIBLE_MODULES", "PT_HPU_LAZY_MODE", "PJRT_DEVICE"),
)
"""Variables that say which devices there are; a cell sees those that are set."""


def in_words(kind: str) -> str:
    """`a cuda device`, `an xpu device`."""
    return f"{'a' if kind.startswith('c') else 'an'} {kind} device"


def shown(kind: str, which: str | None) -> dict[str, str]:
    """The variables that show a process the device it may use: `which`, as its driver names it, or what is shown
    already (None). A process on the CPU is shown no CUDA device: libraries would start its driver unasked.
    """
    if kind == "cpu":
        return {VISIBLE["cuda"]: ""}
    return {VISIBLE[kind]: which} if which is not None and kind in VISIBLE else {}
