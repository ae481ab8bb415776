"""Certificates: OpenSSL's strictest reading accepts them for their host, and for no other."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sottovoce.errors import ConfigError
from sottovoce.run.certs import make_certificates

FILES = {"ca.pem": 0o644, "ca.key": 0o600, "server.pem": 0o644, "server.key": 0o600}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs") / "made"
    make_certificates(folder, "Federation.example.org")
    return folder


def shake_hands(folder: Path, ca: Path, name: str) -> str:
    """A client that checks strictly meets the server; the version of TLS, or the refusal."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    client = ssl.create_default_context(cafile=ca)
    # What Python 3.13 and newer ask for by themselves.
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as secured:
                secured.recv(1)
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as secured:
            return secured.version() or ""
    finally:
        thread.join()


@pytest.mark.parametrize("name", ["federation.example.org", "localhost", "127.0.0.1", "::1"])
def test_a_strict_client_accepts_them_for_their_host_and_this_machine(
    folder: Path, name: str
) -> None:
    assert shake_hands(folder, folder / "ca.pem", name) == "TLSv1.3"


@pytest.mark.parametrize("name", ["example.org", "other.example.org", "127.0.0.2"])
def test_and_for_no_other_host(folder: Path, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        shake_hands(folder, folder / "ca.pem", name)


def test_another_authority_of_the_same_name_does_not_vouch_for_them(
    folder: Path, tmp_path: Path
) -> None:
    make_certificates(tmp_path, "federation.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(folder, tmp_path / "ca.pem", "federation.example.org")


def test_an_address_may_be_the_host(tmp_path: Path) -> None:
    make_certificates(tmp_path, "192.0.2.7")
    assert shake_hands(tmp_path, tmp_path / "ca.pem", "192.0.2.7") == "TLSv1.3"


def test_the_server_cannot_vouch_for_others(folder: Path) -> None:
    server = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.path_length) == (True, 0)


def test_they_last_as_long_as_asked(tmp_path: Path) -> None:
    make_certificates(tmp_path, "localhost", days=9)
    for name in ("ca.pem", "server.pem"):
        found = x509.load_pem_x509_certificate((tmp_path / name).read_bytes())
        left = found.not_valid_after_utc - datetime.now(UTC)
        assert timedelta(days=8, hours=23) < left < timedelta(days=9, seconds=1)
        assert found.not_valid_before_utc < datetime.now(UTC) - timedelta(minutes=5)
    with pytest.raises(ConfigError, match="for 0 days"):
        make_certificates(tmp_path / "none", "localhost", days=0)


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == FILES


@pytest.mark.parametrize("there", FILES)
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("kept")
    with pytest.raises(ConfigError, match=f"{there} is there already"):
        make_certificates(tmp_path, "localhost")
    assert [path.name for path in tmp_path.iterdir()] == [there]


@pytest.mark.parametrize(
    "host", ["", "a b", "host:9092", "*.example.org", "-a.org", "a..b", "x" * 64, "münchen.de"]
)
def test_what_is_no_host_gets_no_certificate(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="a server named"):
        make_certificates(tmp_path / "none", host)
    assert not (tmp_path / "none").exists()
