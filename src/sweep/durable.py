"""Files that a crash or a power cut cannot leave half written, and the folder of sweep's caches."""

import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

_UNFINISHED = re.compile(r"\..+\.(\d+)\.sweep")
"""The names of temporary files of `atomic_writer`, with the process that writes it."""


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.sweep")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folders: Iterable[Path]) -> None:
    """Remove what an `atomic_writer` has left in any of them, whose process is gone."""
    for folder in folders:
        for file in folder.glob(".*.sweep"):
            found = _UNFINISHED.fullmatch(file.name)
            if found and not Path(f"/proc/{found[1]}").exists():
                with suppress(OSError):
                    file.unlink()


def cache_folder() -> Path:
    """The folder in which sweep keeps what takes long to find out, such as what this machine can run."""
    base = os.environ.get("XDG_CACHE_HOME") or home() / ".cache"
    return Path(base) / "sweep"


def home() -> Path:
    """The user's home; one that is made where there is none, as for a number without a name in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return _made_home()


@cache
def _made_home() -> Path:
    """The same each time for this user, unless another user has made one of that name before."""
    folder = Path(tempfile.gettempdir()) / f"sweep-home-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            return folder
    return Path(tempfile.mkdtemp(prefix="sweep-home-"))
