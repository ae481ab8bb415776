"""Make secagg_hybrid.json: ML-KEM-768 and all that a post-quantum sum derives, slowly.

    python tests/vectors/make_secagg_hybrid.py > tests/vectors/secagg_hybrid.json

Needs Python alone. ML-KEM is written out from FIPS 203, X25519 from RFC 7748, ChaCha20-Poly1305
from RFC 8439 and HKDF from RFC 5869, all in whole numbers, so that no line of this is shared with
the package or with a library the package uses. The known answers are copied from the source that
they name, long ones as SHA-256; the vectors of a pair are our own.
"""

import json
import sys
from hashlib import sha3_256, sha3_512, sha256, shake_128, shake_256
from hmac import digest as hmac

# --- ML-KEM-768, FIPS 203 ------------------------------------------------------------------------

Q = 3329
K = 3
Polynomial = list[int]


def reversed_bits(number: int) -> int:
    return int(f"{number:07b}"[::-1], 2)


ZETAS = [pow(17, reversed_bits(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * reversed_bits(i) + 1, Q) for i in range(128)]


def transformed(f: Polynomial) -> Polynomial:
    """Algorithm 9, NTT."""
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                t = ZETAS[i] * f[j + length]
                f[j], f[j + length] = (f[j] + t) % Q, (f[j] - t) % Q
            i += 1
        length //= 2
    return f


def back(f: Polynomial) -> Polynomial:
    """Algorithm 10, the inverse of the NTT."""
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                a, b = f[j], f[j + length]
                f[j], f[j + length] = (a + b) % Q, ZETAS[i] * (b - a) % Q
            i -= 1
        length *= 2
    return [x * 3303 % Q for x in f]


def times(f: Polynomial, g: Polynomial) -> Polynomial:
    """Algorithm 11: multiply what is transformed."""
    product = []
    for i, gamma in enumerate(GAMMAS):
        (a, b), (c, d) = f[2 * i : 2 * i + 2], g[2 * i : 2 * i + 2]
        product += [(a * c + b * d * gamma) % Q, (a * d + b * c) % Q]
    return product


def plus(*all_of_them: Polynomial) -> Polynomial:
    return [sum(column) % Q for column in zip(*all_of_them, strict=True)]


def dot(row: list[Polynomial], column: list[Polynomial]) -> Polynomial:
    return plus(*(times(f, g) for f, g in zip(row, column, strict=True)))


def packed(f: Polynomial, bits: int) -> bytes:
    """Algorithm 5, ByteEncode."""
    return sum(x << bits * i for i, x in enumerate(f)).to_bytes(32 * bits, "little")


def unpacked(data: bytes, bits: int) -> Polynomial:
    whole = int.from_bytes(data, "little")
    return [whole >> bits * i & 2**bits - 1 for i in range(256)]


def compressed(f: Polynomial, bits: int) -> Polynomial:
    return [(2 * x * 2**bits + Q) // (2 * Q) % 2**bits for x in f]


def decompressed(f: Polynomial, bits: int) -> Polynomial:
    return [(2 * y * Q + 2**bits) // 2 ** (bits + 1) for y in f]


def uniform(rho: bytes, j: int, i: int) -> Polynomial:
    """Algorithm 7, SampleNTT."""
    stream, found = shake_128(rho + bytes((j, i))).digest(3 * 1000), []
    for a, b, c in zip(stream[::3], stream[1::3], stream[2::3], strict=True):
        found += [x for x in (a + 256 * (b % 16), b // 16 + 16 * c) if x < Q]
    return found[:256]


def small(seed: bytes, number: int) -> Polynomial:
    """Algorithm 8, SamplePolyCBD with η = 2."""
    whole = int.from_bytes(shake_256(seed + bytes((number,))).digest(128), "little")
    nibbles = [whole >> 4 * i & 15 for i in range(256)]
    return [((x & 1) + (x >> 1 & 1) - (x >> 2 & 1) - (x >> 3)) % Q for x in nibbles]


def matrix(rho: bytes) -> list[list[Polynomial]]:
    return [[uniform(rho, j, i) for j in range(K)] for i in range(K)]


def keys(d: bytes) -> tuple[bytes, list[Polynomial]]:
    """Algorithm 13: the public key, and the secret vector, transformed."""
    both = sha3_512(d + bytes((K,))).digest()
    rho, sigma = both[:32], both[32:]
    s = [transformed(small(sigma, i)) for i in range(K)]
    e = [transformed(small(sigma, K + i)) for i in range(K)]
    t = [plus(dot(row, s), error) for row, error in zip(matrix(rho), e, strict=True)]
    return b"".join(packed(f, 12) for f in t) + rho, s


def encrypted(public: bytes, message: bytes, randomness: bytes) -> bytes:
    """Algorithm 14."""
    t = [unpacked(public[384 * i : 384 * i + 384], 12) for i in range(K)]
    a = matrix(public[384 * K :])
    y = [transformed(small(randomness, i)) for i in range(K)]
    e = [small(randomness, K + i) for i in range(K + 1)]
    u = [plus(back(dot([row[i] for row in a], y)), e[i]) for i in range(K)]
    v = plus(back(dot(t, y)), e[K], decompressed(unpacked(message, 1), 1))
    return b"".join(packed(compressed(f, 10), 10) for f in u) + packed(compressed(v, 4), 4)


def decrypted(s: list[Polynomial], ciphertext: bytes) -> bytes:
    """Algorithm 15."""
    u = [decompressed(unpacked(ciphertext[320 * i : 320 * i + 320], 10), 10) for i in range(K)]
    v = decompressed(unpacked(ciphertext[320 * K :], 4), 4)
    product = back(dot(s, [transformed(f) for f in u]))
    return packed(compressed([(a - b) % Q for a, b in zip(v, product, strict=True)], 1), 1)


def encapsulated(public: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Algorithm 17: the secret and the ciphertext."""
    both = sha3_512(message + sha3_256(public).digest()).digest()
    return both[:32], encrypted(public, message, both[32:])


def decapsulated(seed: bytes, ciphertext: bytes) -> bytes:
    """Algorithm 18."""
    public, s = keys(seed[:32])
    secret, again = encapsulated(public, decrypted(s, ciphertext))
    return secret if again == ciphertext else shake_256(seed[32:] + ciphertext).digest(32)


# --- X25519, HKDF, ChaCha20-Poly1305 -------------------------------------------------------------

P = 2**255 - 19


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5."""
    k = int.from_bytes(scalar, "little") & ~7 & 2**255 - 1 | 2**254
    x1 = int.from_bytes(point, "little") % 2**255 % P
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in reversed(range(255)):
        if swap := k >> bit & 1:
            x2, x3, z2, z3 = x3, x2, z3, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
        if swap:
            x2, x3, z2, z3 = x3, x2, z3, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def x25519_public(scalar: bytes) -> bytes:
    return x25519(scalar, (9).to_bytes(32, "little"))


def hkdf(secret: bytes, salt: bytes, info: bytes, size: int = 32) -> bytes:
    """RFC 5869 with SHA-256."""
    extracted, out, block = hmac(salt, secret, "sha256"), b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac(extracted, block + info + bytes((number,)), "sha256")
        out += block
    return out[:size]


def chacha_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """RFC 8439, section 2.3."""
    data = b"expand 32-byte k" + key + counter.to_bytes(4, "little") + nonce
    start = [int.from_bytes(data[i : i + 4], "little") for i in range(0, 64, 4)]
    x = list(start)
    rounds = [(i, i + 4, i + 8, i + 12) for i in range(4)]
    rounds += [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
    for a, b, c, d in rounds * 10:
        for one, other, into, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[one] = (x[one] + x[other]) % 2**32
            mixed = x[into] ^ x[one]
            x[into] = (mixed << by | mixed >> 32 - by) % 2**32
    return b"".join(((a + b) % 2**32).to_bytes(4, "little") for a, b in zip(x, start, strict=True))


def aead(key: bytes, nonce: bytes, text: bytes, associated: bytes = b"") -> bytes:
    """RFC 8439, section 2.8."""
    stream = b"".join(chacha_block(key, i + 1, nonce) for i in range(-(-len(text) // 64)))
    sealed = bytes(a ^ b for a, b in zip(text, stream, strict=False))
    one_time = chacha_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    whole = b"".join(part + bytes(-len(part) % 16) for part in (associated, sealed))
    whole += len(associated).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    total = 0
    for i in range(0, len(whole), 16):
        total = (total + int.from_bytes(whole[i : i + 16], "little") + 2**128) * r % (2**130 - 5)
    tag = (total + int.from_bytes(one_time[16:32], "little")) % 2**128
    return sealed + tag.to_bytes(16, "little")


# --- one pair of a post-quantum sum --------------------------------------------------------------

ROSTER = {
    "oslo": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "rome": "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
}
LOW, HIGH = "oslo", "rome"
RUN, BEACON, CONFIG, ROUND = b"r" * 32, b"b" * 32, b"c" * 32, 7
LENGTH, BITS, NEIGHBOURS, THRESHOLD, SURVIVORS, MALICIOUS, POST_QUANTUM = 5, 16, 1, 1, 2, 1, 2


def named(*names: object) -> bytes:
    return sha256("/".join(map(str, names)).encode()).digest()


def hashed(purpose: str, *values: bytes | str | int) -> bytes:
    parts: list[bytes] = [purpose.encode()]
    for value in values:
        if isinstance(value, int):
            parts.append(value.to_bytes(8, "big"))
        else:
            parts.append(value.encode() if isinstance(value, str) else value)
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def for_secagg(purpose: str, *values: bytes | str | int) -> bytes:
    return hashed(f"sottovoce secagg v1 {purpose}", *values)


def roster_root() -> bytes:
    fields = [part for name, key in ROSTER.items() for part in (name, bytes.fromhex(key))]
    return hashed("sottovoce roster v1", *fields)


def terms_digest() -> bytes:
    numbers = (LENGTH, BITS, NEIGHBOURS, THRESHOLD, SURVIVORS, MALICIOUS + POST_QUANTUM)
    return for_secagg("terms", RUN, ROUND, BEACON, CONFIG, roster_root(), *numbers, *sorted(ROSTER))


def pair() -> dict:
    """What the two clients of one sum derive, if ML-KEM's randomness is what it is here."""
    root, terms = roster_root(), terms_digest()
    mask = {name: named("mask secret", name) for name in ROSTER}
    seal = {name: named("seal secret", name) for name in ROSTER}
    seal_seed = {name: named("d", name) + named("z", name) for name in ROSTER}
    scalar = {name: hkdf(mask[name], root, for_secagg("mask x25519", terms, name)) for name in mask}
    mask_seed = {
        name: hkdf(mask[name], root, for_secagg("mask kem", terms, name), 64) for name in ROSTER
    }
    shown = {
        name: (
            x25519_public(scalar[name]),
            x25519_public(seal[name]),
            keys(mask_seed[name][:32])[0],
            keys(seal_seed[name][:32])[0],
        )
        for name in ROSTER
    }
    bound = {
        name: sha256(
            b"SVSA\1\0" + terms + place.to_bytes(4, "big") + b"".join(shown[name])
        ).digest()
        for place, name in enumerate(sorted(ROSTER))
    }
    links = hkdf(mask[LOW], root, for_secagg("links", terms, LOW))
    link = hkdf(links, root, for_secagg("link", terms, LOW, HIGH))
    common, masking = x25519(seal[LOW], shown[HIGH][1]), x25519(scalar[LOW], shown[HIGH][0])
    info = for_secagg("seal", terms, LOW, HIGH, bound[LOW], bound[HIGH])
    half = hkdf(common, root, info)
    secret, ciphertext = encapsulated(shown[HIGH][3], named("m", "box"))
    info = for_secagg("hybrid seal", terms, LOW, HIGH, ciphertext)
    box_key = hkdf(half + secret, root, info)
    left, left_ciphertext = encapsulated(shown[HIGH][2], named("m", "deposit"))
    info = for_secagg("deposit", terms, LOW, HIGH, left_ciphertext)
    deposit = aead(hkdf(masking + left, root, info), bytes(12), link)
    model = named("model")
    info = for_secagg("pair", RUN, ROUND, LOW, HIGH, model, CONFIG, terms)
    made = {
        "terms_digest": terms,
        "mask_secrets": [mask[name] for name in ROSTER],
        "seal_secrets": [seal[name] for name in ROSTER],
        "seal_seeds": [seal_seed[name] for name in ROSTER],
        "shown_sha256": [sha256(b"".join(shown[name])).digest() for name in ROSTER],
        "half": half,
        "ciphertext": ciphertext,
        "box_key": box_key,
        "link": link,
        "link_commitment": for_secagg("link commitment", terms, LOW, HIGH, link),
        "deposit_ciphertext": left_ciphertext,
        "deposit_box": deposit,
        "model_sha256": model,
        "pair_key": hkdf(masking + link, root, info),
    }
    return {
        name: [it.hex() for it in value] if isinstance(value, list) else value.hex()
        for name, value in made.items()
    }


# --- copied --------------------------------------------------------------------------------------

KNOWN = [
    {
        "what": "ml-kem-768",
        "source": "post-quantum-cryptography/KAT, MLKEM/kat_MLKEM_768.rsp, count 0, as "
        "cryptography_vectors 50.0.2 has it",
        "d": "6dbbc4375136df3b07f7c70e639e223e177e7fd53b161b3f4d57791794f12624",
        "z": "f696484048ec21f96cf50a56d0759c448f3779752f0383d37449690694cf7a68",
        "msg": "20a7b7e10f70496cc38220b944def699bf14d14e55cf4c90a12c1b33fc80ffff",
        "pk_sha256": "4bec4730f26273c6319ef7387dd4758315240a9394cd89264b148b9113060b61",
        "ct_sha256": "4191f5596ebe7ff14461854e6c2885763c439b881166e4337ca5084ee6cf2c6e",
        "ss": "b408d5d115713f0a93047dbbea832e4340787686d59a9a2d106bd662ba0aa035",
    },
    {
        "what": "ml-kem-768",
        "source": "post-quantum-cryptography/KAT, MLKEM/kat_MLKEM_768.rsp, count 1, as "
        "cryptography_vectors 50.0.2 has it",
        "d": "d69cfc64f84d4f33e4c54e166b7ff9283a394986a539b23987a10f39d2d9689b",
        "z": "6de62e3465a55c9c78a07d265be8540b3e58b0801a124d07ff12b438d5202ea0",
        "msg": "0121cb32acd1871135cb34e29c1a0e26ccc001b939eafaacc28f13f1938dbf91",
        "pk_sha256": "9c8ac777dde8448cb0e9ccc82dcc286401aa50007731c1e96bcb0c40564d9079",
        "ct_sha256": "e130db01fe7e7bf996324b271776155293830e7387f7fc4a545807ad8e5330e1",
        "ss": "8c970242406111e26368ad8760c4d02a8b28d17d138210adc127197b50968140",
    },
]


def checked(row: dict) -> dict:
    """A known answer with the long values that its hashes stand for."""
    seed = bytes.fromhex(row["d"] + row["z"])
    public, _ = keys(seed[:32])
    secret, ciphertext = encapsulated(public, bytes.fromhex(row["msg"]))
    found = (sha256(public).hexdigest(), sha256(ciphertext).hexdigest(), secret.hex())
    if found != (row["pk_sha256"], row["ct_sha256"], row["ss"]):
        sys.exit("this ML-KEM is not ML-KEM")
    changed = bytes((ciphertext[0] ^ 1,)) + ciphertext[1:]
    more = {"ct": ciphertext, "changed_ct": changed, "changed_ss": decapsulated(seed, changed)}
    return row | {name: value.hex() for name, value in more.items()}


def main() -> None:
    sections = {"known_answers": [checked(row) for row in KNOWN], "pairs": [pair()]}
    lines = [' "made_by": "tests/vectors/make_secagg_hybrid.py"']
    for name, rows in sections.items():
        written = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
        lines.append(f' "{name}": [\n{written}\n ]')
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
