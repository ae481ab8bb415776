"""The run folder: where each thing of a run lies, and how it is written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

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
        """What the server and the clients remember after so many rounds; only the last is kept."""
        return self.root / "state" / f"{finished:05d}.safetensors"

    def weights(self, finished: int) -> Path:
        """The shared weights after so many rounds; 0 holds those that the first one started from."""
        return self.root / "rounds" / f"{finished:05d}.safetensors"


def create(root: Path) -> RunFolder:
    """Make a fresh run folder.

    Raises:
        ConfigError: it holds a run already, or it cannot be made.
    """
    folder = RunFolder(root)
    if folder.ledger.exists():
        raise ConfigError(
            f"{root} holds a run already",
            remedy="Go on with --resume, or choose another folder with --set run.dir=DIR",
        )
    try:
        (root / "rounds").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the run folder {root} cannot be made: {error.strerror}") from error
    return folder


def find(root: Path) -> RunFolder:
    """Open an existing run folder.

    Raises:
        ConfigError: there is no run in it.
    """
    folder = RunFolder(root)
    if not folder.ledger.is_file() or not folder.config.is_file():
        raise ConfigError(
            f"{root} holds no run", allowed="a folder that sotto run or sotto demo made"
        )
    return folder


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and have it on disk before returning.

    Raises:
        SottovoceError: the disk refused; what stood there before still stands.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SottovoceError(
            f"{path} cannot be written: {error.strerror}",
            remedy="Make room or give leave to write there; a run goes on with --resume",
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write named tensors as safetensors, whole or not at all."""
    write_bytes(path, save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read named tensors.

    Raises:
        VerificationError: the file is missing or damaged.
    """
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except Exception as error:  # the reader raises its own type for damaged files
        raise VerificationError(f"{path} cannot be read: {error}") from error
    return tensors


def append_metrics(folder: RunFolder, row: Mapping[str, Any]) -> None:
    """Add one line to the metrics."""
    with folder.metrics.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True, allow_nan=False) + "\n")
