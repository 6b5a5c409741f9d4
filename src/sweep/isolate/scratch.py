"""Folders of cells that may come again on a node: their compile caches are kept for as long as the disk allows."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FREE_SHARE = 0.15
"""The share of the disk that stays free; folders that were used longest ago go."""


def link_or_copy(source: Path, target: Path) -> None:
    """Have a file at `target` too. Raises OSError where there is none, or no room."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class Scratch:
    """A folder for each cell, by its id, made when it is first asked for; and files of the node's supervisor."""

    def __init__(self) -> None:
        self._root: tempfile.TemporaryDirectory[str] | None = None
        self._kept: dict[str, Path] = {}
        self._files: dict[str, Path] = {}
        self._lock = threading.Lock()

    @contextmanager
    def folder(self, id_: str, *, fresh: bool, keep: bool) -> Iterator[Path]:
        """A cell's folder, an empty one if `fresh`; afterwards it is there for further trials if `keep`.

        A cell that is tried again, because it was lost, must find no caches of the attempt before. Raises OSError.
        """
        with self._lock:
            if self._root is None:
                self._root = tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True)
            kept = self._kept.pop(id_, None)
            if kept and fresh:
                shutil.rmtree(kept, ignore_errors=True)
            folder = (None if fresh else kept) or Path(tempfile.mkdtemp(prefix="cell-", dir=self._root.name))
            self._make_room(Path(self._root.name))
        try:
            yield folder
        finally:
            with self._lock:
                if keep:
                    self._kept[id_] = folder
                else:
                    shutil.rmtree(folder, ignore_errors=True)

    def keep_file(self, name: str, file: Path) -> None:
        """Keep a file under a name, or what is in it now instead of an earlier one. Without room for it, nothing."""
        with self._lock, suppress(OSError):
            if self._root is None:
                self._root = tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True)
            number = len(self._files)
            kept = self._files.setdefault(name, Path(self._root.name) / f"file-{number}")
            kept.unlink(missing_ok=True)
            link_or_copy(file, kept)

    def kept_file(self, name: str) -> Path | None:
        """The file that is kept under a name."""
        with self._lock:
            return self._files.get(name)

    def _make_room(self, where: Path) -> None:
        usage = shutil.disk_usage(where)
        while self._kept and usage.free < FREE_SHARE * usage.total:
            shutil.rmtree(self._kept.pop(next(iter(self._kept))), ignore_errors=True)
            usage = shutil.disk_usage(where)

    def close(self) -> None:
        """Remove all."""
        with self._lock:
            if self._root is not None:
                self._root.cleanup()
            self._root, self._kept, self._files = None, {}, {}
