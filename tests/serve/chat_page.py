"""What somebody does at the chat page, and what they and the server see of it."""

from __future__ import annotations

import json
from typing import Any

QUESTION = "When do you open?"
CHAT = "**/v1/chat/completions"


def ask(page: Any, text: str = QUESTION, **settings: str) -> None:
    """Ask with the keyboard, once the models are there."""
    page.locator("#model option").first.wait_for(state="attached")
    if settings:
        page.locator("#settings").evaluate("node => { node.open = true; }")
        for name, value in settings.items():
            page.fill(f"#{name}", value)
    page.fill("#question", text)
    page.press("#question", "Enter")


def answer(page: Any, number: int = 0) -> Any:
    """The answer of this number, once it is over."""
    found = page.locator(".answer[aria-busy=false]").nth(number)
    found.wait_for()
    return found


def said(page: Any, number: int = 0) -> str:
    return str(answer(page, number).locator(".text").text_content())


def sent(page: Any) -> list[dict[str, Any]]:
    """What the page asks from now on."""
    bodies: list[dict[str, Any]] = []

    def note(request: Any) -> None:
        if request.url.endswith("/v1/chat/completions"):
            bodies.append(json.loads(request.post_data))

    page.on("request", note)
    return bodies


def changed(page: Any, **fields: Any) -> None:
    """Let the next question be another one on its way to the real server."""

    def change(route: Any) -> None:
        body = json.loads(route.request.post_data) | fields
        route.continue_(post_data=json.dumps(body))

    page.route(CHAT, change, times=1)
