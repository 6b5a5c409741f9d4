"""Files that a crash or a power cut cannot leave half written, and the folder of sweep's caches."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or its pieces, as `atomic_writer` does."""
    with atomic_writer(path) as file:
        file.writelines(piece.encode() for piece in ([text] if isinstance(text, str) else text))


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A temporary file to write, beside `path`; at the end it is synced and renamed to `path`.

    So a reader sees the whole old file or the whole new one, also after a power cut. Where writing fails, the old one
    stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cache_folder() -> Path:
    """The folder in which sweep keeps what takes long to find out, such as what this machine can run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sweep"
