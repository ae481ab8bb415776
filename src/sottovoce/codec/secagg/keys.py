"""Everything that is derived from a secret of one sum, each under a name of its own.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439). Every derivation is bound
to the terms, and through them to run, round, roster and configuration, so that no key of one sum
has a meaning in another.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sottovoce.codec.secagg.terms import Terms, hashed_for
from sottovoce.codec.shamir import SHARE_BYTES
from sottovoce.errors import VerificationError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
BOX_BYTES: Final = NONCE_BYTES + 2 * SHARE_BYTES + TAG_BYTES
"""A sealed pair of shares: nonce, both shares, tag."""

Kind = Literal["self", "mask"]
"""Which of a client's two secrets: the seed of its own mask, or the secret behind its pair masks."""


def private_key(secret: bytes) -> X25519PrivateKey:
    """Open an X25519 secret; once for many peers, because this computes its public key too."""
    return X25519PrivateKey.from_private_bytes(secret)


def public_bytes(private: X25519PrivateKey) -> bytes:
    """Return what others may see of a secret."""
    return private.public_key().public_bytes_raw()


def agree(private: X25519PrivateKey, public: bytes, *, peer: str) -> bytes:
    """Return what the owner of ``private`` and the owner of ``public`` both know: X25519.

    Raises:
        VerificationError: the public key is one of the few points with which everybody would
            agree on the same; the error names the peer.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as problem:
        raise VerificationError(
            f"the public key of client {peer!r} is a point of low order",
            allowed="a key that was drawn at random",
        ) from problem


def require_point(public: bytes, *, peer: str) -> None:
    """Refuse a public key that is a point of low order; the error names the peer.

    Whether it is one does not depend on the secret, so any will do.
    """
    agree(_any_key(), public, peer=peer)


def pair_key(shared: bytes, terms: Terms, one: str, other: str, model_sha256: bytes) -> bytes:
    """Derive the key of the mask between two clients: one of them adds it, the other subtracts.

    ``shared`` is X25519's secret of the two mask keys, with ``post_quantum`` followed by the link.

    Guarantees:
        - both clients derive the same key, in whatever order they are named;
        - clients who hold different models derive different keys, so their masks stay in the sum.
    """
    low, high = sorted((one, other))
    context = (terms.run, terms.round, low, high, model_sha256, terms.config_sha256, terms.digest)
    return derive(shared, hashed_for("pair", *context), salt=terms.roster.root)


def self_key(seed: bytes, terms: Terms, client: str) -> bytes:
    """Derive the key of the mask that is a client's own."""
    return derive(seed, hashed_for("self", client, terms.digest), salt=terms.roster.root)


def seal_key(shared: bytes, terms: Terms, sender: str, receiver: str, *shown: bytes) -> bytes:
    """Derive the key under which one client's shares travel to one neighbour.

    With ``post_quantum`` it is one half of that key, and binds what both have ``shown``.
    """
    return derive(
        shared, hashed_for("seal", terms.digest, sender, receiver, *shown), salt=terms.roster.root
    )


def seal(key: bytes, nonce: bytes, shares: bytes, terms: Terms, sender: str, to: str) -> bytes:
    """Encrypt a pair of shares for one neighbour.

    Returns:
        ``BOX_BYTES`` bytes: the nonce, the text and the tag.
    """
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, shares, _envelope(terms, sender, to))


def unseal(key: bytes, box: bytes, terms: Terms, sender: str, to: str) -> bytes:
    """Decrypt a pair of shares.

    Raises:
        VerificationError: anybody but the sender wrote or changed the box; the error names the
            sender.
    """
    nonce, text = box[:NONCE_BYTES], box[NONCE_BYTES:]
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, text, _envelope(terms, sender, to))
    except InvalidTag as problem:
        raise VerificationError(
            f"the shares that client {sender!r} sealed for {to!r} do not open",
            remedy="They were damaged on the way, or never meant for this round",
        ) from problem


def commitment(share: bytes, terms: Terms, kind: Kind, dealer: str, holder: str) -> bytes:
    """Hash one share, so that its holder can later be held to it.

    A share is 32 uniform bytes, so the hash tells nothing of it to those who do not hold it.
    """
    return hashed_for("share", terms.digest, kind, dealer, holder, share)


def derive(secret: bytes, info: bytes, *, salt: bytes, size: int = KEY_BYTES) -> bytes:
    """Derive a key for one purpose: HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(secret)


@cache
def _any_key() -> X25519PrivateKey:
    return private_key(bytes(KEY_BYTES))


def _envelope(terms: Terms, sender: str, to: str) -> bytes:
    return hashed_for("envelope", terms.digest, sender, to)
