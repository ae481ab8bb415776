"""SCAFFOLD: the paper's lines in float64, its memory, its first round, and what it is there for."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sottovoce.run.rounds import round_step
from sottovoce.strategies import Work
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.scaffold import PREFIX, Scaffold
from sottovoce.strategies.server_optimizer import SGD, Adam
from sottovoce.update import Layout, Update, flatten, unflatten

LAYOUT = Layout({"a": (2, 2), "b": (3,)})


@dataclass(frozen=True)
class Quadratic:
    """½·(w - m)ᵀ·H·(w - m)."""

    curvature: np.ndarray
    minimum: np.ndarray

    def gradient(self, w):
        return self.curvature @ (w - self.minimum)


@dataclass(frozen=True)
class Logistic:
    """The mean logistic loss of one client's points."""

    x: np.ndarray
    y: np.ndarray

    def gradient(self, w):
        return -(self.x.T @ (self.y / (1 + np.exp(self.y * (self.x @ w))))) / len(self.y)


def quadratics(count, seed=0, spread=3.0):
    """Clients whose optima and curvatures are far apart."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        half = rng.normal(size=(LAYOUT.size, LAYOUT.size))
        curvature = half @ half.T / LAYOUT.size + 0.2 * np.eye(LAYOUT.size)
        found.append(Quadratic(curvature, spread * rng.normal(size=LAYOUT.size)))
    return found


def logistics(count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Logistic(rng.normal(k, 1, (9, LAYOUT.size)), rng.choice([-1.0, 1.0], 9, p=[0.3, 0.7]))
        for k in range(count)
    ]


def vector(tensors):
    return flatten({name: tensors[name] for name in LAYOUT.shapes}, LAYOUT)


def play(algorithm, problems, cohorts, rates, start, weights=None):
    """Rounds by the package's functions; yields the state and every client's memory after each.

    Args:
        cohorts: who takes part, by round.
        rates: the learning rates of client k in round r: ``rates(r, k)``.
    """
    state = algorithm.first(unflatten(start.astype(np.float32), LAYOUT))
    memory = [{} for _ in problems]
    for index, cohort in enumerate(cohorts):
        received = vector(state.weights)
        updates = []
        for k in cohort:
            anchor = received
            if algorithm.anchor is not None:
                anchor = vector(algorithm.anchor(state, memory[k]))
            w = received.copy()
            for rate in rates(index, k):
                gradient = problems[k].gradient(w.astype(np.float64)).astype(np.float32)
                if algorithm.adjust is not None:
                    gradient = algorithm.adjust(gradient[None], w[None], anchor[None])[0]
                w = w - np.float32(rate) * gradient
            work = Work(tuple(rates(index, k)))
            change = unflatten(w - received, LAYOUT)
            sent, memory[k] = algorithm.finish(state, memory[k], change, work)
            counts = 1 if weights is None else weights[k]
            updates.append(Update(sent, f"client {k}", 5, len(work.rates), 1, 0.0, weight=counts))
        state, _ = round_step(algorithm, state, updates, population=len(problems))
        yield state, [{kind: dict(t) for kind, t in own.items()} for own in memory]


def paper(problems, cohorts, rates, start, global_rate=1.0):
    """Karimireddy et al. 2020, Algorithm 1, option II, in float64, a line for a line.

    Where the local rates differ inside a round, option II is what it stands for: c_i becomes the
    mean of the client's own gradients along the way, each counted by its rate.
    """
    x, c = start.astype(np.float64), np.zeros(len(start))
    c_i = [np.zeros(len(start)) for _ in problems]
    for index, cohort in enumerate(cohorts):
        delta_y, delta_c = [], []
        for i in cohort:
            y, own_gradients = x.copy(), []
            for eta_l in rates(index, i):
                g = problems[i].gradient(y)
                own_gradients.append(eta_l * g)
                y = y - eta_l * (g - c_i[i] + c)
            after = c_i[i]
            if own_gradients:
                after = np.sum(own_gradients, axis=0) / np.sum(rates(index, i))
                if len(set(rates(index, i))) == 1:
                    k, eta_l = len(own_gradients), rates(index, i)[0]
                    np.testing.assert_allclose(after, c_i[i] - c + (x - y) / (k * eta_l), atol=1e-9)
            delta_y.append(y - x)
            delta_c.append(after - c_i[i])
            c_i[i] = after
        x = x + global_rate / len(cohort) * np.sum(delta_y, axis=0)
        c = c + np.sum(delta_c, axis=0) / len(problems)
        yield x, c, [own.copy() for own in c_i]


def require_equal(played, judged, tolerance=2e-5):
    for (state, memory), (x, c, c_i) in zip(played, judged, strict=True):
        np.testing.assert_allclose(vector(state.weights), x, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(
            vector(state.moments["control"]), c, rtol=tolerance, atol=tolerance
        )
        for own, judge in zip(memory, c_i, strict=True):
            kept = vector(own["control"]) if own else np.zeros(LAYOUT.size)
            np.testing.assert_allclose(kept, judge, rtol=tolerance, atol=tolerance)


def draw_cohorts(seed, clients, size, rounds):
    rng = np.random.default_rng(seed)
    return [sorted(rng.permutation(clients)[:size].tolist()) for _ in range(rounds)]


def constant(rate, steps):
    return lambda index, k: [rate] * steps


@pytest.mark.parametrize("problems", [quadratics(5), logistics(5)], ids=["quadratic", "logistic"])
@pytest.mark.parametrize("size", [5, 2, 1])
@pytest.mark.parametrize("global_rate", [1.0, 0.6])
def test_rounds_follow_the_paper_line_by_line(problems, size, global_rate):
    """Everyone takes part, or some: then c moves by |S|/N of the mean change of c_k."""
    cohorts = draw_cohorts(size, 5, size, 6)
    start = np.linspace(-1, 1, LAYOUT.size)
    algorithm = Scaffold(server=SGD(lr=global_rate)).algorithm
    played = play(algorithm, problems, cohorts, constant(0.05, 4), start)
    require_equal(played, paper(problems, cohorts, constant(0.05, 4), start, global_rate))


@given(st.data())
@hypothesis_settings(max_examples=25, deadline=None)
def test_unequal_rates_and_steps_follow_the_paper_too(data):
    """A schedule inside a round, another number of steps for each client, some with none."""
    table = {
        (r, k): data.draw(st.lists(st.floats(0.002, 0.1), max_size=4))
        for r in range(3)
        for k in range(4)
    }
    cohorts = [
        sorted(data.draw(st.sets(st.integers(0, 3), min_size=1, max_size=4))) for _ in range(3)
    ]

    def rates(index, k):
        return table[index, k]

    start, problems = np.linspace(-1, 1, LAYOUT.size), quadratics(4, seed=1, spread=1.0)
    played = play(Scaffold().algorithm, problems, cohorts, rates, start)
    require_equal(played, paper(problems, cohorts, rates, start), 1e-4)


def test_in_the_first_round_it_is_federated_averaging_bit_for_bit():
    start, cohorts = np.linspace(-1, 1, LAYOUT.size), [[0, 2, 3], [0, 2, 3]]
    ends = [
        [
            vector(state.weights).tobytes()
            for state, _ in play(
                algorithm, quadratics(4), cohorts, constant(0.05, 3), start, [3, 1, 4, 2]
            )
        ]
        for algorithm in (
            Scaffold(server=Adam(lr=0.1)).algorithm,
            FedAvg(server=Adam(lr=0.1)).algorithm,
        )
    ]
    assert ends[0][0] == ends[1][0]
    assert ends[0][1] != ends[1][1]


def test_the_first_round_of_the_engine_is_that_of_federated_averaging(
    attach, random_row, make_client
):
    from sottovoce.train import PLAIN, Round, Rule, TrainSettings, train

    model = attach()
    clients = [make_client("berlin", [9, 12, 8]), make_client("lyon", [14, 10])]
    row = random_row(model)
    recipe = TrainSettings(optimizer="sgd", learning_rate=0.2, batch_size=1, steps_per_round=3)
    algorithm = Scaffold().algorithm
    state = algorithm.first(unflatten(row, model.layout))
    anchor = flatten(algorithm.anchor(state, {}), model.layout)
    rule = Rule(algorithm.adjust, {client.name: anchor for client in clients})
    received = {client.name: row for client in clients}
    one, other = (
        [
            flatten(update.tensors, model.layout).tobytes()
            for update, _ in train(model, clients, received, recipe, Round(0, 1, 0), rule=which)
        ]
        for which in (rule, PLAIN)
    )
    assert one == other


@pytest.mark.parametrize("size", [4, 2])
def test_c_stays_the_mean_of_all_c_k(size):
    """Uniform weights: exactly what the paper keeps, also where only some take part."""
    cohorts = draw_cohorts(3, 4, size, 8)
    played = play(
        Scaffold().algorithm, quadratics(4), cohorts, constant(0.03, 5), np.zeros(LAYOUT.size)
    )
    for state, memory in played:
        own = [vector(m["control"]) if m else np.zeros(LAYOUT.size) for m in memory]
        c = vector(state.moments["control"])
        np.testing.assert_allclose(c, np.mean(own, axis=0, dtype=np.float64), atol=5e-6)
        assert np.abs(c).max() > 0.1


def test_with_one_step_c_k_is_the_gradient_of_that_step():
    problems, cohorts = quadratics(3), [[0, 1, 2], [1], [0, 2]]
    before = np.linspace(-1, 1, LAYOUT.size)
    for cohort, (state, memory) in zip(
        cohorts,
        play(Scaffold().algorithm, problems, cohorts, constant(0.1, 1), before),
        strict=True,
    ):
        for k in cohort:
            judge = problems[k].gradient(before.astype(np.float32).astype(np.float64))
            np.testing.assert_allclose(vector(memory[k]["control"]), judge, atol=1e-5)
        before = vector(state.weights)


def test_no_steps_send_nothing_and_change_no_memory():
    algorithm = Scaffold().algorithm
    state = algorithm.first(unflatten(np.zeros(LAYOUT.size, np.float32), LAYOUT))
    c = unflatten(np.ones(LAYOUT.size, np.float32), LAYOUT)
    state = replace(state, moments={"control": c})
    mine = {"control": unflatten(np.full(LAYOUT.size, 3, np.float32), LAYOUT), "other": {}}
    nothing = unflatten(np.zeros(LAYOUT.size, np.float32), LAYOUT)
    for own in (mine, {}):
        sent, after = algorithm.finish(state, own, nothing, Work(()))
        assert not any(value.any() for value in sent.values())
        assert set(sent) == set(algorithm.sent(state))
        expected = vector(own["control"]) if own else np.zeros(LAYOUT.size)
        assert (vector(after["control"]) == expected).all()
        # What else a client remembers stays with it.
        assert set(after) == {"control", *own}


def test_a_servers_own_memory_lies_beside_the_control():
    """The server's momentum must not be taken for c, nor c for a moment of the server's."""
    problems, cohorts = quadratics(3), [[0, 1, 2]] * 4
    algorithm = Scaffold(server=SGD(lr=0.5, momentum=0.5)).algorithm
    start = np.zeros(LAYOUT.size)
    x, m, c = start.copy(), np.zeros(LAYOUT.size), np.zeros(LAYOUT.size)
    c_i = [np.zeros(LAYOUT.size) for _ in problems]
    for state, _ in play(algorithm, problems, cohorts, constant(0.05, 2), start):
        ends = []
        for k, problem in enumerate(problems):
            y = x.copy()
            for _ in range(2):
                y = y - 0.05 * (problem.gradient(y) - c_i[k] + c)
            ends.append(y)
        fresh = [c_i[k] - c + (x - y) / 0.1 for k, y in enumerate(ends)]
        m = 0.5 * m + np.mean(ends, axis=0) - x
        x, c, c_i = x + 0.5 * m, np.mean(fresh, axis=0), fresh
        np.testing.assert_allclose(vector(state.weights), x, atol=2e-5)
        np.testing.assert_allclose(vector(state.moments["control"]), c, atol=2e-5)
        assert set(state.moments) == {"control", "first"}


def optimum(problems):
    return np.linalg.solve(
        sum(p.curvature for p in problems), sum(p.curvature @ p.minimum for p in problems)
    )


def distance_after(algorithm, problems, rounds=150):
    everyone = [list(range(len(problems)))] * rounds
    for state, _ in play(algorithm, problems, everyone, constant(0.05, 10), np.zeros(LAYOUT.size)):
        if not np.abs(vector(state.weights)).max() < 1e3:
            return np.inf
    return np.abs(vector(state.weights) - optimum(problems)).max()


def test_it_finds_the_optimum_where_federated_averaging_does_not():
    problems = quadratics(4)
    assert distance_after(Scaffold().algorithm, problems) < 1e-3
    assert distance_after(FedAvg().algorithm, problems) > 0.1


@pytest.mark.parametrize("factor", [-1, 0])
def test_that_judge_rejects_a_correction_of_the_wrong_sign_or_none(factor):
    right = Scaffold().algorithm

    def anchor(state, own):
        return {n: np.float32(factor) * v for n, v in right.anchor(state, own).items()}

    assert distance_after(replace(right, anchor=anchor), quadratics(4)) > 0.1


def test_the_local_step_is_the_same_on_numpy_and_torch():
    rng = np.random.default_rng(0)
    g, w, anchor = (rng.normal(size=(2, 5)).astype(np.float32) for _ in range(3))
    adjust = Scaffold().algorithm.adjust
    torchs = adjust(*(torch.from_numpy(v) for v in (g, w, anchor)))
    assert (torchs.numpy() == adjust(g, w, anchor)).all()


def test_each_tensor_is_sent_with_its_control_and_a_sum_is_enough():
    algorithm = Scaffold().algorithm
    state = algorithm.first(unflatten(np.zeros(LAYOUT.size, np.float32), LAYOUT))
    doubled = {PREFIX + name: shape for name, shape in LAYOUT.shapes.items()}
    assert algorithm.sent(state) == {**LAYOUT.shapes, **doubled}
    assert algorithm.needs_only_sums
    assert algorithm.weighting == "uniform"


def test_a_state_stays_as_it_was():
    algorithm = Scaffold().algorithm
    state = algorithm.first(unflatten(np.zeros(LAYOUT.size, np.float32), LAYOUT))
    own = {"control": unflatten(np.ones(LAYOUT.size, np.float32), LAYOUT)}
    change = unflatten(np.full(LAYOUT.size, 0.5, np.float32), LAYOUT)
    sent, _ = algorithm.finish(state, own, change, Work((0.1,)))
    round_step(algorithm, state, [Update(sent, "a", 1, 1, 1, 0.0, weight=1)])
    assert not vector(state.weights).any()
    assert not vector(state.moments["control"]).any()
    assert (vector(own["control"]) == 1).all()
