"""What alma and torchvision need to work on today's torch: small named fixes, none where nothing is broken.

A fix looks for the fault first and does nothing without it, so an older torch or a corrected alma is left
alone. `used` names the fixes that this process needed.
"""

import fcntl
import importlib
import importlib.util
import inspect
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

_TORCHVISION = "torchvision-operators-declared"
_ONNX_FOLDER = "onnx-model-folder-made"
_applied: set[str] = set()
_called: set[str] = set()
_declared: list[Any] = []
"""torch.library.Library objects, kept here because what they declare ends with them."""


def used() -> list[str]:
    """Names of the fixes without which this process would not have come so far, sorted."""
    unused = set()
    if "torchvision" not in sys.modules:
        unused.add(_TORCHVISION)
    if not Path("model/model.onnx").exists():
        unused.add(_ONNX_FOLDER)
    return sorted((_applied - unused) | _called)


def before_import() -> None:
    """Fix what would stop alma or torchvision from being imported. Needs torch only."""
    _apply(_torchvision_operators, _pt2e_quantize, _xnnpack_quantizer)


def before_conversion() -> None:
    """Fix what alma's conversions call and no longer find. Call after `before_import`."""
    _apply(_export_for_training, _onnx_dynamo_export, _onnx_model_folder, _native_convert_device)
    _apply(_int4_weight_only, _library_paths, _locks_of_killed_builds, _fx_errors)


def _apply(*fixes: Callable[[], None]) -> None:
    """Take each step; one that finds another alma or torch than it knows ends no cell: what needed it says so."""
    for fix in fixes:
        try:
            fix()
        except Exception as error:
            name = fix.__name__.strip("_").replace("_", " ")
            print(f"sweep: {name}: left as it is here ({type(error).__name__}: {error})", file=sys.stderr)


OPTIONS = "alma.conversions.options"
"""The package of alma's conversions."""


def callable_from(converted: Any, model: Any) -> Callable[[Any], Any]:
    """The forward call in what alma's dispatcher returned; raises TypeError if there is none.

    alma 0.3.7 returns the factory instead of its product for BF16+EAGER, so the model would never be called, and a
    (callable, device) pair for NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED. Factories have other names in other releases,
    but all are functions of a module of OPTIONS, and their products are none.
    """
    is_function = inspect.isfunction(converted) and converted.__module__.startswith(OPTIONS)
    if is_function and "." not in converted.__qualname__:
        _called.add("bf16-eager-factory-called")
        converted = converted(model)
    if isinstance(converted, tuple):
        _called.add("native-convert-device-defined")
        converted = converted[0]
    if not callable(converted):
        raise TypeError(f"alma returned {type(converted).__name__}, which cannot be called")
    return converted  # type: ignore[no-any-return]


def used_now(name: str) -> None:
    """Note a fix of another module."""
    _called.add(name)


