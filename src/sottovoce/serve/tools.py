"""Tool calls: when one may begin, what it may look like, and that it ends before the tokens do.

A call is an opening token that the model's vocabulary has, then JSON of a form that the request's
tools give, then a closing token where the opening one has a partner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from sottovoce.errors import ConfigError
from sottovoce.model.tokenizer import Tokenizer
from sottovoce.serve.grammar import Form

_MARKS: Final = (("<|call|>", None), ("<tool_call>", "</tool_call>"))
_NAME: Final = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"}


@dataclass(frozen=True)
class Marks:
    """The tokens around a call.

    Args:
        opening: begins one.
        closing: ends it; None where whatever follows does.
        text: how both are written.
    """

    opening: int
    closing: int | None
    text: tuple[str, str]

    @property
    def after(self) -> int:
        """Tokens that follow the JSON of a call."""
        return 0 if self.closing is None else 1


def marks_of(tokenizer: Tokenizer) -> Marks | None:
    """The tokens around a call; None where the vocabulary has none.

    Templates write calls so, and ``tasks.chat.parse_answer`` reads them.
    """
    for opening, closing in _MARKS:
        ids = [tokenizer.encode(text) for text in (opening, closing or opening)]
        if all(len(one) == 1 for one in ids):
            last = None if closing is None else ids[1][0]
            return Marks(ids[0][0], last, (opening, closing or ""))
    return None


def call_schema(functions: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """The form of a call.

    Args:
        functions: name to the schema of its arguments, None for any object; with no function the
            call may have any name.
    """
    if not functions:
        return _call(_NAME, {"type": "object"})
    every: list[dict[str, Any]] = []
    named: dict[str, Any] = {}
    for name, schema in functions.items():
        place = f"arguments{len(every)}"
        arguments: Mapping[str, Any] = schema or {"type": "object"}
        moved = _moved(arguments, f"#/$defs/{place}")
        if moved != arguments:
            # It points into itself, and is found from where it stands now.
            named[place], arguments = moved, {"$ref": f"#/$defs/{place}"}
        every.append(_call({"const": name}, arguments))
    found = every[0] if len(every) == 1 else {"anyOf": every}
    return found | {"$defs": named} if named else found


def _moved(schema: Any, to: str) -> Any:
    """A schema whose references to its own parts are right below another root."""
    if isinstance(schema, Mapping):
        return {
            key: to + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, to)
            for key, value in schema.items()
        }
    return [_moved(one, to) for one in schema] if isinstance(schema, list) else schema


def _call(name: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": name, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


class Silent:
    """Answers in words: no call may begin; satisfies ``engine.Grammar``.

    Args:
        forbidden: tokens that must not come.
    """

    whole = False

    def __init__(self, forbidden: Sequence[int]) -> None:
        self._forbidden = list(forbidden)

    def choose(self, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:  # noqa: ARG002
        """Draw among the other tokens."""
        return draw(_without(logits, self._forbidden))


class Calls:
    """Answers that may, or must, call tools; satisfies ``engine.Grammar``.

    Args:
        marks: the tokens around a call.
        call: the form of a call, at its beginning.
        end: the token that ends the turn.
        most: tokens that the answer may take.
        forced: whether the answer is a call and nothing else.
        many: whether another call may follow.
        words: the form of an answer without a call; None leaves its text free.

    Guarantees:
        - a call that begins is whole, and of the form, before the tokens run out;
        - after a call nothing comes but another or the end.

    Raises:
        ConfigError: a call is asked for that so few tokens cannot hold.
    """

    def __init__(
        self,
        marks: Marks,
        call: Form,
        *,
        end: int,
        most: int,
        forced: bool = False,
        many: bool = True,
        words: Form | None = None,
    ) -> None:
        self._marks, self._call, self._end = marks, call, end
        self._many, self._words = many, words
        self._must = forced
        self._begun = False
        self._called = False
        self._now: Form | None = None
        self._due = False
        if forced and not self._affordable(most):
            raise ConfigError(
                f"an answer of {most} tokens cannot hold the call that is asked for",
                remedy="Raise max_tokens, or ask for less",
            )

    @property
    def whole(self) -> bool:
        """Whether nothing may follow any more."""
        if self._words is not None and self._words.whole:
            return True
        return self._called and self._now is None and not self._many

    def choose(self, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:
        """Draw the next token among those that keep the form, with so many left."""
        if self._now is not None:
            return self._within(self._now, logits, left, draw)
        if self._must:
            return self._open()
        if self._called:
            return self._between(logits, left, draw)
        may = self._affordable(left) and not (self._words and self._begun)
        self._begun = True
        marks = [self._marks.opening, self._marks.closing]
        token = draw(_without(logits, [one for one in marks[may:] if one is not None]))
        if token == self._marks.opening:
            return self._open()
        return token if self._words is None else self._words.choose(logits, left, draw)

    def _affordable(self, left: int) -> bool:
        """Whether a whole call fits into what is left."""
        return left >= 1 + self._call.needed + self._marks.after

    def _open(self) -> int:
        self._must, self._called = False, True
        self._now = self._call.copy()
        return self._marks.opening

    def _within(self, form: Form, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:
        """A token of the call that is open, or the one that closes it."""
        closing = self._marks.closing
        if self._due and closing is not None:
            self._now, self._due = None, False
            return closing
        token = form.choose(logits, left - self._marks.after, draw)
        if token == self._end:
            self._now = None
            return token if closing is None else closing
        if form.whole:
            self._now, self._due = (None, False) if closing is None else (form, True)
        return token

    def _between(self, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:
        if not (self._many and self._affordable(left)):
            return self._end
        only = torch.full_like(logits, float("-inf"))
        for token in (self._marks.opening, self._end):
            only[token] = logits[token]
        return self._open() if draw(only) == self._marks.opening else self._end


def _without(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """The same logits with some tokens made impossible."""
    if not tokens:
        return logits
    found = logits.clone()
    found[list(tokens)] = float("-inf")
    return found
