"""Which sequences meet in which batch and pass. Pure functions of lengths, names and the seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.rng import stream

IGNORED = -1
"""The target of a position that is not supervised."""


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised sequence of one client. Private.

    Args:
        tokens: the token ids, ``[T]``.
        supervised: which tokens are targets, ``[T]``; never the first.
        owner: the person it belongs to, where known.
        record: which of the client's conversations it was cut from; None where it is whole.

    Raises:
        ValueError: no token, or not one mark for each.
    """

    tokens: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    owner: str | None = None
    record: int | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.tokens) == len(self.supervised):
            raise ValueError(
                f"a sequence of {len(self.tokens)} tokens with {len(self.supervised)} marks"
            )


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

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        if device.type == "cpu":
            return self
        return Batch(self.tokens.to(device), self.targets.to(device), self.scale.to(device))


def epoch_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, client: str, epoch: int
) -> list[NDArray[np.int64]]:
    """Cut one epoch of one client's examples into batches of similar length.

    Examples are shuffled, cut into pools of 16 batches, and sorted by length inside a pool, each
    length first stretched or shrunk at random by up to a tenth: without that, a client with one
    pool would see the same examples together in every epoch. Every client walks through its own
    batches along one sequence of length quantiles that all clients share, so that long batches
    meet long ones in a pass, while nobody's order depends on anybody else's data.

    Guarantees:
        - every example appears exactly once;
        - batch sizes differ by at most one and never pass ``batch_size``;
        - an example meets others in the next epoch, also where the client has few;
        - a pure function of its arguments.
    """
    count = len(lengths)
    if count == 0:
        return []
    draw = stream(seed, "batches", client, epoch)
    shuffled = draw.permutation(count)
    blurred = lengths * draw.uniform(0.9, 1.1, count)
    pool = batch_size * 16
    by_length = np.concatenate(
        [
            part[np.argsort(blurred[part], kind="stable")]
            for part in (shuffled[start : start + pool] for start in range(0, count, pool))
        ]
    )
    batches = np.array_split(by_length, math.ceil(count / batch_size))
    batches.sort(key=lambda batch: int(lengths[batch].max()))
    quantiles = stream(seed, "batch order", epoch).random(len(batches))
    return [batches[rank] for rank in np.argsort(np.argsort(quantiles))]


class Feed:
    """An endless sequence of one client's batches, addressed by cursor."""

    def __init__(self, name: str, examples: Sequence[Example], batch_size: int, seed: int) -> None:
        self._name = name
        self._examples = examples
        self._lengths = np.array([len(e.tokens) for e in examples], np.int64)
        self._per_epoch = math.ceil(len(examples) / batch_size)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._batches: list[NDArray[np.int64]] = []

    def __getitem__(self, cursor: int) -> list[Example]:
        epoch, place = divmod(cursor, self._per_epoch)
        if epoch != self._epoch:
            self._batches = epoch_batches(
                self._lengths, self._batch_size, self._seed, self._name, epoch
            )
            self._epoch = epoch
        return [self._examples[index] for index in self._batches[place]]


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


def supervised_tokens(examples: Sequence[Example]) -> int:
    """How many targets these examples have."""
    return int(sum(int(example.supervised[1:].sum()) for example in examples))


@dataclass(frozen=True)
class Pass:
    """Clients first..last and rows of their batches that share one forward pass."""

    first: int
    last: int
    groups: list[list[Example]]


def cut_passes(batches: Sequence[list[Example]], budget: int) -> list[Pass]:
    """Cut one step of a pack into passes of at most ``budget`` padded tokens.

    Neighbouring clients share a pass while they fit; the batch of a client that is too large
    alone is cut into micro-batches. A pure function of the batches' shapes.
    """
    passes: list[Pass] = []
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
                Pass(first, last, [batch[start : start + step] for batch in batches[first:last]])
            )
        first = last
    return passes
