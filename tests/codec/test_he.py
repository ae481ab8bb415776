"""Homomorphic sums, against the integers, and against bytes from anywhere."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from functools import cache
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sottovoce.codec import bfv, he
from sottovoce.codec.coding import Coding, add, close, open_sum, quantise
from sottovoce.errors import ConfigError, MissingExtraError, VerificationError
from sottovoce.rng import secret_source

zstandard = pytest.importorskip("zstandard")

N = 4096
HEAD = he.PUBLIC_BYTES + 4


@pytest.fixture(scope="module")
def ts():
    return pytest.importorskip("tenseal")


@cache
def keys_for(bits, clients, length):
    return he.make_keys(bits, clients, length)


def words_of(bits, length, seed=0):
    kind = np.uint16 if bits <= 16 else np.uint32
    return np.random.default_rng(seed).integers(0, 2**bits, length).astype(kind)


def sum_of(uploads, parameters):
    total = he.Total(parameters)
    for place, upload in enumerate(uploads):
        total = he.add(total, upload, client=f"c{place}")
    return total


@pytest.fixture(scope="module")
def keys(ts):
    return keys_for(16, 3, 5000)


@pytest.fixture(scope="module")
def words():
    return words_of(16, 5000)


@pytest.fixture(scope="module")
def upload(keys, words):
    return he.encrypt(words, keys)


@pytest.fixture(scope="module")
def total(keys, upload):
    return he.add(he.Total(keys.parameters), upload, client="oslo")


# What comes out.


@pytest.mark.parametrize(
    ("bits", "clients", "length"),
    [(8, 2, 1), (16, 10, 4091), (16, 3, 4092), (20, 5, 4096), (32, 4, 9000), (17, 1, 4097)],
)
def test_the_words_are_the_integer_sum_bit_for_bit(ts, bits, clients, length):
    keys = keys_for(bits, clients, length)
    vectors = [words_of(bits, length, seed) for seed in range(clients)]
    total = sum_of([he.encrypt(vector, keys) for vector in vectors], keys.parameters)
    got = he.decrypt(he.write(total), keys, clients=clients)
    wanted = [
        sum(column) % 2**bits for column in zip(*map(np.ndarray.tolist, vectors), strict=True)
    ]
    assert got.tolist() == wanted
    assert got.dtype == vectors[0].dtype


@pytest.mark.parametrize("few", [1, 2])
def test_a_sum_may_have_fewer_clients(keys, words, upload, few):
    total = sum_of([upload] * few, keys.parameters)
    assert total.count == few
    got = he.decrypt(he.write(total), keys, clients=few)
    assert got.tolist() == [few * word % 2**16 for word in words.tolist()]


def most_clients(bits, modulus_bits):
    """Search for the most clients that the module's docstring gives room."""
    room = 2 ** (modulus_bits - 2) / 43
    low, high = 1, 2**20
    while low < high:
        middle = (low + high + 1) // 2
        t = smallest_t(middle << bits)
        low, high = (middle, high) if middle * t < room else (low, middle - 1)
    return low


def is_prime(number):
    return number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))


@cache
def smallest_t(above):
    return next(
        t
        for t in count(above - above % (2 * N) + 1, 2 * N)
        if t > above and pow(2, t - 1, t) == 1 and pow(3, t - 1, t) == 1
    )


@pytest.mark.parametrize(("bits", "set_"), [(8, 40), (16, 40), (16, 60), (20, 60), (32, 60)])
def test_the_largest_words_of_the_most_clients_are_still_exact(ts, bits, set_):
    """One ciphertext added up n times: its noise grows n-fold, which that of n ciphertexts cannot
    do faster."""
    clients = most_clients(bits, set_)
    keys = keys_for(bits, clients, 3000)
    assert keys.parameters.coefficient_bits[0] == set_
    full = np.full(3000, 2**bits - 1, keys.parameters.dtype)
    double = he.add(he.Total(keys.parameters), he.encrypt(full, keys), client="oslo").chunks[0]
    parts, left = [], clients
    while left:
        parts += [double] if left % 2 else []
        double, left = double.add(double), left // 2
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.add(part)
    data = he.write(he.Total(keys.parameters, clients, (whole,)))
    got = he.decrypt(data, keys, clients=clients)
    assert set(got.tolist()) == {clients * (2**bits - 1) % 2**bits}


