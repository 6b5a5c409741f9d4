"""What a row says of an exception: its cause, not its wrapper; and what to do, where that is known."""

import importlib.machinery
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from sweep.evidence import Failure

_WRAPPERS = (
    "torch.onnx",
    "torch._dynamo",
    "torch._inductor",
    "torch.export",
    "torch._export",
    "torch.jit",
    "onnxscript",
)
"""Modules whose exceptions wrap those of what they were given."""

_TORCHVISION = "torchvision's extension does not load beside this torch: install both from one index"
_HINTS = {
    "operator torchvision::": _TORCHVISION,
    "Couldn't load custom C++ ops": _TORCHVISION,
    "No working C++ compiler": "install one, such as g++",
    "InvalidCxxCompiler": "install a C++ compiler, such as g++",
    "Failed to find C compiler": "install one, such as gcc",
    "Ninja is required": "install ninja",
}
"""What to do about messages with these words."""


def of(error: BaseException) -> Failure:
    """The type and message of the exception, or of what caused it, and the last 50 frames of its traceback."""
    error = _cause(error)
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception:  # a model's exception may fail when it is turned into text
        message = "(its message cannot be printed)"
    hints = [hint for words, hint in _HINTS.items() if words in message or words in name]
    if isinstance(error, ImportError | AttributeError):
        hints += hidden_packages()
    frames = traceback.extract_tb(error.__traceback__)[-50:]
    stack = tuple(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    if hints:  # first, for a row has room for a line only
        message = f"{'; '.join(dict.fromkeys(hints))} ({message})"
    return Failure(type=name, message=message[:10_000], stack=stack)


def _cause(error: BaseException) -> BaseException:
    """What a compiler's or an exporter's exception wraps, all the way down."""
    seen: list[BaseException] = []
    while type(error).__module__.startswith(_WRAPPERS) and error not in seen:
        seen.append(error)
        context = None if error.__suppress_context__ else error.__context__
        inner = getattr(error, "inner_exception", None) or error.__cause__ or context
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def hidden_packages() -> Iterator[str]:
    """What to say of modules of the user's that were imported in the place of installed packages."""
    installed = [path for path in sys.path if path.endswith("-packages")]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (
            "." in name
            or not isinstance(file, str)
            or file.startswith(tuple(installed))
            or Path(file).is_relative_to(sys.base_prefix)
        ):
            continue
        spec = importlib.machinery.PathFinder.find_spec(name, installed)
        if spec is not None and spec.origin not in {None, file}:
            yield f"{file} hides the package {name!r}: give it another name"
