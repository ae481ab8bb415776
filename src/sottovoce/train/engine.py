"""Local training of many clients at once on the group axis.

One frozen base model runs over the sequences of all clients in one pass; each client has its own
row of trainable weights, its own optimizer state, schedule and step count. Clients are ordered by
number of steps, packed by a stated memory budget, and leave the pack when they are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import SottovoceError
from sottovoce.train.batches import Example, Feed, supervised_tokens
from sottovoce.train.client import PLAIN, Client, ClientState, Protection, Round, Rule
from sottovoce.train.pack import Pack
from sottovoce.train.recipe import TrainSettings, learning_rate
from sottovoce.train.trainable import Trainable
from sottovoce.train.units import Units, drawn
from sottovoce.update import Update, unflatten


@dataclass(frozen=True)
class Progress:
    """One optimizer step of the clients that are still training; for display."""

    step: int
    steps: int
    clients: int
    tokens: int
    loss: float


class Diverged(SottovoceError):  # noqa: N818 - the name is the state, as in the field
    """A client's training produced a value that is not finite."""


def train(
    model: Trainable,
    clients: Sequence[Client],
    received: Mapping[str, NDArray[np.float32]],
    settings: TrainSettings,
    where: Round,
    *,
    rule: Rule = PLAIN,
    protection: Protection | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_diverged: Callable[[str], None] | None = None,
) -> list[tuple[Update, ClientState]]:
    """Train every client for one round, many at once, and return what each would send.

    Each client minimises the mean negative log-likelihood of the supervised tokens of its own
    batches; nothing is averaged over clients.

    Args:
        model: the frozen base with its trainable rows.
        clients: who trains; names are distinct.
        received: the weights that each client starts from, by client name, each ``[D]``.
        settings: the recipe.
        where: the round, for the schedule and the random streams.
        rule: what a federated algorithm changes about it; its ``adjust`` comes after
            ``max_gradient_norm``, so that the bound is on what the data say and not on the rule.
        protection: lets steps read units of the clients, and use only what their guards release
            of them; ``max_gradient_norm`` then gives way to the guards' own bounds. None reads
            batches in the clear.
        on_step: told after each optimizer step.
        on_diverged: told the name of a client whose loss or weights are no longer finite; the
            client is left out of what is returned. None raises instead.

    Returns:
        One update and one state per client, in the order of ``clients``.

    Guarantees:
        - a client without steps returns a zero update;
        - an entry that a rule does not train has an update of exactly zero;
        - a client's update does not depend on who shares its pack or pass, to rounding;
        - the base model is left as it was.

    Raises:
        ValueError: two clients have one name, or a client received no weights.
        Diverged: a loss or a weight is not finite, and nobody is told of it.
    """
    names = [client.name for client in clients]
    if len(set(names)) < len(names) or not set(names) <= set(received):
        raise ValueError(f"clients {names} with weights for {sorted(received)}: one row per name")
    order = sorted(
        range(len(clients)),
        key=lambda place: (-clients[place].taken(settings), place),
    )
    results: dict[int, tuple[Update, ClientState]] = {}
    size = _pack_size(model, settings, rule)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        members = [clients[place] for place in places]
        vectors = [received[member.name] for member in members]
        pack = Pack(model, members, vectors, settings, rule, guarded=protection is not None)
        read = _batches(pack, where) if protection is None else _protected(pack, where, protection)
        trained = _train_pack(pack, where, read, on_step, on_diverged)
        results.update(
            (place, result)
            for place, result in zip(places, trained, strict=True)
            if result is not None
        )
    return [results[place] for place in sorted(results)]


