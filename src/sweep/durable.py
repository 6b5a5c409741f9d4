"""Files that a crash or a power cut cannot leave half written, and where what is worth keeping is kept."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or its pieces, as `aside` does."""
    with aside(path) as file:
        file.writelines(piece.encode() for piece in ([text] if isinstance(text, str) else text))


@contextmanager
def aside(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which is synced and then renamed to that.

    So a reader sees the old file or the new one, also after a power cut. Where writing fails the old one stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def cache_folder() -> Path:
    """Where sweep keeps what it would otherwise have to find out again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sweep"
