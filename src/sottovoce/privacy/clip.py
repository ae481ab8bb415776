"""Bound what every owner or example contributes to a sum of gradients."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sottovoce.errors import ConfigError

CHUNK_BYTES = 4 * 2**20
"""The largest float64 copy of a part of the gradients that is held at once."""


class Clipped(NamedTuple):
    """A sum of clipped gradients per client, and what clipping saw. Private.

    Args:
        total: the sum over groups, ``[C, D]``, float32.
        norms: the norm of every group's gradient before clipping, ``[C, E]``, float64; not finite
            where the gradient was not.
        zeroed: how many groups of each client were not finite and count as zero, ``[C]``.
    """

    total: Tensor
    norms: Tensor
    zeroed: Tensor


def clip_and_sum(gradients: Tensor, clip_norm: float) -> Clipped:
    """Scale every group's gradient down to the bound and add up the groups of each client.

        total[c] = Σ_e min(1, clip_norm / ‖gradients[c, e]‖) · gradients[c, e]

    The norm runs over all layers of a group together.

    Abadi et al. 2016, algorithm 1.

    Args:
        gradients: ``[C, E, D]``, float32; C clients, E groups (owners or examples). Private.
        clip_norm: the bound, in the unit of the gradients. Public.

    Returns:
        The sums, the norms before clipping and the count of groups that were not finite.

    Guarantees:
        - one group contributes at most ``clip_norm``, rounding of the result included;
        - a group with a norm of at most ``clip_norm`` contributes its gradient bit for bit;
        - a group with a NaN or an infinity contributes zero and is counted;
        - adding, removing or changing one group moves no other client's sum;
        - adding or removing one group moves its client's sum by at most
          clip_norm · (1 + E · 2^-23), of which the last term is float32's rounding of the result;
        - the gradients are left as they were, and no second copy of them is made.

    Edge cases: without groups the sum is zero.

    Raises:
        ConfigError: ``clip_norm`` is not a positive finite number.

    >>> clip_and_sum(torch.tensor([[[3.0, 4.0], [0.0, 0.5]]]), 1.0).total
    tensor([[0.6000, 1.3000]])
    """
    if not (clip_norm > 0 and math.isfinite(clip_norm)):
        raise ConfigError(f"clip_norm is {clip_norm}", allowed="a positive finite number")
    clients, groups, size = gradients.shape
    columns = max(1, CHUNK_BYTES // (8 * max(1, clients * groups)))
    parts = torch.split(gradients, columns, dim=2)
    squares = torch.zeros(clients, groups, dtype=torch.float64, device=gradients.device)
    for part in parts:
        # In float64 no square of a float32 overflows, and no norm is rounded below the bound.
        squares += part.double().square_().sum(2)
    norms = squares.sqrt()
    finite = norms.isfinite()
    # One float32 rounding step below the bound, so that rounding the result stays within it.
    scale = torch.where(norms > clip_norm, clip_norm * (1 - 2**-23) / norms, 1.0)
    scale = torch.where(finite, scale, 0.0)
    spoiled = not bool(finite.all())
    total = torch.empty(clients, size, dtype=torch.float32, device=gradients.device)
    for part, place in zip(parts, torch.split(total, columns, dim=1), strict=True):
        wide = part.double()
        if spoiled:
            # Zero times NaN is NaN, so a scale of zero alone would not remove it.
            wide.masked_fill_(~finite[:, :, None], 0.0)
        place.copy_(torch.bmm(scale[:, None], wide)[:, 0])
    return Clipped(total, norms, (~finite).sum(1))
