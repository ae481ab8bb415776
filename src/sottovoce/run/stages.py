"""How long the stages of a round took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class Stages:
    """Adds up seconds by stage until they are taken.

    Args:
        clock: seconds that only grow.

    >>> ticks = iter([0.0, 2.0, 3.0])
    >>> stages = Stages(lambda: next(ticks))
    >>> stages.lap("train")
    >>> stages.lap("sum")
    >>> stages.take(), stages.take()
    ({'train': 2.0, 'sum': 1.0}, {})
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._seconds: dict[str, float] = {}

    def begin(self) -> None:
        """What was before belongs to no stage."""
        self._last = self._clock()

    def lap(self, stage: str) -> None:
        """All since the last lap was this stage."""
        now = self._clock()
        self.add(stage, now - self._last)
        self._last = now

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage what was measured elsewhere."""
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    def take(self) -> Mapping[str, float]:
        """Seconds of each stage, which are counted anew from here."""
        taken = {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
        self._seconds.clear()
        return taken
