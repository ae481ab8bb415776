"""Enrolment: the keys of a site, the line that goes into the roster, and the server's own key.

A site has three secrets: its identity (Ed25519), which signs what it says; its node key (P-384), by
which the server's SuperLink knows its connection; and its store key, under which it keeps what it
remembers of sums. The identity signs the node key once, at enrolment, so that a roster names both
in one line and nobody can put a node key of their own beside another's identity.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sottovoce.codec.roster import (
    KEY_BYTES,
    LONGEST_NAME,
    SIGNATURE_BYTES,
    Identity,
    Roster,
    hashed,
    identity_from,
    require_name,
)
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run.private_files import PRIVATE, read_private, write_new

NODE_KEY_BYTES: Final = 49
IDENTITY_FILE: Final = "identity.key"
NODE_FILE: Final = "node.key"
STORE_FILE: Final = "store.key"

_LINE_BYTES: Final = KEY_BYTES + NODE_KEY_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True)
class Member:
    """The public keys of one site.

    Args:
        identity: Ed25519, 32 bytes.
        node_key: P-384, a compressed point by SEC 1, 49 bytes.
    """

    identity: bytes
    node_key: bytes


def make_keys(folder: Path, name: str) -> str:
    """Make the keys of a site, from the operating system's randomness.

    Args:
        folder: where ``identity.key``, ``node.key`` and ``store.key`` go; made if it is missing.
        name: the site's name in the roster.

    Returns:
        The value of its line in the roster: both public keys, and the identity's signature over
        them and the name, in base64url. Public.

    Guarantees:
        - all three files are there afterwards, or none that was not there before;
        - nobody but their owner can read them.

    Raises:
        ConfigError: there are keys already, the name is no name, or the disk refused.
    """
    _require_member_name(name)
    pem = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    secrets_of_site = {IDENTITY_FILE: _new_secret(), NODE_FILE: pem, STORE_FILE: _new_secret()}
    write_new(folder, {file: (data, PRIVATE) for file, data in secrets_of_site.items()})
    return roster_line(folder, name)


def roster_line(folder: Path, name: str) -> str:
    """Write the line of a site whose keys are there already.

    Returns:
        What ``make_keys`` returns; the same for the same keys and name. Public.

    Raises:
        ConfigError: a key is missing or can be read by others, or the name is no name.
    """
    _require_member_name(name)
    identity = open_identity(folder)
    point = _point_of(open_node_key(folder), folder / NODE_FILE)
    signature = identity.sign(_enrolment(name, identity.public, point))
    return urlsafe_b64encode(identity.public + point + signature).decode().rstrip("=")


def read_member(name: str, text: str) -> Member:
    """Read the value of one line of a roster.

    Args:
        name: whose line it is.
        text: what ``make_keys`` returned.

    Guarantees:
        - returns only if the holder of the identity has put this name and this node key beside it
          (``roster_of`` also refuses identities with which anybody can sign);
        - there is one way to write a line, and no other is read.

    Raises:
        ConfigError: it is not such a line, or another member's. The error names the member.
    """
    _require_member_name(name)
    line = _line_bytes(text)
    if line is None:
        raise _no_line(name, "is no enrolment line")
    identity, point = line[:KEY_BYTES], line[KEY_BYTES:-SIGNATURE_BYTES]
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    except ValueError:
        raise _no_line(name, "holds no point of P-384") from None
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(
            line[-SIGNATURE_BYTES:], _enrolment(name, identity, point)
        )
    except (InvalidSignature, ValueError):
        raise _no_line(name, "is not signed by its own identity for this name") from None
    return Member(identity, point)


def roster_of(lines: Mapping[str, str]) -> tuple[Roster, dict[str, Member]]:
    """Read a whole roster.

    Args:
        lines: enrolment line by the name of the site.

    Returns:
        The roster of identities, and every member's keys in the order of the names.

    Raises:
        ConfigError: a line that cannot be read, one key under two names, or fewer than two members.
    """
    members = {name: read_member(name, lines[name]) for name in sorted(lines)}
    owners: dict[bytes, str] = {}
    for name, member in members.items():
        other = owners.setdefault(member.node_key, name)
        if other != name:
            raise ConfigError(
                f"members {other!r} and {name!r} of the roster have the same node key",
                remedy="Let each site enrol by itself with sotto enrol",
            )
    try:
        roster = Roster({name: member.identity for name, member in members.items()})
    except VerificationError as error:
        raise ConfigError(error.seen, allowed=error.allowed, remedy=error.remedy) from error
    return roster, members


def open_identity(folder: Path) -> Identity:
    """Open a site's identity.

    Raises:
        ConfigError: the file is missing, is no key, or can be read by others.
    """
    return server_identity(folder / IDENTITY_FILE)


def open_store_key(folder: Path) -> bytes:
    """Read the key under which a site keeps what it remembers, 32 bytes. Private.

    Raises:
        ConfigError: the file is missing, is no key, or can be read by others.
    """
    return _secret(folder / STORE_FILE)


def open_node_key(folder: Path) -> str:
    """Read the key of a site's connection, as PEM. Private.

    Raises:
        ConfigError: the file is missing or can be read by others.
    """
    return read_private(folder / NODE_FILE)


def node_key_pem(point: bytes) -> bytes:
    """Write a public node key as Flower does.

    Args:
        point: a compressed point of P-384, 49 bytes. Public.

    Raises:
        ConfigError: it is no such point.
    """
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    except ValueError:
        raise ConfigError("a node key that is no point of P-384") from None
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def make_server_identity(path: Path) -> str:
    """Make the key that the server signs with.

    Returns:
        Its public key in hexadecimal digits, for the sites' configurations.

    Raises:
        ConfigError: there is a file already, or the disk refused.
    """
    write_new(path.parent, {path.name: (_new_secret(), PRIVATE)})
    return server_identity(path).public.hex()


def server_identity(path: Path) -> Identity:
    """Open the key that the server signs with.

    Raises:
        ConfigError: the file is missing, is no key, or can be read by others.
    """
    return identity_from(_secret(path))


def _point_of(pem: str, path: Path) -> bytes:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise ConfigError(f"{path} holds no key of P-384", remedy="Restore it, or enrol anew")
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _enrolment(name: str, identity: bytes, point: bytes) -> bytes:
    return hashed("sottovoce enrolment v1", name, identity, point)


def _require_member_name(name: str) -> None:
    try:
        require_name(name)
    except VerificationError as error:
        raise ConfigError(
            error.seen, allowed=f"1 to {LONGEST_NAME} printable characters"
        ) from error


def _line_bytes(text: str) -> bytes | None:
    """The bytes of a line; nothing for text that is not what ``make_keys`` would have written."""
    try:
        line = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    written = urlsafe_b64encode(line).decode().rstrip("=")
    return line if len(line) == _LINE_BYTES and written == text else None


def _no_line(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"the line of {name!r} in the roster {what}",
        allowed="the line that sotto enrol printed at that site, whole and for that name",
    )


def _new_secret() -> bytes:
    return f"{secrets.token_hex(KEY_BYTES)}\n".encode()


def _secret(path: Path) -> bytes:
    text = read_private(path).strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} holds no key", allowed=f"{2 * KEY_BYTES} hexadecimal digits")
    return key
