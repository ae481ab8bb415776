"""Sums under homomorphic encryption: the clients encrypt, the server adds, the clients decrypt.

BFV (Fan, Vercauteren 2012, ePrint 2012/144; Brakerski 2012, ePrint 2012/078), by TenSEAL and SEAL,
on the same words mod 2^b as the masked sums, so that the result is the same bit for bit. 4096 words
go into one ciphertext, a word into a slot. A slot counts mod t, the smallest prime above n·2^b with
t = 1 mod 8192, so a sum of n words never wraps in t, and is reduced mod 2^b after decryption.

**Whom this protects, and from whom.** All clients share one key, so the server together with any
one client can read every client's update. The mode is for clients who trust each other and a sum
that nobody else may see. BFV withstands nobody who sees what ciphertexts of its own making decrypt
to: a server that learns decrypted sums, or whether they were in order, can learn the key from them.
And it does not authenticate: a server can add to a sum, or replace it by what it knows. The
checksum in the words finds mistakes, not forgeries.

**Parsing.** Ciphertexts are parsed by SEAL in C++. Its outer layer, by TenSEAL, reads beyond its
memory where the numbers in it lie, and SEAL itself ends the whole process where a compressed stream
breaks off in the wrong place. So neither is let near bytes from outside: they are unpacked here, and
written anew around a body of exactly the size and shape that it must have.

Encryption draws its randomness in SEAL, seeded by the operating system for each ciphertext.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np

from sottovoce.codec.bfv import (
    CHUNK_LIMIT,
    COUNT_BYTES,
    DEGREE,
    PUBLIC_BYTES,
    RUN_BYTES,
    Parameters,
    read_public,
)
from sottovoce.codec.checks import Words
from sottovoce.errors import MissingExtraError, VerificationError

TRUST: Final = (
    "All clients share one key, so the server together with any one client can read every client's "
    "update; use he only where all clients trust each other and nobody but them may see even the "
    "sum."
)
"""What a log and a report say about this mode."""

# How SEAL begins: magic, size of this header, version, compression, nothing, size.
_SEAL: Final = struct.Struct("<HB2xBHQ")
_MAGIC, _PLAIN, _ZSTD = 0xA15E, 0, 2
# What a ciphertext holds behind the name of its parameters: whether it is transformed, polynomials,
# coefficients of each, primes, a scale, a factor; then, behind a header of their own, how many
# coefficients follow, 64 bits each.
_SHAPE: Final = struct.pack("<?QQQdQ", False, 2, DEGREE, 1, 1.0, 1)
_COEFFICIENTS: Final = 2 * DEGREE
_NAME_BYTES: Final = 32
_LIST_BYTES: Final = _SEAL.size + 8 + 8 * _COEFFICIENTS
_BODY_BYTES: Final = _NAME_BYTES + len(_SHAPE) + _LIST_BYTES
# A vector of one chunk in TenSEAL's outer layer: its 4096 slots, then a ciphertext of this size.
_OUTER: Final = b"\x0a\x02\x80\x20\x12"
_OUTER_BYTES: Final = len(_OUTER) + 3
_WINDOW: Final = 1 << 17
"""Bytes that unpacking may look back; no ciphertext has more."""


@dataclass(frozen=True, eq=False)
class Keys:
    """The parameters and the one secret key, for the clients alone. Private.

    Guarantees:
        - the key is neither printed nor pickled.
    """

    parameters: Parameters
    _context: Any = field(repr=False)

    @property
    def public(self) -> bytes:
        """What the server is told, ``PUBLIC_BYTES`` bytes: parameters, and nothing of the key."""
        return self.parameters.public


@dataclass(frozen=True, eq=False)
class Total:
    """A sum that the server holds, encrypted. ``Total(parameters)`` is the empty one.

    Args:
        parameters: the run's. Public.
        count: how many clients are in it. Public.
        chunks: ciphertexts.
    """

    parameters: Parameters
    count: int = 0
    chunks: tuple[Any, ...] = field(default=(), repr=False)


def make_keys(bits: int, clients: int, length: int) -> Keys:
    """Draw the key of a run and a name for it. One client does it, for all.

    Args:
        bits: b, words are mod 2^b; 8 to 32. Public.
        clients: n, the most in one sum. Public.
        length: words of one client, the check words included. Public.

    Guarantees:
        - two calls give different keys, and what was encrypted under one is refused by the other.

    Raises:
        ConfigError: no parameters have room for the sum.
        MissingExtraError: TenSEAL is not installed.
    """
    parameters = Parameters(bits, clients, length, secrets.token_bytes(RUN_BYTES))
    return Keys(parameters, _new_context(parameters))


def write_keys(keys: Keys) -> bytes:
    """Write the parameters and the secret key, for the other clients.

    Whoever has these bytes reads all updates of the run: they go to clients alone, sealed.
    """
    return keys.public + _serialised(keys._context, secret=True)


def read_keys(data: bytes) -> Keys:
    """Read what ``write_keys`` wrote, from a client that is trusted with everything.

    Raises:
        VerificationError: the bytes are no keys, or keys for other parameters than they say.
        MissingExtraError: TenSEAL is not installed.
    """
    parameters = read_public(data[:PUBLIC_BYTES])
    # One polynomial of 64-bit words to a prime, and the parameters.
    if len(data) > PUBLIC_BYTES + 2 * DEGREE * 8 + 1024:
        raise VerificationError(f"keys of {len(data)} bytes are too long to be keys")
    tenseal = _tenseal()
    try:
        context = tenseal.context_from(data[PUBLIC_BYTES:], n_threads=1)
        same = _serialised(context, secret=False) == _serialised(
            _keyless_context(parameters), secret=False
        )
    except Exception as problem:
        raise VerificationError("these bytes are no keys of he") from problem
    if not (same and context.has_secret_key()):
        raise VerificationError("these keys do not belong to the parameters they came with")
    return Keys(parameters, context)


def encrypt(words: Words, keys: Keys) -> bytes:
    """Encrypt one client's words.

    Args:
        words: ``[length]``, each below 2^b, uint16 up to 16 bits, else uint32. Private.
        keys: the run's. Private.

    Returns:
        The parameters, the count 1, and the ciphertexts with their lengths: about 12 bytes a word.

    Guarantees:
        - equal words are never encrypted to equal bytes.

    Raises:
        VerificationError: the words are not the parameters'.
    """
    parameters, vector = keys.parameters, _tenseal()._ts_cpp.BFVVector
    if words.dtype != parameters.dtype or words.shape != (parameters.length,):
        raise VerificationError(
            f"words of type {words.dtype} and shape {words.shape}",
            allowed=f"{parameters.dtype} of shape ({parameters.length},)",
        )
    if int(words.max()) >> parameters.bits:
        raise VerificationError(f"a word of more than {parameters.bits} bits")
    data = [_head(parameters, count=1)]
    for begin in range(0, parameters.chunks * DEGREE, DEGREE):
        slots = words[begin : begin + DEGREE].tolist()
        # TenSEAL would fill the slots that are left with copies.
        slots += [0] * (DEGREE - len(slots))
        data += _framed(vector(keys._context.data, slots))
    return b"".join(data)


def add(total: Total, data: bytes, *, client: str) -> Total:
    """Add one client's ciphertexts to the encrypted sum. The server does, without any key.

    Args:
        total: the sum so far; it is left as it was.
        data: what the client sent, from ``encrypt``.
        client: who sent it; errors name it. To add nobody twice is up to the caller.

    Returns:
        The new sum. Beside the two sums there is never more than one ciphertext in memory.

    Raises:
        VerificationError: the bytes are not one client's vector under these parameters, or the
            sum already has n clients.
        MissingExtraError: TenSEAL is not installed.
    """
    parameters, title = total.parameters, f"encrypted vector of client {client!r}"
    if total.count >= parameters.clients:
        raise VerificationError(
            f"the {title} is one more than fits", allowed=f"{parameters.clients} in a sum"
        )
    context = _keyless_context(parameters)
    parsed = (
        _parse(chunk, context, title) for chunk in _chunks(data, parameters, count=1, title=title)
    )
    if not total.count:
        return Total(parameters, 1, tuple(parsed))
    chunks = tuple(old.add(new) for old, new in zip(total.chunks, parsed, strict=True))
    return Total(parameters, total.count + 1, chunks)


def write(total: Total) -> bytes:
    """Write the encrypted sum, for the clients.

    Raises:
        VerificationError: nobody is in it.
    """
    if not total.count:
        raise VerificationError("an encrypted sum of nobody", remedy="Add a client's vector first")
    data = [_head(total.parameters, total.count)]
    for chunk in total.chunks:
        data += _framed(chunk)
    return b"".join(data)


def decrypt(data: bytes, keys: Keys, *, clients: int) -> Words:
    """Decrypt a sum.

    Args:
        data: what ``write`` wrote.
        keys: the run's. Private.
        clients: how many are said to be in the sum.

    Returns:
        The sum mod 2^b, ``[length]``: whoever sees it must be allowed to. What the sum says of
        itself, ``checks`` reads and verifies.

    Guarantees:
        - the words are the integer sum of the clients' words mod 2^b, bit for bit;
        - what was encrypted under another key is refused, but for a chance of 2^-64.

    Raises:
        VerificationError: the bytes are no sum of so many clients under these parameters, slots
            behind the words are not zero, or a slot has more than so many clients can have added.
    """
    parameters, title = keys.parameters, "encrypted sum"
    if not 1 <= clients <= parameters.clients:
        raise VerificationError(f"a sum of {clients}", allowed=f"1 to {parameters.clients} clients")
    slots = np.empty(parameters.chunks * DEGREE, np.int64)
    for place, chunk in enumerate(_chunks(data, parameters, count=clients, title=title)):
        vector = _parse(chunk, keys._context, title)
        slots[place * DEGREE : (place + 1) * DEGREE] = vector.decrypt()
    # SEAL gives numbers around zero.
    slots %= parameters.plain_modulus
    largest = clients * ((1 << parameters.bits) - 1)
    if slots[parameters.length :].any() or int(slots.max()) > largest:
        raise VerificationError(
            f"the {title} does not decrypt to a sum of {clients} clients",
            remedy="It was damaged, or encrypted under another key. Repeat the round",
        )
    slots &= (1 << parameters.bits) - 1
    return slots[: parameters.length].astype(parameters.dtype)


def _head(parameters: Parameters, count: int) -> bytes:
    return parameters.public + count.to_bytes(COUNT_BYTES, "big")


def _framed(vector: Any) -> tuple[bytes, bytes]:
    """Return a ciphertext without TenSEAL's outer layer, after its length."""
    ciphertext = vector.serialize()[_OUTER_BYTES:]
    return len(ciphertext).to_bytes(COUNT_BYTES, "big"), ciphertext


