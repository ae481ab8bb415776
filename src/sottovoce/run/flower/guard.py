"""The gate before the SuperLink: the network sees what a site needs, and waits without asking.

Flower's Control interface is open to whoever reaches its port: anyone could register a node or
start a run. Here every path that is not a site's answers 404, as if it were not there, unless the
request carries the secret that the server's two processes share.

**Waiting.** Flower answers at once when there is nothing, so that a node has to ask again and
again. Here an answer says how much there has been for the asker, and a request that names the same
number is held until there is more, or for as many seconds as it says.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from http import HTTPStatus
from typing import Any, Final

SECRET: Final = "sottovoce-secret"  # noqa: S105 - the name of a header
AFTER: Final = "sottovoce-after"
HOLD: Final = "sottovoce-hold"
SEEN: Final = "sottovoce-seen"
WHO: Final = "sottovoce-who"
SERVER: Final = "server"

FLEET: Final = "/v1/fleet"
RUNTIME: Final = "/v1/runtime"
HEALTH: Final = "/health"
_SITES_MAY: Final = frozenset(
    f"{FLEET}/{call}"
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "pull-object",
        "push-object",
        "confirm-message-received",
    )
)
_WAITS: Final = frozenset({f"{FLEET}/pull-messages", f"{RUNTIME}/pull-messages"})
# A site that comes is news to the server too, which may have something to ask it.
_FOR_THE_SERVER: Final = frozenset(
    {f"{RUNTIME}/pull-messages", f"{FLEET}/push-object", f"{FLEET}/activate-node"}
)
_BRINGS: Final = frozenset(
    {f"{FLEET}/push-object", f"{FLEET}/activate-node", f"{RUNTIME}/push-object"}
)

LIMIT_BYTES: Final = 8 << 20
"""The largest body of a request. Messages travel in pieces of half of it."""
LONGEST_HOLD_SECONDS: Final = 10.0

_NOTED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log: Final = logging.getLogger(__name__)


class Guard:
    """An ASGI application around that of the SuperLink.

    Args:
        app: what is guarded.
        secret: what opens every path, in the header ``sottovoce-secret``. Private.
        limit_bytes: the largest body that is passed on.

    Guarantees:
        - without the secret, only what a site needs and the health of the service can be reached;
        - the time of an answer says nothing about the secret;
        - a message that is there is never waited for.
    """

    def __init__(self, app: App, secret: str, limit_bytes: int = LIMIT_BYTES) -> None:
        self._app, self._secret, self._limit = app, secret.encode(), limit_bytes
        # A SuperLink that was started anew counts from elsewhere, so nobody waits for the old one.
        self._first = secrets.randbits(48)
        self._counts: dict[str, int] = {}
        self._news = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, hold it for a while, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        path = scope["path"]
        trusted = compare_digest(headers.get(SECRET, "").encode(), self._secret)
        if not trusted and not (path in _SITES_MAY or path == HEALTH):
            await self._refuse(scope, send, HTTPStatus.NOT_FOUND)
            return
        if _announced(headers) > self._limit:
            await self._refuse(scope, send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        # A site asks for itself, and the server says whom a message is for.
        who = SERVER if path in _FOR_THE_SERVER else headers.get(WHO, "")
        seen = ""
        if path in _WAITS:
            seen = await self._wait(who, headers.get(AFTER, ""), _seconds(headers))
        status = await self._pass_on(scope, receive, send, seen)
        if path in _BRINGS and status == HTTPStatus.OK and who:
            self._tell(who)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, seen: str) -> int:
        """Let the SuperLink answer; the status of its answer."""
        read = status = 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            # To the SuperLink, who sends more than is allowed has gone away.
            return message if read <= self._limit else {"type": "http.disconnect"}

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if seen and status == HTTPStatus.OK:
                    message["headers"] = [*message["headers"], (SEEN.encode(), seen.encode())]
                if status in _NOTED:
                    self._note(scope, status)
            await send(message)

        await self._app(scope, counted, watched)
        return status

    def _tell(self, who: str) -> None:
        self._counts[who] = self._counts.get(who, self._first) + 1
        self._news.set()
        self._news = asyncio.Event()

    async def _wait(self, who: str, after: str, seconds: float) -> str:
        """Wait until there is more than the asker knows of; the number of what there is."""
        end = asyncio.get_running_loop().time() + seconds
        while (seen := str(self._counts.get(who, self._first))) == after:
            left = end - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                break
        return seen

    async def _refuse(self, scope: Scope, send: Send, status: int) -> None:
        self._note(scope, status)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def _note(self, scope: Scope, status: int) -> None:
        client = (scope.get("client") or ("?",))[0]
        fields = {"path": scope["path"][:80], "status": status, "from": client}
        _log.warning("a request was refused", extra={"fields": fields})


def _announced(headers: dict[str, str]) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isdigit() else 0


def _seconds(headers: dict[str, str]) -> float:
    try:
        seconds = float(headers.get(HOLD, "0"))
    except ValueError:
        return 0.0
    # What is not a number is not above zero either.
    return min(seconds, LONGEST_HOLD_SECONDS) if seconds > 0 else 0.0
