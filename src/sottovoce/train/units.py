"""Steps that read units instead of batches: owners or examples, each with a gradient of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.rng import stream
from sottovoce.train.batches import IGNORED, Batch, Example, supervised_tokens

Units = Sequence[Sequence[Example]]
"""The sequences of each unit of one client. Private."""


class Guard(Protocol):
    """What training asks of a client's protection; a privacy plan makes it.

    Args:
        zeroed: contributions so far that were not finite and count as zero. Private.
    """

    zeroed: int

    def sample(self) -> NDArray[np.int64]:
        """The units of the next step, by place."""

    def add(self, gradients: Tensor, losses: NDArray[np.float64]) -> None:
        """Bound and add gradients ``[E, D]`` of some of these units, with their losses ``[E]``."""

    def release(self) -> Tensor:
        """The mean gradient of the step that may be used, ``[D]``."""


def units_of(examples: Iterable[Example], unit: Literal["owner", "example"]) -> list[list[Example]]:
    """Gather the sequences of one client by whose they are.

    Args:
        examples: what the client trains on. Private.
        unit: a person, or a conversation, which may have been cut into several sequences.

    Guarantees:
        - every sequence is in exactly one unit, in its order.

    Raises:
        ValueError: a sequence without an owner, where owners are the units.
    """
    found: dict[tuple[str, str | int | None], list[Example]] = {}
    for place, example in enumerate(examples):
        if unit == "owner" and example.owner is None:
            raise ValueError("a sequence has no owner")
        # A whole conversation has no record, and its place is no other one's record.
        record = ("place", place) if example.record is None else ("record", example.record)
        key = record if unit == "example" else ("owner", example.owner)
        found.setdefault(key, []).append(example)
    return list(found.values())


def drawn(units: Units, places: Iterable[int], most: int, seed: int, *names: str | int) -> Units:
    """The sequences of the sampled units, at most so many of each.

    Which ones of a larger unit is drawn from the stream of these names and its owner's, so that
    nobody who joins or leaves changes it for the others.
    """
    chosen = []
    for place in places:
        unit = units[place]
        if len(unit) > most:
            owner = unit[0].owner or int(place)
            draw = stream(seed, "sequences", *names, owner).permutation(len(unit))[:most]
            unit = [unit[index] for index in np.sort(draw)]
        chosen.append(unit)
    return chosen


@dataclass(frozen=True)
class UnitPass:
    """Clients first..last and some units of each that share one forward pass."""

    first: int
    last: int
    units: list[Units]


def cut_unit_passes(samples: Sequence[Units], tokens: int, rows: int) -> list[UnitPass]:
    """Cut the sampled units of a pack into passes of at most so many padded tokens and units.

    Units of a client are taken from the shortest to the longest, so that little is padded.
    Neighbouring clients share a pass while all of both fit. A pure function of the shapes.

    Args:
        samples: the sampled units of each client; a client may have none.
        tokens: padded tokens in a pass.
        rows: units in a pass, each of which takes a row of gradients.
    """
    ordered = [sorted(units, key=lambda unit: (_longest(unit), len(unit))) for units in samples]
    passes: list[UnitPass] = []
    first = 0
    while first < len(ordered):
        last = first + 1
        while last < len(ordered) and _fits(ordered[first : last + 1], tokens, rows):
            last += 1
        if last > first + 1:
            if any(ordered[first:last]):
                passes.append(UnitPass(first, last, list(ordered[first:last])))
        else:
            passes += [
                UnitPass(first, last, [part]) for part in _parts(ordered[first], tokens, rows)
            ]
        first = last
    return passes


def _fits(samples: Sequence[Units], tokens: int, rows: int) -> bool:
    slots = len(samples) * max(map(len, samples))
    everyone = [unit for units in samples for unit in units]
    return slots <= rows and slots * _area(everyone) <= tokens


def _parts(units: Units, tokens: int, rows: int) -> Iterable[Units]:
    part: list[Sequence[Example]] = []
    for unit in units:
        grown = [*part, unit]
        if part and (len(grown) > rows or len(grown) * _area(grown) > tokens):
            yield part
            grown = [unit]
        part = grown
    if part:
        yield part


def _area(units: Units) -> int:
    """Padded tokens of each of these units in one pass."""
    return max((len(unit) for unit in units), default=0) * max(map(_longest, units), default=0)


def _longest(unit: Sequence[Example]) -> int:
    return max(len(example.tokens) for example in unit)


def collate_units(groups: Sequence[Units]) -> Batch:
    """Stack the units of each client; the objective of a unit is the mean over its own targets.

    A unit's weight depends on no other unit. Shorter lists are padded with units of weight 0.
    """
    clients, units = len(groups), max(map(len, groups))
    everyone = [unit for group in groups for unit in group]
    rows, length = max(map(len, everyone)), max(map(_longest, everyone))
    tokens = np.zeros((clients, units, rows, length), np.int64)
    targets = np.full((clients, units, rows, length), IGNORED, np.int64)
    scale = np.zeros((clients, units, rows), np.float32)
    for c, group in enumerate(groups):
        for u, unit in enumerate(group):
            scale[c, u, : len(unit)] = 1.0 / max(1, supervised_tokens(unit))
            for r, example in enumerate(unit):
                size = len(example.tokens)
                tokens[c, u, r, :size] = example.tokens
                targets[c, u, r, : size - 1] = np.where(
                    example.supervised[1:], example.tokens[1:], IGNORED
                )
    return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(scale))
