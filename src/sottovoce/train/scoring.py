"""Scoring: what one row of weights makes of held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.train.batches import Example, collate
from sottovoce.train.trainable import Trainable


@dataclass(frozen=True)
class Scores:
    """What a model makes of each example: sums over supervised tokens, ``[n]`` each."""

    nll: NDArray[np.float64]
    correct: NDArray[np.int64]
    tokens: NDArray[np.int64]


def score(
    model: Trainable,
    weights: NDArray[np.float32],
    examples: Sequence[Example],
    *,
    tokens_per_pass: int,
) -> Scores:
    """Score every example under one row of weights.

    Args:
        model: the frozen base with its trainable rows.
        weights: ``[D]``.
        examples: what to score; examples of similar length share a pass.
        tokens_per_pass: padded tokens in one pass; changes speed and memory only.
    """
    if not examples:
        raise ConfigError("there is nothing to score", remedy="Hold out at least one example")
    row = torch.from_numpy(weights).to(model.device)[None]
    nll = np.zeros(len(examples))
    correct = np.zeros(len(examples), np.int64)
    order = sorted(range(len(examples)), key=lambda place: len(examples[place].tokens))
    while order:
        longest = len(examples[order[-1]].tokens)
        places = order[-max(1, tokens_per_pass // longest) :]
        del order[-len(places) :]
        batch = collate([[examples[place] for place in places]], [1.0])
        sums, right = model.score(row, batch.to(model.device))
        nll[places] = sums[0, 0].cpu().double().numpy()
        correct[places] = right[0, 0].cpu().numpy()
    counts = np.array([int(example.supervised[1:].sum()) for example in examples])
    return Scores(nll, correct, counts)
