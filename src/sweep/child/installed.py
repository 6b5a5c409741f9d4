"""Keeps scripts in the user's folder from being taken for installed packages of the same name."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = (
    "torch",
    "alma",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "optimum",
    "torchao",
    "torchvision",
    "numpy",
)


@contextmanager
def first() -> Iterator[None]:
    """Import what is inside from where packages are installed, before the folders of PYTHONPATH.

    Python looks into the user's folder first, where a script may be called onnx.py. A folder that holds one of PACKAGES
    as a package, such as a checkout of alma, is meant to be taken, and stays where it is.
    """
    named = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    scripts = {folder for folder in named if not _holds_a_package(Path(folder))}
    before = list(sys.path)
    sys.path[:] = [*(p for p in before if p not in scripts), *(p for p in before if p in scripts)]
    try:
        yield
    finally:
        sys.path[:] = before


def _holds_a_package(folder: Path) -> bool:
    return any((folder / name / "__init__.py").exists() for name in PACKAGES)
