"""Texts with marked names for the tagger's training: patterns filled with values, then roughened."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import tiny_grammar_en
import tiny_grammar_zh
from tagger_fill_en import EnglishValues
from tagger_fill_plain import plain
from tagger_fill_zh import ChineseValues
from tagger_medicine import MEDICINE_EN, PATIENTS_EN, MedicalValues
from tagger_names import Names
from tagger_plain import PLAIN_EN, PLAIN_ZH
from tagger_templates_china import ADDRESSES_ZH, NOTHING_ZH, ORGANISATIONS_ZH, PLACES_ZH
from tagger_templates_en import PEOPLE_EN, RULES_EN
from tagger_templates_world import ADDRESSES_EN, NOTHING_EN, ORGANISATIONS_EN, PLACES_EN
from tagger_templates_zh import PEOPLE_ZH, RULES_ZH

from sottovoce.data.grammar import expand

_KINDS: Final = ("PERSON", "ORGANIZATION", "ADDRESS", "PLACE")
_OPEN, _CLOSE = 0xE000, 0xE010
_MARKS: Final = re.compile("[\ue000-\ue003\ue010]")
# What a pattern of plain talk is made of: rules of the base model's corpus that name nobody.
_TALK: Final = (
    "<everyday>",
    "<everyday> <polite>",
    "<ask>? <everyday>",
    "<hello><everyday>",
    "<opinion>",
    "<dontknow> <sorry>",
    "<polite> <opinion>",
    "<wait> <more>",
)


@dataclass(frozen=True, slots=True)
class Marked:
    """A text with the spans in it: start, end, index of the kind in ``KINDS``."""

    text: str
    spans: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Patterns of one language and subject, and how often they are drawn."""

    chinese: bool
    patterns: tuple[str, ...]
    weight: float


def _between_marks(mark: str, draw: Callable[[], str]) -> str:
    return f"{mark}{draw()}{chr(_CLOSE)}"


class _Slots(Mapping[str, str]):
    """Slots that are filled when they are asked for, each time anew, with marks around names."""

    def __init__(
        self,
        named: Mapping[str, tuple[str, Callable[[], str]]],
        plain: Mapping[str, Callable[[], str]],
    ) -> None:
        self._draw: dict[str, Callable[[], str]] = dict(plain)
        for slot, (kind, draw) in named.items():
            mark = chr(_OPEN + _KINDS.index(kind))
            self._draw[slot] = partial(_between_marks, mark, draw)

    def __getitem__(self, name: str) -> str:
        return self._draw[name.rstrip("0123456789")]()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.rstrip("0123456789") in self._draw

    def __iter__(self) -> Iterator[str]:
        return iter(self._draw)

    def __len__(self) -> int:
        return len(self._draw)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.replace("¶", "\n") for line in text.strip().split("\n") if line)


def groups() -> list[Group]:
    """All patterns."""
    return [
        Group(False, _lines(PEOPLE_EN), 0.26),
        Group(False, _lines(ORGANISATIONS_EN), 0.09),
        Group(False, _lines(PLACES_EN), 0.07),
        Group(False, _lines(ADDRESSES_EN), 0.10),
        Group(False, _lines(NOTHING_EN), 0.10),
        Group(False, _TALK, 0.03),
        Group(False, _lines(PLAIN_EN), 0.04),
        Group(False, _lines(MEDICINE_EN), 0.09),
        Group(False, _lines(PATIENTS_EN), 0.02),
        Group(True, _lines(PEOPLE_ZH), 0.22),
        Group(True, _lines(ORGANISATIONS_ZH), 0.06),
        Group(True, _lines(PLACES_ZH), 0.05),
        Group(True, _lines(ADDRESSES_ZH), 0.06),
        Group(True, _lines(NOTHING_ZH), 0.10),
        Group(True, _TALK, 0.02),
        Group(True, _lines(PLAIN_ZH), 0.05),
    ]


def held_out(pattern: str) -> bool:
    """Whether a pattern is kept from training: one in ten, by its own text."""
    return hashlib.sha256(pattern.encode()).digest()[0] % 10 == 0


