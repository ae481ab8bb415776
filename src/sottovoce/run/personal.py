"""Personal models: trained or gathered at the end of a run, measured, and written per client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce import train as training
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run.arms import Watch, evaluate_parties
from sottovoce.run.clients import Clients
from sottovoce.run.contribute import on_base, personal_weights
from sottovoce.run.folder import RunFolder
from sottovoce.run.ledger import Record
from sottovoce.run.prepare import Party, Prepared
from sottovoce.run.rounds import digest
from sottovoce.strategies import ServerState
from sottovoce.strategies.personal import FineTune
from sottovoce.train import Client, ClientState, Round, TrainSettings
from sottovoce.update import Tensors, flatten, unflatten

AT_ONCE = 64
"""Clients whose personal models are held in memory at the same time."""


@dataclass(frozen=True)
class Gain:
    """What a client's own model gives it.

    Args:
        shared: held-out loss of the shared model.
        personal: held-out loss of its own.
    """

    shared: float
    personal: float

    @property
    def gain(self) -> float:
        """By how much its own is better, in nats."""
        return self.shared - self.personal


def has_own_models(prepared: Prepared) -> bool:
    """Whether every client ends with a model of its own."""
    federation = prepared.config.federation
    algorithm = federation.strategy.algorithm
    return federation.personal is not None or algorithm.keeps(prepared.model.layout.shapes)


def personalise(
    prepared: Prepared, server: ServerState, clients: Clients, folder: RunFolder, watch: Watch
) -> dict[str, Any]:
    """Make every client's personal model, measure it, and write it.

    Returns:
        The ledger's payload: per client, in the order of ``clients``, both losses and the digest
        of the personal tensors.
    """
    gains: list[Gain] = []
    digests: list[str] = []
    with on_base(prepared.model, server.residual):
        for some in _some_at_a_time(prepared.parties):
            models = _models(prepared, server, clients, some, watch)
            for party in some:
                gains.append(_measure(prepared, server, party, models[party.name]))
                folders.write_tensors(folder.personal(len(digests)), models[party.name])
                digests.append(digest(models[party.name]))
    return {
        "clients": [party.name for party in prepared.parties],
        "shared_loss": [gain.shared for gain in gains],
        "personal_loss": [gain.personal for gain in gains],
        "tensors_sha256": digests,
    }


def gains_of(record: Record) -> dict[str, Gain]:
    """What a ledger says that each client's own model gives it."""
    payload: Any = record.payload
    rows = zip(payload["clients"], payload["shared_loss"], payload["personal_loss"], strict=True)
    return {name: Gain(shared, personal) for name, shared, personal in rows}


def read_personal(folder: RunFolder, record: Record | None, client: str) -> Tensors:
    """The personal tensors of one client, checked against the ledger.

    Raises:
        ConfigError: the run has no personal models, or no such client.
        VerificationError: the file is not the one in the ledger.
    """
    if record is None:
        raise ConfigError(
            f"{folder.root} has no personal models",
            remedy='Run with federation.personal = "finetune" or "ditto", or with a strategy that '
            "keeps tensors at the client (fedsa, fedper)",
        )
    payload: Any = record.payload
    if client not in payload["clients"]:
        raise ConfigError(
            f"there is no client {client!r}", allowed=", ".join(payload["clients"][:12])
        )
    place = payload["clients"].index(client)
    tensors = folders.read_tensors(folder.personal(place))
    if digest(tensors) != payload["tensors_sha256"][place]:
        raise VerificationError(
            f"{folder.personal(place)} is not what the ledger says",
            remedy="Restore it from a copy, or run the federation again",
        )
    return tensors


def _some_at_a_time(parties: Sequence[Party]) -> Iterator[Sequence[Party]]:
    for start in range(0, len(parties), AT_ONCE):
        yield parties[start : start + AT_ONCE]


def _models(
    prepared: Prepared,
    server: ServerState,
    clients: Clients,
    parties: Sequence[Party],
    watch: Watch,
) -> dict[str, Tensors]:
    """The personal tensors of these parties; who never took part has the shared ones."""
    own = {party.name: clients.read(party.name) for party in parties}
    kept: dict[str, Tensors] = {
        name: {**personal_weights(server.weights, state.own), **state.own.get("personal", {})}
        for name, state in own.items()
    }
    personal = prepared.config.federation.personal
    if not isinstance(personal, FineTune):
        return kept
    layout = prepared.model.layout
    received = {name: flatten(tensors, layout) for name, tensors in kept.items()}
    members = [
        Client(party.name, party.train, ClientState(own[party.name].cursor)) for party in parties
    ]
    trained = training.train(
        prepared.model,
        members,
        received,
        _recipe(prepared.config.train, personal),
        Round(0, 1, prepared.config.seed),
        on_step=watch.step(server.round),
    )
    return {
        update.client: unflatten(received[update.client] + flatten(update.tensors, layout), layout)
        for update, _ in trained
    }


def _recipe(settings: TrainSettings, personal: FineTune) -> TrainSettings:
    """One schedule over the whole fine-tuning."""
    return settings.model_copy(
        update={
            "steps_per_round": None,
            "epochs_per_round": personal.epochs,
            "learning_rate": personal.learning_rate or settings.learning_rate,
            "optimizer_state": "reset",
        }
    )


def _measure(prepared: Prepared, server: ServerState, party: Party, personal: Tensors) -> Gain:
    layout = prepared.model.layout
    shared, own = (flatten(tensors, layout) for tensors in (server.weights, personal))

    def loss(row: NDArray[np.float32]) -> float:
        return evaluate_parties(prepared, lambda _: row, [party], server.round).mean

    return Gain(loss(shared), loss(own))
