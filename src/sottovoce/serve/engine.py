"""Requests decoded together: one thread, a bounded queue, and who came first is read first.

A request is a group: it has its own adapter, and shares every pass over the base model with all
others. Requests join the batch between two tokens and leave it when they end.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Protocol, Self

from torch import Tensor

from sottovoce.errors import RefusedError
from sottovoce.model.base import Base
from sottovoce.model.decode import Apply, Together
from sottovoce.model.generate import Draws, Sampling, evaluating

_log = logging.getLogger(__name__)

Reason = Literal["stop", "length", "cancelled", "failed"]
"""Why an answer ended: a stop token, the limit, nobody listens any more, or an error of ours."""


class Grammar(Protocol):
    """What an answer may look like; one of its own for each request."""

    @property
    def whole(self) -> bool:
        """Whether nothing may follow any more."""

    def choose(self, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:
        """Draw the next token by its logits, with so many tokens left."""


@dataclass(frozen=True)
class Ask:
    """A request.

    Args:
        prompt: token ids, one or more.
        adapter: its weights, ``[D]``.
        sampling: how tokens are chosen, and how many at most.
        stop_ids: the answer ends before the first of these.
        logprobs: how many alternatives are told beside each token; None tells no probability.
        grammar: what the answer may look like; None leaves it free.
    """

    prompt: Sequence[int]
    adapter: Tensor
    sampling: Sampling
    stop_ids: frozenset[int]
    logprobs: int | None = None
    grammar: Grammar | None = None


@dataclass(frozen=True)
class Token:
    """One token of an answer.

    Args:
        id: the token.
        logprob: the logarithm of its probability before temperature, where it was asked for.
        top: the likeliest tokens with theirs.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Ended:
    """The end of an answer."""

    reason: Reason


_READ_AT_ONCE: Final = 8192
"""Positions that one pass reads of requests that join together."""

Deliver = Callable[[Token | Ended], None]
"""Told every token, and once the end; called from the engine's thread, and must not block."""


@dataclass(frozen=True)
class Limits:
    """What an engine takes on.

    Args:
        rows: requests that are decoded together.
        waiting: requests that wait beside them; one more is refused.
        positions: tokens of all rows together, each as long as the longest.
    """

    rows: int = 32
    waiting: int = 256
    positions: int = 2**18


@dataclass(eq=False)
class Request:
    """A request that was taken on; all but ``cancel`` is the engine's own."""

    ask: Ask
    deliver: Deliver
    draws: Draws
    made: int = 0
    last: int = 0
    cancelled: bool = False
    ended: bool = False

    @property
    def room(self) -> int:
        """Positions that it may come to take."""
        return len(self.ask.prompt) + self.ask.sampling.max_new_tokens

    def cancel(self) -> None:
        """Nobody listens any more: it leaves the batch before the next token."""
        self.cancelled = True

    def end(self, reason: Reason) -> None:
        """Say, once, that it is over."""
        if not self.ended:
            self.ended = True
            self.deliver(Ended(reason))

    def take(self, logits: Tensor) -> None:
        """Choose the next token by its logits ``[V]``, and tell it."""
        ask, left = self.ask, self.ask.sampling.max_new_tokens - self.made
        told = None if ask.logprobs is None else logits.log_softmax(0)
        draw = self.draws.token
        token = draw(logits) if ask.grammar is None else ask.grammar.choose(logits, left, draw)
        if token in ask.stop_ids:
            self.end("stop")
            return
        self.last, self.made = token, self.made + 1
        self.deliver(_told(token, told, ask.logprobs or 0))
        if ask.grammar is not None and ask.grammar.whole:
            self.end("stop")
        elif self.made == ask.sampling.max_new_tokens:
            self.end("length")


def _told(token: int, logprobs: Tensor | None, count: int) -> Token:
    if logprobs is None:
        return Token(token)
    values, ids = logprobs.topk(count)
    top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return Token(token, float(logprobs[token]), top)


