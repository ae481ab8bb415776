"""How the vectors of one cohort become integers mod 2^b, and how their sum is read again.

    clip  ->  weigh by w/W <= 1  ->  rotate  ->  scale  ->  round at random  ->  mod 2^b  ->  close

The scale comes from the clip bound C and never from the vector. After the rotation, which spreads
each entry over F, an entry is beyond 8·C/√F, eight standard deviations, with a probability of at
most 2^-45. That bound becomes the largest step, limit = floor((2^(b-1) - 1)/n) for n clients, so
that n of them cannot wrap around. A vector with a larger entry is shrunk as a whole and says so.

Behind the entries travel the weight, the count and a checksum, which ``checks`` explains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec import checks
from sottovoce.codec.checks import Words
from sottovoce.codec.rotation import block_size, rotate_in_place, unrotate_in_place
from sottovoce.codec.rounding import round_randomly
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import Source

STANDARD_DEVIATIONS: Final = 8.0
"""Where a rotated entry is cut, in units of C/√F."""

WRAP_LOG2: Final = -30.0
"""log2 of the largest chance that noise wraps an entry anywhere in a run."""

_TRIES: Final = 100
_CHUNK: Final = 2**16


@dataclass(frozen=True)
class Coding:
    """What all clients of a cohort agree on before they write their vectors. Public.

    Args:
        size: N, entries of a vector.
        clip_norm: C, the L2 bound on one client's vector, in the vector's unit; 1e-20 to 1e20.
        clients: n, the most that can be in one sum.
        bits: b, the words are mod 2^b; 8 to 32.
        noise_std: standard deviation of all noise together in one entry of a sum, in the
            vector's unit, when every client's share is there; 0 without noise.
        rounds: sums in the run; they share the chance of a wrap.
        rotated: whether vectors are rotated first. Without it C has room in a single entry, and
            the scale is a power of two.

    Guarantees:
        - n·limit <= 2^(b-1) - 1: without noise no sum of n vectors wraps around;
        - with noise that is Gaussian, discrete Gaussian or Skellam, the chance that any entry of
          any round wraps is at most 2^-30, and ``wrap_log2`` says how small.

    Raises:
        ConfigError: a number is out of range, or b bits leave no room for n clients and the noise.

    >>> coding = Coding(size=1_000_000, clip_norm=1.0, clients=10, bits=16)
    >>> coding.limit, coding.length - coding.size
    (3276, 8)
    """

    size: int
    clip_norm: float
    clients: int
    bits: int
    noise_std: float = 0.0
    rounds: int = 1
    rotated: bool = True

    def __post_init__(self) -> None:
        if self.size < 1 or self.clients < 1 or self.rounds < 1:
            raise ConfigError(
                f"{self.size} entries, {self.clients} clients and {self.rounds} rounds",
                allowed="1 or more of each",
            )
        if not 1e-20 <= self.clip_norm <= 1e20:
            raise ConfigError(f"clip_norm is {self.clip_norm}", allowed="1e-20 to 1e20")
        if not 8 <= self.bits <= 32:
            raise ConfigError(f"words of {self.bits} bits", allowed="8 to 32")
        if self.noise_std and not 1e-40 <= self.noise_std <= 1e40:
            raise ConfigError(f"noise_std is {self.noise_std}", allowed="0, or 1e-40 to 1e40")
        if self.limit < 1:
            noise = f" and noise of {self.noise_std:g}" if self.noise_std else ""
            raise ConfigError(
                f"{self.bits} bits leave no room for {self.clients} clients{noise}",
                remedy="Take more bits, fewer clients in a sum, or less noise",
            )

    @property
    def block(self) -> int:
        """F, the entries over which the rotation spreads each one; 1 without a rotation."""
        return block_size(self.size) if self.rotated else 1

    @cached_property
    def limit(self) -> int:
        """The largest step of one entry of one client."""
        low, high = 0, self._most // self.clients
        if not self.noise_std:
            return high
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._wrap_chance(middle) <= WRAP_LOG2
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    @property
    def scale(self) -> float:
        """Steps per unit of an entry: limit·√F / 8C, without rotation the power of two below limit / C."""
        return self._scale(self.limit)

    @property
    def wrap_log2(self) -> float:
        """log2 of a bound on the chance that an entry wraps in the run; -inf without noise."""
        return self._wrap_chance(self.limit) if self.noise_std else -math.inf

    @property
    def dtype(self) -> np.dtype[Any]:
        """What a word is kept in: uint16 up to 16 bits, else uint32."""
        return np.dtype(np.uint16 if self.bits <= 16 else np.uint32)

    @property
    def length(self) -> int:
        """Words of an upload: the entries, and behind them weight, count and checksum."""
        return self.size + checks.check_words(self.bits, self.clients)

    @property
    def _most(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def _scale(self, limit: int) -> float:
        if not self.rotated:
            return math.ldexp(1.0, math.frexp(limit / self.clip_norm)[1] - 1) if limit else 0.0
        # No entry of a vector is larger than its norm, so small blocks need less room.
        return limit / (self.clip_norm * min(1.0, STANDARD_DEVIATIONS / math.sqrt(self.block)))

    def _wrap_chance(self, limit: int) -> float:
        """Bound log2 of the chance of a wrap: P(X >= k) <= exp(√(k² + μ²) - μ - k·asinh(k/μ)).

        That is Chernoff's bound for a Skellam of variance μ. The moment generating functions of a
        Gaussian and a discrete Gaussian are no larger.
        """
        k = float(self._most + 1 - self.clients * limit)
        mu = (self.noise_std * self._scale(limit)) ** 2
        tail = k * k / (math.hypot(k, mu) + mu) - k * math.asinh(k / mu)
        return math.log2(2.0 * self.size * self.rounds) + tail / math.log(2)


def default_bits(clients: int) -> int:
    """Choose the width of a word: 16 bits up to 1,000 clients, 20 bits above.

    >>> default_bits(1000), default_bits(1001)
    (16, 20)
    """
    return 16 if clients <= 1000 else 20


@dataclass(frozen=True, eq=False)
class Quantised:
    """One client's rotated vector in steps. Private.

    Args:
        steps: int32 or int64, ``[N]``, each at most the coding's limit in absolute value.
        shrunk: whether an entry was beyond the limit, so that the whole vector was made shorter.
    """

    steps: NDArray[Any] = field(repr=False)
    shrunk: bool


@dataclass(frozen=True, eq=False)
class Decoded:
    """A sum of clients.

    Args:
        vector: Σ (w_k/W)·x_k, float32, ``[N]``.
        weight: Σ w_k.
        count: how many clients are in it.
    """

    vector: NDArray[np.float32] = field(repr=False)
    weight: int
    count: int


def quantise(
    vector: NDArray[np.float32],
    coding: Coding,
    *,
    weight: int,
    heaviest: int,
    rotation_seed: bytes,
    rounding: Source,
    norm_limit: float | None = None,
) -> Quantised:
    """Write one client's vector as integers.

        round( scale · R · (w/W) · min(1, C/‖x‖) · x ),   R the rotation

    Args:
        vector: x, float32, ``[N]``. Private.
        coding: what the cohort agreed on. Public.
        weight: w, from 0 to W. Private where it is masked.
        heaviest: W, 1 to 2^29 - 1. Public.
        rotation_seed: 32 bytes, the same for the whole cohort. Public.
        rounding: where the random roundings come from. Private.
        norm_limit: in steps; the rounding is drawn anew until the integers' norm is at most this,
            and the clip norm is lowered by 2^-18 of it. ``rounded_norm_bound`` is a limit that
            each draw meets with a chance of at least 39 percent. Public.

    Guarantees:
        - each step is at most the limit, and each rounding error below 1;
        - the mean of each step, over the rounding, is the exact value to 2^-17 + 2^-19·scale·C;
        - a vector within C whose rotated entries fit is neither clipped nor shrunk;
        - an entry beyond the limit shrinks the whole vector by one factor, and ``shrunk`` says so;
        - the integers' norm is at most scale·C·(1 + 2^-18) + √N, and ``norm_limit`` if given;
        - the vector is left as it was.

    Edge cases: a condition on the norm makes the roundings depend on each other, so that the mean
    is no longer exact; Kairouz, Liu, Steinke 2021, section 4, bound the difference.

    Raises:
        VerificationError: the vector is not float32 of the coding's size or not finite; the weight
            is out of range; no rounding met ``norm_limit`` in a hundred draws.
        ConfigError: the seed does not have 32 bytes.
    """
    checks.require_weight(weight, heaviest)
    if vector.shape != (coding.size,) or vector.dtype != np.float32:
        raise VerificationError(
            f"a vector of type {vector.dtype} and shape {vector.shape}",
            allowed=f"float32 of shape ({coding.size},)",
        )
    norm = math.sqrt(_squares(vector))
    if not math.isfinite(norm):
        raise VerificationError("a client's vector is not finite", allowed="finite numbers")
    # What float32 may add to a norm must not use up the room that a limit leaves for rounding.
    within = coding.clip_norm * (1.0 if norm_limit is None else 1 - 2.0**-18)
    shorten = min(1.0, within / norm) if norm else 1.0
    values = vector * np.float32(shorten * (weight / heaviest) * coding.scale)
    if coding.rotated:
        rotate_in_place(values, rotation_seed)
    peak = max(float(values.max()), -float(values.min()))
    shrunk = peak > coding.limit
    if shrunk:
        # Slightly more than needed, so that rounding the product cannot pass the limit.
        values *= np.float32(coding.limit / peak * (1 - 2.0**-22))
    for _ in range(_TRIES):
        steps = round_randomly(values, coding.limit, rounding)
        # The margin is for the sum of squares, which is rounded too.
        if norm_limit is None or _squares(steps) * (1 + 2.0**-30) <= norm_limit**2:
            return Quantised(steps, shrunk)
    raise VerificationError(
        f"no rounding of {_TRIES} has a norm of at most {norm_limit}",
        remedy="A limit of rounded_norm_bound is met after a few",
    )


def rounded_norm(norm: float, size: int) -> float:
    """Bound the norm of a vector after random rounding to integers.

        Δ² = min( (c + √d)²,  c² + d/4 + c + √d/2 )

    Kairouz, Liu, Steinke 2021, theorem 1, with β = e^-1/2: the second bound holds with a
    probability of at least 1 - β, and for certain once the rounding is drawn until it does.

    Args:
        norm: c, before rounding, in steps.
        size: d, the number of entries.

    >>> rounded_norm(0.0, 100)
    5.477225575051661
    """
    root = math.sqrt(size)
    return math.sqrt(min((norm + root) ** 2, norm**2 + size / 4 + norm + root / 2))


def rounded_norm_bound(coding: Coding) -> float:
    """Bound the norm of one client's steps: Δ above at c = scale·C, what the noise has to hide."""
    return rounded_norm(coding.scale * coding.clip_norm, coding.size)


