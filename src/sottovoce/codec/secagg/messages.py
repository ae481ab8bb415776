"""What travels in one secure sum, and its one binary form.

    "SVSA" | version | kind | digest of the terms (32) | fields | signature (64) of a client's own

``codec.envelope`` writes, reads and signs it, ``codec.forms`` says how a field is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from sottovoce.codec.envelope import Format, Signing
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
from sottovoce.codec.roster import HASH_BYTES
from sottovoce.codec.sealing import KEY_BYTES
from sottovoce.codec.secagg import hybrid, kem
from sottovoce.codec.secagg.forms import NOTHING, either, fixed_either
from sottovoce.codec.secagg.keys import BOX_BYTES, Kind
from sottovoce.codec.secagg.terms import Terms, hashed_for
from sottovoce.codec.shamir import SHARE_BYTES
from sottovoce.codec.words import packed


@dataclass(frozen=True)
class Advertisement:
    """A client's public keys for one sum.

    Args:
        client: whose they are.
        mask_key: of X25519, for masks.
        seal_key: of X25519, for shares.
        signature: the client's.
        mask_kem_key: of ML-KEM-768, for masks; empty in plain terms.
        seal_kem_key: of ML-KEM-768, for shares; empty in plain terms.
    """

    client: str
    mask_key: bytes
    seal_key: bytes
    signature: bytes = field(default=b"", repr=False)
    mask_kem_key: bytes = field(default=b"", repr=False)
    seal_kem_key: bytes = field(default=b"", repr=False)

    @property
    def kem_keys(self) -> tuple[bytes, ...]:
        """Those of ML-KEM, if the terms have them."""
        return (self.mask_kem_key, self.seal_kem_key) if self.mask_kem_key else ()

    @property
    def shown(self) -> tuple[bytes, ...]:
        """Every key."""
        return (self.mask_key, self.seal_key, *self.kem_keys)


@dataclass(frozen=True)
class Cohort:
    """To one client: who advertised, and what it and its neighbours among them advertised."""

    client: str
    present: tuple[str, ...]
    advertisements: tuple[Advertisement, ...]


@dataclass(frozen=True)
class SealedShare:
    """Two shares for one holder, and hashes that hold it to them.

    Args:
        client: the other side: the holder in ``SealedShares``, the sender in an ``Inbox``.
        box: both shares, encrypted.
        self_commitment: the hash of the share of the self-mask's seed.
        mask_commitment: the hash of the share of the mask secret.
        ciphertext: what tells the holder ML-KEM's part of the key; empty in plain terms.
        link_commitment: the hash of the link in the box; empty in plain terms.
    """

    client: str
    box: bytes = field(repr=False)
    self_commitment: bytes = field(repr=False)
    mask_commitment: bytes = field(repr=False)
    ciphertext: bytes = field(default=b"", repr=False)
    link_commitment: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Deposit:
    """A link, kept by the server for the case that the client of the larger name drops out.

    Args:
        client: the larger name.
        ciphertext: what tells the owner of that client's mask secret ML-KEM's part of the key.
        box: the link, encrypted.
    """

    client: str
    ciphertext: bytes = field(repr=False)
    box: bytes = field(repr=False)


@dataclass(frozen=True)
class SealedShares:
    """A client's shares for its neighbours, and deposits for those of larger names."""

    client: str
    shares: tuple[SealedShare, ...]
    signature: bytes = field(default=b"", repr=False)
    deposits: tuple[Deposit, ...] = ()


@dataclass(frozen=True)
class Inbox:
    """To one client: whose shares arrived, and those of its neighbours among them that are for it."""

    client: str
    included: tuple[str, ...]
    shares: tuple[SealedShare, ...]


@dataclass(frozen=True)
class Upload:
    """A client's masked vector, packed."""

    client: str
    words: Data = field(repr=False)
    signature: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Survivors:
    """To every client that uploaded: whose uploads arrived."""

    survivors: tuple[str, ...]


@dataclass(frozen=True)
class Acknowledgement:
    """A client's word that it was told of certain survivors, and will answer for no others.

    Args:
        client: who gives it.
        survivors_sha256: the digest of the ``Survivors`` that it was told of.
    """

    client: str
    survivors_sha256: bytes
    signature: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Endorsement:
    """The signature of one neighbour's ``Acknowledgement`` of the same survivors."""

    client: str
    signature: bytes = field(repr=False)


