"""How the processes beside a server or a site begin: with settings, silent, and not for ever.

Settings come as one line of JSON on standard input, so that no secret stands in a list of processes
or in an environment. The pipe stays open: when the parent ends, however it ends, the pipe closes,
and the child with it.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, Final

from sottovoce.errors import ConfigError

QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_ENABLE_EVENT_LOG": "0",
    "FLWR_OIDC_ENABLED": "0",
}
"""What keeps Flower from telling, asking or installing anything. It is read as flwr is imported."""

_LONGEST_SETTINGS: Final = 1 << 20
_LOOK_AGAIN_SECONDS: Final = 1.0


def start(
    module: str, settings: Mapping[str, object], log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a child process that reads ``settings`` with ``read_settings``.

    Args:
        module: what ``python -m`` runs.
        settings: what can be written as JSON. May be private.
        log: a file of its owner's alone for what it prints; without one it prints where this
            process does.

    Returns:
        The process. It ends when this one does, or when its ``stdin`` is closed.
    """
    out: IO[bytes] | None = None
    if log is not None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        out = os.fdopen(os.open(log, flags, 0o600), "ab")
    try:
        # -P: what lies in the working folder is not imported. A session of its own: an interrupt
        # from the terminal is for the parent, which may still need the child in order to end well.
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env=os.environ | QUIET,
            start_new_session=True,
        )
    finally:
        if out is not None:
            out.close()
    if child.stdin is not None:
        # A child that has ended already is found out by whoever waits for it.
        with suppress(BrokenPipeError):
            child.stdin.write(json.dumps(settings).encode() + b"\n")
    return child


def stop(child: subprocess.Popen[bytes], seconds: float = 3.0) -> None:
    """End a child process: by closing its pipe, and where that does not do, by force."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def read_settings() -> dict[str, Any]:
    """Read the settings of this process, and let it end with its parent.

    Raises:
        ConfigError: what comes is no line of JSON with settings.
    """
    line = sys.stdin.buffer.readline(_LONGEST_SETTINGS)
    try:
        settings = json.loads(line)
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise ConfigError(
            "no settings came", allowed="one line of JSON, as sotto server and sotto site write it"
        )
    threading.Thread(
        target=_end_with_parent, args=(os.getppid(),), name="parent", daemon=True
    ).start()
    return settings


def quieten(home: Path) -> None:
    """Keep Flower silent in this process; before flwr is imported.

    Args:
        home: a folder that Flower may take for its own. Nothing is written there as long as it is
            silent.
    """
    os.environ.update(QUIET, FLWR_HOME=str(home))


def require_loopback(host: str) -> None:
    """Refuse plain HTTP to anywhere but this machine.

    Raises:
        ConfigError: the host is not this machine's loopback.

    >>> require_loopback("127.0.0.1")
    >>> require_loopback("10.0.0.7")
    Traceback (most recent call last):
    ...
    sottovoce.errors.ConfigError: plain HTTP with '10.0.0.7'. Allowed: loopback alone: \
127.0.0.1, ::1 or localhost. Make certificates with sotto certs.
    """
    if not is_loopback(host):
        raise ConfigError(
            f"plain HTTP with {host!r}",
            allowed="loopback alone: 127.0.0.1, ::1 or localhost",
            remedy="Make certificates with sotto certs",
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and cannot be another.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.9", "::1", "0.0.0.0", "localhost.a")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, and what ``extra={"fields": ...}`` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_lines(level: str, handler: logging.Handler | None = None) -> None:
    """Write all log records of this process as JSON lines, to standard error unless told else."""
    handler = handler or logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # httpx tells of every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _end_with_parent(parent: int) -> None:
    """End this process when its parent has ended: at the end of its pipe, or of the parent.

    The pipe tells at once. Where a third process has inherited its other end, the parent's number
    tells within a second.
    """
    pipe = sys.stdin.fileno()
    while os.getppid() == parent:
        if select.select([pipe], [], [], _LOOK_AGAIN_SECONDS)[0] and not os.read(pipe, 1):
            break
    # Whatever is in work is idempotent and starts again with the next process.
    os._exit(0)
