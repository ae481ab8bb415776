"""Make secagg_primitives.json: masks, shares, graph and roster by whole numbers, slowly.

    python tests/vectors/make_secagg_primitives.py > tests/vectors/secagg_primitives.json

Needs Python alone. AES is written out from FIPS 197, everything else in integers of any size, so
that no line of this is shared with the package or with a library the package uses. The known
answers are copied from the documents that they name.
"""

import json
import sys
from hashlib import sha256

P = 2**256 - 189

# --- AES-256, FIPS 197 ---------------------------------------------------------------------------


def times(a: int, b: int) -> int:
    """Multiply in GF(2^8), FIPS 197, section 4.2."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def s_box_entry(value: int) -> int:
    inverse = next((x for x in range(256) if times(value, x) == 1), 0)
    wide = inverse | inverse << 8
    return inverse ^ (wide >> 4 ^ wide >> 5 ^ wide >> 6 ^ wide >> 7) & 0xFF ^ 0x63


S_BOX = [s_box_entry(value) for value in range(256)]
TWICE = [times(value, 2) for value in range(256)]


def round_keys(key: bytes) -> list[list[int]]:
    words = [list(key[4 * i : 4 * i + 4]) for i in range(8)]
    constant = 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = [S_BOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= constant
            constant = times(constant, 2)
        elif i % 8 == 4:
            word = [S_BOX[byte] for byte in word]
        words.append([a ^ b for a, b in zip(words[-8], word, strict=True)])
    return [[byte for word in words[4 * i : 4 * i + 4] for byte in word] for i in range(15)]


SHIFTED = [(i + 4 * (i % 4)) % 16 for i in range(16)]


def mixed(state: list[int]) -> list[int]:
    out = []
    for i in range(0, 16, 4):
        a, b, c, d = state[i : i + 4]
        every = a ^ b ^ c ^ d
        out += [
            a ^ every ^ TWICE[a ^ b],
            b ^ every ^ TWICE[b ^ c],
            c ^ every ^ TWICE[c ^ d],
            d ^ every ^ TWICE[d ^ a],
        ]
    return out


def encrypted(keys: list[list[int]], block: bytes) -> bytes:
    state = [a ^ b for a, b in zip(block, keys[0], strict=True)]
    for number, key in enumerate(keys[1:], 1):
        state = [S_BOX[state[place]] for place in SHIFTED]
        if number < 14:
            state = mixed(state)
        state = [a ^ b for a, b in zip(state, key, strict=True)]
    return bytes(state)


def key_stream(key: bytes, size: int) -> bytes:
    """The first bytes of AES-256 in counter mode from 0, SP 800-38A, section 6.5."""
    keys = round_keys(key)
    blocks = (encrypted(keys, i.to_bytes(16, "big")) for i in range(-(-size // 16)))
    return b"".join(blocks)[:size]


# --- masks ---------------------------------------------------------------------------------------


def mask(key: bytes, length: int, bits: int) -> list[int]:
    stream, size = key_stream(key, length * bits // 8), bits // 8
    return [int.from_bytes(stream[i : i + size], "little") for i in range(0, len(stream), size)]


def named(*names: object) -> bytes:
    return sha256("/".join(map(str, names)).encode()).digest()


def masked_sum(bits: int, length: int, clients: int) -> dict:
    """A self-mask for each client and one for each pair, which the first adds and the second takes."""
    self_keys = [named(bits, "self", i) for i in range(clients)]
    pair_keys = {
        (i, j): named(bits, "pair", i, j) for j in range(clients) for i in range(j)
    }  # by (first, second)
    vectors = [
        [int.from_bytes(named(bits, "x", i, e)[:4], "big") % 2**bits for e in range(length)]
        for i in range(clients)
    ]
    masked = []
    for client, vector in enumerate(vectors):
        total = [a + b for a, b in zip(vector, mask(self_keys[client], length, bits), strict=True)]
        for pair, key in pair_keys.items():
            sign = {pair[0]: 1, pair[1]: -1}.get(client, 0)
            if sign:
                total = [a + sign * b for a, b in zip(total, mask(key, length, bits), strict=True)]
        masked.append([value % 2**bits for value in total])
    return {
        "bits": bits,
        "self_keys": [key.hex() for key in self_keys],
        "pair_keys": [[*pair, key.hex()] for pair, key in pair_keys.items()],
        "vectors": vectors,
        "first_self_mask": mask(self_keys[0], length, bits),
        "masked": masked,
        "masked_sum": [sum(column) % 2**bits for column in zip(*masked, strict=True)],
        "sum": [sum(column) % 2**bits for column in zip(*vectors, strict=True)],
    }


def long_mask(bits: int, length: int) -> dict:
    key = named(bits, "long")
    stream = key_stream(key, length * bits // 8)
    return {
        "bits": bits,
        "key": key.hex(),
        "length": length,
        "sha256_of_little_endian_words": sha256(stream).hexdigest(),
    }


# --- shares --------------------------------------------------------------------------------------


def shared(threshold: int, count: int) -> dict:
    """The coefficients are the key stream's 32-byte little-endian integers, the highest first."""
    source_key = named("shamir", threshold, count)
    secret = int.from_bytes(named("secret", threshold, count), "big") % P
    stream = key_stream(source_key, 32 * (threshold - 1))
    drawn = [int.from_bytes(stream[i : i + 32], "little") for i in range(0, len(stream), 32)]
    coefficients = [secret, *reversed(drawn)]
    shares = [
        sum(a * x**power for power, a in enumerate(coefficients)) % P for x in range(1, count + 1)
    ]
    written = [share.to_bytes(32, "big").hex() for share in shares]
    made = {
        "threshold": threshold,
        "count": count,
        "source_key": source_key.hex(),
        "secret": secret.to_bytes(32, "big").hex(),
        "sha256_of_shares": sha256(bytes.fromhex("".join(written))).hexdigest(),
    }
    return made | ({"shares": written} if count < 10 else {})


