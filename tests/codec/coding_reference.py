"""The coding of integer sums once more: slow, entry by entry, in integers and fractions.

    python tests/codec/coding_reference.py > tests/vectors/coding.json

It imports nothing of the package. Rotations are exact where √F is a power of two, which is so for
blocks of 1, 4, 16, 64, ... entries; elsewhere they are not offered.
"""

from __future__ import annotations

import json
from fractions import Fraction
from math import isqrt

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def key_stream(key: bytes, size: int) -> bytes:
    """AES-256 in counter mode from zero: NIST SP 800-38A, section 6.5."""
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(size))


def blocks(size: int) -> tuple[int, list[int]]:
    """The width of the blocks and where they begin."""
    width = 2 ** (len(bin(size)) - 3)
    return width, [0] if width == size else [0, size - width]


def signs(seed: bytes, size: int) -> list[list[int]]:
    """One list of ±1 for each block; each block begins with a new word of 8 bytes."""
    width, begins = blocks(size)
    octets = 8 * -(-width // 64)
    stream = key_stream(seed, octets * len(begins))
    drawn = []
    for number in range(len(begins)):
        own = stream[number * octets : (number + 1) * octets]
        drawn.append([1 - 2 * (own[i // 8] >> (i % 8) & 1) for i in range(width)])
    return drawn


def transform(entries: list[Fraction]) -> list[Fraction]:
    root = isqrt(len(entries))
    assert root * root == len(entries)
    return [
        sum(((-1) ** (i & j).bit_count() * x for j, x in enumerate(entries)), Fraction(0)) / root
        for i in range(len(entries))
    ]


def rotate(vector: list[Fraction], seed: bytes) -> list[Fraction]:
    width, begins = blocks(len(vector))
    rotated = list(vector)
    for begin, flips in zip(begins, signs(seed, len(vector)), strict=True):
        own = [s * x for s, x in zip(flips, rotated[begin : begin + width], strict=True)]
        rotated[begin : begin + width] = transform(own)
    return rotated


def unrotate(rotated: list[Fraction], seed: bytes) -> list[Fraction]:
    width, begins = blocks(len(rotated))
    vector = list(rotated)
    for begin, flips in reversed(list(zip(begins, signs(seed, len(rotated)), strict=True))):
        own = transform(vector[begin : begin + width])
        vector[begin : begin + width] = [s * x for s, x in zip(flips, own, strict=True)]
    return vector


def limit(bits: int, clients: int) -> int:
    return (2 ** (bits - 1) - 1) // clients


def scale(size: int, clip_norm: Fraction, bits: int, clients: int) -> Fraction:
    """The largest step over the largest rotated entry: 8·C/√F, or C where that is less."""
    root = isqrt(blocks(size)[0])
    return limit(bits, clients) / (clip_norm * min(Fraction(1), Fraction(8, root)))


def round_up_or_down(values: list[Fraction], largest: int, words: list[int]) -> list[int]:
    """Integers of 32 random bits decide, of which the upper r count."""
    r = 31 - largest.bit_length() if largest < 2**15 else 32
    return [
        (round(value * 2**r) + (word >> (32 - r))) // 2**r
        for value, word in zip(values, words, strict=False)
    ]


def words_of_32_bits(key: bytes, count: int) -> list[int]:
    stream = key_stream(key, 4 * (count + count % 2))
    return [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(count)]


def steps(
    vector: list[Fraction],
    *,
    clip_norm: Fraction,
    bits: int,
    clients: int,
    share: Fraction,
    rotation_seed: bytes,
    rounding_key: bytes,
) -> list[int]:
    """The norm of the vector must be a fraction where it is above the clip norm."""
    squares = sum(x * x for x in vector)
    shorten = Fraction(1)
    if squares > clip_norm**2:
        norm = Fraction(isqrt(squares.numerator), isqrt(squares.denominator))
        assert norm * norm == squares
        shorten = clip_norm / norm
    factor = shorten * share * scale(len(vector), clip_norm, bits, clients)
    rotated = [x * factor for x in rotate(vector, rotation_seed)]
    largest = limit(bits, clients)
    assert max(map(abs, rotated)) <= largest
    return round_up_or_down(rotated, largest, words_of_32_bits(rounding_key, len(vector)))


def limb_bits(bits: int, clients: int) -> int:
    """bits - ceil(log2(clients + 1))."""
    room = 0
    while 2**room < clients + 1:
        room += 1
    assert clients * (2 ** (bits - room) - 1) < 2**bits
    return bits - room


def seal(numbers: list[int], *, bits: int, clients: int, weight: int, count: int = 1) -> list[int]:
    width = limb_bits(bits, clients)
    limbs = [weight // 2 ** (width * i) % 2**width for i in range(-(-29 // width))]
    words = [number % 2**bits for number in [*numbers, *limbs, count]]
    parts = -(-64 // bits)
    return words + [sum(words[part::parts]) % 2**bits for part in range(parts)]


def add(vectors: list[list[int]], bits: int) -> list[int]:
    return [sum(column) % 2**bits for column in zip(*vectors, strict=True)]


def signed(words: list[int], bits: int) -> list[int]:
    return [word - 2**bits if word >= 2 ** (bits - 1) else word for word in words]


def planes(words: list[int], bits: int) -> bytes:
    """Bytes of words: each power of two in ``bits`` is a plane, the largest is the lowest bits."""
    out, shift = b"", 0
    for plane in (32, 16, 8, 4, 2, 1):
        if not bits & plane:
            continue
        cut = [word >> shift & (2**plane - 1) for word in words]
        shift += plane
        if plane >= 8:
            out += b"".join(each.to_bytes(plane // 8, "little") for each in cut)
            continue
        width = -(-len(cut) * plane // 8)
        octets = [0] * width
        for i, each in enumerate(cut):
            octets[i % width] += each << (i // width * plane)
        out += bytes(octets)
    return out


def _case(name: str, size: int, clients: int, bits: int, scale_bits: int, heaviest: int) -> dict:
    """Numbers of few enough digits that float32 does everything but the rounding exactly."""
    clip_norm = Fraction(limit(bits, clients), 2**scale_bits)
    assert scale(size, clip_norm, bits, clients) == 2**scale_bits
    seed = bytes((7 * i + size) % 256 for i in range(32))
    unit = clip_norm.numerator.bit_length() - clip_norm.denominator.bit_length() - 18
    uploads, sealed = [], []
    for number, weight in enumerate((heaviest, heaviest // 2, 3 * heaviest // 4)[:clients]):
        stream = key_stream(bytes([number]) * 32, 2 * size)
        pairs = [int.from_bytes(stream[2 * i : 2 * i + 2], "little") for i in range(size)]
        vector = [(pair - 2**15) * Fraction(2) ** unit for pair in pairs]
        if number == 1:
            # One entry, twice as long as may be where a float32 holds that, or just within.
            vector = [Fraction(0)] * size
            narrow = clip_norm.numerator < 2**24
            vector[size // 2] = -2 * clip_norm if narrow else Fraction(-32)
        key = bytes([100 + number]) * 32
        numbers = steps(
            vector,
            clip_norm=clip_norm,
            bits=bits,
            clients=clients,
            share=Fraction(weight, heaviest),
            rotation_seed=seed,
            rounding_key=key,
        )
        words = seal(numbers, bits=bits, clients=clients, weight=weight)
        uploads.append(
            {
                "vector": [float(x) for x in vector],
                "weight": weight,
                "rounding_key": key.hex(),
                "steps": numbers,
                "words": words,
                "wire": planes(words, bits).hex(),
            }
        )
        sealed.append(words)
    total = add(sealed, bits)
    decoded = unrotate([Fraction(x, 2**scale_bits) for x in signed(total[:size], bits)], seed)
    return {
        "name": name,
        "size": size,
        "clip_norm": float(clip_norm),
        "clients": clients,
        "bits": bits,
        "heaviest": heaviest,
        "rotation_seed": seed.hex(),
        "uploads": uploads,
        "total": total,
        "decoded": [float(x) for x in decoded],
        "weight": sum(upload["weight"] for upload in uploads),
        "count": len(uploads),
    }


def cases() -> list[dict]:
    return [
        _case("16 bits, one block", 16, 3, 16, 8, 4),
        _case("16 bits, two blocks that overlap", 21, 3, 16, 8, 2**20),
        _case("20 bits, a thousand clients at most", 19, 1000, 20, 4, 4),
        _case("12 bits", 4, 5, 12, 2, 8),
        _case("32 bits, integers beyond 2^15", 16, 3, 32, 24, 4),
    ]


if __name__ == "__main__":
    made_by = "tests/codec/coding_reference.py: integers, fractions, AES of cryptography"
    print(json.dumps({"made_by": made_by, "cases": cases()}, indent=1))
