"""The chat API: what OpenAI's clients speak, answered by the models of a shelf."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sottovoce.serve.answer import Answers, Leave, Prepared
from sottovoce.serve.board import Board, add_board
from sottovoce.serve.completions import ChatForm, TextForm
from sottovoce.serve.counters import Counters
from sottovoce.serve.door import Door
from sottovoce.serve.engine import Engine
from sottovoce.serve.gate import Gate, Guest
from sottovoce.serve.pages import add_pages
from sottovoce.serve.problems import Problem
from sottovoce.serve.reading import Said
from sottovoce.serve.responses import ResponseForm
from sottovoce.serve.shapes import ChatRequest, CompletionRequest, ResponsesRequest
from sottovoce.serve.shelf import Entry, Shelf

Asked = ChatRequest | CompletionRequest | ResponsesRequest
Chunks = AsyncIterator[Mapping[str, Any]]


class ErrorFacts(BaseModel):
    """Why there is no answer."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """What is answered in place of an answer."""

    error: ErrorFacts


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 429, 500, 503)
}
_EVENT: Final = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = _REFUSALS | {
    200: {"content": {"text/event-stream": {"itemSchema": _EVENT}}},
    "default": {"model": ErrorBody},
}
_GONE: Final = 499
"""The status of an answer that nobody waits for any more, in the log's words of many servers."""


def make_app(answers: Answers | None, gate: Gate, board: Board | None = None) -> FastAPI:
    """The application.

    Args:
        answers: answers requests; its engine is closed by whoever made it. None where no model is
            served.
        gate: says who may ask what.
        board: tells how runs go; None tells nothing of them.

    Guarantees:
        - every error has the OpenAI shape, and none repeats what was asked;
        - a client that hangs up costs no token more;
        - no prompt and no answer is logged.
    """
    counters = Counters()
    app = FastAPI(title="Sottovoce", docs_url=None, redoc_url=None)
    app.add_middleware(Door, gate=gate, counters=counters)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    if answers is not None:
        _add_answers(app, _Desk(answers, gate, counters))
        _add_models(app, gate, answers.shelf)
    _add_state(app, counters, None if answers is None else answers.engine)
    if board is not None:
        add_board(app, gate, board, _REFUSALS, chat=answers is not None)
    add_pages(app, chat=answers is not None)
    return app


def _add_answers(app: FastAPI, desk: _Desk) -> None:
    @app.post("/v1/chat/completions", responses=_ANSWERS, response_model=None)
    async def chat(request: Request, body: ChatRequest) -> Response:
        """Answer a conversation."""
        form = ChatForm(body.model, desk.decode, bool(body.logprobs))
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return await desk.answer(
            request,
            body,
            lambda leave: desk.answers.of_chat(body, leave),
            form.whole,
            lambda said: form.chunks(said, with_usage=with_usage),
        )

    @app.post("/v1/completions", responses=_ANSWERS, response_model=None)
    async def complete(request: Request, body: CompletionRequest) -> Response:
        """Go on with a text."""
        form = TextForm(body.model, desk.decode, body.logprobs is not None)
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return await desk.answer(
            request,
            body,
            lambda leave: desk.answers.of_completion(body, leave),
            form.whole,
            lambda said: form.chunks(said, with_usage=with_usage),
        )

    @app.post("/v1/responses", responses=_ANSWERS, response_model=None)
    async def respond(request: Request, body: ResponsesRequest) -> Response:
        """Answer as the responses API does; nothing is kept for a later request."""
        form = ResponseForm(body)
        return await desk.answer(
            request,
            body,
            lambda leave: desk.answers.of_chat(_as_chat(body), leave),
            form.whole,
            form.events,
        )


def _add_models(app: FastAPI, gate: Gate, shelf: Shelf) -> None:
    began = int(time.time())

    def described(entry: Entry) -> dict[str, Any]:
        return {"id": entry.name, "object": "model", "created": began, "owned_by": "sottovoce"}

    @app.get("/v1/models", responses=_REFUSALS)
    async def models(request: Request) -> dict[str, Any]:
        """The models that this key may ask."""
        found = gate.models(_guest(request), shelf.entries)
        return {"object": "list", "data": [described(entry) for entry in found]}

    @app.get("/v1/models/{model:path}", responses=_REFUSALS)
    async def model(request: Request, model: str) -> dict[str, Any]:
        """One of them."""
        return described(gate.model(_guest(request), shelf.entries, model))


