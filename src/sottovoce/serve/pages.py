"""The pages that a browser gets: the chat and the dashboard, as files of this package."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response

_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        # With these, a browser refuses to read any text as HTML, whoever wrote it.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Names carry no version, so a browser asks each time whether it still has the right one.
    "Cache-Control": "no-cache",
}
_KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PARTS: Final = (
    "answer.js",
    "ask.js",
    "bars.js",
    "chart.css",
    "chart.js",
    "chat.css",
    "chat.js",
    "curve.js",
    "dashboard.css",
    "dashboard.js",
    "first.js",
    "frame.js",
    "icon.svg",
    "key.js",
    "lane.js",
    "language.js",
    "models.js",
    "node.js",
    "numbers.js",
    "parties.js",
    "pretty.js",
    "run.js",
    "runs.js",
    "stream.js",
    "style.css",
    "texts.js",
)
_CHAT: Final = "/"
_DASHBOARD: Final = "/dashboard"
_PAGES: Final = {_CHAT: "chat.html", _DASHBOARD: "dashboard.html"} | {
    f"/pages/{name}": name for name in _PARTS
}
ADDRESSES: Final = frozenset(_PAGES)
"""All addresses of pages and of what they consist of."""


def add_pages(app: FastAPI, *, chat: bool) -> None:
    """Let an application answer with the pages.

    Args:
        app: the application.
        chat: whether there is somebody to talk to; without, the dashboard is the first page.

    Guarantees:
        - only the files of the table can be reached, whatever an address says;
        - a page runs no script and takes no style but ours, and asks no other server;
        - the pages stand in no description of the API.
    """
    for address, name in _PAGES.items():
        if address != _CHAT or chat:
            _add(app, address, name)
    if not chat:

        @app.get(_CHAT, include_in_schema=False)
        async def first() -> Response:
            return RedirectResponse(_DASHBOARD, headers=_HEADERS)


def _add(app: FastAPI, address: str, name: str) -> None:
    # Read once, so that a file that is missing is noticed before anybody asks for it.
    body = files("sottovoce.serve").joinpath("pages", name).read_bytes()
    kind = _KINDS[name.rpartition(".")[2]]

    @app.get(address, include_in_schema=False)
    async def page() -> Response:
        return Response(body, headers=_HEADERS, media_type=kind)
