"""Terms: what cannot be agreed on is refused, and every field counts."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from secagg_play import names_of, roster_of, terms_for

from sottovoce.codec import graph
from sottovoce.errors import ConfigError, VerificationError


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"run": b"r" * 31}, "run is not 32 bytes"),
        ({"beacon": b""}, "beacon is not 32 bytes"),
        ({"config_sha256": "c" * 32}, "config_sha256 is not 32 bytes"),
        ({"round": -1}, "round is -1. Allowed: an integer from 0 to"),
        ({"round": 2**63}, "round is 9223372036854775808"),
        ({"round": 1.0}, "round is 1.0"),
        ({"length": 0}, "length is 0. Allowed: an integer from 1 to"),
        ({"length": 2**32}, "length is 4294967296"),
        ({"bits": 7}, "bits is 7. Allowed: an integer from 8 to 32"),
        ({"bits": 33}, "bits is 33. Allowed: an integer from 8 to 32"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"threshold": 2}, "threshold is 2. Allowed: an integer from 3 to 4"),
        ({"threshold": 5}, "threshold is 5. Allowed: an integer from 3 to 4"),
        ({"threshold": 0, "malicious": False}, "threshold is 0. Allowed: an integer from 1 to 4"),
        ({"minimum_survivors": 6}, "minimum_survivors is 6. Allowed: an integer from 4 to 5"),
        ({"cohort": ("c000",)}, "the cohort is not a sorted list of at least two"),
        ({"cohort": ("c001", "c000", "c002")}, "the cohort is not a sorted list"),
        ({"cohort": ("c000", "c000", "c001")}, "the cohort is not a sorted list"),
        ({"cohort": ("c000", "c001", "zoe")}, "'zoe', who is not in the roster"),
    ],
)
def test_what_cannot_be_agreed_on_is_refused(changes, why: str) -> None:
    good = terms_for(5, threshold=4)
    with pytest.raises(ConfigError, match=why):
        replace(good, **changes)


@pytest.mark.parametrize(("minimum", "threshold"), [(1, 1), (2, 3)])
def test_a_sum_of_one_or_of_fewer_than_the_threshold_is_never_unmasked(
    minimum: int, threshold: int
) -> None:
    good = terms_for(5, threshold=threshold, malicious=False)
    with pytest.raises(ConfigError, match=f"minimum_survivors is {minimum}"):
        replace(good, minimum_survivors=minimum)


def test_the_threshold_is_judged_by_the_graph_that_is_used() -> None:
    """Up to a hundred clients the graph is complete, whatever number of neighbours is asked for."""
    with pytest.raises(ConfigError, match=r"threshold is 4. Allowed: an integer from 10 to 19"):
        terms_for(20, neighbours=6, threshold=4)
    assert terms_for(120, neighbours=6, threshold=4).threshold == 4
    with pytest.raises(ConfigError, match=r"threshold is 3. Allowed: an integer from 4 to 6"):
        terms_for(120, neighbours=6, threshold=3)
    with pytest.raises(VerificationError, match="a degree of 7 among 120 clients"):
        terms_for(120, neighbours=7, threshold=5)


def test_neighbours_are_those_of_the_graph() -> None:
    terms = terms_for(120, neighbours=6, threshold=4)
    assert terms.graph == graph.neighbours(terms.beacon, 3, terms.cohort, 6)


def test_every_field_counts_in_the_digest() -> None:
    good = terms_for(5, threshold=4)
    others = [
        {"run": b"s" * 32},
        {"round": 4},
        {"beacon": b"e" * 32},
        {"config_sha256": b"d" * 32},
        {"roster": roster_of(6)},
        {"cohort": names_of(4), "threshold": 3},
        {"length": 7},
        {"bits": 17},
        {"neighbours": 3},
        {"threshold": 3},
        {"minimum_survivors": 5},
        {"malicious": False},
        {"post_quantum": True},
        {"malicious": False, "post_quantum": True},
    ]
    digests = [good.digest, *(replace(good, **change).digest for change in others)]
    assert len(set(digests)) == len(digests)
    assert replace(good).digest == good.digest


def test_the_digest_is_the_canonical_one_written_by_hand() -> None:
    terms = terms_for(3, threshold=2)
    values = [b"r" * 32, 3, b"b" * 32, b"c" * 32, terms.roster.root, 6, 16, 2, 2, 2, 1]
    values += [b"c000", b"c001", b"c002"]
    parts = [b"sottovoce secagg v1 terms"]
    parts += [it if isinstance(it, bytes) else it.to_bytes(8, "big") for it in values]
    assert (
        terms.digest
        == sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    )


@pytest.mark.parametrize(
    ("bits", "word"), [(8, "uint16"), (16, "uint16"), (17, "uint32"), (32, "uint32")]
)
def test_words_are_as_wide_as_the_modulus_needs(bits: int, word: str) -> None:
    terms = terms_for(2, bits=bits)
    assert (terms.word, terms.largest) == (word, 2**bits - 1)