def _pack_size(model: Trainable, settings: TrainSettings, rule: Rule) -> int:
    """How many clients fit: weights, gradient, optimizer state, and what a rule compares with."""
    if not model.shares_a_pass:
        return 1
    rows = 4 if settings.optimizer == "adamw" else 3
    # A rule's anchors are a row; its masks are a quarter of one, beside a copy of the weights.
    rows += (rule.adjust is not None) + 2 * (rule.trained is not None)
    budget = settings.memory_budget_mib * 2**20
    return max(1, budget // (rows * 4 * max(1, model.layout.size)))


@dataclass(frozen=True)
class _Read:
    """What one step read of each client that is still training. Private."""

    nll: NDArray[np.float64]
    targets: NDArray[np.int64]
    tokens: NDArray[np.int64]


def _batches(pack: Pack, where: Round) -> Callable[[int, Sequence[float]], _Read]:
    """Steps over batches in the clear."""
    clients = pack.clients
    feeds = [
        Feed(client.name, client.examples, pack.settings.batch_size, where.seed)
        for client in clients
    ]

    def read(step: int, rates: Sequence[float]) -> _Read:
        batches = [feeds[c][clients[c].state.cursor + step] for c in range(len(rates))]
        return _read(pack.accumulate(batches, rates), batches)

    return read


def _protected(
    pack: Pack, where: Round, protection: Protection
) -> Callable[[int, Sequence[float]], _Read]:
    """Steps over sampled units, of which only what the guards release is used."""
    clients = pack.clients
    guards = [protection.guards[client.name] for client in clients]

    def sample(place: int, step: int) -> Units:
        client = clients[place]
        names = client.name, client.state.cursor + step
        return drawn(client.units, guards[place].sample(), protection.most, where.seed, *names)

    def read(step: int, rates: Sequence[float]) -> _Read:
        samples = [sample(c, step) for c in range(len(rates))]
        sums = pack.accumulate_units(samples, rates, guards)
        # A unit whose gradient is not finite counts as zero; so does its loss in what is shown.
        nll = np.nan_to_num(sums, nan=0.0, posinf=0.0, neginf=0.0)
        return _read(nll, [[e for unit in units for e in unit] for units in samples])

    return read


def _read(nll: NDArray[np.float64], batches: Sequence[Sequence[Example]]) -> _Read:
    return _Read(
        nll,
        np.array([supervised_tokens(batch) for batch in batches], np.int64),
        np.array([sum(len(e.tokens) for e in batch) for batch in batches], np.int64),
    )


def _train_pack(
    pack: Pack,
    where: Round,
    read: Callable[[int, Sequence[float]], _Read],
    on_step: Callable[[Progress], None] | None,
    on_diverged: Callable[[str], None] | None,
) -> list[tuple[Update, ClientState] | None]:
    clients, settings = pack.clients, pack.settings
    planned = [client.planned(settings) for client in clients]
    steps = [client.taken(settings) for client in clients]
    lost = np.zeros(len(clients), bool)
    losses = np.zeros(len(clients))
    targets = np.zeros(len(clients), np.int64)
    tokens = np.zeros(len(clients), np.int64)

    def require_finite(values: NDArray[np.float64], when: str) -> None:
        for place in np.flatnonzero(~np.isfinite(values) & ~lost[: len(values)]).tolist():
            if on_diverged is None:
                raise _diverged(clients[place].name, where, when)
            lost[place] = True
            pack.drop(place)
            on_diverged(clients[place].name)

    for step in range(max(steps, default=0)):
        active = sum(step < count for count in steps)
        rates = [rate_of(settings, where, planned[c], step) for c in range(active)]
        seen = read(step, rates)
        require_finite(seen.nll, f"at step {step}")
        for place in np.flatnonzero(lost[:active]).tolist():
            pack.drop(place)
        pack.apply(active)
        losses[:active] += seen.nll
        targets[:active] += seen.targets
        tokens[:active] += seen.tokens
        if on_step is not None:
            mean = float(np.nansum(seen.nll)) / max(1, int(seen.targets.sum()))
            on_step(Progress(step, max(steps), active, int(seen.tokens.sum()), mean))
    change = pack.changes()
    if not np.isfinite(change).all():
        require_finite(change.sum(1, dtype=np.float64), "after the last step")
    return [
        None
        if lost[c]
        else (
            Update(
                tensors=unflatten(change[c], pack.model.layout),
                client=client.name,
                examples=len(client.examples),
                steps=steps[c],
                tokens=int(tokens[c]),
                loss=float(losses[c] / max(1, targets[c])),
                targets=int(targets[c]),
            ),
            replace(client.state, cursor=client.state.cursor + steps[c], moments=pack.moments(c)),
        )
        for c, client in enumerate(clients)
    ]


def rate_of(settings: TrainSettings, where: Round, planned: int, step: int) -> float:
    """The learning rate of one step of a round, for a client that plans so many in every round."""
    return learning_rate(settings, where.index * planned + step, where.total * planned)


def _diverged(name: str, where: Round, when: str) -> Diverged:
    return Diverged(
        f"training of client {name!r} is no longer finite {when} of round {where.index}",
        remedy="Lower train.learning_rate, or set train.max_gradient_norm",
    )