def close(
    steps: NDArray[np.signedinteger[Any]], coding: Coding, *, weight: int, count: int = 1
) -> Words:
    """Reduce steps mod 2^b and append the weight, the count and the checksum.

    Args:
        steps: integers, ``[N]``; a client's own, with its share of the noise. Private.
        coding: what the cohort agreed on. Public.
        weight: w, 0 to 2^29 - 1.
        count: how many clients these steps stand for.

    Returns:
        ``[coding.length]``, each word below 2^b. Private until it is masked.

    Raises:
        VerificationError: the steps are not integers of the coding's size, or the weight or the
            count is out of range.
    """
    if steps.shape != (coding.size,) or not np.issubdtype(steps.dtype, np.signedinteger):
        raise VerificationError(
            f"steps of type {steps.dtype} and shape {steps.shape}",
            allowed=f"signed integers of shape ({coding.size},)",
        )
    words = np.empty(coding.length, coding.dtype)
    # Signed integers become words by dropping their upper bits.
    words[: coding.size] = steps
    checks.seal(words, coding.bits, coding.clients, weight=weight, count=count)
    return words


def add(total: Words, words: Words) -> None:
    """Add words to a running sum in place, mod 2^16 or 2^32; ``open_sum`` reduces to 2^b.

    Guarantees:
        - the order of additions does not matter.

    Raises:
        VerificationError: the two differ in type or shape.
    """
    if total.dtype != words.dtype or total.shape != words.shape:
        raise VerificationError(
            f"words of type {words.dtype} and shape {words.shape}",
            allowed=f"{total.dtype} of shape {total.shape}",
        )
    np.add(total, words, out=total)


