"""A vault and its door: one process that answers, and one beside it that alone speaks to the network."""

from __future__ import annotations

import os
import pwd
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sottovoce.errors import ConfigError
from sottovoce.run.connection import Limits, ServerOf
from sottovoce.run.enrol import open_node_key
from sottovoce.run.flower.child import require_loopback, start, stop
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
