"""Bound one client's whole update and write it as integers on a grid, without a model at hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError


class Bounded(NamedTuple):
    """One bounded contribution. Private.

    Args:
        steps: in steps of the grid, ``[D]``.
        norm: before clipping; not finite where the contribution was not.
        finite: whether it was; if not, the steps are zero.
    """

    steps: NDArray[np.int64]
    norm: float
    finite: bool


def bound(contribution: NDArray[np.float32], clip_norm: float, step: float) -> Bounded:
    """Scale a vector down to the bound and round it to the grid.

        round(min(1, clip_norm / ‖x‖) · x / step)

    The same as ``clip.clip_and_sum`` of one unit, for a party that has no torch.

    Args:
        contribution: ``[D]``. Private.
        clip_norm: the bound, in the unit of the contribution. Public.
        step: what the integer 1 stands for, a power of two. Public.

    Guarantees:
        - the integers have a norm of at most (1 + 2^-30) · clip_norm / step + √D / 2;
        - a vector within the bound is only rounded;
        - one with a NaN or an infinity becomes zero and says so.

    Raises:
        ConfigError: ``clip_norm`` is not a positive finite number.

    >>> bound(np.array([3.0, 4.0], np.float32), 1.0, 0.25).steps.tolist()
    [2, 3]
    """
    if not (clip_norm > 0 and math.isfinite(clip_norm)):
        raise ConfigError(f"clip_norm is {clip_norm}", allowed="a positive finite number")
    wide = contribution.astype(np.float64)
    # No square of a float32 overflows in float64.
    norm = float(np.sqrt(np.square(wide).sum()))
    if not math.isfinite(norm):
        return Bounded(np.zeros(wide.shape, np.int64), norm, finite=False)
    scale = min(1.0, clip_norm / norm) if norm else 1.0
    return Bounded(np.rint(wide * (scale / step)).astype(np.int64), norm, finite=True)