def open_sum(total: Words, coding: Coding, *, rotation_seed: bytes, heaviest: int) -> Decoded:
    """Read the sum of the clients' words.

        Σ (w_k/W)·x_k  =  R^-1 · (signed total) / scale

    Args:
        total: the words' sum mod 2^b or any multiple of it, ``[coding.length]``.
        coding: what the cohort agreed on. Public.
        rotation_seed: the cohort's. Public.
        heaviest: W. Public.

    Returns:
        The weighted sum, not the mean: that is the vector times W over the weight.

    Guarantees:
        - entries are read bit for bit: they are the integer sum of the clients' steps;
        - a sum in which a mask was left passes with a chance of 2^-64, and one in which a single
          word was changed never does;
        - for K clients without noise, the vector's error, as a vector, has a norm of at most
          √N·K/scale + 2^-18·K·C; and each entry's error has a mean of 0 and a standard deviation
          of at most √K/(2·scale), both to 2^-18·K·C;
        - the total is left as it was, and memory beside the vector stays within a few chunks.

    Raises:
        VerificationError: the words are not the coding's, the checksum is wrong, the count is not
            1 to n, the weight is more than so many clients can have, or, without noise, an entry
            is more than so many clients can send.
    """
    checks.require_weight(0, heaviest)
    if total.dtype != coding.dtype or total.shape != (coding.length,):
        raise VerificationError(
            f"a sum of type {total.dtype} and shape {total.shape}",
            allowed=f"{coding.dtype} of shape ({coding.length},)",
        )
    weight, count = checks.read(total, coding.bits, coding.clients, heaviest=heaviest)
    vector = _signed(total[: coding.size], coding, count)
    if coding.rotated:
        unrotate_in_place(vector, rotation_seed)
    return Decoded(vector, weight, count)


def _squares(values: NDArray[Any]) -> float:
    """Add up squares in float64, in an order that no number of threads changes."""
    chunks = (values[begin : begin + _CHUNK] for begin in range(0, values.size, _CHUNK))
    return math.fsum(float(np.square(chunk, dtype=np.float64).sum()) for chunk in chunks)


def _signed(words: Words, coding: Coding, count: int) -> NDArray[np.float32]:
    """Read words as numbers of [-2^(b-1), 2^(b-1)), in the vector's unit but still rotated."""
    width = 8 * coding.dtype.itemsize
    reach = count * coding.limit
    vector = np.empty(words.size, np.float32)
    for begin in range(0, words.size, _CHUNK):
        # The sign moves to the word's own highest bit and back, which repeats it.
        chunk = words[begin : begin + _CHUNK] << (width - coding.bits)
        steps = chunk.view(f"i{coding.dtype.itemsize}") >> (width - coding.bits)
        if not coding.noise_std and (int(steps.max()) > reach or int(steps.min()) < -reach):
            raise VerificationError(
                f"an entry beyond what {count} clients can send", allowed=f"-{reach} to {reach}"
            )
        vector[begin : begin + _CHUNK] = steps * (1 / coding.scale)
    return vector
