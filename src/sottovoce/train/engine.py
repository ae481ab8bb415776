"""Local training of many clients at once on the group axis.

One frozen base model runs over the sequences of all clients in one pass; each client has its own
row of trainable weights, its own optimizer state, schedule and step count. Clients are ordered by
number of steps, packed by a stated memory budget, and leave the pack when they are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.errors import SottovoceError
from sottovoce.train.batches import Example, Feed, collate, cut_passes, supervised_tokens
from sottovoce.train.recipe import TrainSettings, learning_rate, steps_in_round
from sottovoce.train.trainable import Trainable
from sottovoce.update import Tensors, Update, unflatten


@dataclass(frozen=True)
class ClientState:
    """What a client remembers between rounds.

    Args:
        cursor: batches consumed so far; the next round goes on from there.
        moments: optimizer state by name, each ``[D]``, and ``step``; None where it is not kept.
        own: what a federated algorithm keeps for this client, by kind; training hands it through.
    """

    cursor: int = 0
    moments: Mapping[str, NDArray[np.float32]] | None = None
    own: Mapping[str, Tensors] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """One party in local training. Private but the name and the two counts.

    Args:
        name: who it is.
        examples: what it trains on.
        state: what it remembers.
        steps: optimizer steps that it takes in every round; None takes the recipe's.
        stop_after: steps after which it ends this round early; the schedule goes on as if it had
            not.
    """

    name: str
    examples: Sequence[Example]
    state: ClientState = ClientState()
    steps: int | None = None
    stop_after: int | None = None

    def planned(self, settings: TrainSettings) -> int:
        """The steps of every round, which the schedule is made for."""
        if self.steps is None or not self.examples:
            return steps_in_round(len(self.examples), settings)
        return self.steps

    def taken(self, settings: TrainSettings) -> int:
        """The steps of this round."""
        planned = self.planned(settings)
        return planned if self.stop_after is None else min(planned, self.stop_after)


@dataclass(frozen=True)
class Round:
    """Where in the run a round stands; the schedule spans the whole run.

    Args:
        index: which round, from 0.
        total: how many rounds the run has.
        seed: the run's seed.
    """

    index: int
    total: int
    seed: int


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


@dataclass(frozen=True)
class Rule:
    """What a federated algorithm changes about local training; the default changes nothing.

    Args:
        adjust: (gradients, weights, anchors), each ``[C, D]``, to gradients; None leaves them.
        anchors: the third argument by client name, each ``[D]``; None takes what was received.
        trained: which entries a client may change, by name, each ``[D]``; None means all. An
            entry that is not trained keeps its bits, whatever the optimizer or its memory would
            do to it, and so does its part of the memory.
    """

    adjust: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    anchors: Mapping[str, NDArray[np.float32]] | None = None
    trained: Mapping[str, NDArray[np.bool_]] | None = None


PLAIN = Rule()


class _Pack:
    """Clients that train together: their weights, gradients and optimizer, one row each."""

    def __init__(
        self,
        model: Trainable,
        clients: Sequence[Client],
        received: Sequence[NDArray[np.float32]],
        settings: TrainSettings,
        rule: Rule,
    ) -> None:
        self.model = model
        self.settings = settings
        self._adjust = rule.adjust
        self._clients = clients
        self._trained = None if rule.trained is None else [rule.trained[c.name] for c in clients]
        anchors = received if rule.anchors is None else [rule.anchors[c.name] for c in clients]
        # Callers hand the same vector to many clients: it is not copied once for each of them.
        self._vectors = received
        self._anchor_vectors = anchors
        self._anchors: Tensor | None = None
        self._masks: Tensor | None = None
        self.weights = torch.from_numpy(np.stack(received)).to(model.device)
        self.gradients = torch.zeros_like(self.weights)
        self.rows = [torch.nn.Parameter(row) for row in self.weights]
        groups = [{"params": [row], "lr": 0.0} for row in self.rows]
        self.optimizer: torch.optim.Optimizer
        if settings.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(
                groups,
                betas=(settings.beta1, settings.beta2),
                weight_decay=settings.weight_decay,
                fused=True,
            )
        else:
            self.optimizer = torch.optim.SGD(
                groups, momentum=settings.momentum, weight_decay=settings.weight_decay
            )
        for row, client in zip(self.rows, clients, strict=True):
            if settings.optimizer_state == "keep" and client.state.moments:
                # The fused AdamW wants the step count beside the weights, as torch itself loads it.
                self.optimizer.state[row] = {
                    name: torch.tensor(value, device=row.device)
                    for name, value in client.state.moments.items()
                }

    def accumulate(
        self, batches: Sequence[list[Example]], rates: Sequence[float]
    ) -> tuple[Tensor, int]:
        """Fill the gradients of the first ``len(batches)`` clients; return nll sums and tokens."""
        active = len(batches)
        sums = torch.zeros(active, dtype=torch.float64)
        weights = [1.0 / max(1, supervised_tokens(batch)) for batch in batches]
        self.gradients[:active].zero_()
        for part in cut_passes(batches, self.settings.tokens_per_pass):
            batch = collate(part.groups, weights[part.first : part.last])
            rows = slice(part.first, part.last)
            nll = self.model.gradients(
                self.weights[rows], batch.to(self.model.device), self.gradients[rows, None]
            )
            sums[rows] += nll.sum((1, 2)).cpu().double()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=False):
            group["lr"] = rate
        return sums, sum(len(example.tokens) for batch in batches for example in batch)

    def apply(self, active: int) -> None:
        """Bound, adjust and apply the gradients of the first ``active`` clients, each by itself."""
        gradients = self.gradients[:active]
        frozen = self._frozen(active)
        if frozen is not None:
            gradients.masked_fill_(frozen, 0.0)
        bound = self.settings.max_gradient_norm
        if bound != "off":
            for row in gradients:
                norm = torch.linalg.vector_norm(row)
                row.mul_(torch.clamp(bound / (norm + 1e-6), max=1.0))
        if self._adjust is not None:
            gradients.copy_(self._adjust(gradients, self.weights[:active], self._anchor(active)))
        for place, row in enumerate(self.rows):
            row.grad = self.gradients[place] if place < active else None
        before = None if frozen is None else self.weights[:active].clone()
        self.optimizer.step()
        if frozen is not None and before is not None:
            self.weights[:active] = torch.where(frozen, before, self.weights[:active])

    def drop(self, place: int) -> None:
        """Leave a client that diverged where it is: its row no longer moves or matters."""
        self.weights[place].zero_()
        self.gradients[place].zero_()

    def _anchor(self, active: int) -> Tensor:
        if self._anchors is None:
            stacked = torch.from_numpy(np.stack(self._anchor_vectors))
            self._anchors = stacked.to(self.weights.device)
        return self._anchors[:active]

    def _frozen(self, active: int) -> Tensor | None:
        if self._trained is None:
            return None
        if self._masks is None:
            stacked = torch.from_numpy(np.stack(self._trained))
            self._masks = stacked.to(self.weights.device).logical_not_()
        return self._masks[:active]

    def changes(self) -> NDArray[np.float32]:
        """What training changed, one row per client; the weights are given up for it."""
        rows: NDArray[np.float32] = self.weights.cpu().numpy()
        for row, vector in zip(rows, self._vectors, strict=True):
            row -= vector
        return rows

    def moments(self, place: int) -> dict[str, NDArray[np.float32]] | None:
        """The optimizer state of one client, to be kept for its next round."""
        if self.settings.optimizer_state == "reset":
            return None
        state = self.optimizer.state.get(self.rows[place], {})
        after = {
            name: value.detach().cpu().numpy().copy()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        if self._trained is not None:
            before = self._clients[place].state.moments or {}
            for name, value in after.items():
                if value.ndim:
                    kept = before.get(name, np.zeros_like(value))
                    after[name] = np.where(self._trained[place], value, kept)
        return after


def train(
    model: Trainable,
    clients: Sequence[Client],
    received: Mapping[str, NDArray[np.float32]],
    settings: TrainSettings,
    where: Round,
    *,
    rule: Rule = PLAIN,
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
        trained = _train_pack(model, members, vectors, settings, where, rule, on_step, on_diverged)
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


def _train_pack(
    model: Trainable,
    clients: Sequence[Client],
    received: Sequence[NDArray[np.float32]],
    settings: TrainSettings,
    where: Round,
    rule: Rule,
    on_step: Callable[[Progress], None] | None,
    on_diverged: Callable[[str], None] | None,
) -> list[tuple[Update, ClientState] | None]:
    pack = _Pack(model, clients, received, settings, rule)
    feeds = [
        Feed(client.name, client.examples, settings.batch_size, where.seed) for client in clients
    ]
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
        batches = [feeds[c][clients[c].state.cursor + step] for c in range(active)]
        rates = [rate_of(settings, where, planned[c], step) for c in range(active)]
        sums, read = pack.accumulate(batches, rates)
        require_finite(sums.numpy(), f"at step {step}")
        for place in np.flatnonzero(lost[:active]).tolist():
            pack.drop(place)
        pack.apply(active)
        counts = np.array([supervised_tokens(batch) for batch in batches])
        losses[:active] += sums.numpy()
        targets[:active] += counts
        tokens[:active] += [sum(len(e.tokens) for e in batch) for batch in batches]
        if on_step is not None:
            mean = float(sums.nansum()) / max(1, int(counts.sum()))
            on_step(Progress(step, max(steps), active, read, mean))
    change = pack.changes()
    if not np.isfinite(change).all():
        require_finite(change.sum(1, dtype=np.float64), "after the last step")
    return [
        None
        if lost[c]
        else (
            Update(
                tensors=unflatten(change[c], model.layout),
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
