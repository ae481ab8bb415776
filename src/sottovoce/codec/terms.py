"""What the terms of every secure sum have: who takes part in which round, and in what words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from sottovoce.codec.roster import HASH_BYTES, Identity, Roster
from sottovoce.errors import ConfigError, VerificationError

LONGEST: Final = 2**32 - 1
_WORD_BITS: Final = 16


class Agreed(Protocol):
    """Terms of one secure sum, whichever protocol makes it."""

    @property
    def round(self) -> int:
        """The number of the round."""

    @property
    def roster(self) -> Roster:
        """The pinned identities of the clients."""

    @property
    def cohort(self) -> tuple[str, ...]:
        """Who was drawn for this round, sorted."""

    @property
    def length(self) -> int:
        """Entries of the vector."""

    @property
    def bits(self) -> int:
        """Entries are added modulo 2^bits."""

    @property
    def digest(self) -> bytes:
        """The hash of all fields."""

    @property
    def position(self) -> Mapping[str, int]:
        """Where each client stands in the cohort."""

    @property
    def title(self) -> str:
        """How an error names this sum."""


def position(terms: Agreed) -> Mapping[str, int]:
    """Where each client stands in the cohort."""
    return {name: place for place, name in enumerate(terms.cohort)}


def word(terms: Agreed) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The type that one entry has in memory."""
    return np.dtype(np.uint16) if terms.bits <= _WORD_BITS else np.dtype(np.uint32)


def largest(terms: Agreed) -> int:
    """2^bits - 1, the largest value of an entry."""
    return (1 << terms.bits) - 1


def title(terms: Agreed) -> str:
    """How an error names this sum."""
    return f"round {terms.round}"


def require_agreed(terms: Agreed, hashes: Sequence[str], *, pinned_by: str) -> None:
    """Refuse values of what all terms have.

    Args:
        terms: as they were made.
        hashes: the names of the fields that have 32 bytes.
        pinned_by: who has pinned the identities of the cohort, as an error says it.

    Raises:
        ConfigError: a value out of range, or a cohort that is not sorted or not in the roster.
    """
    for name in hashes:
        value = getattr(terms, name)
        if not isinstance(value, bytes) or len(value) != HASH_BYTES:
            raise ConfigError(f"{name} is not {HASH_BYTES} bytes")
    cohort = terms.cohort
    if len(cohort) < 2 or list(cohort) != sorted(set(cohort)):
        raise ConfigError("the cohort is not a sorted list of at least two different clients")
    strangers = [name for name in cohort if name not in terms.roster.members]
    if strangers:
        raise ConfigError(
            f"the cohort has {strangers[0]!r}, who is not in the roster",
            remedy=f"Whoever takes part has an identity that {pinned_by} have pinned",
        )
    require_integer("round", terms.round, 0, 2**63 - 1)
    require_integer("length", terms.length, 1, LONGEST)
    require_integer("bits", terms.bits, 8, 32)


def require_integer(name: str, value: int, least: int, most: int) -> None:
    """Raise ``ConfigError`` unless least <= value <= most, an integer."""
    if not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} is {value!r}", allowed=f"an integer from {least} to {most}")


def require_member(identity: Identity, client: str, terms: Agreed, *, pinned_by: str) -> None:
    """Refuse to begin for a client that takes no part, or with another identity than is pinned.

    Raises:
        VerificationError: the client is not in the cohort, or the roster has another identity.
    """
    if client not in terms.position:
        raise VerificationError(f"client {client!r} is not in the cohort of {terms.title}")
    if identity.public != terms.roster.members[client]:
        raise VerificationError(
            f"the identity of client {client!r} is not the one in the roster",
            remedy=f"Sign with the key that the {pinned_by} have pinned",
        )
