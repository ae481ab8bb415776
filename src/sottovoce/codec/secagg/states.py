"""Where a client stands in one secure sum: frozen values, one kind for each stage.

    Advertised -> Shared -> Uploaded -> (Acknowledged ->) Answered

A state holds what the steps to come need, and the message that it was made with. Secrets leave it
as soon as the protocol has no more use for them: the X25519 secrets when the shares are out, the
mask keys, the ML-KEM seed and the links when the upload is, the neighbours' shares with the one
answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sottovoce.codec.envelope import Format
from sottovoce.codec.forms import CLIENT, CLIENTS, HASH, Data, Fields, Form, Reader, fixed, listed
from sottovoce.codec.roster import HASH_BYTES
from sottovoce.codec.secagg.forms import fixed_either
from sottovoce.codec.secagg.kem import SEED_BYTES
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Advertisement,
    Message,
    SealedShares,
    Signed,
    Unmasking,
    Upload,
    digest,
    read,
    write,
)
from sottovoce.codec.secagg.terms import Terms, hashed_for
from sottovoce.errors import VerificationError

_SECRET_BYTES: Final = 32
_SIZE_BYTES: Final = 8


@dataclass(frozen=True)
class Advertised:
    """A client that has shown its public keys, and holds their secrets.

    Args:
        terms: what was agreed on.
        client: whose state this is.
        mask_secret: X25519's scalar for masks; with ``post_quantum`` what that, the ML-KEM key for
            masks and the links are derived from.
        seal_secret: of X25519, for shares.
        sent: the client's message of this stage.
        seal_seed: of ML-KEM, for shares; empty in plain terms.
    """

    terms: Terms
    client: str
    mask_secret: bytes = field(repr=False)
    seal_secret: bytes = field(repr=False)
    sent: Advertisement = field(repr=False)
    seal_seed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Neighbour:
    """What a client has in common with one neighbour.

    Args:
        client: the neighbour.
        pair_secret: what the key of their masks is derived from, with ``post_quantum`` together
            with the link.
        opening_key: opens the shares that the neighbour seals for this client, with
            ``post_quantum`` together with what its ciphertext tells.
    """

    client: str
    pair_secret: bytes = field(repr=False)
    opening_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Shared:
    """A client whose secrets its neighbours hold in shares.

    Args:
        terms: what was agreed on.
        client: whose state this is.
        present: who advertised, according to the server.
        seed: of the client's own mask.
        neighbours: those who are present.
        answers: the digest of the message that ``sent`` answers.
        sent: the client's message of this stage.
        seal_seed: of ML-KEM, for the neighbours' shares; empty in plain terms.
        link_secret: what the links with larger names follow from; empty in plain terms.
    """

    terms: Terms
    client: str
    present: tuple[str, ...] = field(repr=False)
    seed: bytes = field(repr=False)
    neighbours: tuple[Neighbour, ...] = field(repr=False)
    answers: bytes = field(repr=False)
    sent: SealedShares = field(repr=False)
    seal_seed: bytes = field(default=b"", repr=False)
    link_secret: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Held:
    """One neighbour's two shares, of which one at most will leave this client."""

    client: str
    self_share: bytes = field(repr=False)
    mask_share: bytes = field(repr=False)


@dataclass(frozen=True)
class Uploaded:
    """A client whose masked vector is out. It can no longer compute the masks.

    Args:
        terms: what was agreed on.
        client: whose state this is.
        included: whose masks are in the sum, according to the server: who has shared.
        held: the shares of the neighbours among them.
        answers: the digest of the message that ``sent`` answers.
        sent: the client's message of this stage.
    """

    terms: Terms
    client: str
    included: tuple[str, ...] = field(repr=False)
    held: tuple[Held, ...] = field(repr=False)
    answers: bytes = field(repr=False)
    sent: Upload = field(repr=False)


@dataclass(frozen=True)
class Acknowledged:
    """A client that has signed who is in the sum."""

    terms: Terms
    client: str
    survivors: tuple[str, ...] = field(repr=False)
    held: tuple[Held, ...] = field(repr=False)
    answers: bytes = field(repr=False)
    sent: Acknowledgement = field(repr=False)


@dataclass(frozen=True)
class Answered:
    """A client that is done. It holds no secret but the answer it gave."""

    terms: Terms
    client: str
    answers: bytes = field(repr=False)
    sent: Unmasking = field(repr=False)


