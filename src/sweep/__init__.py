"""Which conversion of a PyTorch model is fastest on this hardware, and can the number be believed."""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Run", "load", "run"]

if TYPE_CHECKING:
    from sweep.api import run
    from sweep.report.run import Run, load
else:
    _HOMES = {"run": "sweep.api", "load": "sweep.report.run", "Run": "sweep.report.run"}

    def __getattr__(name: str) -> object:
        """Import a public name when it is used: a cell's process imports this package too, and must stay light."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
