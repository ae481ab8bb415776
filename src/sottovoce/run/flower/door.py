"""The door of a site: it carries bytes between the SuperLink and the vault, and knows no more.

Runs as ``python -m`` of this module, started by the vault's process and ending with it; where the
system allows it, as another user, who can read neither text nor keys nor ledger. It is handed the
one secret that it needs, the node key, on standard input.
"""

from __future__ import annotations

import logging
import os
import pwd
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.run.flower.child import (
    is_loopback,
    log_as_lines,
    quieten,
    read_settings,
    require_loopback,
)
from sottovoce.run.vault_socket import ask

if TYPE_CHECKING:
    from sottovoce.run.flower.node import Node

_AT_ONCE: Final = 16
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
# The server gives a site up that it has not heard of for 20 seconds.
_HEARTBEAT_EVERY_SECONDS: Final = 4.0
_PAUSE_IN_ANSWER_SECONDS: Final = 60.0

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Way:
    """Where the two sides of the door are."""

    vault: Path
    limit_bytes: int
    poll_seconds: float


def main() -> None:
    """Carry until the parent ends.

    Settings: ``address`` (host:port), ``ca`` (a path, or null for the authorities that this machine
    trusts), ``insecure``, ``node_key`` (PEM), ``socket``, ``poll_seconds``, ``limit_bytes``, and
    ``user``, a number or null.
    """
    settings = read_settings()
    log_as_lines("info")
    try:
        carry(settings)
    except SottovoceError as error:
        _log.critical("the door cannot open", extra={"fields": {"why": str(error)}})
        raise SystemExit(error.exit_code) from error


def carry(settings: dict[str, Any]) -> None:
    """Carry for ever.

    Raises:
        ConfigError: plain HTTP is asked for off loopback, the certificate cannot be read, or the
            user cannot be changed to.
    """
    address: str = settings["address"]
    if settings["insecure"]:
        require_loopback(host_of(address))
    way = _Way(Path(settings["socket"]), settings["limit_bytes"], settings["poll_seconds"])
    quieten(way.vault.parent)
    # Resolving a name loads this one, and by then Python may be out of reach.
    import encodings.idna  # noqa: F401

    from sottovoce.run.flower.calls import Caller, tls_of_ca
    from sottovoce.run.flower.node import Node

    # All that lies on this machine is read before the rights to read it are given up. The memory
    # holds a number, and no secret.
    memory = os.open(f"{way.vault}.node", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    ca = Path(settings["ca"]) if settings["ca"] else None
    caller = Caller(
        address,
        None if settings["insecure"] else tls_of_ca(ca),
        proxies=not is_loopback(host_of(address)),
        pause_seconds=_PAUSE_IN_ANSWER_SECONDS,
    )
    node = Node(caller, settings["node_key"], _remembered(memory))
    if settings["user"] is not None:
        become(settings["user"])
    threading.Thread(target=_heartbeats, args=(node,), name="heartbeat", daemon=True).start()
    with ThreadPoolExecutor(_AT_ONCE, "question") as workers:
        _stay(node, way, memory, workers)


def host_of(address: str) -> str:
    """The host of ``host:port``.

    Raises:
        ConfigError: it is not of that form.

    >>> host_of("localhost:9092"), host_of("[::1]:9092")
    ('localhost', '::1')
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit()):
        raise ConfigError(f"the server's address {address!r}", allowed="host:port")
    return host.removeprefix("[").removesuffix("]")


def become(user: int) -> None:
    """Give up the rights of root for those of a user, for good.

    Raises:
        ConfigError: this process is not root's, or there is no such user.
    """
    if os.geteuid() == user:
        return
    if os.geteuid() != 0:
        raise ConfigError(
            f"the door cannot run as user {user}",
            remedy="Start the site as root, or leave the door's user out",
        )
    try:
        group = pwd.getpwuid(user).pw_gid
    except KeyError:
        raise ConfigError(f"there is no user {user} for the door") from None
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def _stay(node: Node, way: _Way, memory: int, workers: ThreadPoolExecutor) -> None:
    """Arrive, and arrive again after whatever has cut the way, for ever."""
    from sottovoce.run.flower.calls import CallError

    pause, told = _FIRST_PAUSE, ""
    while True:
        try:
            node.arrive()
            _remember(memory, node.number)
            _log.info("the server is reached")
            pause, told = _FIRST_PAUSE, ""
            while True:
                asked = node.next(way.poll_seconds)
                if asked is not None:
                    workers.submit(_attend, node, way, asked)
        except CallError as error:
            # A question may have got lost with the call. The server sends it again once this node
            # has arrived anew.
            before, told = told, _tell(error, told)
            # A server that is there again needs a moment until it knows its sites.
            if told != before:
                pause = _FIRST_PAUSE
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _attend(node: Node, way: _Way, asked: Any) -> None:
    """Carry one question to the vault, and its answer back."""
    from sottovoce.run.flower.calls import CallError

    fields: dict[str, object] = {"question": asked.message_id[:12]}
    try:
        body = node.fetch(asked, way.limit_bytes)
        fields["bytes"] = len(body)
        answer = ask(way.vault, body, way.limit_bytes)
        del body
        node.answer(asked, answer)
        _log.info("answered", extra={"fields": fields | {"answer_bytes": len(answer)}})
    except (CallError, LookupError) as error:
        why = {"why": f"{type(error).__name__}: {error}"}
        _log.warning("a question or its answer is wanted no more", extra={"fields": fields | why})
    except SottovoceError as error:
        _log.warning("the vault does not answer", extra={"fields": fields | {"why": str(error)}})
        _fail(node, asked)
    except Exception:  # noqa: BLE001 - whatever it is, the door stays open for other questions
        _log.exception("a question could not be attended to", extra={"fields": fields})
        _fail(node, asked)


def _fail(node: Node, asked: Any) -> None:
    from sottovoce.run.flower.calls import CallError

    try:
        # Why is the site's own business, and stands in its log.
        node.fail(asked, "the site gives no answer")
    except CallError as error:
        _log.info("the server no longer asks", extra={"fields": {"why": str(error)}})


def _heartbeats(node: Node) -> None:
    from sottovoce.run.flower.calls import CallError

    while True:
        time.sleep(_HEARTBEAT_EVERY_SECONDS)
        try:
            if node.number:
                node.heartbeat()
        except CallError as error:
            _log.debug("no heartbeat", extra={"fields": {"why": str(error)}})


def _tell(error: Any, told: str) -> str:
    """Say once what keeps the door from the server, until something else does."""
    from sottovoce.run.flower.node import is_unknown

    what = "the server does not know this site" if is_unknown(error) else "the server is away"
    if what != told:
        fields = {"why": error.detail, "status": error.status}
        if is_unknown(error):
            fields["look"] = "roster line, revocation, an earlier door, and this machine's clock"
            fields["clock_ahead_seconds"] = error.clock_ahead
        _log.warning(what, extra={"fields": fields})
    return what


def _remembered(memory: int) -> int:
    text = os.pread(memory, 32, 0)
    return int(text) if text.strip().isdigit() else 0


def _remember(memory: int, number: int) -> None:
    text = str(number).encode()
    os.pwrite(memory, text, 0)
    os.ftruncate(memory, len(text))


if __name__ == "__main__":
    main()
