"""What runs the cells of process tests."""

from collections.abc import Iterator

import pytest

from sweep import isolate


@pytest.fixture(scope="module")
def supervisor() -> Iterator[isolate.Supervisor]:
    """One for all tests of a file: a nursery takes seconds to import torch."""
    with isolate.Supervisor() as supervisor:
        yield supervisor
