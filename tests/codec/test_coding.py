"""Vectors as integers and their sums as vectors: exact references, boundaries, means and bounds."""

from __future__ import annotations

import json
import math
import tracemalloc
from fractions import Fraction
from pathlib import Path

import coding_reference as reference
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sottovoce.codec.coding import (
    Coding,
    add,
    close,
    default_bits,
    open_sum,
    quantise,
    rounded_norm,
    rounded_norm_bound,
)
from sottovoce.codec.fixed_point import WEIGHT_LIMIT
from sottovoce.codec.rotation import rotate, unrotate
from sottovoce.codec.wire import pack, unpack
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.privacy import skellam
from sottovoce.rng import Source, seeded_source

SEED = bytes(range(32))
VECTORS = Path(__file__).parents[1] / "vectors" / "coding.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]


def drawn(size, norm, seed=0):
    """A vector of this norm."""
    vector = np.random.default_rng([seed, size]).standard_normal(size)
    return (vector * (norm / np.linalg.norm(vector))).astype(np.float32)


def written(vector, coding, seed=0, weight=1, heaviest=1, **options):
    return quantise(
        vector,
        coding,
        weight=weight,
        heaviest=heaviest,
        rotation_seed=SEED,
        rounding=seeded_source(seed, "rounding"),
        **options,
    )


def length(steps):
    return math.sqrt(sum(int(step) ** 2 for step in steps))


# --- bit for bit ---------------------------------------------------------------------------------


def test_the_published_vectors_are_what_the_reference_makes():
    assert reference.cases() == CASES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_published_vectors_hold_bit_for_bit(case):
    coding = Coding(case["size"], case["clip_norm"], case["clients"], case["bits"])
    shared = {"heaviest": case["heaviest"], "rotation_seed": bytes.fromhex(case["rotation_seed"])}
    total = np.zeros(coding.length, coding.dtype)
    for upload in case["uploads"]:
        source = Source(bytes.fromhex(upload["rounding_key"]))
        vector = np.array(upload["vector"], np.float32)
        quantised = quantise(vector, coding, weight=upload["weight"], rounding=source, **shared)
        assert quantised.steps.tolist() == upload["steps"]
        assert not quantised.shrunk
        words = close(quantised.steps, coding, weight=upload["weight"])
        assert words.tolist() == upload["words"]
        wire = pack(words, coding.bits)
        assert wire.hex() == upload["wire"]
        add(total, unpack(wire, coding.bits, coding.length))
    decoded = open_sum(total, coding, **shared)
    assert (total & (2**coding.bits - 1)).tolist() == case["total"]
    assert decoded.vector.tolist() == case["decoded"]
    assert (decoded.weight, decoded.count) == (case["weight"], case["count"])


