"""A shape that personal data has, the rule that it keeps, and the search for it. Pure.

A shape begins with the signs that it can begin with, and only then looks back at what stands
before, because the search for the first sign is what takes the time. Nothing here asks for a word
boundary of the regular expressions: Chinese is written without spaces, and to them its characters
are letters like others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.page import Page
from sottovoce.data.pii.span import Span

Finder = Callable[[Page], Iterator[Found]]


@dataclass(frozen=True)
class Family:
    """Recognisers that are asked together.

    Args:
        name: what a span of theirs has as its source, before the name of the shape.
        kinds: what they can find.
        find: reads a page.
    """

    name: str
    kinds: tuple[str, ...]
    find: Finder


@dataclass(frozen=True)
class Shape:
    """One shape of one kind.

    Args:
        kind: what it is.
        name: for whoever asks why.
        pattern: matched against the folded text; the data is its group ``data``, or all of it.
        score: how sure it makes.
        rank: what a find rests on.
        holds: what else must be true of the place where it stands.
        check: the name of the rule that ``holds`` is, if it is one.
    """

    kind: str
    name: str
    pattern: re.Pattern[str]
    score: float
    rank: Rank = Rank.PATTERN
    holds: Callable[[Page, int, int], bool] | None = None
    check: str = ""


def bounded(first: str, rest: str, before: str = "0-9A-Za-z", after: str = "0-9A-Za-z") -> str:
    """A pattern that begins with one sign of a set and stands alone.

    Args:
        first: the set of signs that it can begin with, in brackets.
        rest: what follows.
        before: the signs that may not stand before it.
        after: the signs that may not stand behind it.
    """
    return f"{first}(?<![{before}]{first}){rest}(?![{after}])"


def find_shapes(page: Page, family: str, shapes: Sequence[Shape]) -> Iterator[Found]:
    """Everything on a page that has one of these shapes."""
    for shape in shapes:
        group = "data" if "data" in shape.pattern.groupindex else 0
        for match in shape.pattern.finditer(page.folded):
            start, end = match.span(group)
            if shape.holds is None or shape.holds(page, start, end):
                source = f"{family}.{shape.name}"
                span = Span(start, end, shape.kind, shape.score, source)
                yield Found(span, shape.rank, shape.name, check=shape.check)


def solid(page: Page, start: int, end: int) -> str:
    """What stands there, without spaces, hyphens and brackets."""
    return re.sub(r"[^0-9A-Za-z]", "", page.folded[start:end])
