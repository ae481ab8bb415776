"""Masks against big integers, the known answers of the primitives, and misuse."""

import hashlib
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sottovoce.codec import masks
from sottovoce.codec.masks import add_mask, add_masks
from sottovoce.errors import VerificationError

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
VECTORS = json.loads((FOLDER / "secagg_primitives.json").read_text("utf-8"))
WORDS = {16: np.uint16, 32: np.uint32}
KEYS = [hashlib.sha256(bytes([i])).digest() for i in range(12)]


def known(what):
    rows = [row for row in VECTORS["known_answers"] if row["what"] == what]
    assert rows
    return rows


def opened(row, *names):
    return [bytes.fromhex(row[name]) for name in names]


# --- the primitives that secure sums are made of --------------------------------------------------


def test_x25519_agrees_with_rfc_7748():
    for row in known("x25519"):
        private, public, shared = opened(row, "private", "public", "shared")
        key = X25519PrivateKey.from_private_bytes(private)
        assert key.exchange(X25519PublicKey.from_public_bytes(public)) == shared


def test_x25519_refuses_the_key_of_zeros():
    for row in known("x25519 refused"):
        private, public = opened(row, "private", "public")
        key = X25519PrivateKey.from_private_bytes(private)
        with pytest.raises(ValueError):
            key.exchange(X25519PublicKey.from_public_bytes(public))


def test_hkdf_agrees_with_rfc_5869():
    for row in known("hkdf-sha256"):
        key, salt, info, out = opened(row, "key", "salt", "info", "out")
        assert HKDF(SHA256(), len(out), salt, info).derive(key) == out


def test_chacha20_poly1305_agrees_with_rfc_8439():
    for row in known("chacha20-poly1305"):
        key, nonce, associated, sealed = opened(row, "key", "nonce", "associated", "sealed")
        text = row["text"].encode()
        assert ChaCha20Poly1305(key).encrypt(nonce, text, associated) == sealed
        assert ChaCha20Poly1305(key).decrypt(nonce, sealed, associated) == text


def test_aes_256_agrees_with_nist():
    for row in known("aes-256-ctr"):
        key, counter, text, sealed = opened(row, "key", "counter", "text", "sealed")
        assert Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(text) == sealed
    for row in known("aes-256 block"):
        key, text, sealed = opened(row, "key", "text", "sealed")
        assert Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(text) == sealed


# --- our own vectors -----------------------------------------------------------------------------


def test_the_vectors_are_what_their_maker_makes():
    made = subprocess.run(
        [sys.executable, FOLDER / "make_secagg_primitives.py"],
        capture_output=True,
        check=True,
    )
    assert made.stdout == (FOLDER / "secagg_primitives.json").read_bytes()


@pytest.mark.parametrize("case", VECTORS["masked_sums"], ids=lambda case: str(case["bits"]))
def test_seed_mask_masked_vector_and_sum_are_those_of_the_slow_reference(case):
    kind = WORDS[case["bits"]]
    self_keys = [bytes.fromhex(key) for key in case["self_keys"]]
    pairs = [(i, j, bytes.fromhex(key)) for i, j, key in case["pair_keys"]]
    first = np.zeros(len(case["first_self_mask"]), kind)
    add_mask(first, self_keys[0])
    assert first.tolist() == case["first_self_mask"]
    total = np.zeros_like(first)
    for client, entries in enumerate(case["vectors"]):
        vector = np.array(entries, kind)
        plus = [self_keys[client], *(key for i, _, key in pairs if i == client)]
        add_masks(vector, plus, [key for _, j, key in pairs if j == client])
        assert vector.tolist() == case["masked"][client]
        total += vector
    # The masks of the pairs are gone; what is left over the sum are the clients' own.
    assert total.tolist() == case["masked_sum"]
    add_masks(total, [], self_keys)
    assert total.tolist() == case["sum"]


@pytest.mark.parametrize("case", VECTORS["long_masks"], ids=lambda case: str(case["bits"]))
def test_a_mask_of_more_than_one_block_is_that_of_the_slow_reference(case):
    vector = np.zeros(case["length"], WORDS[case["bits"]])
    assert vector.nbytes > masks._BLOCK_BYTES
    add_mask(vector, bytes.fromhex(case["key"]))
    little_endian = vector.astype(vector.dtype.newbyteorder("<")).tobytes()
    assert hashlib.sha256(little_endian).hexdigest() == case["sha256_of_little_endian_words"]


