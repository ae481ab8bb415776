"""Finds names of people, organisations, places and addresses, in English and Chinese, by reading.

A small bundled network tags the tokens of a text. It reads long texts in windows whose edges leave
no trace, because it looks only a few tokens to each side and adds up exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.pii.span import NAMED, Span
from sottovoce.data.pii.tagger_decode import BEGIN, END, SINGLE, best_tags
from sottovoce.data.pii.tagger_input import BIT, LETTER, SMALL, Tokens, read
from sottovoce.data.pii.tagger_network import Network, load_network

Ints = NDArray[np.signedinteger[Any]]

SOURCE: Final = "tagger"
_WEIGHTS: Final = Path(__file__).with_name("tagger.safetensors")
_WINDOW: Final = 1 << 14
"""Characters that are read at once."""
_MARGIN: Final = 512
"""Characters around a window that are read with it, so that its edge is not felt."""
_NAMING: Final = sum(
    BIT[flag]
    for flag in ("given name", "surname", "place word", "country word", "street word", "firm word")
)
"""Flags of which a name in small letters has at least one."""
_ABBREVIATION: Final = 5
"""Letters of the longest word in capitals that may be an abbreviation."""
_SURE: Final = 7.0
"""Log-odds from which on a token needs no search for a better tag."""


@dataclass(frozen=True)
class _Window:
    """A part of a text. Spans that begin in [core, behind) are its own.

    Args:
        text: index of the text.
        start: its first character.
        end: the one behind its last.
        core: where the part begins that no other window is to report.
        behind: where it ends.
    """

    text: int
    start: int
    end: int
    core: int
    behind: int


@dataclass(frozen=True, eq=False)
class Tagger:
    """Finds names, organisations, places and addresses.

    Args:
        network: the weights.
        caution: log-odds that are taken from "this is nothing". With more, more is found, and
            more of it wrongly.
    """

    network: Network
    caution: float = 1.5

    def spans(self, text: str) -> list[Span]:
        """Find the spans of one text.

        Guarantees:
            - spans are in order and do not overlap; offsets are those of ``text``;
            - the same text gives the same spans, on any machine;
            - time grows with the text's length, and memory beyond the text and its spans does not.

        Args:
            text: any text.

        Returns:
            Spans of the kinds PERSON, ORGANIZATION, ADDRESS and PLACE.

        >>> [span.kind for span in load_tagger().spans("My name is Maria Garcia.")]
        ['PERSON']
        """
        return self.batch([text])[0]

    def batch(self, texts: Sequence[str]) -> list[list[Span]]:
        """Find the spans of several texts, faster than one by one.

        Guarantees: the spans of a text are those that ``spans`` finds, whatever is beside it.

        Args:
            texts: any texts.

        Returns:
            The spans of each text.
        """
        found: list[list[Span]] = [[] for _ in texts]
        for pack in _packs(texts):
            parts = [texts[window.text][window.start : window.end] for window in pack]
            tokens = read(parts, self.network.lexicon)
            scores = self.network.scores(tokens)
            scores[:, 0] -= round(self.caution / self.network.unit)
            self._report(pack, tokens, scores, found)
        return found

    def _report(
        self,
        pack: Sequence[_Window],
        tokens: Tokens,
        scores: NDArray[np.int32],
        found: list[list[Span]],
    ) -> None:
        """Write the spans of several windows to those of their texts."""
        tags = best_tags(scores, tokens.text, round(_SURE / self.network.unit))
        single = (tags >= SINGLE.start) & (tags < SINGLE.stop)
        firsts = np.flatnonzero(((tags >= BEGIN.start) & (tags < BEGIN.stop)) | single)
        lasts = np.flatnonzero(((tags >= END.start) & (tags < END.stop)) | single)
        likely = _likely(tokens, firsts, lasts, (tags[firsts] - 1) % len(NAMED) == 0)
        firsts, lasts = firsts[likely], lasts[likely]
        sure = _certainty(scores, tags, firsts, self.network.unit)
        for first, last, score in zip(firsts.tolist(), lasts.tolist(), sure, strict=True):
            window = pack[int(tokens.text[first])]
            start = window.start + int(tokens.start[first])
            end = window.start + int(tokens.end[last])
            spans = found[window.text]
            if window.core <= start < window.behind and (not spans or start >= spans[-1].end):
                kind = NAMED[(int(tags[first]) - 1) % len(NAMED)]
                spans.append(Span(start, end, kind, score, SOURCE))


def load_tagger(path: Path | None = None) -> Tagger:
    """Load the tagger.

    Args:
        path: a safetensors file of ``scripts/train_tagger.py``; without it the bundled one.

    Returns:
        The tagger.

    Raises:
        ModelError: the file cannot be read, or is of another format.
    """
    return Tagger(load_network(path or _WEIGHTS))


def _likely(tokens: Tokens, firsts: Ints, lasts: Ints, person: NDArray[np.bool_]) -> Ints:
    """The spans that are more than words which are hardly names and stand in no list of names.

    Names in small letters are rare, and those that are written so are mostly usual ones. A short
    word in capitals is an abbreviation before it is a person.
    """
    look = (tokens.rows[:, -1] - SMALL) // 3
    unknown = (tokens.kinds == LETTER) & ((tokens.flags & np.uint32(_NAMING)) == 0)
    small = unknown & (look == 0)
    short = unknown & (look == 2) & (tokens.end - tokens.start <= _ABBREVIATION)
    sizes = lasts - firsts + 1
    hardly = np.where(person, _within(small | short, firsts, lasts), _within(small, firsts, lasts))
    return np.flatnonzero(hardly < sizes)


def _within(chosen: NDArray[np.bool_], firsts: Ints, lasts: Ints) -> Ints:
    """How many chosen tokens each span has."""
    sums = np.concatenate([[0], np.cumsum(chosen)])
    count: Ints = sums[lasts + 1] - sums[firsts]
    return count


def _certainty(scores: NDArray[np.int32], tags: Ints, firsts: Ints, unit: float) -> list[float]:
    """For each span, the probability of being no nothing, at its least sure token."""
    if len(firsts) == 0:
        return []
    odds = (scores[:, 1:].max(axis=1) - scores[:, 0]) * unit
    inside = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    # Tokens between two spans are nobody's; they must not count for the span before.
    inside[tags == 0] = 1
    least = np.minimum.reduceat(inside, firsts)
    return [round(float(value), 3) for value in least]


def _windows(number: int, text: str) -> Iterator[_Window]:
    """Cut a text into windows, where a line or a word ends if that is near."""
    core = 0
    while core < len(text):
        behind = min(len(text), core + _WINDOW)
        if behind < len(text):
            late = core + _WINDOW * 3 // 4
            cut = max(text.rfind("\n", late, behind), text.rfind(" ", behind - _MARGIN, behind))
            behind = cut + 1 if cut > 0 else behind
        yield _Window(
            number, max(0, core - _MARGIN), min(len(text), behind + _MARGIN), core, behind
        )
        core = behind


def _packs(texts: Sequence[str]) -> Iterator[list[_Window]]:
    """Windows of all texts, as many at once as make up one window."""
    pack: list[_Window] = []
    size = 0
    for number, text in enumerate(texts):
        for window in _windows(number, text):
            if pack and size + window.end - window.start > _WINDOW + 2 * _MARGIN:
                yield pack
                pack, size = [], 0
            pack.append(window)
            size += window.end - window.start
    if pack:
        yield pack
