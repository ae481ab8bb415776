"""Local training of many clients at once on the group axis.

One frozen base model runs over the sequences of all clients in one pass; each client has its own
row of trainable weights, its own optimizer state, schedule and step count. Clients are ordered by
number of steps, packed by a stated memory budget, and leave the pack when they are done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor

from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.rng import stream
from sottovoce.update import Layout, Update, unflatten

IGNORED = -1
"""The target of a position that is not supervised."""


class TrainSettings(BaseModel, frozen=True, extra="forbid"):
    """How every client trains; the configuration section ``[train]``.

    All arms of a comparison use one value of it. The last block changes speed and memory only,
    never the result beyond rounding.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    momentum: float = Field(0.0, ge=0, lt=1)
    optimizer_state: Literal["reset", "keep"] = "reset"
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    final_fraction: float = Field(0.1, ge=0, le=1)
    max_gradient_norm: Annotated[float, Field(gt=0)] | Literal["off"] = 1.0
    batch_size: int = Field(4, ge=1)
    epochs_per_round: float = Field(1.0, gt=0)
    steps_per_round: int | None = Field(None, ge=0)
    max_length: int = Field(512, ge=2)

    gradient_checkpointing: bool = False
    tokens_per_pass: int = Field(8192, ge=1)
    memory_budget_mib: int = Field(4096, ge=1)


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised sequence of one client. Private.

    Args:
        tokens: the token ids, ``[T]``.
        supervised: which tokens are targets, ``[T]``; never the first.
        owner: the person it belongs to, where known.
    """

    tokens: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    owner: str | None = None


@dataclass(frozen=True)
class Batch:
    """Sequences of C clients, E groups in each, b sequences in a group, padded on the right.

    Args:
        tokens: ids, ``[C, E, b, L]``.
        targets: the id that follows, where that is supervised, else ``IGNORED``; same shape.
        scale: what one position of each sequence weighs in the objective, ``[C, E, b]``.
    """

    tokens: Tensor
    targets: Tensor
    scale: Tensor


class Trainable(Protocol):
    """A model whose trainable weights are rows of one flat matrix."""

    @property
    def layout(self) -> Layout:
        """What each trainable row of length D = ``layout.size`` holds."""

    @property
    def device(self) -> torch.device:
        """Where rows and batches must lie."""

    @property
    def shares_a_pass(self) -> bool:
        """Whether several clients can share a pass; full training cannot."""

    def gradients(self, weights: Tensor, batch: Batch, out: Tensor) -> Tensor:
        """Add the gradient of Σ scale·nll per group to ``out``; return nll sums.

        Args:
            weights: one row per client, ``[C, D]``.
            batch: the sequences.
            out: where gradients are added, ``[C, E, D]``.

        Returns:
            The summed negative log-likelihood of each sequence, ``[C, E, b]``.
        """

    def score(self, weights: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum negative log-likelihood and count right predictions per sequence, ``[C, E, b]``."""


