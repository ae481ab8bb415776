"""What is derived and sealed besides where the terms say ``post_quantum``: X25519 and ML-KEM-768.

Every key then comes by HKDF from two secrets side by side, one of X25519 and one that only ML-KEM
has carried, so that it stays unknown to whoever can break one of the two:

    box of a for b     HKDF(X25519(seal keys) | KEM to b's seal key)
    mask of a and b    HKDF(X25519(mask keys) | link),   link = HKDF(HKDF(mask secret of a), b)

Here a is the smaller name. It tells b the link in b's box. Should one of the two drop out, the link
has to follow from that one's mask secret alone: a's gives it as above; for b's sake, a leaves a
deposit with the server, the link sealed to b's second ML-KEM key, whose seed is derived from b's
mask secret. No ML-KEM key that opens boxes follows from a mask secret.

In plain terms a mask secret is the scalar of the X25519 key that is shown for masks. Here it must
not be: whoever solved for the scalar would have the secret behind the links. So the scalar is
derived from it, one way.

What b believes of the link comes out of its box, which only a can have sealed, and never from the
deposit, which anybody could have made: a server could otherwise plant links of its own, and use
them once X25519 is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sottovoce.codec import sealing
from sottovoce.codec.sealing import derive
from sottovoce.codec.secagg import kem, keys
from sottovoce.codec.secagg.terms import Terms, hashed_for
from sottovoce.errors import VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

LINK_BYTES: Final = 32
BOX_BYTES: Final = keys.BOX_BYTES + LINK_BYTES
"""A sealed pair of shares and a link; one size, though only the smaller name's link is used."""

DEPOSIT_BYTES: Final = LINK_BYTES + sealing.TAG_BYTES


def mask_keys(mask_secret: bytes, terms: Terms, client: str) -> tuple[bytes, bytes]:
    """Return the keys for masks that the owner of a mask secret shows: X25519's and ML-KEM's.

    The second is empty in plain terms.
    """
    public = sealing.public_bytes(mask_key(mask_secret, terms, client))
    if not terms.post_quantum:
        return public, b""
    return public, kem.public_bytes(mask_kem_key(mask_secret, terms, client))


def mask_key(mask_secret: bytes, terms: Terms, client: str) -> X25519PrivateKey:
    """Open a client's X25519 key for masks.

    Guarantees:
        - with ``post_quantum``, its scalar says nothing of the mask secret.
    """
    if not terms.post_quantum:
        return sealing.private_key(mask_secret)
    info = hashed_for("mask x25519", terms.digest, client)
    return sealing.private_key(derive(mask_secret, info, salt=terms.roster.root))


def mask_kem_key(mask_secret: bytes, terms: Terms, client: str) -> MLKEM768PrivateKey:
    """Derive the ML-KEM key that opens the deposits for a client, from its mask secret.

    Guarantees:
        - it opens no box: those are sealed to another key, with a seed of its own.
    """
    info = hashed_for("mask kem", terms.digest, client)
    return kem.private_key(derive(mask_secret, info, salt=terms.roster.root, size=kem.SEED_BYTES))


def link_secret(mask_secret: bytes, terms: Terms, client: str) -> bytes:
    """Derive what all links of one client follow from, so that the mask secret can be forgotten."""
    return derive(mask_secret, hashed_for("links", terms.digest, client), salt=terms.roster.root)


def link(secret: bytes, terms: Terms, low: str, high: str) -> bytes:
    """Derive the link of a pair from the link secret of the smaller name.

    Guarantees:
        - the links of other pairs do not follow from it.
    """
    return derive(secret, hashed_for("link", terms.digest, low, high), salt=terms.roster.root)


def commitment(value: bytes, terms: Terms, sender: str, receiver: str) -> bytes:
    """Hash a link, so that who sent it can later be held to it, by the receiver and the server."""
    return hashed_for("link commitment", terms.digest, sender, receiver, value)