@given(
    st.integers(8, 32),
    st.sampled_from([1, 4, 7, 16, 19, 31]),
    st.lists(st.integers(0, 2**20), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_a_sum_in_any_order_is_the_sum_of_big_integers(bits, size, weights, order):
    coding = Coding(size, 3.0, 10, bits)
    heaviest = max(*weights, 1)
    steps = [
        written(drawn(size, 2.9, k), coding, seed=k, weight=w, heaviest=heaviest).steps
        for k, w in enumerate(weights)
    ]
    uploads = [close(own, coding, weight=w) for own, w in zip(steps, weights, strict=True)]
    expected = reference.add(
        [
            reference.seal(own.tolist(), bits=bits, clients=10, weight=w)
            for own, w in zip(steps, weights, strict=True)
        ],
        bits,
    )
    order.shuffle(uploads)
    total = np.zeros(coding.length, coding.dtype)
    for words in uploads:
        add(total, words)
    assert (total & (2**bits - 1)).tolist() == expected
    kept = total.copy()
    decoded = open_sum(total, coding, rotation_seed=SEED, heaviest=heaviest)
    assert np.array_equal(total, kept)
    # The signed total, entry by entry, is what was added, and is only turned back.
    signed = reference.signed(expected[:size], bits)
    assert signed == np.sum(steps, axis=0, dtype=np.int64).tolist()
    exact = reference.unrotate([Fraction(x) / Fraction(coding.scale) for x in signed], SEED)
    error = np.array([float(a - Fraction(float(b))) for a, b in zip(exact, decoded.vector)])  # noqa: B905
    assert np.abs(error).max() <= 2**-19 * length(signed) / coding.scale
    assert (decoded.weight, decoded.count) == (sum(weights), len(weights))


# --- the error -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "bits"), [(3000, 16), (3000, 20), (5000, 12), (2000, 32)])
def test_the_error_of_a_sum_is_what_is_stated(size, bits):
    coding = Coding(size, 0.5, 20, bits)
    weights = [4, 4, 1, 3, 2, 4]
    total = np.zeros(coding.length, coding.dtype)
    exact = np.zeros(size)
    for k, weight in enumerate(weights):
        # Some within the bound, some to be clipped.
        vector = drawn(size, 0.2 + 0.1 * k, seed=k)
        exact += weight / 4 * vector * min(1.0, 0.5 / np.linalg.norm(vector.astype(float)))
        quantised = written(vector, coding, seed=k, weight=weight, heaviest=4)
        assert not quantised.shrunk
        add(total, close(quantised.steps, coding, weight=weight))
    decoded = open_sum(total, coding, rotation_seed=SEED, heaviest=4)
    error = decoded.vector - exact
    clients = len(weights)
    floating = 2**-18 * clients * 0.5
    assert np.linalg.norm(error) <= math.sqrt(size) * clients / coding.scale + floating
    deviation = math.sqrt(clients) / (2 * coding.scale)
    assert error.std() <= 1.05 * deviation + floating
    assert abs(error.mean()) <= 5 * deviation / math.sqrt(size) + floating
    if bits < 32:
        # The bound is no idle one: a uniform error has 0.82 of the deviation.
        assert error.std() >= 0.7 * deviation
    assert (decoded.weight, decoded.count) == (18, 6)


def test_the_mean_of_the_steps_is_the_value_and_other_roundings_are_told():
    coding = Coding(2**17, 1.0, 10, 16)
    # Three tenths of a step in every entry once it is rotated.
    vector = unrotate(np.full(2**17, 0.3 / coding.scale, np.float32), SEED)
    steps = written(vector, coding).steps
    assert set(np.unique(steps)) == {0, 1}

    def leans(rounded):
        deviation = math.sqrt(0.3 * 0.7 / rounded.size)
        return abs(rounded.mean() - 0.3) > 5 * deviation

    assert not leans(steps)
    values = rotate(vector, SEED) * coding.scale
    assert leans(np.floor(values))
    assert leans(np.rint(values))
    assert leans(np.floor(values + np.random.default_rng(0).integers(0, 8, values.size) / 8))


def test_the_roundings_of_two_clients_differ():
    coding = Coding(4096, 1.0, 10, 16)
    one, other = (written(drawn(4096, 0.5), coding, seed=k).steps for k in (1, 2))
    assert 0.2 < (one != other).mean() < 0.5
    assert np.array_equal(one, written(drawn(4096, 0.5), coding, seed=1).steps)


# --- clipping, weights, rotation -----------------------------------------------------------------


def alone(vector, coding, weight=1, heaviest=1):
    steps = written(vector, coding, weight=weight, heaviest=heaviest).steps
    words = close(steps, coding, weight=weight)
    return open_sum(words, coding, rotation_seed=SEED, heaviest=heaviest).vector


def test_a_vector_is_clipped_to_the_norm_and_not_below_it():
    coding = Coding(2000, 1.0, 2, 24)
    for norm, expected in ((0.25, 0.25), (0.999, 0.999), (1.0, 1.0), (7.0, 1.0), (1e30, 1.0)):
        vector = drawn(2000, norm)
        back = alone(vector, coding)
        assert np.linalg.norm(back) == pytest.approx(expected, rel=2e-5)
        np.testing.assert_allclose(back, vector / norm * expected, atol=4e-6)


def test_entries_near_the_ends_of_float32_are_clipped_without_overflow():
    coding = Coding(2000, 1.0, 2, 24)
    vector = np.full(2000, np.finfo(np.float32).max, np.float32)
    np.testing.assert_allclose(alone(vector, coding), np.full(2000, 2000**-0.5), atol=4e-6)
    assert not alone(np.full(2000, 1e-45, np.float32), coding).any()
    for clip_norm in (1e-20, 1e20):
        coding = Coding(2000, clip_norm, 2, 24)
        vector = drawn(2000, clip_norm / 2)
        np.testing.assert_allclose(alone(vector, coding) / clip_norm, vector / clip_norm, atol=4e-6)


def test_weights_scale_and_add_up():
    coding = Coding(2000, 1.0, 2, 24)
    vector = drawn(2000, 0.9)
    for weight in (1, 250, 1000):
        back = alone(vector, coding, weight, 1000)
        np.testing.assert_allclose(back, vector * (weight / 1000), atol=4e-6)
    assert not written(vector, coding, weight=0, heaviest=5).steps.any()


@pytest.mark.parametrize(
    ("weight", "heaviest"), [(5, 4), (-1, 4), (0, 0), (1, WEIGHT_LIMIT), (0.5, 1), (1, 1.0)]
)
def test_a_weight_above_the_heaviest_is_refused(weight, heaviest):
    with pytest.raises(VerificationError, match="heaviest"):
        written(drawn(4, 1.0), Coding(4, 1.0, 2, 16), weight=weight, heaviest=heaviest)


def test_another_rotation_seed_does_not_give_the_vector():
    coding = Coding(5000, 1.0, 2, 16)
    vector = drawn(5000, 1.0)
    words = close(written(vector, coding).steps, coding, weight=1)
    right = open_sum(words, coding, rotation_seed=SEED, heaviest=1).vector
    wrong = open_sum(words, coding, rotation_seed=bytes(32), heaviest=1).vector
    assert np.corrcoef(vector, right)[0, 1] > 0.999
    assert abs(np.corrcoef(vector, wrong)[0, 1]) < 5 / math.sqrt(5000)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 99_999])
