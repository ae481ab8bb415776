"""Noise in shares: every client of a secure sum adds one, and nobody sees a sum without it.

Contributions are integers, so the noise is. The accounting is by Rényi divergences and claims no
amplification by sampling: whoever forms the sum sees who is in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.privacy import discrete_gaussian, sampler, skellam
from sottovoce.privacy.releases import Concentrated, Renyi
from sottovoce.privacy.renyi import ORDERS
from sottovoce.rng import Source

Mechanism = Literal["discrete_gaussian", "skellam"]


@dataclass(frozen=True)
class Lattice:
    """How contributions become integers. Public.

    Args:
        size: d, entries of the vector.
        scale: integers per unit of a contribution.
        l2: Δ₂, the furthest that one unit moves the integer vector, rounding included.
    """

    size: int
    scale: float
    l2: float

    @property
    def l1(self) -> float:
        """Bound the same move in the sum of absolute values: min(√d·Δ₂, Δ₂²), as it is integers."""
        return min(math.sqrt(self.size) * self.l2, self.l2**2)

    def covers(self, other: Lattice) -> bool:
        """Whether noise that was accounted for on this lattice costs no more on the other one.

        More integers per unit and less rounding lower every bound of ``Shares.release``.
        """
        return (
            other.size <= self.size
            and other.scale >= self.scale
            and other.l2 / other.scale <= self.l2 / self.scale
        )


def worst(lattices: Sequence[Lattice]) -> Lattice:
    """The lattice that covers all of these: the most entries, the coarsest, the most rounding.

    >>> worst([Lattice(4, 2.0, 3.0), Lattice(9, 4.0, 4.0)])
    Lattice(size=9, scale=2.0, l2=3.0)
    """
    scale = min(one.scale for one in lattices)
    growth = max(one.l2 / one.scale for one in lattices)
    # One step up, so that dividing again cannot round below what was multiplied.
    l2 = growth * scale
    while l2 / scale < growth:
        l2 = math.nextafter(l2, math.inf)
    return Lattice(max(one.size for one in lattices), scale, l2)


@dataclass(frozen=True)
class Shares:
    """The noise of one sum, drawn in shares by all who are in it. Public.

        σ_share = σ·scale / √h

    Args:
        mechanism: the distribution of a share.
        clients: n, the most shares that are in a sum.
        certain: h, how many shares of honest clients are in every sum that is told.
        noise_std: σ, the standard deviation of h shares together, in the contribution's unit.
        lattice: how contributions are written.
        corrupt: how many clients of a round may work with whoever forms the sum.

    Guarantees:
        - h shares have at least the variance that is accounted for, and n of them n/h times it;
        - ``release`` bounds the cost of one sum against everybody who holds all shares but h.

    Raises:
        ConfigError: no honest client is certain, or more than there are; or noise of nothing.
    """

    mechanism: Mechanism
    clients: int
    certain: int
    noise_std: float
    lattice: Lattice
    corrupt: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.certain <= self.clients:
            raise ConfigError(
                f"{self.certain} of {self.clients} clients are certain to be honest and to deliver",
                allowed="1 or more of them",
                remedy="Raise federation.minimum_clients, or lower secure.corrupt",
            )
        if not (self.noise_std > 0 and math.isfinite(self.noise_std)):
            raise ConfigError(f"a noise of {self.noise_std}", allowed="a positive finite number")

    @property
    def noise_std_steps(self) -> float:
        """σ in integers: of h shares together."""
        return self.noise_std * self.lattice.scale

    @property
    def largest_noise_std(self) -> float:
        """The standard deviation of all n shares together, in the contribution's unit."""
        return self.noise_std * math.sqrt(self.clients / self.certain)

    @property
    def share_std_steps(self) -> float:
        """The standard deviation of one share, in integers."""
        return self.noise_std_steps / math.sqrt(self.certain)

    @property
    def release(self) -> Concentrated | Renyi:
        """What one sum costs, for the accountant.

        Skellam: Agarwal, Kairouz, Liu 2021, corollary 3.6. Discrete Gaussian: Kairouz, Liu,
        Steinke 2021, proposition 14.
        """
        used = self.lattice
        if self.mechanism == "discrete_gaussian":
            found = discrete_gaussian.distributed(
                self.share_std_steps, self.certain, size=used.size, l1=used.l1, l2=used.l2
            )
            return Concentrated(found**2 / 2)
        variance = self.noise_std_steps**2
        bounds = (skellam.renyi(a, variance, l1=used.l1, l2=used.l2) for a in ORDERS)
        return Renyi(tuple(map(float, ORDERS)), tuple(bounds))

    def moved_by(self, units: int) -> Shares:
        """The same noise against so many units that come and go together."""
        used = self.lattice
        return replace(self, lattice=replace(used, l2=units * used.l2))

    def outside(self, releases: int) -> float:
        """The distance of all draws of so many sums from their distributions."""
        return float(releases) * self.clients * self.lattice.size * sampler.DISTANCE

    def draw(self, source: Source) -> NDArray[np.int64]:
        """One client's share, ``[d]``, to be added to its integers. Private.

        Args:
            source: the random words; private, or the noise hides nothing.
        """
        std, size = self.share_std_steps, self.lattice.size
        if self.mechanism == "discrete_gaussian":
            return discrete_gaussian.sample(std, size, source)
        return skellam.sample(std**2, size, source)
