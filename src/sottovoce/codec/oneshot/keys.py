"""Everything that is derived from a secret of a sum with helpers, each under a name of its own.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439). ``bound`` is the digest of
the terms, and with it run, round, model, rosters and helpers' keys are in every derivation: no key
of one sum has a meaning in another.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sottovoce.codec.roster import hashed
from sottovoce.errors import VerificationError
from sottovoce.rng import Source

PROTOCOL: Final = "sottovoce oneshot v1"
"""Stands before everything that is hashed, derived or signed here."""

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16

# The key of a box comes from a secret that was drawn for this upload alone, so it seals once.
_NONCE: Final = bytes(12)


def hashed_for(purpose: str, *parts: bytes | str | int) -> bytes:
    """Hash parts for one purpose of this protocol: SHA-256 over the purpose and every part.

    Each part counts with its length; what type a part has is fixed by the purpose.

    >>> hashed_for("x", "a", "bc") == hashed_for("x", "ab", "c")
    False
    """
    return hashed(f"{PROTOCOL} {purpose}", *map(_written, parts))


def draw_secrets(source: Source, count: int) -> list[bytes]:
    """Draw secrets of 32 bytes."""
    drawn = source.words(count * KEY_BYTES // 8).tobytes()
    return [drawn[begin : begin + KEY_BYTES] for begin in range(0, len(drawn), KEY_BYTES)]


def private_key(secret: bytes) -> X25519PrivateKey:
    """Open an X25519 secret; once for many peers, because this computes its public key too."""
    return X25519PrivateKey.from_private_bytes(secret)


def public_bytes(private: X25519PrivateKey) -> bytes:
    """Return what others may see of a secret."""
    return private.public_key().public_bytes_raw()


def agree(private: X25519PrivateKey, public: bytes, *, owner: str) -> bytes:
    """Return what the owners of both keys know: X25519.

    Raises:
        VerificationError: the public key is one of the few points with which everybody would
            agree on the same; the error names its owner.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as problem:
        raise VerificationError(
            f"the public key of {owner} is a point of low order",
            allowed="a key that was drawn at random",
        ) from problem


def require_point(public: bytes, *, owner: str) -> None:
    """Refuse a public key that is a point of low order; the error names its owner.

    Whether it is one does not depend on the secret, so any will do.
    """
    agree(_any_key(), public, owner=owner)


def seal_key(shared: bytes, bound: bytes, client: str, helper: str, key: bytes) -> bytes:
    """Derive the key under which a client's seeds travel to one helper.

    Args:
        shared: what both have agreed on. Private.
        bound: the digest of the terms.
        client: who seals.
        helper: who opens.
        key: the public key that the client has drawn for this upload.
    """
    return _derive(shared, hashed_for("seal", bound, client, helper, key), salt=bound)


def seal(key: bytes, seeds: bytes, bound: bytes, client: str, helper: str) -> bytes:
    """Encrypt the seeds of all sets that a helper is in, in the order of the sets.

    Returns:
        ``TAG_BYTES`` more bytes than the seeds have.
    """
    return ChaCha20Poly1305(key).encrypt(_NONCE, seeds, _envelope(bound, client, helper))


def unseal(key: bytes, box: bytes, bound: bytes, client: str, helper: str) -> bytes:
    """Decrypt a helper's seeds.

    Raises:
        VerificationError: anybody but the client wrote or changed the box; names the client.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, box, _envelope(bound, client, helper))
    except InvalidTag as problem:
        raise VerificationError(
            f"the seeds that client {client!r} sealed for helper {helper!r} do not open",
            remedy="They were damaged on the way, or never meant for this round",
        ) from problem


def commitment(seed: bytes, bound: bytes, client: str, subset: int) -> bytes:
    """Hash one seed, so that all its holders know that they hold the same.

    A seed is 32 uniform bytes, so the hash tells nothing of it to those who do not hold it.
    """
    return hashed_for("seed", bound, client, subset, seed)


def mask_key(seed: bytes, bound: bytes, client: str, subset: int) -> bytes:
    """Derive the key of the mask that hides a client's vector from all who lack this seed."""
    return _derive(seed, hashed_for("mask", bound, client, subset), salt=bound)


@cache
def _any_key() -> X25519PrivateKey:
    return private_key(bytes(KEY_BYTES))


def _envelope(bound: bytes, client: str, helper: str) -> bytes:
    return hashed_for("envelope", bound, client, helper)


def _derive(secret: bytes, info: bytes, *, salt: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)


def _written(part: bytes | str | int) -> bytes:
    if isinstance(part, int):
        return part.to_bytes(8, "big")
    return part.encode() if isinstance(part, str) else part
