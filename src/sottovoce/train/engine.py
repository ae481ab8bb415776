"""Local training of many clients at once on the group axis.

One frozen base model runs over the sequences of all clients in one pass; each client has its own
row of trainable weights, its own optimizer state, schedule and step count. Clients are ordered by
number of steps, packed by a stated memory budget, and leave the pack when they are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.errors import SottovoceError
from sottovoce.train.batches import Example, Feed, collate, cut_passes, supervised_tokens
from sottovoce.train.recipe import TrainSettings, learning_rate, steps_in_round
from sottovoce.train.trainable import Trainable
from sottovoce.update import Update, unflatten


@dataclass(frozen=True)
class ClientState:
    """What a client remembers between rounds.

    Args:
        cursor: batches consumed so far; the next round goes on from there.
        moments: optimizer state by name, each ``[D]``, and ``step``; None where it is not kept.
    """

    cursor: int = 0
    moments: Mapping[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True)
class Client:
    """One party in local training: its name, its examples and its memory. Private but the name."""

    name: str
    examples: Sequence[Example]
    state: ClientState = ClientState()


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


Adjust = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A strategy's client half: (gradients, weights, received weights), each ``[C, D]``, to gradients."""


class _Pack:
    """Clients that train together: their weights, gradients and optimizer, one row each."""

    def __init__(
        self,
        model: Trainable,
        clients: Sequence[Client],
        received: Sequence[NDArray[np.float32]],
        settings: TrainSettings,
    ) -> None:
        self.model = model
        self.settings = settings
        # Callers hand the same vector to many clients: it is not copied once for each of them.
        self._vectors = received
        self._rows_received: Tensor | None = None
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

    def apply(self, active: int, adjust: Adjust | None) -> None:
        """Bound, adjust and apply the gradients of the first ``active`` clients, each by itself."""
        gradients = self.gradients[:active]
        bound = self.settings.max_gradient_norm
        if bound != "off":
            for row in gradients:
                norm = torch.linalg.vector_norm(row)
                row.mul_(torch.clamp(bound / (norm + 1e-6), max=1.0))
        if adjust is not None:
            gradients.copy_(adjust(gradients, self.weights[:active], self._received(active)))
        for place, row in enumerate(self.rows):
            row.grad = self.gradients[place] if place < active else None
        self.optimizer.step()

    def _received(self, active: int) -> Tensor:
        if self._rows_received is None:
            self._rows_received = torch.from_numpy(np.stack(self._vectors)).to(self.weights.device)
        return self._rows_received[:active]

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
        return {
            name: value.detach().cpu().numpy().copy()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }


def train(
    model: Trainable,
    clients: Sequence[Client],
    received: Mapping[str, NDArray[np.float32]],
    settings: TrainSettings,
    where: Round,
    *,
    adjust: Adjust | None = None,
    on_step: Callable[[Progress], None] | None = None,
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
        adjust: a strategy's change to each local gradient, or None; it comes after
            ``max_gradient_norm``, so that the bound is on what the data say and not on the rule.
        on_step: told after each optimizer step.

    Returns:
        One update and one state per client, in the order of ``clients``.

    Guarantees:
        - a client without steps returns a zero update;
        - a client's update does not depend on who shares its pack or pass, to rounding;
        - the base model is left as it was.

    Raises:
        ValueError: two clients have one name, or a client received no weights.
        Diverged: a loss or a weight is not finite.
    """
    names = [client.name for client in clients]
    if len(set(names)) < len(names) or not set(names) <= set(received):
        raise ValueError(f"clients {names} with weights for {sorted(received)}: one row per name")
    order = sorted(
        range(len(clients)),
        key=lambda place: (-steps_in_round(len(clients[place].examples), settings), place),
    )
    results: dict[int, tuple[Update, ClientState]] = {}
    size = _pack_size(model, settings, adjusted=adjust is not None)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        members = [clients[place] for place in places]
        vectors = [received[member.name] for member in members]
        trained = _train_pack(model, members, vectors, settings, where, adjust, on_step)
        results.update(zip(places, trained, strict=True))
    return [results[place] for place in range(len(clients))]


def _pack_size(model: Trainable, settings: TrainSettings, *, adjusted: bool) -> int:
    """How many clients fit: weights, gradient, optimizer state, and what a rule compares with."""
    if not model.shares_a_pass:
        return 1
    rows = (4 if settings.optimizer == "adamw" else 3) + adjusted
    budget = settings.memory_budget_mib * 2**20
    return max(1, budget // (rows * 4 * max(1, model.layout.size)))


def _train_pack(
    model: Trainable,
    clients: Sequence[Client],
    received: Sequence[NDArray[np.float32]],
    settings: TrainSettings,
    where: Round,
    adjust: Adjust | None,
    on_step: Callable[[Progress], None] | None,
) -> list[tuple[Update, ClientState]]:
    pack = _Pack(model, clients, received, settings)
    feeds = [
        Feed(client.name, client.examples, settings.batch_size, where.seed) for client in clients
    ]
    steps = [steps_in_round(len(client.examples), settings) for client in clients]
    losses = np.zeros(len(clients))
    targets = np.zeros(len(clients), np.int64)
    tokens = np.zeros(len(clients), np.int64)
    for step in range(max(steps, default=0)):
        active = sum(step < count for count in steps)
        batches = [feeds[c][clients[c].state.cursor + step] for c in range(active)]
        rates = [
            learning_rate(settings, where.index * steps[c] + step, where.total * steps[c])
            for c in range(active)
        ]
        sums, read = pack.accumulate(batches, rates)
        _require_finite(sums, clients, where, f"at step {step}")
        pack.apply(active, adjust)
        counts = np.array([supervised_tokens(batch) for batch in batches])
        losses[:active] += sums.numpy()
        targets[:active] += counts
        tokens[:active] += [sum(len(e.tokens) for e in batch) for batch in batches]
        if on_step is not None:
            mean = float(sums.sum()) / max(1, int(counts.sum()))
            on_step(Progress(step, max(steps), active, read, mean))
    change = pack.changes()
    if not np.isfinite(change).all():
        _require_finite(torch.from_numpy(change).sum(1), clients, where, "after the last step")
    return [
        (
            Update(
                tensors=unflatten(change[c], model.layout),
                client=client.name,
                examples=len(client.examples),
                steps=steps[c],
                tokens=int(tokens[c]),
                loss=float(losses[c] / max(1, targets[c])),
            ),
            replace(client.state, cursor=client.state.cursor + steps[c], moments=pack.moments(c)),
        )
        for c, client in enumerate(clients)
    ]


def _require_finite(values: Tensor, clients: Sequence[Client], where: Round, when: str) -> None:
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        name = clients[int(bad[0])].name
        raise Diverged(
            f"training of client {name!r} is no longer finite {when} of round {where.index}",
            remedy="Lower train.learning_rate, or set train.max_gradient_norm",
        )
