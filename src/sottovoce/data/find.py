"""From paths, folders and globs to files."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sottovoce.data.parse import (
    nearest,
)
from sottovoce.errors import DataError


def find_files(
    patterns: Iterable[str], base_folder: Path, suffixes: tuple[str, ...]
) -> tuple[list[Path], list[Path]]:
    """Resolve files, folders and globs to files, and list what lies beside data."""
    files: dict[Path, Path] = {}
    ignored: set[Path] = set()
    for pattern in patterns:
        try:
            within, beside = _expand(pattern, base_folder, suffixes)
            for file in within:
                _check_file(file, shown_path(file, base_folder), suffixes)
                files.setdefault(file.resolve(), file)
        except OSError as error:
            raise unreadable(str(error.filename or pattern), error) from error
        if not within:
            raise DataError(
                f"{pattern}: there is no data in this folder or under this glob",
                allowed=f"files that end in {', '.join(suffixes)}",
            )
        ignored.update(beside)
    return list(files.values()), sorted(ignored)


def _expand(
    pattern: str, base_folder: Path, suffixes: tuple[str, ...]
) -> tuple[list[Path], list[Path]]:
    """Resolve one path of the settings; a name that exists is never taken for a glob."""
    try:
        path = base_folder / Path(pattern).expanduser()
    except RuntimeError as error:  # the home of a user that does not exist
        raise DataError(f"{pattern}: {error}", remedy="Write the folder out") from error
    if path.is_dir():
        return _walk(path, suffixes)
    if path.exists() or path.is_symlink():
        return [path], []
    root = Path(path.anchor)
    rest = path.parts[len(root.parts) :]
    while (root / rest[0]).exists():
        root, rest = root / rest[0], rest[1:]
    if not any(sign in part for part in rest for sign in "*?["):
        there = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
        near = nearest(rest[0], there)
        raise DataError(
            f"{pattern}: there is no {rest[0]!r} in {shown_path(root, base_folder)}",
            allowed="files, folders and globs, relative to the configuration's folder",
            remedy=f"Write {near!r}" if near else "",
        )
    data: list[Path] = []
    other: list[Path] = []
    for match in sorted(_glob(root, rest)):
        if match.is_dir():
            within, beside = _walk(match, suffixes)
            data += within
            other += beside
        else:
            (data if match.suffix.lower() in suffixes else other).append(match)
    return data, other


def _glob(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Match parts of a path as a shell does, where ``**`` follows no links.

    The standard library's glob passes over folders that may not be read; this one raises.
    """
    if not parts or parts == ("**",):
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _glob(folder, rest)
    for path in folder.iterdir():
        if path.name.startswith(".") and not first.startswith("."):
            continue
        if first == "**":
            if path.is_dir() and not path.is_symlink():
                yield from _glob(path, parts)
        elif fnmatch.fnmatchcase(path.name, first) and (not rest or path.is_dir()):
            yield from _glob(path, rest)


def _walk(folder: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """List a folder's data files and the rest, without what is hidden.

    Links to folders are listed with the rest and not followed, so that a loop cannot trap the walk.
    """

    def stop(error: OSError) -> None:
        raise error

    data: list[Path] = []
    other: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        other += [path for name in folders if (path := Path(here, name)).is_symlink()]
        for name in names:
            if not name.startswith("."):
                path = Path(here, name)
                (data if path.suffix.lower() in suffixes else other).append(path)
    return sorted(data), other


def _check_file(path: Path, shown: str, suffixes: tuple[str, ...]) -> None:
    """Refuse what is no regular file of a known kind."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{shown}: not a regular file", allowed="files, folders and globs")
    if path.suffix.lower() not in suffixes:
        plain = path.suffix.lower() == ".txt"
        raise DataError(
            f"{shown}: a file that ends in {path.suffix!r} cannot be read here",
            allowed=", ".join(suffixes),
            remedy='Write format = "text" in [data] to train on plain text' if plain else "",
        )


def client_names(files: Sequence[Path]) -> list[str]:
    """Name a client after each file: its stem, or its path where two stems are the same."""
    stems = [printable(file.stem) for file in files]
    if len(set(stems)) == len(stems):
        return stems
    root = os.path.commonpath([file.parent for file in files])
    return [printable(file.relative_to(root).as_posix()) for file in files]


def shown_path(path: Path, base_folder: Path) -> str:
    """Write a path for summaries and errors, relative to the configuration where it lies there."""
    inside = path.is_relative_to(base_folder)
    return printable(str(path.relative_to(base_folder) if inside else path))


def printable(name: str) -> str:
    """Escape the bytes of a file's name that are not UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def unreadable(shown: str, error: OSError) -> DataError:
    """Say why the operating system refuses a file."""
    return DataError(f"{printable(shown)}: cannot be read: {error.strerror or error}")
