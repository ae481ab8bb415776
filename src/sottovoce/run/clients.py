"""What clients remember between rounds: read when they take part, written when they have.

A federation may have ten thousand clients of which fifty take part in a round; a round reads and
writes fifty. Which file of a client counts is said by the ledger: each round's record holds the
hash of every file that was written for it. Files of later rounds, left by a run that was killed
before its record, are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError
from sottovoce.run import folder as folders
from sottovoce.run.folder import RunFolder
from sottovoce.run.ledger import Record
from sottovoce.train import ClientState


@dataclass(frozen=True)
class _Kept:
    """Where the last state of a client is, and what the ledger says of it."""

    cursor: int
    finished: int
    sha256: str | None


class Clients:
    """The states of all clients of a run folder, on disk.

    Guarantees:
        - a state that is read is the one that the ledger vouches for;
        - memory and time of a round depend on who takes part in it, not on how many there are.
    """

    def __init__(self, folder: RunFolder, places: Mapping[str, int]) -> None:
        self._folder = folder
        self._places = places
        self._kept: dict[str, _Kept] = {}

    def replay(self, record: Record) -> None:
        """Take over what one round's record says of the clients' states."""
        payload: Mapping[str, Any] = record.payload
        if record.kind not in ("round", "answer"):
            return
        rows = zip(payload["clients"], payload["steps"], payload["clients_sha256"], strict=True)
        for name, steps, digest in rows:
            before = self._kept.get(name)
            cursor = (before.cursor if before else 0) + int(steps)
            self._kept[name] = _Kept(cursor, int(payload["round"]) + 1, digest)

    def read(self, name: str) -> ClientState:
        """The state of one client.

        Raises:
            VerificationError: its file is missing or not the one in the ledger.
        """
        kept = self._kept.get(name)
        if kept is None:
            return ClientState()
        if kept.sha256 is None:
            return ClientState(kept.cursor)
        path = self._folder.client(self._places[name], kept.finished)
        data = folders.read_bytes(path)
        if sha256(data).hexdigest() != kept.sha256:
            raise VerificationError(
                f"the state of client {name!r} in {path} is not the one in the ledger",
                remedy="Restore it from a copy, or start the run again",
            )
        return _unpack(kept.cursor, folders.parse_tensors(data, path))

    def write(self, finished: int, states: Mapping[str, ClientState]) -> list[str | None]:
        """Write the states of those who took part; the hash of each file, in the order of names.

        Nothing is written for a client that has nothing to remember but its place in its examples,
        which follows from the ledger.
        """
        digests: list[str | None] = []
        for name in sorted(states):
            tensors = _pack(states[name])
            if not tensors:
                digests.append(None)
                continue
            data = folders.pack_tensors(tensors)
            folders.write_bytes(self._folder.client(self._places[name], finished), data)
            digests.append(sha256(data).hexdigest())
        return digests

    def forget_older(self, record: Record) -> None:
        """Remove files that this record has replaced; call it when the record is on disk."""
        payload: Mapping[str, Any] = record.payload
        for name in payload["clients"]:
            current = self._folder.client(self._places[name], int(payload["round"]) + 1)
            _remove_all_but(current)


def _remove_all_but(current: Path) -> None:
    if current.parent.is_dir():
        for path in sorted(current.parent.iterdir()):
            if path != current:
                path.unlink()


def _pack(state: ClientState) -> dict[str, NDArray[Any]]:
    tensors = {f"moments/{kind}": row for kind, row in (state.moments or {}).items()}
    for kind, own in state.own.items():
        tensors.update({f"own/{kind}/{name}": value for name, value in own.items()})
    return tensors


def _unpack(cursor: int, tensors: Mapping[str, NDArray[Any]]) -> ClientState:
    moments: dict[str, NDArray[np.float32]] = {}
    own: dict[str, dict[str, NDArray[np.float32]]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "moments":
            moments[rest] = value
        else:
            inner, _, name = rest.partition("/")
            own.setdefault(inner, {})[name] = value
    return ClientState(cursor, moments or None, own)
