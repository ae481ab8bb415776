"""What all peers train: the model, the tokens in their order, the first adapter, the judge."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from engine_arms import SEED, Setting, Shape, build_ours, build_peft, draw_tokens
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.train import epoch_batches
from sottovoce.update import Tensors, unflatten

CPU = torch.device("cpu")

# 5.3M weights: 3.2M in linear layers, 1.0M in the embedding and as many in the head.
SMALL = Shape(hidden=256, feed_forward=688, layers=4, heads=4, vocabulary=4096)
# For trying the script out.
TOY = Shape(hidden=32, feed_forward=64, layers=2, heads=2, vocabulary=128)

SHAPES: Mapping[str, Setting] = {
    "short": Setting(SMALL, clients=32, batch=1, length=64, steps=2),
    "long": Setting(SMALL, clients=8, batch=4, length=64, steps=8),
}
"""Many clients with little to do, and few with more: equally many tokens a step of all, 2,048."""


def ordered_tokens(setting: Setting, rounds: int) -> NDArray[np.int64]:
    """Ids ``[rounds, clients, steps, batch, length]``: each client's batches as our feed cuts them.

    Every system gets this order, so that all take the same steps and nobody pays for shuffling.
    """
    drawn = draw_tokens(setting).astype(np.int64)
    own = drawn.reshape(setting.clients, -1, setting.length)
    lengths = np.full(own.shape[1], setting.length, np.int64)
    return np.stack(
        [
            np.stack(
                [
                    np.stack([own[c, batch] for batch in cut])
                    for c in range(setting.clients)
                    for cut in [epoch_batches(lengths, setting.batch, SEED, f"{c}", epoch)]
                ]
            )
            for epoch in range(rounds)
        ]
    )


@lru_cache(maxsize=2)
def initial_adapter(setting: Setting) -> Tensors:
    """The adapter that every system starts from, under the names of the PEFT format."""
    model = build_ours(setting, CPU)
    return unflatten(model.initial(SEED), model.layout)


def adapter_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """A `peft` model's trainable weights under the names of the PEFT format."""
    return {
        name.replace(".default.", "."): weight
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


@torch.no_grad()
def load_adapter(weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy an adapter into a model; both have the same names."""
    for name, weight in weights.items():
        weight.copy_(values[name])


def peft_model(setting: Setting, base: Any = None) -> tuple[Any, dict[str, Tensor]]:
    """The model as a user of `peft` builds it, from the common first adapter.

    Args:
        setting: what is measured.
        base: the model under the adapter, where it is there already.
    """
    model, _ = build_peft(setting, CPU, base)
    # No cache of keys and values is wanted in training; transformers would fill one.
    model.config.use_cache = False
    weights = adapter_of(model)
    first = initial_adapter(setting)
    load_adapter(weights, {name: torch.from_numpy(first[name]) for name in first})
    return model, weights


def mean_loss(setting: Setting, adapter: Tensors) -> float:
    """The loss of an adapter over all tokens of all clients, as `peft` computes it."""
    model, weights = peft_model(setting)
    model.eval()
    load_adapter(weights, {name: torch.from_numpy(adapter[name]) for name in adapter})
    # Sequences are equally long, so the mean of equal parts is the mean of all.
    every = torch.from_numpy(draw_tokens(setting)).long().view(-1, setting.length)
    parts = torch.split(every, 16)
    with torch.no_grad():
        losses = [float(model(input_ids=part, labels=part).loss) * len(part) for part in parts]
    return sum(losses) / len(every)
