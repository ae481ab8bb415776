"""Tool calls: begun where they fit, of their form, whole before the tokens run out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from pydantic import BaseModel

from sottovoce.errors import ConfigError
from sottovoce.model.base import model_folder
from sottovoce.model.generate import Draws, Sampling
from sottovoce.model.tokenizer import Tokenizer, load_tokenizer
from sottovoce.serve.grammar import Form, Forms
from sottovoce.serve.tools import Calls, Marks, Silent, call_schema, marks_of
from sottovoce.tasks.chat import parse_answer

TRACK: Mapping[str, Any] = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["order"],
    "additionalProperties": False,
}
STOP: Mapping[str, Any] = {
    "type": "object",
    "properties": {"why": {"enum": ["lost", "被退回"]}},
    "additionalProperties": False,
}
BOTH = call_schema({"track": TRACK, "stop": STOP})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(model_folder("tiny"))


@pytest.fixture(scope="module")
def forms(tokenizer: Tokenizer) -> Forms:
    return Forms(tokenizer)


@pytest.fixture(scope="module")
def bare(tokenizer: Tokenizer) -> Marks:
    found = marks_of(tokenizer)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tagged(tokenizer: Tokenizer) -> Marks:
    """As if two ordinary tokens were the tags."""
    opening, closing = tokenizer.encode("<|user|>") + tokenizer.encode("<|tool|>")
    return Marks(opening, closing, ("<tool_call>", "</tool_call>"))


def said(grammar: Any, forms: Forms, most: int, seed: int, love: int | None = None) -> list[int]:
    """What somebody says who draws from all tokens, and likes one of them."""
    source = np.random.default_rng(seed)
    draw = Draws(Sampling(most, 1.0, 1.0, seed)).token
    tokens: list[int] = []
    while not grammar.whole and len(tokens) < most:
        logits = torch.from_numpy(source.normal(0, 1, forms.size + 8))
        if love is not None:
            logits[love] += source.choice([0.0, 12.0])
        token = grammar.choose(logits, most - len(tokens), draw)
        if token == forms.end:
            break
        tokens.append(token)
    return tokens


def written(tokens: list[int], marks: Marks, tokenizer: Tokenizer) -> str:
    words = [tokenizer.decode([token], keep_special=True) for token in tokens]
    pairs = zip(tokens, words, strict=True)
    # Single tokens may be parts of characters; a whole answer is decoded between its marks.
    text, run = "", list[int]()
    for token, _ in pairs:
        if token in (marks.opening, marks.closing):
            text += tokenizer.decode(run) + marks.text[token == marks.closing]
            run = []
        else:
            run.append(token)
    return text + tokenizer.decode(run)


@pytest.mark.parametrize("kind", ["bare", "tagged"])
@pytest.mark.parametrize("forced", [True, False])
def test_every_call_is_whole_and_of_its_form_whatever_is_drawn(
    request: pytest.FixtureRequest, forms: Forms, tokenizer: Tokenizer, kind: str, forced: bool
) -> None:
    marks: Marks = request.getfixturevalue(kind)
    call = forms.of_schema(BOTH, 1000)
    least = call.needed + 1 + (kind == "tagged")
    several = 0
    for seed in range(16):
        most = least + [0, 1, 7, 40, 70][seed % 5]
        grammar = Calls(marks, call, end=forms.end, most=most, forced=forced)
        tokens = said(grammar, forms, most, seed, love=marks.opening)
        assert len(tokens) <= most
        text = written(tokens, marks, tokenizer)
        content, calls = parse_answer(text)
        assert len(calls) == tokens.count(marks.opening)
        assert "<tool_call>" not in content
        assert "<|call|>" not in content
        assert not forced or (calls and not content)
        several += len(calls) > 1
        for one in calls:
            assert one.name in ("track", "stop")
            jsonschema.validate(json.loads(one.arguments), TRACK if one.name == "track" else STOP)
    assert several or not forced


def test_one_call_is_one_call_where_no_more_are_wanted(
    forms: Forms, tokenizer: Tokenizer, bare: Marks
) -> None:
    call = forms.of_schema(BOTH, 1000)
    for seed in range(4):
        grammar = Calls(bare, call, end=forms.end, most=150, forced=True, many=False)
        tokens = said(grammar, forms, 150, seed, love=bare.opening)
        assert tokens.count(bare.opening) == 1
        assert grammar.whole


def test_no_call_begins_that_could_not_end(forms: Forms, bare: Marks) -> None:
    call = forms.of_schema(BOTH, 1000)
    most = call.needed
    for seed in range(4):
        grammar = Calls(bare, call, end=forms.end, most=most)
        tokens = said(grammar, forms, most, seed, love=bare.opening)
        assert bare.opening not in tokens
    with pytest.raises(ConfigError, match=r"cannot hold the call.*max_tokens"):
        Calls(bare, call, end=forms.end, most=most, forced=True)


def test_words_of_a_form_or_a_call_but_not_both(
    forms: Forms, tokenizer: Tokenizer, bare: Marks
) -> None:
    call, words = forms.of_schema(BOTH, 1000), forms.of_schema(TRACK, 1000)
    seen = set()
    for seed in range(12):
        grammar = Calls(bare, call, end=forms.end, most=90, words=words.copy())
        text = tokenizer.decode(
            said(grammar, forms, 90, seed, love=bare.opening), keep_special=True
        )
        content, calls = parse_answer(text)
        seen.add(bool(calls))
        if calls:
            assert not content
        else:
            jsonschema.validate(json.loads(content), TRACK)
    assert seen == {True, False}


def test_who_may_not_call_does_not(forms: Forms, bare: Marks) -> None:
    silent = Silent([bare.opening])
    assert bare.opening not in said(silent, forms, 40, 0, love=bare.opening)
    logits = torch.zeros(4000)
    silent.choose(logits, 1, lambda scores: int(scores.argmin()))
    assert not logits.any(), "the logits of the engine stay as they are"


def test_a_copy_of_a_form_goes_on_by_itself(forms: Forms) -> None:
    form = forms.of_schema(BOTH, 1000)
    first: Callable[[torch.Tensor], int] = lambda scores: int(scores.argmax())  # noqa: E731
    one, other = form.copy(), form.copy()
    assert isinstance(one, Form)
    one.choose(torch.zeros(forms.size), 500, first)
    again = one.copy().choose(torch.zeros(forms.size), 499, first)
    assert one.choose(torch.zeros(forms.size), 499, first) == again
    assert other.needed == form.needed


def test_any_name_is_possible_where_no_function_is_given(
    forms: Forms, tokenizer: Tokenizer, bare: Marks
) -> None:
    call = forms.of_schema(call_schema({}), 1000)
    for seed in range(4):
        grammar = Calls(bare, call, end=forms.end, most=60, forced=True, many=False)
        tokens = said(grammar, forms, 60, seed)
        assert parse_answer(tokenizer.decode(tokens, keep_special=True))[1]


class Address(BaseModel):
    street: str
    number: int


class Move(BaseModel):
    """As clients write schemas: parts of their own, which they point to."""

    old: Address
    new: Address


def test_a_schema_that_points_into_itself_is_kept_to(
    forms: Forms, tokenizer: Tokenizer, bare: Marks
) -> None:
    schema = Move.model_json_schema()
    assert "$ref" in str(schema)
    call = forms.of_schema(call_schema({"move": schema, "move_again": schema}), 1000)
    for seed in range(4):
        grammar = Calls(bare, call, end=forms.end, most=120, forced=True, many=False)
        text = tokenizer.decode(said(grammar, forms, 120, seed), keep_special=True)
        [made] = parse_answer(text)[1]
        Move.model_validate_json(made.arguments)