class Engine:
    """Decodes requests until it is closed.

    Args:
        base: the model; nobody else may use it meanwhile.
        apply: binds adapters to the rows of a batch.
        limits: what it takes on.

    Guarantees:
        - an answer is the one that the request would get alone, to rounding;
        - requests are read in the order in which they came, and every one that is under way gets
          one token in every step;
        - a request that fails or leaves costs the others nothing, nor a place in the queue;
        - memory is bounded by ``limits``.
    """

    def __init__(self, base: Base, apply: Apply, limits: Limits | None = None) -> None:
        self._base, self._apply = base, apply
        self._limits = limits or Limits()
        self._news = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that wait to be read."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that are decoded."""
        return len(self._running)

    @property
    def closed(self) -> bool:
        """Whether nobody is taken on any more."""
        return self._closed

    def submit(self, ask: Ask, deliver: Deliver, name: str = "") -> Request:
        """Take a request on.

        Args:
            ask: the request.
            deliver: told what comes of it.
            name: names its random draws beside the seed.

        Raises:
            RefusedError: too many wait already, or the engine is closed.
        """
        request = Request(ask, deliver, Draws(ask.sampling, name))
        with self._news:
            if self._closed:
                raise RefusedError("the server is stopping")
            if len(self._waiting) >= self._limits.waiting:
                self._forget()
            if len(self._waiting) >= self._limits.waiting:
                raise RefusedError(
                    f"{len(self._waiting)} requests are waiting", remedy="Ask again in a moment"
                )
            self._waiting.append(request)
            self._news.notify()
        return request

    def close(self) -> None:
        """End every request that is left, as cancelled, and the thread."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        with evaluating(self._base):
            batch = Together(self._base, self._apply)
            while self._open():
                try:
                    self._turn(batch)
                except Exception as error:  # noqa: BLE001 - one request's trouble ends no server
                    # Its text may hold what was asked, so the log says only what it is.
                    _log.error("a step of decoding failed with %s", type(error).__name__)
                    self._end_all("failed")
                    batch = Together(self._base, self._apply)
        self._end_all("cancelled")

    def _open(self) -> bool:
        """Wait until there is something to do; False once the engine is closed."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._waiting or self._running)
            return not self._closed

    def _turn(self, batch: Together) -> None:
        """Let requests leave and join, and give everybody a token."""
        self._leave(batch)
        if joining := self._next():
            self._join(batch, joining)
            self._leave(batch)
        if self._running:
            self._answer(batch.step([one.last for one in self._running]), self._running)

    def _next(self) -> list[Request]:
        """Who may join: the first that wait, as far as there is room and one pass should read."""
        found: list[Request] = []
        with self._news:
            self._forget()
            while self._waiting and self._fits([*found, self._waiting[0]]):
                found.append(self._waiting.popleft())
        return found

    def _forget(self) -> None:
        """Let those for whom nobody listens leave the queue, where they would keep others out."""
        for one in [one for one in self._waiting if one.cancelled]:
            self._waiting.remove(one)
            one.end("cancelled")

    def _fits(self, joining: Sequence[Request]) -> bool:
        """Whether so many may join at once; a request that is alone always may."""
        every = [*self._running, *joining]
        longest = max(len(one.ask.prompt) for one in joining)
        return len(every) == 1 or (
            len(every) <= self._limits.rows
            and len(every) * max(one.room for one in every) <= self._limits.positions
            and (len(joining) == 1 or len(joining) * longest <= _READ_AT_ONCE)
        )

    def _join(self, batch: Together, joining: Sequence[Request]) -> None:
        prompts = [one.ask.prompt for one in joining]
        try:
            logits = batch.join(prompts, [one.ask.adapter for one in joining])
        except Exception as error:  # noqa: BLE001 - those who are under way go on
            _log.error("prompts could not be read, for %s", type(error).__name__)
            for one in joining:
                one.end("failed")
            return
        self._running += joining
        self._answer(logits, joining)

    def _answer(self, logits: Tensor, requests: Sequence[Request]) -> None:
        for row, one in zip(logits, requests, strict=True):
            try:
                one.take(row)
            except Exception as error:  # noqa: BLE001 - the others go on
                _log.error("a request failed with %s", type(error).__name__)
                one.end("failed")

    def _leave(self, batch: Together) -> None:
        for one in self._running:
            if one.cancelled:
                one.end("cancelled")
        left = [place for place, one in enumerate(self._running) if not one.ended]
        if len(left) < len(self._running):
            batch.keep(left)
            self._running = [self._running[place] for place in left]

    def _end_all(self, reason: Reason) -> None:
        with self._news:
            waiting, self._waiting = list(self._waiting), deque()
        for one in [*self._running, *waiting]:
            one.end(reason)
        self._running = []