def _add_state(app: FastAPI, counters: Counters, engine: Engine | None) -> None:
    @app.get("/healthz", responses={503: {"model": ErrorBody}})
    async def healthz() -> dict[str, str]:
        """Whether requests are answered."""
        if engine is not None and engine.closed:
            raise Problem(503, "The server is stopping.", code="server_stopping")
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Counts for Prometheus."""
        if engine is None:
            return counters.text({})
        now = {"requests_running": engine.running, "requests_waiting": engine.waiting}
        return counters.text(now)


def _guest(request: Request) -> Guest:
    guest: Guest = request.state.guest
    return guest


class _Desk:
    """Where a request meets its answer."""

    def __init__(self, answers: Answers, gate: Gate, counters: Counters) -> None:
        self.answers, self.gate, self.counters = answers, gate, counters

    def decode(self, ids: Any) -> str:
        """Tokens as text, special ones included."""
        return self.answers.shelf.tokenizer.decode(ids, keep_special=True)

    async def answer(
        self,
        request: Request,
        body: Asked,
        prepare: Callable[[Leave], Prepared],
        whole: Callable[[AsyncIterator[Said]], Coroutine[Any, Any, Mapping[str, Any]]],
        chunks: Callable[[AsyncIterator[Said]], Chunks],
    ) -> Response:
        """Answer a request, whole or as a stream.

        Args:
            request: as it came.
            body: as it was read.
            prepare: from what the key may to what the engine is asked.
            whole: writes the answer as one object.
            chunks: writes it as a stream.
        """
        guest = _guest(request)
        _require_unicode(body)
        self.gate.model(guest, self.answers.shelf.entries, body.model)
        prepared = await run_in_threadpool(
            prepare, Leave(self.gate.left(guest), filtered=guest.filtered)
        )
        self.gate.hold(guest, prepared.most)
        try:
            answer = self.answers.begin(prepared)
        except Problem:
            self.gate.release(guest, prepared.most)
            raise

        def settle() -> None:
            answer.cancel()
            self.gate.release(guest, prepared.most - len(prepared.ask.prompt) - answer.made)

        said = self.counters.counted(answer.said())
        if body.stream:
            named = isinstance(body, ResponsesRequest)
            return _Stream(_lines(chunks(said), named=named), settle)
        try:
            return JSONResponse(await _heard(request, whole(said)))
        finally:
            settle()


def _as_chat(body: ResponsesRequest) -> ChatRequest:
    try:
        return body.as_chat()
    except ValidationError as error:
        told = str(error.errors()[0]["msg"])
        raise Problem(400, f"input: {told}", code="invalid_value", param="input") from error


def _require_unicode(body: Asked) -> None:
    """Half a surrogate pair can be written in JSON, and no model can read it."""
    try:
        body.model_dump_json()
    except (PydanticSerializationError, UnicodeEncodeError) as error:
        raise Problem(400, "The request holds text that is not Unicode.") from error


async def _heard(
    request: Request, work: Coroutine[Any, Any, Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The answer, unless whoever asked hangs up before."""
    writing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({writing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            return writing.result()
        raise Problem(_GONE, "Nobody waits for the answer any more.")
    finally:
        for task in (writing, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, Problem):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


async def _lines(chunks: Chunks, *, named: bool) -> AsyncIterator[bytes]:
    """A stream as server-sent events."""
    try:
        async for chunk in chunks:
            name = f"event: {chunk['type']}\n" if named else ""
            yield f"{name}data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
    except Problem as problem:
        name = "event: error\n" if named else ""
        body = {"type": "error", **problem.body["error"]} if named else problem.body
        yield f"{name}data: {json.dumps(body)}\n\n".encode()
    if not named:
        yield b"data: [DONE]\n\n"


class _Stream(StreamingResponse):
    """A stream that settles what it cost, however it ends."""

    def __init__(self, lines: AsyncIterator[bytes], settle: Callable[[], None]) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self._settle = settle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._settle()


# --- errors --------------------------------------------------------------------------------------


async def _on_problem(_: Request, error: Exception) -> Response:
    problem = error if isinstance(error, Problem) else Problem(500, "The server failed.")
    return JSONResponse(problem.body, problem.status, problem.headers)


async def _on_invalid(request: Request, error: Exception) -> Response:
    """What is wrong with the first field that is; what it holds is not repeated."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    place = [str(part) for part in found[0]["loc"][1:]] if found else []
    param = ".".join(place) or None
    told = str(found[0]["msg"]) if found else "The request cannot be read."
    if param is None and not _says_json(request):
        told = "The body is not read as JSON: send it with Content-Type: application/json."
    message = f"{param}: {told}" if param else told
    return await _on_problem(request, Problem(400, message, code="invalid_value", param=param))


def _says_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


async def _on_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {404: "There is nothing at this address.", 405: "This address takes another method."}
    told = words.get(status, str(getattr(error, "detail", "")))
    answer = await _on_problem(request, Problem(status, told))
    # Of an address that takes another method, it says which.
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer
