"""A disk that is stopped at one of the things that are done to a folder, and may forget the rest.

- ``kill``: the process ends before the operation; what it had written stays;
- ``half``: the same, and half of what was to be written is there;
- ``power``: the process ends, and only what was synchronised is left: of a file its bytes at its
  last fsync, of a folder its names at its last fsync;
- ``full``, ``read-only``: from there on, what needs room, or everything, fails;
- ``fsync``: that one fsync fails.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

GROWING = ("mkdir", "open", "write", "fsync")


class Killed(BaseException):
    """Stands for the end of a process: no handler of the package may catch it."""


class BrokenDisk:
    """Counts what is done below a folder, and what of it would survive a loss of power."""

    def __init__(self, root: Path, fault: str = "none", stop: int = 0):
        self.root, self.fault, self.stop = root, fault, stop
        self.done: list[str] = []
        self.broken = False
        self.paths: dict[int, str] = {}
        self.bytes: dict[int, bytes] = {}
        self.names: dict[str, dict[str, tuple[int, bool]]] = {}
        # An inode that is held open is not given to another file.
        self.held: list[int] = []
        self.goes_on = False

    def touch(self, what: str, place: Any) -> None:
        if self.broken and self.fault in ("kill", "half", "power"):
            raise Killed
        self.done.append(f"{what} {Path(os.fspath(place)).name}")
        at_stop = len(self.done) == self.stop
        self.broken |= at_stop
        if at_stop and self.fault in ("kill", "half", "power"):
            raise Killed
        if self.broken and self.fault == "full" and what in GROWING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        if self.broken and self.fault == "read-only":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(place))
        if at_stop and self.fault == "fsync" and what == "fsync":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(place))

    def inside(self, place: Any) -> bool:
        return Path(os.path.abspath(os.fspath(place))).is_relative_to(self.root)  # noqa: PTH100

    def synced(self, descriptor: int, path: str) -> None:
        if not os.path.isdir(path):  # noqa: PTH112
            size = os.fstat(descriptor).st_size
            self.bytes[os.fstat(descriptor).st_ino] = _pread(path, size)
            return
        self.names[path] = {it.name: (it.inode(), it.is_dir()) for it in os.scandir(path)}

    def mend(self) -> None:
        """Let nothing fail any more, and go on noting what is synchronised."""
        self.fault, self.broken, self.goes_on = "none", False, False

    def release(self) -> None:
        while self.held:
            os.close(self.held.pop())

    def lose_power(self) -> None:
        """Leave of the folder what was synchronised."""
        shutil.rmtree(self.root)
        self.root.mkdir(mode=0o700)
        self._rebuild(str(self.root))

    def _rebuild(self, folder: str) -> None:
        for name, (inode, is_folder) in self.names.get(folder, {}).items():
            path = Path(folder) / name
            if is_folder:
                path.mkdir()
                self._rebuild(str(path))
            else:
                path.write_bytes(self.bytes.get(inode, b""))


def _pread(path: str, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)


@contextmanager
def watched(disk: BrokenDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokenDisk]:
    """Every door to the disk that an outbox uses, with the fault behind it."""
    real = {name: getattr(os, name) for name in ("open", "write", "close")}

    def opened(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        ours = disk.inside(path)
        if ours and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            if disk.fault == "half" and len(disk.done) + 1 == disk.stop:
                real["close"](real["open"](path, flags, mode))
            disk.touch("open", path)
        descriptor = real["open"](path, flags, mode, **named)
        if ours:
            disk.paths[descriptor] = os.path.abspath(os.fspath(path))  # noqa: PTH100
            if flags & os.O_CREAT:
                disk.held.append(real["open"](path, os.O_RDONLY))
        return descriptor

    def closed(descriptor: int) -> None:
        disk.paths.pop(descriptor, None)
        real["close"](descriptor)

    def written(descriptor: int, data: Any) -> int:
        path = disk.paths.get(descriptor)
        if path is not None:
            if disk.fault == "half" and len(disk.done) + 1 == disk.stop:
                real["write"](descriptor, memoryview(data)[: len(data) // 2])
            disk.touch("write", path)
        return real["write"](descriptor, data)

    def synced(descriptor: int) -> None:
        path = disk.paths.get(descriptor)
        if path is not None:
            disk.touch("fsync", path)
            disk.synced(descriptor, path)

    def simple(name: str) -> Any:
        call = getattr(os, name)

        def wrapped(place: Any, *more: Any, **named: Any) -> Any:
            if disk.inside(place):
                disk.touch(name, place)
            return call(place, *more, **named)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "link"):
            patch.setattr(os, name, simple(name))
        patch.setattr(os, "open", opened)
        patch.setattr(os, "close", closed)
        patch.setattr(os, "write", written)
        patch.setattr(os, "fsync", synced)
        try:
            yield disk
        finally:
            patch.undo()
            if not disk.goes_on:
                disk.release()
