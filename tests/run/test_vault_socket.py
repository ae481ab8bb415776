"""The vault's socket: whole messages, known users, limits, and errors that end one question."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sottovoce.errors import ConfigError, RefusedError, SottovoceError
from sottovoce.run import vault_socket
from sottovoce.run.vault_socket import VaultSocket, ask

LIMIT = 1 << 20
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own folders can have paths too long for a socket.
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@contextmanager
def serving(path: Path, answer: Callable[[bytes], bytes], **how) -> Iterator[VaultSocket]:
    with VaultSocket(path, LIMIT, **how) as found:
        thread = threading.Thread(target=found.serve, args=(answer,))
        thread.start()
        try:
            yield found
        finally:
            found.close()
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("size", [0, 1, 65_537, LIMIT])
def test_a_question_comes_and_its_answer_goes_whole(folder: Path, size: int) -> None:
    question = os.urandom(size)
    with serving(folder / "v", lambda body: body[::-1]):
        assert ask(folder / "v", question, LIMIT) == question[::-1]


def test_many_ask_at_once(folder: Path) -> None:
    """All are in work before the first is answered."""
    together = threading.Barrier(8)

    def answer(body: bytes) -> bytes:
        together.wait(10)
        return body

    with serving(folder / "v", answer):
        found: dict[int, bytes] = {}

        def one(place: int) -> None:
            found[place] = ask(folder / "v", str(place).encode(), LIMIT)

        threads = [threading.Thread(target=one, args=(place,)) for place in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert found == {place: str(place).encode() for place in range(8)}


def test_an_error_is_told_and_ends_nothing_else(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: bytes) -> bytes:
        if body == b"policy":
            raise RefusedError("epsilon is 9", allowed="up to 8")
        if body.startswith(b"Jane"):
            raise ValueError(body.decode())
        return body

    with serving(folder / "v", answer):
        with pytest.raises(SottovoceError, match=r"epsilon is 9\. Allowed: up to 8\."):
            ask(folder / "v", b"policy", LIMIT)
        with pytest.raises(SottovoceError, match=r"the vault failed with ValueError\.") as caught:
            ask(folder / "v", b"Jane Doe, born 1970", LIMIT)
        assert ask(folder / "v", b"fine", LIMIT) == b"fine"
    assert "could not be answered, for ValueError at" in caplog.text
    assert "Doe" not in caplog.text + str(caught.value)


def test_a_question_over_the_limit_is_refused_unread(folder: Path) -> None:
    seen: list[int] = []
    with serving(folder / "v", lambda body: seen.append(len(body)) or b""):
        with pytest.raises(SottovoceError, match=f"a question of {8 * LIMIT} bytes"):
            ask(folder / "v", bytes(8 * LIMIT), LIMIT)
        # One that announces more than memory holds is refused by its head alone.
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(folder / "v"))
            peer.sendall(struct.pack(">Q", 2**63))
            assert b"Allowed: up to" in b"".join(iter(lambda: peer.recv(500), b""))
    assert seen == []


def test_an_answer_over_the_limit_is_refused_unread(folder: Path) -> None:
    with serving(folder / "v", lambda body: bytes(5000)):
        assert len(ask(folder / "v", b"", 5000)) == 5000
        with pytest.raises(SottovoceError, match="the vault answers 5000 bytes"):
            ask(folder / "v", b"", 4999)


def test_who_stops_in_the_middle_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_socket, "_PAUSE_SECONDS", 0.1)
    with serving(folder / "v", lambda body: body), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(folder / "v"))
        peer.sendall(struct.pack(">Q", 10) + b"half")
        peer.settimeout(10)
        assert peer.recv(1) == b""


def test_the_vault_may_think_longer_than_a_peer_may_pause(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_socket, "_PAUSE_SECONDS", 0.1)
    with serving(folder / "v", lambda body: time.sleep(0.4) or b"done"):
        assert ask(folder / "v", b"", LIMIT) == b"done"


def test_a_vault_that_dies_meanwhile_is_an_error(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(folder / "v"))
        dying.listen()

        def die() -> None:
            connection, _ = dying.accept()
            connection.recv(8)
            connection.close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(SottovoceError, match=r"cannot be asked: .*sotto site"):
            ask(folder / "v", b"", LIMIT)
        thread.join()


# Who may ask


def test_the_socket_is_for_its_owner_alone(folder: Path) -> None:
    path = folder / "made" / "v"
    with serving(path, lambda body: body):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_another_user_is_not_answered_whatever_the_files_allow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    with serving(folder / "v", lambda body: seen.append(body) or b""):
        monkeypatch.setattr(vault_socket, "_user_of", lambda connection: os.geteuid() + 1)
        with pytest.raises(SottovoceError, match="cannot be asked"):
            ask(folder / "v", b"secret?", LIMIT)
        monkeypatch.undo()
        ask(folder / "v", b"own", LIMIT)
    assert seen == [b"own"]


ASK_AS = """
import os, socket, struct, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(sys.argv[1])
    peer.sendall(struct.pack(">Q", 2) + b"hi")
    print(b"".join(iter(lambda: peer.recv(100), b""))[9:].decode())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_the_kernel_tells_users_apart(folder: Path) -> None:
    def asked_by(user: int) -> str:
        command = [sys.executable, "-I", "-S", "-c", ASK_AS, str(folder / "x" / "v"), str(user)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    folder.chmod(0o711)
    with serving(folder / "x" / "v", lambda body: body, door=NOBODY):
        assert asked_by(NOBODY) == "hi"
        assert asked_by(NOBODY - 1) == ""
        # Even where the socket's mode lets everyone in.
        (folder / "x" / "v").chmod(0o666)
        assert asked_by(NOBODY - 1) == ""


# Names that are there


def test_the_socket_of_a_dead_process_is_replaced_and_ones_own_is_taken_away(folder: Path) -> None:
    path = folder / "v"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path, lambda body: body):
        assert ask(path, b"x", LIMIT) == b"x"
    assert not path.exists()
    with pytest.raises(SottovoceError, match="cannot be asked"):
        ask(path, b"x", LIMIT)


def test_that_of_a_living_one_is_not(folder: Path) -> None:
    with serving(folder / "v", lambda body: b"first"):
        with pytest.raises(ConfigError, match="another vault listens"):
            VaultSocket(folder / "v", LIMIT)
        assert ask(folder / "v", b"", LIMIT) == b"first"


def test_another_sockets_name_is_left_to_it(folder: Path) -> None:
    with serving(folder / "v", lambda body: body):
        (folder / "v").unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(folder / "v"))
    assert (folder / "v").exists()


def test_what_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "v").write_text("text")
    with pytest.raises(ConfigError, match="is no socket"):
        VaultSocket(folder / "v", LIMIT)
    assert (folder / "v").read_text() == "text"
    with pytest.raises(ConfigError, match="up to 100"):
        VaultSocket(folder / ("x" * 100), LIMIT)
