"""Folders of cells that may come again on a node: their compile caches are kept for as long as the disk allows."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweep.leftovers import OwnFolder

FREE_SHARE = 0.15
"""The share of the disk that stays free; folders that were used longest ago go."""


def _link_or_copy(source: Path, target: Path) -> None:
    """Have a file at `target` too. Raises OSError where there is none, or no room."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class Scratch:
    """A folder for each cell, by its id, made when it is first asked for; and files of the node's supervisor."""

    def __init__(self) -> None:
        self._root: OwnFolder | None = None
        self._kept: dict[str, Path] = {}
        self._files: dict[str, Path] = {}
        self._lock = threading.Lock()

    @contextmanager
    def folder(self, id_: str, *, fresh: bool, keep: bool) -> Iterator[Path]:
        """A cell's folder, an empty one if `fresh`; afterwards it is there for further trials if `keep`.

        A cell that is tried again, because it was lost, must find no caches of the attempt before. Raises OSError.
        """
        with self._lock:
            root = self._made()
            kept = self._kept.pop(id_, None)
            if kept and fresh:
                shutil.rmtree(kept, ignore_errors=True)
            folder = (None if fresh else kept) or Path(tempfile.mkdtemp(prefix="cell-", dir=root))
            self._make_room(root)
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
            kept = self._files.setdefault(name, self._made() / f"file-{len(self._files)}")
            kept.unlink(missing_ok=True)
            _link_or_copy(file, kept)

    def give_kept(self, name: str, target: Path) -> None:
        """Have the file that is kept under a name at `target` too, if there is one, and room."""
        with self._lock, suppress(OSError):
            if name in self._files:
                _link_or_copy(self._files[name], target)

    def new_folder(self, prefix: str) -> Path:
        """An empty one, for whoever removes it. Raises OSError."""
        with self._lock:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=self._made()))

    def _made(self) -> Path:
        """The folder that all of it is in, made when it is first needed. Raises OSError."""
        self._root = self._root or OwnFolder()
        return self._root.path

    def _make_room(self, where: Path) -> None:
        usage = shutil.disk_usage(where)
        while self._kept and usage.free < FREE_SHARE * usage.total:
            shutil.rmtree(self._kept.pop(next(iter(self._kept))), ignore_errors=True)
            usage = shutil.disk_usage(where)

    def close(self) -> None:
        """Remove all."""
        with self._lock:
            if self._root is not None:
                self._root.close()
            self._root, self._kept, self._files = None, {}, {}
