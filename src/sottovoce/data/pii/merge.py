"""What recognisers found, and which of it holds where it overlaps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from sottovoce.data.pii.span import NAMED, STRUCTURED, Span


class Rank(IntEnum):
    """What a find rests on; more is surer."""

    TAGGER = 0
    CONTEXT = 1
    PATTERN = 2
    CHECKSUM = 3
    OWN = 4


@dataclass(frozen=True)
class Found:
    """One find of one recogniser.

    Args:
        span: where, what, how sure, and by whom.
        rank: what it rests on.
        pattern: the shape that it has.
        word: the word beside it that says what it is, as it stands in the text.
        check: the rule that it keeps.
    """

    span: Span
    rank: Rank
    pattern: str = ""
    word: str = ""
    check: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of a find.

    Args:
        found: the find.
        kept: the parts of it that hold; empty if others hold everywhere.
        lost_to: what holds instead, where it overlapped.
    """

    found: Found
    kept: tuple[Span, ...]
    lost_to: tuple[Span, ...]


# Of two kinds that rest on equal ground the one that stands first holds.
_ORDER: Final = (
    *("CN_ID", "IBAN", "CREDIT_CARD", "CN_CREDIT_CODE", "EMAIL", "URL", "IP_ADDRESS"),
    *("MAC_ADDRESS", "US_SSN", "CN_PLATE", "PHONE", "PASSPORT", "CN_PERMIT", "DRIVER_LICENSE"),
    *("DATE_OF_BIRTH", "WECHAT", "QQ", "ACCOUNT_NUMBER", "ORDER_NUMBER", "POSTCODE"),
)
_PLACE: Final = {
    kind: place for place, kind in enumerate(dict.fromkeys((*_ORDER, *STRUCTURED, *NAMED)))
}
# A part of an address or link is no kind of its own inside it.
_PARTS: Final = {"ADDRESS": ("POSTCODE", "PLACE", "ORDER_NUMBER", "ACCOUNT_NUMBER")}


def _strength(found: Found) -> tuple[int, int, int, float, int, str]:
    """The greater, the sooner it holds; unequal for finds that are not the same."""
    span = found.span
    place = -_PLACE.get(span.kind, len(_PLACE))
    return (found.rank, span.end - span.start, place, span.score, -span.start, span.kind)


def _spare(finds: Iterable[Found]) -> list[Found]:
    """Leave out what lies inside a find of its kind that is at least as sure."""
    ordered = sorted(
        set(finds),
        key=lambda f: (f.span.kind, f.span.start, -f.span.end, -f.span.score, -f.rank),
    )
    kept: list[Found] = []
    # Of those that began before, only these can still hold another: later ends, higher scores.
    open_: list[Found] = []
    for found in ordered:
        span = found.span
        open_ = [o for o in open_ if o.span.kind == span.kind and o.span.end >= span.start]
        if not any(o.span.end >= span.end and o.span.score >= span.score for o in open_):
            kept.append(found)
            open_.append(found)
    return kept


def _clusters(finds: Sequence[Found]) -> Iterable[list[Found]]:
    """Finds that touch one another directly or through others, cluster by cluster, in order."""
    cluster: list[Found] = []
    end = -1
    for found in sorted(finds, key=lambda f: (f.span.start, f.span.end)):
        if cluster and found.span.start >= end:
            yield cluster
            cluster = []
        end = max(end, found.span.end) if cluster else found.span.end
        cluster.append(found)
    if cluster:
        yield cluster


def _free(span: Span, text: str, taken: Sequence[Span]) -> list[Span]:
    """What is left of a span beside those that hold, without spaces and signs at the edges."""
    pieces = []
    start = span.start
    for other in sorted(t for t in taken if t.start < span.end and t.end > span.start):
        pieces.append((start, other.start))
        start = max(start, other.end)
    pieces.append((start, span.end))
    left = []
    for start, end in pieces:
        while start < end and not text[start].isalnum():
            start += 1
        while end > start and not text[end - 1].isalnum():
            end -= 1
        if end > start:
            left.append(replace(span, start=start, end=end))
    return left


def _absorbed(cluster: Sequence[Found]) -> list[Found]:
    """Without parts of an address inside it, which would cut it in pieces."""
    wholes = [f for f in cluster if f.span.kind in _PARTS]
    return [
        f
        for f in cluster
        if not any(
            f.span.kind in _PARTS[w.span.kind]
            and w.span.start <= f.span.start
            and f.span.end <= w.span.end
            for w in wholes
        )
    ]


def judge(text: str, finds: Iterable[Found]) -> list[Verdict]:
    """Decide what holds where finds overlap.

    A user's own recogniser holds before a check digit, that before a pattern, that before a word
    beside it, that before a tagger; then the longer, then the kind that is more particular, then
    the surer. Of the same kind the longer holds, whatever it rests on.

    Args:
        text: in which all was found. Private.
        finds: in any order.

    Returns:
        A verdict for every find that is not inside an equal or surer one of its kind, by place.

    Guarantees:
        - what holds does not overlap, and does not depend on the order of the finds;
        - no letter or digit that was found is left out: where a find loses to a shorter one, what
          sticks out of it still holds.
    """
    verdicts: list[Verdict] = []
    for cluster in _clusters(_spare(finds)):
        if len(cluster) == 1:
            verdicts.append(Verdict(cluster[0], (cluster[0].span,), ()))
            continue
        held = _absorbed(cluster)
        taken: list[Span] = []
        decided: list[Verdict] = []
        for found in _by_strength(held):
            span = found.span
            against = tuple(sorted(t for t in taken if t.start < span.end and t.end > span.start))
            kept = tuple(_free(span, text, taken)) if against else (span,)
            taken.extend(kept)
            decided.append(Verdict(found, kept, against))
        for found in (f for f in cluster if f not in held):
            over = (t for t in taken if t.start < found.span.end and t.end > found.span.start)
            decided.append(Verdict(found, (), tuple(sorted(over))))
        verdicts.extend(sorted(decided, key=lambda v: (v.found.span, v.found.rank)))
    return verdicts


def _by_strength(cluster: Sequence[Found]) -> list[Found]:
    """Strongest first; but within one kind the longer goes before, by taking on the rank."""
    best = {
        found: max(
            other.rank
            for other in cluster
            if other.span.kind == found.span.kind
            and found.span.start <= other.span.start
            and other.span.end <= found.span.end
        )
        for found in cluster
    }
    return sorted(cluster, key=lambda f: (best[f], *_strength(f)[1:], f.rank), reverse=True)


def settle(text: str, finds: Iterable[Found]) -> list[Span]:
    """Only what holds, in order; no two overlap. See ``judge``."""
    return sorted(span for verdict in judge(text, finds) for span in verdict.kept)
