"""Who takes part: a pinned list of clients and the keys they sign with.

Ed25519, RFC 8032. A roster is agreed on once, outside of the protocol, and its root goes into every
key and signature, so that a server which shows different rosters to different clients gets masks
that do not cancel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sottovoce.errors import VerificationError

KEY_BYTES: Final = 32
HASH_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
LONGEST_NAME: Final = 64
FEWEST_MEMBERS: Final = 2

_P: Final = 2**255 - 19
# The y of a point whose order is 8; with -y, 0, 1 and -1 it is that of all points of small order.
_Y8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


def hashed(purpose: str, *fields: bytes | str | int) -> bytes:
    """Hash fields for one purpose: SHA-256 over the purpose and the fields, each with its length.

    Args:
        purpose: what the hash is for; another purpose never gives the same hash.
        fields: any byte strings, text, or integers from 0 to 2^64 - 1; the purpose fixes which.
            Public or private.

    Returns:
        32 bytes.

    Guarantees:
        - each field counts with its borders: ``(b"a", b"bc")`` and ``(b"ab", b"c")`` never meet.

    >>> hashed("a", b"a", b"bc") == hashed("a", b"ab", b"c")
    False
    """
    digest = sha256()
    for part in map(_written, (purpose, *fields)):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def require_name(name: str) -> None:
    """Refuse what cannot be a client's name.

    Raises:
        VerificationError: the name does not have 1 to 64 characters, or one of them cannot be
            printed.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        shown = ascii(name[: 2 * LONGEST_NAME] if isinstance(name, str) else type(name))
        raise VerificationError(
            f"a client named {shown}", allowed=f"1 to {LONGEST_NAME} printable characters"
        )


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Identity:
    """What one client signs with: an Ed25519 private key. RFC 8032.

    ``sign`` signs exactly the bytes it is handed. What they are for (protocol, run, round, roster)
    belongs into them, as ``hashed`` writes it.

    Guarantees:
        - the private key is neither printed nor pickled.
    """

    _key: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """The public key that goes into the roster, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Sign a message.

        Returns:
            64 bytes, the same for the same message.
        """
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Identity(public={self.public.hex()})"


def new_identity() -> Identity:
    """Make an identity from the operating system's randomness, for one process's life.

    A client that lives longer draws 32 secret bytes itself, keeps them, and calls
    ``identity_from``.
    """
    return Identity(Ed25519PrivateKey.generate())


def identity_from(private_bytes: bytes) -> Identity:
    """Open the identity of a private key.

    Args:
        private_bytes: 32 bytes, any. Private.

    Raises:
        VerificationError: there are not 32 bytes.

    >>> identity_from(bytes(32)).public.hex()[:8]
    '3b6a27bc'
    """
    if len(private_bytes) != KEY_BYTES:
        raise VerificationError(
            f"a private key of {len(private_bytes)} bytes", allowed=f"{KEY_BYTES} bytes"
        )
    return Identity(Ed25519PrivateKey.from_private_bytes(private_bytes))


@dataclass(frozen=True)
class Roster:
    """The clients of a federation and their public keys.

    Args:
        members: client to Ed25519 public key, 32 bytes. Two or more. Public.

    Attributes:
        root: SHA-256 over all names and keys in the order of the names. Public.

    Guarantees:
        - two rosters have the same root exactly if they have the same members;
        - the order of the mapping does not matter, and later changes to it change nothing here.

    Raises:
        VerificationError: fewer than two members; a name that is no name; a key that is not the
            one way to write a point, or with which anybody could sign; one key under two names.

    >>> keys = {name: identity_from(name * 32).public for name in (b"a", b"b")}
    >>> Roster({"oslo": keys[b"a"], "rome": keys[b"b"]}).root.hex()[:8]
    '7fe96061'
    """

    members: Mapping[str, bytes] = field(compare=False)
    root: bytes = field(init=False)

    def __post_init__(self) -> None:
        for name in self.members:
            require_name(name)
        ordered = {name: self.members[name] for name in sorted(self.members)}
        if len(ordered) < FEWEST_MEMBERS:
            raise VerificationError(
                f"a roster of {len(ordered)}", allowed=f"{FEWEST_MEMBERS} members or more"
            )
        owners: dict[bytes, str] = {}
        for name, key in ordered.items():
            _require_public_key(name, key)
            if key in owners:
                raise VerificationError(
                    f"clients {owners[key]!r} and {name!r} have the same key",
                    remedy="Enrol each client with a key of its own",
                )
            owners[key] = name
        fields = [part for name, key in ordered.items() for part in (name.encode(), key)]
        object.__setattr__(self, "members", MappingProxyType(ordered))
        object.__setattr__(self, "root", hashed("sottovoce roster v1", *fields))


def require_signature(roster: Roster, client: str, message: bytes, signature: bytes) -> None:
    """Refuse a message that a client of the roster has not signed. Ed25519, RFC 8032, 5.1.7.

    Args:
        roster: who may sign.
        client: who is said to have signed.
        message: the bytes that were signed.
        signature: 64 bytes.

    Guarantees:
        - returns only if the holder of this client's key has signed exactly this message.

    Raises:
        VerificationError: the client is not in the roster, or the signature is not its own for
            this message. The error names the client.
    """
    key = roster.members.get(client)
    if key is None:
        raise VerificationError(
            f"a message from {client!r}, who is not in the roster",
            remedy="Enrol the client in a new roster that all members have agreed on",
        )
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        raise VerificationError(
            f"the signature of client {client!r} is not one of its own under this message",
            remedy="The message was changed on its way, belongs elsewhere, or was forged",
        ) from None


def _written(part: bytes | str | int) -> bytes:
    if isinstance(part, int):
        return part.to_bytes(8, "big")
    return part.encode() if isinstance(part, str) else part


def _require_public_key(name: str, key: bytes) -> None:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise VerificationError(f"client {name!r} has a key that is no string of {KEY_BYTES} bytes")
    y = int.from_bytes(key, "little") & (2**255 - 1)
    # A second way to write a point would let one key stand under two names.
    if y >= _P:
        raise VerificationError(f"client {name!r} has a key that is not written in one way only")
    # Under a point of small order, one signature is valid for an eighth of all messages or more.
    if y in _SMALL_ORDER_Y:
        raise VerificationError(
            f"client {name!r} has a key under which anybody can sign",
            remedy="Make the key with new_identity or identity_from",
        )
