"""What the benchmark of private training runs: our steps, and Opacus's beside a plain `peft` loop."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from engine_arms import (
    BOUND,
    LEARNING_RATE,
    SEED,
    Arm,
    Setting,
    build_ours,
    build_peft,
    centralised,
    draw_clients,
    draw_tokens,
    recipe,
)
from measuring import Run
from torch import Tensor

from sottovoce.privacy.guard import Guard
from sottovoce.privacy.plan import PrivacyPlan, make_plan
from sottovoce.privacy.settings import AdaptiveClip, PrivacySettings
from sottovoce.rng import secret_source
from sottovoce.train import Client, Protection, Round, train

NOISE = 1.0
"""The noise multiplier of every private arm."""


def draw_client(setting: Setting) -> Client:
    """One client with as many examples as a batch holds, so that every step reads all of them.

    Each is a unit of its own too, for steps that read units.
    """
    [client] = draw_clients(replace(setting, clients=1, steps=1))
    return replace(client, units=[[e] for e in client.examples], steps=setting.steps)


def plan_of(setting: Setting, size: int, clip_norm: float | AdaptiveClip) -> PrivacyPlan:
    """Every example in every step (q = 1), so that private and clear steps read the same tokens."""
    settings = PrivacySettings(
        unit="example", noise_multiplier=NOISE, delta=1e-5, clip_norm=clip_norm
    )
    return make_plan(
        settings,
        units=setting.batch,
        expected_units=setting.batch,
        releases=setting.steps,
        size=size,
    )


def _ours(
    setting: Setting, device: torch.device, clip_norm: float | AdaptiveClip | None = None
) -> Run:
    model = build_ours(setting, device)
    client = draw_client(setting)
    received = {client.name: model.initial(SEED)}
    plan = None if clip_norm is None else plan_of(setting, model.layout.size, clip_norm)

    def run() -> object:
        # A round opens its own source and guard, so both belong to what it costs.
        protection = None
        if plan is not None:
            protection = Protection({client.name: Guard(plan, secret_source())}, most=1)
        where = Round(0, 1, SEED)
        return train(model, [client], received, recipe(setting), where, protection=protection)

    return run


def clear(setting: Setting, device: torch.device) -> Run:
    """A round without privacy."""
    return _ours(setting, device)


def private(setting: Setting, device: torch.device) -> Run:
    """The same round with examples as units: sampled, clipped, summed as integers, noised."""
    return _ours(setting, device, BOUND)


def adaptive(setting: Setting, device: torch.device) -> Run:
    """The same with a clip norm that follows the median norm, so that every step has another."""
    return _ours(setting, device, AdaptiveClip(initial=BOUND, count_noise_std=1.0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what Opacus says about itself, here and nowhere else."""
    logger = logging.getLogger("opacus")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _opacus(
    setting: Setting,
    device: torch.device,
    wrap: Callable[[Any], Any],
    wrap_optimizer: Callable[..., Any],
    losses: Callable[[Any, Any], Callable[[Tensor], Any]],
) -> Run:
    model, weights = build_peft(setting, device)
    batches = list(torch.from_numpy(draw_tokens(setting)).long().to(device)[0])
    with _quiet():
        wrapped = wrap(model)

    def run() -> None:
        optimizer = wrap_optimizer(
            torch.optim.AdamW(weights, LEARNING_RATE, weight_decay=0.0, fused=True),
            noise_multiplier=NOISE,
            max_grad_norm=BOUND,
            expected_batch_size=setting.batch,
        )
        loss = losses(wrapped, optimizer)
        with _quiet():
            for tokens in batches:
                loss(tokens).backward()
                optimizer.step()
                optimizer.zero_grad()

    return run


def opacus_hooks(setting: Setting, device: torch.device) -> Run:
    """Opacus on the `peft` model: hooks keep every layer's gradient of every example."""
    with _quiet():
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

    def losses(wrapped: Any, _optimizer: Any) -> Callable[[Tensor], Any]:
        return lambda tokens: wrapped(input_ids=tokens, labels=tokens).loss

    return _opacus(setting, device, GradSampleModule, DPOptimizer, losses)


def opacus_ghost(setting: Setting, device: torch.device) -> Run:
    """Opacus on the `peft` model: norms from one backward pass, the clipped sum from a second."""
    with _quiet():
        from opacus.grad_sample import GradSampleModuleFastGradientClipping
        from opacus.optimizers import DPOptimizerFastGradientClipping
        from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    def wrap(model: Any) -> Any:
        return GradSampleModuleFastGradientClipping(
            model, max_grad_norm=BOUND, use_ghost_clipping=True
        )

    def losses(wrapped: Any, optimizer: Any) -> Callable[[Tensor], Any]:
        criterion = DPLossFastGradientClipping(wrapped, optimizer, torch.nn.CrossEntropyLoss())

        def loss(tokens: Tensor) -> Any:
            logits = wrapped(input_ids=tokens).logits[:, :-1]
            targets = tokens[:, 1:].reshape(-1)
            return criterion(logits.flatten(0, 1), targets, shape=logits.shape)

        return loss

    return _opacus(setting, device, wrap, DPOptimizerFastGradientClipping, losses)


PEFT = centralised
"""The plain step that Opacus's arms stand over; with one client it is `peft` on its batches."""

ARMS: dict[str, Arm] = {
    arm.__name__: arm for arm in (clear, private, adaptive, PEFT, opacus_hooks, opacus_ghost)
}
