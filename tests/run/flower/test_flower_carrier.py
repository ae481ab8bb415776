"""Real processes on loopback: a SuperLink and two doors over TLS, killed and started again."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

pytest.importorskip("flwr")

from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.run.certs import make_certificates
from sottovoce.run.enrol import make_keys, open_node_key, read_member, roster_line, roster_of
from sottovoce.run.flower import child, door, superlink
from sottovoce.run.flower.carrier import FlowerCarrier, LinkSettings
from sottovoce.run.flower.link import SpentKeyError
from sottovoce.run.vault_socket import VaultSocket

SITES = ("berlin", "oslo")
LIMIT = 64 << 20
# Root can give a door to another user, which here is Oslo's.
NOBODY = 65534 if os.geteuid() == 0 else None
SUPERLINK = "sottovoce.run.flower.superlink"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A vault that answers with what it is asked, in this process, and its door in another."""

    def __init__(self, folder: Path, port: int, ca: Path, user: int | None = None) -> None:
        self.folder, self.asked, self.go = folder, [], threading.Event()
        self.vault = VaultSocket(folder / "vault", LIMIT, user)
        self.settings = {
            "address": f"127.0.0.1:{port}",
            "ca": str(ca),
            "insecure": False,
            "node_key": open_node_key(folder),
            "socket": str(folder / "vault"),
            "poll_seconds": 0.2,
            "limit_bytes": LIMIT,
            "user": user,
        }
        self.thread = threading.Thread(target=self.vault.serve, args=(self.answer,))
        self.thread.start()
        self.open()

    def answer(self, body: bytes) -> bytes:
        self.asked.append(body)
        if body.startswith(b"think"):
            self.go.wait(30)
        if body.startswith(b"fail"):
            raise SottovoceError("Jane Doe cannot be found")
        return body

    def open(self) -> None:
        self.door = child.start("sottovoce.run.flower.door", self.settings, self.log)

    def kill(self) -> None:
        self.door.kill()
        self.door.wait()
        self.door.stdin.close()

    @property
    def log(self) -> Path:
        return self.folder / "door.log"

    def events(self) -> list[str]:
        if not self.log.exists():
            return []
        return [json.loads(line)["event"] for line in self.log.read_text().splitlines()]

    def close(self) -> None:
        self.go.set()
        child.stop(self.door)
        self.vault.close()
        self.thread.join()


