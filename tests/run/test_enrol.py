"""Enrolment: keys are written once and read privately, and a roster line binds what it names."""

from __future__ import annotations

import stat
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from sottovoce.codec.roster import Roster, hashed, identity_from
from sottovoce.errors import ConfigError
from sottovoce.run import enrol, private_files
from sottovoce.run.enrol import Member

KEYS = ("identity.key", "node.key", "store.key")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing loses its power here, so nobody waits for the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def line(tmp_path: Path) -> str:
    return enrol.make_keys(tmp_path / "keys", "berlin")


def decoded(line: str) -> bytes:
    return urlsafe_b64decode(line + "=" * (-len(line) % 4))


def encoded(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


# Keys on disk


def test_the_keys_are_what_their_names_say_and_for_their_owner_alone(
    tmp_path: Path, line: str
) -> None:
    folder = tmp_path / "keys"
    assert sorted(path.name for path in folder.iterdir()) == sorted(KEYS)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in KEYS} == {0o600}
    seed = bytes.fromhex((folder / "identity.key").read_text())
    node = load_pem_private_key((folder / "node.key").read_bytes(), None)
    assert isinstance(node, ec.EllipticCurvePrivateKey)
    assert node.curve.name == "secp384r1"
    member = enrol.read_member("berlin", line)
    assert (
        member.identity
        == Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    )
    assert member.node_key == node.public_key().public_bytes(
        Encoding.X962, PublicFormat.CompressedPoint
    )
    assert enrol.open_identity(folder).public == member.identity
    assert enrol.open_store_key(folder) == bytes.fromhex((folder / "store.key").read_text())
    assert enrol.open_node_key(folder) == (folder / "node.key").read_text()


def test_no_two_sites_and_no_two_keys_are_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        enrol.make_keys(tmp_path / name, name)
    texts = {(tmp_path / site / name).read_text() for site in "ab" for name in KEYS}
    assert len(texts) == 6


@pytest.mark.parametrize("there", KEYS)
def test_no_key_is_ever_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("kept")
    with pytest.raises(ConfigError, match=f"{there} is there already"):
        enrol.make_keys(tmp_path, "berlin")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "kept"


@pytest.mark.parametrize("writes", range(6))
def test_a_disk_that_refuses_leaves_all_keys_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """It refuses each of the three writes and of the three links in turn."""
    left = [writes]

    def refusing(real):
        def act(*arguments, **names):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return real(*arguments, **names)

        return act

    monkeypatch.setattr(private_files, "write_all", refusing(private_files.write_all))
    monkeypatch.setattr(Path, "hardlink_to", refusing(Path.hardlink_to))
    with pytest.raises(ConfigError, match="No space left"):
        enrol.make_keys(tmp_path, "berlin")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    enrol.make_keys(tmp_path, "berlin")


def test_a_key_that_appears_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = private_files.write_all

    def late(descriptor: int, data: bytes) -> None:
        (tmp_path / "node.key").write_text("another's")
        real(descriptor, data)

    monkeypatch.setattr(private_files, "write_all", late)
    with pytest.raises(ConfigError):
        enrol.make_keys(tmp_path, "berlin")
    assert [path.name for path in tmp_path.iterdir()] == ["node.key"]
    assert (tmp_path / "node.key").read_text() == "another's"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_touch_is_not_used(tmp_path: Path, line: str, mode: int) -> None:
    folder = tmp_path / "keys"
    for name in KEYS:
        (folder / name).chmod(mode)
    for opened in (enrol.open_identity, enrol.open_store_key, enrol.open_node_key):
        with pytest.raises(ConfigError, match=f"mode {mode:03o}.*chmod 600"):
            opened(folder)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "é" * 64])
def test_what_is_no_key_is_not_opened(tmp_path: Path, line: str, text: str) -> None:
    folder = tmp_path / "keys"
    (folder / "store.key").write_text(text)
    with pytest.raises(ConfigError, match=r"store\.key"):
        enrol.open_store_key(folder)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        enrol.open_store_key(tmp_path / "nowhere")


