"""What a client does to an update before anything hides it: send a part, or write it in few bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec import blocks, sparse
from sottovoce.rng import seeded_source
from sottovoce.train import ClientState
from sottovoce.update import Layout, Tensors, Update, flatten, unflatten

PART = "part"
"""The name of the one tensor in which a part of an update travels."""


def part_of(size: int, keep: float) -> int:
    """How many of so many entries travel.

    >>> part_of(1000, 0.1), part_of(3, 0.1)
    (100, 1)
    """
    return max(1, round(keep * size))


def places(size: int, keep: float, seed: int, round_index: int) -> NDArray[np.int64]:
    """Which entries travel in a round; everybody can compute it from the run's seed."""
    shared = seeded_source(seed, "part", round_index).words(4).tobytes()
    return sparse.chosen(size, part_of(size, keep), shared)


def thinned(
    update: Update,
    state: ClientState,
    layout: Layout,
    indices: NDArray[np.int64],
    clip_norm: float,
) -> tuple[Update, ClientState]:
    """Keep of an update, and of all that was not sent before, the entries of this round.

    Args:
        update: of one client. Private.
        state: what the client remembers; what it could not send lies in ``own["unsent"]``. Private.
        layout: of the whole update.
        indices: the entries of this round.
        clip_norm: the bound on what is sent.

    Returns:
        The update with one tensor, ``PART``, within the bound; and the state with what is left.

    Edge cases: of an update that is not finite, alone or with what was left, NaN is sent, for whoever
    adds it to refuse or to count as zero, and nothing of what is remembered changes.
    """
    kept = state.own.get("unsent", {})
    names = layout.shapes
    before = {name: kept.get(name, np.zeros(names[name], np.float32)) for name in names}
    vector, waiting = flatten(update.tensors, layout), flatten(before, layout)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(vector + waiting).all()
    if not finite:
        spoiled = np.full(indices.size, np.nan, np.float32)
        return replace(update, tensors={PART: spoiled}), state
    sent, left = sparse.with_feedback(vector, waiting, indices, clip_norm)
    unsent = {**kept, **unflatten(left, layout)}
    return replace(update, tensors={PART: sent}), replace(
        state, own={**state.own, "unsent": unsent}
    )


def whole(part: Tensors, indices: NDArray[np.int64], layout: Layout) -> Tensors:
    """The mean of what was sent, with zeros where nobody sent anything."""
    return unflatten(sparse.place(part[PART], indices, layout.size), layout)


def compressed(
    update: Update, layout: Layout, bits: int, seed: int, round_index: int
) -> tuple[Update, bytes]:
    """Write an update in few bits an entry; what the server makes of it, and what travels.

    Edge cases: an update that is not finite, or too large to be written, travels as zeros, and is
    NaN for whoever adds it to refuse or to count as zero.
    """
    rounding = seeded_source(seed, "rounding", update.client, round_index)
    vector = flatten(update.tensors, layout)
    if not (np.abs(vector) <= blocks.LARGEST_ENTRY).all():
        spoiled = unflatten(np.full_like(vector, np.nan), layout)
        data = blocks.write(blocks.compress(np.zeros_like(vector), bits, rounding))
        return replace(update, tensors=spoiled), data
    data = blocks.write(blocks.compress(vector, bits, rounding))
    read = blocks.expand(blocks.read(data, layout.size))
    return replace(update, tensors=unflatten(read, layout)), data
