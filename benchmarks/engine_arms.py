"""What the engine's benchmark runs: the engine's own arms and the plain `peft` loops beside them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from measuring import Run
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import LoraSettings, wrap_base
from sottovoce.privacy.clip import clip_and_sum
from sottovoce.privacy.gaussian import grid_step
from sottovoce.rng import derive_seed, stream
from sottovoce.train import Batch, Client, Example, Round, TrainSettings, train

SEED = 20
LEARNING_RATE = 2e-3
BOUND = 1.0
"""The largest norm of a client's gradient, and of an example's."""


@dataclass(frozen=True)
class Shape:
    """A Llama with random weights; speed does not depend on what they are."""

    hidden: int
    feed_forward: int
    layers: int
    heads: int
    vocabulary: int

    @property
    def linear_weights(self) -> int:
        """P: the weights of the linear layers and the head."""
        block = 4 * self.hidden**2 + 3 * self.hidden * self.feed_forward
        return self.layers * block + self.vocabulary * self.hidden


@dataclass(frozen=True)
class Setting:
    """What one measurement runs: ``steps`` steps of ``clients`` clients with ``batch`` sequences."""

    shape: Shape
    clients: int
    batch: int
    length: int
    steps: int = 4
    rank: int = 8
    dtype: str = "float32"
    tokens_per_pass: int = 8192

    @property
    def name(self) -> str:
        """The name under ``detail``."""
        return (
            f"hidden {self.shape.hidden}, {self.shape.layers} layers, {self.clients} clients, "
            f"batch {self.batch}, length {self.length}"
        )

    @property
    def tokens(self) -> int:
        """Tokens read in all steps of all clients."""
        return self.steps * self.clients * self.batch * self.length


def build_vendor(setting: Setting, device: torch.device) -> Any:
    """A Llama of this shape with random weights, the same for every caller."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = setting.shape
    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=False,
    )
    torch.manual_seed(derive_seed(SEED, "base") % 2**63)
    with device:
        return LlamaForCausalLM(config).to(getattr(torch, setting.dtype))


def build_ours(setting: Setting, device: torch.device) -> LoraModel:
    """The engine's model: a frozen base with grouped adapters on all linear layers."""
    base = wrap_base(build_vendor(setting, device), "random")
    return LoraModel(base, LoraSettings(rank=setting.rank, alpha=2.0 * setting.rank))