@dataclass(frozen=True)
class ClientState:
    """What a client remembers between rounds.

    Args:
        cursor: batches consumed so far; the next round goes on from there.
        moments: optimizer state by name, each ``[D]``, and ``step``; empty after a reset.
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


def steps_in_round(examples: int, settings: TrainSettings) -> int:
    """How many optimizer steps a client with this many examples takes in a round.

    >>> steps_in_round(10, TrainSettings(batch_size=4))
    3
    """
    if settings.steps_per_round is not None:
        return settings.steps_per_round if examples else 0
    batches = math.ceil(examples / settings.batch_size)
    # Rounded first: 50 · 1.1 is 55.00000000000001 in floating point, and no 56th step is meant.
    return math.ceil(round(batches * settings.epochs_per_round, 6))


def learning_rate(settings: TrainSettings, position: int, total: int) -> float:
    """The learning rate at one step of the whole run.

    Linear warm-up over the first ``warmup_fraction`` of the run, then constant, linear or cosine
    decay to ``final_fraction`` of the peak.

    Args:
        settings: the recipe.
        position: steps taken before this one, counted over all rounds.
        total: steps of the whole run.

    >>> learning_rate(TrainSettings(learning_rate=1.0, warmup_fraction=0.0), 0, 10)
    1.0
    """
    warmup = math.ceil(settings.warmup_fraction * total)
    if position < warmup:
        return settings.learning_rate * (position + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    progress = min(1.0, (position - warmup) / max(1, total - warmup))
    shape = (
        1 - progress if settings.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    )
    return settings.learning_rate * (
        settings.final_fraction + (1 - settings.final_fraction) * shape
    )


def epoch_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, client: str, epoch: int
) -> list[NDArray[np.int64]]:
    """Cut one epoch of one client's examples into batches of similar length.

    Examples are shuffled, cut into pools of 16 batches, and sorted by length inside a pool. Every
    client walks through its own batches along one sequence of length quantiles that all clients
    share, so that long batches meet long ones in a pass, while nobody's order depends on anybody
    else's data.

    Guarantees:
        - every example appears exactly once;
        - batch sizes differ by at most one and never pass ``batch_size``;
        - a pure function of its arguments.
    """
    count = len(lengths)
    if count == 0:
        return []
    shuffled = stream(seed, "batches", client, epoch).permutation(count)
    pool = batch_size * 16
    by_length = np.concatenate(
        [
            part[np.argsort(lengths[part], kind="stable")]
            for part in (shuffled[start : start + pool] for start in range(0, count, pool))
        ]
    )
    batches = np.array_split(by_length, math.ceil(count / batch_size))
    batches.sort(key=lambda batch: int(lengths[batch].max()))
    quantiles = stream(seed, "batch order", epoch).random(len(batches))
    return [batches[rank] for rank in np.argsort(np.argsort(quantiles))]


class _Feed:
    """An endless sequence of one client's batches, addressed by cursor."""

    def __init__(self, client: Client, settings: TrainSettings, seed: int) -> None:
        self._client = client
        self._lengths = np.array([len(e.tokens) for e in client.examples], np.int64)
        self._per_epoch = math.ceil(len(client.examples) / settings.batch_size)
        self._batch_size = settings.batch_size
        self._seed = seed
        self._epoch = -1
        self._batches: list[NDArray[np.int64]] = []

    def __getitem__(self, cursor: int) -> list[Example]:
        epoch, place = divmod(cursor, self._per_epoch)
        if epoch != self._epoch:
            self._batches = epoch_batches(
                self._lengths, self._batch_size, self._seed, self._client.name, epoch
            )
            self._epoch = epoch
        return [self._client.examples[index] for index in self._batches[place]]


def collate(groups: Sequence[Sequence[Example]], scales: Sequence[float]) -> Batch:
    """Stack one list of examples per client into a batch with one group each.

    Args:
        groups: examples per client; shorter lists are padded with sequences of weight 0.
        scales: the weight of one supervised position of each client.
    """
    clients = len(groups)
    rows = max(len(group) for group in groups)
    length = max(len(example.tokens) for group in groups for example in group)
    tokens = np.zeros((clients, 1, rows, length), np.int64)
    targets = np.full((clients, 1, rows, length), IGNORED, np.int64)
    scale = np.zeros((clients, 1, rows), np.float32)
    for c, group in enumerate(groups):
        for r, example in enumerate(group):
            size = len(example.tokens)
            tokens[c, 0, r, :size] = example.tokens
            targets[c, 0, r, : size - 1] = np.where(
                example.supervised[1:], example.tokens[1:], IGNORED
            )
            scale[c, 0, r] = scales[c]
    return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(scale))


def _supervised(examples: Sequence[Example]) -> int:
    return int(sum(int(example.supervised[1:].sum()) for example in examples))


