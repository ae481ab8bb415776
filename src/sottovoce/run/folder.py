"""The run folder: where each thing of a run lies, and how it is written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from sottovoce.errors import ConfigError, SottovoceError, VerificationError


@dataclass(frozen=True)
class RunFolder:
    """The places of one run.

    Args:
        root: the folder itself.
    """

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.toml"

    @property
    def ledger(self) -> Path:
        """The hash-chained record of the run."""
        return self.root / "ledger.jsonl"

    @property
    def metrics(self) -> Path:
        """One JSON line per evaluation."""
        return self.root / "metrics.jsonl"

    @property
    def adapter(self) -> Path:
        """The result, in the PEFT format or as a merged checkpoint."""
        return self.root / "adapter"

    def state(self, finished: int) -> Path:
        """What the server remembers after so many rounds; only the last is kept."""
        return self.root / "state" / f"{finished:05d}.safetensors"

    def client(self, place: int, finished: int) -> Path:
        """What one client remembers after so many rounds, by its place among the sorted names."""
        return self.root / "clients" / f"{place:05d}" / f"{finished:05d}.safetensors"

    def personal(self, place: int) -> Path:
        """The personal model of one client, by its place among the sorted names."""
        return self.root / "personal" / f"{place:05d}.safetensors"

    def weights(self, finished: int) -> Path:
        """The shared model after so many rounds; 0 holds that which the first one started from."""
        return self.root / "rounds" / f"{finished:05d}.safetensors"


def create(root: Path, *, resume: bool = False) -> RunFolder:
    """Make a fresh run folder, or open one to go on in.

    Raises:
        ConfigError: it holds a run already and nobody wants to go on with it, or it cannot be made.
        VerificationError: it holds rounds of a run whose ledger is gone.
    """
    folder = RunFolder(root)
    if folder.ledger.exists() and not resume:
        raise holds_a_run(root)
    if folder.weights(1).is_file() and not _has_records(folder):
        raise _gone(folder.ledger)
    try:
        make_folder(root / "rounds")
    except OSError as error:
        raise ConfigError(
            f"the run folder {root} cannot be made: {error.strerror}",
            remedy="Make room or give leave to write there, or choose another run.dir",
        ) from error
    return folder


def holds_a_run(root: Path) -> ConfigError:
    """The error of starting where a run has begun."""
    return ConfigError(
        f"{root} holds a run already",
        remedy="Go on with --resume, or choose another folder with --set run.dir=DIR",
    )


def find(root: Path) -> RunFolder:
    """Open an existing run folder.

    Raises:
        ConfigError: there is no run in it.
        VerificationError: there is one, and its configuration or its ledger is gone.
    """
    folder = RunFolder(root)
    if _has_records(folder) and not folder.config.is_file():
        raise _gone(folder.config)
    if not _has_records(folder) and folder.weights(1).is_file():
        raise _gone(folder.ledger)
    if not _has_records(folder):
        raise ConfigError(
            f"{root} holds no run", allowed="a folder that sotto run or sotto demo made"
        )
    return folder


def _has_records(folder: RunFolder) -> bool:
    return folder.ledger.is_file() and folder.ledger.stat().st_size > 0


def _gone(path: Path) -> VerificationError:
    return VerificationError(
        f"{path} is missing, and other files of the run are there",
        remedy="Restore it from a copy, or start the run again in another run.dir",
    )


@contextmanager
def on_disk(root: Path) -> Iterator[None]:
    """A context in which a disk that refuses is an error that says how to go on.

    Raises:
        SottovoceError: instead of any ``OSError``.
    """
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, (str, Path)) else root
        raise SottovoceError(
            f"{place} cannot be read or written: {error.strerror}",
            remedy="Make room or give leave to write there; a run goes on with --resume",
        ) from error


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    return {
        path.name: sha256(read_bytes(path)).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and have it on disk before returning.

    Raises:
        SottovoceError: the disk refused; what stood there before still stands.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        make_folder(path.parent)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise SottovoceError(
            f"{path} cannot be written: {error.strerror}",
            remedy="Make room or give leave to write there; a run goes on with --resume",
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and what it lies in, their names durable."""
    missing = [level for level in (folder, *folder.parents) if not level.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for level in missing:
        sync_folder(level.parent)


def sync_files(folder: Path) -> None:
    """Have every file of a folder on disk before returning, whoever wrote it."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_folder(folder)
    sync_folder(folder.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, and have it on disk before returning."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, not only the bytes of its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bytes(path: Path) -> bytes:
    """Read a file of a run.

    Raises:
        VerificationError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(f"{path} cannot be read: {error.strerror}") from error


def pack_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Named tensors as the bytes of a safetensors file."""
    data: bytes = save({name: np.ascontiguousarray(value) for name, value in tensors.items()})
    return data


def parse_tensors(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    """The tensors in the bytes of a safetensors file.

    Raises:
        VerificationError: the bytes are damaged.
    """
    try:
        tensors: dict[str, NDArray[Any]] = load(data)
    except Exception as error:  # the reader raises its own type for damaged files
        raise VerificationError(f"{path} cannot be read: {error}") from error
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write named tensors as safetensors, whole or not at all."""
    write_bytes(path, pack_tensors(tensors))


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read named tensors.

    Raises:
        VerificationError: the file is missing or damaged.
    """
    return parse_tensors(read_bytes(path), path)


def append_metrics(folder: RunFolder, row: Mapping[str, Any]) -> None:
    """Add one line to the metrics.

    Raises:
        SottovoceError: the disk refused.
    """
    line = (json.dumps(row, sort_keys=True, allow_nan=False) + "\n").encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        descriptor = os.open(folder.metrics, flags, 0o666)
        try:
            write_all(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SottovoceError(
            f"{folder.metrics} cannot be written: {error.strerror}",
            remedy="Make room or give leave to write there; a run goes on with --resume",
        ) from error


def mend(folder: RunFolder, evaluated: int) -> None:
    """Clear away what a killed run left unfinished.

    Args:
        folder: the run folder.
        evaluated: rounds up to which the ledger holds evaluations; metrics of later ones, lines
            that were cut short, and lines written twice are dropped.
    """
    for part in [*folder.root.rglob(".*.part"), *folder.root.glob(f".{folder.adapter.name}.*")]:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()
    if not folder.metrics.exists():
        return
    rows: dict[tuple[str, int], bytes] = {}
    for line in folder.metrics.read_bytes().splitlines(keepends=True):
        row = _metrics_row(line)
        if row is not None and row["round"] <= evaluated:
            rows.setdefault((row.get("arm", ""), row["round"]), line)
    write_bytes(folder.metrics, b"".join(rows.values()))


def _metrics_row(line: bytes) -> dict[str, Any] | None:
    """One row of the metrics; None for a line that a kill or a full disk cut short."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    whole = line.endswith(b"\n") and isinstance(row, dict) and isinstance(row.get("round"), int)
    return row if whole else None
