"""Secret sharing against plain polynomials, exact secrecy in a small field, and lying holders."""

import json
from collections import Counter
from hashlib import sha256
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sottovoce.codec import shamir
from sottovoce.codec.shamir import (
    LARGEST_COUNT,
    PRIME,
    combine,
    draw_secret,
    split,
    wrong_places,
)
from sottovoce.errors import VerificationError
from sottovoce.rng import Source, secret_source, seeded_source

VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "secagg_primitives.json").read_text("utf-8")
)
SEVEN = bytes(31) + b"\x07"


class Words:
    """A source that gives the words it was handed, and fails when they are used up."""

    def __init__(self, words):
        self.left = list(words)

    def words(self, count):
        assert count <= len(self.left), "more words were asked for than there are"
        taken, self.left = self.left[:count], self.left[count:]
        return np.array(taken, np.uint64)


def little_endian_words(*numbers):
    return [number >> 64 * i & 2**64 - 1 for number in numbers for i in range(4)]


def number(share):
    return int.from_bytes(share, "big")


def value_at(points, x, prime=PRIME):
    """Lagrange's formula as it stands in a textbook."""
    total = 0
    for xi, yi in points.items():
        term = yi
        for xj in points:
            if xj != xi:
                term = term * (x - xj) * pow(xi - xj, -1, prime) % prime
        total += term
    return total % prime


def points_of(shares, places):
    return {place + 1: number(shares[place]) for place in places}


# --- the field -----------------------------------------------------------------------------------


