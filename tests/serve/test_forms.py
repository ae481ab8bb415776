"""Answers of a given form, from a model that says anything at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from sottovoce.errors import ConfigError
from sottovoce.model.base import model_folder
from sottovoce.model.generate import Draws, Sampling
from sottovoce.model.tokenizer import Tokenizer, load_tokenizer
from sottovoce.serve.grammar import Form, Forms

ORDER: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "paid": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "被退回"]}},
        "to": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "number": {"type": "number"}},
            "required": ["street", "number"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "count", "tags", "to"],
    "additionalProperties": False,
}
TREE: Mapping[str, Any] = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "children"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "order": ORDER,
    "tree": TREE,
    "any object": {"type": "object"},
    "date": {
        "type": "object",
        "properties": {
            "day": {"type": "string", "format": "date"},
            "code": {"pattern": "^[A-Z]{5}$"},
        },
        "required": ["day"],
        "additionalProperties": False,
    },
    "numbers first": {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "price": {"type": "number"},
            "rank": {"type": "integer", "minimum": 1, "maximum": 40},
            "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
            "sizes": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 3},
            "paid": {"type": "boolean"},
        },
        "required": ["count", "price", "rank", "note", "sizes", "paid"],
        "additionalProperties": False,
    },
    "text": {"type": "string"},
    "number": {"type": "number"},
    "at least three": {"type": "array", "items": {"type": "string", "minLength": 4}, "minItems": 3},
    "either": {"anyOf": [{"type": "null"}, ORDER]},
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(model_folder("tiny"))


@pytest.fixture(scope="module")
def forms(tokenizer: Tokenizer) -> Forms:
    return Forms(tokenizer)


def said(form: Form, forms: Forms, tokenizer: Tokenizer, most: int, seed: int) -> str:
    """An answer drawn evenly from all tokens, structure as often as all else."""
    source = np.random.default_rng(seed)
    draw = Draws(Sampling(most, 1.0, 1.0, seed)).token
    tokens: list[int] = []
    while not form.whole and len(tokens) < most:
        logits = torch.from_numpy(source.normal(0, 1, forms.size + 8))
        logits[: forms.size][torch.from_numpy(forms.structure)] += source.choice([0.0, 4.0])
        token = form.choose(logits, most - len(tokens), draw)
        if token == forms.end:
            assert form.whole
            break
        tokens.append(token)
    return tokenizer.decode(tokens, keep_special=True)


@pytest.mark.parametrize("name", SCHEMAS)
def test_whatever_is_drawn_is_of_the_form_before_the_tokens_run_out(
    forms: Forms, tokenizer: Tokenizer, name: str
) -> None:
    schema = SCHEMAS[name]
    least = next(most for most in range(1, 200) if holds(forms, schema, most))
    answers = set()
    for seed in range(12):
        most = least + [0, 1, 3, 10, 40, 90][seed % 6]
        text = said(forms.of_schema(schema, most), forms, tokenizer, most, seed)
        jsonschema.validate(json.loads(text), schema)
        answers.add(text)
    assert len(answers) > 2


def holds(forms: Forms, schema: Mapping[str, Any], most: int) -> bool:
    try:
        forms.of_schema(schema, most)
    except ConfigError as error:
        assert "max_tokens" in str(error)
        return False
    return True


def test_a_budget_that_cannot_hold_the_form_is_refused(forms: Forms) -> None:
    assert not holds(forms, ORDER, 5)
    assert holds(forms, ORDER, 60)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "nonsense"}, "nonsense"),
        ({"$ref": "#/nowhere"}, "nowhere"),
        ({"type": "string", "pattern": "("}, "schema cannot be used"),
        ({"type": "array", "minItems": 10**6}, r"cannot hold|cannot be used"),
    ],
)
def test_a_schema_that_cannot_be_kept_to_is_refused(
    forms: Forms, schema: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        forms.of_schema(schema, 100)


def test_the_models_own_choice_stands_where_it_is_of_the_form(
    forms: Forms, tokenizer: Tokenizer
) -> None:
    wanted = '{"name":"Ada","count":3,"tags":["new"],"to":{"street":"High St","number":12.5}}'
    form = forms.of_schema(ORDER, 200)
    chosen: list[int] = []
    while not form.whole:
        # The model would say just this, in any cut into tokens that the form leaves.
        logits = torch.full((forms.size,), -50.0)
        so_far = tokenizer.decode(chosen, keep_special=True)
        for token in range(forms.size):
            word = tokenizer.decode([token], keep_special=True)
            if word and wanted.startswith(so_far + word):
                logits[token] = len(word)
        token = form.choose(logits, 200 - len(chosen), lambda scores: int(scores.argmax()))
        if token != forms.end:
            chosen.append(token)
    assert tokenizer.decode(chosen, keep_special=True) == wanted


def test_a_number_that_more_must_follow_is_ended_in_time(
    forms: Forms, tokenizer: Tokenizer
) -> None:
    schema = {
        "type": "object",
        "properties": {"count": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["count", "name"],
        "additionalProperties": False,
    }
    digits = torch.zeros(forms.size)
    for digit in "123456789":
        digits[tokenizer.encode(digit)] = 9.0
    form, tokens = forms.of_schema(schema, 60), list[int]()
    while not form.whole:
        left = 60 - len(tokens)
        tokens.append(form.choose(digits, left, lambda scores: int(scores.argmax())))
    made = json.loads(tokenizer.decode(tokens, keep_special=True))
    assert made["count"] > 10**9
    jsonschema.validate(made, schema)