def _chunks(data: bytes, parameters: Parameters, *, count: int, title: str) -> Iterator[bytes]:
    """Cut bytes from outside into ciphertexts, without looking into these.

    The last one is handed out only if it ends where the bytes do. One before it that is cut short
    does not have the size that its own header says.
    """
    head = _head(parameters, count)
    if data[: len(head)] != head:
        raise VerificationError(
            f"the {title} is of another run, shape or number of clients",
            allowed=f"run {parameters.run.hex()}, {parameters.length} words, count {count}",
        )
    place = len(head)
    for left in reversed(range(parameters.chunks)):
        begin = place + COUNT_BYTES
        size = int.from_bytes(data[place:begin], "big")
        place = begin + size
        if size > CHUNK_LIMIT or (not left and place != len(data)):
            raise VerificationError(
                f"the {title} has {len(data)} bytes, which are not {parameters.chunks} ciphertexts"
            )
        yield data[begin:place]


def _parse(ciphertext: bytes, context: Any, title: str) -> Any:
    """Hand a ciphertext from outside to SEAL, whose parser is in C++.

    The outer layer is written here, because TenSEAL believes what it says: a vector with more
    slots than its ciphertext has, or with fewer ciphertexts than slots, is read beyond its memory.
    And SEAL gets no compressed stream and no number of its own layout from outside: it gets
    coefficients, of which there are as many as it expects.
    """
    tenseal, plain = _tenseal(), _unpacked(ciphertext, title)
    size = len(plain)
    varint = bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14))
    try:
        # SEAL verifies the name of the parameters and the range of every coefficient.
        return tenseal._ts_cpp.BFVVector(context.data, _OUTER + varint + plain)
    except Exception as problem:
        raise VerificationError(f"the {title} holds what SEAL does not read") from problem