State = Advertised | Shared | Uploaded | Acknowledged | Answered
_T = TypeVar("_T", Advertised, Shared, Uploaded, Acknowledged)


def at(state: State, kind: type[_T]) -> _T:
    """Return a state if it is the one from which a step is taken.

    Raises:
        VerificationError: it is another.
    """
    if not isinstance(state, kind):
        raise VerificationError(
            f"client {state.client!r} is asked for a step from {kind.__name__} in {state.terms.title}"
            f", and it is at {type(state).__name__}",
            remedy="What was answered before is answered again by repeat, and nothing else is",
        )
    return state


def repeat(state: State, message: Message) -> Signed:
    """Return the answer to a message that has been answered before, byte for byte.

    Raises:
        VerificationError: the state's own answer is to another message, or to none.
    """
    if isinstance(state, Advertised) or digest(message, state.terms) != state.answers:
        raise VerificationError(
            f"client {state.client!r} got a {type(message).__name__} that it cannot answer at "
            f"{type(state).__name__} in {state.terms.title}",
            remedy="It is late, early, or another one than was answered",
        )
    return state.sent


def dump(state: State) -> bytes:
    """Write a state as bytes, all but its terms. They hold its secrets: encrypt them at rest.

        "SVST" | version | kind | digest of the terms (32) | fields | SHA-256 of all before (32)

    Guarantees:
        - ``load`` with the same terms gives an equal state back.
    """
    data = _FORMAT.write(state, state.terms)
    return data + hashed_for("state", data)


def load(data: Data, terms: Terms) -> State:
    """Read what ``dump`` wrote.

    Guarantees:
        - any other bytes raise.

    Raises:
        VerificationError: the state belongs to other terms, or was damaged.
    """
    body, checksum = bytes(data[:-HASH_BYTES]), bytes(data[-HASH_BYTES:])
    reader = Reader(body, "state of a client")
    if hashed_for("state", body) != checksum:
        raise reader.refused("was damaged")
    kind, values = _FORMAT.values(reader, terms, _FIELDS)
    state: State = kind(terms=terms, **values)
    return state


def _message(kind: type[Any]) -> Form:
    def write_(message: Message, terms: Terms) -> bytes:
        data = write(message, terms)
        return len(data).to_bytes(_SIZE_BYTES, "big") + data

    def read_(reader: Reader, terms: Terms) -> Message:
        size = int.from_bytes(reader.take(_SIZE_BYTES), "big")
        message: Message = read(kind, reader.take(size), terms, sender="a state")
        return message

    return Form(write_, read_)


_SECRET: Final = fixed(_SECRET_BYTES, "a secret")
_SEAL_SEED: Final = fixed_either(0, SEED_BYTES, "a seed")
_LINK_SECRET: Final = fixed_either(0, _SECRET_BYTES, "a link secret")
_NEIGHBOURS: Final = listed(Neighbour, pair_secret=_SECRET, opening_key=_SECRET)
_HELD: Final = listed(Held, self_share=_SECRET, mask_share=_SECRET)

# The order of the kinds is part of the format.
_FIELDS: Final[dict[type[Any], Fields]] = {
    Advertised: (
        ("client", CLIENT),
        ("mask_secret", _SECRET),
        ("seal_secret", _SECRET),
        ("seal_seed", _SEAL_SEED),
        ("sent", _message(Advertisement)),
    ),
    Shared: (
        ("client", CLIENT),
        ("present", CLIENTS),
        ("seed", _SECRET),
        ("neighbours", _NEIGHBOURS),
        ("seal_seed", _SEAL_SEED),
        ("link_secret", _LINK_SECRET),
        ("answers", HASH),
        ("sent", _message(SealedShares)),
    ),
    Uploaded: (
        ("client", CLIENT),
        ("included", CLIENTS),
        ("held", _HELD),
        ("answers", HASH),
        ("sent", _message(Upload)),
    ),
    Acknowledged: (
        ("client", CLIENT),
        ("survivors", CLIENTS),
        ("held", _HELD),
        ("answers", HASH),
        ("sent", _message(Acknowledgement)),
    ),
    Answered: (("client", CLIENT), ("answers", HASH), ("sent", _message(Unmasking))),
}
_FORMAT: Final = Format[State, Terms](b"SVST", "round, roster or configuration", _FIELDS)
