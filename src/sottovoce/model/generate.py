"""Answers: prompts in, generated text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sottovoce.model.base import Base


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Args:
        max_new_tokens: the longest answer.
        temperature: 0 takes the likeliest token.
        top_p: the smallest set of tokens with this much probability is drawn from.
        seed: for the draws.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0


@torch.no_grad()
def generate(
    base: Base,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    stop_ids: Sequence[int],
    pad_id: int,
) -> list[list[int]]:
    """Continue every prompt until a stop token or the limit; prompts share one padded batch.

    Args:
        base: the model; adapters apply where the caller is inside ``applied``.
        prompts: token ids.
        sampling: how tokens are chosen.
        stop_ids: an answer ends before the first of these.
        pad_id: what fills the batch on the left.

    Guarantees: greedy answers do not depend on who shares the batch, to rounding.
    """
    if not prompts:
        return []
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    out = _run(base, ids, mask, sampling, stop_ids, pad_id)
    return [_until_stop(row, stop_ids) for row in out[:, width:].tolist()]


def _run(
    base: Base,
    ids: torch.Tensor,
    mask: torch.Tensor,
    sampling: Sampling,
    stop_ids: Sequence[int],
    pad_id: int,
) -> torch.Tensor:
    from transformers import GenerationConfig

    model: Any = base.model
    draws = sampling.temperature > 0
    options: dict[str, Any] = {"do_sample": draws}
    if draws:
        options.update(temperature=sampling.temperature, top_p=sampling.top_p, top_k=0)
    training, own = model.training, model.generation_config
    model.eval()
    # A published model brings penalties and cut-offs of its own, which nobody asked for here.
    model.generation_config = GenerationConfig()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sampling.seed)
            result: torch.Tensor = model.generate(
                input_ids=ids.to(base.device),
                attention_mask=mask.to(base.device),
                max_new_tokens=sampling.max_new_tokens,
                eos_token_id=list(stop_ids),
                pad_token_id=pad_id,
                use_cache=True,
                **options,
            )
    finally:
        model.generation_config = own
        model.train(training)
    return result.cpu()


def _until_stop(ids: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    return list(_before(ids, frozenset(stop_ids)))


def _before(ids: Sequence[int], stops: frozenset[int]) -> Iterator[int]:
    for token in ids:
        if token in stops:
            return
        yield token
