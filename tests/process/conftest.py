"""What runs the cells of process tests."""

from collections.abc import Iterator

import pytest

from sweep import isolate
from sweep.child import compat


@pytest.fixture(scope="session", autouse=True)
def _importable() -> None:
    """quanto imports transformers where that is installed, and with it torchvision: here as in a cell."""
    compat.before_import()


@pytest.fixture(scope="module")
def supervisor() -> Iterator[isolate.Supervisor]:
    """One for all tests of a file: a nursery takes seconds to import torch."""
    with isolate.Supervisor() as supervisor:
        yield supervisor
