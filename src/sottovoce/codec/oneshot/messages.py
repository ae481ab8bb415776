"""What travels in one secure sum with helpers, and the one way to write each message as bytes.

    "SVOS" | version | kind | digest of the terms (32) | fields | signature (64) of a sender's own

``forms`` here and in ``secagg`` say how a field is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, TypeVar

from sottovoce.codec.masks import Words
from sottovoce.codec.oneshot.forms import (
    HELPER,
    SIGNATURE,
    SOME_WORDS,
    SUBSET,
    WORDS,
    box_bytes,
    endorsed,
    helper_count,
    marks,
    nested,
    row,
    shape,
    subset_count,
)
from sottovoce.codec.oneshot.keys import KEY_BYTES, hashed_for
from sottovoce.codec.oneshot.terms import HelperKey, Terms
from sottovoce.codec.roster import SIGNATURE_BYTES, Identity, Roster, require_signature
from sottovoce.codec.secagg import messages as secagg
from sottovoce.codec.secagg.forms import (
    CLIENT,
    CLIENTS,
    HASH,
    HASH_BYTES,
    Data,
    Fields,
    Form,
    Reader,
    fixed,
    listed,
    read_fields,
    write_fields,
)
from sottovoce.errors import VerificationError

MAGIC: Final = b"SVOS"
VERSION: Final = 1


@dataclass(frozen=True)
class Parcel:
    """All of a client's upload but its words; every helper sees it whole.

    Args:
        client: who sends it.
        key: a public key drawn for this upload.
        commitments: the hash of each seed, in the order of the sets.
        boxes: for each helper the seeds of its sets, encrypted.
        words_sha256: the hash of the words.
    """

    client: str
    key: bytes
    commitments: tuple[bytes, ...] = field(repr=False)
    boxes: tuple[bytes, ...] = field(repr=False)
    words_sha256: bytes
    signature: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Upload:
    """A client's one message: its parcel, and its masked vector, packed."""

    parcel: Parcel
    words: Data = field(repr=False)


@dataclass(frozen=True)
class Delivery:
    """To every helper: the parcels of all uploads that arrived."""

    parcels: tuple[Parcel, ...]


@dataclass(frozen=True)
class Receipt:
    """Whose seeds a helper could open, and found to be those that their client has committed to."""

    helper: str
    accepted: tuple[str, ...]
    signature: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Proposal:
    """To every helper: who is in the sum."""

    survivors: tuple[str, ...]


@dataclass(frozen=True)
class Vote:
    """A helper's word that it will answer for these parcels of these survivors and for no others.

    Args:
        helper: who gives it.
        lock_sha256: the hash of the survivors' names and parcels.
    """

    helper: str
    lock_sha256: bytes
    signature: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Endorsement:
    """The signature of one helper's ``Vote`` for the same survivors."""

    helper: str
    signature: bytes = field(repr=False)


@dataclass(frozen=True)
class Request:
    """To one helper: the survivors again, with the votes for them.

    Args:
        helper: who is asked.
        survivors: who is in the sum.
        votes: q or more.
        wanted: the numbers of the sets whose sum is wanted in words; of its others a hash will do.
    """

    helper: str
    survivors: tuple[str, ...]
    votes: tuple[Endorsement, ...]
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class Claim:
    """A helper's word on the sum of one set: the hash of its packed words."""

    helper: str
    subset: int
    sum_sha256: bytes
    signature: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class PartialSum:
    """One set's sum of key streams: what the helper claims, and its words or nothing."""

    claim: Claim
    words: Data = field(repr=False)


Signed = Parcel | Receipt | Vote | Claim
Message = Signed | Upload | Delivery | Proposal | Request | PartialSum
_M = TypeVar("_M", bound=Message)
_S = TypeVar("_S", bound=Signed)


def write(message: Message, terms: Terms) -> bytes:
    """Write a message as bytes.

    Guarantees:
        - ``read`` gives an equal message back, and no other message has these bytes.

    Raises:
        VerificationError: somebody who is not in the terms, a list that is not in order or names
            somebody twice, or a field of a wrong size.
    """
    parts = list(_unsigned(message, terms))
    if isinstance(message, Signed):
        parts.append(SIGNATURE.write(message.signature, shape(terms)))
    return b"".join(parts)


def read(kind: type[_M], data: Data, terms: Terms, *, sender: str = "a peer") -> _M:
    """Read a message of one kind, as somebody else sent it.

    Args:
        kind: what is expected here.
        data: any bytes. Words stay a view of them.
        terms: what all sides agreed on.
        sender: who an error names.

    Guarantees:
        - whatever the bytes are, the result is a message that ``write`` writes as these bytes, or
          a VerificationError.

    Raises:
        VerificationError: as above; the message belongs to other terms, or is of another kind.
    """
    reader = Reader(data, f"{kind.__name__} of {sender}")
    start = _start(kind)
    if reader.take(len(start)) != start:
        raise reader.refused("does not begin as one of this version")
    if reader.take(HASH_BYTES) != terms.digest:
        raise reader.refused("belongs to another round, roster, model or configuration")
    values = read_fields(reader, _FIELDS[kind], shape(terms))
    if issubclass(kind, Signed):
        values["signature"] = SIGNATURE.read(reader, shape(terms))
    reader.require_end()
    return kind(**values)