def test_a_vector_that_is_not_finite_is_refused(bad, place):
    vector = np.zeros(100_000, np.float32)
    vector[place] = bad
    with pytest.raises(VerificationError, match="not finite"):
        written(vector, Coding(100_000, 1.0, 2, 16))


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(5, np.float32), np.zeros((2, 2), np.float32), np.zeros(4), np.zeros(4, np.int32)],
    ids=["longer", "matrix", "float64", "int32"],
)
def test_only_a_float32_vector_of_the_size_is_written(wrong):
    with pytest.raises(VerificationError, match=r"float32 of shape \(4,\)"):
        written(wrong, Coding(4, 1.0, 2, 16))


def test_quantising_leaves_the_vector_as_it_was():
    vector = drawn(1000, 3.0)
    kept = vector.copy()
    written(vector, Coding(1000, 1.0, 2, 16))
    assert np.array_equal(vector, kept)


# --- the limit -----------------------------------------------------------------------------------


def piled(size, norm):
    """A vector that the rotation gathers in one entry."""
    return unrotate(np.eye(1, size, size - 1, dtype=np.float32)[0] * np.float32(norm), SEED)


@pytest.mark.parametrize(("clients", "bits"), [(10, 16), (1000, 20), (2, 32), (100, 8)])
def test_an_entry_beyond_the_limit_shrinks_the_whole_vector_and_says_so(clients, bits):
    coding = Coding(4096, 1.0, clients, bits)
    vector = piled(4096, 1.0)
    quantised = written(vector, coding)
    assert quantised.shrunk
    # Its one entry is eight standard deviations of 1/64, where it would be 64 of them.
    assert coding.limit * (1 - 2**-21) - 1 <= np.abs(quantised.steps).max() <= coding.limit
    back = alone(vector, coding)
    assert np.linalg.norm(back) == pytest.approx(1 / 8, rel=2.5 / coding.limit + 0.1)
    mixed = (vector + drawn(4096, 0.5)) / 2
    shrunk = written(mixed, coding).steps.astype(float)
    rotated = rotate(mixed, SEED).astype(float)
    factor = coding.limit / np.abs(rotated).max()
    assert np.abs(shrunk - factor * rotated).max() <= 1 + 1e-5 * coding.limit


@pytest.mark.parametrize("sign", [1, -1])
def test_a_vector_that_fits_is_not_shrunk_whatever_its_sign(sign):
    one = Coding(1, 3276 / 256, 10, 16)
    just = written(np.full(1, sign * one.clip_norm, np.float32), one)
    # Exactly at the limit.
    assert not just.shrunk
    assert np.abs(just.steps).tolist() == [one.limit]
    coding = Coding(4096, 1.0, 10, 16)
    assert written(piled(4096, sign * 0.1251), coding).shrunk
    assert not written(piled(4096, sign * 0.1249), coding).shrunk


