"""Sequences that are decoded together: each as if it were alone, whoever joins or leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sottovoce.errors import ModelError
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import wrap_base
from sottovoce.model.decode import Together

PROMPTS = [[3, 7, 9, 11, 2, 5, 8], list(range(2, 32)), [9, 4, 3], [5] * 18]
LENGTH = 14


@pytest.fixture(
    scope="module", params=["llama", "qwen3", "gemma2", "gemma3", "mistral", "phi3", "gpt2"]
)
def model(request: pytest.FixtureRequest, attach: Any) -> LoraModel:
    made: LoraModel = attach(request.param)
    made.base.model.eval()
    return made


@pytest.fixture(scope="module")
def rows(model: LoraModel, random_row: Callable[..., Any]) -> Tensor:
    return torch.stack([torch.from_numpy(random_row(model, seed)) for seed in range(len(PROMPTS))])


def together(model: LoraModel) -> Together:
    return Together(model.base, model.applied_to_rows)


@torch.no_grad()
def by_hand(model: LoraModel, row: Tensor, prompt: Sequence[int]) -> list[int]:
    """The whole sequence read anew for every token: slow, and without a cache."""
    ids = list(prompt)
    for _ in range(LENGTH):
        with model.applied_to_rows(row[None]):
            logits = model.base.model(input_ids=torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.fixture(scope="module")
def expected(model: LoraModel, rows: Tensor) -> list[list[int]]:
    return [by_hand(model, row, prompt) for row, prompt in zip(rows, PROMPTS, strict=True)]


def greedy(logits: Tensor) -> list[int]:
    return [int(token) for token in logits.argmax(1)]


def test_four_adapters_in_one_batch_say_what_each_says_alone(
    model: LoraModel, rows: Tensor, expected: list[list[int]]
) -> None:
    assert len({tuple(answer) for answer in expected}) > 1
    batch = together(model)
    tokens = greedy(batch.join(PROMPTS, list(rows)))
    said = [[token] for token in tokens]
    for _ in range(LENGTH - 1):
        tokens = greedy(batch.step(tokens))
        for answer, token in zip(said, tokens, strict=True):
            answer.append(token)
    assert said == expected
    assert batch.lengths == tuple(len(prompt) + LENGTH - 1 for prompt in PROMPTS)


def test_who_joins_or_leaves_changes_nothing_for_the_others(
    model: LoraModel, rows: Tensor, expected: list[list[int]]
) -> None:
    batch = together(model)
    joins = {0: [0, 2], 3: [1], 9: [3]}
    said: dict[int, list[int]] = {}
    order: list[int] = []
    for moment in range(60):
        who = joins.get(moment, [])
        if who:
            logits = batch.join([PROMPTS[one] for one in who], [rows[one] for one in who])
            said |= {one: [token] for one, token in zip(who, greedy(logits), strict=True)}
            order += who
        left = [place for place, one in enumerate(order) if len(said[one]) < LENGTH]
        if len(left) < len(order):
            batch.keep(left)
            order = [order[place] for place in left]
        if order:
            for one, token in zip(
                order, greedy(batch.step([said[one][-1] for one in order])), strict=True
            ):
                said[one].append(token)
    assert [said[one] for one in range(len(PROMPTS))] == expected
    assert len(batch) == 0


def test_memory_is_that_of_the_longest_sequence_and_is_let_go_of(
    model: LoraModel, rows: Tensor
) -> None:
    batch = together(model)
    batch.join([PROMPTS[1]], [rows[1]])
    batch.join([PROMPTS[2]], [rows[2]])
    for _ in range(5):
        batch.step([4, 4])
    widths = {layer._held[0].shape[2] for layer in batch._layers if layer._held}
    longest = max(batch.lengths)
    assert longest == len(PROMPTS[1]) + 5
    assert max(widths) <= 2 * longest
    batch.keep([1])
    assert {layer.width for layer in batch._layers} == {len(PROMPTS[2]) + 5}
    batch.keep([])
    assert not batch._layers


def test_the_logits_of_a_sequence_do_not_depend_on_the_others(
    model: LoraModel, rows: Tensor
) -> None:
    alone = together(model).join([PROMPTS[2]], [rows[2]])[0]
    shared = together(model).join(PROMPTS, list(rows))[2]
    np.testing.assert_allclose(alone.numpy(), shared.numpy(), atol=2e-5)
    another = together(model).join([PROMPTS[2]], [rows[1]])[0]
    assert float((alone - another).abs().max()) > 1e-3


def test_a_model_without_keys_and_values_is_refused(tiny: Any) -> None:
    base = wrap_base(tiny("mamba"), "mamba")
    with pytest.raises(ModelError, match="attend in every layer"):
        Together(base, lambda _: nullcontext()).join([[3, 4]], [torch.empty(0)])


def test_one_adapter_for_all_is_not_copied(model: LoraModel, rows: Tensor) -> None:
    one = rows[0]
    batch = together(model)
    shared = batch.join(PROMPTS, [one] * 4)
    assert batch._rows.data_ptr() == one.data_ptr()
    apart = together(model).join(PROMPTS, [one, one.clone(), one, one])
    torch.testing.assert_close(shared, apart)


def test_small_passes_use_one_thread_and_leave_the_number_as_it_was(
    attach: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, used, before = attach("llama"), list[int](), torch.get_num_threads()
    model.base.backbone.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        for worth in (0, 10**12):
            monkeypatch.setattr("sottovoce.model.decode._WORTH_WAKING", worth)
            together(model).join([[3, 4]], [torch.zeros(model.layout.size)])
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert used == [2, 1]
