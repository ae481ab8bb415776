"""Named random streams that all grow from one seed.

A stream is addressed by names, never by the order in which streams are drawn, so that adding a
client or a step changes nobody else's randomness.
"""

from __future__ import annotations

import hashlib

import numpy as np


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
