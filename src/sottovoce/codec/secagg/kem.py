"""ML-KEM-768 (FIPS 203), the key encapsulation that no known quantum algorithm breaks.

Its owner draws a seed and shows a public key. Whoever has the public key makes a ciphertext and a
secret out of fresh randomness of the operating system; the owner gets the secret out of the
ciphertext. A ciphertext that was changed gives another secret and no error (FIPS 203, section
6.3), so that whatever the secret seals has to notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cryptography
from cryptography.exceptions import UnsupportedAlgorithm

from sottovoce.errors import ConfigError, VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mlkem import (
        MLKEM768PrivateKey,
        MLKEM768PublicKey,
    )

SEED_BYTES: Final = 64
PUBLIC_BYTES: Final = 1184
CIPHERTEXT_BYTES: Final = 1088


def require_available() -> None:
    """Refuse to go on where the installed cryptography has no ML-KEM.

    Raises:
        ConfigError: it has none.
    """
    try:
        private_key(bytes(SEED_BYTES))
    except (ImportError, UnsupportedAlgorithm) as problem:
        raise ConfigError(
            f"post_quantum needs ML-KEM-768, which cryptography {cryptography.__version__} has not",
            remedy="Install cryptography 48 or newer, or leave post_quantum out",
        ) from problem


def private_key(seed: bytes) -> MLKEM768PrivateKey:
    """Open the key of a seed of 64 bytes; once for many ciphertexts, because it takes a while."""
    # At use, because only sums with post_quantum need a cryptography that has it.
    from cryptography.hazmat.primitives.asymmetric import mlkem

    return mlkem.MLKEM768PrivateKey.from_seed_bytes(seed)


def public_bytes(private: MLKEM768PrivateKey) -> bytes:
    """Return what others may see of a key."""
    return private.public_key().public_bytes_raw()


def encapsulate(public: bytes, *, peer: str) -> tuple[bytes, bytes]:
    """Make a secret for the owner of a public key, and the ciphertext that tells it to the owner.

    Raises:
        VerificationError: the public key is none; the error names the peer.
    """
    return require_key(public, peer=peer).encapsulate()


def require_key(public: bytes, *, peer: str) -> MLKEM768PublicKey:
    """Refuse a public key to which nothing can be encapsulated; the error names the peer."""
    from cryptography.hazmat.primitives.asymmetric import mlkem

    try:
        return mlkem.MLKEM768PublicKey.from_public_bytes(public)
    except ValueError as problem:
        raise VerificationError(
            f"the ML-KEM key of client {peer!r} is none",
            allowed=f"{PUBLIC_BYTES} bytes that pass the check of FIPS 203, section 7.2",
        ) from problem


def decapsulate(private: MLKEM768PrivateKey, ciphertext: bytes, *, peer: str) -> bytes:
    """Return the secret of a ciphertext, or some other one if it was changed.

    Raises:
        VerificationError: the ciphertext has another length; the error names the peer.
    """
    try:
        return private.decapsulate(ciphertext)
    except ValueError as problem:
        raise VerificationError(
            f"an ML-KEM ciphertext of {len(ciphertext)} bytes from client {peer!r}",
            allowed=f"{CIPHERTEXT_BYTES} bytes",
        ) from problem
