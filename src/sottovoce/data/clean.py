"""What is done to loaded text before anybody trains on it: duplicates out, personal data out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from sottovoce.data.conversation import Conversation
from sottovoce.data.dedupe import duplicate_conversations, duplicates
from sottovoce.data.documents import Document
from sottovoce.data.pii.ahead import ReadAhead
from sottovoce.data.pii.replace import Replacement, Way
from sottovoce.data.pii.span import Detector
from sottovoce.data.scrub import scrub_conversation, scrub_document

Item = TypeVar("Item", Conversation, Document)
_TOGETHER: Final = 128
"""Conversations whose texts are read together."""
Text = Conversation | Document


@dataclass(frozen=True)
class Scrubber:
    """How personal data go.

    Args:
        way: tags, surrogates, or whole conversations away.
        detector: what finds them.
        replacement: what stands in their place; for ``drop`` it is never seen.
    """

    way: Way
    detector: Detector
    replacement: Replacement


@dataclass(frozen=True)
class Removed:
    """What cleaning took out.

    Args:
        kept: conversations or documents that are left.
        duplicates: how many repeated an earlier one.
        dropped: how many went for the personal data in them.
        touched: how many had personal data, dropped ones among them.
        entities: how many pieces of personal data there were, by kind.
    """

    kept: int
    duplicates: int = 0
    dropped: int = 0
    touched: int = 0
    entities: Counter[str] = field(default_factory=Counter)

    def rows(self, way: str) -> list[tuple[str, ...]]:
        """The same as rows of a table of what was loaded: file, kind, loaded, skipped, columns."""
        rows: list[tuple[str, ...]] = []
        after = self.kept + self.dropped
        if self.duplicates:
            rows.append(("all", "unique", str(after), f"{self.duplicates} duplicates", ""))
        if way != "off":
            found = ", ".join(f"{count} {kind}" for kind, count in sorted(self.entities.items()))
            dropped = f"{self.dropped} with personal data" if self.dropped else ""
            told = f"personal data in {self.touched}: {found}" if found else "no personal data"
            rows.append(("all", way, str(self.kept), dropped, told))
        return rows


def clean(
    items: Sequence[Item], scrubber: Scrubber | None = None, *, deduplicate: bool = False
) -> tuple[tuple[Item, ...], Removed]:
    """Take out duplicates first and personal data then.

    Args:
        items: conversations, or documents.
        scrubber: how personal data go; None leaves them.
        deduplicate: whether duplicates go; conversations are compared within their client.

    Guarantees:
        - order is kept, and of several duplicates the first;
        - with ``drop`` what is left is unchanged, letter for letter.
    """
    left = list(items)
    repeated: set[int] = set()
    if deduplicate:
        repeated = set(_duplicates(left))
        left = [item for place, item in enumerate(left) if place not in repeated]
    if scrubber is None:
        return tuple(left), Removed(len(left), len(repeated))
    kept: list[Item] = []
    entities = Counter[str]()
    touched = 0
    for item, ahead in _ahead(left, scrubber):
        scrubbed, counts = _scrubbed(item, ahead)
        entities.update(counts)
        touched += bool(counts)
        if scrubber.way != "drop":
            kept.append(scrubbed)
        elif not counts:
            kept.append(item)
    dropped = len(left) - len(kept)
    return tuple(kept), Removed(len(kept), len(repeated), dropped, touched, entities)


def _ahead(items: Sequence[Item], scrubber: Scrubber) -> Iterator[tuple[Item, Scrubber]]:
    """Each item, with a scrubber whose detector has read it beside others, which is faster."""
    for begin in range(0, len(items), _TOGETHER):
        part = items[begin : begin + _TOGETHER]
        detector = ReadAhead.of(scrubber.detector, [text for item in part for text in _texts(item)])
        for item in part:
            yield item, replace(scrubber, detector=detector)


def _texts(item: Text) -> list[str]:
    if isinstance(item, Conversation):
        return [message.content for message in item.messages]
    return [item.text]


def _duplicates(items: Sequence[Text]) -> list[int]:
    talks = [item for item in items if isinstance(item, Conversation)]
    if talks:
        return duplicate_conversations(talks)
    return duplicates([item.text for item in items if isinstance(item, Document)])


def _scrubbed(item: Item, scrubber: Scrubber) -> tuple[Item, Counter[str]]:
    scrub_one: Callable[..., tuple[Item, Counter[str]]] = (
        scrub_conversation if isinstance(item, Conversation) else scrub_document
    )
    return scrub_one(item, scrubber.detector, scrubber.replacement)


def with_owners_hidden(
    talks: Sequence[Conversation], replacement: Replacement
) -> tuple[Conversation, ...]:
    """The same conversations, whose owners have names that say nothing of who they are."""
    return tuple(
        talk if talk.owner is None else replace(talk, owner=replacement.owner(talk.owner))
        for talk in talks
    )