def test_a_server_has_an_identity_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "made" / "server.key"
    public = enrol.make_server_identity(path)
    assert enrol.server_identity(path).public.hex() == public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="is there already"):
        enrol.make_server_identity(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        enrol.server_identity(path)


# Roster lines


def test_a_line_is_both_keys_and_the_identitys_signature_over_them_and_the_name(line: str) -> None:
    raw = decoded(line)
    identity, point, signature = raw[:32], raw[32:81], raw[81:]
    signed = hashed("sottovoce enrolment v1", "berlin", identity, point)
    Ed25519PublicKey.from_public_bytes(identity).verify(signature, signed)
    assert enrol.read_member("berlin", line) == Member(identity, point)
    pem = load_pem_public_key(enrol.node_key_pem(point))
    assert isinstance(pem, ec.EllipticCurvePublicKey)
    assert pem.public_bytes(Encoding.X962, PublicFormat.CompressedPoint) == point


def test_the_line_can_be_written_again(tmp_path: Path, line: str) -> None:
    assert enrol.roster_line(tmp_path / "keys", "berlin") == line
    assert enrol.roster_line(tmp_path / "keys", "oslo") != line
    (tmp_path / "keys" / "node.key").write_text("no key")
    with pytest.raises(ConfigError, match="no key of P-384"):
        enrol.roster_line(tmp_path / "keys", "berlin")


@pytest.mark.parametrize("place", [0, 31, 32, 40, 80, 81, 144])
def test_a_changed_line_is_refused_by_name(line: str, place: int) -> None:
    raw = bytearray(decoded(line))
    raw[place] ^= 1
    with pytest.raises(ConfigError, match="'berlin'"):
        enrol.read_member("berlin", encoded(bytes(raw)))


def test_a_line_under_another_name_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match=r"'oslo'.*is not signed"):
        enrol.read_member("oslo", line)


@pytest.mark.parametrize(
    "changed",
    [
        lambda line: line[:-1],
        lambda line: line + "A",
        lambda line: line + "==",
        lambda line: f" {line}",
        lambda line: line[:7] + "\n" + line[7:],
        lambda line: line[:-1] + chr(ord(line[-1]) + 1),
        lambda line: "",
        lambda line: "é" * len(line),
    ],
    ids=["cut", "longer", "padded", "blank", "broken", "last bits", "empty", "no base64"],
)
def test_there_is_one_way_to_write_a_line(line: str, changed) -> None:
    with pytest.raises(ConfigError, match="is no enrolment line"):
        enrol.read_member("berlin", changed(line))


def test_a_point_that_is_none_is_refused_even_if_it_is_signed() -> None:
    identity, point = identity_from(bytes(32)), b"\x02" + b"\xff" * 48
    signature = identity.sign(hashed("sottovoce enrolment v1", "berlin", identity.public, point))
    with pytest.raises(ConfigError, match="no point of P-384"):
        enrol.read_member("berlin", encoded(identity.public + point + signature))
    with pytest.raises(ConfigError, match="no point of P-384"):
        enrol.node_key_pem(point)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 65])
def test_what_is_no_name_is_not_enrolled(tmp_path: Path, line: str, name: str) -> None:
    for act in (
        lambda: enrol.make_keys(tmp_path / "other", name),
        lambda: enrol.roster_line(tmp_path / "keys", name),
        lambda: enrol.read_member(name, line),
    ):
        with pytest.raises(ConfigError, match="a client named"):
            act()
    assert not (tmp_path / "other").exists()


def test_a_roster_is_of_identities_in_the_order_of_names(tmp_path: Path) -> None:
    lines = {name: enrol.make_keys(tmp_path / name, name) for name in ("rome", "berlin", "oslo")}
    roster, members = enrol.roster_of(lines)
    assert list(members) == ["berlin", "oslo", "rome"]
    assert roster == Roster({name: member.identity for name, member in members.items()})
    assert members["oslo"] == enrol.read_member("oslo", lines["oslo"])


def test_a_roster_has_two_members_and_no_key_twice(tmp_path: Path) -> None:
    lines = {"berlin": enrol.make_keys(tmp_path / "a", "berlin")}
    with pytest.raises(ConfigError, match="a roster of 1"):
        enrol.roster_of(lines)
    for kept in ("identity.key", "node.key"):
        enrol.make_keys(tmp_path / kept, "oslo")
        (tmp_path / kept / kept).write_bytes((tmp_path / "a" / kept).read_bytes())
    # Each signs itself correctly, and shares one key with Berlin.
    shares = {kept: enrol.roster_line(tmp_path / kept, "oslo") for kept in KEYS[:2]}
    with pytest.raises(ConfigError, match=r"'berlin' and 'oslo'.*same node key"):
        enrol.roster_of(lines | {"oslo": shares["node.key"]})
    with pytest.raises(ConfigError, match=r"'berlin' and 'oslo'.*same key"):
        enrol.roster_of(lines | {"oslo": shares["identity.key"]})
