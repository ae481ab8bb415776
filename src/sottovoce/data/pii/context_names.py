"""What the tagger found of a person once is found everywhere in the same text. Pure.

A letter introduces "Maria Garcia" and later says that "Garcia agreed". The second time there may be
too little around the name to tell it from a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from sottovoce.data.pii.span import Span
from sottovoce.data.pii.tagger import Tagger
from sottovoce.data.pii.tagger_input import BIT, Lexicon, keys_of

SOURCE: Final = "repeated name"
_CLEAR: Final = 0.8
"""How sure the tagger must have been of a name that is looked for again."""
_SHORTEST: Final = 3
_WORD: Final = re.compile(r"[^\W\d_\u3400-\u9fff]+")
_HAN: Final = re.compile(r"[\u3400-\u9fff]{2,6}")


def named_spans(text: str, tagger: Tagger) -> list[Span]:
    """Find names, organisations, addresses and places, and names that come again.

    Guarantees: spans are in order and do not overlap; those of the tagger are among them.

    Args:
        text: any text.
        tagger: finds them where the words around tell.

    Returns:
        Spans of the kinds PERSON, ORGANIZATION, ADDRESS and PLACE.
    """
    return named_batch([text], tagger)[0]


def named_batch(texts: Sequence[str], tagger: Tagger) -> list[list[Span]]:
    """``named_spans`` of several texts, faster than one by one; no text changes another's spans."""
    found = tagger.batch(texts)
    return [
        sorted([*spans, *repeated(text, spans, tagger.network.lexicon)])
        for text, spans in zip(texts, found, strict=True)
    ]


def repeated(text: str, spans: Sequence[Span], lexicon: Lexicon) -> list[Span]:
    """Find where parts of a name stand again outside of all spans.

    Looked for are capitalised words of a name that are no plain words, and Han names as a whole:
    those of two characters only where the tagger found them twice.

    Args:
        text: the text.
        spans: what was found in it.
        lexicon: knows plain words.

    Returns:
        Further spans of kind PERSON.
    """
    names = [text[s.start : s.end] for s in spans if s.kind == "PERSON" and s.score >= _CLEAR]
    words = _unusual({word for name in names for word in _WORD.findall(name)}, lexicon)
    counts = Counter(name for name in names if _HAN.fullmatch(name))
    han = {name for name, times in counts.items() if len(name) > 2 or times > 1}
    taken = [*spans]
    places = sorted([*_words_again(text, words), *_han_again(text, han)])
    fresh: list[Span] = []
    behind, index = 0, 0
    for start, end in places:
        while index < len(taken) and taken[index].end <= start:
            index += 1
        free = index == len(taken) or taken[index].start >= end
        if free and start >= behind:
            fresh.append(Span(start, end, "PERSON", _CLEAR, SOURCE))
            behind = end
    return fresh


def _unusual(words: set[str], lexicon: Lexicon) -> set[str]:
    """Capitalised words that are long enough and no plain words."""
    kept = sorted(word for word in words if len(word) >= _SHORTEST and word[0].isupper())
    if not kept:
        return set()
    _, flags = lexicon.find(keys_of(kept))
    plain = BIT["common word"] | BIT["title"]
    return {word for word, flag in zip(kept, flags.tolist(), strict=True) if not flag & plain}


def _words_again(text: str, words: set[str]) -> Iterator[tuple[int, int]]:
    if words:
        for found in _WORD.finditer(text):
            if found.group() in words:
                yield found.span()


def _han_again(text: str, names: set[str]) -> Iterator[tuple[int, int]]:
    if names:
        lengths = sorted({len(name) for name in names}, reverse=True)
        first = re.compile(f"[{''.join(sorted({name[0] for name in names}))}]")
        for found in first.finditer(text):
            start = found.start()
            for length in lengths:
                if text[start : start + length] in names:
                    yield start, start + length
                    break
