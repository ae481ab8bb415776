"""A vault and its door: one process that answers, and one beside it that alone speaks to the network."""

from __future__ import annotations

import os
import pwd
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from sottovoce.codec.roster import Identity
from sottovoce.errors import ConfigError
from sottovoce.run.connection import Limits, ServerOf
from sottovoce.run.enrol import open_identity, open_node_key, open_store_key
from sottovoce.run.flower.child import require_loopback, start, stop
from sottovoce.run.folder import make_folder
from sottovoce.run.reception import Log
from sottovoce.run.seen import Seen
from sottovoce.run.vault_socket import Answer, VaultSocket

DOOR: Final = "sottovoce.run.flower.door"
_POLL_S: Final = 0.2
_LOOK_S: Final = 1.0


@dataclass(frozen=True)
class Way:
    """Between which places a door carries.

    Args:
        server: whose questions it brings.
        limits: what it may cost.
        keys: the folder with the node key.
        folder: where the socket of the vault lies.
    """

    server: ServerOf
    limits: Limits
    keys: Path
    folder: Path


class OwnFile(Protocol):
    """What a site's and a helper's settings say alike."""

    @property
    def name(self) -> str:
        """Of the site or the helper."""

    @property
    def keys(self) -> str:
        """The folder with its keys."""

    @property
    def folder(self) -> str:
        """Where it keeps its runs."""

    @property
    def server(self) -> ServerOf:
        """Whose requests it answers."""

    @property
    def limits(self) -> Limits:
        """What it spends on others."""


class Vaulted(Protocol):
    """A vault of either kind."""

    def answer(self, data: bytes) -> bytes:
        """Answer one letter."""

    def close(self) -> None:
        """Let go of everything that is open."""


def keep_vault(
    own: OwnFile, what: str, make: Callable[[Identity, bytes, Log], Vaulted], *, quiet: bool
) -> None:
    """Open a vault in this process and a door beside it, until this process is told to end.

    Args:
        own: the settings of whoever it is.
        what: ``"site"`` or ``"helper"``, for the log.
        make: from identity, store key and log to the vault.
        quiet: says nothing on standard error.

    Raises:
        ConfigError: a key or a setting cannot be used.
    """
    os.umask(0o077)
    require_safe(own.server)
    keys, folder = Path(own.keys), Path(own.folder)
    make_folder(folder)
    seen = Seen(folder, None if quiet else sys.stderr)
    with closing(make(open_identity(keys), open_store_key(keys), seen.log)) as vault:
        seen.log("started", {what: own.name, "server": own.server.address})
        keep_door(Way(own.server, own.limits, keys, folder), vault.answer, seen.log)


def require_safe(server: ServerOf) -> None:
    """Refuse plain HTTP to another machine, before anything is written.

    Raises:
        ConfigError: as said, or the address is none.
    """
    address, _ = split_address(server.address)
    if server.insecure:
        require_loopback(address)


def keep_door(way: Way, answer: Answer, log: Callable[[str, Mapping[str, Any]], None]) -> None:
    """Answer what comes through a door, until this process is told to end.

    Args:
        way: where the door is.
        answer: from a letter to its answer; called from many threads.
        log: told when a door that died is replaced.

    Raises:
        ConfigError: the node key or the socket cannot be used, or the door's user is none.
    """
    user = _user(way.limits)
    settings: dict[str, Any] = {
        "address": way.server.address,
        "ca": way.server.ca,
        "insecure": way.server.insecure,
        "node_key": open_node_key(way.keys),
        "socket": str(way.folder / "vault.sock"),
        "poll_seconds": _POLL_S,
        "limit_bytes": way.limits.letter_bytes,
        "user": user,
    }
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with VaultSocket(way.folder / "vault.sock", way.limits.letter_bytes, user) as listening:
        threading.Thread(target=listening.serve, args=(answer,), name="vault", daemon=True).start()
        while not ended.is_set():
            _until_it_ends(settings, ended, log)


def _until_it_ends(
    settings: Mapping[str, Any],
    ended: threading.Event,
    log: Callable[[str, Mapping[str, Any]], None],
) -> None:
    door = start(DOOR, settings)
    try:
        while door.poll() is None and not ended.wait(_LOOK_S):
            pass
    finally:
        stop(door)
    if not ended.is_set():
        log("door ended", {"code": door.returncode})
        ended.wait(_LOOK_S)


def split_address(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        ConfigError: it is not written so.

    >>> split_address("[::1]:9092")
    ('::1', 9092)
    """
    name, colon, port = address.rpartition(":")
    if not colon or not name or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"the address {address!r}", allowed="HOST:PORT, such as 10.0.0.2:9092")
    return name.removeprefix("[").removesuffix("]"), int(port)


def _user(limits: Limits) -> int | None:
    """The number of the user that the door runs as, where it is another."""
    name = limits.user
    if name is None:
        return None
    if os.geteuid() != 0:
        raise ConfigError(
            f"limits.user is {name!r}, and only root can start a process as another user",
            remedy="Start it as root, or remove limits.user",
        )
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"limits.user is {name!r}, who is no user of this machine") from None