def test_a_coded_vector_is_read_as_from_the_plain_sum(ts):
    coding = Coding(size=1000, clip_norm=1.0, clients=3, bits=16)
    seed = bytes(32)
    keys = keys_for(16, 3, coding.length)
    plain = np.zeros(coding.length, np.uint16)
    uploads = []
    for place in range(3):
        vector = np.random.default_rng(place).normal(0, 0.01, 1000).astype(np.float32)
        steps = quantise(
            vector, coding, weight=place + 1, heaviest=5, rotation_seed=seed,
            rounding=secret_source(),
        ).steps  # fmt: skip
        closed = close(steps, coding, weight=place + 1)
        add(plain, closed)
        uploads.append(he.encrypt(closed, keys))
    got = he.decrypt(he.write(sum_of(uploads, keys.parameters)), keys, clients=3)
    one, other = (
        open_sum(t, coding, rotation_seed=seed, heaviest=5) for t in (got, plain & 0xFFFF)
    )
    assert np.array_equal(one.vector, other.vector)
    assert (one.weight, one.count) == (6, 3)


def test_adding_leaves_the_old_total_as_it_was(keys, upload, total):
    before = he.write(total)
    he.add(total, upload, client="rome")
    assert total.count == 1
    assert he.write(total) == before


def test_a_vector_that_breaks_off_leaves_the_old_total_as_it_was(keys, upload, total):
    before = he.write(total)
    with pytest.raises(VerificationError):
        he.add(total, upload[:-1], client="rome")
    assert he.write(total) == before


# What it costs.


def test_a_word_takes_at_most_thirteen_bytes(ts):
    keys = keys_for(16, 10, 8 * N - 5)
    assert keys.parameters.chunks == 8
    size = len(he.encrypt(words_of(16, 8 * N - 5), keys))
    assert size <= 13 * 8 * N
    assert size <= keys.parameters.largest_bytes


def test_sixty_bits_of_modulus_fit_the_bound_on_bytes(ts):
    keys = keys_for(32, 10, 4000)
    assert len(he.encrypt(words_of(32, 4000), keys)) <= keys.parameters.largest_bytes


