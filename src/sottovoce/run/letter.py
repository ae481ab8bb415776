"""What servers and sites write to each other: a signed letter with facts and parts. Pure.

    "SVLT" | version | length of the head (4) | head | parts, one after the other | signature (64)

The head is canonical JSON: kind, run, from, to, facts, and name and size of each part. The signature
is Ed25519 over the hash of all that stands before it. A letter has one binary form, so its hash is
its name: an answer says which letter it answers, and a letter that comes twice is the same letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from typing import Any, Final

from sottovoce.codec.forms import Data, Reader
from sottovoce.codec.roster import SIGNATURE_BYTES, Identity, Roster, hashed, require_signature
from sottovoce.data.strict_json import decode_json
from sottovoce.errors import DataError, UsageError, VerificationError
from sottovoce.run.ledger import canonical

SERVER: Final = "the server"
"""How letters call the server; a site of this name has no letters."""
PART: Final = "message"
"""The part of a letter in which a message of a secure sum travels."""
NEXT: Final = "next"
"""The part in which a message of the next round's sum rides along."""
_MAGIC: Final = b"SVLT\x01"
_LENGTH_BYTES: Final = 4
_LARGEST_HEAD: Final = 2**22
_MOST_PARTS: Final = 64
_LARGEST_FIGURE: Final = 1e100
_MEMBERS: Final = {"kind", "run", "from", "to", "facts", "parts"}


@dataclass(frozen=True)
class Letter:
    """One message between a server and a site.

    Args:
        kind: what it asks or answers.
        run: the run that it belongs to.
        sender: who signed it.
        to: whom it is for.
        facts: plain JSON values.
        parts: byte strings by name: tensors, words, a configuration.
    """

    kind: str
    run: str
    sender: str
    to: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def write(letter: Letter, identity: Identity) -> bytes:
    """Write and sign a letter.

    Guarantees:
        - the same letter of the same sender has the same bytes;
        - ``read`` gives an equal letter back.
    """
    names = sorted(letter.parts)
    head = canonical(
        {
            "kind": letter.kind,
            "run": letter.run,
            "from": letter.sender,
            "to": letter.to,
            "facts": letter.facts,
            "parts": [[name, len(letter.parts[name])] for name in names],
        }
    )
    pieces = [_MAGIC, len(head).to_bytes(_LENGTH_BYTES, "big"), head]
    pieces += [letter.parts[name] for name in names]
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return b"".join([*pieces, identity.sign(_to_sign(digest.digest()))])


def read(data: Data, roster: Roster, *, to: str, limit: int) -> Letter:
    """Read a letter that came from outside.

    Args:
        data: any bytes.
        roster: whose signatures count.
        to: who reads it; a letter to somebody else is refused.
        limit: the most bytes that it may have.

    Guarantees:
        - whatever the bytes are, the result is a letter that ``write`` writes as these bytes and
          that its sender has signed, or a VerificationError;
        - nothing is looked into before the size, and no part before the signature.

    Raises:
        VerificationError: as said.
    """
    if len(data) > limit:
        raise VerificationError(
            f"a letter of {len(data)} bytes", allowed=f"at most {limit}", remedy="Raise the limit"
        )
    reader = Reader(data, "letter")
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise reader.refused("does not begin as one of this version")
    size = int.from_bytes(reader.take(_LENGTH_BYTES), "big")
    if size > _LARGEST_HEAD:
        raise reader.refused(f"has a head of {size} bytes")
    head = _head(reader.take(size), reader)
    sizes = _sizes(head["parts"], reader)
    views = {name: reader.view(count) for name, count in sizes.items()}
    signature = reader.take(SIGNATURE_BYTES)
    reader.require_end()
    sender = str(head["from"])
    digest = sha256(memoryview(data)[:-SIGNATURE_BYTES]).digest()
    require_signature(roster, sender, _to_sign(digest), signature)
    if head["to"] != to:
        raise reader.refused(f"of {sender!r} is for somebody else")
    parts = {name: bytes(view) for name, view in views.items()}
    return Letter(head["kind"], head["run"], sender, to, head["facts"], parts)


def name_of(data: bytes) -> str:
    """The hash of a letter, by which an answer and a ledger name it."""
    return sha256(data).hexdigest()


def text(facts: Mapping[str, Any], name: str) -> str:
    """A fact that is text.

    Raises:
        VerificationError: it is missing or something else; so for the others below.
    """
    value: str = _typed(facts, name, str)
    return value


def count(facts: Mapping[str, Any], name: str, most: int = 2**62) -> int:
    """A fact that is an integer from 0 to ``most``."""
    value: int = _typed(facts, name, int)
    if isinstance(value, bool) or not 0 <= value <= most:
        raise VerificationError(f"{name} is {value!r}", allowed=f"an integer from 0 to {most}")
    return value


def figure(facts: Mapping[str, Any], name: str) -> float | None:
    """A fact that is a number or null, and small enough that weighted sums of such are finite."""
    value = facts.get(name)
    if value is None:
        return None
    known = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not known or abs(value) > _LARGEST_FIGURE:
        raise VerificationError(
            f"{name} is {value!r}", allowed=f"null, or a number up to {_LARGEST_FIGURE:g}"
        )
    return float(value)


def table(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A fact that is an object."""
    value: dict[str, Any] = _typed(facts, name, dict)
    return value


def part(letter: Letter, name: str) -> bytes:
    """A part that has to be there."""
    if name not in letter.parts:
        raise VerificationError(f"a letter of kind {letter.kind!r} without its part {name!r}")
    return letter.parts[name]


def _typed(facts: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = facts.get(name)
    if not isinstance(value, kind):
        raise VerificationError(f"{name} is {type(value).__name__}", allowed=kind.__name__)
    return value


def _to_sign(digest: bytes) -> bytes:
    return hashed("sottovoce letter v1", digest)


def _head(data: bytes, reader: Reader) -> dict[str, Any]:
    try:
        head = decode_json(data.decode())
        if not isinstance(head, dict) or set(head) != _MEMBERS or canonical(head) != data:
            raise reader.refused("has a head that is not written in its one form")
    except (DataError, UnicodeDecodeError, UsageError, RecursionError) as error:
        raise reader.refused("has a head that is no JSON") from error
    kinds = {"kind": str, "run": str, "from": str, "to": str, "facts": dict, "parts": list}
    if any(not isinstance(head[name], kind) for name, kind in kinds.items()):
        raise reader.refused("has a head of which a member is of another type")
    return head


def _sizes(listed: list[Any], reader: Reader) -> dict[str, int]:
    sizes: dict[str, int] = {}
    if len(listed) > _MOST_PARTS:
        raise reader.refused(f"has {len(listed)} parts")
    for item in listed:
        match item:
            case [str(name), int(size)] if size >= 0 and not isinstance(size, bool):
                sizes[name] = size
            case _:
                raise reader.refused("has a part without a name or a size")
    if list(sizes) != sorted(sizes) or len(sizes) != len(listed):
        raise reader.refused("has parts that are not in order")
    return sizes
