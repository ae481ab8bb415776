"""What two sides agree on, what is derived from it, and what it seals.

X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20-Poly1305 (RFC 8439).
"""

from __future__ import annotations

from functools import cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sottovoce.errors import VerificationError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
ONCE: Final = bytes(NONCE_BYTES)
"""The nonce where a key is made for one box alone."""


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


def derive(secret: bytes, info: bytes, *, salt: bytes, size: int = KEY_BYTES) -> bytes:
    """Derive a key for one purpose: HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=size, salt=salt, info=info).derive(secret)


def seal(key: bytes, nonce: bytes, text: bytes, bound: bytes) -> bytes:
    """Encrypt a text and bind it to what it is about: ChaCha20-Poly1305.

    Args:
        key: 32 bytes. Private.
        nonce: another for each text under one key; ``ONCE`` where there is one text. Public.
        text: any bytes. Private.
        bound: what the text is about; not in the box. Public.

    Returns:
        ``TAG_BYTES`` more bytes than the text has.
    """
    return ChaCha20Poly1305(key).encrypt(nonce, text, bound)


def unseal(
    key: bytes, nonce: bytes, box: bytes, bound: bytes, *, refused: VerificationError
) -> bytes:
    """Decrypt what ``seal`` encrypted, or raise ``refused``."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, box, bound)
    except InvalidTag as problem:
        raise refused from problem


@cache
def _any_key() -> X25519PrivateKey:
    return private_key(bytes(KEY_BYTES))
