"""What travels in one secure sum, and the one way to write each message as bytes.

    "SVSA" | version | kind | digest of the terms (32) | fields | signature (64) of a client's own

``forms`` says how a field is written. The words of an upload are packed in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Literal, TypeVar

from sottovoce.codec import wire
from sottovoce.codec.masks import Words
from sottovoce.codec.roster import SIGNATURE_BYTES, Identity, require_signature
from sottovoce.codec.secagg import hybrid, kem
from sottovoce.codec.secagg.forms import (
    CLIENT,
    CLIENTS,
    HASH,
    HASH_BYTES,
    NOTHING,
    Data,
    Fields,
    Form,
    Reader,
    either,
    fixed,
    fixed_either,
    listed,
    read_fields,
    write_fields,
)
from sottovoce.codec.secagg.keys import BOX_BYTES, Kind
from sottovoce.codec.secagg.terms import Terms, hashed_for
from sottovoce.codec.shamir import SHARE_BYTES
from sottovoce.errors import VerificationError

MAGIC: Final = b"SVSA"
VERSION: Final = 1
_PUBLIC_KEY_BYTES: Final = 32
# Entries in a block: in the cache of a core, and a multiple of eight.
_BLOCK: Final = 2**15


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
_M = TypeVar("_M", bound=Message)
_S = TypeVar("_S", bound=Signed)


def write(message: Message, terms: Terms) -> bytes:
    """Write a message as bytes.

    Guarantees:
        - ``read`` gives an equal message back, and no other message has these bytes.

    Raises:
        VerificationError: a client outside the cohort, a list that is not in the cohort's order
            or names somebody twice, or a field of a wrong size.
    """
    parts = list(_unsigned(message, terms))
    if isinstance(message, Signed):
        parts.append(_SIGNATURE.write(message.signature, terms))
    return b"".join(parts)


def read(kind: type[_M], data: Data, terms: Terms, *, sender: str = "a peer") -> _M:
    """Read a message of one kind, as somebody else sent it.

    Args:
        kind: what is expected here.
        data: any bytes. The words of an ``Upload`` stay a view of them.
        terms: what both sides agreed on.
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
        raise reader.refused("belongs to another round, roster or configuration")
    values = read_fields(reader, _FIELDS[kind], terms)
    if issubclass(kind, Signed):
        values["signature"] = _SIGNATURE.read(reader, terms)
    reader.require_end()
    return kind(**values)


def digest(message: Message, terms: Terms) -> bytes:
    """Hash all of a message but its signature: SHA-256 over its binary form."""
    hashing = sha256()
    for part in _unsigned(message, terms):
        hashing.update(part)
    return hashing.digest()


def signed(message: _S, terms: Terms, identity: Identity) -> _S:
    """Sign a message as the client it comes from.

    The signature covers the digest of the message, and with it the kind and the terms.
    """
    return replace(message, signature=identity.sign(_to_sign(digest(message, terms))))


def require_signed(message: Signed, terms: Terms) -> bytes:
    """Refuse a message that its client has not signed.

    Returns:
        Its digest.

    Raises:
        VerificationError: the signature is not that of the pinned identity; names the client.
    """
    hashed = digest(message, terms)
    require_signature(terms.roster, message.client, _to_sign(hashed), message.signature)
    return hashed


def _to_sign(message_digest: bytes) -> bytes:
    return hashed_for("signature", message_digest)


def pack_words(vector: Words, terms: Terms) -> bytes:
    """Pack a vector block by block, so that it can be read block by block."""
    return b"".join(
        wire.pack(vector[begin : begin + _BLOCK], terms.bits)
        for begin in range(0, terms.length, _BLOCK)
    )