def test_ckks_is_larger_and_not_exact(ts, keys, words, upload):
    """With the parameters that others use for this, in the same number of slots."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, -1, [60, 40, 40], n_threads=1)
    context.global_scale = 2.0**40
    chosen = words[:4096].astype(float)
    vector = ts.ckks_vector(context, chosen.tolist())
    size, error = len(vector.serialize()) / 4096, np.abs(np.array(vector.decrypt()) - chosen)
    assert size > 4 * len(upload) / (2 * N)
    assert 0 < error.max() < 0.5


# Parameters.


@pytest.mark.parametrize(("bits", "clients"), [(8, 2), (16, 10), (16, 1000), (8, 100), (20, 3)])
def test_the_plain_modulus_is_the_smallest_prime_that_batches_above_all_sums(bits, clients):
    t = he.Parameters(bits, clients, 1, bytes(16)).plain_modulus
    above = clients << bits
    assert t > above
    steps = range(t, above, -2 * N)
    assert [is_prime(step) for step in steps] == [True] + [False] * (len(steps) - 1)
    assert t % (2 * N) == 1


def test_a_composite_that_deceives_few_witnesses_is_none():
    # The least strong pseudoprimes to the first two, three, four, five and six primes
    # (OEIS A014233): each further witness is needed.
    for number in (1373653, 25326001, 3215031751, 2152302898747, 3474749660383):
        assert not bfv._is_prime(number)
    assert bfv._is_prime(2**31 - 1)


@pytest.mark.parametrize(
    ("bits", "clients", "chosen"),
    [
        (16, 10, (40, 40)),
        (16, 312, (40, 40)),
        (16, 313, (60, 49)),
        (32, 2, (60, 49)),
        (32, 1249, (60, 49)),
    ],
)
def test_the_first_set_with_room_is_taken(bits, clients, chosen):
    assert he.Parameters(bits, clients, 1, bytes(16)).coefficient_bits == chosen


@pytest.mark.parametrize(("bits", "clients"), [(32, 1250), (32, 2**30), (16, 2**20), (32, 10**30)])
def test_what_fits_no_parameters_is_refused(bits, clients):
    with pytest.raises(ConfigError, match="no parameters of he fit"):
        he.Parameters(bits, clients, 1, bytes(16))


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 7},
        {"bits": 33},
        {"clients": 0},
        {"clients": -1},
        {"length": 0},
        {"length": 2**40 + 1},
        {"run": bytes(15)},
        {"run": bytes(17)},
    ],
)
def test_numbers_out_of_range_are_refused(change):
    good = he.Parameters(16, 3, 10, bytes(16))
    with pytest.raises(ConfigError):
        replace(good, **change)


def test_seal_enforces_its_level_of_security(ts):
    """109 bits are allowed at this degree, and not one more: no set can be below 128 bits."""
    t = he.Parameters(16, 10, 1, bytes(16)).plain_modulus
    make = lambda bits: ts.context(ts.SCHEME_TYPE.BFV, N, t, bits, n_threads=1)  # noqa: E731
    make([60, 49])
    with pytest.raises(ValueError, match="not set correctly"):
        make([60, 50])


# Secrets.


def secret_of(keys):
    """Return the secret key as it is written."""
    return he._serialised(keys._context, secret=True)[100:-100]


def test_equal_words_are_never_encrypted_to_equal_bytes(keys, words, upload):
    assert he.encrypt(words, keys) != upload
    twice = he.encrypt(np.zeros_like(words), keys)
    chunks = list(he._chunks(twice, keys.parameters, count=1, title="vector"))
    assert len({chunk[-40000:] for chunk in chunks}) == len(chunks) == 2


def test_the_key_is_neither_printed_nor_pickled(keys):
    assert repr(keys) == f"Keys(parameters={keys.parameters!r})"
    for whole in (keys, copy.copy(keys)):
        with pytest.raises(TypeError):
            pickle.dumps(whole)


def test_the_server_gets_no_key(keys, upload, total):
    assert len(keys.public) == he.PUBLIC_BYTES
    context = he._keyless_context(he.read_public(keys.public))
    assert not context.has_secret_key()
    with pytest.raises(ValueError, match="doesn't hold a secret_key"):
        total.chunks[0].decrypt()
    secret = secret_of(keys)
    assert len(secret) > 20_000
    written = he.write_keys(keys)
    assert any(secret[i : i + 32] in written for i in range(0, 20_000, 1000))
    for seen in (keys.public, upload, he.write(total)):
        assert not any(secret[i : i + 32] in seen for i in range(0, 20_000, 1000))


def test_another_run_is_refused(keys, upload, total):
    other = he.make_keys(16, 3, 5000)
    assert other.parameters.run != keys.parameters.run
    with pytest.raises(VerificationError, match="of another run"):
        he.add(he.Total(other.parameters), upload, client="oslo")
    with pytest.raises(VerificationError, match="of another run"):
        he.decrypt(he.write(total), other, clients=1)


@pytest.mark.parametrize("length", [5000, N, 2 * N - 5])
def test_another_key_is_refused_whatever_the_length(ts, length):
    keys = keys_for(16, 3, length)
    wrong = he.Keys(keys.parameters, he._new_context(keys.parameters))
    data = he.write(sum_of([he.encrypt(words_of(16, length), keys)], keys.parameters))
    with pytest.raises(VerificationError, match="does not decrypt to a sum"):
        he.decrypt(data, wrong, clients=1)


def test_five_slots_are_left_for_zeros_at_least():
    chunks = [he.Parameters(16, 3, length, bytes(16)).chunks for length in (1, N - 5, N - 4, N)]
    assert chunks == [1, 1, 2, 2]
    smallest = min(he.Parameters(8, n, 1, bytes(16)).plain_modulus for n in range(1, 100))
    assert smallest**5 > 2**64


def test_keys_reach_the_other_clients(keys, words, upload, total):
    read = he.read_keys(he.write_keys(keys))
    assert read.parameters == keys.parameters
    assert np.array_equal(he.decrypt(he.write(total), read, clients=1), words)
    again = he.add(he.Total(keys.parameters), he.encrypt(words, read), client="rome")
    assert np.array_equal(he.decrypt(he.write(again), keys, clients=1), words)


def test_keys_for_other_parameters_are_refused(ts, keys):
    other = keys_for(20, 5, N)
    with pytest.raises(VerificationError, match="do not belong"):
        he.read_keys(keys.public + he.write_keys(other)[he.PUBLIC_BYTES :])


def test_keys_without_a_key_are_refused(keys):
    context = he._keyless_context(keys.parameters)
    with pytest.raises(VerificationError, match="do not belong"):
        he.read_keys(keys.public + he._serialised(context, secret=False))


@pytest.mark.parametrize("cut", [slice(0), slice(36), slice(37), slice(200), slice(-1)])
def test_keys_that_break_off_are_refused(keys, cut):
    with pytest.raises(VerificationError):
        he.read_keys(he.write_keys(keys)[cut])


def test_keys_that_are_too_long_are_refused_unread(keys):
    with pytest.raises(VerificationError, match="too long"):
        he.read_keys(he.write_keys(keys) + bytes(2**16))


# Bytes from anywhere.


@given(st.binary(min_size=he.PUBLIC_BYTES - 8, max_size=he.PUBLIC_BYTES - 8), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_the_parameters_that_they_say_or_refused(rest, plausible):
    if plausible:
        rest = bytes([8 + rest[0] % 25, 0, 0]) + rest[3:5] + bytes(4) + rest[9:]
    data = bfv._MAGIC + rest
    try:
        parameters = he.read_public(data)
    except VerificationError:
        return
    assert parameters.public == data


@pytest.mark.parametrize("change", [b"", b"x" * 37, b"-1", b"+1"])
def test_other_bytes_are_no_parameters(change):
    good = he.Parameters(16, 3, 10, bytes(16)).public
    assert he.read_public(good).public == good
    data = {b"-1": good[:-1], b"+1": good + b"\0"}.get(change, change)
    with pytest.raises(VerificationError, match="not parameters of he"):
        he.read_public(data)


@pytest.mark.parametrize("bits", [0, 7, 33, 255])
def test_parameters_that_cannot_be_used_are_refused_as_bytes(bits):
    good = he.Parameters(16, 3, 10, bytes(16)).public
    with pytest.raises(VerificationError, match="cannot be used: words of"):
        he.read_public(good[:8] + bytes([bits]) + good[9:])


def refused(data, total, why):
    with pytest.raises(VerificationError, match=why):
        he.add(total, data, client="rome")


def test_vectors_that_break_off_or_go_on_are_refused(keys, upload):
    empty = he.Total(keys.parameters)
    for end in (0, 10, HEAD - 1):
        refused(upload[:end], empty, "'rome' is of another run")
    for end in (HEAD, HEAD + 3, HEAD + 4, HEAD + 100, len(upload) - 1):
        refused(upload[:end], empty, "'rome' (has|holds)")
    for more in (b"\0", bytes(10), upload):
        refused(upload + more, empty, "'rome' has .* bytes, which are not 2 ciphertexts")


def test_a_ciphertext_that_is_too_large_never_reaches_the_parser(keys, upload, monkeypatch):
    def parse(*_):
        pytest.fail("it was parsed")

    monkeypatch.setattr(he, "_parse", parse)
    size = bfv.CHUNK_LIMIT + 1
    data = upload[:HEAD] + size.to_bytes(4, "big") + bytes(size)
    refused(data, he.Total(keys.parameters), "not 2 ciphertexts")


def framed(head, *chunks):
    return head + b"".join(len(chunk).to_bytes(4, "big") + chunk for chunk in chunks)


def test_what_does_not_begin_like_seal_never_reaches_its_parser(keys, upload, ts, monkeypatch):
    one, two = he._chunks(upload, keys.parameters, count=1, title="vector")
    empty, head = he.Total(keys.parameters), upload[:HEAD]
    assert framed(head, one, two) == upload

    def parse(*_):
        pytest.fail("it was parsed")

    bad = [b"", one[:15], b"\0" + one[1:], one[:2] + b"\x11" + one[3:], one[:5] + b"\0" + one[6:]]
    bad += [one[:6] + b"\1" + one[7:], one + b"\0", one[:-1], bytes(1000)]
    # TenSEAL's own outer layer, and one that tells of more slots than there are.
    bad += [he._OUTER + b"\x80\x80\x03" + one, b"\x0a\x03\xff\xff\x7f\x12\x80\x80\x03" + one]
    monkeypatch.setattr(ts._ts_cpp, "BFVVector", parse)
    for chunk in bad:
        refused(framed(head, chunk, two), empty, "holds what is no ciphertext")


def body_of(ciphertext):
    """What a ciphertext holds, unpacked."""
    return zstandard.ZstdDecompressor().decompress(ciphertext[16:])


def packed(ciphertext, body, **settings):
    """A ciphertext that holds another body."""
    inner = zstandard.ZstdCompressor(**settings).compress(body)
    return ciphertext[:8] + (16 + len(inner)).to_bytes(8, "little") + inner


LAYOUT = (
    *(slice(32, 33), slice(33, 41), slice(41, 49), slice(49, 57), slice(57, 65), slice(65, 73)),
    *(slice(73, 75), slice(75, 76), slice(78, 79), slice(79, 81), slice(81, 89), slice(89, 97)),
)
"""Of a body, all that says how long anything is."""


def test_seal_gets_no_layout_but_its_own(keys, upload, ts, monkeypatch):
    """From a body that broke off elsewhere than it said, SEAL ended the whole process."""
    one, two = he._chunks(upload, keys.parameters, count=1, title="vector")
    body, head = body_of(one), upload[:HEAD]
    assert he._unpacked(packed(one, body), "vector")[16:] == body
    monkeypatch.setattr(ts._ts_cpp, "BFVVector", lambda *_: pytest.fail("it was parsed"))
    bad = [b"", body[:16], body[:97], body[:-1], body + b"\0", body[8:], bytes(len(body))]
    for part in LAYOUT:
        for octets in (b"\0", b"\x01", b"\x7f", b"\xff"):
            changed = bytearray(body)
            changed[part] = octets * len(changed[part])
            bad += [bytes(changed)] if changed != body else []
    for other in bad:
        refused(framed(head, packed(one, other), two), he.Total(keys.parameters), "another shape")


def test_what_cannot_be_unpacked_or_grows_too_large_is_refused(keys, upload):
    one, two = he._chunks(upload, keys.parameters, count=1, title="vector")
    empty, head = he.Total(keys.parameters), upload[:HEAD]
    for rest in (bytes(len(one) - 16), one[16:-1], one[16:60], b""):
        chunk = one[:8] + (16 + len(rest)).to_bytes(8, "little") + rest
        refused(framed(head, chunk, two), empty, "cannot be unpacked|another shape")
    # It says that so much must be looked back.
    refused(framed(head, packed(one, bytes(2**20)), two), empty, "cannot be unpacked")
    # It looks back a little, does not say how long it is, and goes on and on.
    narrow = zstandard.ZstdCompressionParameters(window_log=16, write_content_size=False)
    bomb = packed(one, bytes(2**28), compression_params=narrow)
    assert len(bomb) < bfv.CHUNK_LIMIT
    tracemalloc.start()
    refused(framed(head, bomb, two), empty, "another shape")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_what_seal_does_not_read_is_refused(keys, upload):
    one, two = he._chunks(upload, keys.parameters, count=1, title="vector")
    empty, head = he.Total(keys.parameters), upload[:HEAD]
    too_large = body_of(one)[:-8] + b"\xff" * 8
    refused(framed(head, packed(one, too_large), two), empty, "holds what SEAL does not read")
    refused(framed(head, one, two[:3] + b"\x63" + two[4:]), empty, "what SEAL does not read")


def test_ciphertexts_of_other_parameters_are_refused(keys, upload):
    _, two = he._chunks(upload, keys.parameters, count=1, title="vector")
    other = keys_for(32, 4, 9000)
    foreign = he.encrypt(words_of(32, 9000), other)
    chunk = next(he._chunks(foreign, other.parameters, count=1, title="vector"))
    refused(framed(upload[:HEAD], chunk, two), he.Total(keys.parameters), "what SEAL does not read")


def test_a_product_is_refused(ts):
    keys = keys_for(8, 2, 1)
    vector = ts._ts_cpp.BFVVector(keys._context.data, [1] * N)
    keys._context.auto_relin = False
    data = he.encrypt(np.ones(1, np.uint16), keys)[:HEAD] + b"".join(he._framed(vector.mul(vector)))
    # It is larger than a ciphertext may be, unless it is one that compresses well.
    assert len(data) > bfv.CHUNK_LIMIT
    parsed = he._framed(vector.mul(vector))[1]
    with pytest.raises(VerificationError, match="another shape"):
        he._parse(parsed, keys._context, "vector")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_changed_vector_is_added_or_refused_with_a_typed_error(keys, upload, data):
    changed = bytearray(upload)
    for _ in range(data.draw(st.integers(1, 3))):
        near = data.draw(st.sampled_from([HEAD + 200, len(upload)]))
        changed[data.draw(st.integers(0, near - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(upload)), st.integers(0, len(upload))))
    try:
        total = he.add(he.Total(keys.parameters), bytes(changed[:end]), client="oslo")
    except VerificationError as problem:
        assert "oslo" in str(problem)
        return
    assert total.count == 1
    assert len(he.write(total)) <= keys.parameters.largest_bytes


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.integers(0, 400), octet=st.integers(0, 255))
def test_changed_keys_are_read_or_refused_with_a_typed_error(keys, place, octet):
    changed = bytearray(he.write_keys(keys))
    changed[place] = octet
    try:
        he.read_keys(bytes(changed))
    except VerificationError:
        return


# What the callers do wrong.


def test_words_that_are_not_the_parameters_are_refused(keys, words):
    for wrong in (words[:-1], words.astype(np.uint32), words.astype(np.int16), words[None]):
        with pytest.raises(VerificationError, match="words of type"):
            he.encrypt(wrong, keys)


def test_words_of_too_many_bits_are_refused(ts):
    keys = keys_for(20, 5, N)
    words = np.zeros(N, np.uint32)
    words[7] = 2**20 - 1
    he.encrypt(words, keys)
    words[7] = 2**20
    with pytest.raises(VerificationError, match="more than 20 bits"):
        he.encrypt(words, keys)


def test_more_clients_than_the_parameters_have_room_for_are_refused(keys, upload):
    full = sum_of([upload] * 3, keys.parameters)
    refused(upload, full, "'rome' is one more than fits. Allowed: 3 in a sum")


def test_a_sum_is_no_vector_of_a_client(keys, upload):
    two = he.write(sum_of([upload] * 2, keys.parameters))
    refused(two, he.Total(keys.parameters), "of another run, shape or number")


def test_a_sum_of_nobody_is_not_written(keys):
    with pytest.raises(VerificationError, match="of nobody"):
        he.write(he.Total(keys.parameters))


@pytest.mark.parametrize("clients", [0, -1, 4])
def test_a_sum_of_an_impossible_number_is_not_decrypted(keys, total, clients):
    with pytest.raises(VerificationError, match="Allowed: 1 to 3 clients"):
        he.decrypt(he.write(total), keys, clients=clients)


def test_a_sum_of_another_number_of_clients_than_said_is_refused(keys, total):
    with pytest.raises(VerificationError, match="number of clients"):
        he.decrypt(he.write(total), keys, clients=2)


def test_a_sum_that_so_few_clients_cannot_have_is_refused(ts):
    keys = keys_for(16, 3, 1)
    (chunk,) = sum_of([he.encrypt(np.full(1, 0xFFFF, np.uint16), keys)], keys.parameters).chunks
    once = he.write(he.Total(keys.parameters, 1, (chunk,)))
    assert he.decrypt(once, keys, clients=1).tolist() == [0xFFFF]
    twice = he.write(he.Total(keys.parameters, 1, (chunk.add(chunk),)))
    with pytest.raises(VerificationError, match="does not decrypt to a sum of 1 clients"):
        he.decrypt(twice, keys, clients=1)


@pytest.mark.parametrize("place", [1, 2000, N - 1])
def test_a_slot_behind_the_words_that_is_not_zero_is_refused(ts, place):
    keys = keys_for(16, 3, 1)
    head = he.encrypt(np.ones(1, np.uint16), keys)[:HEAD]
    slots = [1] + [0] * (N - 1)
    for last, fine in ((0, True), (1, False)):
        slots[place] = last
        data = head + b"".join(he._framed(ts._ts_cpp.BFVVector(keys._context.data, slots)))
        if fine:
            assert he.decrypt(data, keys, clients=1).tolist() == [1]
            continue
        with pytest.raises(VerificationError, match="does not decrypt to a sum"):
            he.decrypt(data, keys, clients=1)


def test_without_tenseal_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sottovoce\[he\]'"):
        he.make_keys(16, 3, 10)


def test_without_zstandard_the_error_names_the_remedy(keys, upload, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtraError, match=r"zstandard.*pip install 'sottovoce\[he\]'"):
        he.add(he.Total(keys.parameters), upload, client="rome")


def test_importing_the_module_does_not_import_tenseal():
    code = "import sys, sottovoce.codec.he; sys.exit('tenseal' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_sentence_of_trust_says_who_breaks_it():
    assert "server together with any one client can read every client's update" in he.TRUST
    assert he.TRUST.count(".") == 1