def _recording_use(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        _called.add(name)
        return function(*args, **kwargs)

    return call


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _torchvision_operators() -> None:
    """torchvision's wheel is built against CUDA torch; elsewhere its extension does not load.

    Its import then registers shape functions for operators nobody defined. Declaring the two schemas
    first lets every Python-level model work; calling the operators themselves still fails.
    """
    import torch

    if _declared or not _exists("torchvision"):
        return
    root = Path(importlib.util.find_spec("torchvision").origin or "").parent  # type: ignore[union-attr]
    for extension in sorted(root.glob("_C*.so")):
        try:
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
            _declared.append(library)
            _applied.add(_TORCHVISION)


def _pt2e_quantize() -> None:
    new = "torchao.quantization.pt2e.quantize_pt2e"
    _moved_module("pt2e-quantize-moved", "torch.ao.quantization.quantize_pt2e", new)


def _xnnpack_quantizer() -> None:
    new = "torchao.testing.pt2e._xnnpack_quantizer"
    _moved_module("xnnpack-quantizer-moved", "torch.ao.quantization.quantizer.xnnpack_quantizer", new)


def _moved_module(name: str, old: str, new: str) -> None:
    """Let `old` be imported where torch handed it over to torchao (since torch 2.10)."""
    if old in sys.modules or _exists(old) or not _exists(new):
        return
    parent, _, leaf = old.rpartition(".")
    if parent not in sys.modules and not _exists(parent):  # the package is gone with its module
        sys.modules[parent] = ModuleType(parent)
    module = importlib.import_module(new)
    sys.modules[old] = module
    setattr(importlib.import_module(parent), leaf, module)
    _applied.add(name)


def _export_for_training() -> None:
    """torch.export.export_for_training became torch.export.export."""
    import torch

    if not hasattr(torch.export, "export_for_training"):
        torch.export.export_for_training = _recording_use(  # type: ignore[attr-defined]
            "export-for-training-renamed", torch.export.export
        )


def _onnx_dynamo_export() -> None:
    """torch.onnx.dynamo_export(model, data) became torch.onnx.export(model, (data,), dynamo=True)."""
    import torch

    if not hasattr(torch.onnx, "dynamo_export"):

        def dynamo_export(model: Any, *args: Any) -> Any:
            return torch.onnx.export(model, args, dynamo=True)

        torch.onnx.dynamo_export = _recording_use("onnx-dynamo-export-renamed", dynamo_export)  # type: ignore[attr-defined]


def _onnx_model_folder() -> None:
    """alma saves to `model/model.onnx` below the working folder and expects the folder to be there."""
    onnx: ModuleType = importlib.import_module(f"{OPTIONS}.onnx")
    defaults = [function.__defaults__ or () for function in vars(onnx).values() if inspect.isfunction(function)]
    if any("model/model.onnx" in default for default in defaults):
        Path("model").mkdir(exist_ok=True)
        _applied.add(_ONNX_FOLDER)


def _native_convert_device() -> None:
    """The native int8 conversion returns a `device` that its module never defined."""
    import torch

    module = importlib.import_module(f"{OPTIONS}.quant_edge_convert")
    functions = [function for function in vars(module).values() if inspect.isfunction(function)]
    own = [function for function in functions if function.__module__ == module.__name__]
    if any("device" in function.__code__.co_names for function in own) and not hasattr(module, "device"):
        module.device = torch.device("cpu")  # type: ignore[attr-defined]


def _fx_errors() -> None:
    """alma catches what FX quantisation raises, and goes on with a name that so was never set."""
    fake, edge = (importlib.import_module(f"{OPTIONS}.{name}") for name in ("fake_quant", "quant_edge_convert"))
    inner, outer, raised = fake._fx_quantize, fake.fx_quantize, list[Exception]()

    def kept(*args: Any, **kwargs: Any) -> Any:
        try:
            return inner(*args, **kwargs)
        except Exception as error:
            raised.append(error)
            raise

    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return outer(*args, **kwargs)
        except UnboundLocalError as error:
            raise raised[-1] if raised else error from None

    fake._fx_quantize, fake.fx_quantize, edge.fx_quantize = kept, told, told  # type: ignore[attr-defined]


def _int4_weight_only() -> None:
    """torchao's int4_weight_only() became the class Int4WeightOnlyConfig."""
    if not _exists("torchao.quantization.quant_api"):
        return
    api = importlib.import_module("torchao.quantization.quant_api")
    if not hasattr(api, "int4_weight_only") and hasattr(api, "Int4WeightOnlyConfig"):
        api.int4_weight_only = _recording_use("int4-weight-only-renamed", api.Int4WeightOnlyConfig)  # type: ignore[attr-defined]


def _library_paths() -> None:
    """torch does not quote its library folder when it has g++ link: a space in its path breaks every link.

    Inductor fails so, and before that its check for vector instructions does, after which it would generate scalar
    code in silence; quanto's int4 and int2 kernels, built as an extension at first use, fail too.
    """
    import torch

    folder = str(Path(torch.__file__).parent / "lib")
    if shlex.quote(folder) == folder:
        return
    from torch._inductor import cpp_builder
    from torch.utils import cpp_extension

    def quoted(flags: Callable[..., list[str]]) -> Callable[..., list[str]]:
        def call(*args: Any, **kwargs: Any) -> list[str]:
            return [flag.replace(folder, shlex.quote(folder)) for flag in flags(*args, **kwargs)]

        return call

    options = cpp_builder.BuildOptionsBase(compiler="g++", libraries_dirs=[folder])
    line = cpp_builder.CppBuilder(name="probe", sources="probe.cpp", BuildOption=options).get_command_line()
    if f"-L{shlex.quote(folder)}" not in line:
        cpp_builder.BuildOptionsBase.get_libraries_dirs = _recording_use(  # type: ignore[method-assign]
            "inductor-library-paths-quoted", quoted(cpp_builder.BuildOptionsBase.get_libraries_dirs)
        )
    prepare: Callable[..., list[str]] = cpp_extension._prepare_ldflags
    switches = len(inspect.signature(prepare).parameters) - 1  # it gained one with almost every release
    if f"-L{folder}" in prepare([], *[False] * switches):
        cpp_extension._prepare_ldflags = _recording_use("extension-library-paths-quoted", quoted(prepare))


def _locks_of_killed_builds() -> None:
    """torch takes a lock for the build of an extension by making a file, which stays if the process is killed.

    optimum-quanto builds within its own package, so whoever needs that extension afterwards would wait for ever. A lock
    of the kernel's on that file ends with the process that has it.
    """
    from torch.utils.file_baton import FileBaton

    if "O_EXCL" not in FileBaton.try_acquire.__code__.co_names:
        return

    def try_acquire(baton: Any) -> bool:
        file = Path(baton.lock_file_path)
        was_there = file.exists()
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(descriptor, file):
                raise BlockingIOError  # whoever had it has just removed it
        except BlockingIOError:
            os.close(descriptor)
            return False
        if was_there:
            _called.add("lock-of-a-killed-build-taken")
        baton.fd = descriptor
        return True

    def wait(baton: Any) -> None:
        with suppress(FileNotFoundError):  # it was just released
            descriptor = os.open(baton.lock_file_path, os.O_RDWR)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.close(descriptor)

    def release(baton: Any) -> None:
        Path(baton.lock_file_path).unlink(missing_ok=True)
        os.close(baton.fd)

    baton: Any = FileBaton
    baton.try_acquire, baton.wait, baton.release = try_acquire, wait, release


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether an open file is still that at its path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), file.stat())
    return False