def is_prime(n):
    """Miller and Rabin's test to forty bases; it calls a composite prime with chance 4^-40."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 42):
        x = pow(base, odd, n)
        if x not in (1, n - 1) and all((x := x * x % n) != n - 1 for _ in range(twos - 1)):
            return False
    return True


def test_the_modulus_is_the_largest_256_bit_prime():
    assert is_prime(PRIME)
    assert PRIME.bit_length() == 256
    assert not any(is_prime(n) for n in range(PRIME + 2, 2**256, 2))


# --- splitting and combining ---------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["shares"], ids=lambda case: f"{case['threshold']}")
def test_shares_are_those_of_the_slow_reference(case):
    secret = bytes.fromhex(case["secret"])
    source = Source(bytes.fromhex(case["source_key"]))
    shares = split(secret, case["threshold"], case["count"], source)
    assert sha256(b"".join(shares)).hexdigest() == case["sha256_of_shares"]
    assert [share.hex() for share in shares] == case.get("shares", [s.hex() for s in shares])
    assert combine(dict(enumerate(shares)), case["threshold"]) == secret


SECRETS = st.integers(0, PRIME - 1) | st.sampled_from([0, 1, PRIME - 1, 2**255])


@given(st.data(), SECRETS, st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_any_threshold_shares_give_the_secret_back(data, value, count):
    threshold = data.draw(st.integers(1, count))
    secret = value.to_bytes(32, "big")
    shares = split(secret, threshold, count, secret_source())
    assert [len(share) for share in shares] == [32] * count
    places = data.draw(st.permutations(range(count)))
    places = places[: data.draw(st.integers(threshold, count))]
    assert combine({place: shares[place] for place in places}, threshold) == secret
    # All shares lie on the polynomial of degree below the threshold through any of them.
    points = points_of(shares, places[:threshold])
    assert [value_at(points, x) for x in range(1, count + 1)] == [number(s) for s in shares]
    assert value_at(points, 0) == value


def test_every_subset_of_threshold_shares_in_any_order():
    shares = split(SEVEN, 3, 6, secret_source())
    for places in permutations(range(6), 3):
        assert combine({place: shares[place] for place in places}, 3) == SEVEN


def test_many_shares_and_far_places():
    shares = split(SEVEN, 3, LARGEST_COUNT, secret_source())
    places = [0, 40_000, LARGEST_COUNT - 1, 77]
    assert combine({place: shares[place] for place in places}, 3) == SEVEN


def test_one_share_less_is_refused_and_says_another_polynomial():
    shares = split(SEVEN, 4, 5, secret_source())
    few = dict(enumerate(shares[:3]))
    with pytest.raises(VerificationError, match="3 shares where the threshold is 4"):
        combine(few, 4)
    assert value_at(points_of(shares, range(3)), 0) != 7
    # The threshold counts shares and not the degree: one less makes these four contradict.
    for count in (4, 5):
        with pytest.raises(VerificationError, match=f"{count} shares do not lie on one polynomial"):
            combine(dict(enumerate(shares[:count])), 3)


def test_no_share_is_the_secret_unless_the_threshold_is_one():
    assert split(SEVEN, 1, 3, secret_source()) == (SEVEN,) * 3
    assert SEVEN not in split(SEVEN, 2, 200, secret_source())


@pytest.mark.parametrize(("threshold", "count"), [(0, 1), (-1, 3), (2, 1), (1, LARGEST_COUNT + 1)])
def test_a_threshold_or_count_out_of_range_is_refused(threshold, count):
    with pytest.raises(VerificationError, match=f"{count} shares with a threshold of {threshold}"):
        split(SEVEN, threshold, count, secret_source())


@pytest.mark.parametrize(
    "secret",
    [bytes(31), bytes(33), b"", PRIME.to_bytes(32, "big"), b"\xff" * 32, "7" * 32, bytearray(32)],
    ids=["31", "33", "empty", "p", "2^256-1", "text", "bytearray"],
)
def test_a_secret_that_is_no_element_is_refused_and_not_shown(secret):
    with pytest.raises(VerificationError, match="a secret that is no integer below") as caught:
        split(secret, 2, 3, secret_source())
    assert "ff" not in str(caught.value)
    assert str(PRIME) not in str(caught.value)


# --- what is drawn -------------------------------------------------------------------------------


def test_numbers_at_the_modulus_or_above_are_thrown_away():
    source = Words(little_endian_words(PRIME, 2**256 - 1, PRIME - 1, 99))
    assert number(draw_secret(source)) == PRIME - 1
    # Two coefficients take two draws, the bad one of which is drawn again.
    source = Words(little_endian_words(5, PRIME, 2))
    shares = split(SEVEN, 3, 3, source)
    assert [number(share) for share in shares] == [7 + 2 * x + 5 * x**2 for x in (1, 2, 3)]
    assert not source.left


def test_a_coefficient_of_zero_is_kept():
    source = Words(little_endian_words(0, 0))
    assert split(SEVEN, 3, 4, source) == (SEVEN,) * 4


def coefficients(shares, threshold):
    """Solve for all coefficients, lowest first, by taking f(0) away and dividing by x."""
    points = points_of(shares, range(threshold))
    found = []
    for _ in range(threshold):
        found.append(value_at(points, 0))
        points = {x: (y - found[-1]) * pow(x, -1, PRIME) % PRIME for x, y in points.items()}
    return found


def test_two_splits_of_one_secret_from_one_source_share_nothing():
    source = seeded_source(0, "splits")
    one, other = (split(SEVEN, 5, 8, source) for _ in range(2))
    assert not set(one) & set(other)
    drawn = [a for shares in (one, other) for a in coefficients(shares, 5)[1:]]
    assert len(set(drawn)) == 8
    assert all(a.bit_length() > 200 for a in drawn)


def test_drawn_secrets_are_new_each_time_and_can_be_split():
    source = secret_source()
    secrets = [draw_secret(source) for _ in range(20)]
    assert len(set(secrets)) == 20
    assert all(combine(dict(enumerate(split(s, 2, 2, source))), 2) == s for s in secrets)


# --- secrecy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_fewer_shares_say_exactly_nothing_in_a_field_of_seven(monkeypatch, threshold):
    """All polynomials of all secrets: every view of threshold - 1 shares is equally frequent."""
    monkeypatch.setattr(shamir, "PRIME", 7)
    for places in combinations(range(5), threshold - 1):
        for secret in range(7):
            views = Counter(
                tuple(number(shares[place]) for place in places)
                for drawn in product(range(7), repeat=threshold - 1)
                for shares in [
                    split(
                        secret.to_bytes(32, "big"), threshold, 5, Words(little_endian_words(*drawn))
                    )
                ]
            )
            assert len(views) == 7 ** (threshold - 1)
            assert set(views.values()) == {1}


def test_every_other_secret_fits_the_shares_of_too_few_in_one_way():
    shares = split(SEVEN, 4, 6, secret_source())
    known = points_of(shares, [0, 2, 5])
    for secret in (0, 1, 8, PRIME - 1):
        # With f(0) there are four points, and these have one polynomial: here are its shares.
        other = [value_at(known | {0: secret}, x).to_bytes(32, "big") for x in range(1, 7)]
        assert [other[i] for i in (0, 2, 5)] == [shares[i] for i in (0, 2, 5)]
        assert number(combine(dict(enumerate(other)), 4)) == secret


def looks_uniform(shares):
    """Chi-square of the first and last byte, and of the first against that of the next place."""
    first, second = np.array(shares)[:, 0], np.array(shares)[:, 1]
    views = [[s[0] for s in first], [s[31] for s in first], [s[0] for s in second]]
    both = [(a[0] >> 4) << 4 | b[0] >> 4 for a, b in zip(first, second, strict=True)]
    chances = [
        stats.chisquare(np.bincount(np.array(view, np.uint8), minlength=256)).pvalue
        for view in (*views, both)
    ]
    return min(chances) > 1e-6


WRONG_SAMPLERS = {
    "none": lambda source, count: [0] * count,
    "one for all": lambda source, count: [int(source.words(1)[0]) * 2**192 % PRIME] * count,
    "32 bits": lambda source, count: [int(w) >> 32 for w in source.words(count)],
    "255 bits": lambda source, count: [a >> 1 for a in RIGHT_SAMPLER(source, count)],
    "the same each time": lambda source, count: RIGHT_SAMPLER(seeded_source(4), count),
}
RIGHT_SAMPLER = shamir._elements


@pytest.mark.parametrize("wrong", [None, *WRONG_SAMPLERS])
def test_shares_of_a_fixed_secret_are_uniform_and_those_of_a_wrong_sampler_are_not(
    monkeypatch, wrong
):
    monkeypatch.setattr(shamir, "_elements", WRONG_SAMPLERS.get(wrong, RIGHT_SAMPLER))
    source = seeded_source(3, "uniform")
    shares = [split(SEVEN, 3, 3, source)[:2] for _ in range(6000)]
    shares = [[np.frombuffer(s, np.uint8) for s in pair] for pair in shares]
    assert looks_uniform(shares) == (wrong is None)


# --- shares from somebody else -------------------------------------------------------------------


@pytest.mark.parametrize("place", [-1, LARGEST_COUNT, PRIME - 1, 0.5, "0", None])
def test_a_place_that_is_none_is_refused(place):
    shares = split(SEVEN, 2, 3, secret_source())
    given_shares = {0: shares[0], 1: shares[1]}
    with pytest.raises(VerificationError, match="a share at place"):
        combine({**given_shares, place: shares[2]}, 2)
    with pytest.raises(VerificationError, match="a share at place"):
        wrong_places({**given_shares, place: shares[2]}, 2)


def test_a_numpy_integer_is_a_place():
    shares = split(SEVEN, 2, 3, secret_source())
    assert combine({np.int64(2): shares[2], np.uint16(0): shares[0]}, 2) == SEVEN


@pytest.mark.parametrize("share", [b"\xee" * 31, b"\xee" * 33, b"\xff" * 32, "\xee" * 32, None, 7])
def test_a_share_that_is_no_element_is_refused_by_place_and_not_shown(share):
    shares = split(SEVEN, 2, 3, secret_source())
    with pytest.raises(VerificationError, match="a share at place 1 that is no integer") as caught:
        combine({0: shares[0], 1: share}, 2)
    shown = str(caught.value)
    assert not any(secret in shown for secret in ("ee", "ff", r"\x", shares[0].hex()))


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_of_nothing_is_refused(threshold):
    with pytest.raises(VerificationError, match="at least as many shares"):
        combine({}, threshold)
    with pytest.raises(VerificationError, match="at least as many shares"):
        combine({0: SEVEN}, threshold)


@given(st.data(), st.integers(1, 6), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_wrong_shares_are_never_overlooked_and_named_where_that_can_be_told(data, threshold, extra):
    count = threshold + extra
    wrong = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=extra))
    places = data.draw(
        st.lists(st.integers(0, 60), min_size=count, max_size=count, unique=True).map(sorted)
    )
    shares = split(SEVEN, threshold, 61, secret_source())
    sent = {place: shares[place] for place in places}
    lies = sorted(places[i] for i in wrong)
    for place in lies:
        sent[place] = draw_secret(secret_source())
    sent = {place: sent[place] for place in data.draw(st.permutations(places))}
    told = tuple(lies) if 2 * len(lies) <= extra else None
    assert wrong_places(sent, threshold) == told
    named = f"wrong: {', '.join(map(str, lies))}" if told else "which ones cannot be told"
    with pytest.raises(VerificationError, match=f"polynomial .*{named}\\.") as caught:
        combine(sent, threshold)
    assert not any(share.hex() in str(caught.value) for share in sent.values())


def test_nothing_is_wrong_with_right_shares():
    shares = split(SEVEN, 3, 5, secret_source())
    assert wrong_places(dict(enumerate(shares)), 3) == ()
    assert wrong_places(dict(enumerate(shares[:3])), 3) == ()


@pytest.mark.parametrize("values", [(0, 0, 0, 0, 0), (5, 5, 5, 5, 5), (3, 6, 9, 12, 15)])
def test_polynomials_of_a_low_degree_are_found_too(values):
    sent = {place: value.to_bytes(32, "big") for place, value in enumerate(values)}
    assert wrong_places({**sent, 2: SEVEN}, 3) == (2,)
    assert number(combine(sent, 3)) == 2 * values[0] - values[1]


def test_a_majority_on_another_polynomial_makes_the_others_look_wrong():
    one, other = (split(SEVEN, 2, 6, secret_source()) for _ in range(2))
    sent = dict(enumerate((*other[:4], *one[4:])))
    assert wrong_places(sent, 2) == (4, 5)
    # Three against three leaves it open.
    assert wrong_places(dict(enumerate((*other[:3], *one[3:]))), 2) is None


def test_one_wrong_share_in_exactly_enough_gives_a_wrong_secret():
    shares = split(SEVEN, 2, 3, secret_source())
    assert combine({0: shares[0], 1: shares[2]}, 2) != SEVEN
