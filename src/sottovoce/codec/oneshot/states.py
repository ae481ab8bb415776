"""Where a helper stands in one secure sum: frozen values, one kind for each stage.

    Ready -> Received -> Locked -> Answered

A state holds what the steps to come need, and the message that it was made with. Secrets leave it
as soon as the protocol has no more use for them: the X25519 secret of the run when the boxes are
open, and with the lock the keys of everybody who is not in the sum. The driver forgets the state
``Answered`` when the round is over, and ``RunSecret`` when the run is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from sottovoce.codec.oneshot.messages import Message, Receipt, Vote, digest
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.errors import VerificationError


@dataclass(frozen=True)
class RunSecret:
    """What opens a helper's boxes in all rounds of one run."""

    run: bytes
    helper: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Ready:
    """A helper that has agreed to the terms of one sum."""

    terms: Terms
    helper: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Opened:
    """What a helper holds of one client.

    Args:
        client: whose.
        parcel_sha256: the digest of its parcel.
        mask_keys: one for each set that the helper is in, in the order of the sets.
    """

    client: str
    parcel_sha256: bytes = field(repr=False)
    mask_keys: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True)
class Received:
    """A helper that has opened its seeds.

    Args:
        terms: what was agreed on.
        helper: whose state this is.
        opened: whom it accepts, in the order of the names.
        refused: whom it does not, and why.
        answers: the digest of the message that ``sent`` answers.
        sent: the helper's message of this stage.
    """

    terms: Terms
    helper: str
    opened: tuple[Opened, ...] = field(repr=False)
    refused: tuple[tuple[str, str], ...] = field(repr=False)
    answers: bytes = field(repr=False)
    sent: Receipt = field(repr=False)


@dataclass(frozen=True)
class Locked:
    """A helper that has signed who is in the sum.

    Args:
        terms: what was agreed on.
        helper: whose state this is.
        opened: what it holds of the survivors.
        answers: the digest of the message that ``sent`` answers.
        sent: the helper's vote.
    """

    terms: Terms
    helper: str
    opened: tuple[Opened, ...] = field(repr=False)
    answers: bytes = field(repr=False)
    sent: Vote = field(repr=False)


@dataclass(frozen=True)
class Answered:
    """A helper that was shown a quorum for the survivors it has locked.

    Args:
        terms: what was agreed on.
        helper: whose state this is.
        opened: what it holds of the survivors.
        vote: what it has signed.
        wanted: the numbers of the sets whose sums are wanted in words.
    """

    terms: Terms
    helper: str
    opened: tuple[Opened, ...] = field(repr=False)
    vote: Vote = field(repr=False)
    wanted: tuple[int, ...]


State = Ready | Received | Locked | Answered
_T = TypeVar("_T", Ready, Received)


def at(state: State, kind: type[_T]) -> _T:
    """Return a state if it is the one from which a step is taken.

    Raises:
        VerificationError: it is another.
    """
    if not isinstance(state, kind):
        raise VerificationError(
            f"helper {state.helper!r} is asked for a step from {kind.__name__} in "
            f"{state.terms.title}, and it is at {type(state).__name__}",
            remedy="What was answered before is answered again by repeat, and nothing else is",
        )
    return state


def repeat(state: State, message: Message) -> Receipt | Vote:
    """Return the answer to a delivery or a proposal that has been answered before, byte for byte.

    Raises:
        VerificationError: the state's own answer is to another message, or to none.
    """
    if not isinstance(state, Received | Locked) or digest(message, state.terms) != state.answers:
        raise VerificationError(
            f"helper {state.helper!r} got a {type(message).__name__} that it cannot answer at "
            f"{type(state).__name__} in {state.terms.title}",
            remedy="It is late, early, or another one than was answered",
        )
    return state.sent
