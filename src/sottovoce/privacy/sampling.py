"""Who takes part in a release: each unit by itself, with one probability, unseen from outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.rng import Source


def poisson(units: int, probability: float, source: Source) -> NDArray[np.int64]:
    """Draw a Poisson sample: every unit joins with this probability, independently of all others.

    Args:
        units: how many there are. Private under add-or-remove, but known where it is drawn.
        probability: of joining. Public.
        source: of random words; what it yields must stay unknown where amplification is claimed.

    Returns:
        The places of those that joined, ascending; private. It may be empty.

    Guarantees:
        - a probability of 1 takes everyone and draws nothing;
        - a unit joins with the probability rounded down to 2^-64, never with more.

    Raises:
        ConfigError: the probability is not in (0, 1].
    """
    if not 0 < probability <= 1:
        raise ConfigError(f"the sampling probability is {probability}", allowed="above 0, up to 1")
    threshold = int(probability * 2.0**64)
    if threshold >= 2**64:
        return np.arange(units)
    return np.flatnonzero(source.words(units) < np.uint64(threshold))
