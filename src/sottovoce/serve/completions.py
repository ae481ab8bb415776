"""Answers as OpenAI's chat and text completions write them, whole or as a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sottovoce.data.conversation import ToolCall
from sottovoce.serve.engine import Token
from sottovoce.serve.reading import Over, Piece, Said

Decode = Callable[[Sequence[int]], str]


def call_id() -> str:
    """A name for a call; nine letters and digits are what the strictest templates take."""
    return secrets.token_hex(5)[:9]


def usage_of(over: Over) -> dict[str, int]:
    """How many tokens an answer took."""
    return {
        "prompt_tokens": over.prompt_tokens,
        "completion_tokens": over.completion_tokens,
        "total_tokens": over.prompt_tokens + over.completion_tokens,
    }


@dataclass(frozen=True)
class ChatForm:
    """Writes the answer to one chat.

    Args:
        model: as it was asked for.
        decode: from tokens to text, special ones included.
        logprobs: whether probabilities stand beside the text.
    """

    model: str
    decode: Decode
    logprobs: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, said: AsyncIterator[Said]) -> dict[str, Any]:
        """The answer as one object."""
        text, calls, tokens = "", list[dict[str, Any]](), list[Token]()
        over = Over("stop", 0, 0)
        async for one in said:
            match one:
                case Piece():
                    text, tokens = text + one.text, [*tokens, *one.tokens]
                case ToolCall():
                    calls.append(_call(one))
                case Over():
                    over = one
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not calls else None,
        }
        message |= {"refusal": None} | ({"tool_calls": calls} if calls else {})
        choice = {"index": 0, "message": message, "logprobs": self._logprobs(tokens)}
        return self._object("chat.completion") | {
            "choices": [choice | {"finish_reason": over.finish}],
            "usage": usage_of(over),
        }

    async def chunks(
        self, said: AsyncIterator[Said], *, with_usage: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """The answer as a stream of objects."""
        yield self._chunk({"role": "assistant", "content": ""})
        calls = 0
        async for one in said:
            match one:
                case Piece():
                    yield self._chunk({"content": one.text}, self._logprobs(one.tokens))
                case ToolCall():
                    yield self._chunk({"tool_calls": [{"index": calls} | _call(one)]})
                    calls += 1
                case Over():
                    yield self._chunk({}, finish=one.finish)
                    if with_usage:
                        ended = {"choices": [], "usage": usage_of(one)}
                        yield self._object("chat.completion.chunk") | ended

    def _chunk(
        self, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._object("chat.completion.chunk") | {"choices": [choice], "usage": None}

    def _object(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        return {"content": [self._likely(token) for token in tokens], "refusal": None}

    def _likely(self, token: Token) -> dict[str, Any]:
        others = [_likely(self.decode([one]), value) for one, value in token.top]
        return _likely(self.decode([token.id]), token.logprob or 0.0) | {"top_logprobs": others}


def _likely(text: str, logprob: float) -> dict[str, Any]:
    # A token that is part of a character has bytes that its text does not show.
    broken = "\N{REPLACEMENT CHARACTER}" in text
    return {"token": text, "logprob": logprob, "bytes": None if broken else list(text.encode())}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call_id(), "type": "function", "function": function}


@dataclass(frozen=True)
class TextForm:
    """Writes one completion of a text; as ``ChatForm``."""

    model: str
    decode: Decode
    logprobs: bool = False
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, said: AsyncIterator[Said]) -> dict[str, Any]:
        """The answer as one object."""
        text, tokens, over = "", list[Token](), Over("stop", 0, 0)
        async for one in said:
            if isinstance(one, Piece):
                text, tokens = text + one.text, [*tokens, *one.tokens]
            elif isinstance(one, Over):
                over = one
        return self._object(text, tokens, 0, over.finish) | {"usage": usage_of(over)}

    async def chunks(
        self, said: AsyncIterator[Said], *, with_usage: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """The answer as a stream of objects."""
        place = 0
        async for one in said:
            if isinstance(one, Piece):
                yield self._object(one.text, one.tokens, place, None) | {"usage": None}
                place += len(one.text)
            elif isinstance(one, Over):
                yield self._object("", (), place, one.finish) | {"usage": None}
                if with_usage:
                    yield self._object("", (), 0, None) | {"choices": [], "usage": usage_of(one)}

    def _object(
        self, text: str, tokens: Sequence[Token], place: int, finish: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(tokens, place)
        choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}
        made = {"id": self.id, "object": "text_completion", "created": self.created}
        return made | {"model": self.model, "choices": [choice]}

    def _logprobs(self, tokens: Sequence[Token], place: int) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        words = [self.decode([token.id]) for token in tokens]
        return {
            "tokens": words,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {self.decode([one]): value for one, value in token.top} for token in tokens
            ],
            "text_offset": [place + sum(map(len, words[:count])) for count in range(len(words))],
        }
