"""Randomness: named streams that all grow from one seed, and a cryptographic source for noise.

A stream is addressed by names, never by the order in which streams are drawn, so that adding a
client or a step changes nobody else's randomness. Whoever knows the seed knows every stream, so
noise that protects anybody comes from ``secret_source`` instead.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import Final, NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from sottovoce.errors import ConfigError

KEY_BYTES: Final = 32
_CHUNK_BYTES: Final = 2**16
_ZEROS: Final = bytes(_CHUNK_BYTES)


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive a 128-bit seed from the run's seed and the names of a stream.

    The first 16 bytes of SHA-256 over the seed and the names, each written with its type and
    length, so that ``("a", "bc")`` and ``("ab", "c")``, or ``1`` and ``"1"``, never meet.

    Args:
        seed: the run's seed, public.
        names: what the stream is for, for example ``("batches", "berlin", 3)``.

    Returns:
        An integer in [0, 2^128).

    >>> derive_seed(0, "a", "bc") == derive_seed(0, "ab", "c")
    False
    >>> derive_seed(0, "round", 1) == derive_seed(0, "round", "1")
    False
    """
    digest = hashlib.sha256()
    for name in (seed, *names):
        # A NumPy integer is no ``int``, yet names the same stream as the number it holds.
        whole = isinstance(name, (int, np.integer))
        kind = b"i" if whole else b"s"
        text = str(int(name) if whole else name).encode()
        digest.update(kind + len(text).to_bytes(8, "big") + text)
    return int.from_bytes(digest.digest()[:16], "big")


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Open the random stream with these names.

    Guarantees:
        - the same seed and names give the same numbers on every machine;
        - other names give an independent stream.

    >>> stream(7, "partition").integers(100) == stream(7, "partition").integers(100)
    np.True_
    """
    return np.random.Generator(np.random.Philox(derive_seed(seed, *names)))


class Source:
    """An endless stream of random 64-bit words: the key stream of AES-256 in counter mode.

    NIST SP 800-38A, section 6.5. Open one with ``secret_source`` or, in a test, ``seeded_source``.

    Args:
        key: 32 bytes that somebody knows, so that the stream is NOT private; without them a key of
            the operating system, which nobody ever sees.
        start: the counter of the first block, in [0, 2^128).

    Guarantees:
        - no two calls return the same part of the stream, whatever their sizes;
        - the words do not depend on how they are divided among calls;
        - the key is not stored in the object, not printed, and neither pickled nor copied;
        - after a fork the child's private source takes a key of its own;
        - beside the words themselves, the memory in use does not grow with their number.

    Edge cases: no words are an empty array. One source serves one thread at a time.

    Raises:
        ConfigError: the key does not have 32 bytes, or a count is negative.
        TypeError: somebody pickles or copies the source.
    """

    __slots__ = ("_cipher", "_process")

    def __init__(self, key: bytes | None = None, *, start: int = 0) -> None:
        if key is not None and len(key) != KEY_BYTES:
            raise ConfigError(f"a key of {len(key)} bytes", allowed=f"{KEY_BYTES} bytes")
        self._process = None if key is not None else os.getpid()
        self._cipher = _key_stream(key or secrets.token_bytes(KEY_BYTES), start)

    @property
    def private(self) -> bool:
        """Whether nobody knows the key, so that the stream may protect somebody."""
        return self._process is not None

    def words(self, count: int) -> NDArray[np.uint64]:
        """Take the next ``count`` words, each uniform on [0, 2^64).

        The bytes of the key stream, read as little-endian words.
        """
        if count < 0:
            raise ConfigError(f"{count} random words", allowed="0 or more")
        if self._process is not None and self._process != os.getpid():
            # A forked child holds the parent's stream; without a new key both would add one noise.
            self._process = os.getpid()
            self._cipher = _key_stream(secrets.token_bytes(KEY_BYTES), 0)
        # The cipher may ask for a block of room behind the text that it writes.
        room = np.empty(count + 2, dtype="<u8")
        place = room.view(np.uint8).data
        for begin in range(0, 8 * count, _CHUNK_BYTES):
            size = min(_CHUNK_BYTES, 8 * count - begin)
            self._cipher.update_into(memoryview(_ZEROS)[:size], place[begin:])
        return room[:count].astype(np.uint64, copy=False)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Take the next ``count`` multiples of 2^-53, each uniform on [0, 1)."""
        return np.asarray((self.words(count) >> np.uint64(11)) * 2.0**-53)

    def __repr__(self) -> str:
        return f"Source(private={self.private})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a random source is not pickled or copied: its numbers would come twice")


def _key_stream(key: bytes, start: int) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(start.to_bytes(16, "big"))).encryptor()


def secret_source() -> Source:
    """Open a source that nobody can foresee: its key comes from the operating system.

    Returns:
        A source with ``private`` true.

    >>> secret_source()
    Source(private=True)
    """
    return Source()


def seeded_source(seed: int, *names: str | int) -> Source:
    """Open a source that everybody who knows the seed can repeat. NOT private: for tests only.

    Its key is SHA-256 over the 16 bytes of ``derive_seed(seed, *names)``.

    Args:
        seed: any integer. Public, and with it every word of the source.
        names: what the source is for.

    Returns:
        A source with ``private`` false.

    Guarantees:
        - the same seed and names give the same words on every machine;
        - other names give an independent source.

    >>> seeded_source(0, "noise")
    Source(private=False)
    """
    return Source(hashlib.sha256(derive_seed(seed, *names).to_bytes(16, "big")).digest())
