"""One round of a federation in this process: who trains from what, and what each sends. No disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sottovoce.errors import VerificationError
from sottovoce.run.arms import Evaluation, Vector, Watch, evaluate_parties
from sottovoce.run.cohorts import Cohort
from sottovoce.run.contribute import (
    Contributed,
    contribute,
    contributions_of,
    on_base,
    personal_weights,
)
from sottovoce.run.known import Known
from sottovoce.run.prepare import Prepared
from sottovoce.run.rounds import (
    RoundRecord,
    private_round_step,
    round_step,
    summed_round_step,
    without_private_facts,
)
from sottovoce.run.secure import Summed
from sottovoce.run.sums import as_sent, summed_by
from sottovoce.strategies import ServerState
from sottovoce.strategies.settings import Device
from sottovoce.train import ClientState, Protection
from sottovoce.update import Tensors, Update, flatten, l2_norm, scale


@dataclass(frozen=True)
class Played:
    """What one round gives, before anything of it is written.

    Args:
        server: the state after the round.
        clients: the new states of those that took part.
        updates: what each sent.
        record: what everyone may know.
        zeroed: contributions under a plan that were not finite and count as zero. Private.
        summed: what the server made of words, where updates travel as words.
        received: what the server received, by client and stage, where that is not plain tensors.
    """

    server: ServerState
    clients: Mapping[str, ClientState]
    updates: Sequence[Update]
    record: RoundRecord
    zeroed: int = 0
    summed: Summed | None = None
    received: Mapping[tuple[str, str], bytes] = field(default_factory=dict, repr=False)


def evaluate_judged(
    prepared: Prepared, server: ServerState, memory: Callable[[str], ClientState]
) -> Evaluation:
    """Held-out loss of every party that is judged, under the weights that it would use."""
    layout = prepared.model.layout
    shared = flatten(server.weights, layout)
    keeps = prepared.config.federation.strategy.algorithm.keeps(layout.shapes)

    def row(name: str) -> Vector:
        if not keeps:
            return shared
        return flatten(personal_weights(server.weights, memory(name).own), layout)

    with on_base(prepared.model, server.residual):
        return evaluate_parties(prepared, row, prepared.judged, server.round)


def play_round(
    prepared: Prepared,
    server: ServerState,
    cohort: Cohort,
    *,
    devices: Mapping[str, Device],
    memory: Callable[[str], ClientState],
    history: Callable[[int], Tensors],
    watch: Watch,
    lap: Callable[[str], None] | None = None,
) -> Played:
    """Let a cohort train, and let the server join what they send.

    Args:
        prepared: model, data and configuration.
        server: before the round.
        cohort: who takes part, and from which weights.
        devices: the kinds of device of the clients that have one.
        memory: the state of a client by name.
        history: the shared weights after so many rounds.
        watch: what is told along the way.
        lap: told the name of each stage when it is over: ``train``, ``sum``.

    Raises:
        VerificationError: fewer clients delivered than ``federation.minimum_clients``.
        Diverged: a client's training is no longer finite and ``on_divergence`` is ``"stop"``.
    """
    made = contribute(
        prepared,
        server,
        cohort,
        devices=devices,
        memory=memory,
        history=history,
        watch=watch,
    )
    if lap is not None:
        lap("train")
    if not prepared.plans.whole_clients:
        minimum = prepared.config.federation.minimum_clients
        _require_minimum(len(made.pairs), minimum, server.round)
    played = _closed(prepared, server, cohort, made)
    if lap is not None:
        lap("sum")
    return played


def _closed(
    prepared: Prepared,
    server: ServerState,
    cohort: Cohort,
    made: Contributed,
) -> Played:
    """Let what the clients send be added up, and the server go on from it."""
    diverged, protection = made.diverged, made.protection
    leaves = as_sent(prepared, server, made.pairs)
    finished, received = leaves.pairs, leaves.travels
    sent = [update for update, _ in finished]
    absent = {*cohort.silent, *diverged}
    summed = summed_by(prepared, server, leaves, absent, contributions_of(protection))
    out: set[str] = set()
    if summed is not None:
        # Whose group was too small for a sum has sent in vain, and remembers no such round.
        out = {update.client for update in sent} - set(summed.clients)
        finished = [pair for pair in finished if pair[0].client not in out]
        sent, received = [update for update, _ in finished], summed.received
    zeroed = _zeroed(prepared, protection, sent)
    if summed is not None and prepared.plans.whole_clients:
        # Nobody but the client itself may count with these figures of its text.
        bare: dict[str, Any] = {"examples": 0, "tokens": 0, "targets": 0, "loss": None}
        sent = [replace(update, **bare) for update in sent]
    after, record, updates = _joined(prepared, server, sent, summed)
    versions = {part.client: part.version for part in cohort.parts}
    record = replace(
        record,
        failed=tuple(sorted({*cohort.failed, *diverged, *out})),
        staleness=tuple(server.round - versions[name] for name in record.clients),
        simulated_time=round(cohort.time, 6),
    )
    states = {update.client: state for update, state in finished}
    return Played(after, states, updates, record, zeroed, summed, received)


def _require_minimum(delivered: int, minimum: int, index: int) -> None:
    if delivered < minimum:
        raise VerificationError(
            f"{delivered} clients delivered in round {index}",
            allowed=f"at least federation.minimum_clients = {minimum}",
            remedy="Lower train.learning_rate; clients were dropped because they diverged",
        )


def _bounded(update: Update, clip_norm: float) -> Update:
    """What a client sends: its update within the norm, and no figure of its text."""
    norm = l2_norm(update.tensors)
    factor = min(1.0, clip_norm / norm) if 0 < norm < np.inf else float(norm == 0)
    sent = {n: np.nan_to_num(v, posinf=0.0, neginf=0.0) for n, v in update.tensors.items()}
    return replace(update, tensors=scale(sent, factor), examples=0, tokens=0, targets=0, loss=None)


def _zeroed(prepared: Prepared, protection: Protection | None, sent: Sequence[Update]) -> int:
    """How many contributions count as zero because they were not finite."""
    if protection is not None:
        return sum(guard.zeroed for guard in protection.guards.values())
    if not prepared.plans.whole_clients:
        return 0
    # A client whose training ended early stands here with zeros and without a loss.
    return sum(update.loss is None or not np.isfinite(l2_norm(update.tensors)) for update in sent)


def _joined(
    prepared: Prepared, server: ServerState, sent: Sequence[Update], summed: Summed | None
) -> tuple[ServerState, RoundRecord, Sequence[Update]]:
    """What the server makes of a round, what everyone may know of it, and what it received."""
    mean = None if summed is None else summed.mean
    after, record = join(prepared, server, sent, mean)
    plan = prepared.plans.federation
    if plan is None:
        return after, record, sent
    clip_norm = plan.current_clip_norm(server.moments.get("privacy"))
    return after, record, [_bounded(update, clip_norm) for update in sent]


def join(
    known: Known, server: ServerState, sent: Iterable[Update], mean: Tensors | None
) -> tuple[ServerState, RoundRecord]:
    """The server's half of a round: make one update of many, and go on from it.

    Args:
        known: the federation.
        server: before the round.
        sent: what the clients that delivered have sent, read once and one at a time.
        mean: of their updates, where it was formed elsewhere; then of ``sent`` the public facts
            alone are read.

    Returns:
        The state after the round, and what everyone may know of it.

    Raises:
        VerificationError: as ``rounds.round_step``.
    """
    plans, config = known.plans, known.config
    algorithm, population = config.federation.strategy.algorithm, len(known.clients)
    if plans.federation is not None:
        source = plans.source(config.seed, "round", server.round)
        return private_round_step(algorithm, server, sent, plans.federation, source)
    hidden = config.secure.aggregation != "none"
    losses: list[float] = []

    def seen() -> Iterator[Update]:
        for update in sent:
            if update.loss is not None:
                losses.append(update.loss)
            yield update
            del update

    if mean is None:
        after, record = round_step(algorithm, server, seen(), population=population)
    else:
        after, record = summed_round_step(
            algorithm, server, mean, seen(), population=population, hidden=hidden
        )
    if plans.plans and not hidden:
        record = without_private_facts(record, losses)
    return after, record
