"""From scores of tags to the best sequence of tags in which every span begins and ends. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.pii.span import NAMED

Ints = NDArray[np.signedinteger[Any]]

TAGS: Final = ("O", *(f"{place}-{kind}" for place in "BIES" for kind in NAMED))
"""Outside; then, for each kind: begins, goes on, ends, stands alone."""

_KINDS: Final = len(NAMED)
BEGIN, INSIDE, END, SINGLE = (slice(1 + n * _KINDS, 1 + (n + 1) * _KINDS) for n in range(4))
_LONGEST: Final = 160
"""A stretch of more tokens than this is cut: no address is as long."""
_NEVER: Final = -(1 << 30)


def best_tags(scores: NDArray[np.int32], text: Ints, sure: int) -> Ints:
    """Find the sequence of tags with the highest sum of scores.

    A token is surely outside where this beats every other tag by ``sure``; only the stretches
    between such tokens are searched.

    Guarantees:
        - a span begins with B and ends with E, or is one S, within one text;
        - of two equal sequences the same is always taken;
        - a text's tags do not depend on the texts beside it.

    Args:
        scores: one row per token, one column per entry of ``TAGS``.
        text: the text of each token, rising.
        sure: see above, in the unit of the scores.

    Returns:
        The index in ``TAGS`` for each token.
    """
    tags = np.zeros(len(scores), np.int64)
    open_ = scores[:, 0] - scores[:, 1:].max(axis=1, initial=_NEVER) <= sure
    first, lengths = _stretches(open_, text)
    order = np.argsort(lengths, kind="stable")
    # Stretches of similar length are searched together, so that little is padded.
    for part in _shares(lengths[order]):
        chosen = order[part]
        _search(scores, first[chosen], lengths[chosen], tags)
    return tags


def _stretches(open_: NDArray[np.bool_], text: Ints) -> tuple[Ints, Ints]:
    """Where stretches of open tokens begin, and their lengths, cut where they are too long."""
    if not open_.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    begins = open_.copy()
    begins[1:] &= ~open_[:-1] | (text[1:] != text[:-1])
    first = np.flatnonzero(begins)
    behind = np.append(first[1:], len(open_))
    counts = np.add.reduceat(open_.astype(np.int64), first)
    lengths = np.minimum(behind - first, counts)
    pieces = -(-lengths // _LONGEST)
    nth = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = np.repeat(first, pieces) + nth * _LONGEST
    return starts, np.minimum(np.repeat(lengths, pieces) - nth * _LONGEST, _LONGEST)


def _shares(lengths: Ints) -> list[slice]:
    """Parts of sorted lengths of which the longest is at most twice the shortest."""
    shares, begin = [], 0
    while begin < len(lengths):
        end = int(np.searchsorted(lengths, 2 * lengths[begin], side="right"))
        shares.append(slice(begin, end))
        begin = end
    return shares


def _search(scores: NDArray[np.int32], first: Ints, lengths: Ints, tags: Ints) -> None:
    """Write the best tags of several stretches into ``tags``."""
    steps = int(lengths.max())
    at = first[:, None] + np.minimum(np.arange(steps), lengths[:, None] - 1)
    local = scores[at].astype(np.int64)
    # A token behind the end of a stretch is outside, at no cost.
    padding = np.arange(steps) >= lengths[:, None]
    local[padding] = _NEVER
    local[padding, 0] = 0
    total = local[:, 0].copy()
    total[:, INSIDE] = total[:, END] = _NEVER
    back = np.zeros((steps, *total.shape), np.int8)
    everyone = np.arange(len(first))[:, None]
    free_tags = np.r_[0, END, SINGLE]
    for step in range(1, steps):
        free = free_tags[total[:, free_tags].argmax(axis=1)][:, None]
        goes_on = total[:, INSIDE] > total[:, BEGIN]
        inner = np.where(goes_on, np.arange(_KINDS) + INSIDE.start, np.arange(_KINDS) + BEGIN.start)
        before = np.broadcast_to(free, total.shape).copy()
        before[:, INSIDE] = before[:, END] = inner
        back[step] = before
        total = total[everyone, before] + local[:, step]
    total[:, BEGIN] = total[:, INSIDE] = _NEVER * 2
    tag = total.argmax(axis=1)
    for step in range(steps - 1, -1, -1):
        real = step < lengths
        tags[first[real] + step] = tag[real]
        tag = back[step][everyone[:, 0], tag].astype(np.int64)