# --- any lengths, keys and signs -----------------------------------------------------------------


def slow_mask(key, length, bits):
    """The key stream block by block, out of whole numbers."""
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    stream = b""
    while len(stream) * 8 < length * bits:
        stream += cipher.update((len(stream) // 16).to_bytes(16, "big"))
    whole = int.from_bytes(stream, "little")
    return [whole >> bits * i & 2**bits - 1 for i in range(length)]


def slow_masked(entries, plus, minus, bits):
    total = list(entries)
    for sign, keys in ((1, plus), (-1, minus)):
        for key in keys:
            mask = slow_mask(key, len(entries), bits)
            total = [a + sign * b for a, b in zip(total, mask, strict=True)]
    return [value % 2**bits for value in total]


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of 48 bytes, so that short vectors have many of them."""
    monkeypatch.setattr(masks, "_BLOCK_BYTES", 48)
    monkeypatch.setattr(masks, "_ZEROS", bytes(48))


@given(st.data(), st.sampled_from([16, 32]), st.integers(0, 150))
@settings(max_examples=100, deadline=None)
def _masked_as_the_reference_masks(data, bits, length):
    order = data.draw(st.permutations(range(len(KEYS))))
    ends = sorted(data.draw(st.tuples(st.integers(0, 5), st.integers(0, 5))))
    plus, minus = ([KEYS[i] for i in part] for part in (order[: ends[0]], order[ends[0] : ends[1]]))
    seed = data.draw(st.integers(0, 2**32))
    vector = np.random.default_rng(seed).integers(2**bits, size=length).astype(WORDS[bits])
    vector[: length // 4] = 2**bits - 1
    entries = vector.tolist()
    add_masks(vector, plus, minus)
    assert vector.tolist() == slow_masked(entries, plus, minus, bits)


def test_masked_vectors_are_those_of_the_reference():
    _masked_as_the_reference_masks()


def test_masked_vectors_are_those_of_the_reference_across_blocks(short_blocks):
    _masked_as_the_reference_masks()


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_lengths_around_one_and_two_blocks(bits, beside):
    for blocks in (1, 2):
        length = blocks * masks._BLOCK_BYTES * 8 // bits + beside
        vector = np.zeros(length, WORDS[bits])
        add_masks(vector, KEYS[:1], KEYS[1:2])
        plain = np.zeros_like(vector)
        for key, sign in ((KEYS[0], 1), (KEYS[1], -1)):
            zeros = bytes(vector.nbytes)
            stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(zeros)
            mask = np.frombuffer(stream, vector.dtype.newbyteorder("<"))
            plain = plain + mask if sign == 1 else plain - mask
        assert np.array_equal(vector, plain)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_masks_in_any_order_one_by_one_or_at_once_and_back(kind):
    start = np.arange(70_000).astype(kind)
    at_once, one_by_one, other_order = start.copy(), start.copy(), start.copy()
    add_masks(at_once, KEYS[:3], KEYS[3:5])
    for key in KEYS[3:5]:
        add_mask(one_by_one, key, subtract=True)
    for key in KEYS[:3]:
        add_mask(one_by_one, key)
    add_masks(other_order, KEYS[2::-1], KEYS[4:2:-1])
    assert np.array_equal(at_once, one_by_one)
    assert np.array_equal(at_once, other_order)
    assert np.count_nonzero(at_once == start) < 20
    add_masks(at_once, KEYS[3:5], KEYS[:3])
    assert np.array_equal(at_once, start)
    add_mask(one_by_one, KEYS[0], subtract=True)
    add_mask(one_by_one, KEYS[0])
    assert np.array_equal(one_by_one, other_order)


def test_every_bit_of_the_key_counts():
    def mask(key):
        vector = np.zeros(4, np.uint32)
        add_mask(vector, key)
        return vector.tobytes()

    key = int.from_bytes(KEYS[0], "big")
    flipped = {mask((key ^ 1 << bit).to_bytes(32, "big")) for bit in range(256)}
    assert len(flipped | {mask(KEYS[0])}) == 257


def test_nothing_to_do_changes_nothing():
    vector = np.arange(9, dtype=np.uint16)
    add_masks(vector, [], [])
    assert vector.tolist() == list(range(9))
    empty = np.zeros(0, np.uint32)
    add_masks(empty, KEYS[:2], KEYS[2:3])
    assert empty.size == 0


def test_a_matrix_is_masked_like_its_rows_in_a_row():
    matrix, flat = np.zeros((7, 11), np.uint16), np.zeros(77, np.uint16)
    add_mask(matrix, KEYS[0])
    add_mask(flat, KEYS[0])
    assert np.array_equal(matrix.reshape(-1), flat)


def looks_uniform(vector):
    """Chi-square of both bytes of each word, and of pairs of words that stand side by side."""
    low, high = vector & 0xFF, vector >> (8 * vector.itemsize - 8)
    pairs = (high[:-1:2] >> 4 << 4) | (high[1::2] >> 4)
    counts = [np.bincount(view.astype(np.int64), minlength=256) for view in (low, high, pairs)]
    halves = [np.bincount(half.astype(np.int64), minlength=256) for half in np.split(low, 2)]
    return min(stats.chisquare(count).pvalue for count in (*counts, *halves)) > 1e-6


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_a_masked_vector_is_uniform_and_a_half_masked_one_is_not(kind):
    vector = np.full(200_000, 7, kind)
    add_mask(vector, KEYS[0])
    assert looks_uniform(vector)
    half = np.full(200_000, 7, kind)
    add_mask(half[:100_000], KEYS[0])
    assert not looks_uniform(half)
    assert not looks_uniform(vector >> 1 << 1)
    assert not looks_uniform(np.repeat(vector[::2], 2))


def test_memory_beside_the_vector_is_one_block():
    vector = np.zeros(4_000_000, np.uint32)
    tracemalloc.start()
    try:
        add_masks(vector, KEYS[:6], KEYS[6:])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * masks._BLOCK_BYTES


# --- misuse --------------------------------------------------------------------------------------

READ_ONLY = np.zeros(4, np.uint16)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(4, np.int32),
        np.zeros(4, np.uint64),
        np.zeros(4, np.uint8),
        np.zeros(4, np.float32),
        np.zeros(4, ">u2"),
        np.zeros(4, ">u4"),
        [0, 0, 0, 0],
    ],
    ids=["int32", "uint64", "uint8", "float32", "big-endian 16", "big-endian 32", "list"],
)
def test_another_type_is_refused(vector):
    with pytest.raises(VerificationError, match="an array of uint16 or uint32"):
        add_mask(vector, KEYS[0])
    assert not np.any(vector)


@pytest.mark.parametrize(
    "vector",
    [np.zeros(8, np.uint16)[::2], np.zeros((3, 4), np.uint32).T, READ_ONLY],
    ids=["strided", "transposed", "read-only"],
)
def test_gaps_and_read_only_vectors_are_refused(vector):
    with pytest.raises(VerificationError, match="C-contiguous and writable"):
        add_mask(vector, KEYS[0])
    assert not np.any(vector)


@pytest.mark.parametrize(
    "key", [KEYS[0][:16], KEYS[0][:31], KEYS[0] + b"x", b"", "k" * 32, bytearray(KEYS[0]), None]
)
@pytest.mark.parametrize("subtract", [False, True])
def test_a_key_that_is_none_is_refused_and_not_shown(key, subtract):
    vector = np.zeros(4, np.uint16)
    with pytest.raises(VerificationError, match="a byte string of length 32") as caught:
        add_mask(vector, key, subtract=subtract)
    with pytest.raises(VerificationError, match="a byte string of length 32"):
        add_masks(vector, [KEYS[1], key], [])
    assert KEYS[0].hex()[:8] not in str(caught.value)
    assert "kk" not in str(caught.value)
    assert not np.any(vector)


@pytest.mark.parametrize(
    ("plus", "minus"), [([0, 1, 0], []), ([], [2, 2]), ([0, 1], [2, 1])], ids=str
)
def test_a_key_that_comes_twice_is_refused(plus, minus):
    vector = np.zeros(4, np.uint16)
    with pytest.raises(VerificationError, match="mask keys, of which only"):
        add_masks(vector, [KEYS[i] for i in plus], [KEYS[i] for i in minus])
    assert not np.any(vector)
