"""A sum under masks that cancel, played in this process: everybody talks in bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from sottovoce.codec import graph
from sottovoce.codec.checks import Words
from sottovoce.codec.coding import Coding
from sottovoce.codec.secagg import client as steps
from sottovoce.codec.secagg.messages import Message, Signed, read, write
from sottovoce.codec.secagg.server import Server
from sottovoce.codec.secagg.states import State
from sottovoce.codec.secagg.terms import Terms
from sottovoce.codec.settings import SecureSettings
from sottovoce.rng import secret_source
from sottovoce.run.circle import Circle


def terms_of(
    secure: SecureSettings,
    circle: Circle,
    round_index: int,
    cohort: tuple[str, ...],
    coding: Coding,
    *,
    least: int,
) -> Terms:
    """What the clients of a cohort agree on before one sum.

    The threshold is floor(2k/3) + 1 of k neighbours; above 100 clients, k and a higher one if
    need be follow from the shares of corrupt and dropped clients. No client helps to open a sum of
    fewer than ``least``.

    Raises:
        ConfigError: fewer than two clients, or shares that no number of neighbours can bear.
    """
    neighbours, threshold = degree(secure, len(cohort))
    return Terms(
        run=circle.run,
        round=round_index,
        beacon=circle.beacon,
        config_sha256=circle.config_sha256,
        roster=circle.roster,
        cohort=cohort,
        length=coding.length,
        bits=coding.bits,
        neighbours=neighbours,
        threshold=threshold,
        minimum_survivors=max(least, threshold),
        malicious=secure.server == "malicious",
        post_quantum=secure.post_quantum,
    )


def degree(secure: SecureSettings, cohort: int) -> tuple[int, int]:
    """How many neighbours a client of a cohort has, and how many of them bring a secret back.

    Up to 100 clients everybody is everybody's neighbour. The threshold is then floor(2k/3) + 1 of k
    neighbours, and above (k + corrupt)/2 where ``secure.corrupt`` of all clients ask for more, so
    that no two honest sets of neighbours that a server tells different things are both enough.
    """
    if cohort <= graph.COMPLETE_UP_TO:
        neighbours = graph.neighbour_count(cohort, 0)
        if neighbours < 2:
            return neighbours, 1
        corrupt = ceil(secure.corrupt * cohort) if secure.server == "malicious" else 0
        split = (neighbours + min(corrupt, neighbours)) // 2 + 1
        return neighbours, min(neighbours, max(2 * neighbours // 3 + 1, split))
    found = graph.degree_for(
        cohort, secure.corrupt, secure.dropped, server=secure.server, above=graph.TWO_THIRDS
    )
    return found.neighbours, found.threshold


def play(
    terms: Terms,
    circle: Circle,
    model_sha256: bytes,
    vectors: Mapping[str, Callable[[], Words]],
) -> tuple[Words, dict[tuple[str, str], bytes]]:
    """Play one sum.

    Args:
        terms: of the sum.
        circle: everybody's identities.
        model_sha256: of the model that all clients received.
        vectors: of each client that delivers, what makes its words; others fall silent before.

    Returns:
        The sum, and all that the server received, by sender and stage.

    Raises:
        VerificationError: too few clients are left. Nothing is released.
    """
    server = Server(terms, model_sha256)
    states: dict[str, State] = {}
    received: dict[tuple[str, str], bytes] = {}
    sources = {name: secret_source() for name in terms.cohort}

    def send(name: str, stage: str, message: Signed, take: Callable[[Any], None]) -> None:
        received[name, stage] = data = write(message, terms)
        take(read(type(message), data, terms, sender=name))

    def arrived(message: Message) -> Any:
        return read(type(message), write(message, terms), terms, sender="the server")

    for name in terms.cohort:
        states[name], shown = steps.advertise(circle.identities[name], name, terms, sources[name])
        send(name, "1-keys", shown, server.add_advertisement)
    for name, cohort in server.close_advertisements().items():
        identity = circle.identities[name]
        states[name], sealed = steps.share(states[name], arrived(cohort), identity, sources[name])
        send(name, "2-shares", sealed, server.add_shares)
    for name, inbox in server.close_shares().items():
        if name in vectors:
            states[name], masked = steps.upload(
                states[name], arrived(inbox), vectors[name](), model_sha256, circle.identities[name]
            )
            send(name, "3-upload", masked, server.add_upload)
    survivors = server.close_uploads()
    if terms.malicious:
        for name in survivors.survivors:
            identity = circle.identities[name]
            states[name], signed = steps.acknowledge(states[name], arrived(survivors), identity)
            send(name, "4-acknowledgement", signed, server.add_acknowledgement)
    for name, request in server.close_acknowledgements().items():
        identity = circle.identities[name]
        states[name], answer = steps.unmask(states[name], arrived(request), identity)
        send(name, "5-unmasking", answer, server.add_unmasking)
    return server.recover(), received