@dataclass(frozen=True)
class UnmaskRequest:
    """To one client: the survivors again, with the signatures of its neighbours among them."""

    client: str
    survivors: tuple[str, ...]
    endorsements: tuple[Endorsement, ...]


@dataclass(frozen=True)
class RevealedShare:
    """One share of one client's secret. Which of its two is settled by who survived."""

    client: str
    kind: Kind
    share: bytes = field(repr=False)


@dataclass(frozen=True)
class Unmasking:
    """A client's one answer: for each neighbour a share of one of its secrets."""

    client: str
    shares: tuple[RevealedShare, ...]
    signature: bytes = field(default=b"", repr=False)


Signed = Advertisement | SealedShares | Upload | Acknowledgement | Unmasking
Message = Signed | Cohort | Inbox | Survivors | UnmaskRequest


def _read_kind(reader: Reader, _: Terms) -> Kind:
    place = reader.take(1)[0]
    if place >= len(_KINDS):
        raise reader.refused(f"has a share of the unknown kind {place}")
    return _KINDS[place]


_KINDS: Final[tuple[Literal["self"], Literal["mask"]]] = ("self", "mask")
_KIND: Final = Form(lambda kind, _: bytes((_KINDS.index(kind),)), _read_kind)
_KEY: Final = fixed(KEY_BYTES, "a public key")
_KEM_KEY: Final = fixed_either(0, kem.PUBLIC_BYTES, "an ML-KEM key")
_CIPHERTEXT: Final = fixed_either(0, kem.CIPHERTEXT_BYTES, "an ML-KEM ciphertext")
_KEYS: Final[dict[str, Form]] = {
    "mask_key": _KEY,
    "seal_key": _KEY,
    "mask_kem_key": _KEM_KEY,
    "seal_kem_key": _KEM_KEY,
    "signature": SIGNATURE,
}
_BOXES: Final = listed(
    SealedShare,
    box=fixed_either(BOX_BYTES, hybrid.BOX_BYTES, "a sealed share"),
    self_commitment=HASH,
    mask_commitment=HASH,
    ciphertext=_CIPHERTEXT,
    link_commitment=fixed_either(0, HASH_BYTES, "the hash of a link"),
)
_DEPOSITS: Final = either(
    NOTHING,
    listed(Deposit, ciphertext=_CIPHERTEXT, box=fixed(hybrid.DEPOSIT_BYTES, "a deposit")),
)
_REVEALED: Final = listed(RevealedShare, kind=_KIND, share=fixed(SHARE_BYTES, "a share"))

# The order of the kinds is part of the format.
_FIELDS: Final[dict[type[Any], Fields]] = {
    Advertisement: (("client", CLIENT), *_KEYS.items()),
    Cohort: (
        ("client", CLIENT),
        ("present", CLIENTS),
        ("advertisements", listed(Advertisement, **_KEYS)),
    ),
    SealedShares: (
        ("client", CLIENT),
        ("shares", _BOXES),
        ("deposits", _DEPOSITS),
        ("signature", SIGNATURE),
    ),
    Inbox: (("client", CLIENT), ("included", CLIENTS), ("shares", _BOXES)),
    Upload: (
        ("client", CLIENT),
        ("words", packed("the words of an upload")),
        ("signature", SIGNATURE),
    ),
    Survivors: (("survivors", CLIENTS),),
    Acknowledgement: (("client", CLIENT), ("survivors_sha256", HASH), ("signature", SIGNATURE)),
    UnmaskRequest: (
        ("client", CLIENT),
        ("survivors", CLIENTS),
        ("endorsements", listed(Endorsement, signature=SIGNATURE)),
    ),
    Unmasking: (("client", CLIENT), ("shares", _REVEALED), ("signature", SIGNATURE)),
}
_FORMAT: Final = Format[Message, Terms](b"SVSA", "round, roster or configuration", _FIELDS)
_SIGNING: Final = Signing[Signed, Terms](
    _FORMAT.digest,
    partial(hashed_for, "signature"),
    lambda message, terms: (message.client, terms.roster),
)

write, read, digest = _FORMAT.write, _FORMAT.read, _FORMAT.digest
signed, require_signed = _SIGNING.signed, _SIGNING.require_signed
