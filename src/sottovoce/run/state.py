"""The server's state between two rounds, as files of the run folder."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from numpy.typing import NDArray

from sottovoce.errors import VerificationError
from sottovoce.run import folder as folders
from sottovoce.run.folder import RunFolder
from sottovoce.run.known import Known
from sottovoce.run.ledger import Record
from sottovoce.run.rounds import digest
from sottovoce.strategies import ServerState


def pack_state(server: ServerState) -> bytes:
    """Everything but the model that the server's next step depends on, as a safetensors file."""
    named = {
        f"{kind}/{name}": value
        for kind, tensors in server.moments.items()
        for name, value in tensors.items()
    }
    return folders.pack_tensors(named)


def read_state(known: Known, folder: RunFolder, first: str, last: Record | None) -> ServerState:
    """The server's state after the last round in the ledger.

    Args:
        known: the federation.
        folder: of the run.
        first: the digest of the model before the first round.
        last: the ledger's record of the last round; None before the first.

    Raises:
        VerificationError: the files are not those that the ledger vouches for.
    """
    algorithm, layout = known.config.federation.strategy.algorithm, known.layout
    finished = int(_value(last, "round")) + 1 if last else 0
    model = folders.read_tensors(folder.weights(finished))
    weights = {name: value for name, value in model.items() if name in layout.shapes}
    layout.check(weights)
    residual = {name: value for name, value in model.items() if name not in layout.shapes}
    if last is None:
        if digest(model) != first:
            raise _not_in_ledger(folder, finished)
        return algorithm.first(weights)
    data = folders.read_bytes(folder.state(finished))
    seen = (digest(model), sha256(data).hexdigest())
    if seen != (_value(last, "weights_sha256"), _value(last, "state_sha256")):
        raise _not_in_ledger(folder, finished)
    moments: dict[str, dict[str, NDArray[Any]]] = {}
    for key, value in folders.parse_tensors(data, folder.state(finished)).items():
        kind, _, name = key.partition("/")
        moments.setdefault(kind, {})[name] = value
    return ServerState(weights, moments, finished, residual)


def _not_in_ledger(folder: RunFolder, finished: int) -> VerificationError:
    return VerificationError(
        f"the files of round {finished} in {folder.root} are not those in the ledger",
        remedy="Restore them from a copy, or start the run again",
    )


def _value(record: Record, name: str) -> Any:
    return record.payload[name]
