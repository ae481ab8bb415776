"""Grouped LoRA adapters on a frozen base model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sottovoce.errors import ModelError
from sottovoce.model.base import Base, LoraSettings, checkpoint_activations
from sottovoce.model.grouped import Binding, GroupedLinear, Site
from sottovoce.model.head import objective, score
from sottovoce.rng import stream
from sottovoce.update import Layout, Tensors, flatten

PREFIX = "base_model.model."
"""What the PEFT format writes before every module name."""


class LoraModel:
    """A frozen base model with adapters whose weights are rows of one flat matrix.

    Satisfies ``sottovoce.train.Trainable``. Attaching replaces the targeted linear layers of
    ``base`` in place; outside a pass they compute what they computed before.
    """

    shares_a_pass = True

    def __init__(self, base: Base, settings: LoraSettings) -> None:
        if any(isinstance(module, GroupedLinear) for module in base.model.modules()):
            raise ModelError(
                f"{base.path} already has adapters", remedy="Load the base model once more"
            )
        self.base = base
        self.settings = settings
        self._binding = Binding(trigger=torch.zeros((), device=base.device, requires_grad=True))
        targets = find_targets(base, settings)
        self.layout = Layout(dict(_factor_shapes(targets, settings.rank)))
        for name, module in targets.items():
            key_a, key_b = factor_names(name)
            d_in, d_out = self.layout.shapes[key_a][1], self.layout.shapes[key_b][0]
            offsets = self.layout.offsets
            site = Site(offsets[key_a], offsets[key_b], settings.rank, d_in, d_out)
            grouped = GroupedLinear(module, site, settings.scaling, self._binding)
            parent, _, child = name.rpartition(".")
            setattr(base.model.get_submodule(parent), child, grouped)
        self.targets = tuple(targets)
        _require_isolation(self)

    @property
    def device(self) -> torch.device:
        """Where rows and batches must lie."""
        return self.base.device

    def initial(self, seed: int) -> NDArray[np.float32]:
        """Draw A uniformly from ±1/√d_in, as PEFT does, and set B to zero; ``[D]``.

        Every A has its own stream, named by its module, so that all clients can draw it alike.
        """
        tensors = {}
        for name, shape in self.layout.shapes.items():
            if ".lora_A." in name:
                bound = 1 / sqrt(shape[1])
                draw = stream(seed, "lora", name).uniform(-bound, bound, shape)
                tensors[name] = draw.astype(np.float32)
            else:
                tensors[name] = np.zeros(shape, np.float32)
        return flatten(tensors, self.layout)

    def gradients(self, weights: Tensor, batch: Any, out: Tensor) -> Tensor:
        """Add the gradient of Σ scale·nll of each group to ``out``; see ``Trainable``."""
        length = batch.tokens.shape[-1]
        with self._binding.pass_over(weights, out):
            hidden = self.base.hidden(batch.tokens.view(-1, length))
            total, sums = objective(
                hidden, batch.targets.view(-1, length), batch.scale.view(-1), self.base.head
            )
            total.backward()  # type: ignore[no-untyped-call]
        return sums.view(batch.scale.shape)

    @torch.no_grad()
    def score(self, weights: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        """Score the sequences of a batch; see ``Trainable``."""
        length = batch.tokens.shape[-1]
        with self._binding.pass_over(weights, None):
            hidden = self.base.hidden(batch.tokens.view(-1, length))
            sums, right = score(hidden, batch.targets.view(-1, length), self.base.head)
        return sums.view(batch.scale.shape), right.view(batch.scale.shape)

    def applied(self, weights: NDArray[np.float32]) -> Any:
        """A context in which the base model itself computes with one client's adapter."""
        row = torch.from_numpy(weights).to(self.device)[None]
        return self._binding.pass_over(row, None)

    def applied_to_rows(self, rows: Tensor) -> Any:
        """A context in which the i-th sequence of a batch is computed with the i-th adapter.

        Args:
            rows: of weights, ``[n, D]``; a batch has as many sequences, or any number where n is 1.
        """
        return self._binding.pass_over(rows, None)

    @contextmanager
    def based_on(self, residual: Tensors) -> Iterator[None]:
        """A context in which every adapted layer's own weight is W + s·R.

        Args:
            residual: R of each layer, ``[d_out, d_in]``, under the name of its A with
                ``residual`` in the place of ``lora_A``.

        Guarantees:
            - afterwards every weight has the bits that it had before.

        Raises:
            ModelError: a layer's weight is not float32, so that small changes would vanish in it.
        """
        kept: list[tuple[Tensor, Tensor]] = []
        try:
            for name in self.targets:
                weight: Tensor = self._adapted(name).base.weight  # type: ignore[assignment]
                if weight.dtype != torch.float32:
                    raise ModelError(
                        f"{name} is held as {weight.dtype}, and its weight is to be changed",
                        remedy='Set model.dtype = "float32"',
                    )
                change = torch.from_numpy(residual[residual_name(name)]).to(weight.device)
                kept.append((weight, weight.detach().clone()))
                change = change.t() if self.is_transposed(name) else change
                weight.detach().add_(change, alpha=self.settings.scaling)
            yield
        finally:
            for weight, before in kept:
                weight.detach().copy_(before)

    def is_transposed(self, name: str) -> bool:
        """Whether a layer holds its weight as ``[d_in, d_out]``; a square one does not show it."""
        return type(self._adapted(name).base).__name__ == "Conv1D"

    def _adapted(self, name: str) -> GroupedLinear:
        layer = self.base.model.get_submodule(name)
        if not isinstance(layer, GroupedLinear):
            raise ModelError(f"{name} lost its adapter", remedy="Load the base model once more")
        return layer

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        checkpoint_activations(self.base)


