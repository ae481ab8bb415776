"""Builds the tagger's lexicon: which words it knows, and what the lists of names say of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from tagger_corpus import Corpus, Marked
from tagger_names import (
    HAN_GIVEN,
    HAN_SURNAMES_OF_TWO,
    Names,
    pinyin_family,
    pinyin_given,
    transliterated,
)
from tagger_values import FIRM_ENDS, FIRM_KNOWN, FIRM_NOUNS, STREETS
from tagger_words import WORDS_EN, WORDS_ZH, words

from sottovoce.data.pii.tagger_input import BIT, Lexicon, fold, keys_of, pair_key

_WORD: Final = re.compile(r"[^\W\d_\u3400-\u9fff]+")
_HAN: Final = re.compile(r"[\u3400-\u9fff]+")
_SIGN: Final = re.compile(r"[^\w\s]")
_SAMPLE: Final = 60_000
_TITLES: Final = words("""
mr mrs ms miss dr prof professor sir madam captain judge senator sgt rev father sister nurse officer coach lord lady dame president minister king queen prince mayor chief inspector detective uncle aunt grandma grandpa mister herr frau monsieur madame señor señora
""")
_STREET_WORDS: Final = words("""
rue avenue boulevard place chemin calle avenida plaza paseo via viale piazza corso rua travessa praça ul ulica utca út tér u gatan vägen vej gade veien gata katu tie straat laan weg plein cad sokak jalan jl marg nagar str bulevardul iela apt suite unit flat floor room box apo dpo fpo psc no
""")


@dataclass
class _Entries:
    """Words with what is known of them, before they become keys."""

    flags: Counter[str] = field(default_factory=Counter)

    def mark(self, values: Iterable[str], flag: str) -> None:
        """Set one flag of several words."""
        for word in values:
            if word:
                self.flags[fold(word)] |= BIT[flag]


def _split(names: Iterable[str]) -> set[str]:
    """The single words of names."""
    return {fold(word) for name in names for word in _WORD.findall(name)}


def _listed(names: Names) -> _Entries:
    """Flags that the lists of names give."""
    entries, plain = _Entries(), {fold(word) for word in (*WORDS_EN, *names.words)}
    given = _split([*names.given, *pinyin_given()])
    family = _split([*names.family, *pinyin_family()])
    places = {word for word in _split(names.cities) if len(word) > 2} - plain
    entries.mark((word for word in given if len(word) > 1), "given name")
    entries.mark((word for word in family if len(word) > 1), "surname")
    entries.mark(places, "place word")
    entries.mark(_split(names.countries) - plain, "country word")
    entries.mark(_split([*STREETS, *_STREET_WORDS]), "street word")
    entries.mark(_split([*FIRM_ENDS, *FIRM_NOUNS, *FIRM_KNOWN]) - plain, "firm word")
    entries.mark(_TITLES, "title")
    entries.mark((*plain, *names.dictionary), "common word")
    entries.mark(names.han_family, "Han surname")
    entries.mark(HAN_SURNAMES_OF_TWO, "Han surname of two")
    entries.mark([*HAN_GIVEN, *"".join(names.han_given)], "Han given name")
    short = [re.sub("(省|市|县|区)$", "", place) for place in names.han_places]
    entries.mark(
        (p for p in (*names.han_places, *short, *names.han_countries) if 2 <= len(p) <= 4),
        "place begins",
    )
    entries.mark((w for w in (*WORDS_ZH, *names.han_words) if 2 <= len(w) <= 4), "word begins")
    foreign, families = transliterated()
    entries.mark((name for name in (*foreign, *families) if 2 <= len(name) <= 4), "given name")
    return entries


def _pairs(names: Names) -> list[tuple[int, int]]:
    """Keys of places whose name begins with two words."""
    split = [_WORD.findall(place) for place in (*names.cities, *names.countries)]
    two = [(found[0], found[1]) for found in split if len(found) >= 2]
    first = keys_of([pair[0] for pair in two])
    second = keys_of([pair[1] for pair in two])
    return [(int(key), BIT["place begins"]) for key in pair_key(first, second)]


def _pieces(text: str) -> list[str]:
    """Words, signs, Han characters and pairs of them in a text."""
    found = [fold(word) for word in _WORD.findall(text)] + _SIGN.findall(text)
    for run in _HAN.findall(text):
        found += [*run, *(run[at : at + 2] for at in range(len(run) - 1))]
    return found


def _counted(texts: Sequence[Marked]) -> tuple[Counter[str], Counter[str]]:
    """How often each piece stands outside and inside of names."""
    outside: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for marked in texts:
        last = 0
        for start, end, _ in marked.spans:
            outside.update(_pieces(marked.text[last:start]))
            inside.update(_pieces(marked.text[start:end]))
            last = end
        outside.update(_pieces(marked.text[last:]))
    return outside, inside


def build_lexicon(names: Names, corpus: Corpus) -> Lexicon:
    """Decide which words get an embedding of their own, and collect all flags.

    A word gets one if it is common outside of names, or so common inside that it is no name but
    part of how names are built, as "Street" or "公司".

    Args:
        names: the lists.
        corpus: where words are counted: the training part.

    Returns:
        The lexicon; row 0 is for words without one.
    """
    outside, inside = _counted([corpus.draw() for _ in range(_SAMPLE)])
    entries = _listed(names).flags
    personal = BIT["given name"] | BIT["surname"]
    known = {
        piece
        for piece, count in outside.items()
        if count >= (3 if _HAN.match(piece) or len(piece) == 1 else 9)
    }
    known |= {
        piece
        for piece, count in inside.items()
        if count >= (4 if len(piece) == 1 else 40) and not entries[piece] & personal
    }
    known |= {fold(word) for word in WORDS_EN}
    known |= {word for word in WORDS_ZH if len(word) == 2}
    rows = {piece: row for row, piece in enumerate(sorted(known), 1)}
    listed = sorted(set(rows) | {word for word, flags in entries.items() if flags})
    table = {
        int(key): (rows.get(word, 0), entries[word])
        for word, key in zip(listed, keys_of(listed), strict=True)
    }
    for key, flags in _pairs(names):
        table.setdefault(key, (0, flags))
    order = sorted(table)
    return Lexicon(
        keys=np.array(order, np.uint32),
        rows=np.array([table[key][0] for key in order], np.uint16),
        flags=np.array([table[key][1] for key in order], np.uint32),
    )
