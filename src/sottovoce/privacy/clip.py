"""Bound what one unit contributes to a sum, and write it as integers on a grid."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sottovoce.errors import ConfigError

ROWS = 64
COLUMNS = 2**13
"""With ``ROWS``, the part of the contributions of which a float64 copy is held at once: 4 MiB."""


class Clipped(NamedTuple):
    """A sum of clipped contributions, and what clipping saw. Private.

    Args:
        total: the sum over units in steps of the grid, ``[D]``, int64.
        norms: the norm of every contribution before clipping, ``[E]``, float64; not finite where
            the contribution was not.
        finite: which contributions were finite; the others count as zero, ``[E]``.
    """

    total: Tensor
    norms: Tensor
    finite: Tensor


def clip_and_sum(contributions: Tensor, clip_norm: float, step: float) -> Clipped:
    """Scale every unit's contribution down to the bound, round it to the grid, and add up.

        total = Σ_e round(min(1, clip_norm / ‖x_e‖) · x_e / step)

    The norm runs over all layers of a unit together.

    Abadi et al. 2016, algorithm 1; a unit is an owner, an example or a client.

    Args:
        contributions: ``[E, D]``, float32. Private.
        clip_norm: the bound, in the unit of the contributions. Public.
        step: what the integer 1 stands for; a power of two, so that dividing by it is exact.
            Public.

    Returns:
        The sum, the norms before clipping, and which contributions were finite.

    Guarantees:
        - one unit adds integers of norm at most (1 + 2^-30) · clip_norm / step + √D / 2, the
          last term being the rounding;
        - a unit with a norm of at most ``clip_norm`` adds its contribution, rounded;
        - a unit with a NaN or an infinity adds zero and is told;
        - adding or removing a unit moves the sum by exactly that unit's integers;
        - the order of the units, and how they are split over calls, changes no bit;
        - the contributions are left as they were, and no second copy of them is made.

    Edge cases: without units the sum is zero.

    Raises:
        ConfigError: ``clip_norm`` is not a positive finite number, or so far above the grid that
            integers could be rounded.

    >>> clip_and_sum(torch.tensor([[3.0, 4.0], [0.0, 0.5]]), 1.0, 0.25).total
    tensor([2, 5])
    """
    if not (clip_norm > 0 and math.isfinite(clip_norm)):
        raise ConfigError(f"clip_norm is {clip_norm}", allowed="a positive finite number")
    units, size = contributions.shape
    # Sums of integers below this are exact in float64, in any order.
    if max(1, units) * (clip_norm / step + 1) >= 2.0**52:
        raise ConfigError(
            f"{units} units with a clip norm of {clip_norm / step:g} steps are too many for one sum",
            remedy="Lower train.tokens_per_pass, so that fewer are summed at once",
        )
    # Parts of one shape whatever the number of units, so that it changes no bit of a norm.
    blocks = torch.split(contributions, ROWS)
    norms = torch.cat([_norms(block) for block in blocks])
    finite = norms.isfinite()
    scale = torch.where(finite, (clip_norm / norms).clamp(max=1.0), 0.0) / step
    spoiled = not bool(finite.all())
    total = torch.zeros(size, dtype=torch.float64, device=contributions.device)
    for block, own, kept in zip(
        blocks, torch.split(scale, ROWS), torch.split(finite, ROWS), strict=True
    ):
        parts = zip(torch.split(block, COLUMNS, dim=1), torch.split(total, COLUMNS), strict=True)
        for part, place in parts:
            wide = part.double()
            if spoiled:
                # Zero times NaN is NaN, so a scale of zero alone would not remove it.
                wide.masked_fill_(~kept[:, None], 0.0)
            place.add_(wide.mul_(own[:, None]).round_().sum(0))
    return Clipped(total.long(), norms, finite)


def _norms(block: Tensor) -> Tensor:
    squares = torch.zeros(block.shape[0], dtype=torch.float64, device=block.device)
    for part in torch.split(block, COLUMNS, dim=1):
        # In float64 no square of a float32 overflows.
        squares += part.double().square_().sum(1)
    return squares.sqrt_()
