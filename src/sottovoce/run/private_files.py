"""Keys and certificates on disk: written once, all of a set or none, and read if they are private.

A key that is written over is lost, and one that others can read is no secret any more. So nothing
here replaces a file, and nothing reads a key whose mode lets others in.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from sottovoce.errors import ConfigError
from sottovoce.run.folder import make_folder, sync_folder, write_all

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644

_BY_OTHERS: Final = 0o077


def write_new(folder: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """Write a set of files, each with its mode, and have them on disk before returning.

    Args:
        folder: where they go; if it is missing it is made, for its owner alone.
        files: bytes and mode by name.

    Guarantees:
        - all of them are there afterwards, or none that was not there before;
        - none is written over another.

    Raises:
        ConfigError: one is there already, or the disk refused.
    """
    for name in files:
        if os.path.lexists(folder / name):
            raise ConfigError(
                f"{folder / name} is there already",
                remedy="Keep it, or name another folder; what is written over cannot be made again",
            )
    written: list[Path] = []
    try:
        if not folder.exists():
            make_folder(folder.parent)
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)
        for name, (data, mode) in files.items():
            written.append(_part(folder, name))
            _write(written[-1], data, mode)
        for name in files:
            # A link never replaces what another process has put there meanwhile.
            (folder / name).hardlink_to(_part(folder, name))
            written.append(folder / name)
        for name in files:
            _part(folder, name).unlink()
        sync_folder(folder)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise ConfigError(
            f"{', '.join(files)} cannot be written to {folder}: {error.strerror}",
            remedy="Make room or give leave to write there, or name another folder",
        ) from error


def read_private(path: Path) -> str:
    """Read a key.

    Raises:
        ConfigError: it is missing, is no text, or others can read it.
    """
    try:
        with path.open("r", encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"the key {path} cannot be read: {why}",
            remedy="Give the folder in which the keys were made, or make keys there",
        ) from error
    if mode & _BY_OTHERS:
        raise ConfigError(
            f"the key {path} has mode {mode:03o}, so that others can read it",
            allowed="a file for its owner alone",
            remedy=f"Run chmod 600 {path}; if others may have read it, make new keys",
        )
    return text


def _part(folder: Path, name: str) -> Path:
    return folder / f".{name}.part"


def _write(path: Path, data: bytes, mode: int) -> None:
    # What an interrupted attempt has left was nobody's key yet.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)
