"""Answers that are JSON of a given form, whatever the model would rather say.

Tokens that lead out of the form are forbidden by llguidance. What is open is closed before the
tokens run out: beside the form itself an upper bound is kept of how many tokens it takes from here
to a whole answer, and no token is chosen after which fewer are left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.errors import ConfigError, MissingExtraError
from sottovoce.model.tokenizer import Tokenizer

_CLOSERS: Final = ('"', "}", "]", ",", "0", "1", "null", "true", "false", '"}', "{", "[", ":")
"""What ends things, in the order in which it is tried; then any token that may come.

A comma ends a number where more must follow it, so it stands before the digits.
"""
_STRUCTURE: Final = frozenset('{}[],:"\\')
_GROWTH: Final = 6
"""Tokens by which a token inside a text or a number can put the end off, as a begun escape does."""
_FREE: Final = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum"}
)
_FREE_TOO: Final = frozenset({"title", "description", "default", "examples", "const", "$schema"})
_COMPACT: Final[Any] = {"whitespace_flexible": False}


class Forms:
    """Makes forms for the answers of one model.

    Args:
        tokenizer: of the model.

    Raises:
        MissingExtraError: llguidance is not installed.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        try:
            from llguidance.hf import from_tokenizer
        except ImportError as error:
            raise MissingExtraError("llguidance", extra="serve") from error
        vendor: Any = tokenizer.vendor
        self.end = tokenizer.eos_id
        self._tokens = from_tokenizer(vendor, eos_token=tokenizer.eos_id)
        self.size = int(self._tokens.vocab_size)
        words = [tokenizer.decode([token], keep_special=True) for token in range(self.size)]
        self.structure = np.array([bool(_STRUCTURE & set(word)) for word in words])
        places = {word: token for token, word in reversed(list(enumerate(words)))}
        self.closers = [places[word] for word in _CLOSERS if word in places]

    def of_schema(self, schema: Mapping[str, Any], most: int) -> Form:
        """The form of one answer.

        Args:
            schema: a JSON schema.
            most: tokens that the answer may take.

        Raises:
            ConfigError: the schema is none, asks for something that cannot be forced, or allows no
                answer of so few tokens.
        """
        from llguidance import LLMatcher

        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_COMPACT)
            problem = LLMatcher.validate_grammar(grammar, self._tokens)
        except ValueError as error:
            problem = str(error)
        if problem:
            raise ConfigError(
                f"the schema cannot be used: {problem.splitlines()[0]}", allowed="a JSON schema"
            )
        return Form(self, LLMatcher(self._tokens, grammar), most, careful=not _plain(schema))


def _plain(schema: object) -> bool:
    """Whether the length of texts and numbers in a form is free, so that any of them ends at once."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "properties":
                if not (isinstance(value, Mapping) and all(map(_plain, value.values()))):
                    return False
            elif key in ("enum", "const") or key in _FREE_TOO:
                continue
            elif key not in _FREE or not _plain(value):
                return False
    return True


class Form:
    """What one answer may look like; satisfies ``engine.Grammar``.

    Args:
        forms: of the tokenizer.
        matcher: at the beginning of the answer.
        most: tokens that the answer may take.
        careful: whether every token can put the end off by much, as a pattern's can.

    Guarantees:
        - what has been chosen once ``whole`` is true, or the end token came, is JSON of the form;
        - it comes to that within ``most`` tokens.

    Raises:
        ConfigError: there is no answer of so few tokens.
    """

    def __init__(self, forms: Forms, matcher: Any, most: int, *, careful: bool) -> None:
        self._forms, self._matcher, self._careful = forms, matcher, careful
        path = self._way_out(matcher, most)
        if path is None:
            raise ConfigError(
                f"an answer of {most} tokens cannot hold the form that is asked for",
                remedy="Raise max_tokens, or ask for less",
            )
        self._needed = len(path)
        self.whole = False

    @property
    def needed(self) -> int:
        """Tokens that certainly suffice from here to a whole answer."""
        return self._needed

    def copy(self) -> Form:
        """One that stands at the same place and goes on by itself."""
        made = copy(self)
        made._matcher = self._matcher.deep_copy()
        return made

    def choose(self, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:
        """Draw the next token among those that keep the form, with so many left."""
        allowed = torch.from_numpy(self._allowed(self._matcher)).to(logits.device)
        logits = logits[: allowed.shape[0]].masked_fill(~allowed, float("-inf"))
        token = draw(logits)
        if token == self._forms.end:
            self.whole = True
            return token
        if self._needed + _GROWTH < left and not self._careful and not self._forms.structure[token]:
            self._needed += _GROWTH
        else:
            token = self._affordable(token, left)
        self._matcher.consume_token(token)
        self.whole = self._ended()
        return token

    def _affordable(self, token: int, left: int) -> int:
        """A token after which the rest suffices: the one that was drawn, or the next on the way out."""
        tried = self._matcher.deep_copy()
        tried.consume_token(token)
        path = self._way_out(tried, left - 1)
        if path is None:
            path = self._way_out(self._matcher.deep_copy(), left)
            if not path:
                raise RuntimeError("a form that cannot be closed any more")
            token, *path = path
        self._needed = len(path)
        return token

    def _way_out(self, matcher: Any, most: int) -> Sequence[int] | None:
        """Tokens that make the answer whole; None where these would be more than ``most``.

        The matcher is led along them, unless it is the one of the form itself.
        """
        matcher = matcher.deep_copy()
        path: list[int] = []
        while not matcher.is_accepting():
            step = matcher.compute_ff_tokens() or [self._closer(matcher)]
            path += step
            if len(path) > most:
                return None
            matcher.consume_tokens(step)
        return path

    def _closer(self, matcher: Any) -> int:
        allowed = self._allowed(matcher)
        allowed[self._forms.end] = False
        for token in self._forms.closers:
            if allowed[token]:
                return token
        return int(allowed.argmax())

    def _allowed(self, matcher: Any) -> NDArray[np.bool_]:
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(mask, bitorder="little")[: self._forms.size].astype(bool)

    def _ended(self) -> bool:
        """Whether nothing may follow but the end."""
        if not self._matcher.is_accepting():
            return False
        allowed = self._allowed(self._matcher)
        allowed[self._forms.end] = False
        return not allowed.any()
