"""Everything that is derived from a secret of a sum with helpers, each under a name of its own.

``codec.sealing`` says how. ``bound`` is the digest of the terms, and with it run, round, model,
rosters and helpers' keys are in every derivation: no key of one sum has a meaning in another.
"""

from __future__ import annotations

from typing import Final

from sottovoce.codec import sealing
from sottovoce.codec.roster import hashed
from sottovoce.codec.sealing import KEY_BYTES, derive
from sottovoce.errors import VerificationError
from sottovoce.rng import Source

PROTOCOL: Final = "sottovoce oneshot v1"
"""Stands before everything that is hashed, derived or signed here."""


def hashed_for(purpose: str, *parts: bytes | str | int) -> bytes:
    """Hash parts for one purpose of this protocol, as ``roster.hashed`` does."""
    return hashed(f"{PROTOCOL} {purpose}", *parts)


def draw_secrets(source: Source, count: int) -> list[bytes]:
    """Draw secrets of 32 bytes."""
    drawn = source.words(count * KEY_BYTES // 8).tobytes()
    return [drawn[begin : begin + KEY_BYTES] for begin in range(0, len(drawn), KEY_BYTES)]


def seal_key(shared: bytes, bound: bytes, client: str, helper: str, key: bytes) -> bytes:
    """Derive the key under which a client's seeds travel to one helper.

    Args:
        shared: what both have agreed on. Private.
        bound: the digest of the terms.
        client: who seals.
        helper: who opens.
        key: the public key that the client has drawn for this upload.
    """
    return derive(shared, hashed_for("seal", bound, client, helper, key), salt=bound)


def seal(key: bytes, seeds: bytes, bound: bytes, client: str, helper: str) -> bytes:
    """Encrypt the seeds of all sets that a helper is in, in the order of the sets.

    Returns:
        ``sealing.TAG_BYTES`` more bytes than the seeds have.
    """
    # The key comes from a secret that was drawn for this upload alone, so it seals once.
    return sealing.seal(key, sealing.ONCE, seeds, _envelope(bound, client, helper))


def unseal(key: bytes, box: bytes, bound: bytes, client: str, helper: str) -> bytes:
    """Decrypt a helper's seeds.

    Raises:
        VerificationError: anybody but the client wrote or changed the box; names the client.
    """
    refused = VerificationError(
        f"the seeds that client {client!r} sealed for helper {helper!r} do not open",
        remedy="They were damaged on the way, or never meant for this round",
    )
    where = _envelope(bound, client, helper)
    return sealing.unseal(key, sealing.ONCE, box, where, refused=refused)


def commitment(seed: bytes, bound: bytes, client: str, subset: int) -> bytes:
    """Hash one seed, so that all its holders know that they hold the same.

    A seed is 32 uniform bytes, so the hash tells nothing of it to those who do not hold it.
    """
    return hashed_for("seed", bound, client, subset, seed)


def mask_key(seed: bytes, bound: bytes, client: str, subset: int) -> bytes:
    """Derive the key of the mask that hides a client's vector from all who lack this seed."""
    return derive(seed, hashed_for("mask", bound, client, subset), salt=bound)


def _envelope(bound: bytes, client: str, helper: str) -> bytes:
    return hashed_for("envelope", bound, client, helper)
