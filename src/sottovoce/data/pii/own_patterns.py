"""Recognisers that users write: their patterns, made safe, and the search for them. Pure.

A pattern is refused if it could take a text's length squared or worse: every repeat without an
end stops after 64, and the ways in which the rest can be read from one place are counted.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.page import Page, read
from sottovoce.data.pii.shape import Family
from sottovoce.data.pii.span import Span

if TYPE_CHECKING:
    from sottovoce.data.pii.settings import Recogniser

LONGEST_REPEAT: Final = 64
MOST_WAYS: Final = 5000
_CONTEXT_REACH: Final = 40
_FLAGS: Final = re.IGNORECASE | re.MULTILINE
_TOKEN: Final = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<repeat>\{\d+,?\d*\}|\{,\d*\}|[*+?])|.", re.DOTALL
)


@dataclass(frozen=True)
class Place:
    """A part of a text, and the pattern or word that it fits."""

    start: int
    end: int
    by: str


def compile_own(pattern: str) -> re.Pattern[str]:
    r"""Compile a user's pattern so that it reads any text in time that grows with its length.

    Raises:
        ValueError: the pattern is no regular expression, can match nothing at all, or has so many
            ways to read one text that a text could be written which it never finishes.

    >>> compile_own(r"EMP-\d+").search("see emp-0042").group()
    'emp-0042'
    """
    try:
        tree = _parse(pattern)
        ways = _ways(tree)
        compiled = re.compile(_limited(pattern), _FLAGS)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from error
    if ways > MOST_WAYS:
        raise ValueError(
            f"the pattern {pattern!r} can be read in more than {MOST_WAYS} ways from one place, and "
            "some text would take it hours; put no repeat inside another, and give repeats an end "
            r"such as {1,20}"
        )
    if tree.getwidth()[0] == 0:
        raise ValueError(
            f"the pattern {pattern!r} matches nothing at all; ask for one sign or more"
        )
    return compiled


def _parse(pattern: str) -> Any:
    """The pattern as a tree. The parser is the interpreter's own, and has no public name."""
    return importlib.import_module("re._parser").parse(pattern, _FLAGS)


def _ways(tree: Any) -> int:
    """An upper bound on how many ways there are to read one text from one place."""
    ways = 1
    for operation, argument in tree:
        ways *= _ways_of(str(operation), argument)
    return ways


def _ways_of(operation: str, argument: Any) -> int:
    match operation:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = argument
            most = min(int(most), least + LONGEST_REPEAT)
            once = _ways(inner)
            if once == 1:
                return 1 if operation == "POSSESSIVE_REPEAT" else int(most - least + 1)
            total = 0
            for times in range(least, most + 1):
                total += once**times
                if total > MOST_WAYS:
                    break
            return total
        case "BRANCH":
            return sum(_ways(branch) for branch in argument[1])
        case "SUBPATTERN":
            return _ways(argument[-1])
        case "ATOMIC_GROUP":
            return _ways(argument)
        case "ASSERT" | "ASSERT_NOT":
            return _ways(argument[1])
        case "GROUPREF_EXISTS":
            return sum(_ways(branch) for branch in argument[1:] if branch)
        case _:
            return 1


def _limited(pattern: str) -> str:
    """The pattern with an end for every repeat that has none."""
    parts: list[str] = []
    repeated = False
    for match in _TOKEN.finditer(pattern):
        sign = match[0]
        if sign in ("*", "{,}"):
            sign = f"{{0,{LONGEST_REPEAT}}}"
        elif sign == "+" and not repeated:
            # Behind another repeat it says that nothing is given back.
            sign = f"{{1,{LONGEST_REPEAT}}}"
        elif match["repeat"] and sign.endswith(",}"):
            sign = f"{sign[:-1]}{int(sign[1:-2]) + LONGEST_REPEAT}}}"
        parts.append(sign)
        repeated = match["repeat"] is not None
    return "".join(parts)


def _matches(page: Page, patterns: tuple[re.Pattern[str], ...]) -> Iterator[Place]:
    for pattern in patterns:
        for form in {page.text, page.folded}:
            for match in pattern.finditer(form):
                yield Place(*match.span(), pattern.pattern)


def words_in(page: Page, words: Iterable[str]) -> Iterator[Place]:
    """Where words stand, whole, whatever their case; as ``lowered`` of a page has them."""
    for word in words:
        at = page.lowered.find(word)
        while at >= 0:
            end = at + len(word)
            if not (_joined(page.lowered, at) or _joined(page.lowered, end)):
                yield Place(at, end, word)
            at = page.lowered.find(word, end)


def _joined(text: str, at: int) -> bool:
    """Whether two Latin letters or digits meet here, so that a word goes on."""
    around = text[max(0, at - 1) : at + 1]
    return len(around) == 2 and around.isascii() and around.isalnum()


def own(recogniser: Recogniser) -> Family:
    """A user's recogniser, ready to be asked.

    Guarantees:
        - words of the deny list are found whatever their case and whatever width their signs have,
          but not inside longer Latin words.
    """
    patterns = tuple(compile_own(pattern) for pattern in recogniser.patterns)
    words = tuple(read(word).lowered for word in recogniser.deny_list)
    context = tuple(read(word).lowered for word in recogniser.context)

    def find(page: Page) -> Iterator[Found]:
        if not _reads(recogniser, page):
            return
        for place in (*_matches(page, patterns), *words_in(page, words)):
            near = page.lowered[max(0, place.start - _CONTEXT_REACH) : place.start]
            near += "\n" + page.lowered[place.end : place.end + _CONTEXT_REACH]
            word = next((word for word in context if word in near), "")
            if word or not context:
                kind, score, source = recogniser.kind, recogniser.score, f"own.{recogniser.name}"
                span = Span(place.start, place.end, kind, score, source)
                yield Found(span, Rank.OWN, place.by, word)

    return Family("own", (recogniser.kind,), find)


def _reads(recogniser: Recogniser, page: Page) -> bool:
    """Whether it is asked about this text; a text without letters has no language, and is read."""
    spoken = {code for code, seen in (("en", page.latin), ("zh", page.han)) if seen}
    return not spoken or not spoken.isdisjoint(recogniser.languages)
