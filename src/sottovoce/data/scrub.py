"""Personal data out of texts, conversations and documents. Pure: the detector is handed in.

A text is read, what is found is replaced, and the result is read again until nothing is found that
is not a replacement. So what a detector sees only once its neighbour is gone goes as well, and
scrubbing a second time changes nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final

from sottovoce.data.conversation import Conversation, Message, ToolCall
from sottovoce.data.documents import Document
from sottovoce.data.pii.replace import LONGEST, Replacement
from sottovoce.data.pii.span import Detector, Span
from sottovoce.errors import DataError

_BESIDE: Final = 20
"""Characters around a span by which its replacement is chosen."""

Keep = Callable[[str, str], bool]
"""From a kind and a value to whether it may stay."""


@dataclass(frozen=True)
class Scrubbed:
    """A text without personal data.

    Args:
        text: the text.
        spans: what was found, in order; offsets refer to the text that was given.
        replaced: what stands in the place of each.
    """

    text: str
    spans: tuple[Span, ...] = ()
    replaced: tuple[str, ...] = ()

    def counts(self) -> Counter[str]:
        """How many spans there were of each kind."""
        return Counter(span.kind for span in self.spans)


def scrub(
    text: str,
    detector: Detector,
    replacement: Replacement,
    *,
    before: str = "",
    after: str = "",
    keep: Keep | None = None,
) -> Scrubbed:
    """Replace every piece of personal data.

    Args:
        text: any text.
        detector: what finds personal data.
        replacement: what stands in their place.
        before: what stands before the text; it is read along and not changed.
        after: the same behind it.
        keep: what may stay although it is found; None keeps nothing.

    Guarantees:
        - whatever the detector finds in the result is a replacement, or may stay;
        - scrubbing the result changes nothing;
        - spans are in order, do not overlap, and their offsets refer to ``text``;
        - a text in which nothing is found comes back as it is.

    Raises:
        DataError: the detector gave a span that does not lie in the text.
    """
    found: list[tuple[Span, str]] = []
    current, places = text, list[tuple[int, int]]()
    around = _Around(before, after, detector, replacement, keep)
    while fresh := _fresh(current, places, around):
        # Between two replacements the text is as it was given, moved by what stands before.
        ends = [end for _, end in places]
        kept = list(found)
        for span in fresh:
            at = bisect_right(ends, span.start) - 1
            moved = found[at][0].end - ends[at] if at >= 0 else 0
            value = current[span.start : span.end]
            left = current[max(0, span.start - _BESIDE) : span.start]
            right = current[span.end : span.end + _BESIDE]
            put = replacement.put(span.kind, value, left, right)
            kept.append((replace(span, start=span.start + moved, end=span.end + moved), put))
        found = sorted(kept, key=lambda pair: pair[0].start)
        current, places = _written(text, found)
    return Scrubbed(current, tuple(span for span, _ in found), tuple(put for _, put in found))


@dataclass(frozen=True)
class _Around:
    """What a text is read with."""

    before: str
    after: str
    detector: Detector
    replacement: Replacement
    keep: Keep | None


def _fresh(text: str, places: Sequence[tuple[int, int]], around: _Around) -> list[Span]:
    """What a detector finds in a text beside what has been put there."""
    whole, lead = f"{around.before}{text}{around.after}", len(around.before)
    last = lead + len(text)
    spans = [s for s in sorted(around.detector.spans(whole)) if s.end > lead and s.start < last]
    if not spans:
        return []
    own = [(start + lead, end + lead) for start, end in places]
    # Only a replacement that touches a span matters, and none is longer than this.
    for start, end in _merged((max(0, s.start - LONGEST), s.end + LONGEST) for s in spans):
        own += around.replacement.own(whole, start, end)
    taken = _merged([(0, lead), *own, (last, len(whole))])
    fresh: list[Span] = []
    for span in spans:
        if not 0 <= span.start < span.end <= len(whole):
            raise DataError(
                f"{span.source} found {span.kind} from {span.start} to {span.end} in a text of "
                f"{len(whole)} characters",
                allowed="spans inside the text, of at least one character",
            )
        if around.keep is not None and around.keep(span.kind, whole[span.start : span.end]):
            continue
        done = fresh[-1].end + lead if fresh else 0
        for start, end in _rest(max(span.start, done), span.end, taken):
            # What is left of a span counts for its letters; a whole one counts as it is.
            if (start, end) != (span.start, span.end):
                start, end = _trimmed(whole, start, end)
            if start < end:
                fresh.append(replace(span, start=start - lead, end=end - lead))
    return fresh


def _merged(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _rest(start: int, end: int, taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is left of a span outside the places that are taken."""
    rest = []
    at = bisect_left(taken, start, key=itemgetter(1))
    while at < len(taken) and taken[at][0] < end:
        first, last = taken[at]
        if first > start:
            rest.append((start, first))
        start = max(start, last)
        at += 1
    return [*rest, (start, end)] if start < end else rest


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the signs around its letters and digits."""
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum():
        end -= 1
    return start, end


def _written(text: str, found: Sequence[tuple[Span, str]]) -> tuple[str, list[tuple[int, int]]]:
    """The text with its replacements, and where they stand in it."""
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    size = last = 0
    for span, put in found:
        before = text[last : span.start]
        left = before[-1:] or (pieces[-1][-1:] if pieces else "")
        # A surrogate that runs into a word could not be told from it when the text is read again.
        whole = f"{' ' if _glued(left, put[:1]) else ''}{put}"
        whole += " " if _glued(put[-1:], text[span.end : span.end + 1]) else ""
        pieces += [before, whole]
        size += len(before)
        places.append((size, size + len(whole)))
        size, last = size + len(whole), span.end
    return "".join([*pieces, text[last:]]), places


def _glued(left: str, right: str) -> bool:
    if not left or not right:
        return False
    # Chinese needs no blanks, and every other letter that a surrogate ends in is Latin.
    return all(sign.isalnum() and sign < "\u0250" for sign in (left, right))


def scrub_conversation(
    talk: Conversation, detector: Detector, replacement: Replacement
) -> tuple[Conversation, Counter[str]]:
    """Replace personal data in every turn: what is said, what tools are asked, what they answer.

    Names of tools, owner, client and label stay as they are.

    Returns:
        The conversation, and how many spans of each kind there were.

    Guarantees:
        - arguments of tool calls stay canonical JSON, and an answer that is JSON stays JSON.
    """
    counts = Counter[str]()
    messages = []
    for message in talk.messages:
        content = _content(message, detector, replacement, counts)
        calls = tuple(
            ToolCall(
                call.name, _json(call.arguments, detector, replacement, counts, canonical=True)
            )
            for call in message.tool_calls
        )
        messages.append(Message(message.role, content, calls))
    return replace(talk, messages=tuple(messages)), counts


def scrub_document(
    document: Document, detector: Detector, replacement: Replacement
) -> tuple[Document, Counter[str]]:
    """The same for a document of plain text."""
    done = scrub(document.text, detector, replacement)
    return replace(document, text=done.text), done.counts()


def _content(
    message: Message, detector: Detector, replacement: Replacement, counts: Counter[str]
) -> str:
    if message.role == "tool" and message.content.lstrip()[:1] in ("{", "["):
        try:
            json.loads(message.content)
        except (ValueError, RecursionError):
            return _plain(message.content, detector, replacement, counts)
        return _json(message.content, detector, replacement, counts, canonical=False)
    return _plain(message.content, detector, replacement, counts)


def _plain(text: str, detector: Detector, replacement: Replacement, counts: Counter[str]) -> str:
    done = scrub(text, detector, replacement)
    counts.update(done.counts())
    return done.text


def _json(
    text: str,
    detector: Detector,
    replacement: Replacement,
    counts: Counter[str],
    *,
    canonical: bool,
) -> str:
    """JSON text with every name and value in it scrubbed; unchanged where nothing is found."""
    before = counts.total()
    value = _value(json.loads(text), "", detector, replacement, counts)
    if counts.total() == before:
        return text
    if canonical:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _value(
    value: Any, name: str, detector: Detector, replacement: Replacement, counts: Counter[str]
) -> Any:
    """A value with its name as context, since "phone" says what a number is."""
    if isinstance(value, dict):
        scrubbed: dict[str, Any] = {}
        for key, inner in value.items():
            new = _plain(key, detector, replacement, counts)
            while new in scrubbed:
                new = f"{new} "
            scrubbed[new] = _value(inner, key, detector, replacement, counts)
        return scrubbed
    if isinstance(value, list):
        return [_value(inner, name, detector, replacement, counts) for inner in value]
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        context = f"{name.replace('_', ' ')}: " if name else ""
        done = scrub(str(value), detector, replacement, before=context)
        counts.update(done.counts())
        return done.text if done.spans else value
    return value