# --- roster and graph ----------------------------------------------------------------------------


def hashed(purpose: str, *fields: bytes) -> bytes:
    parts = (purpose.encode(), *fields)
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def roster(members: dict[str, str]) -> dict:
    fields = [
        part for name in sorted(members) for part in (name.encode(), bytes.fromhex(members[name]))
    ]
    return {"members": members, "root": hashed("sottovoce roster v1", *fields).hex()}


def beacon(run: bytes, clients: list[str]) -> dict:
    nonces = {name: named("nonce", name) for name in clients}
    commitments = {
        name: hashed("sottovoce beacon commitment v1", run, name.encode(), nonce).hex()
        for name, nonce in nonces.items()
    }
    fields = [part for name in sorted(nonces) for part in (name.encode(), nonces[name])]
    return {
        "run": run.hex(),
        "nonces": {name: nonce.hex() for name, nonce in nonces.items()},
        "commitments": commitments,
        "beacon": hashed("sottovoce beacon v1", run, *fields).hex(),
    }


def circle(seed: bytes, number: int, clients: int) -> dict:
    """Durstenfeld's shuffle from the last place down, by the key stream's little-endian words."""
    order = sorted(f"client {i}" for i in range(clients))
    fields = (number.to_bytes(8, "big"), *(name.encode() for name in order))
    stream = key_stream(hashed("sottovoce graph v1", seed, *fields), 16 * clients)
    words = [int.from_bytes(stream[i : i + 8], "little") for i in range(0, len(stream), 8)]
    for i in range(clients - 1, 0, -1):
        while (word := words.pop(0)) >= 2**64 - 2**64 % (i + 1):
            pass
        order[i], order[word % (i + 1)] = order[word % (i + 1)], order[i]
    return {"beacon": seed.hex(), "round": number, "circle": order}


# --- copied --------------------------------------------------------------------------------------

