"""How found personal data are compared with the truth: spans, and characters that leak. Pure.

A true span is found where a found one of its kind covers it by half or more of their union (IoU);
each found one answers for one true one. What is found inside a part that is marked with a kind that
is not counted is neither right nor wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Mark = tuple[int, int, str]
"""Start, end and kind."""

IOU = 0.5


@dataclass(frozen=True)
class Sentence:
    """A text and what is true of it.

    Args:
        text: the text.
        marks: personal data of counted kinds.
        ignored: marks of kinds that are not counted.
        template: what it was made from.
    """

    text: str
    marks: Sequence[Mark]
    ignored: Sequence[Mark] = ()
    template: int = 0


@dataclass
class Score:
    """Counts by kind, and the figures that follow.

    Args:
        right: true spans that were found.
        missed: true spans that were not.
        wrong: found spans that are not true.
        characters: of true spans, by kind.
        leaked: of these, what nothing that was found covers.
    """

    right: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    leaked: Counter[str] = field(default_factory=Counter)

    def recall(self, kinds: Collection[str]) -> float:
        """Found of all true ones; 1 where there are none."""
        return _share(_sum(self.right, kinds), _sum(self.missed, kinds))

    def precision(self, kinds: Collection[str]) -> float:
        """Right of all found ones; 1 where there are none."""
        return _share(_sum(self.right, kinds), _sum(self.wrong, kinds))

    def f_beta(self, kinds: Collection[str], beta: float = 2.0) -> float:
        """Recall counts β times as much as precision."""
        recall, precision = self.recall(kinds), self.precision(kinds)
        below = beta**2 * precision + recall
        return (1 + beta**2) * precision * recall / below if below else 0.0

    def leak_rate(self, kinds: Collection[str]) -> float:
        """Characters of personal data that nothing covers."""
        whole = _sum(self.characters, kinds)
        return _sum(self.leaked, kinds) / whole if whole else 0.0

    def rows(self) -> dict[str, Mapping[str, float]]:
        """The same for each kind."""
        kinds = sorted(self.characters | self.wrong)
        return {
            kind: {
                "spans": self.right[kind] + self.missed[kind],
                "recall": self.recall([kind]),
                "precision": self.precision([kind]),
                "leak_rate": self.leak_rate([kind]),
            }
            for kind in kinds
        }


def _sum(counts: Counter[str], kinds: Collection[str]) -> int:
    return sum(counts[kind] for kind in kinds)


def _share(good: int, bad: int) -> float:
    return good / (good + bad) if good + bad else 1.0


def score(
    sentences: Iterable[Sentence],
    find: Callable[[str], Sequence[Mark]],
    kinds: Collection[str],
) -> Score:
    """Compare what is found with the truth.

    Args:
        sentences: the truth.
        find: from a text to what is found in it.
        kinds: those that are counted.

    >>> truth = [Sentence("Ada and Bob", [(0, 3, "PERSON"), (8, 11, "PERSON")])]
    >>> found = score(truth, lambda _: [(0, 3, "PERSON"), (4, 7, "PERSON")], ["PERSON"])
    >>> found.recall(["PERSON"]), found.precision(["PERSON"]), found.leak_rate(["PERSON"])
    (0.5, 0.5, 0.5)
    """
    total = Score()
    for sentence in sentences:
        found = find(sentence.text)
        _count_spans(total, sentence, [mark for mark in found if mark[2] in kinds])
        covered = {place for start, end, _ in found for place in range(start, end)}
        for start, end, kind in sentence.marks:
            total.characters[kind] += end - start
            total.leaked[kind] += sum(place not in covered for place in range(start, end))
    return total


def _count_spans(total: Score, sentence: Sentence, found: Sequence[Mark]) -> None:
    left = list(found)
    for mark in sentence.marks:
        best = max(
            (one for one in left if one[2] == mark[2]), key=lambda it: _iou(it, mark), default=None
        )
        if best is not None and _iou(best, mark) >= IOU:
            left.remove(best)
            total.right[mark[2]] += 1
        else:
            total.missed[mark[2]] += 1
    for one in left:
        if not any(_shared(one, other) * 2 >= one[1] - one[0] for other in sentence.ignored):
            total.wrong[one[2]] += 1


def _shared(one: Mark, other: Mark) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))


def _iou(one: Mark, other: Mark) -> float:
    shared = _shared(one, other)
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)
