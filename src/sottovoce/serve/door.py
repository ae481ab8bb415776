"""What every request passes before it is read: host, key and size; and what every answer carries."""

from __future__ import annotations

import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sottovoce.serve.counters import Counters
from sottovoce.serve.gate import Gate, is_loopback
from sottovoce.serve.problems import Problem

_log = logging.getLogger(__name__)

LARGEST: Final = 4 * 2**20
"""Bytes of a request."""

_CARRIED: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Door:
    """An application behind which requests are known and of bounded size.

    Args:
        app: what is behind it.
        gate: says who may pass to ``/v1/``.
        counters: told of every answer.

    Guarantees:
        - a request without a key that is taken is answered before any of its body is read;
        - an error that nobody expected is logged by its kind alone and answered with 500;
        - where no key is needed, only requests to a name of this machine itself pass: a page of
          another site that gave its own name our address is not let in.
    """

    def __init__(self, app: ASGIApp, gate: Gate, counters: Counters) -> None:
        self._app, self._gate, self._counters = app, gate, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, begun = str(scope["path"]), False

        async def carry(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._counters.request(path, int(message["status"]))
                headers = MutableHeaders(scope=message)
                for name, value in _CARRIED.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._enter(scope, path)
            await self._app(scope, _measured(receive), carry)
        except Problem as problem:
            await _refused(problem)(scope, receive, carry)
        except ClientDisconnect:
            _log.debug("a client hung up")
        except Exception as error:  # noqa: BLE001 - one request's trouble ends no server
            # Its text may hold what was asked, so the log says only what it is.
            _log.error("a request failed with %s", type(error).__name__)
            if not begun:
                failed = Problem(500, "The server failed.", code="server_error")
                await _refused(failed)(scope, receive, carry)

    def _enter(self, scope: Scope, path: str) -> None:
        headers = Headers(scope=scope)
        if self._gate.is_open() and not is_loopback(_host(headers.get("host", ""))):
            raise Problem(403, "This server answers to names of its own machine alone.")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST:
            raise _too_large()
        if path.startswith("/v1/"):
            scope.setdefault("state", {})["guest"] = self._gate.enter(headers.get("authorization"))


def _refused(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.body, problem.status, problem.headers)


def _host(header: str) -> str:
    """The name in a Host header, without its port.

    >>> [_host(one) for one in ("localhost:8000", "127.0.0.1", "[::1]:80")]
    ['localhost', '127.0.0.1', '::1']
    """
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _measured(receive: Receive) -> Receive:
    """The same stream, which ends with an error once it is too large."""
    read = 0

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > LARGEST:
            raise HTTPException(413, _too_large().message)
        return message

    return bounded


def _too_large() -> Problem:
    return Problem(413, f"A request may have {LARGEST} bytes.", code="request_too_large")
