"""From a request to its answer: what the engine is asked, and the stream of what it says."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sottovoce.errors import ConfigError, RefusedError, SottovoceError
from sottovoce.model.generate import Sampling
from sottovoce.serve.engine import Ask, Ended, Engine, Grammar, Token
from sottovoce.serve.filters import Filter, FilterOf, filtered
from sottovoce.serve.grammar import Forms
from sottovoce.serve.problems import Problem, of_error
from sottovoce.serve.reading import Over, Piece, Reader, Said
from sottovoce.serve.shapes import ChatRequest, CompletionRequest, NamedChoice
from sottovoce.serve.shelf import Shelf
from sottovoce.serve.tools import Calls, Silent, call_schema, marks_of

_COLD = 1e-4
"""Temperatures below are none: the likeliest token is taken."""


@dataclass(frozen=True)
class Leave:
    """What whoever asks may.

    Args:
        tokens: that they have left; None is no limit.
        filtered: whether personal data are taken out of what they are told.
    """

    tokens: int | None = None
    filtered: bool = True


@dataclass(frozen=True)
class Prepared:
    """A request that can be answered.

    Args:
        ask: for the engine.
        reader: of the answer.
        filter: what its text goes through on its way out; None lets all pass.
        json_text: whether its text is to be JSON.
    """

    ask: Ask
    reader: Reader
    filter: Filter | None = None
    json_text: bool = False

    @property
    def most(self) -> int:
        """Tokens that it may come to, its prompt among them."""
        return len(self.ask.prompt) + self.ask.sampling.max_new_tokens


class Answers:
    """Answers requests with the models of a shelf.

    Args:
        shelf: the models.
        engine: decodes with them.
        filter_of: makes what every text goes through on its way out; None lets all pass.
        longest: tokens of an answer to a chat that says no limit.

    Guarantees:
        - a request that cannot be answered is refused before it is decoded.
    """

    def __init__(
        self,
        shelf: Shelf,
        engine: Engine,
        *,
        filter_of: FilterOf | None = None,
        longest: int = 1024,
    ) -> None:
        self.shelf, self.engine = shelf, engine
        self._filter_of, self._longest = filter_of, longest
        self._tokenizer = shelf.tokenizer
        self._forms = Forms(shelf.tokenizer)
        self._marks = marks_of(shelf.tokenizer)
        self._bells: dict[asyncio.AbstractEventLoop, Bell] = {}

    def of_chat(self, request: ChatRequest, leave: Leave | None = None) -> Prepared:
        """Prepare a chat.

        Args:
            request: of a model that is on the shelf.
            leave: what whoever asks may.

        Raises:
            Problem: it is too long, or asks for what cannot be.
        """
        leave = leave or Leave()
        tools = [tool.model_dump(exclude_none=True) for tool in request.tools or ()]
        try:
            text = self._tokenizer.render(
                [message.plain() for message in request.messages],
                add_generation_prompt=True,
                tools=tools if request.tool_choice != "none" else (),
            )
        except SottovoceError as error:
            raise of_error(error, "messages") from error
        ask = self._ask(request, self._tokenizer.encode(text), request.limit, "messages", leave)
        grammar = self._grammar(request, ask.sampling.max_new_tokens)
        logprobs = (request.top_logprobs or 0) if request.logprobs else None
        if request.top_logprobs and not request.logprobs:
            raise Problem(400, "top_logprobs needs logprobs = true", param="top_logprobs")
        filter = self._filter(request, leave, logprobs, _told_in(request))
        return Prepared(
            replace(ask, grammar=grammar, logprobs=logprobs),
            self._reader(request, ask, logprobs, calls=True),
            filter,
            json_text=request.response_format is not None
            and request.response_format.schema_wanted is not None,
        )

    def of_completion(self, request: CompletionRequest, leave: Leave | None = None) -> Prepared:
        """Prepare a completion; as ``of_chat``, with the prompt as it stands."""
        leave = leave or Leave()
        prompt = request.prompt
        if isinstance(prompt, list) and isinstance(prompt[0] if prompt else 0, str):
            prompt = str(prompt[0])
        ids = self._tokenizer.encode(prompt) if isinstance(prompt, str) else [*map(int, prompt)]
        if not ids or not all(0 <= one < self._tokenizer.vocabulary_size for one in ids):
            raise Problem(
                400,
                f"the prompt is not 1 or more tokens below {self._tokenizer.vocabulary_size}",
                param="prompt",
            )
        ask = self._ask(request, ids, request.max_tokens, "prompt", leave)
        said = [self._tokenizer.decode(ids, keep_special=True)]
        filter = self._filter(request, leave, request.logprobs, said)
        reader = self._reader(request, ask, request.logprobs, calls=False)
        return Prepared(replace(ask, logprobs=request.logprobs), reader, filter)

    def begin(self, prepared: Prepared) -> Answer:
        """Hand a request to the engine; called where the answer will be read.

        Raises:
            Problem: too many wait already, or the server is stopping.
        """
        loop = asyncio.get_running_loop()
        bell = self._bells.setdefault(loop, Bell(loop))
        return Answer(self.engine, prepared, bell)

    def _ask(
        self,
        request: ChatRequest | CompletionRequest,
        prompt: Sequence[int],
        limit: int | None,
        param: str,
        leave: Leave,
    ) -> Ask:
        room = self._room(len(prompt), limit or 1, param)
        if limit is None:
            # Nobody asked for so many, so what is left of an allowance is enough.
            spare = room if leave.tokens is None else max(1, leave.tokens - len(prompt))
            limit = min(self._longest, room, spare)
        warm = 1.0 if request.temperature is None else request.temperature
        sampling = Sampling(
            max_new_tokens=limit,
            temperature=0.0 if warm < _COLD else warm,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=secrets.randbits(63) if request.seed is None else request.seed,
        )
        try:
            adapter = self.shelf.adapter(request.model)
        except SottovoceError as error:
            raise of_error(error, "model") from error
        return Ask(prompt, adapter, sampling, frozenset({self._tokenizer.eos_id}))

    def _room(self, read: int, limit: int, param: str) -> int:
        """Tokens that an answer may have after so many."""
        positions = self.shelf.positions or 2**15
        if read + limit > positions:
            raise Problem(
                400,
                f"This model's maximum context length is {positions} tokens. The prompt has {read}, "
                f"and the answer may take {limit}. Send fewer, or ask for fewer.",
                code="context_length_exceeded",
                param=param,
            )
        return positions - read

    def _filter(
        self,
        request: ChatRequest | CompletionRequest,
        leave: Leave,
        logprobs: int | None,
        said: Sequence[str],
    ) -> Filter | None:
        if self._filter_of is None or not leave.filtered:
            return None
        if logprobs is not None:
            # Single tokens would tell what the filter takes out of the text.
            raise Problem(
                400,
                "logprobs cannot be told of a filtered answer; ask with a key that was made with "
                "--unfiltered",
                param="logprobs",
            )
        return self._filter_of(self.shelf.entries[request.model].run, said)

    def _reader(
        self,
        request: ChatRequest | CompletionRequest,
        ask: Ask,
        logprobs: int | None,
        *,
        calls: bool,
    ) -> Reader:
        stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
        return Reader(
            self._tokenizer,
            len(ask.prompt),
            stops=[text for text in stop if text],
            marks=self._marks if calls else None,
            with_tokens=logprobs is not None,
        )

    def _grammar(self, request: ChatRequest, most: int) -> Grammar | None:
        """What the answer may look like.

        Raises:
            Problem: it could not be so within ``most`` tokens.
        """
        wanted = request.response_format
        schema = None if wanted is None else wanted.schema_wanted
        functions = _functions(request)
        try:
            words = None if schema is None else self._forms.of_schema(schema, most)
        except ConfigError as error:
            raise of_error(error, "response_format") from error
        if functions is None:
            silent = None if self._marks is None else Silent([self._marks.opening])
            return words or silent
        if self._marks is None:
            raise Problem(400, "this model has no token that begins a tool call", param="tools")
        choice = request.tool_choice
        named = isinstance(choice, NamedChoice)
        try:
            # Whether there is room for a call is looked at before one begins.
            return Calls(
                self._marks,
                self._forms.of_schema(call_schema(functions), self.shelf.positions or 2**15),
                end=self._tokenizer.eos_id,
                most=most,
                forced=named or choice == "required",
                many=not named and request.parallel_tool_calls is not False,
                words=words,
            )
        except ConfigError as error:
            raise of_error(error, "tools") from error


def _functions(request: ChatRequest) -> Mapping[str, Mapping[str, Any] | None] | None:
    """What may be called; None where nothing may, and empty where anything may.

    A model can have learned calls that no request describes. It makes them where a request says
    ``tool_choice = "auto"`` and brings no tools.
    """
    functions = {tool.function.name: tool.function.parameters for tool in request.tools or ()}
    choice = request.tool_choice
    if choice == "none":
        return None
    if isinstance(choice, NamedChoice):
        if choice.function.name not in functions:
            raise Problem(400, "tool_choice names none of the tools", param="tool_choice")
        return {choice.function.name: functions[choice.function.name]}
    if functions:
        return functions
    if choice == "required":
        raise Problem(400, "tool_choice asks for a call, and there are no tools", param="tools")
    return {} if choice == "auto" else None


def _told_in(request: ChatRequest) -> list[str]:
    """What whoever asks has said: all of the conversation but the model's own turns, and the forms."""
    words = [str(one.plain()["content"]) for one in request.messages if one.role != "assistant"]
    forms = [tool.model_dump_json() for tool in request.tools or ()]
    if request.response_format is not None:
        forms.append(request.response_format.model_dump_json())
    return [*words, *forms]


