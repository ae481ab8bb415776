"""A private authority and a server certificate, for laboratories and the demonstration.

RFC 5280 profiles on P-256, strict enough for Python 3.13 and newer, which refuse certificates
without key identifiers, constraints and uses. In production an organisation brings the certificate
of its own authority.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sottovoce.errors import ConfigError
from sottovoce.run.private_files import PRIVATE, PUBLIC, write_new

CA_CERTIFICATE: Final = "ca.pem"
CA_KEY: Final = "ca.key"
CERTIFICATE: Final = "server.pem"
KEY: Final = "server.key"

# Clocks of sites may go a little behind the one that made the certificate.
_CLOCKS_DIFFER: Final = timedelta(minutes=10)


def make_certificates(folder: Path, host: str, days: int = 825) -> None:
    """Make an authority of one's own, and with it a certificate for a server.

    Args:
        folder: where ``ca.pem``, ``ca.key``, ``server.pem`` and ``server.key`` go. The sites need
            the first, the server the last two; ``ca.key`` can be put away.
        host: the name or address under which the sites reach the server. The certificate is valid
            for it, and for this machine.
        days: how long both are valid.

    Guarantees:
        - all four files are there afterwards, or none that was not there before;
        - nobody but their owner can read the keys.

    Raises:
        ConfigError: one of the files is there already, the host is no name or address, the days
            are fewer than one, or the disk refused.
    """
    if days < 1:
        raise ConfigError(f"certificates for {days} days", allowed="1 or more")
    names = _names(host)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, days)
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = _server(authority, authority_key, server_key.public_key(), names, days)
    write_new(
        folder,
        {
            CA_CERTIFICATE: (authority.public_bytes(Encoding.PEM), PUBLIC),
            CA_KEY: (_pem(authority_key), PRIVATE),
            CERTIFICATE: (server.public_bytes(Encoding.PEM), PUBLIC),
            KEY: (_pem(server_key), PRIVATE),
        },
    )


def _authority(key: ec.EllipticCurvePrivateKey, days: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sottovoce laboratory authority")])
    draft = _draft(name, name, key.public_key(), days)
    draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    draft = draft.add_extension(_uses(for_authority=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    draft = draft.add_extension(identifier, critical=False)
    return draft.sign(key, hashes.SHA256())


def _server(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    days: int,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sottovoce server")])
    draft = _draft(name, authority.subject, key, days)
    issued_by = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issued_by)
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    draft = draft.add_extension(constraints, critical=True)
    draft = draft.add_extension(_uses(for_authority=False), critical=True)
    serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    draft = draft.add_extension(serves, critical=False)
    draft = draft.add_extension(x509.SubjectAlternativeName(names), critical=False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    draft = draft.add_extension(identifier, critical=False)
    draft = draft.add_extension(by, critical=False)
    return draft.sign(authority_key, hashes.SHA256())


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    draft = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    draft = draft.serial_number(x509.random_serial_number())
    draft = draft.not_valid_before(now - _CLOCKS_DIFFER)
    return draft.not_valid_after(now + timedelta(days=days))


def _uses(*, for_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not for_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=for_authority,
        crl_sign=for_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _names(host: str) -> list[x509.GeneralName]:
    """What the certificate is valid for: the host first, then this machine."""
    here: list[str | IPv4Address | IPv6Address]
    here = ["localhost", IPv4Address("127.0.0.1"), IPv6Address("::1")]
    try:
        wanted: str | IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        wanted = host.lower()
        if not _is_name(wanted):
            raise ConfigError(
                f"a server named {host!r}",
                allowed="a name such as federation.example.org, or an address, without a port",
            ) from None
    return [
        x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name)
        for name in dict.fromkeys([wanted, *here])
    ]


def _is_name(host: str) -> bool:
    labels = host.split(".")
    return len(host) <= 253 and all(
        1 <= len(label) <= 63
        and label.isascii()
        and label.replace("-", "").isalnum()
        and not (label.startswith("-") or label.endswith("-"))
        for label in labels
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
