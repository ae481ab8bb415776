"""A random part of every update: the same entries for the whole cohort, others in the next round.

The entries are drawn from a seed that the cohort shares, so the vectors that are summed are short,
all of one length, and say nothing by which entries they hold. What a client could not send stays
with it and is added to its next update (error feedback: Seide et al. 2014; Karimireddy et al. 2019).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import Source

REFUSAL_TOP_K: Final = (
    "each client's own largest entries cannot be chosen under secure aggregation: the server would "
    "learn which entries every client chose, and an entry that only one client chose is in the sum "
    "as that client sent it"
)
"""Why top-k per client is refused (arXiv 2508.04285); what is offered is one random part for all."""

Vector = NDArray[np.float32]


def chosen(size: int, keep: int, seed: bytes) -> NDArray[np.int64]:
    """Choose which entries travel in a round.

    Every entry draws a 64-bit word, and those with the smallest are taken. Should two words tie
    where the line is drawn, all are drawn again.

    Args:
        size: N. Public.
        keep: k, 1 to N. Public.
        seed: 32 bytes, one for each round and the same for the whole cohort. Public.

    Returns:
        ``[k]``, int64, ascending.

    Guarantees:
        - every subset of k entries has the same chance, exactly, for uniform words;
        - the same seed chooses the same entries on every machine.

    Raises:
        VerificationError: k is not 1 to N.
        ConfigError: the seed does not have 32 bytes.

    >>> chosen(10, 10, bytes(32)).tolist() == list(range(10))
    True
    """
    if not 1 <= keep <= size:
        raise VerificationError(f"{keep} of {size} entries", allowed=f"1 to {size}")
    source = Source(seed)
    while True:
        words = source.words(size)
        line = np.partition(words, keep - 1)[keep - 1]
        taken = np.flatnonzero(words <= line)
        if taken.size == keep:
            return taken.astype(np.int64, copy=False)


def take(vector: Vector, indices: NDArray[np.int64]) -> Vector:
    """Read the chosen entries, in their order.

    They are not scaled up. Without error feedback, ``place`` brings back k/N of a vector on
    average, so that N/k times it is unbiased.

    Raises:
        VerificationError: the indices are not ascending places of the vector.
    """
    _require_places(indices, vector.size)
    return vector[indices]


def place(values: Vector, indices: NDArray[np.int64], size: int) -> Vector:
    """Put values where they were taken, and zeros elsewhere.

    Guarantees:
        - ``take`` of the result, at the same indices, gives the values.

    Raises:
        VerificationError: the indices are not ascending places of a vector of this size, or there
            is not one value for each.
    """
    _require_places(indices, size)
    if values.shape != indices.shape:
        raise VerificationError(
            f"{values.size} values for {indices.size} places", allowed="one for each"
        )
    vector = np.zeros(size, np.float32)
    vector[indices] = values
    return vector


def with_feedback(
    update: Vector, residual: Vector, indices: NDArray[np.int64], clip_norm: float
) -> tuple[Vector, Vector]:
    """Send a part of an update and of all that was not sent before; keep the rest.

        total = update + residual
        sent = min(1, C/‖total[indices]‖) · total[indices]
        residual' = total, less what was sent

    Whatever the residual has gathered, what is sent is clipped after it was added. So a round's
    sensitivity is that of the plan. The residual itself is private: it remembers the examples of
    earlier rounds, so amplification by sampling must not be claimed for the owners or examples of
    a client that keeps one.

    Karimireddy et al. 2019, algorithm 2, with clipping.

    Args:
        update: float32, ``[N]``. Private.
        residual: what was not sent so far, ``[N]``; zeros at first. Private, never leaves.
        indices: the entries of this round. Public.
        clip_norm: C. Public.

    Returns:
        What is sent, ``[k]``, and the new residual, ``[N]``.

    Guarantees:
        - the norm of what is sent is at most ``clip_norm``, for certain;
        - what is sent plus the new residual is the update plus the old one, to one rounding of
          each entry, and two where it was clipped;
        - without clipping, what is sent is exactly the total at the indices;
        - the arguments are left as they were.

    Raises:
        ConfigError: ``clip_norm`` is not a positive finite number.
        VerificationError: the vectors are not float32 of one length, their sum is not finite, or
            the indices are not ascending places.
    """
    if not (clip_norm > 0 and math.isfinite(clip_norm)):
        raise ConfigError(f"clip_norm is {clip_norm}", allowed="a positive finite number")
    if update.shape != residual.shape or {update.dtype, residual.dtype} != {np.dtype(np.float32)}:
        raise VerificationError(
            f"an update of type {update.dtype} and shape {update.shape} with a residual of type "
            f"{residual.dtype} and shape {residual.shape}",
            allowed="two float32 vectors of one length",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        total = update + residual
    if not np.isfinite(total).all():
        raise VerificationError(
            "an update and its residual are not finite together", allowed="finite numbers"
        )
    part = take(total, indices)
    sent = _clip(part, clip_norm)
    total[indices] = part - sent
    return sent, total


def _clip(part: Vector, clip_norm: float) -> Vector:
    wide = part.astype(np.float64)
    norm = math.sqrt(float(np.square(wide).sum()))
    if norm <= clip_norm * (1 - 2.0**-30):
        return part
    # The margins are for the sum of squares; then every entry is rounded towards zero.
    wide *= clip_norm / norm * (1 - 2.0**-29)
    sent = wide.astype(np.float32)
    beyond = np.abs(sent) > np.abs(wide)
    sent[beyond] = np.nextafter(sent[beyond], np.float32(0))
    return sent


def _require_places(indices: NDArray[np.int64], size: int) -> None:
    ascending = indices.ndim == 1 and bool((np.diff(indices) > 0).all())
    if not (ascending and indices.dtype == np.int64):
        raise VerificationError("indices that are not ascending", allowed="as chosen gives them")
    if indices.size and not 0 <= indices[0] <= indices[-1] < size:
        raise VerificationError("an index beyond the vector", allowed=f"0 to {size - 1}")