class Bell:
    """Carries what the engine's thread tells to those who listen in an event loop.

    Waking a loop costs more than a token does, so a step of the engine wakes it once.

    Args:
        loop: in which is listened.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._told: deque[tuple[asyncio.Queue[Token | Ended], Token | Ended]] = deque()
        self._rung = False

    def tell(self, to: asyncio.Queue[Token | Ended], told: Token | Ended) -> None:
        """Leave something for a listener; called from the engine's thread."""
        self._told.append((to, told))
        if not self._rung:
            self._rung = True
            # A loop that has ended listens to nobody any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        # First, so that whatever is left after the last look rings anew.
        self._rung = False
        while self._told:
            to, told = self._told.popleft()
            to.put_nowait(told)


class Answer:
    """An answer that is under way; whoever has begun it cancels it, when it is over or before.

    Args:
        engine: that decodes.
        prepared: the request.
        bell: of the event loop.

    Raises:
        Problem: the engine takes nobody on.
    """

    def __init__(self, engine: Engine, prepared: Prepared, bell: Bell) -> None:
        self._reader, self._prepared = prepared.reader, prepared
        self._told: asyncio.Queue[Token | Ended] = asyncio.Queue()
        try:
            self._request = engine.submit(prepared.ask, partial(bell.tell, self._told))
        except RefusedError as error:
            status = 503 if engine.closed else 429
            code = "server_stopping" if engine.closed else "queue_full"
            raise Problem(status, str(error), code=code, wait=1) from error

    @property
    def made(self) -> int:
        """Tokens so far."""
        return self._reader.made

    def cancel(self) -> None:
        """Nobody reads on; once it is over, this does nothing."""
        self._request.cancel()

    async def said(self) -> AsyncIterator[Said]:
        """What is said, in turn; the last is that it is over.

        Raises:
            Problem: the answer failed, or the server stops.
        """
        said, filter = self._said(), self._prepared.filter
        if filter is not None:
            said = filtered(said, filter, json_text=self._prepared.json_text)
        async for one in said:
            yield one

    async def _said(self) -> AsyncIterator[Said]:
        over = False
        while not over:
            # Who reads slowly is told more at a time.
            told = [await self._told.get()]
            while not self._told.empty():
                told.append(self._told.get_nowait())
            for one in _joined(self._read(told)):
                yield one
                over = isinstance(one, Over)

    def _read(self, told: Sequence[Token | Ended]) -> Iterator[Said]:
        for one in told:
            if isinstance(one, Token):
                yield from self._reader.take(one)
            reason = one.reason if isinstance(one, Ended) else None
            if self._reader.stopped:
                reason = "stop"
            if reason is None:
                continue
            if reason == "failed":
                raise Problem(500, "the answer failed; the server's log says at what")
            if reason == "cancelled":
                raise Problem(503, "the server is stopping", code="server_stopping", wait=1)
            yield from self._reader.end(reason)
            return


def _joined(said: Iterator[Said]) -> Iterator[Said]:
    """The same, with neighbouring pieces of text in one."""
    text, tokens = "", tuple[Token, ...]()
    for one in said:
        if isinstance(one, Piece):
            text, tokens = text + one.text, tokens + one.tokens
            continue
        if text or tokens:
            yield Piece(text, tokens)
            text, tokens = "", ()
        yield one
    if text or tokens:
        yield Piece(text, tokens)
