"""Poisson samples: every unit by itself, and a judge that tells them from all other samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.privacy.sampling import poisson
from sottovoce.rng import Source, seeded_source

N, Q, DRAWS = 40, 0.15, 20_000
Draw = Callable[[], NDArray[np.int64]]


class Words:
    """A source whose words are given."""

    def __init__(self, *words: int) -> None:
        self._words = words
        self.taken = 0

    def words(self, count: int) -> NDArray[np.uint64]:
        self.taken += count
        return np.array(self._words[:count], np.uint64)


def faults(draw: Draw) -> set[str]:
    """What is wrong with these draws as Poisson samples; each bound is five standard deviations."""
    drawn = np.zeros((DRAWS, N), bool)
    for row in drawn:
        row[draw()] = True
    found = set()
    off = 5 * math.sqrt(Q * (1 - Q) / DRAWS)
    if np.abs(drawn.mean(0) - Q).max() > off:
        found.add("frequency")
    sizes = drawn.sum(1)
    wanted = N * Q * (1 - Q)
    # The fourth moment of a binomial, for the deviation of its sample variance.
    fourth = wanted * (1 + (3 * N - 6) * Q * (1 - Q))
    if abs(sizes.var() - wanted) > 5 * math.sqrt((fourth - wanted**2) / DRAWS):
        found.add("size")
    correlation = np.corrcoef(drawn.T.astype(float)) - np.eye(N)
    # Five and a half for the largest of 780 pairs.
    if np.abs(correlation).max() > 5.5 / math.sqrt(DRAWS):
        found.add("pairs")
    follows = np.mean(drawn[1:] & drawn[:-1])
    if abs(follows - Q**2) > 5 * math.sqrt(Q**2 / (DRAWS * N)):
        found.add("one draw after another")
    return found


def test_samples_are_poisson() -> None:
    source = seeded_source(5, "poisson")
    assert faults(lambda: poisson(N, Q, source)) == set()


def test_the_judge_rejects_samples_of_fixed_size() -> None:
    rng = np.random.default_rng(0)
    fixed = faults(lambda: rng.permutation(N)[: round(N * Q)])
    assert "size" in fixed
    assert "frequency" not in fixed


def test_the_judge_rejects_batches_of_a_shuffled_epoch() -> None:
    rng = np.random.default_rng(0)
    size, order = round(N * Q), [np.arange(0)]

    def draw() -> NDArray[np.int64]:
        if len(order[0]) < size:
            order[0] = rng.permutation(N)
        batch, order[0] = order[0][:size], order[0][size:]
        return batch

    assert {"size", "one draw after another"} <= faults(draw)


def test_the_judge_rejects_another_rate_one_fate_for_all_and_a_sample_used_twice() -> None:
    rng = np.random.default_rng(0)
    assert "frequency" in faults(lambda: np.flatnonzero(rng.random(N) < 1.1 * Q))
    fate = faults(
        lambda: np.flatnonzero(rng.random(N) < (0.9 if rng.random() < Q / 2 else 0.55 * Q))
    )
    assert {"size", "pairs"} <= fate
    waiting: list[NDArray[np.int64]] = []

    def twice() -> NDArray[np.int64]:
        if waiting:
            return waiting.pop()
        waiting.append(np.flatnonzero(rng.random(N) < Q))
        return waiting[0]

    assert "one draw after another" in faults(twice)


def test_all_join_at_a_probability_of_one_and_nothing_is_drawn() -> None:
    source = Words()
    assert poisson(5, 1.0, source).tolist() == [0, 1, 2, 3, 4]  # type: ignore[arg-type]
    assert source.taken == 0
    # The largest probability below 1 is drawn.
    top = 2**64 - 1
    below = math.nextafter(1.0, 0.0)
    assert poisson(2, below, Words(top, 0)).tolist() == [1]  # type: ignore[arg-type]


@pytest.mark.parametrize("probability", [0.5, 0.1, 1 / 3, 1e-9, 2.0**-64, 1e-17])
def test_a_unit_never_joins_with_more_than_its_probability(probability: float) -> None:
    """A word below the threshold joins; the threshold is q·2^64, rounded down."""
    threshold = math.floor(probability * 2**64)
    assert threshold / 2**64 <= probability
    words = Words(threshold - 1, threshold, 2**64 - 1, 0)
    assert poisson(4, probability, words).tolist() == [0, 3]  # type: ignore[arg-type]
    assert words.taken == 4


def test_a_tiny_probability_takes_nobody_rather_than_somebody() -> None:
    assert poisson(3, 1e-30, Words(0, 1, 2)).tolist() == []  # type: ignore[arg-type]
    assert poisson(100_000, 1e-12, seeded_source(1)).tolist() == []


def test_a_sample_of_nobody_is_empty_and_of_whole_numbers() -> None:
    assert poisson(0, 0.5, seeded_source(1)).shape == (0,)
    assert poisson(0, 1.0, seeded_source(1)).shape == (0,)
    assert poisson(9, 0.5, seeded_source(1)).dtype == np.int64


def test_places_are_ascending_and_one_word_decides_one_unit() -> None:
    source, words = seeded_source(2), seeded_source(2).words(1000)
    sample = poisson(1000, 0.25, source)
    assert sample.tolist() == [i for i, word in enumerate(words.tolist()) if word < 2**62]
    # A unit more at the end leaves all others where they were.
    longer = poisson(1001, 0.25, seeded_source(2))
    assert [place for place in longer.tolist() if place < 1000] == sample.tolist()


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.0000001, math.nan, math.inf])
def test_what_is_no_probability_is_refused(probability: float) -> None:
    with pytest.raises(ConfigError, match=r"sampling probability is .*above 0, up to 1"):
        poisson(3, probability, Source())
