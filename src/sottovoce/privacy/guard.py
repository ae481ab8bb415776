"""One client's protection while it trains: which units a step reads, and what leaves the step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.privacy.clip import clip_and_sum
from sottovoce.privacy.plan import Memory, NoisySum, PrivacyPlan
from sottovoce.privacy.sampling import poisson
from sottovoce.privacy.settings import AdaptiveClip
from sottovoce.rng import Source


class Guard:
    """What a plan does to the steps of one client's local training; ``train`` is handed it.

    A step: ``sample``, then ``add`` for some of the sampled units at a time, then ``release``.

    Guarantees:
        - how the units are split over calls of ``add`` changes no bit of what is released;
        - an empty sample releases noise;
        - a sum is noised exactly once.
    """

    def __init__(self, plan: PrivacyPlan, source: Source, memory: Memory | None = None) -> None:
        self.plan = plan
        self.clip_norm = plan.current_clip_norm(memory)
        self.zeroed = 0
        self.losses: list[float] = []
        self._source = source
        self._sum = NoisySum(plan, self.clip_norm)

    def sample(self) -> NDArray[np.int64]:
        """The units of the next step, by place. Private."""
        return poisson(self.plan.units, self.plan.sampling_probability, self._source)

    def add(self, gradients: Tensor, losses: NDArray[np.float64]) -> None:
        """Bound and add the gradients of some of the sampled units.

        Args:
            gradients: one row per unit, ``[E, D]``. Private.
            losses: of the same units, ``[E]``. Private.
        """
        clipped = clip_and_sum(gradients, self.clip_norm, self._sum.grid.step)
        self._sum.add(
            clipped.total.cpu().numpy(),
            (clipped.norms <= self.clip_norm).cpu().numpy(),
            losses,
            clipped.finite.cpu().numpy(),
        )

    def release(self) -> Tensor:
        """The noisy mean gradient of the step, ``[D]``; public from here on."""
        released = self._sum.release(self._source)
        self.zeroed += self._sum.zeroed
        if released.loss is not None:
            self.losses.append(released.loss)
        self.clip_norm = released.clip_norm
        self._sum = NoisySum(self.plan, self.clip_norm)
        return torch.from_numpy(released.mean)


class SharedGuard:
    """One client's protection where it adds a share of the noise to one sum, and nobody adds all.

    The one step of a round reads every unit, adds up what they contribute, and moves nothing: the
    contribution leaves in integers, under noise and masks, and no gradient is used without them.

    Guarantees:
        - how the units are split over calls of ``add`` changes no bit of the sum;
        - ``release`` gives zeros, so that the step changes no weight.
    """

    def __init__(self, plan: PrivacyPlan) -> None:
        if plan.shares is None or isinstance(plan.clip_norm, AdaptiveClip):
            raise ValueError("shares of noise go with a plan that has them and a fixed clip norm")
        self.plan = plan
        self.clip_norm = plan.clip_norm
        self.zeroed = 0
        self.losses: list[float] = []
        self.total = np.zeros(plan.size, np.int64)
        self._step = 1.0 / plan.shares.lattice.scale

    def sample(self) -> NDArray[np.int64]:
        """Every unit, by place."""
        return np.arange(self.plan.units)

    def add(self, gradients: Tensor, losses: NDArray[np.float64]) -> None:  # noqa: ARG002
        """Bound and add the gradients of some of the units; as ``Guard.add``."""
        clipped = clip_and_sum(gradients, self.clip_norm, self._step)
        self.total += clipped.total.cpu().numpy()
        self.zeroed += int((~clipped.finite).sum())

    def release(self) -> Tensor:
        """Zeros, ``[D]``."""
        return torch.zeros(self.plan.size)