def _unpacked(ciphertext: bytes, title: str) -> bytes:
    """A ciphertext from outside as SEAL writes it without compression, its layout verified."""
    size = len(ciphertext)
    start = _SEAL.unpack_from(ciphertext) if size >= _SEAL.size else ()
    if start != (_MAGIC, _SEAL.size, _ZSTD, 0, size):
        raise VerificationError(f"the {title} holds what is no ciphertext")
    zstandard = _zstandard()
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    try:
        body: bytes = unpacker.stream_reader(ciphertext[_SEAL.size :]).read(_BODY_BYTES + 1)
    except zstandard.ZstdError as problem:
        raise VerificationError(f"the {title} holds what cannot be unpacked") from problem
    begin = _NAME_BYTES + len(_SHAPE)
    if len(body) != _BODY_BYTES or body[_NAME_BYTES:begin] != _SHAPE:
        raise VerificationError(f"the {title} holds a ciphertext of another shape")
    inner = (_MAGIC, _SEAL.size, _PLAIN, 0, _LIST_BYTES)
    count = int.from_bytes(body[begin + _SEAL.size : begin + _SEAL.size + 8], "little")
    if _SEAL.unpack_from(body, begin) != inner or count != _COEFFICIENTS:
        raise VerificationError(f"the {title} holds a ciphertext of another shape")
    version = ciphertext[3:5]
    head = bytearray(_SEAL.pack(_MAGIC, _SEAL.size, _PLAIN, 0, _SEAL.size + _BODY_BYTES))
    head[3:5] = version
    return bytes(head) + body


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as problem:
        raise MissingExtraError("zstandard", extra="he") from problem
    return zstandard


def _tenseal() -> Any:
    try:
        import tenseal
    except ImportError as problem:
        raise MissingExtraError("tenseal", extra="he") from problem
    return tenseal


def _new_context(parameters: Parameters) -> Any:
    """Draw a key: TenSEAL's context holds it, with the parameters and one thread."""
    tenseal = _tenseal()
    return tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        DEGREE,
        parameters.plain_modulus,
        list(parameters.coefficient_bits),
        tenseal.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )


@lru_cache(maxsize=8)
def _keyless_context(parameters: Parameters) -> Any:
    """Open the context of a server, which adds and has no key: whatever was drawn is left out."""
    drawn = _serialised(_new_context(parameters), secret=False)
    return _tenseal().context_from(drawn, n_threads=1)


def _serialised(context: Any, *, secret: bool) -> bytes:
    data: bytes = context.serialize(
        save_public_key=False,
        save_secret_key=secret,
        save_galois_keys=False,
        save_relin_keys=False,
    )
    return data
