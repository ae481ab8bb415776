"""What the engine asks of a model."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sottovoce.train.batches import Batch
from sottovoce.update import Layout


class Trainable(Protocol):
    """A model whose trainable weights are rows of one flat matrix."""

    @property
    def layout(self) -> Layout:
        """What each trainable row of length D = ``layout.size`` holds."""

    @property
    def device(self) -> torch.device:
        """Where rows and batches must lie."""

    @property
    def shares_a_pass(self) -> bool:
        """Whether several clients can share a pass; full training cannot."""

    def gradients(self, weights: Tensor, batch: Batch, out: Tensor) -> Tensor:
        """Add the gradient of Σ scale·nll per group to ``out``; return nll sums.

        Args:
            weights: one row per client, ``[C, D]``.
            batch: the sequences.
            out: where gradients are added, ``[C, E, D]``.

        Returns:
            The summed negative log-likelihood of each sequence, ``[C, E, b]``.
        """

    def score(self, weights: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum negative log-likelihood and count right predictions per sequence, ``[C, E, b]``."""
