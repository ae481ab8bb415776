"""What a run folder holds, read and checked against its ledger before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sottovoce.config import Config, load_config
from sottovoce.errors import VerificationError
from sottovoce.run import folder as folders
from sottovoce.run.folder import RunFolder
from sottovoce.run.ledger import Record, read
from sottovoce.run.personal import read_personal
from sottovoce.run.rounds import digest
from sottovoce.update import Tensors


@dataclass(frozen=True)
class Stored:
    """A run on disk.

    Args:
        folder: the run folder.
        config: its resolved configuration.
        start: the ledger's first record, which says what the run was started with.
        tensors: the shared weights after the last round, and what was folded into the base model.
        personal: the ledger's record of the clients' own models; None where there are none.
    """

    folder: RunFolder
    config: Config
    start: Mapping[str, Any]
    tensors: Tensors
    personal: Record | None

    @property
    def clients(self) -> Sequence[str]:
        """The clients that ended with a model of their own."""
        payload: Any = {} if self.personal is None else self.personal.payload
        return tuple(payload.get("clients", ()))

    def of_client(self, client: str) -> Tensors:
        """The personal tensors of one client, read and checked now.

        Raises:
            ConfigError: the run has no personal models, or no such client.
            VerificationError: its file was altered.
        """
        return read_personal(self.folder, self.personal, client)


def read_run(root: Path, overrides: Sequence[str] = ()) -> Stored:
    """Read a run folder and its last weights, checked against the ledger.

    Args:
        root: the run folder.
        overrides: changes to its configuration, for scoring otherwise than it was trained.

    Raises:
        ConfigError: there is no run in the folder.
        VerificationError: the ledger, or the weights that it vouches for, were altered.
    """
    folder = folders.find(root)
    config = load_config(folder.config, overrides)
    finished, vouched = 0, ""
    start: Mapping[str, Any] = {}
    personal: Record | None = None
    for record in read(folder.ledger):
        if record.kind in ("start", "round"):
            vouched = str(record.payload["weights_sha256"])
            finished += record.kind == "round"
            start = start or record.payload
        if record.kind == "personal":
            personal = record
    tensors = folders.read_tensors(folder.weights(finished))
    if digest(tensors) != vouched:
        raise VerificationError(
            f"{folder.weights(finished)} is not what the ledger says",
            remedy="Restore it from a copy, or run the federation again",
        )
    return Stored(folder, config, start, tensors, personal)