def digest(message: Message, terms: Terms) -> bytes:
    """Hash all of a message but its signature: SHA-256 over its binary form."""
    hashing = sha256()
    for part in _unsigned(message, terms):
        hashing.update(part)
    return hashing.digest()


def signed(message: _S, terms: Terms, identity: Identity) -> _S:
    """Sign a message as whom it comes from.

    The signature covers the digest of the message, and with it the kind and the terms.
    """
    return replace(message, signature=identity.sign(_to_sign(digest(message, terms))))


def require_signed(message: Signed, terms: Terms) -> bytes:
    """Refuse a message that its client or helper has not signed.

    Returns:
        Its digest.

    Raises:
        VerificationError: the signature is not that of the pinned identity; names whose.
    """
    hashed = digest(message, terms)
    roster, sender = (
        (terms.roster, message.client)
        if isinstance(message, Parcel)
        else (terms.helpers, message.helper)
    )
    require_signature(roster, sender, _to_sign(hashed), message.signature)
    return hashed


def pack_words(vector: Words, terms: Terms) -> bytes:
    """Pack a vector block by block, so that it can be read block by block."""
    return secagg.pack_words(vector, shape(terms))


def unpack_words(words: Data, terms: Terms) -> Iterator[tuple[int, Words]]:
    """Read words in blocks, each with the place where it begins; raises before the first block."""
    return secagg.unpack_words(words, shape(terms))


def write_key(shown: HelperKey, helpers: Roster, run: bytes) -> bytes:
    """Write a helper's key of a run as bytes. The terms do not exist yet."""
    return b"".join((_key_start(shown.helper, helpers, run), shown.key, shown.signature))


def read_key(data: Data, helper: str, helpers: Roster, run: bytes) -> HelperKey:
    """Read a helper's key of a run.

    Args:
        data: any bytes.
        helper: whose key is expected.
        helpers: the pinned helpers.
        run: 32 bytes, drawn once per run.

    Guarantees:
        - the helper has signed this key for this run and these helpers.

    Raises:
        VerificationError: anything else; names the helper.
    """
    reader = Reader(data, f"key of helper {helper!r}")
    start = _key_start(helper, helpers, run)
    if reader.take(len(start)) != start:
        raise reader.refused("does not begin as one of this version, run and helper")
    shown = HelperKey(helper, reader.take(KEY_BYTES), reader.take(SIGNATURE_BYTES))
    reader.require_end()
    require_signature(helpers, helper, shown.to_sign(helpers, run), shown.signature)
    return shown


def _key_start(helper: str, helpers: Roster, run: bytes) -> bytes:
    if helper not in helpers.members:
        raise VerificationError(f"{helper!r} is none of the helpers")
    place = list(helpers.members).index(helper)
    return MAGIC + bytes((VERSION, _KEY_KIND)) + helpers.root + run + bytes((place,))


def _to_sign(message_digest: bytes) -> bytes:
    return hashed_for("signature", message_digest)


def _start(kind: type[Any]) -> bytes:
    return MAGIC + bytes((VERSION, list(_FIELDS).index(kind)))


def _unsigned(message: Message, terms: Terms) -> Iterator[Data]:
    yield _start(type(message)) + terms.digest
    yield from write_fields(message, _FIELDS[type(message)], shape(terms))


# The order of the kinds is part of the format.
_PARCEL: Final[dict[str, Form]] = {
    "key": fixed(KEY_BYTES, "a public key"),
    "commitments": row("commitments", subset_count, lambda _: HASH_BYTES),
    "boxes": row("boxes", helper_count, box_bytes),
    "words_sha256": HASH,
}
_CLAIM: Final[Fields] = (("helper", HELPER), ("subset", SUBSET), ("sum_sha256", HASH))
_FIELDS: Final[dict[type[Any], Fields]] = {
    Parcel: (("client", CLIENT), *_PARCEL.items()),
    Upload: (
        ("parcel", nested(Parcel, (("client", CLIENT), *_PARCEL.items()))),
        ("words", WORDS),
    ),
    Delivery: (("parcels", listed(Parcel, **_PARCEL, signature=SIGNATURE)),),
    Receipt: (("helper", HELPER), ("accepted", CLIENTS)),
    Proposal: (("survivors", CLIENTS),),
    Vote: (("helper", HELPER), ("lock_sha256", HASH)),
    Request: (
        ("helper", HELPER),
        ("survivors", CLIENTS),
        ("votes", endorsed(Endorsement)),
        ("wanted", marks("sets", subset_count)),
    ),
    Claim: _CLAIM,
    PartialSum: (("claim", nested(Claim, _CLAIM)), ("words", SOME_WORDS)),
}
_KEY_KIND: Final = 255