def build_peft(
    setting: Setting, device: torch.device, base: Any = None
) -> tuple[Any, list[Tensor]]:
    """The baseline's model, and its trainable weights; on ``base`` where there is one already."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=setting.rank, lora_alpha=2 * setting.rank, target_modules="all-linear")
    with warnings.catch_warnings():
        # peft asks transformers for an attribute by a name that is on its way out.
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(base or build_vendor(setting, device), lora)
    model.train()
    return model, [weight for weight in model.parameters() if weight.requires_grad]


def draw_tokens(setting: Setting) -> NDArray[np.int32]:
    """Ids ``[clients, steps, batch, length]``; each client uses few of them, so that it can learn."""
    random = stream(SEED, "tokens")
    words = random.integers(0, setting.shape.vocabulary, (setting.clients, 32))
    size = (setting.clients, setting.steps * setting.batch * setting.length)
    chosen = np.take_along_axis(words, random.integers(0, 32, size), axis=1)
    shape = (setting.clients, setting.steps, setting.batch, setting.length)
    return chosen.reshape(shape).astype(np.int32)


def draw_clients(setting: Setting) -> list[Client]:
    """The same tokens as the engine takes them."""
    supervised = np.arange(setting.length) > 0
    return [
        Client(f"{c}", [Example(ids, supervised) for ids in own.reshape(-1, setting.length)])
        for c, own in enumerate(draw_tokens(setting))
    ]


def recipe(setting: Setting) -> TrainSettings:
    """What every arm does: AdamW at a constant rate, gradients bounded by their norm."""
    return TrainSettings(
        learning_rate=LEARNING_RATE,
        schedule="constant",
        warmup_fraction=0.0,
        max_gradient_norm=BOUND,
        batch_size=setting.batch,
        tokens_per_pass=setting.tokens_per_pass,
    )


def grouped(setting: Setting, device: torch.device) -> Run:
    """A whole round of the engine, batching and the making of updates included."""
    model = build_ours(setting, device)
    clients = draw_clients(setting)
    start = model.initial(SEED)
    received = {client.name: start for client in clients}
    return lambda: train(model, clients, received, recipe(setting), Round(0, 1, SEED))


def _peft_loop(setting: Setting, device: torch.device, batches: Sequence[Tensor]) -> Run:
    model, weights = build_peft(setting, device)

    def run() -> None:
        optimizer = torch.optim.AdamW(weights, LEARNING_RATE, weight_decay=0.0, fused=True)
        for tokens in batches:
            model(input_ids=tokens, labels=tokens).loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, BOUND)
            optimizer.step()
            optimizer.zero_grad()

    return run


def centralised(setting: Setting, device: torch.device) -> Run:
    """`peft` on the union: each step reads the sequences of all clients as one batch."""
    tokens = torch.from_numpy(draw_tokens(setting)).long().to(device)
    together = [tokens[:, step].reshape(-1, setting.length) for step in range(setting.steps)]
    return _peft_loop(setting, device, together)


def sequential(setting: Setting, device: torch.device) -> Run:
    """`peft` for one client after another.

    A real loop would also exchange adapters and optimizers between clients; this one is not
    charged for it.
    """
    tokens = torch.from_numpy(draw_tokens(setting)).long().to(device)
    return _peft_loop(setting, device, list(tokens.flatten(0, 1)))


def _lora_steps(setting: Setting, device: torch.device, groups: int) -> Run:
    """Steps of one client whose sequences fall into ``groups`` groups; one group is plain LoRA."""
    model = build_ours(setting, device)
    start = torch.from_numpy(model.initial(SEED)).to(device)
    every = torch.from_numpy(draw_tokens(setting)).long().to(device)[0]
    grid = grid_step(BOUND, start.numel())

    def batch(ids: Tensor) -> Batch:
        tokens = ids.view(1, groups, -1, setting.length)
        targets = torch.nn.functional.pad(tokens[..., 1:], (0, 1), value=-1)
        weight = groups / (setting.batch * (setting.length - 1))
        return Batch(tokens, targets, torch.full(tokens.shape[:3], weight, device=device))

    def run() -> Tensor:
        weights = start[None].clone()
        row = torch.nn.Parameter(weights[0])
        optimizer = torch.optim.AdamW([row], LEARNING_RATE, weight_decay=0.0, fused=True)
        gradients = torch.zeros(1, groups, start.numel(), device=device)
        for ids in every:
            gradients.zero_()
            model.gradients(weights, batch(ids), gradients)
            if groups == 1:
                norm = torch.linalg.vector_norm(gradients)
                gradients.mul_(torch.clamp(BOUND / (norm + 1e-6), max=1.0))
                row.grad = gradients[0, 0]
            else:
                row.grad = clip_and_sum(gradients[0], BOUND, grid).total * (grid / groups)
            optimizer.step()
        return weights[0] - start

    return run


def plain(setting: Setting, device: torch.device) -> Run:
    """The engine's own step without privacy."""
    return _lora_steps(setting, device, 1)


def per_example(setting: Setting, device: torch.device) -> Run:
    """One gradient per example, each clipped over all layers, then summed."""
    return _lora_steps(setting, device, setting.batch)


Arm = Callable[[Setting, torch.device], Run]
"""Builds everything that one run needs; only the run itself is timed."""

ARMS: dict[str, Arm] = {
    arm.__name__: arm for arm in (grouped, centralised, sequential, plain, per_example)
}
