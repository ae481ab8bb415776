"""The same said twice: exact and near duplicates among texts, in time that grows with their number.

Texts are compared by the Jaccard similarity of their sets of character 5-grams, which works with
and without blanks between words. MinHash (Broder, 1997) in bands finds the pairs worth comparing;
each of them is then compared exactly, so that nothing is taken out that is less alike than the
threshold. A pair as alike as the threshold is missed with a probability of 5 in 100,000, a more
alike one with less.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.conversation import Conversation
from sottovoce.rng import stream

THRESHOLD: Final = 0.8
"""The Jaccard similarity from which on two texts count as one."""
GRAM: Final = 5

_BANDS: Final = 25
_ROWS: Final = 5
_REMEMBERED: Final = 50
"""Texts that one bucket remembers; the bound that keeps boilerplate from costing a square."""
_COMPARED: Final = 16
_DOUBT: Final = 0.18
"""Five standard errors of a similarity of 0.8 that is judged by 125 hashes."""
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)

Grams = NDArray[np.uint64]


def duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """Places of texts that say what an earlier one has said.

    Args:
        texts: any texts.
        threshold: from which similarity on two are the same.

    Returns:
        The places of those to leave out, in order.

    Guarantees:
        - the first of several is kept, and each that is left out is an exact duplicate of one that
          is kept, or at least ``threshold`` like it;
        - the same texts give the same places, on every machine;
        - texts that are shorter than five characters are duplicates only if they are equal, up to
          case, width and blanks.

    Edge cases:
        - more than 50 kept texts with the same sketch: later ones are compared with the first 50.

    >>> duplicates(["When do you open?", "WHEN do you  open?", "Where are you?"])
    [1]
    """
    known: set[bytes] = set()
    out: list[int] = []
    unique: list[int] = []
    written = [_written(text) for text in texts]
    for place, text in enumerate(written):
        digest = sha256(text.encode(errors="surrogatepass")).digest()
        if digest in known:
            out.append(place)
        else:
            known.add(digest)
            unique.append(place)
    near = _near([grams(written[place]) for place in unique], threshold)
    return sorted([*out, *(unique[place] for place in near)])


def duplicate_conversations(talks: Sequence[Conversation]) -> list[int]:
    """Places of conversations that repeat an earlier one of the same client.

    What a system turn says is the same in many conversations, so it counts for nothing here. Other
    clients' text is not looked at: in a federation nobody could.
    """
    by_client: dict[str | None, list[int]] = defaultdict(list)
    for place, talk in enumerate(talks):
        by_client[talk.client].append(place)
    return sorted(
        places[one]
        for places in by_client.values()
        for one in duplicates([_said(talks[place]) for place in places])
    )


def _said(talk: Conversation) -> str:
    return "\n".join(
        f"{message.role}: {message.content}"
        + "".join(f" {call.name}{call.arguments}" for call in message.tool_calls)
        for message in talk.messages
        if message.role != "system"
    )


def _written(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def grams(text: str) -> Grams:
    """The set of hashed character 5-grams of a text, sorted; empty for a shorter text."""
    signs = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), "<u4").astype(np.uint64)
    count = len(signs) - GRAM + 1
    if count < 1:
        return np.empty(0, np.uint64)
    mixed = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for at in range(GRAM):
            mixed = (mixed * _BASE) + signs[at : at + count]
            mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed)


def jaccard(one: Grams, other: Grams) -> float:
    """The share of two sets' union that both hold; 0 for two empty ones."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    either = len(one) + len(other) - both
    return both / either if either else 0.0


def _near(sets: Sequence[Grams], threshold: float) -> list[int]:
    """Places of sets that are near an earlier one that is kept."""
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    kept: dict[int, NDArray[np.uint32]] = {}
    out = []
    for place, (least, keys) in enumerate(_sketches(sets)):
        shared = Counter(other for key in keys for other in buckets.get(key, ()))
        likely = (
            other
            for other, _ in shared.most_common(_COMPARED)
            # Of so many hashes the share that agree is the similarity, give or take its error.
            if np.mean(kept[other] == least) >= threshold - _DOUBT
        )
        if any(_alike(sets[place], sets[other], threshold) for other in likely):
            out.append(place)
            continue
        kept[place] = least
        for key in keys:
            if len(buckets[key]) < _REMEMBERED:
                buckets[key].append(place)
    return out


def _alike(one: Grams, other: Grams, threshold: float) -> bool:
    small, large = sorted((len(one), len(other)))
    return small >= threshold * large and jaccard(one, other) >= threshold


def _sketches(
    sets: Sequence[Grams],
) -> Iterable[tuple[NDArray[np.uint32], list[tuple[int, int]]]]:
    """Per set its MinHash values, and one key for each band of them; none for an empty set."""
    rng = stream(0, "minhash")
    size = _BANDS * _ROWS
    # Odd factors make each hash a bijection of the 32 bits that members are cut to here.
    factors = rng.integers(0, 2**32, (size, 1), dtype=np.uint32) | np.uint32(1)
    offsets = rng.integers(0, 2**32, (size, 1), dtype=np.uint32)
    weights = rng.integers(0, 2**63, _ROWS, dtype=np.uint64) | np.uint64(1)
    for members in sets:
        if not len(members):
            yield np.empty(0, np.uint32), []
            continue
        short = (members >> np.uint64(32)).astype(np.uint32)
        with np.errstate(over="ignore"):
            least = (short * factors + offsets).min(axis=1)
            bands = least.reshape(_BANDS, _ROWS).astype(np.uint64)
            keys = (bands * weights).sum(axis=1)
        yield least, list(enumerate(keys.tolist()))
