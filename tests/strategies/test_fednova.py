"""FedNova: path lengths by brute force, its fixed point, and federated averaging where steps agree."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sottovoce.run.rounds import round_step
from sottovoce.strategies import Work
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.fednova import PATH, FedNova, path_length
from sottovoce.strategies.server_optimizer import SGD
from sottovoce.update import Update

RATES = st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=8)
MOMENTA = st.floats(0.0, 0.95)


def coefficients(rates, momentum):
    """With which factor each step's gradient enters what SGD changes.

    The gradient of step i is the i-th unit vector, so the i-th weight ends at minus its factor.
    """
    weight = torch.nn.Parameter(torch.zeros(len(rates), dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=momentum)
    for step, rate in enumerate(rates):
        weight.grad = torch.eye(len(rates), dtype=torch.float64)[step]
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return -weight.detach().numpy()


@given(RATES, MOMENTA)
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_path_length_is_the_sum_of_the_gradients_factors(rates, momentum):
    judge = coefficients(rates, momentum).sum()
    assert path_length(Work(tuple(rates), momentum)) == pytest.approx(judge, rel=1e-12)


@given(st.integers(0, 12), MOMENTA, st.floats(1e-3, 1.0))
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_path_length_is_the_formula_of_the_paper(steps, rho, rate):
    formula = sum(rate * (1 - rho**i) / (1 - rho) for i in range(1, steps + 1))
    assert path_length(Work((rate,) * steps, rho)) == pytest.approx(formula, rel=1e-9)


@dataclass(frozen=True)
class Client:
    """A loss of its own for every weight, ½·h·(w - m)², and how it trains."""

    curvature: np.ndarray
    minimum: np.ndarray
    examples: int
    rates: tuple
    momentum: float = 0.0

    def ends(self, w):
        """Where local SGD brings these weights."""
        w, memory = w.astype(np.float64), 0.0
        for rate in self.rates:
            memory = self.momentum * memory + self.curvature * (w - self.minimum)
            w = w - rate * memory
        return w


def clients(rate=0.01, steps=(2, 30, 7), momentum=0.0, seed=0, width=5):
    rng = np.random.default_rng(seed)
    return [
        Client(rng.uniform(0.5, 2, width), 3 * rng.normal(size=width), n, (rate,) * k, momentum)
        for n, k in zip((5, 1, 3), steps, strict=True)
    ]


def play(strategy, some, rounds, start):
    algorithm = strategy.algorithm
    state = algorithm.first({"w": np.asarray(start, np.float32)})
    for _ in range(rounds):
        updates = []
        for k, one in enumerate(some):
            change = (one.ends(state.weights["w"]) - state.weights["w"]).astype(np.float32)
            work = Work(one.rates, one.momentum)
            sent, own = algorithm.finish(state, {"kept": {}}, {"w": change}, work)
            assert own == {"kept": {}}
            updates.append(Update(sent, f"{k}", one.examples, len(one.rates), 1, 0.0))
        state, _ = round_step(algorithm, state, updates)
        yield state


def paper(some, rounds, start, global_rate=1.0, server_momentum=0.0):
    """Wang et al. 2020, equation 8, in float64: w + (Σ p·|a|₁)·Σ p·(Δ / |a|₁)."""
    w = np.asarray(start, np.float64)
    p = np.array([one.examples for one in some]) / sum(one.examples for one in some)
    memory = 0.0
    for _ in range(rounds):
        a = [coefficients(one.rates, one.momentum).sum() if one.rates else 0 for one in some]
        d = [(one.ends(w) - w) / a_k if a_k else 0 * w for one, a_k in zip(some, a, strict=True)]
        effective = sum(p_k * a_k for p_k, a_k in zip(p, a, strict=True))
        memory = server_momentum * memory + effective * sum(
            p_k * d_k for p_k, d_k in zip(p, d, strict=True)
        )
        w = w + global_rate * memory
        yield w


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("steps", [(2, 30, 7), (4, 4, 4), (3, 0, 1)])
@pytest.mark.parametrize("server", [SGD(), SGD(lr=0.7, momentum=0.3)])
def test_rounds_follow_the_paper_line_by_line(momentum, steps, server):
    some, start = clients(steps=steps, momentum=momentum), np.linspace(-1, 1, 5)
    judged = paper(some, 5, start, server.lr, server.momentum)
    for state, w in zip(play(FedNova(server=server), some, 5, start), judged, strict=True):
        np.testing.assert_allclose(state.weights["w"], w, rtol=1e-5, atol=1e-5)


def fixed_point(strategy, some):
    """Where a round changes nothing. Every weight follows a line of its own: two points give it."""
    zero, one = np.zeros(5), np.ones(5)
    moved = [
        next(play(strategy, some, 1, w)).weights["w"].astype(np.float64) - w for w in (zero, one)
    ]
    return moved[0] / (moved[0] - moved[1])


def optimum(some):
    """The minimum of Σ n_k·F_k, whatever steps anyone takes."""
    weight = [one.examples * one.curvature for one in some]
    return sum(w * one.minimum for w, one in zip(weight, some, strict=True)) / sum(weight)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_unequal_steps_leave_the_fixed_point_at_the_true_optimum(momentum):
    """To first order in the rate, as in the paper; federated averaging stays far off at any rate."""
    far = {}
    for rate in (4e-3, 1e-3):
        some = clients(rate, momentum=momentum)
        far[rate] = [
            np.abs(fixed_point(strategy, some) - optimum(some)).max()
            for strategy in (FedNova(), FedAvg())
        ]
    assert far[1e-3][0] < 0.1
    assert far[1e-3][0] < 0.4 * far[4e-3][0]
    assert min(averaging for _, averaging in far.values()) > 1.0


@given(st.integers(1, 6), MOMENTA, st.integers(0, 2**31))
@hypothesis_settings(max_examples=30, deadline=None)
def test_equal_steps_are_federated_averaging_to_rounding(steps, momentum, seed):
    some = clients(0.05, (steps,) * 3, momentum, seed)
    start = np.linspace(-1, 1, 5)
    ours, judge = (
        [state.weights["w"] for state in play(strategy, some, 3, start)]
        for strategy in (FedNova(), FedAvg())
    )
    np.testing.assert_allclose(ours, judge, rtol=1e-5, atol=1e-5)


def sends(gradients, rates, momentum=0.0):
    """A round of clients whose gradients do not change along the way."""
    algorithm = FedNova().algorithm
    state = algorithm.first({"w": np.zeros(4, np.float32)})
    updates = []
    for k, (gradient, own) in enumerate(zip(gradients, rates, strict=True)):
        change = -coefficients(own, momentum).sum() * gradient
        work = Work(tuple(own), momentum)
        sent, _ = algorithm.finish(state, {}, {"w": change.astype(np.float32)}, work)
        updates.append(Update(sent, f"{k}", k + 1, len(own), 1, 0.0))
    return round_step(algorithm, state, updates)[0].weights["w"].astype(np.float64)


@given(st.lists(RATES, min_size=3, max_size=3), MOMENTA, st.integers(0, 2**31))
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_direction_does_not_depend_on_how_many_steps_each_took(rates, momentum, seed):
    gradients = np.random.default_rng(seed).normal(size=(3, 4))
    moved = sends(gradients, rates, momentum)
    direction = -(np.array([1, 2, 3]) / 6) @ gradients
    length = sum(
        p * coefficients(own, momentum).sum()
        for p, own in zip((1 / 6, 2 / 6, 3 / 6), rates, strict=True)
    )
    np.testing.assert_allclose(moved, length * direction, rtol=1e-4, atol=1e-5 * length)


def test_a_client_without_steps_sends_zero_and_no_path():
    algorithm = FedNova().algorithm
    state = algorithm.first({"w": np.zeros(2, np.float32)})
    sent, _ = algorithm.finish(state, {}, {"w": np.zeros(2, np.float32)}, Work(()))
    assert sent["w"].tolist() == [0, 0]
    assert sent[PATH].tolist() == [0]
    # Nobody moved: nothing to divide by, and nothing happens.
    after, _ = round_step(algorithm, state, [Update(sent, "a", 1, 0, 0, 0.0)])
    assert after.weights["w"].tolist() == [0, 0]


def test_what_is_sent_is_declared_and_a_sum_is_enough():
    algorithm = FedNova().algorithm
    state = algorithm.first({"w": np.zeros((2, 3), np.float32)})
    assert algorithm.sent(state) == {"w": (2, 3), PATH: (1,)}
    assert algorithm.needs_only_sums
    assert algorithm.weighting == "examples"
    sent, _ = algorithm.finish(state, {}, {"w": np.ones((2, 3), np.float32)}, Work((0.5,)))
    assert {name: v.shape for name, v in sent.items()} == algorithm.sent(state)
    assert all(value.dtype == np.float32 for value in sent.values())
