"""What is seen of a federation from outside: a status file, one line of JSON an event, counters."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, TextIO

from sottovoce.errors import ConfigError
from sottovoce.run.ledger import canonical

STATUS: Final = "status.json"
_REFRESH_S: Final = 0.5
_COUNTED: Final = (
    "answered",
    "late",
    "refused",
    "rejected",
    "late answer",
    "gave up",
    "sum aborted",
)


@dataclass
class Seen:
    """A server as its operator sees it. No text, no keys, no tensors.

    Args:
        folder: of the run, where the status file goes; None writes none.
        lines: where events go, one a line.
        name_sites: whether counters carry the names of sites.
    """

    folder: Path | None
    lines: TextIO | None
    name_sites: bool = False
    status: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    bytes_up: dict[str, int] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    _written: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def log(self, event: str, fields: Mapping[str, Any]) -> None:
        """Take one event: count it, write it down, refresh the status."""
        with self._lock:
            self._count(event, fields)
            now = time.monotonic()
            # A full disk must not stop what is only told of.
            with suppress(OSError):
                if self.lines is not None and event != "waiting":
                    row = {"time": round(time.time(), 3), "event": event, **fields}
                    self.lines.write(json.dumps(row, default=str) + "\n")
                    self.lines.flush()
            with suppress(OSError):
                if event != "waiting" or now - self._written > _REFRESH_S:
                    self._written = now
                    self._write()

    def _count(self, event: str, fields: Mapping[str, Any]) -> None:
        if event in _COUNTED:
            self.counts[event] = self.counts.get(event, 0) + 1
        match event:
            case "answered":
                site = str(fields["site"])
                self.bytes_up[site] = self.bytes_up.get(site, 0) + int(fields["bytes"])
            case "exchange":
                stage = str(fields["stage"]).partition("-")[0]
                spent = float(fields["seconds"])
                self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + spent
            case "waiting":
                self.status["waiting_for"] = dict(fields["sites"])
                self.status["present"] = sorted(fields["present"])
            case "round":
                self.status |= {"round": fields["round"], "state": "training"}
            case "finished":
                self.status |= dict(fields)
            case "evaluated":
                self.status["loss"] = fields["loss"]
            case "started" | "ended":
                self.status |= fields

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        return {
            **self.status,
            "events": dict(self.counts),
            "bytes_up": dict(self.bytes_up),
            "stage_seconds": {key: round(value, 3) for key, value in self.stage_seconds.items()},
            "time": round(time.time(), 3),
        }

    def _write(self) -> None:
        if self.folder is None or not self.folder.is_dir():
            return
        # A status that is lost in a crash is written again; it need not wait for the disk.
        part = self.folder / f".{STATUS}.part"
        part.write_bytes(canonical(self.snapshot()) + b"\n")
        part.replace(self.folder / STATUS)

    def metrics(self) -> str:
        """The counters in the text format of Prometheus."""
        with self._lock:
            rows: list[tuple[str, dict[str, str], float]] = [
                ("sottovoce_rounds_total", {}, int(self.status.get("rounds", 0))),
                ("sottovoce_sites_present", {}, len(_apart(self.status)[0])),
                ("sottovoce_helpers_present", {}, len(_apart(self.status)[1])),
                ("sottovoce_epsilon", {}, self.status.get("epsilon") or 0.0),
            ]
            rows += [
                ("sottovoce_events_total", {"event": event}, count)
                for event, count in sorted(self.counts.items())
            ]
            rows += [
                ("sottovoce_stage_seconds_total", {"stage": stage}, round(seconds, 6))
                for stage, seconds in sorted(self.stage_seconds.items())
            ]
            if self.name_sites:
                rows += [
                    ("sottovoce_received_bytes_total", {"site": site}, count)
                    for site, count in sorted(self.bytes_up.items())
                ]
            else:
                total = sum(self.bytes_up.values())
                rows.append(("sottovoce_received_bytes_total", {}, total))
        return "".join(_row(name, labels, value) for name, labels, value in rows)


def _row(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(
        f"{key}={json.dumps(label, ensure_ascii=False)}" for key, label in labels.items()
    )
    return f"{name}{{{inner}}} {value}\n" if inner else f"{name} {value}\n"


def serve_metrics(seen: Seen, port: int) -> ThreadingHTTPServer:
    """Serve the counters on the loopback, in a thread, until it is shut down.

    Raises:
        ConfigError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/metrics"
            body = seen.metrics().encode() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody asks who asked."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise ConfigError(
            f"network.metrics_port {port} cannot be used: {error.strerror}", remedy="Name another"
        ) from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def read_status(folder: Path) -> dict[str, Any]:
    """What the server of a run folder last said of itself.

    Raises:
        ConfigError: there is none.
    """
    path = folder / STATUS
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"{folder} has no status", allowed="the folder of a run that sotto server began"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return found


def _apart(status: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sites that are there, and the helpers that are."""
    present, helpers = status.get("present", ()), set(status.get("helpers", ()))
    return [one for one in present if one not in helpers], [
        one for one in present if one in helpers
    ]


def _of_helpers(status: Mapping[str, Any]) -> dict[str, str]:
    """Which helpers are there and which are not, where a run has some."""
    here = _apart(status)[1]
    rows = [f"{name} ({'here' if name in here else 'away'})" for name in status.get("helpers", ())]
    return {"helpers": ", ".join(rows)} if rows else {}


def status_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A status as a table; the first row is the header."""
    waiting = found.get("waiting_for") or {}
    shown = {
        "state": found.get("state", "beginning"),
        "rounds finished": found.get("rounds", 0),
        "round under way": found.get("round", "-"),
        "present": ", ".join(_apart(found)[0]) or "nobody",
        **_of_helpers(found),
        "waiting for": ", ".join(f"{site} ({stage})" for site, stage in waiting.items()) or "-",
        "held-out loss": found.get("loss", "-"),
        "epsilon": found.get("epsilon") if found.get("epsilon") is not None else "-",
        "bytes received": sum((found.get("bytes_up") or {}).values()),
    }
    return [["", ""], *([name, str(value)] for name, value in shown.items())]
