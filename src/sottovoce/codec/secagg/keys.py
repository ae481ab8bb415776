"""Everything that is derived from a secret of one sum, each under a name of its own.

``codec.sealing`` says how. Every derivation is bound to the terms, and through them to run, round,
roster and configuration, so that no key of one sum has a meaning in another.
"""

from __future__ import annotations

from typing import Final, Literal

from sottovoce.codec import sealing
from sottovoce.codec.sealing import NONCE_BYTES, TAG_BYTES, derive
from sottovoce.codec.secagg.terms import Terms, hashed_for
from sottovoce.codec.shamir import SHARE_BYTES
from sottovoce.errors import VerificationError

BOX_BYTES: Final = NONCE_BYTES + 2 * SHARE_BYTES + TAG_BYTES
"""A sealed pair of shares: nonce, both shares, tag."""

Kind = Literal["self", "mask"]
"""Which of a client's two secrets: the seed of its own mask, or the secret behind its pair masks."""


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
    return nonce + sealing.seal(key, nonce, shares, _envelope(terms, sender, to))


def unseal(key: bytes, box: bytes, terms: Terms, sender: str, to: str) -> bytes:
    """Decrypt a pair of shares.

    Raises:
        VerificationError: anybody but the sender wrote or changed the box; the error names the
            sender.
    """
    refused = VerificationError(
        f"the shares that client {sender!r} sealed for {to!r} do not open",
        remedy="They were damaged on the way, or never meant for this round",
        culprit=sender,
    )
    nonce, sealed = box[:NONCE_BYTES], box[NONCE_BYTES:]
    return sealing.unseal(key, nonce, sealed, _envelope(terms, sender, to), refused=refused)


def commitment(share: bytes, terms: Terms, kind: Kind, dealer: str, holder: str) -> bytes:
    """Hash one share, so that its holder can later be held to it.

    A share is 32 uniform bytes, so the hash tells nothing of it to those who do not hold it.
    """
    return hashed_for("share", terms.digest, kind, dealer, holder, share)


def _envelope(terms: Terms, sender: str, to: str) -> bytes:
    return hashed_for("envelope", terms.digest, sender, to)
