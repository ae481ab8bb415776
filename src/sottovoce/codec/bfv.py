"""Parameters of BFV: how many words of how many clients fit into one exact encrypted sum.

Secrets are ternary and the ring has degree N = 4096, for which the table of
homomorphicencryption.org (standard of 2018, 128 bits, classical) allows a modulus of 109 bits; SEAL
enforces it. TenSEAL insists on a second prime beside q, which counts in that table and which no
ciphertext uses.

    q          both primes   n·t up to   bytes per word
    40 bits    80 bits       2^32.5      12
    60 bits    109 bits      2^52.5      16

A slot counts mod t, the smallest prime above n·2^b with t = 1 mod 8192, so a sum of n words never
wraps in t.

**Noise.** Clients hold the secret, so they encrypt with it, and a fresh ciphertext's noise is one
sample of |e| <= 21, plus at most 1/2 from rounding q·m/t. Additions add the noise up. Decryption is
exact while the noise is below q/2t; every set keeps it below q/4t, n·21.5 < 2^(log2 q - 1)/4t.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from sottovoce.errors import ConfigError, VerificationError

PUBLIC_BYTES: Final = 37
RUN_BYTES: Final = 16
COUNT_BYTES: Final = 4
DEGREE: Final = 4096
"""N, the slots of a ciphertext."""

CHUNK_LIMIT: Final = 2 * DEGREE * 8 + 1024
"""The most bytes of one: two polynomials of 64-bit words, and what compression may add in vain."""

_MAGIC: Final = b"svhe\x00\x00\x00\x01"
_PUBLIC: Final = struct.Struct(f">8sBIQ{RUN_BYTES}s")
# Bits of q, and of the prime that only TenSEAL wants.
_SETS: Final = ((40, 40), (60, 49))
# Twice the bound on the noise of one ciphertext: 2·21 from encryption and 2·(1/2) from rounding.
_TWICE_NOISE: Final = 43
# The last slots hold zeros, where a wrong key shows: t > 2^15, so five of them are zero by chance
# with a probability below 2^-64.
_ZERO_SLOTS: Final = 5

# Witnesses that make Miller and Rabin's test exact below 3.4e14 > 2^48 (Jaeschke 1993).
_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17)
_MOST_WORDS: Final = 2**40


@dataclass(frozen=True)
class Parameters:
    """What the server may know: the shape of a sum, and of which run it is. Public.

    Args:
        bits: b, words are mod 2^b; 8 to 32.
        clients: n, the most that can be in one sum; 1 or more.
        length: words of one client, the check words included.
        run: 16 bytes that tell one run's keys from another's.

    Guarantees:
        - no sum of n clients wraps around in a slot or drowns in noise;
        - SEAL accepts them at its level of 128 bits.

    Raises:
        ConfigError: a number is out of range, or no set of the table has room for the sum.

    >>> parameters = Parameters(bits=16, clients=10, length=1_000_008, run=bytes(16))
    >>> parameters.plain_modulus, parameters.coefficient_bits, parameters.chunks
    (737281, (40, 40), 245)
    """

    bits: int
    clients: int
    length: int
    run: bytes

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 32:
            raise ConfigError(f"words of {self.bits} bits", allowed="8 to 32")
        if not (self.clients >= 1 and 1 <= self.length <= _MOST_WORDS):
            raise ConfigError(
                f"{self.clients} clients with {self.length} words",
                allowed=f"1 client or more, 1 to {_MOST_WORDS} words",
            )
        if len(self.run) != RUN_BYTES:
            raise ConfigError(f"a run of {len(self.run)} bytes", allowed=f"{RUN_BYTES} bytes")
        if not self.coefficient_bits:
            raise ConfigError(
                f"no parameters of he fit {self.clients} clients and words of {self.bits} bits",
                remedy="Take fewer bits, fewer clients in a sum, or another aggregation",
            )

    @cached_property
    def plain_modulus(self) -> int:
        """The modulus t of a slot: the smallest prime above n·2^b with t = 1 mod 2N."""
        above = self.clients << self.bits
        candidate = above - above % (2 * DEGREE) + 1
        while candidate <= above or not _is_prime(candidate):
            candidate += 2 * DEGREE
        return candidate

    @cached_property
    def coefficient_bits(self) -> tuple[int, ...]:
        """The bits of q, and of the prime beside it: the first set with room for the noise."""
        # n·t < 2^(log2 q - 2)/43, so n times the noise is below 2^(log2 q - 1)/4t.
        needed = self.clients * self.plain_modulus * _TWICE_NOISE
        return next((bits for bits in _SETS if needed < 1 << (bits[0] - 2)), ())

    @property
    def chunks(self) -> int:
        """How many ciphertexts hold the words and the zeros behind them."""
        return -(-(self.length + _ZERO_SLOTS) // DEGREE)

    @property
    def largest_bytes(self) -> int:
        """The most bytes that an encrypted vector or sum can have."""
        return PUBLIC_BYTES + COUNT_BYTES + self.chunks * (COUNT_BYTES + CHUNK_LIMIT)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What a word is kept in: uint16 up to 16 bits, else uint32."""
        return np.dtype(np.uint16 if self.bits <= 16 else np.uint32)

    @property
    def public(self) -> bytes:
        """These parameters as bytes, for the server."""
        return _PUBLIC.pack(_MAGIC, self.bits, self.clients, self.length, self.run)


def read_public(data: bytes) -> Parameters:
    """Read a run's parameters from the bytes that its clients sent.

    Guarantees:
        - for any bytes whatever it returns parameters whose ``public`` is these bytes, or raises.

    Raises:
        VerificationError: the bytes are not parameters of this version.
    """
    if len(data) != PUBLIC_BYTES or not data.startswith(_MAGIC):
        raise VerificationError(
            f"{len(data)} bytes that are not parameters of he",
            allowed=f"{PUBLIC_BYTES} bytes that begin with {_MAGIC!r}",
        )
    _, bits, clients, length, run = _PUBLIC.unpack(data)
    try:
        return Parameters(bits, clients, length, run)
    except ConfigError as problem:
        raise VerificationError(f"parameters of he that cannot be used: {problem}") from problem


def _is_prime(number: int) -> bool:
    """Whether a number below 2^48 is prime: Miller and Rabin's test."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for witness in _WITNESSES:
        power = pow(witness, odd, number)
        powers = [pow(power, 1 << i, number) for i in range(twos)]
        if power != 1 and number - 1 not in powers:
            return False
    return True
