"""Encryption of what lies on a disk: HKDF-SHA256 (RFC 5869) and ChaCha20-Poly1305 (RFC 8439)."""

from __future__ import annotations

from typing import Final

from sottovoce.codec import sealing
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import secret_source

KEY_BYTES: Final = sealing.KEY_BYTES
SALT_BYTES: Final = 32
OVERHEAD_BYTES: Final = SALT_BYTES + sealing.TAG_BYTES
"""How much longer a box is than the text in it."""

_PURPOSE: Final = b"sottovoce at rest v1"


def draw_key() -> bytes:
    """Draw a key of 32 bytes from the operating system."""
    return secret_source().words(KEY_BYTES // 8).tobytes()


def seal(key: bytes, text: bytes, bound: bytes) -> bytes:
    """Encrypt a text, and bind it to what it is about.

        salt (32) | ChaCha20-Poly1305(HKDF(key, salt), text, bound) | tag (16)

    Args:
        key: 32 bytes; one key may seal any number of texts. Private.
        text: any bytes. Private.
        bound: what the text is about; it is not in the box, and whoever opens it has to know it.

    Guarantees:
        - two boxes of one text have nothing in common, because each has a key of its own;
        - ``unseal`` with the same key and ``bound`` gives the text back, and no other box opens.

    Raises:
        ConfigError: the key does not have 32 bytes.
    """
    salt = draw_key()
    # The key of a box is derived from a salt of its own, so it seals once.
    return salt + sealing.seal(_box_key(key, salt), sealing.ONCE, text, bound)


def unseal(key: bytes, box: bytes, bound: bytes, *, what: str) -> bytes:
    """Decrypt what ``seal`` encrypted.

    Args:
        key: the key it was sealed with.
        box: any bytes.
        bound: what it was bound to.
        what: how an error names the box.

    Raises:
        VerificationError: the box was damaged, or sealed with another key or bound to something
            else. Which of these it was cannot be told.
        ConfigError: the key does not have 32 bytes.
    """
    salt, sealed = box[:SALT_BYTES], box[SALT_BYTES:]
    refused = VerificationError(
        f"{what} does not open: it was damaged, stood elsewhere, or was sealed with another key"
    )
    return sealing.unseal(_box_key(key, salt), sealing.ONCE, sealed, bound, refused=refused)


def _box_key(key: bytes, salt: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ConfigError(f"a key of {len(key)} bytes", allowed=f"{KEY_BYTES} bytes")
    return sealing.derive(key, _PURPOSE, salt=salt)
