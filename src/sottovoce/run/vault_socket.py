"""The way into the vault: byte messages over a Unix socket, for peers whose user is known.

    question   size (8, big-endian) | bytes
    answer     0 | size (8) | bytes          or, for what went wrong,          1 | size (8) | text

One question and its answer per connection. Who connects is asked of the kernel, never of the peer.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.run.folder import make_folder

_SIZE: Final = struct.Struct(">Q")
_HEAD: Final = struct.Struct(">BQ")
_GOOD, _BAD = 0, 1
_LONGEST_ERROR: Final = 4096
_LONGEST_PATH: Final = 100
_PIECE: Final = 1 << 20
# How long a peer may pause within a message. Peers are on this machine.
_PAUSE_SECONDS: Final = 30.0
_MOST_CONNECTIONS: Final = 64

_log: Final = logging.getLogger(__name__)

Answer = Callable[[bytes], bytes]


class VaultSocket:
    """A Unix socket that answers questions of some users of this machine.

    Args:
        path: where it lies. Its folder is made for its owner alone if it is missing.
        limit_bytes: the largest question that is read.
        door: number of another user who may ask as well, which only root can allow.

    Guarantees:
        - nobody but this process's user and the door's gets an answer, or is read from;
        - a question over the limit is refused before its bytes are read;
        - an error of one question ends nothing but that question.

    Raises:
        ConfigError: another process listens there, or the path cannot be used.
    """

    def __init__(self, path: Path, limit_bytes: int, door: int | None = None) -> None:
        self._path = path
        self._limit = limit_bytes
        self._allowed = frozenset({os.geteuid()} | ({door} if door is not None else set()))
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._closed = threading.Event()
        self._socket = _bound(path, door)
        self._bound_as = path.stat().st_ino

    def serve(self, answer: Answer) -> None:
        """Answer questions until the socket is closed, each in a thread of its own.

        Args:
            answer: from a question to its answer; called from many threads at once.
        """
        while not self._closed.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                if self._closed.is_set():
                    return
                # Too many open files, for example: others' connections end, and it goes on.
                _log.exception("no connection could be accepted")
                self._closed.wait(0.1)
                continue
            self._slots.acquire()
            threading.Thread(
                target=self._attend, args=(connection, answer), name="vault question", daemon=True
            ).start()

    def close(self) -> None:
        """End ``serve``, and take the socket's name away. Questions in work are left to end."""
        if self._closed.is_set():
            return
        self._closed.set()
        # Closing alone would leave a thread in accept for ever.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._bound_as:
                self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _attend(self, connection: socket.socket, answer: Answer) -> None:
        try:
            with connection:
                connection.settimeout(_PAUSE_SECONDS)
                user = _user_of(connection)
                if user not in self._allowed:
                    _log.warning("a question of user %d was refused", user)
                    return
                _send(connection, *self._answered(connection, answer))
        except OSError as error:
            # Whoever asked has gone, or has stopped in the middle; it asks again if it needs to.
            _log.info("a question ended early: %s", error)
        finally:
            self._slots.release()

    def _answered(self, connection: socket.socket, answer: Answer) -> tuple[int, bytes]:
        [size] = _SIZE.unpack(_read(connection, _SIZE.size))
        if size > self._limit:
            return _BAD, f"a question of {size} bytes. Allowed: up to {self._limit}.".encode()
        question = bytes(_read(connection, size))
        try:
            return _GOOD, answer(question)
        except SottovoceError as error:
            return _BAD, str(error).encode()[:_LONGEST_ERROR]
        except Exception as error:  # noqa: BLE001 - whatever it is, the vault goes on
            # Of any other error the text may hold what was worked on, so only its kind goes out,
            # and the log says where it happened.
            kind, where = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
            _log.error("a question could not be answered, for %s at\n%s", kind, where)
            return _BAD, f"the vault failed with {kind}.".encode()