def unpack_words(words: Data, terms: Terms) -> Iterator[tuple[int, Words]]:
    """Read an upload's words in blocks, each with the place where it begins, the last block first.

    Guarantees:
        - if the words can be refused at all, it happens before the first block is handed out: only
          the last one can be ragged, and hold bits that belong to no word.

    Raises:
        VerificationError: such a bit is set, or the size is not what the terms say.
    """
    view = memoryview(words)
    if len(view) != _words_bytes(terms):
        raise VerificationError(
            f"an upload of {len(view)} bytes", allowed=f"{_words_bytes(terms)} bytes"
        )
    for begin in reversed(range(0, terms.length, _BLOCK)):
        count = min(_BLOCK, terms.length - begin)
        # Full blocks take whole bytes, whatever the width.
        at = begin * terms.bits // 8
        size = wire.packed_bytes(count, terms.bits)
        yield begin, wire.unpack(bytes(view[at : at + size]), terms.bits, count)


def _words_bytes(terms: Terms) -> int:
    full, rest = divmod(terms.length, _BLOCK)
    block, ragged = (wire.packed_bytes(count, terms.bits) for count in (_BLOCK, rest))
    return full * block + ragged


def _start(kind: type[Any]) -> bytes:
    return MAGIC + bytes((VERSION, list(_FIELDS).index(kind)))


def _unsigned(message: Message, terms: Terms) -> Iterator[Data]:
    yield _start(type(message)) + terms.digest
    yield from write_fields(message, _FIELDS[type(message)], terms)


def _write_words(words: Data, terms: Terms) -> Data:
    return fixed(_words_bytes(terms), "the words of an upload").write(words, terms)


def _read_kind(reader: Reader, _: Terms) -> Kind:
    place = reader.take(1)[0]
    if place >= len(_KINDS):
        raise reader.refused(f"has a share of the unknown kind {place}")
    return _KINDS[place]


_KINDS: Final[tuple[Literal["self"], Literal["mask"]]] = ("self", "mask")
_KIND: Final = Form(lambda kind, _: bytes((_KINDS.index(kind),)), _read_kind)
_KEY: Final = fixed(_PUBLIC_KEY_BYTES, "a public key")
_SIGNATURE: Final = fixed(SIGNATURE_BYTES, "a signature")
_SHARE: Final = fixed(SHARE_BYTES, "a share")
_WORDS: Final = Form(_write_words, lambda reader, terms: reader.view(_words_bytes(terms)))
_KEM_KEY: Final = fixed_either(0, kem.PUBLIC_BYTES, "an ML-KEM key")
_CIPHERTEXT: Final = fixed_either(0, kem.CIPHERTEXT_BYTES, "an ML-KEM ciphertext")
_SHOWN: Final[Fields] = (
    ("mask_key", _KEY),
    ("seal_key", _KEY),
    ("mask_kem_key", _KEM_KEY),
    ("seal_kem_key", _KEM_KEY),
)
_KEYS: Final = listed(Advertisement, **dict(_SHOWN), signature=_SIGNATURE)
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
_ENDORSEMENTS: Final = listed(Endorsement, signature=_SIGNATURE)

# The order of the kinds is part of the format.
_FIELDS: Final[dict[type[Any], Fields]] = {
    Advertisement: (("client", CLIENT), *_SHOWN),
    Cohort: (("client", CLIENT), ("present", CLIENTS), ("advertisements", _KEYS)),
    SealedShares: (("client", CLIENT), ("shares", _BOXES), ("deposits", _DEPOSITS)),
    Inbox: (("client", CLIENT), ("included", CLIENTS), ("shares", _BOXES)),
    Upload: (("client", CLIENT), ("words", _WORDS)),
    Survivors: (("survivors", CLIENTS),),
    Acknowledgement: (("client", CLIENT), ("survivors_sha256", HASH)),
    UnmaskRequest: (
        ("client", CLIENT),
        ("survivors", CLIENTS),
        ("endorsements", _ENDORSEMENTS),
    ),
    Unmasking: (("client", CLIENT), ("shares", listed(RevealedShare, kind=_KIND, share=_SHARE))),
}
