"""The files of the pages: how they are handed out, and that nothing in them is missing or left over."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from sottovoce.serve.pages import ADDRESSES

FOLDER = Path(str(files("sottovoce.serve"))) / "pages"
FILES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
WORDS = r'"(?:[^"\\]|\\.)*"'
TEXTS = {
    name: (json.loads(english), json.loads(chinese))
    for name, english, chinese in re.findall(
        rf"^  (\w+): \[\s*({WORDS}),\s*({WORDS}),?\s*\],$", FILES["texts.js"], re.MULTILINE
    )
}
KINDS = {"text/html", "text/css", "text/javascript", "image/svg+xml"}
POLICY = {
    "default-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
}


def test_pages_say_what_they_are_and_let_nothing_else_in(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        for path in ADDRESSES:
            page = client.get(path)
            assert page.status_code == 200
            assert page.headers["Content-Type"].partition(";")[0] in KINDS
            assert page.headers["X-Content-Type-Options"] == "nosniff"
            assert page.headers["Cache-Control"] == "no-cache"
            policy = page.headers["Content-Security-Policy"]
            assert set(policy.split("; ")) >= POLICY
            assert "unsafe" not in policy
        for other in ("/pages/", "/pages/pages.py", "/pages/%2e%2e/api.py", "/pages/..%2fapi.py"):
            assert client.get(other).status_code == 404
        assert not ADDRESSES & set(client.get("/openapi.json").json()["paths"])
        assert 'path="/",status="200"' in client.get("/metrics").text
        assert 'path="/dashboard",status="200"' in client.get("/metrics").text


def test_every_file_is_handed_out_and_refers_to_files_that_are() -> None:
    handed_out = {address.removeprefix("/pages/") for address in ADDRESSES} - {"/", "/dashboard"}
    assert handed_out | {"chat.html", "dashboard.html"} == FILES.keys()
    for name, text in FILES.items():
        named = re.findall(r'(?:from "\./|(?:href|src)="/pages/)([^"]+)"', text)
        assert set(named) <= handed_out, name
        # The one address of another server is the name of the drawing language.
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}, name


def test_pages_hold_no_script_and_no_style_of_their_own() -> None:
    for name, text in FILES.items():
        if name.endswith(".html"):
            assert not re.search(r"<style|\son\w+=|\sstyle=", text), name
            assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""] * 2, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_every_text_has_two_languages_with_the_same_values() -> None:
    assert len(TEXTS) == len(re.findall(r"^  \w+: \[", FILES["texts.js"], re.MULTILINE))
    for name, (english, chinese) in TEXTS.items():
        values = [sorted(re.findall(r"\{(\w+)\}", text)) for text in (english, chinese)]
        assert values[0] == values[1], name
        assert chinese == english or re.search(r"[\u3000-\u9fff\uff00-\uffef]", chinese), name


def test_every_text_that_is_used_exists_and_every_one_that_exists_is_used() -> None:
    pages = "".join(text for name, text in FILES.items() if name.endswith(".html"))
    used = set(re.findall(r'data-(?:text|label|hint)="(\w+)"', pages))
    assert used <= TEXTS.keys()
    scripts = "".join(text for name, text in FILES.items() if name != "texts.js")
    left_over = {
        name for name in TEXTS if not name.startswith("state_") and f'"{name}"' not in scripts
    }
    assert left_over == set()


@pytest.mark.parametrize("state", ["running", "finished", "unfinished", "broken"])
def test_every_state_of_a_run_has_a_text(state: str) -> None:
    assert f"state_{state}" in TEXTS
