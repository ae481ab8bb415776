"""The guard: what a stranger may reach, how large it may be, and waiting that misses nothing."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from sottovoce.run.flower.guard import AFTER, HOLD, SECRET, SEEN, SERVER, WHO, Guard

KEY = "k" * 64
SITES_MAY = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "pull-object",
    "push-object",
    "confirm-message-received",
)


@pytest.fixture(autouse=True)
def loop(monkeypatch):
    """One event loop for all requests of a test, as in the server."""
    with asyncio.Runner() as runner:
        monkeypatch.setattr(asyncio, "run", runner.run)
        yield


class SuperLink:
    """Answers everything with what it was sent, and remembers what got through."""

    def __init__(self, status=200):
        self.passed, self.status = [], status

    async def __call__(self, scope, receive, send):
        body = b""
        if scope["type"] == "http":
            while (message := await receive())["type"] == "http.request":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            else:
                body = b"gone"
        self.passed.append((scope["type"], scope.get("path"), body))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


def post(guard, path, body=b"", **headers):
    """Send one request through the guard; headers with _ for -."""

    async def act():
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.post(path, content=body, headers=named)

    return asyncio.run(act())


@pytest.mark.parametrize("call", SITES_MAY)
def test_what_a_site_needs_is_open(call):
    app = SuperLink()
    assert post(Guard(app, KEY), f"/v1/fleet/{call}", b"x").content == b"x"


@pytest.mark.parametrize(
    "path",
    [
        *(
            f"/v1/fleet/{call}"
            for call in ("register-node", "unregister-node", "get-fab", "get-run")
        ),
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/acquire-task",
        "/v1/runtime/push-messages",
        "/docs",
        "/openapi.json",
        "/",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/V1/fleet/pull-messages",
        "//v1/control/start-run",
    ],
)
def test_everything_else_is_not_there_without_the_secret(path, caplog):
    app = SuperLink()
    guard = Guard(app, KEY)
    for secret in ({}, {SECRET: ""}, {SECRET: KEY[:-1]}, {SECRET: "K" * 64}, {SECRET: "é"}):
        headers = {name: value.encode() for name, value in secret.items()}
        assert post(guard, path, **headers).status_code == 404
    assert app.passed == []
    assert "a request was refused" in caplog.text
    assert post(guard, path, **{SECRET: KEY}).status_code == 200


def test_health_is_open_and_websockets_are_not():
    app, sent = SuperLink(), []

    async def send(message):
        sent.append(message)

    guard = Guard(app, KEY)
    assert post(guard, "/health").status_code == 200
    asyncio.run(guard({"type": "websocket", "path": "/health", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close"}]
    assert len(app.passed) == 1


def test_a_body_over_the_limit_is_refused_by_what_it_announces():
    app = SuperLink()
    guard = Guard(app, KEY, limit_bytes=10)
    assert post(guard, "/v1/fleet/push-object", bytes(10)).status_code == 200
    assert post(guard, "/v1/fleet/push-object", bytes(11)).status_code == 413
    assert post(guard, "/v1/control/start-run", bytes(11), **{SECRET: KEY}).status_code == 413
    assert len(app.passed) == 1


def test_and_one_that_announces_nothing_is_cut_off():
    async def pieces():
        for _ in range(100):
            yield bytes(5)

    app = SuperLink()
    post(Guard(app, KEY, limit_bytes=10), "/v1/fleet/push-object", pieces())
    assert app.passed == [("http", "/v1/fleet/push-object", b"gone")]


# Waiting


def pull(guard, who="7", after="", hold="5"):
    start = time.monotonic()
    headers = {WHO: who, AFTER: after, HOLD: hold}
    found = post(guard, "/v1/fleet/pull-messages", **headers)
    return found.headers.get(SEEN, ""), time.monotonic() - start


def push(guard, who="7"):
    return post(guard, "/v1/runtime/push-object", **{SECRET: KEY, WHO: who})


def test_who_knows_all_there_is_waits_and_nobody_else_does():
    guard = Guard(SuperLink(), KEY)
    seen, took = pull(guard)
    assert seen
    assert took < 0.5
    again, took = pull(guard, after=seen, hold="0.3")
    assert again == seen
    assert 0.3 <= took < 1.5
    push(guard)
    newer, took = pull(guard, after=seen)
    assert newer != seen
    assert took < 0.5
    # What is for another is not waited for less.
    push(guard, "8")
    assert pull(guard, after=newer, hold="0.2")[1] >= 0.2


def test_one_that_waits_is_told_at_once():
    async def act():
        guard = Guard(SuperLink(), KEY)
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            pulls = "/v1/fleet/pull-messages"
            seen = (await client.post(pulls, headers={WHO: "7"})).headers[SEEN]
            held = {WHO: "7", AFTER: seen, HOLD: "9"}
            start = time.monotonic()
            waiting = asyncio.create_task(client.post(pulls, headers=held))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await client.post("/v1/runtime/push-object", headers={SECRET: KEY, WHO: "7"})
            assert (await waiting).headers[SEEN] != seen
            return time.monotonic() - start

    assert asyncio.run(act()) < 2


@pytest.mark.parametrize("brings", ["push-object", "activate-node"])
def test_the_server_waits_for_what_sites_bring(brings):
    app = SuperLink()
    guard = Guard(app, KEY)

    def pulled(after=""):
        start = time.monotonic()
        headers = {SECRET: KEY, AFTER: after, HOLD: "0.2"}
        found = post(guard, "/v1/runtime/pull-messages", **headers)
        return found.headers[SEEN], time.monotonic() - start

    seen, _ = pulled()
    assert pulled(seen)[1] >= 0.2
    app.status = 401
    post(guard, f"/v1/fleet/{brings}")
    app.status = 200
    assert pulled(seen)[0] == seen, "a refused site is no news"
    post(guard, f"/v1/fleet/{brings}")
    assert pulled(seen)[0] != seen


def test_a_superlink_that_was_started_anew_holds_nobody():
    seen, _ = pull(Guard(SuperLink(), KEY))
    assert pull(Guard(SuperLink(), KEY), after=seen)[1] < 0.5


def test_a_stranger_learns_no_numbers_and_holds_no_longer_than_a_site(monkeypatch):
    guard = Guard(SuperLink(status=401), KEY)
    assert pull(guard) == ("", pytest.approx(0, abs=0.5))
    monkeypatch.setattr("sottovoce.run.flower.guard.LONGEST_HOLD_SECONDS", 0.2)
    ours = Guard(SuperLink(), KEY)
    seen, _ = pull(ours, who=SERVER)
    for hold in ("1e9", "inf"):
        assert pull(ours, who=SERVER, after=seen, hold=hold)[1] < 1
    for hold in ("nan", "-1", "x"):
        assert pull(ours, who=SERVER, after=seen, hold=hold)[1] < 0.15