def test_a_full_vector_is_hardly_ever_shrunk():
    coding = Coding(4096, 1.0, 10, 16)
    assert not any(written(drawn(4096, 1.0, k), coding).shrunk for k in range(20))


@given(st.integers(1, 2**18), st.integers(8, 32))
def test_the_limit_is_the_largest_that_cannot_wrap(clients, bits):
    most = 2 ** (bits - 1) - 1
    if clients > most:
        with pytest.raises(ConfigError, match="no room"):
            Coding(10, 1.0, clients, bits)
    else:
        coding = Coding(10, 1.0, clients, bits)
        assert coding.limit * clients <= most < (coding.limit + 1) * clients
        assert coding.limit == reference.limit(bits, clients)
        assert coding.wrap_log2 == -math.inf


@pytest.mark.parametrize(("clients", "bits"), [(7, 16), (31, 16), (41, 21), (127, 8), (1, 32)])
def test_all_clients_at_the_limit_do_not_wrap_and_one_step_more_does(clients, bits):
    coding = Coding(16, 1.0, clients, bits)
    # These numbers of clients use the room to the last step.
    assert clients * coding.limit == 2 ** (bits - 1) - 1
    for sign in (1, -1):
        steps = np.full(16, sign * coding.limit, np.int64)
        total = np.zeros(coding.length, coding.dtype)
        for _ in range(clients):
            add(total, close(steps, coding, weight=1))
        back = open_sum(total, coding, rotation_seed=SEED, heaviest=1).vector
        most = np.full(16, sign * clients * coding.limit / coding.scale)
        np.testing.assert_allclose(rotate(back, SEED), most, rtol=1e-6)
    total = np.zeros(coding.length, coding.dtype)
    steps = np.full(16, coding.limit, np.int64)
    for _ in range(clients - 1):
        add(total, close(steps, coding, weight=1))
    add(total, close(steps + 1, coding, weight=1))
    with pytest.raises(VerificationError, match="an entry beyond what"):
        open_sum(total, coding, rotation_seed=SEED, heaviest=1)


def test_an_entry_beyond_what_the_counted_clients_can_send_is_refused():
    coding = Coding(70_000, 1.0, 10, 16)
    for place in (0, 69_999):
        for sign in (1, -1):
            steps = np.zeros(70_000, np.int32)
            steps[place] = sign * 2 * coding.limit
            fine = close(steps, coding, weight=1, count=2)
            open_sum(fine, coding, rotation_seed=SEED, heaviest=1)
            steps[place] += sign
            wrong = close(steps, coding, weight=1, count=2)
            with pytest.raises(VerificationError, match="beyond what 2 clients can send"):
                open_sum(wrong, coding, rotation_seed=SEED, heaviest=1)


# --- noise ---------------------------------------------------------------------------------------

NOISY = [
    Coding(10**6, 1.0, 100, 16, noise_std=0.5, rounds=100),
    Coding(10**6, 1.0, 1000, 20, noise_std=1.0, rounds=50),
    Coding(50, 2.0, 3, 8, noise_std=0.1, rounds=7),
    Coding(10**7, 0.1, 50, 32, noise_std=3.0),
    Coding(50, 2.0, 3, 8, noise_std=0.02, rounds=7),
]


def tail(coding, limit, *, skellam_too=True):
    """log2 of the chance that noise passes what the clients leave, anywhere in a run."""
    scale = limit / (coding.clip_norm * min(1.0, 8 / math.sqrt(coding.block)))
    std = coding.noise_std * scale
    room = 2 ** (coding.bits - 1) - coding.clients * limit
    chance = stats.norm.logsf((room - 0.5) / std) / math.log(2)
    if skellam_too and std < 10:
        # A Skellam's tail is the wider one, and seen where the noise is few steps wide.
        with mpmath.workdps(60):
            masses = [mpmath.besseli(k, std**2) for k in range(room, room + 300)]
            chance = float(mpmath.log(mpmath.exp(-(std**2)) * mpmath.fsum(masses), 2))
    return chance + 1 + math.log2(coding.size * coding.rounds)


@pytest.mark.parametrize("coding", NOISY, ids=str)
def test_noise_leaves_a_limit_with_which_a_wrap_is_rarer_than_stated(coding):
    assert tail(coding, coding.limit) <= coding.wrap_log2 <= -30
    assert coding.limit < Coding(coding.size, coding.clip_norm, coding.clients, coding.bits).limit


