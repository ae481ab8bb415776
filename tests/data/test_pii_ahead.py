"""Texts that were read together are found in as if each had been read alone."""

from __future__ import annotations

from collections.abc import Sequence

from sottovoce.data.pii.ahead import ReadAhead
from sottovoce.data.pii.default import default_detector
from sottovoce.data.pii.settings import PiiSettings
from sottovoce.data.pii.span import Span

TEXTS = [
    "My name is Maria Garcia, mail maria@example.com",
    "",
    "我叫王小明，电话13800138000，住在浙江省杭州市西湖区文三路12号",
    "Nothing here.",
    "Maria Garcia lives at 12 Main Street, Springfield",
]


class Counting:
    """Reads one by one, and counts."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def spans(self, text: str) -> Sequence[Span]:
        self.read.append(text)
        return []


class Batching(Counting):
    def batch(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        return [[Span(0, len(text), "PERSON", 1.0, "all")] for text in texts]


def test_together_is_as_alone() -> None:
    detector = default_detector(PiiSettings())
    alone = [detector.spans(text) for text in TEXTS]
    assert [bool(spans) for spans in alone] == [True, False, True, False, True]
    assert detector.batch(TEXTS) == alone
    ahead = ReadAhead.of(detector, [*TEXTS, *TEXTS])
    assert [ahead.spans(text) for text in TEXTS] == alone


def test_what_was_not_read_before_is_read_then() -> None:
    behind = Batching()
    ahead = ReadAhead.of(behind, ["a"])
    assert [span.source for span in ahead.spans("a")] == ["all"]
    assert not behind.read
    assert ahead.spans("b") == []
    assert behind.read == ["b"]


def test_who_cannot_read_together_reads_one_by_one() -> None:
    behind = Counting()
    ahead = ReadAhead.of(behind, ["a"])
    assert not behind.read
    ahead.spans("a")
    assert behind.read == ["a"]