def _require_isolation(model: LoraModel) -> None:
    """Change one of two examples, and require that the other's gradient stays as it was.

    A layer that joins sequences, or reorders them before an adapted layer, would mix clients.
    """
    base = model.base
    weights = torch.from_numpy(model.initial(0)).to(base.device)[None]
    tokens = torch.arange(16, device=base.device).view(2, 8) % base.head.weight.shape[0]
    seen = []
    for _ in range(2):
        out = torch.zeros(1, 2, model.layout.size, device=base.device)
        try:
            with model._binding.pass_over(weights, out):
                base.hidden(tokens).float().square().sum().backward()  # type: ignore[no-untyped-call]
        except AttributeError as error:
            raise ModelError(
                f"{base.path} ({type(base.model).__name__}) uses an adapted layer otherwise than "
                f"by calling it: {error}",
                remedy="List model.lora.targets without that layer",
            ) from error
        seen.append(out[0, 0])
        tokens[1] = tokens[1].flip(0)
    if (seen[0] - seen[1]).norm() > 0.05 * seen[0].norm():
        raise ModelError(
            f"{base.path} ({type(base.model).__name__}) lets one sequence of a pass touch another",
            allowed="models in which every sequence is computed by itself",
        )


def find_targets(base: Base, settings: LoraSettings) -> dict[str, nn.Module]:
    """The linear layers that get an adapter, by name, in the model's order.

    Raises:
        ModelError: a target that matches nothing, with the names that would.
    """
    head = base.model.get_output_embeddings()  # type: ignore[operator]
    linear = {
        name: module
        for name, module in base.model.named_modules()
        if linear_shape(module) is not None and module is not head
    }
    if settings.targets == "all-linear":
        return linear
    chosen = {
        name: module
        for name, module in linear.items()
        if any(name == target or name.endswith(f".{target}") for target in settings.targets)
    }
    ends = sorted({name.rpartition(".")[2] for name in linear})
    for target in settings.targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            raise ModelError(
                f"model.lora.targets names {target!r}, which no linear layer of {base.path} has",
                allowed=f'"all-linear" or some of {", ".join(ends)}',
            )
    return chosen


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """(d_out, d_in) of a linear layer of torch, transformers or bitsandbytes, else None."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if type(module).__name__ == "Conv1D":
        d_in, d_out = module.weight.shape  # type: ignore[misc]
        return int(d_out), int(d_in)
    return None


def factor_names(module: str) -> tuple[str, str]:
    """The names of a module's A and B in the PEFT format.

    >>> factor_names("model.layers.0.self_attn.q_proj")[0]
    'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight'
    """
    return f"{PREFIX}{module}.lora_A.weight", f"{PREFIX}{module}.lora_B.weight"


def residual_name(module: str) -> str:
    """The name of the change of an adapted layer's own weight."""
    return f"{PREFIX}{module}.residual.weight"


def _factor_shapes(
    targets: dict[str, nn.Module], rank: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, module in targets.items():
        shape = linear_shape(module)
        if shape is None:
            raise ModelError(f"{name} is no linear layer")
        a, b = factor_names(name)
        yield a, (rank, shape[1])
        yield b, (shape[0], rank)
