"""A server among people: who hangs up, who is one too many, who asks what they may not, and its end."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sottovoce import cli
from sottovoce.errors import ConfigError
from sottovoce.serve.answer import Answers
from sottovoce.serve.api import make_app
from sottovoce.serve.door import LARGEST
from sottovoce.serve.engine import Engine, Limits
from sottovoce.serve.gate import Gate
from sottovoce.serve.keys import KeyFile
from sottovoce.serve.server import Serving, bound, serve
from sottovoce.serve.shelf import Shelf

ASK: list[Any] = [{"role": "user", "content": "When do you open?"}]
ENDLESS: dict[str, Any] = {"model": "shops", "prompt": "x", "max_tokens": 1000, "seed": 1}


def settle(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_costs_no_token_more(
    address: str, answers: Answers, ends: list[str], stream: bool
) -> None:
    host, _, port = address.removeprefix("http://").partition(":")
    body = json.dumps(ENDLESS | {"stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        settle(lambda: answers.engine.running == 1)
    settle(lambda: bool(ends))
    assert ends == ["cancelled"]
    with httpx.Client(base_url=address) as client:
        assert client.get("/healthz").json() == {"status": "ok"}


def test_after_a_stop_string_nothing_is_decoded(address: str, ends: list[str]) -> None:
    stop = [*"aeiou", "的"]
    with httpx.Client(base_url=address) as client:
        made = client.post("/v1/completions", json=ENDLESS | {"stop": stop}).json()
    assert made["choices"][0]["finish_reason"] == "stop"
    settle(lambda: bool(ends))
    assert ends == ["cancelled"]


@pytest.fixture
def narrow_door(shelf: Shelf, keys: KeyFile, listen: Any) -> Iterator[tuple[Engine, str]]:
    """A server that decodes one request and lets one wait, on the shelf of the others."""
    with (
        Engine(shelf.model.base, shelf.model.applied_to_rows, Limits(rows=1, waiting=1)) as engine,
        listen(make_app(Answers(shelf, engine), Gate(keys, open_without=True))) as address,
    ):
        yield engine, address


def test_one_too_many_is_told_to_come_back_and_all_are_told_of_the_end(
    narrow_door: tuple[Engine, str], connect: Callable[..., Any]
) -> None:
    engine, address = narrow_door
    client = connect(address)
    heard: list[str] = []

    def ask() -> None:
        try:
            for _ in client.completions.create(**ENDLESS, stream=True):
                pass
        except openai.APIError as error:
            heard.append(str(error.code))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    try:
        for count, thread in enumerate(threads):
            thread.start()
            settle(lambda wanted=count + 1: engine.running + engine.waiting == wanted)  # type: ignore[misc]
        with pytest.raises(openai.RateLimitError) as refused:
            client.completions.create(**ENDLESS)
        assert refused.value.code == "queue_full"
        assert refused.value.response.headers["retry-after"] == "1"
    finally:
        engine.close()
        for thread in threads:
            thread.join()
    assert heard == ["server_stopping"] * 2
    with pytest.raises(openai.InternalServerError) as stopped:
        client.completions.create(**ENDLESS)
    assert (stopped.value.status_code, stopped.value.code) == (503, "server_stopping")
    assert httpx.get(f"{address}/healthz").status_code == 503


def test_keys_are_kept_to(
    answers: Answers, keys: KeyFile, listen: Any, connect: Callable[..., Any]
) -> None:
    shared = keys.add("all", requests_per_minute=7)
    own = keys.add("north", models=["shops:north"], tokens_per_day=60)
    with listen(make_app(answers, Gate(keys, open_without=True))) as address:

        def client(key: str) -> openai.OpenAI:
            return connect(address, key)

        def ask(key: str, model: str, most: int | None = 2) -> Any:
            made = client(key).chat.completions.create(model=model, messages=ASK, max_tokens=most)
            return made.usage

        with pytest.raises(openai.AuthenticationError) as wrong:
            ask("sotto-wrong", "shops")
        assert wrong.value.code == "invalid_api_key"
        assert httpx.get(f"{address}/v1/models").status_code == 401
        # Nothing of a request is read before its key.
        broken = httpx.post(f"{address}/v1/chat/completions", content=b"{")
        assert broken.status_code == 401
        assert [one.id for one in client(shared).models.list()] == ["shops", "shops:base"]
        assert [one.id for one in client(own).models.list()] == ["shops:north"]
        with pytest.raises(openai.PermissionDeniedError):
            ask(shared, "shops:north")
        with pytest.raises(openai.NotFoundError):
            ask(shared, "shops:west")
        ask(shared, "shops")
        with pytest.raises(openai.PermissionDeniedError):
            ask(own, "shops")

        spent = ask(own, "shops:north").total_tokens
        # What nobody asked for is cut to what is left, and what was not used is given back.
        spent += ask(own, "shops:north", None).total_tokens
        left = 60 - spent
        assert left > 0
        prompt = ask(own, "shops:north", 1).prompt_tokens
        left -= prompt + 1
        with pytest.raises(openai.RateLimitError) as over:
            ask(own, "shops:north", 60)
        assert f"{left} are left" in over.value.message
        for _ in range(3):
            httpx.get(f"{address}/v1/models", headers={"Authorization": f"Bearer {shared}"})
        with pytest.raises(openai.RateLimitError) as often:
            ask(shared, "shops")
        assert often.value.code == "rate_limit_exceeded"


def test_errors_have_one_shape_wherever_they_arise(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        found = {
            404: client.get("/nothing"),
            405: client.get("/v1/completions"),
            400: client.post("/v1/completions", content=b"{"),
            413: client.post("/v1/completions", content=b"x" * (LARGEST + 1)),
            403: client.get("/v1/models", headers={"Host": "evil.example"}),
        }
        slow = client.post("/v1/completions", content=iter([b"x" * (LARGEST // 2)] * 3))
    for status, answer in (*found.items(), (413, slow)):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (None, True),
        ("application/x-www-form-urlencoded", True),  # what curl -d says where nothing else is said
        ("application/json", False),
        ("application/problem+json; charset=utf-8", False),
    ],
)
def test_json_that_is_not_said_to_be_json_is_told_so(
    address: str, kind: str | None, told: bool
) -> None:
    head = {} if kind is None else {"Content-Type": kind}
    answer = httpx.post(f"{address}/v1/completions", content=b"[]", headers=head)
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert ("Content-Type: application/json" in message) == told, message


def test_numbers_name_nobody(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        asked = {"model": "shops:north", "messages": ASK, "max_tokens": 3, "temperature": 0}
        usage = client.post("/v1/chat/completions", json=asked).json()["usage"]
        client.get("/v1/models/shops:north")
        before = client.get("/metrics").text
        client.post("/v1/chat/completions", json=asked)
        after = client.get("/metrics").text

    def value(text: str, name: str) -> float:
        [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.rpartition(" ")[2])

    assert "north" not in after
    assert "shops" not in after
    for kind in ("prompt", "completion"):
        name = f'sotto_tokens_total{{kind="{kind}"}}'
        assert value(after, name) - value(before, name) == usage[f"{kind}_tokens"]
    chat = 'sotto_requests_total{path="/v1/chat/completions",status="200"}'
    assert value(after, chat) - value(before, chat) == 1
    first = "sotto_first_token_seconds_count"
    assert value(after, first) - value(before, first) == 1
    settle(lambda: value(httpx.get(f"{address}/metrics").text, "sotto_requests_running") == 0)


def test_what_is_asked_and_answered_is_never_logged(
    address: str,
    answers: Answers,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = "Jorinde"
    ask = {"model": "shops", "messages": [{"role": "user", "content": secret}], "max_tokens": 2}

    def fails(*_: Any, **__: Any) -> None:
        raise ValueError(secret)

    with caplog.at_level(logging.DEBUG), httpx.Client(base_url=address) as client:
        assert client.post("/v1/chat/completions", json=ask).status_code == 200
        client.post("/v1/chat/completions", json=ask | {"max_tokens": 10**6})
        client.post("/v1/chat/completions", json=ask | {"model": secret})
        client.post("/v1/chat/completions", json=ask | {"temperature": secret})
        monkeypatch.setattr(answers, "of_chat", fails)
        failed = client.post("/v1/chat/completions", json=ask)
        monkeypatch.undo()
        monkeypatch.setattr("sottovoce.model.decode.Together.join", fails)
        lost = client.post("/v1/chat/completions", json=ask)
        streamed = client.post("/v1/chat/completions", json=ask | {"stream": True})
        monkeypatch.undo()
        assert client.post("/v1/chat/completions", json=ask).status_code == 200
    for answer in (failed, lost):
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        assert secret not in answer.text
    assert '"server_error"' in streamed.text
    ours = [one for one in caplog.records if not one.name.startswith("http")]
    assert any("ValueError" in one.getMessage() for one in ours)
    assert not any(secret in one.getMessage() + str(one.exc_info) for one in ours)


async def shouting(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """A filter that holds back a little and changes all."""
    held = ""
    async for text in texts:
        yield held.upper()
        held = text
    yield f"{held.upper()}!"


def test_every_text_goes_through_the_filter(
    shelf: Shelf,
    answers: Answers,
    keys: KeyFile,
    listen: Any,
    address: str,
    connect: Callable[..., Any],
) -> None:
    asked: Any = {"model": "shops", "messages": ASK, "temperature": 0, "max_tokens": 8}
    plain = connect(address)
    wanted = f"{(plain.chat.completions.create(**asked).choices[0].message.content or '').upper()}!"
    loud = Answers(shelf, answers.engine, filter_of=lambda run, said: shouting)
    with listen(make_app(loud, Gate(keys, open_without=True))) as filtered:
        client = connect(filtered)
        assert client.chat.completions.create(**asked).choices[0].message.content == wanted
        chunks = client.chat.completions.create(**asked, stream=True)
        assert "".join(one.choices[0].delta.content or "" for one in chunks) == wanted
        schema = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}
        tools = [{"type": "function", "function": {"name": "t", "parameters": schema}}]
        called = client.chat.completions.create(
            **{**asked, "max_tokens": 40},
            tools=tools,
            tool_choice="required",
            parallel_tool_calls=False,
        )
        [call] = called.choices[0].message.tool_calls
        assert json.loads(call.function.arguments)["A!"] == "X!"
        form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        formed = client.chat.completions.create(**{**asked, "max_tokens": 40}, response_format=form)
        assert json.loads(formed.choices[0].message.content or "")["A!"] == "X!"
        with pytest.raises(openai.BadRequestError, match="filtered"):
            client.chat.completions.create(**asked, logprobs=True)


# --- the server itself ---------------------------------------------------------------------------------


def test_what_is_under_way_is_finished_when_the_server_is_told_to_end(
    shops: Path, connect: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """In this process, whose main thread hears the signal."""
    heard: list[str] = []

    def ask(address: str) -> None:
        asked: Any = {"model": "shops", "messages": ASK, "max_tokens": 60, "stream": True}
        stream = iter(connect(address).chat.completions.create(**asked))
        next(stream)
        os.kill(os.getpid(), signal.SIGTERM)
        heard.extend(chunk.choices[0].finish_reason or "" for chunk in stream)

    asking: list[threading.Thread] = []

    def ready(address: str) -> None:
        asking.append(threading.Thread(target=ask, args=(address,)))
        asking[0].start()

    before, count = signal.getsignal(signal.SIGTERM), threading.active_count()
    with caplog.at_level(logging.WARNING):
        serve(Serving([shops], port=0), ready)
    asking[0].join()
    assert heard[-1] in ("stop", "length")
    assert len(heard) > 1
    assert "every program on this machine" in caplog.text
    assert signal.getsignal(signal.SIGTERM) == before
    assert threading.active_count() == count


def test_a_dashboard_alone_reads_no_run_before_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sottovoce.serve.server.read_runs", lambda _: pytest.fail("runs are read"))
    heard: list[Any] = []

    def ready(address: str) -> None:
        heard.append(httpx.get(f"{address}/v1/runs").json())
        os.kill(os.getpid(), signal.SIGTERM)

    asking: list[threading.Thread] = []

    def begin(address: str) -> None:
        asking.append(threading.Thread(target=ready, args=(address,)))
        asking[0].start()

    serve(Serving([tmp_path], port=0, models=False), begin)
    asking[0].join()
    assert heard == [{"runs": [], "chat": False}]
    with pytest.raises(ConfigError, match="is no folder"):
        serve(Serving([tmp_path / "none"], port=0, models=False))


def test_keys_lie_where_the_runs_do(shops: Path) -> None:
    for runs, models in (([shops], True), ([shops], False), ([shops.parent], False)):
        serving = Serving(runs, models=models)
        assert serving.places == [shops.parent.resolve()]
        assert serving.key_file == shops.parent.resolve() / "keys.json"


def test_a_line_of_a_stream_leaves_at_once() -> None:
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.proto == socket.IPPROTO_TCP, "what asyncio looks at"


def test_an_address_in_use_is_told_at_once() -> None:
    with bound("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=r"cannot be listened at.*--port"),
            bound("127.0.0.1", port),
        ):
            pytest.fail("two listen at one address")


def test_the_command_says_what_is_served_and_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Serving] = []

    def served(serving: Serving, ready: Callable[[str], None]) -> None:
        found.append(serving)
        ready("http://127.0.0.1:9")

    monkeypatch.setattr("sottovoce.serve.server.serve", served)
    monkeypatch.setattr("sottovoce.run.flower.child.log_as_lines", lambda _: None)
    monkeypatch.setattr("sys.argv", ["sotto", "serve", "a", "b", "--port", "9", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told == {"address": "http://127.0.0.1:9", "base_url": "http://127.0.0.1:9/v1"}
    assert found == [Serving((Path("a"), Path("b")), "127.0.0.1", 9)]
    assert found[0].key_file == Path("keys.json").resolve()
    monkeypatch.setattr("sys.argv", ["sotto", "serve", "a", "--dashboard"])
    with pytest.raises(SystemExit):
        cli.main()
    assert found[1] == Serving((Path("a"),), models=False)
    assert "for programs" not in capsys.readouterr().out


def test_the_command_makes_shows_and_takes_back_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs" / "keys.json"
    assert Serving([tmp_path / "runs" / "one"]).key_file == file

    def sotto(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["sotto", "key", "--keys", str(file), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        caught = capsys.readouterr()
        return int(ended.value.code or 0), caught.out, caught.err

    limits = ["--requests-per-minute", "5", "--tokens-per-day", "900", "--expires", "2027-01-31"]
    code, out, err = sotto("--add", "ada", "--models", "one", "--models", "one:ada", *limits)
    assert (code, "one time" in err) == (0, True)
    found = KeyFile(file).find(out.strip())
    assert found is not None
    assert found.models == ("one", "one:ada")
    code, out, _ = sotto("--add", "ben", "--json")
    made = json.loads(out)
    assert KeyFile(file).find(made["key"]) is not None
    code, out, _ = sotto("--list")
    assert "ada: one, one:ada; 5 requests a minute; 900 tokens a day; until 2027-01-31" in out
    assert "ben: all shared models" in out
    assert found.sha256 not in out
    code, out, _ = sotto("--list", "--json")
    assert [row["name"] for row in json.loads(out)["keys"]] == ["ada", "ben"]
    assert "salt" not in out
    assert sotto("--remove", "ada")[0] == 0
    code, _, err = sotto("--remove", "ada")
    assert (code, "ben" in err) == (2, True)
    code, _, err = sotto("--list", "--remove", "ben")
    assert (code, "one thing at a time" in err) == (2, True)
