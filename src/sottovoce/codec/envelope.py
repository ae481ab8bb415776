"""The one way to write a value of a secure sum as bytes, and to sign it.

    magic (4) | version | kind | digest of the terms (32) | fields

``forms`` says how a field is written. Where a message is signed its signature is the last field,
and the only one that the signature does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

from sottovoce.codec.forms import Data, Fields, Form, Reader, read_fields, write_fields
from sottovoce.codec.roster import HASH_BYTES, Identity, Roster, require_signature
from sottovoce.codec.terms import Agreed

VERSION: Final = 1

_M = TypeVar("_M")
_S = TypeVar("_S", bound=Any)
_K = TypeVar("_K", bound=Any)
_T = TypeVar("_T", bound=Agreed)


@dataclass(frozen=True)
class Format(Generic[_M, _T]):
    """How values of some kinds are written, under terms of one protocol.

    Args:
        magic: 4 bytes.
        bound: what the digest of the terms stands for, as an error says it.
        fields: of each kind; their order and that of the kinds are part of the format.
    """

    magic: bytes
    bound: str
    fields: Mapping[type[Any], Fields]

    def write(self, message: _M, terms: _T) -> bytes:
        """Write a message as bytes.

        Guarantees:
            - ``read`` gives an equal message back, and no other message has these bytes.

        Raises:
            VerificationError: somebody who is not in the terms, a list that is not in order or
                names somebody twice, or a field of a wrong size.
        """
        return b"".join(self._parts(message, terms, self.fields[type(message)]))

    def read(self, kind: type[_K], data: Data, terms: _T, *, sender: str = "a peer") -> _K:
        """Read a message of one kind, as somebody else sent it.

        Args:
            kind: what is expected here.
            data: any bytes. The words of a vector stay a view of them.
            terms: what all sides agreed on.
            sender: who an error names.

        Guarantees:
            - whatever the bytes are, the result is a message that ``write`` writes as these bytes,
              or a VerificationError.

        Raises:
            VerificationError: as above; the message belongs to other terms, or is of another kind.
        """
        _, values = self.values(Reader(data, f"{kind.__name__} of {sender}"), terms, [kind])
        message: _K = kind(**values)
        return message

    def values(
        self, reader: Reader, terms: _T, kinds: Iterable[type[_K]]
    ) -> tuple[type[_K], dict[str, Any]]:
        """Read which of some kinds it is, and its fields."""
        start = reader.take(len(self.magic) + 2)
        kind = next((kind for kind in kinds if self._start(kind) == start), None)
        if kind is None:
            raise reader.refused("does not begin as one of this version")
        if reader.take(HASH_BYTES) != terms.digest:
            raise reader.refused(f"belongs to another {self.bound}")
        values = read_fields(reader, self.fields[kind], terms)
        reader.require_end()
        return kind, values

    def digest(self, message: _M, terms: _T) -> bytes:
        """Hash all of a message but its signature: SHA-256 over its binary form."""
        fields = self.fields[type(message)]
        hashing = sha256()
        for part in self._parts(message, terms, [it for it in fields if it[0] != "signature"]):
            hashing.update(part)
        return hashing.digest()

    def _parts(self, message: _M, terms: _T, fields: Iterable[tuple[str, Form]]) -> Iterator[Data]:
        yield self._start(type(message)) + terms.digest
        yield from write_fields(message, fields, terms)

    def _start(self, kind: type[Any]) -> bytes:
        return self.magic + bytes((VERSION, list(self.fields).index(kind)))


@dataclass(frozen=True)
class Signing(Generic[_S, _T]):
    """How messages are signed.

    Args:
        digest: ``Format.digest``; with it a signature covers the kind and the terms.
        to_sign: what is signed in the place of a digest, so that it counts in one protocol only.
        signer: whose signature a message has, and who has pinned that identity.
    """

    digest: Callable[[Any, _T], bytes]
    to_sign: Callable[[bytes], bytes]
    signer: Callable[[Any, _T], tuple[str, Roster]]

    def signed(self, message: _K, terms: _T, identity: Identity) -> _K:
        """Sign a message as whom it comes from."""
        signature = identity.sign(self.to_sign(self.digest(message, terms)))
        return replace(message, signature=signature)

    def require_signed(self, message: _S, terms: _T) -> bytes:
        """Refuse a message that whom it comes from has not signed.

        Returns:
            Its digest.

        Raises:
            VerificationError: the signature is not that of the pinned identity; names whose.
        """
        found = self.digest(message, terms)
        name, roster = self.signer(message, terms)
        require_signature(roster, name, self.to_sign(found), message.signature)
        return found
