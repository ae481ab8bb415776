"""All parameters of a model as one flat row: pre-training and full fine-tuning.

There is no adapter to group here, so clients run one after another over one flat buffer, behind
the same interface as the grouped adapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sottovoce.errors import ModelError
from sottovoce.model.base import Base, checkpoint_activations
from sottovoce.model.head import objective, score
from sottovoce.update import Layout, flatten


class FullModel:
    """A model whose every parameter is trained; satisfies ``sottovoce.train.Trainable``.

    Parameters are views of the row of weights while a pass is under way, so nothing is copied;
    tied parameters appear once.
    """

    shares_a_pass = False

    def __init__(self, base: Base) -> None:
        if any(parameter.dtype != torch.float32 for parameter in base.model.parameters()):
            raise ModelError(
                "full training needs the weights in float32", remedy='Set model.dtype = "float32"'
            )
        self.base = base
        base.model.requires_grad_(True)
        self._parameters: dict[str, nn.Parameter] = dict(base.model.named_parameters())
        self.layout = Layout({name: tuple(p.shape) for name, p in self._parameters.items()})
        self._pristine = {name: p.data for name, p in self._parameters.items()}

    @property
    def device(self) -> torch.device:
        """Where rows and batches must lie."""
        return self.base.device

    def initial(self, seed: int) -> NDArray[np.float32]:  # noqa: ARG002 - same as LoraModel
        """The loaded weights as one row, ``[D]``; the seed is not used."""
        loaded = {name: data.cpu().numpy() for name, data in self._pristine.items()}
        return flatten(loaded, self.layout)

    def gradients(self, weights: Tensor, batch: Any, out: Tensor) -> Tensor:
        """Add the gradient of Σ scale·nll to ``out`` ``[1, 1, D]``; see ``Trainable``."""
        if weights.shape[0] != 1 or out.shape[1] != 1:
            raise ModelError(
                f"full training was handed {weights.shape[0]} clients with {out.shape[1]} groups",
                allowed="one client with one group in a pass",
                remedy='Use model.train = "lora" for gradients per owner or example',
            )
        length = batch.tokens.shape[-1]
        with self._bound(weights[0], out[0, 0]):
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
        with self._bound(weights[0], None):
            hidden = self.base.hidden(batch.tokens.view(-1, length))
            sums, right = score(hidden, batch.targets.view(-1, length), self.base.head)
        return sums.view(batch.scale.shape), right.view(batch.scale.shape)

    def applied(self, weights: NDArray[np.float32]) -> Any:
        """A context in which the model itself computes with these weights."""
        return self._bound(torch.from_numpy(weights).to(self.device), None)

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass instead of storing them."""
        checkpoint_activations(self.base)

    @contextmanager
    def _bound(self, row: Tensor, gradient: Tensor | None) -> Iterator[None]:
        """Let the parameters, and their gradients, be views of flat rows."""
        offsets = self.layout.offsets
        outer = {name: (p.data, p.grad) for name, p in self._parameters.items()}
        try:
            for name, parameter in self._parameters.items():
                part = slice(offsets[name], offsets[name] + parameter.numel())
                parameter.data = row[part].view(parameter.shape)
                parameter.grad = None if gradient is None else gradient[part].view(parameter.shape)
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.grad = None
                parameter.data, parameter.grad = outer[name]