class Corpus:
    """Draws marked texts.

    Args:
        names: what to fill the slots with.
        rng: the only source of chance.
        heldout: draw from the patterns that training never sees, instead of the others.
    """

    def __init__(self, names: Names, rng: np.random.Generator, *, heldout: bool) -> None:
        self._rng = rng
        english = EnglishValues(names, rng)
        chinese = ChineseValues(english)
        self._slots = {
            False: _Slots(english.named(), plain(english) | MedicalValues(english).slots()),
            True: _Slots(chinese.named(), chinese.plain()),
        }
        self._rules = {
            False: {**tiny_grammar_en.RULES, **RULES_EN},
            True: {**tiny_grammar_zh.RULES, **RULES_ZH},
        }
        for rules in self._rules.values():
            # These two speak of a shop, a brand or a town that has slots of its own.
            rules["opinion"] = rules["praise"]
        self._groups = [
            (group, kept)
            for group in groups()
            if (kept := [p for p in group.patterns if held_out(p) == heldout or p in _TALK])
        ]
        weights = np.array([group.weight for group, _ in self._groups])
        self._shares = np.cumsum(weights / weights.sum())
        self._pairs: dict[bool, list[str]] = {
            chinese: [p for g, kept in self._groups if g.chinese == chinese for p in kept]
            for chinese in (False, True)
        }

    def draw(self) -> Marked:
        """One text: a pattern, often with another before or behind it."""
        index = int(np.searchsorted(self._shares, self._rng.random(), side="right"))
        group, kept = self._groups[min(index, len(self._groups) - 1)]
        parts = [self._fill(self._pick(kept), group.chinese)]
        while self._rng.random() < 0.45 and len(parts) < 6:
            beside = self._fill(self._pick(self._pairs[group.chinese]), group.chinese)
            parts.insert(0 if self._rng.random() < 0.5 else len(parts), beside)
        joint = self._pick(["\n", "\n", "。", "，", "", "\n\n"] if group.chinese else _JOINTS)
        if self._rng.random() < 0.05:
            joint = f" {self._pick(_ODD)}{joint}"
        return _parsed(self._roughened(joint.join(parts)))

    def _pick(self, values: list[str]) -> str:
        return values[int(self._rng.random() * len(values))]

    def _fill(self, pattern: str, chinese: bool) -> str:
        return expand(pattern, self._rng, self._rules[chinese], self._slots[chinese])

    def _roughened(self, text: str) -> str:
        share = self._rng.random()
        if share < 0.07:
            text = _same_length(text, str.lower)
        elif share < 0.11:
            text = _same_length(text, str.upper)
        if self._rng.random() < 0.05:
            text = text.replace(".", "").replace("。", " ")
        if self._rng.random() < 0.04:
            text = text.replace(", ", " ")
        if self._rng.random() < 0.04:
            text = text.replace("\n", "\n\n").replace(" ", "  ")
        if self._rng.random() < 0.05:
            text = text.replace("'", "’").replace('"', "“")
        if self._rng.random() < 0.03:
            text = text.replace("，", ",").replace("：", ":").replace("。", ".")
        if self._rng.random() < 0.03:
            text = f"{self._pick(['> ', '* ', '- ', '# ', '(', '>> ', '“', '|'])}{text}"
        return text


# What is left of signs that were read in the wrong encoding, and other litter.
_ODD: Final = [
    "â€™",
    "ג€“",
    "Ã©",
    "\ufffd",
    "😀",
    "#",
    "&amp;",
    "<br>",
    "***",
    "→",
    "א",
    "ü",
    "[...]",
    "~~",
]
_JOINTS: Final = ["\n", "\n", " ", " ", ". ", "\n\n", ", ", " - "]


def _same_length(text: str, change: Callable[[str], str]) -> str:
    """Change the case of each letter whose other case is one letter as well."""
    return "".join(new if len(new := change(letter)) == 1 else letter for letter in text)


def _parsed(marked: str) -> Marked:
    """Take the marks out of a text."""
    out: list[str] = []
    spans: list[tuple[int, int, int]] = []
    length, begin, kind, last = 0, 0, 0, 0
    for found in _MARKS.finditer(marked):
        piece = marked[last : found.start()]
        out.append(piece)
        length += len(piece)
        last = found.end()
        if ord(found.group()) == _CLOSE:
            if length > begin:
                spans.append((begin, length, kind))
        else:
            begin, kind = length, ord(found.group()) - _OPEN
    out.append(marked[last:])
    return Marked("".join(out), tuple(spans))