KNOWN = [
    {
        "what": "x25519",
        "source": "RFC 7748, section 5.2, first vector",
        "private": "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "public": "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "shared": "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    },
    {
        "what": "x25519",
        "source": "RFC 7748, section 6.1, Alice's private and Bob's public key",
        "private": "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "public": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        "shared": "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    },
    {
        "what": "x25519 refused",
        "source": "RFC 7748, section 6.1: an all-zero result may be refused, and cryptography does",
        "private": "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "public": "00" * 32,
    },
    {
        "what": "hkdf-sha256",
        "source": "RFC 5869, appendix A.1",
        "key": "0b" * 22,
        "salt": "000102030405060708090a0b0c",
        "info": "f0f1f2f3f4f5f6f7f8f9",
        "out": "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    },
    {
        "what": "chacha20-poly1305",
        "source": "RFC 8439, section 2.8.2",
        "key": "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        "nonce": "070000004041424344454647",
        "associated": "50515253c0c1c2c3c4c5c6c7",
        "text": "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
        "the future, sunscreen would be it.",
        "sealed": "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b6116"
        "1ae10b594f09e26a7e902ecbd0600691",
    },
    {
        "what": "aes-256-ctr",
        "source": "NIST SP 800-38A, F.5.5",
        "key": "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        "counter": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "text": "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        "sealed": "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
    },
    {
        "what": "aes-256 block",
        "source": "FIPS 197, appendix C.3",
        "key": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "text": "00112233445566778899aabbccddeeff",
        "sealed": "8ea2b7ca516745bfeafc49904b496089",
    },
    {
        "what": "ed25519",
        "source": "RFC 8032, section 7.1, test 1",
        "private": "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "public": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "message": "",
        "signature": "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    },
    {
        "what": "ed25519",
        "source": "RFC 8032, section 7.1, test 2",
        "private": "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "public": "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "message": "72",
        "signature": "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    },
]

# Clients, corrupt and dropped share, kind of server, neighbours, threshold: anchors/secagg.md, 4.3.
DEGREES = [
    [100, 0.05, 0.05, "semi-honest", 30, 6],
    [100, 0.1, 0.1, "semi-honest", 42, 11],
    [100, 0.1, 0.3, "semi-honest", 72, 11],
    [1000, 0.05, 0.05, "semi-honest", 32, 18],
    [1000, 0.1, 0.1, "semi-honest", 46, 26],
    [1000, 0.1, 0.3, "semi-honest", 88, 36],
    [10000, 0.05, 0.05, "semi-honest", 34, 20],
    [10000, 0.1, 0.1, "semi-honest", 54, 30],
    [10000, 0.1, 0.3, "semi-honest", 106, 43],
    [100, 0.05, 0.05, "malicious", 30, 18],
    [100, 0.1, 0.1, "malicious", 42, 27],
    [1000, 0.05, 0.05, "malicious", 52, 37],
    [1000, 0.1, 0.1, "malicious", 96, 67],
    [10000, 0.05, 0.05, "malicious", 62, 44],
    [10000, 0.1, 0.1, "malicious", 122, 85],
    [1000, 0.1, 0.3, "malicious", 414, None],
    [10000, 0.1, 0.3, "malicious", 780, None],
]


def main() -> None:
    seed = next(known for known in KNOWN if known["what"] == "aes-256 block")
    if (
        encrypted(round_keys(bytes.fromhex(seed["key"])), bytes.fromhex(seed["text"])).hex()
        != seed["sealed"]
    ):
        sys.exit("this AES is not AES")
    keys = [known["public"] for known in KNOWN if known["what"] == "ed25519"]
    sections = {
        "known_answers": KNOWN,
        "masked_sums": [masked_sum(16, 21, 3), masked_sum(32, 21, 3)],
        "long_masks": [long_mask(16, 65_600), long_mask(32, 33_001)],
        "shares": [shared(1, 1), shared(2, 3), shared(3, 5), shared(51, 101)],
        "rosters": [roster({"rome": keys[0], "oslo": keys[1]})],
        "beacons": [beacon(bytes(range(32)), ["rome", "oslo", "berlin"])],
        "circles": [circle(named("beacon"), 7, 101), circle(named("beacon"), 8, 102)],
        "degrees": DEGREES,
    }
    lines = [' "made_by": "tests/vectors/make_secagg_primitives.py"']
    for name, rows in sections.items():
        written = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
        lines.append(f' "{name}": [\n{written}\n ]')
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
