"""The FedProx benchmark, with few epochs, against a plain loop that knows nothing of the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sottovoce.errors import VerificationError
from sottovoce.strategies.fedprox import FedProx
from sottovoce.strategies.server_damping import ServerDamping

ROOT = Path(__file__).resolve().parents[2]
SEED, ROUNDS, EPOCHS = 3, 5, 3


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script, imported as when it is run: its own folder first on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import fedprox_synthetic

        yield fedprox_synthetic
        for name in ("fedprox_synthetic", "measuring"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def plain() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
        import fedprox_reference

        yield fedprox_reference
        sys.modules.pop("fedprox_reference", None)


@pytest.fixture(scope="module")
def data(bench):
    return {(name, SEED): bench.generate(name, SEED) for name in ("(1,1)", "IID")}


def weights(bench, data, *runs):
    """The shared weights of each run after the rounds, all played side by side."""
    *_, states = bench.play(runs, data, bench.Protocol(rounds=ROUNDS, epochs=EPOCHS))
    return [states[run].weights["weights"] for run in runs]


def expected(plain, data, problem, *, mu, stragglers, drops):
    devices = [(own.x, own.y) for own in data[problem, SEED]]
    rule = {"mu": mu, "stragglers": stragglers, "drops": drops}
    return np.vstack(plain.fedprox(devices, rounds=ROUNDS, epochs=EPOCHS, **rule))


@pytest.mark.parametrize("problem", ["(1,1)", "IID"])
def test_the_weights_are_those_of_the_plain_loop(bench, plain, data, problem):
    arms = {bench.AVERAGING: (0, True), bench.PARTIAL: (0, False), bench.PROXIMAL: (1, False)}
    cases = [(arm, stragglers) for arm in arms for stragglers in (0.0, 0.9)]
    runs = [bench.Run(problem, SEED, stragglers, arm) for arm, stragglers in cases]
    ends = weights(bench, data, *runs)
    for (arm, stragglers), end in zip(cases, ends, strict=True):
        mu, drops = arms[arm]
        loop = expected(plain, data, problem, mu=mu, stragglers=stragglers, drops=drops)
        assert np.abs(loop).max() > 0.1
        np.testing.assert_allclose(end, loop, rtol=0, atol=1e-6)
    # No two of them are the same by chance, but for the case that has to be.
    distinct = {end.tobytes() for end in ends}
    assert len(distinct) == len(ends) - 1


def rootless(gradient, weights, anchor):
    """The slip of taking ‖w - w_t‖ for its square: a pull of one length at any distance."""
    away = weights - anchor
    return gradient + away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)


@pytest.mark.parametrize("slip", ["a norm without its square", "damping", "an unweighted mean"])
def test_a_wrong_algorithm_is_far_from_the_plain_loop(bench, plain, data, slip):
    mu = 0.5 if slip == "damping" else 1
    right = FedProx(mu=mu).algorithm
    wrong = {
        "a norm without its square": replace(right, adjust=rootless),
        "damping": ServerDamping(mu=mu if mu < 1 else 0.5).algorithm,
        "an unweighted mean": replace(right, weighting="uniform"),
    }[slip]
    loop = expected(plain, data, "(1,1)", mu=mu, stragglers=0.0, drops=False)
    for algorithm, close in ((right, True), (wrong, False)):
        run = bench.Run("(1,1)", SEED, 0.0, bench.Arm("under test", algorithm, True))
        off = np.abs(weights(bench, data, run)[0] - loop).max()
        assert off <= 1e-6 if close else off > 1e-2


def test_without_a_pull_and_stragglers_it_is_federated_averaging_bit_for_bit(bench, data):
    runs = [bench.Run("(1,1)", SEED, 0.0, arm) for arm in (bench.AVERAGING, bench.PARTIAL)]
    other = bench.Run("(1,1)", SEED, 0.5, bench.PROXIMAL)
    averaging, partial, _ = weights(bench, data, *runs, other)
    assert averaging.tobytes() == partial.tobytes()
    # Who else is played beside a run changes no bit of it.
    [alone] = weights(bench, data, runs[1])
    assert alone.tobytes() == partial.tobytes()


@pytest.mark.parametrize(("stragglers", "slow"), [(0.0, 0), (0.5, 5), (0.9, 9)])
def test_the_draws_are_those_of_the_plain_loop(bench, plain, stragglers, slow):
    protocol = bench.Protocol()
    partial = set()
    for index in range(200):
        drawn = bench.draw(index, stragglers, protocol)
        assert drawn == plain.draws(index, stragglers)
        assert len({k for k, _, _ in drawn}) == 10
        assert sum(is_slow for _, _, is_slow in drawn) == slow
        partial |= {epochs for _, epochs, is_slow in drawn if is_slow}
        assert all(epochs == 20 for _, epochs, is_slow in drawn if not is_slow)
    assert partial == (set(range(1, 20)) if slow else set())


def test_the_data_have_the_sizes_of_the_earlier_figures_and_the_stated_spread(bench):
    devices = bench.generate("(1,1)", 0)
    assert sum(len(own.y) for own in devices) == 20_101
    assert sum(len(own.test_y) for own in devices) == 2_248
    largest = max(devices, key=lambda own: len(own.y))
    stated = np.arange(1, 61) ** -1.2
    np.testing.assert_allclose(largest.x.var(axis=0), stated, rtol=0.15)
    alike = bench.generate("IID", 0)
    assert [len(own.y) for own in alike] == [len(own.y) for own in devices]
    pooled = np.concatenate([own.x for own in alike])
    assert np.abs(pooled.mean(axis=0) / np.sqrt(stated)).max() < 0.05


def test_a_second_rule_is_refused(bench, data):
    arms = [bench.Arm(str(mu), FedProx(mu=mu).algorithm) for mu in (1, 2)]
    with pytest.raises(ValueError, match="unpack"):
        weights(bench, data, *(bench.Run("(1,1)", SEED, 0.0, arm) for arm in arms))


def test_an_ordering_that_fails_is_said_to_fail(bench):
    rows = [
        {
            "dataset": problem,
            "stragglers": stragglers,
            "algorithm": arm.name,
            "accuracy": figures[0],
            "deviation": figures[1] or 0.0,
        }
        for (problem, stragglers), arms in bench.CASES.items()
        for arm, figures in arms.items()
    ]
    assert {figure.value for figure in bench.orderings(rows)} == {1}
    for row in rows:
        row["accuracy"], row["deviation"] = -row["accuracy"], -row["deviation"]
    assert {figure.value for figure in bench.orderings(rows)} == {0}


def test_json_is_one_object_on_the_last_line(bench, capsys, monkeypatch):
    def small(problem, seed):
        return [bench.Device(own.x[:45], own.y[:45], *own[2:]) for own in generate(problem, seed)]

    generate = bench.generate
    monkeypatch.setattr(bench, "generate", small)
    assert bench.main(["--json", "--seeds", str(SEED), "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert len(lines) == 1
    cases = [(row["dataset"], row["stragglers"], row["algorithm"]) for row in result["rows"]]
    assert len(set(cases)) == len(cases) == 15
    assert all(0 < row["accuracy"] < 1 for row in result["rows"])
    assert all(row["by_seed"]["accuracy"] == [row["accuracy"]] for row in result["rows"])
    assert 0 < result["max_reference_difference"] <= 1e-6
    assert result["mu0_is_fedavg"] == 1
    assert {"mu1_wins_noniid", "mu1_hurts_iid", "straggler_gap_grows"} <= set(result)


def test_weights_that_are_no_numbers_end_the_run(bench, data):
    run = bench.Run("(1,1)", SEED, 0.0, bench.AVERAGING)
    with np.errstate(all="ignore"), pytest.raises(VerificationError, match="not finite"):
        list(bench.play([run], data, bench.Protocol(rounds=1, epochs=2, rate=1e4)))