def _to(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return Batch(batch.tokens.to(device), batch.targets.to(device), batch.scale.to(device))


@dataclass(frozen=True)
class _Pass:
    """Clients first..last and rows of their batches that share one forward pass."""

    first: int
    last: int
    groups: list[list[Example]]


def _passes(batches: Sequence[list[Example]], budget: int) -> list[_Pass]:
    """Cut one step of a pack into passes of at most ``budget`` padded tokens.

    Neighbouring clients share a pass while they fit; the batch of a client that is too large
    alone is cut into micro-batches. A pure function of the batches' shapes.
    """
    passes: list[_Pass] = []
    first = 0
    while first < len(batches):
        last, rows, length = first, 0, 0
        while last < len(batches):
            rows_with = max(rows, len(batches[last]))
            length_with = max(length, max(len(e.tokens) for e in batches[last]))
            if last > first and (last + 1 - first) * rows_with * length_with > budget:
                break
            last, rows, length = last + 1, rows_with, length_with
        step = max(1, budget // length) if last == first + 1 else rows
        for start in range(0, rows, step):
            passes.append(
                _Pass(first, last, [batch[start : start + step] for batch in batches[first:last]])
            )
        first = last
    return passes


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
        self.received = torch.from_numpy(np.stack(received)).to(model.device)
        self.weights = self.received.clone()
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

    def step(self, batches: Sequence[list[Example]], rates: Sequence[float]) -> tuple[Tensor, int]:
        """Fill the gradients of the first ``len(batches)`` clients; return nll sums and tokens."""
        active = len(batches)
        sums = torch.zeros(active, dtype=torch.float64)
        weights = [1.0 / max(1, _supervised(batch)) for batch in batches]
        self.gradients[:active].zero_()
        for part in _passes(batches, self.settings.tokens_per_pass):
            batch = collate(part.groups, weights[part.first : part.last])
            rows = slice(part.first, part.last)
            nll = self.model.gradients(
                self.weights[rows], _to(batch, self.model.device), self.gradients[rows, None]
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
            gradients.copy_(adjust(gradients, self.weights[:active], self.received[:active]))
        for place, row in enumerate(self.rows):
            row.grad = self.gradients[place] if place < active else None
        self.optimizer.step()

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
        adjust: a strategy's change to each local gradient, or None.
        on_step: told after each optimizer step.

    Returns:
        One update and one state per client, in the order of ``clients``.

    Guarantees:
        - a client without steps returns a zero update;
        - a client's update does not depend on who shares its pack or pass, to rounding;
        - the base model is left as it was.

    Raises:
        Diverged: a loss or a weight is not finite.
    """
    order = sorted(
        range(len(clients)),
        key=lambda place: (-steps_in_round(len(clients[place].examples), settings), place),
    )
    results: dict[int, tuple[Update, ClientState]] = {}
    size = _pack_size(model, settings)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        members = [clients[place] for place in places]
        vectors = [received[member.name] for member in members]
        trained = _train_pack(model, members, vectors, settings, where, adjust, on_step)
        results.update(zip(places, trained, strict=True))
    return [results[place] for place in range(len(clients))]


def _pack_size(model: Trainable, settings: TrainSettings) -> int:
    """How many clients fit: weights as received and as trained, gradient and optimizer state."""
    if not model.shares_a_pass:
        return 1
    rows = 5 if settings.optimizer == "adamw" else 4
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
    feeds = [_Feed(client, settings, where.seed) for client in clients]
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
        sums, read = pack.step(batches, rates)
        _require_finite(sums, clients, where, step)
        pack.apply(active, adjust)
        counts = np.array([_supervised(batch) for batch in batches])
        losses[:active] += sums.numpy()
        targets[:active] += counts
        tokens[:active] += [sum(len(e.tokens) for e in batch) for batch in batches]
        if on_step is not None:
            mean = float(sums.sum()) / max(1, int(counts.sum()))
            on_step(Progress(step, max(steps), active, read, mean))
    change = (pack.weights - pack.received).cpu().numpy()
    if not np.isfinite(change).all():
        _require_finite(torch.from_numpy(change).sum(1), clients, where, max(steps))
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


def _require_finite(values: Tensor, clients: Sequence[Client], where: Round, step: int) -> None:
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        name = clients[int(bad[0])].name
        raise Diverged(
            f"training of client {name!r} is no longer finite at step {step} of round {where.index}",
            remedy="Lower train.learning_rate, or set train.max_gradient_norm",
        )


@dataclass(frozen=True)
class Scores:
    """What a model makes of each example: sums over supervised tokens, ``[n]`` each."""

    nll: NDArray[np.float64]
    correct: NDArray[np.int64]
    tokens: NDArray[np.int64]


def score(
    model: Trainable,
    weights: NDArray[np.float32],
    examples: Sequence[Example],
    *,
    tokens_per_pass: int,
) -> Scores:
    """Score every example under one row of weights.

    Args:
        model: the frozen base with its trainable rows.
        weights: ``[D]``.
        examples: what to score; examples of similar length share a pass.
        tokens_per_pass: padded tokens in one pass; changes speed and memory only.
    """
    if not examples:
        raise ConfigError("there is nothing to score", remedy="Hold out at least one example")
    row = torch.from_numpy(weights).to(model.device)[None]
    nll = np.zeros(len(examples))
    correct = np.zeros(len(examples), np.int64)
    order = sorted(range(len(examples)), key=lambda place: len(examples[place].tokens))
    while order:
        longest = len(examples[order[-1]].tokens)
        places = order[-max(1, tokens_per_pass // longest) :]
        del order[-len(places) :]
        batch = collate([[examples[place] for place in places]], [1.0])
        sums, right = model.score(row, _to(batch, model.device))
        nll[places] = sums[0, 0].cpu().double().numpy()
        correct[places] = right[0, 0].cpu().numpy()
    counts = np.array([int(example.supervised[1:].sum()) for example in examples])
    return Scores(nll, correct, counts)
