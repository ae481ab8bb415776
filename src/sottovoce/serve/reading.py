"""From the tokens of an answer to what its reader sees: text in pieces, and calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sottovoce.data.conversation import ToolCall
from sottovoce.model.tokenizer import Tokenizer
from sottovoce.serve.engine import Reason, Token
from sottovoce.serve.tools import Marks
from sottovoce.tasks.chat import parse_answer

Finish = Literal["stop", "length", "tool_calls"]
"""Why an answer is over, in OpenAI's words."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Piece:
    """Some of an answer's text.

    Args:
        text: it may be empty, where only tokens are told.
        tokens: that it was made of, where their probabilities were asked for.
    """

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True)
class Over:
    """The end of an answer.

    Args:
        finish: why.
        prompt_tokens: that were read.
        completion_tokens: that were made.
    """

    finish: Finish
    prompt_tokens: int
    completion_tokens: int


Said = Piece | ToolCall | Over
"""What an answer says, in turn; the last is that it is over."""


class Text:
    """Turns tokens into text one by one, and never cuts a character in two.

    Args:
        decode: from tokens to text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # Tokens before ``shown`` are told; those from ``begin`` on say how the next ones join them.
        self._begin = self._shown = 0

    def push(self, token: int) -> str:
        """What this token adds; nothing while a character is not whole."""
        self._ids.append(token)
        return self._told(last=False)

    def end(self) -> str:
        """What is left, though a character of it may be broken."""
        return self._told(last=True)

    def _told(self, *, last: bool) -> str:
        before = self._decode(self._ids[self._begin : self._shown])
        text = self._decode(self._ids[self._begin :])
        if not last and (text.endswith(_BROKEN) or len(text) <= len(before)):
            return ""
        self._begin, self._shown = self._shown, len(self._ids)
        return text[len(before) :]


class Stops:
    """Ends text before the string that is whole first, and holds back what may become one.

    Args:
        strings: none may be empty.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""
        self.hit = False

    def push(self, text: str) -> str:
        """What can be told of the text so far."""
        self._held += text
        # The one that is whole first, so that it does not matter how the text comes in pieces.
        found = [
            (place + len(stop), place)
            for stop in self._strings
            if (place := self._held.find(stop)) >= 0
        ]
        if found:
            self.hit = True
            told, self._held = self._held[: min(found)[1]], ""
            return told
        keep = max((self._overlap(stop) for stop in self._strings), default=0)
        cut = len(self._held) - keep
        told, self._held = self._held[:cut], self._held[cut:]
        return told

    def end(self) -> str:
        """What was held back, when nothing follows any more."""
        told, self._held = self._held, ""
        return told

    def _overlap(self, stop: str) -> int:
        """The longest end of the text with which the stop string begins."""
        sizes = range(min(len(stop) - 1, len(self._held)), 0, -1)
        return next((size for size in sizes if self._held.endswith(stop[:size])), 0)


class Reader:
    """Reads one answer.

    Args:
        tokenizer: of the model.
        prompt_tokens: that were read.
        stops: strings before which the text ends.
        marks: the tokens around a call; None where nothing is read as one.
        with_tokens: whether probabilities were asked for.

    Guarantees:
        - the pieces together are the text of the whole answer, up to a stop string;
        - no stop string, and no beginning of the one that ended it, is ever told;
        - what is no well-formed call is told as text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_tokens: int,
        *,
        stops: Sequence[str] = (),
        marks: Marks | None = None,
        with_tokens: bool = False,
    ) -> None:
        self._tokenizer, self._marks = tokenizer, marks
        self._prompt_tokens, self._with_tokens = prompt_tokens, with_tokens
        self._text, self._stops = Text(tokenizer.decode), Stops(stops)
        self._call: list[int] | None = None
        self._calls = self._made = 0
        self._unsaid: list[Token] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string came, so that whatever follows is not read."""
        return self._stops.hit

    @property
    def made(self) -> int:
        """Tokens so far."""
        return self._made

    def take(self, token: Token) -> Iterator[Piece | ToolCall]:
        """Read one token."""
        if self.stopped:
            return
        self._made += 1
        marks = self._marks
        if marks is not None and token.id == marks.opening:
            yield from self._closed()
            yield from self._piece(self._text.end(), last=True)
            self._call = []
        elif marks is not None and self._call is not None and token.id == marks.closing:
            yield from self._closed()
        elif self._call is not None:
            self._call.append(token.id)
        else:
            if self._with_tokens:
                self._unsaid.append(token)
            yield from self._piece(self._text.push(token.id))

    def end(self, reason: Reason) -> Iterator[Piece | ToolCall | Over]:
        """Read that it is over."""
        yield from self._closed()
        if not self.stopped:
            yield from self._piece(self._text.end() if self._call is None else "", last=True)
        finish: Finish = "length" if reason == "length" and not self.stopped else "stop"
        if self._calls:
            finish = "tool_calls"
        yield Over(finish, self._prompt_tokens, self._made)

    def _closed(self) -> Iterator[Piece | ToolCall]:
        """The call that was open, if there was one."""
        if self._call is None or self._marks is None:
            return
        before, after = self._marks.text
        written = self._tokenizer.decode(self._call)
        self._call = None
        content, calls = parse_answer(f"{before}{written}{after}")
        self._calls += len(calls)
        yield from calls
        if content:
            yield Piece(written)

    def _piece(self, text: str, *, last: bool = False) -> Iterator[Piece]:
        told = self._stops.push(text)
        if last and not self.stopped:
            told += self._stops.end()
        tokens: tuple[Token, ...] = ()
        if told or last:
            tokens, self._unsaid = tuple(self._unsaid), []
        if told or tokens:
            yield Piece(told, tokens)
