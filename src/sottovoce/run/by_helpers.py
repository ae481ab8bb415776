"""A sum with helpers, played in this process: everybody talks in bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sottovoce.codec.checks import Words
from sottovoce.codec.coding import Coding
from sottovoce.codec.oneshot import client as client_steps
from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot.messages import Message, read, write
from sottovoce.codec.oneshot.server import Server
from sottovoce.codec.oneshot.states import State
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.rng import secret_source
from sottovoce.run.circle import Circle, Helpers


def terms_of(
    circle: Circle,
    helpers: Helpers,
    round_index: int,
    cohort: tuple[str, ...],
    coding: Coding,
    *,
    model_sha256: bytes,
    colluding: int,
    least: int,
) -> Terms:
    """What clients and helpers agree on before one sum: no helper opens one of fewer than ``least``."""
    return Terms(
        run=circle.run,
        round=round_index,
        config_sha256=circle.config_sha256,
        model_sha256=model_sha256,
        roster=circle.roster,
        cohort=cohort,
        helpers=helpers.roster,
        helper_keys=helpers.keys,
        colluding=colluding,
        length=coding.length,
        bits=coding.bits,
        minimum_survivors=least,
    )


def play(
    terms: Terms, circle: Circle, helpers: Helpers, vectors: Mapping[str, Callable[[], Words]]
) -> tuple[Words, dict[tuple[str, str], bytes]]:
    """Play one sum.

    Args:
        terms: of the sum.
        circle: the clients' identities.
        helpers: the helpers' identities and secrets.
        vectors: of each client that delivers, what makes its words; others send nothing.

    Returns:
        The sum, and all that the server received, by sender and stage.

    Raises:
        VerificationError: too few clients are left. Nothing is released.
    """
    server = Server(terms)
    received: dict[tuple[str, str], bytes] = {}

    def send(name: str, stage: str, message: Message, take: Callable[[Any], None]) -> None:
        received[name, stage] = data = write(message, terms)
        take(read(type(message), data, terms, sender=name))

    def arrived(message: Message) -> Any:
        return read(type(message), write(message, terms), terms, sender="the server")

    for name, words in vectors.items():
        identity = circle.identities[name]
        masked = client_steps.upload(identity, name, terms, words(), secret_source())
        send(name, "1-upload", masked, server.add_upload)
    delivery = server.close_uploads()
    states: dict[str, State] = {
        name: steps.begin(secret, terms) for name, secret in helpers.secrets.items()
    }
    for name, identity in helpers.identities.items():
        states[name], receipt = steps.receive(states[name], arrived(delivery), identity)
        send(name, "2-receipt", receipt, server.add_receipt)
    proposal = server.close_receipts()
    for name, identity in helpers.identities.items():
        states[name], vote = steps.lock(states[name], arrived(proposal), identity)
        send(name, "3-vote", vote, server.add_vote)
    for name, request in server.close_votes().items():
        answered = steps.answer(states[name], arrived(request))
        for place, told in enumerate(steps.sums(answered, helpers.identities[name])):
            send(name, f"4-sum-{place}", told, server.add_sum)
    return server.recover(), received