def link_for(secret: bytes, terms: Terms, sender: str, receiver: str) -> bytes:
    """Return what the sender tells the receiver in its box: the link if its name is the smaller.

    Zeros if it is the larger, and nothing in plain terms.
    """
    if not terms.post_quantum:
        return b""
    return link(secret, terms, sender, receiver) if sender < receiver else bytes(LINK_BYTES)


def sealing_key(
    half: bytes, public: bytes, terms: Terms, sender: str, receiver: str
) -> tuple[bytes, bytes]:
    """Make the key of a box, and the ciphertext that lets the receiver derive it too.

    Args:
        half: what ``keys.seal_key`` derives from X25519's secret and both advertisements. Private.
        public: the receiver's ML-KEM key for shares.
        terms: of the sum.
        sender: who seals.
        receiver: who opens.

    Guarantees:
        - neither X25519's half nor ML-KEM's secret gives the key without the other;
        - no other ciphertext gives it, whatever its secret is.

    Raises:
        VerificationError: the public key is none; names the receiver.
    """
    secret, ciphertext = kem.encapsulate(public, peer=receiver)
    return _box_key(half, secret, ciphertext, terms, sender, receiver), ciphertext


def opening_key(
    half: bytes,
    private: MLKEM768PrivateKey,
    ciphertext: bytes,
    terms: Terms,
    sender: str,
    receiver: str,
) -> bytes:
    """Derive the key of a box from the ciphertext that came with it; some other, if it was changed.

    Raises:
        VerificationError: the ciphertext has another length; names the sender.
    """
    secret = kem.decapsulate(private, ciphertext, peer=sender)
    return _box_key(half, secret, ciphertext, terms, sender, receiver)


def deposit(
    shared: bytes, public: bytes, value: bytes, terms: Terms, low: str, high: str
) -> tuple[bytes, bytes]:
    """Seal a link, so that whoever has the larger name's mask secret can open it.

    Args:
        shared: X25519's secret of the two mask keys. Private.
        public: the larger name's ML-KEM key for masks.
        value: the link. Private.
        terms: of the sum.
        low: the smaller name, which deposits.
        high: the larger name.

    Returns:
        ML-KEM's ciphertext, and the box.

    Raises:
        VerificationError: the public key is none; names the larger name.
    """
    secret, ciphertext = kem.encapsulate(public, peer=high)
    key = _deposit_key(shared, secret, ciphertext, terms, low, high)
    # The key is made for this box alone, out of a fresh ciphertext.
    return ciphertext, sealing.seal(key, sealing.ONCE, value, b"")


def open_deposit(
    shared: bytes,
    private: MLKEM768PrivateKey,
    sealed: tuple[bytes, bytes],
    terms: Terms,
    low: str,
    high: str,
) -> bytes:
    """Return the link that the smaller name has deposited for the larger one.

    Raises:
        VerificationError: it does not open; names the smaller name.
    """
    ciphertext, box = sealed
    secret = kem.decapsulate(private, ciphertext, peer=low)
    key = _deposit_key(shared, secret, ciphertext, terms, low, high)
    return sealing.unseal(key, sealing.ONCE, box, b"", refused=wrong_link(terms, low, high))


def wrong_link(terms: Terms, low: str, high: str) -> VerificationError:
    """Make the error that says who has not kept to a link it has committed to."""
    return VerificationError(
        f"client {low!r} gave {terms.title} another link with {high!r} than it has committed to",
        remedy="Begin the round again without it",
    )


def _box_key(
    half: bytes, secret: bytes, ciphertext: bytes, terms: Terms, sender: str, receiver: str
) -> bytes:
    info = hashed_for("hybrid seal", terms.digest, sender, receiver, ciphertext)
    return derive(half + secret, info, salt=terms.roster.root)


def _deposit_key(
    shared: bytes, secret: bytes, ciphertext: bytes, terms: Terms, low: str, high: str
) -> bytes:
    info = hashed_for("deposit", terms.digest, low, high, ciphertext)
    return derive(shared + secret, info, salt=terms.roster.root)