class Federation:
    """Everything above, with what tests ask of it."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        make_certificates(root / "certs", "127.0.0.1")
        lines = {name: make_keys(root / name, name) for name in SITES}
        self.members = {name: member.node_key for name, member in roster_of(lines)[1].items()}
        self.settings = LinkSettings(
            "127.0.0.1",
            self.port,
            root / "link",
            root / "certs" / "server.pem",
            root / "certs" / "server.key",
            limit_bytes=LIMIT,
        )
        self.carrier = FlowerCarrier(self.settings, self.members)
        # The doors are there first, and find the server when it comes.
        self.ca = root / "certs" / "ca.pem"
        users = {"berlin": None, "oslo": NOBODY}
        self.sites = {
            name: Site(root / name, self.port, self.ca, user) for name, user in users.items()
        }

    def key_of(self, name: str) -> bytes:
        return read_member(name, roster_line(self.root / name, name)).node_key

    def superlink(self) -> psutil.Process:
        children = psutil.Process().children()
        [found] = [process for process in children if SUPERLINK in process.cmdline()]
        return found

    def take(self, number: int, seconds: float = 20) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        end = time.monotonic() + seconds
        while len(found) < number and time.monotonic() < end:
            found += self.carrier.answers(1)
        return sorted(found)

    def trip(self, site: str, body: bytes) -> None:
        self.carrier.ask(site, lambda: body)
        assert self.take(1) == [(site, body)]


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def federation() -> Iterator[Federation]:
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o711)
        groups = os.getgroups()
        if NOBODY is not None:
            # So that a door that does not leave the groups of its parent is noticed.
            os.setgroups([*groups, 1])
        here = Federation(Path(made))
        try:
            with here.carrier:
                until(lambda: here.carrier.present() == set(SITES))
                yield here
        finally:
            for site in here.sites.values():
                site.close()
            if NOBODY is not None:
                os.setgroups(groups)


# Bytes go there and back


def test_every_site_answers_what_it_was_asked(federation: Federation) -> None:
    for name in SITES:
        federation.carrier.ask(name, name.encode)
    assert federation.take(2) == [("berlin", b"berlin"), ("oslo", b"oslo")]
    assert federation.carrier.answers() == []


@pytest.mark.parametrize("body", [b"", bytes(9 << 20), os.urandom(13_000_001)], ids=len)
def test_bodies_of_all_sizes_arrive_whole(federation: Federation, body: bytes) -> None:
    federation.trip("oslo", body)


def test_a_quick_question_does_not_wait_for_a_slow_one(federation: Federation) -> None:
    site = federation.sites["oslo"]
    federation.carrier.ask("oslo", lambda: b"think of something")
    federation.trip("oslo", b"and?")
    site.go.set()
    assert federation.take(1) == [("oslo", b"think of something")]
    site.go.clear()


def test_a_vault_that_fails_is_not_waited_for_and_its_reason_stays_at_home(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    federation.carrier.ask("berlin", lambda: b"fail")
    until(lambda: federation.carrier.answers(1) or "gives no answer: berlin" in caplog.text)
    assert "Jane" not in caplog.text
    assert "the vault does not answer" in federation.sites["berlin"].events()
    federation.trip("berlin", b"next")


def test_an_answer_over_the_limit_is_refused_and_not_waited_for(
    federation: Federation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    object.__setattr__(federation.settings, "limit_bytes", 1000)
    federation.carrier.ask("berlin", lambda: bytes(1001))
    until(lambda: federation.carrier.answers(1) or "was refused: a message with" in caplog.text)
    object.__setattr__(federation.settings, "limit_bytes", LIMIT)
    federation.trip("berlin", b"next")


def test_what_is_forgotten_does_not_come_any_more(federation: Federation) -> None:
    site = federation.sites["oslo"]
    federation.carrier.ask("oslo", lambda: b"think too long")
    until(lambda: b"think too long" in site.asked)
    federation.carrier.forget("oslo")
    site.go.set()
    federation.trip("oslo", b"new")
    until(lambda: federation.carrier.answers(1) or not federation.carrier._questions)
    site.go.clear()


def test_nothing_is_left_of_what_was_answered_failed_or_forgotten(federation: Federation) -> None:
    """After all of the above: the database would grow with every round."""
    assert federation.carrier._questions == []
    with sqlite3.connect(federation.settings.folder / "superlink.db") as database:
        for table in ("objects", "message_ins", "message_res"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]


def test_only_members_are_asked(federation: Federation) -> None:
    with pytest.raises(ConfigError, match="'rome'"):
        federation.carrier.ask("rome", lambda: b"?")


# Killed and started again


def test_a_superlink_that_is_killed_loses_nothing(federation: Federation) -> None:
    """One question is with a vault, one was not fetched, and one is asked while it is dead."""
    slow, site = federation.sites["berlin"], federation.sites["oslo"]
    federation.carrier.ask("berlin", lambda: b"think on")
    until(lambda: b"think on" in slow.asked)
    site.kill()
    federation.carrier.ask("oslo", lambda: b"not fetched")
    federation.superlink().kill()
    site.open()
    federation.carrier.ask("oslo", lambda: b"while dead")
    slow.go.set()
    assert federation.take(3) == [
        ("berlin", b"think on"),
        ("oslo", b"not fetched"),
        ("oslo", b"while dead"),
    ]
    slow.go.clear()


def test_a_door_that_is_killed_is_asked_again_when_it_is_back(federation: Federation) -> None:
    """It comes back at once, although the SuperLink has not noticed that it was gone."""
    site = federation.sites["oslo"]
    federation.carrier.ask("oslo", lambda: b"think twice")
    until(lambda: b"think twice" in site.asked)
    site.kill()
    site.open()
    site.go.set()
    start = time.monotonic()
    assert federation.take(1) == [("oslo", b"think twice")]
    assert time.monotonic() - start < 15
    assert site.asked.count(b"think twice") == 2
    site.go.clear()


# Who is kept out


def test_a_stranger_is_refused_until_the_roster_has_it_and_again_after(
    federation: Federation,
) -> None:
    folder, link = federation.root / "rome", federation.carrier._running.link
    make_keys(folder, "rome")
    stranger = Site(folder, federation.port, federation.ca)
    unknown, reached = "the server does not know this site", "the server is reached"
    try:
        until(lambda: unknown in stranger.events())
        assert reached not in stranger.events()
        with_rome = federation.members | {"rome": federation.key_of("rome")}
        number = link.register(with_rome)["rome"]
        until(lambda: reached in stranger.events())
        assert link.presence()[number].online
        assert link.register(federation.members) == federation.carrier._running.nodes
        assert number not in link.presence()
        stranger.kill()
        stranger.open()
        until(lambda: stranger.events()[-1] == unknown)
        with pytest.raises(SpentKeyError):
            link.register(with_rome)
    finally:
        stranger.close()
    assert federation.carrier.present() == set(SITES)


def test_who_was_revoked_may_come_back_to_a_server_that_starts_again(
    federation: Federation, tmp_path: Path
) -> None:
    """In a copy of the database in which it was revoked, and on plain HTTP."""
    with (
        sqlite3.connect(federation.settings.folder / "superlink.db") as source,
        sqlite3.connect(tmp_path / "superlink.db") as copy,
    ):
        source.backup(copy)
    settings = LinkSettings("127.0.0.1", free_port(), tmp_path, None, None, insecure=True)
    members = federation.members | {"rome": federation.key_of("rome")}
    with FlowerCarrier(settings, members) as carrier:
        assert set(carrier._running.nodes) == set(members)


def test_a_server_with_another_certificate_is_not_talked_to(federation: Federation) -> None:
    make_certificates(federation.root / "others", "127.0.0.1")
    folder = federation.root / "bern"
    make_keys(folder, "bern")
    site = Site(folder, federation.port, federation.root / "others" / "ca.pem")
    try:
        until(lambda: site.events() != [])
        first = json.loads(site.log.read_text().splitlines()[0])
        assert first["event"] == "the server is away"
        assert "CERTIFICATE_VERIFY_FAILED" in first["why"]
    finally:
        site.close()


def test_the_network_reaches_no_control(federation: Federation) -> None:
    tls = ssl.create_default_context(cafile=federation.ca)
    with httpx.Client(base_url=f"https://127.0.0.1:{federation.port}", verify=tls) as client:
        assert client.get("/health").status_code == 200
        for path in ("control/start-run", "control/register-node", "runtime/acquire-task"):
            assert client.post(f"/v1/{path}").status_code == 404
        for path in ("fleet/register-node", "fleet/get-fab"):
            assert client.post(f"/v1/{path}").status_code == 404
        # An unsigned request gets as far as Flower's own authentication.
        unsigned = {"content-type": "application/protobuf"}
        assert client.post("/v1/fleet/pull-messages", headers=unsigned).status_code == 401


def test_no_secret_is_seen_in_lists_of_processes_or_in_logs(federation: Federation) -> None:
    process = federation.superlink()
    doors = [psutil.Process(site.door.pid) for site in federation.sites.values()]
    [secret] = [
        value
        for name, value in federation.carrier._running.link._headers.items()
        if name == "sottovoce-secret"
    ]
    keys = [open_node_key(site.folder).splitlines()[1] for site in federation.sites.values()]
    seen = json.dumps([[found.cmdline(), found.environ()] for found in [process, *doors]])
    logs = [site.log for site in federation.sites.values()]
    seen += "".join(path.read_text() for path in [*logs, *federation.settings.folder.glob("*.log")])
    assert "superlink" in seen
    for word in (secret, *keys):
        assert word not in seen


def test_flower_is_silent_and_its_files_are_private(federation: Federation) -> None:
    folder = federation.settings.folder
    environment = federation.superlink().environ()
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {"superlink"}
    # Nobody but the sites' one port is listened at.
    listening = federation.superlink().net_connections()
    assert {link.laddr.port for link in listening if link.status == "LISTEN"} == {federation.port}


@pytest.mark.skipif(NOBODY is None, reason="only root can give a door to another user")
def test_a_door_of_another_user_has_given_up_roots_rights_for_good(federation: Federation) -> None:
    process = psutil.Process(federation.sites["oslo"].door.pid)
    assert set(process.uids()) == {NOBODY}
    assert 0 not in process.gids()
    groups = Path(f"/proc/{process.pid}/status").read_text().partition("Groups:")[2]
    assert groups.splitlines()[0].strip() == ""
    with pytest.raises(ConfigError, match="no user 4000000"):
        door.become(4_000_000)


def test_plain_http_is_for_loopback_alone(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "10.0.0.7", "federation.example.org"):
        with pytest.raises(ConfigError, match="loopback alone"):
            LinkSettings(host, 1, tmp_path, None, None, insecure=True)
        with pytest.raises(ConfigError, match="loopback alone"):
            superlink.serve({"insecure": True, "host": host, "port": 0})
        with pytest.raises(ConfigError, match="loopback alone"):
            door.carry({"insecure": True, "address": f"{host}:1"})
    with pytest.raises(ConfigError, match="a server without a certificate"):
        LinkSettings("127.0.0.1", 1, tmp_path, None, None)
    with pytest.raises(ConfigError, match="plain HTTP and a certificate"):
        LinkSettings("127.0.0.1", 1, tmp_path, tmp_path, tmp_path, insecure=True)


# Beginnings and ends


def test_a_port_that_is_taken_is_said_so(federation: Federation, tmp_path: Path) -> None:
    settings = LinkSettings("127.0.0.1", federation.port, tmp_path, None, None, insecure=True)
    with pytest.raises(ConfigError, match=f"cannot serve at 127.0.0.1:{federation.port}"):
        FlowerCarrier(settings, federation.members).__enter__()


PARENT = """
import sys, time
from pathlib import Path
from sottovoce.run.flower import child
process = child.start("sottovoce.run.flower.door", {"insecure": True, "address": "127.0.0.1:1",
    "socket": sys.argv[1], "limit_bytes": 1, "poll_seconds": 1, "ca": None, "user": None,
    "node_key": Path(sys.argv[2]).read_text()}, Path(sys.argv[3]))
print(process.pid, flush=True)
time.sleep(60)
"""


def test_a_child_does_not_outlive_its_parent(federation: Federation, tmp_path: Path) -> None:
    key, log = federation.root / "oslo" / "node.key", tmp_path / "log"
    command = [sys.executable, "-c", PARENT, tmp_path / "v", key, log]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        process = psutil.Process(int(parent.stdout.readline()))
        until(lambda: log.exists() and "the server is away" in log.read_text())
        parent.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 5)
