"""What travels in one secure sum with helpers, and its one binary form.

    "SVOS" | version | kind | digest of the terms (32) | fields | signature (64) of a sender's own

``codec.envelope`` writes, reads and signs it; ``codec.forms``, and ``forms`` here, say how a field
is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sottovoce.codec.envelope import VERSION, Format, Signing
from sottovoce.codec.forms import (
    CLIENT,
    CLIENTS,
    HASH,
    SIGNATURE,
    Data,
    Fields,
    Form,
    Reader,
    fixed,
    listed,
)
from sottovoce.codec.oneshot.forms import (
    HELPER,
    SOME_WORDS,
    SUBSET,
    WORDS,
    box_bytes,
    endorsed,
    helper_count,
    marks,
    nested,
    row,
    subset_count,
)
from sottovoce.codec.oneshot.keys import hashed_for
from sottovoce.codec.oneshot.terms import HelperKey, Terms
from sottovoce.codec.roster import HASH_BYTES, SIGNATURE_BYTES, Roster, require_signature
from sottovoce.codec.sealing import KEY_BYTES
from sottovoce.errors import VerificationError

MAGIC: Final = b"SVOS"


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


def _signer(message: Signed, terms: Terms) -> tuple[str, Roster]:
    if isinstance(message, Parcel):
        return message.client, terms.roster
    return message.helper, terms.helpers


_PARCEL: Final[dict[str, Form]] = {
    "key": fixed(KEY_BYTES, "a public key"),
    "commitments": row("commitments", subset_count, lambda _: HASH_BYTES),
    "boxes": row("boxes", helper_count, box_bytes),
    "words_sha256": HASH,
    "signature": SIGNATURE,
}
_WHOLE: Final[Fields] = (("client", CLIENT), *_PARCEL.items())
_CLAIM: Final[Fields] = (
    ("helper", HELPER),
    ("subset", SUBSET),
    ("sum_sha256", HASH),
    ("signature", SIGNATURE),
)
# The order of the kinds is part of the format.
_FIELDS: Final[dict[type[Any], Fields]] = {
    Parcel: _WHOLE,
    Upload: (("parcel", nested(Parcel, _WHOLE)), ("words", WORDS)),
    Delivery: (("parcels", listed(Parcel, **_PARCEL)),),
    Receipt: (("helper", HELPER), ("accepted", CLIENTS), ("signature", SIGNATURE)),
    Proposal: (("survivors", CLIENTS),),
    Vote: (("helper", HELPER), ("lock_sha256", HASH), ("signature", SIGNATURE)),
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
_FORMAT: Final = Format[Message, Terms](MAGIC, "round, roster, model or configuration", _FIELDS)
_SIGNING: Final = Signing[Signed, Terms](_FORMAT.digest, partial(hashed_for, "signature"), _signer)

write, read, digest = _FORMAT.write, _FORMAT.read, _FORMAT.digest
signed, require_signed = _SIGNING.signed, _SIGNING.require_signed