def ask(path: Path, question: bytes, limit_bytes: int) -> bytes:
    """Ask the vault.

    Args:
        path: where its socket lies.
        question: the bytes to send.
        limit_bytes: the largest answer that is read.

    Returns:
        The answer, however long the vault thinks about it.

    Raises:
        SottovoceError: the vault cannot be reached, has ended meanwhile, answers more than the
            limit, or answers with an error, whose text this one has.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PAUSE_SECONDS)
            connection.connect(str(path))
            # A question that is refused unread breaks off here, and the reason waits to be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(_SIZE.pack(len(question)))
                _send_all(connection, question)
            # The vault may think for hours; if it dies, the kernel ends the connection.
            connection.settimeout(None)
            kind, size = _HEAD.unpack(_read(connection, _HEAD.size))
            if size > (limit_bytes if kind == _GOOD else _LONGEST_ERROR):
                raise SottovoceError(
                    f"the vault answers {size} bytes", allowed=f"up to {limit_bytes}"
                )
            connection.settimeout(_PAUSE_SECONDS)
            answer = bytes(_read(connection, size))
    except OSError as error:
        raise SottovoceError(
            f"the vault at {path} cannot be asked: {error}",
            remedy="Start the site again with sotto site",
        ) from error
    if kind != _GOOD:
        raise SottovoceError(answer.decode(errors="replace"))
    return answer


def _bound(path: Path, door: int | None) -> socket.socket:
    """A listening socket for its owner, or for the door's user, to whom it is then given."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(
            f"the socket's path {path} has {len(os.fsencode(path))} bytes",
            allowed=f"up to {_LONGEST_PATH}, which is what every system can bind",
            remedy="Choose a folder with a shorter path",
        )
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not path.parent.exists():
            make_folder(path.parent.parent)
            path.parent.mkdir(mode=0o700)
        _remove_stale(path)
        # The name must never be there with more leave than it ends up with.
        before = os.umask(0o177)
        try:
            found.bind(str(path))
        finally:
            os.umask(before)
        if door is not None and door != os.geteuid():
            path.parent.chmod(0o711)
            os.chown(path, door, -1)
        found.listen(_MOST_CONNECTIONS)
    except OSError as error:
        found.close()
        raise ConfigError(
            f"the vault cannot listen at {path}: {error.strerror or error}",
            remedy="Choose a folder on a local disk that this user may write to",
        ) from error
    except ConfigError:
        found.close()
        raise
    return found


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that is gone; refuse that of one that lives."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise ConfigError(f"{path} is there and is no socket", remedy="Choose another folder")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PAUSE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(
        f"another vault listens at {path}",
        remedy="End it first; one process answers for a site",
    )


def _user_of(connection: socket.socket) -> int:
    """The user at the other end, as the kernel knows it."""
    if hasattr(socket, "SO_PEERCRED"):
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("iII", found)[1])
    # xucred of BSD and macOS: SOL_LOCAL is 0, LOCAL_PEERCRED is 1; version, then user.
    return int(struct.unpack_from("II", connection.getsockopt(0, 1, 128))[1])


def _send(connection: socket.socket, kind: int, body: bytes) -> None:
    connection.sendall(_HEAD.pack(kind, len(body)))
    _send_all(connection, body)


def _send_all(connection: socket.socket, body: bytes) -> None:
    # A time limit is one on the whole of sendall, so a large body goes out in pieces.
    rest = memoryview(body)
    while rest:
        connection.sendall(rest[:_PIECE])
        rest = rest[_PIECE:]


def _read(connection: socket.socket, size: int) -> bytearray:
    """Exactly this many bytes; memory grows with what has come, not with what was announced."""
    found = bytearray()
    while len(found) < size:
        piece = connection.recv(min(_PIECE, size - len(found)))
        if not piece:
            raise ConnectionError("the connection ended in the middle of a message")
        found += piece
    return found