@pytest.mark.parametrize("coding", NOISY, ids=str)
def test_the_limit_with_noise_is_no_smaller_than_it_must_be(coding):
    # Chernoff's bound is above the tail itself, here by less than 2^7.
    assert tail(coding, coding.limit + 1) > -37


@pytest.mark.parametrize("coding", NOISY, ids=str)
def test_the_chance_of_a_wrap_is_chernoffs_for_skellam_noise(coding):
    room = 2 ** (coding.bits - 1) - coding.clients * coding.limit
    with mpmath.workdps(60):
        mu = (mpmath.mpf(coding.noise_std) * coding.scale) ** 2
        # The generating function exp(μ·(cosh t - 1)) over exp(t·room), at its best t.
        t = mpmath.asinh(room / mu)
        chance = mpmath.exp(mu * (mpmath.cosh(t) - 1) - t * room)
        expected = float(mpmath.log(2 * coding.size * coding.rounds * chance, 2))
    assert coding.wrap_log2 == pytest.approx(expected, abs=1e-6)


def test_the_bound_covers_the_wider_tail_of_skellam_noise():
    coding = NOISY[-1]
    assert 0.2 < coding.noise_std * coding.scale < 1.0
    # Gaussian noise of this size would leave more room.
    assert tail(coding, coding.limit, skellam_too=False) < coding.wrap_log2 - 10


def test_more_rounds_or_entries_leave_less():
    few = Coding(10**6, 1.0, 100, 16, noise_std=0.5)
    assert Coding(10**6, 1.0, 100, 16, noise_std=0.5, rounds=10**6).limit < few.limit
    assert Coding(2**19, 1.0, 100, 16, noise_std=0.5).limit >= few.limit
    assert Coding(10**6, 1.0, 200, 16, noise_std=0.5).limit < few.limit


def test_noise_comes_through_at_its_size():
    coding = Coding(20_000, 1.0, 4, 20, noise_std=0.05)
    total = np.zeros(coding.length, coding.dtype)
    for k in range(4):
        share = skellam.sample((0.05 * coding.scale) ** 2 / 4, 20_000, seeded_source(9, k))
        own = written(drawn(20_000, 1.0), coding, seed=k).steps + share
        add(total, close(own, coding, weight=1))
    decoded = open_sum(total, coding, rotation_seed=SEED, heaviest=1)
    noise = decoded.vector - 4 * drawn(20_000, 1.0)
    # Five standard deviations of a standard deviation.
    assert noise.std() == pytest.approx(0.05, rel=5 / math.sqrt(2 * 20_000))


def test_noise_may_carry_an_entry_beyond_what_clients_can_send():
    coding = Coding(100, 1.0, 4, 20, noise_std=0.5)
    steps = np.zeros(100, np.int64)
    steps[3] = coding.limit + 1
    decoded = open_sum(close(steps, coding, weight=1), coding, rotation_seed=SEED, heaviest=1)
    assert np.linalg.norm(decoded.vector) == pytest.approx((coding.limit + 1) / coding.scale)


# --- the norm of the integers --------------------------------------------------------------------


@given(st.integers(1, 400), st.sampled_from([8, 12, 16, 32]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_one_client_more_moves_the_sum_by_no_more_than_the_bound(size, bits, seed):
    coding = Coding(size, 1.0, 10, bits)
    others = [written(drawn(size, 2.0, seed + k), coding, seed=k).steps for k in range(3)]
    one = written(drawn(size, 3.0, seed), coding, seed=seed).steps
    moved = np.sum([*others, one], axis=0) - np.sum(others, axis=0)
    assert length(moved) <= coding.scale * (1 + 2**-18) + math.sqrt(size)
    limit = rounded_norm_bound(coding)
    bounded = written(drawn(size, 3.0, seed), coding, seed=seed, norm_limit=limit).steps
    assert length(bounded) <= limit


def test_the_rounding_is_drawn_until_the_norm_is_met():
    coding = Coding(1000, 1.0, 100, 12)
    vector = drawn(1000, 1.0)
    free = [length(written(vector, coding, seed=k).steps) for k in range(60)]
    middle = float(np.median(free))
    assert sum(norm > middle for norm in free) > 20
    assert all(
        length(written(vector, coding, seed=k, norm_limit=middle).steps) <= middle
        for k in range(60)
    )


def test_a_norm_that_no_rounding_meets_is_refused():
    coding = Coding(1000, 1.0, 100, 12)
    with pytest.raises(VerificationError, match="no rounding of 100"):
        written(drawn(1000, 1.0), coding, norm_limit=0.9 * coding.scale)
    assert not written(np.zeros(1000, np.float32), coding, norm_limit=0.0).steps.any()


def test_float32_does_not_use_up_the_room_of_the_bound():
    # With 32 bits the room for rounding is far below what float32 adds to a norm.
    coding = Coding(5000, 1.0, 2, 32)
    for k in range(20):
        written(drawn(5000, 5.0, k), coding, seed=k, norm_limit=rounded_norm_bound(coding))


def test_a_draw_meets_the_published_bound_as_often_as_it_says():
    coding = Coding(500, 1.0, 100, 12)
    limit = rounded_norm_bound(coding)
    norms = [length(written(drawn(500, 1.0, k), coding, seed=k).steps) for k in range(200)]
    assert np.mean(np.array(norms) <= limit) >= 1 - math.exp(-0.5)
    assert max(norms) > limit * 0.95


# anchors, section 4.2: Rényi divergence of Skellam noise of multiplier 1 at order 16 over that of
# continuous Gaussian noise, by entries, clients, and 14, 16, 18 and 20 bits.
OVERHEAD = [
    (10**6, 100, (1.06, 1.00, 1.00, 1.00)),
    (10**6, 10_000, (7.0, 1.38, 1.02, 1.00)),
    (10**7, 100, (1.60, 1.04, 1.00, 1.00)),
    (10**7, 1000, (1.66, 1.04, 1.00, 1.00)),
    (5 * 10**7, 1000, (4.0, 1.19, 1.01, 1.00)),
    (5 * 10**7, 10_000, (10, 1.56, 1.03, 1.00)),
]


@pytest.mark.parametrize(("size", "clients", "expected"), OVERHEAD)
def test_the_growth_of_the_norm_gives_the_table_of_overheads(size, clients, expected):
    for bits, overhead in zip((14, 16, 18, 20), expected, strict=True):
        # The published scale for noise of standard deviation 1 in all, at four deviations.
        room = math.sqrt(4.0**bits - clients * 16)
        scale = room / (8 * math.sqrt(clients**2 / size + 1))
        l2 = rounded_norm(scale, size)
        l1 = l2 * min(math.sqrt(size), l2)
        ratio = skellam.renyi(16, scale**2, l1=l1, l2=l2) / 8
        assert float(f"{ratio:.3g}") == pytest.approx(overhead, abs=0.0051 if ratio < 3 else 0.051)


def test_the_bound_of_the_coding_is_the_bound_at_its_scale():
    coding = Coding(1000, 0.5, 10, 16)
    assert rounded_norm_bound(coding) == rounded_norm(coding.scale * 0.5, 1000)
    # For few entries the certain bound is the smaller one.
    assert rounded_norm(0.1, 1) == pytest.approx(math.sqrt(0.01 + 0.25 + 0.1 + 0.5))
    assert rounded_norm(0.0, 1) == pytest.approx(math.sqrt(0.75))
    assert rounded_norm(0.25, 0) == 0.25


# --- closing, adding, opening --------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(5, np.int32), np.zeros((2, 2), np.int32), np.zeros(4), np.zeros(4, np.uint16)],
    ids=["longer", "matrix", "float64", "unsigned"],
)
def test_only_signed_steps_of_the_size_are_closed(wrong):
    with pytest.raises(VerificationError, match="signed integers"):
        close(wrong, Coding(4, 1.0, 2, 16), weight=1)


def test_what_is_closed_has_a_weight_and_a_count_of_the_cohort():
    coding = Coding(4, 1.0, 2, 16)
    for weight, count in ((-1, 1), (WEIGHT_LIMIT, 1), (1, 0), (1, 3)):
        with pytest.raises(VerificationError):
            close(np.zeros(4, np.int32), coding, weight=weight, count=count)


def test_only_words_of_one_type_and_length_are_added():
    total = np.zeros(8, np.uint16)
    for wrong in (np.ones(8, np.uint32), np.ones(1, np.uint16), np.ones((1, 8), np.uint16)):
        with pytest.raises(VerificationError, match="uint16 of shape"):
            add(total, wrong)
    assert not total.any()
    words = np.full(8, 2**16 - 1, np.uint16)
    add(total, words)
    add(total, words)
    assert set(total.tolist()) == {2**16 - 2}
    assert set(words.tolist()) == {2**16 - 1}


def test_words_of_another_coding_are_not_opened():
    coding = Coding(40, 1.0, 2, 16)
    words = close(np.zeros(40, np.int32), coding, weight=1)
    for wrong in (words[:-1], words.astype(np.uint32), words.reshape(1, -1)):
        with pytest.raises(VerificationError, match="uint16 of shape"):
            open_sum(wrong, coding, rotation_seed=SEED, heaviest=1)
    with pytest.raises(VerificationError, match="heaviest"):
        open_sum(words, coding, rotation_seed=SEED, heaviest=0)


@pytest.mark.parametrize("bits", [12, 16, 20, 32])
def test_a_sum_with_a_mask_left_in_it_is_not_opened(bits):
    coding = Coding(1000, 1.0, 5, bits)
    words = close(written(drawn(1000, 1.0), coding).steps, coding, weight=1)
    mask = np.random.default_rng(bits).integers(0, 2**bits, words.size).astype(words.dtype)
    masked = words + mask
    with pytest.raises(VerificationError, match="checksum"):
        open_sum(masked, coding, rotation_seed=SEED, heaviest=1)
    masked -= mask
    assert open_sum(masked, coding, rotation_seed=SEED, heaviest=1).count == 1


def test_opening_takes_one_vector_and_some_chunks():
    coding = Coding(10**6, 1.0, 5, 16)
    words = close(np.ones(10**6, np.int32), coding, weight=1)
    tracemalloc.start()
    decoded = open_sum(words, coding, rotation_seed=SEED, heaviest=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= decoded.vector.nbytes + 1.5e6


def test_nothing_private_is_printed():
    coding = Coding(4, 1.0, 2, 16)
    quantised = written(drawn(4, 1.0), coding)
    assert repr(quantised) == "Quantised(shrunk=False)"
    words = close(quantised.steps, coding, weight=1)
    decoded = open_sum(words, coding, rotation_seed=SEED, heaviest=1)
    assert repr(decoded) == "Decoded(weight=1, count=1)"


# --- what a cohort may agree on ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "1 or more of each"),
        ({"clients": 0}, "1 or more of each"),
        ({"rounds": 0}, "1 or more of each"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"clip_norm": -1.0}, "clip_norm"),
        ({"clip_norm": 2e20}, "clip_norm"),
        ({"clip_norm": 9e-21}, "clip_norm"),
        ({"clip_norm": math.nan}, "clip_norm"),
        ({"clip_norm": math.inf}, "clip_norm"),
        ({"bits": 7}, "8 to 32"),
        ({"bits": 33}, "8 to 32"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"noise_std": math.nan}, "noise_std"),
        ({"noise_std": math.inf}, "noise_std"),
        ({"noise_std": 1e-41}, "noise_std"),
        ({"clients": 2**15}, "16 bits leave no room for 32768 clients. Take more bits"),
        ({"noise_std": 1e6}, r"16 bits leave no room for 10 clients and noise of 1e\+06"),
    ],
)
def test_a_contradiction_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Coding(**({"size": 10, "clip_norm": 1.0, "clients": 10, "bits": 16} | change))


@pytest.mark.parametrize("noise_std", [1e-40, 1e-10, 1e-3])
def test_any_noise_however_small_has_a_limit(noise_std):
    assert Coding(10, 1.0, 10, 16, noise_std=noise_std).limit >= 1


def test_the_largest_step_is_eight_deviations_or_the_clip_norm():
    coding = Coding(10**6, 0.25, 10, 16)
    assert coding.block == 2**19
    assert coding.limit / coding.scale == pytest.approx(8 * 0.25 / math.sqrt(2**19))
    assert Coding(63, 0.25, 10, 16).scale == 3276 / 0.25


def test_words_are_16_bits_up_to_a_thousand_clients():
    assert [default_bits(n) for n in (2, 1000, 1001, 100_000)] == [16, 16, 20, 20]
    assert Coding(10, 1.0, 2, 16).dtype == np.uint16
    assert Coding(10, 1.0, 2, 17).dtype == np.uint32
    coding = Coding(10**6, 1.0, 1000, 16)
    assert coding.length * 2 / 10**6 < 2.05
