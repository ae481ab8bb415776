"""Server optimizers: the paper's lines written out slowly, numbers by hand, and torch as judge."""

from math import copysign, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sottovoce.errors import VerificationError
from sottovoce.strategies import ServerState
from sottovoce.strategies.server_optimizer import (
    SGD,
    Adagrad,
    Adam,
    ServerOptimizer,
    Yogi,
    apply,
    server_step,
)

RATES = st.floats(1e-3, 2.0)
DECAYS = st.floats(0.0, 0.95)
TAUS = st.floats(1e-3, 1.0)
OPTIMIZERS = st.one_of(
    st.builds(SGD, lr=RATES, momentum=DECAYS),
    st.builds(Adam, lr=RATES, beta1=DECAYS, beta2=DECAYS, tau=TAUS),
    st.builds(Yogi, lr=RATES, beta1=DECAYS, beta2=DECAYS, tau=TAUS),
    st.builds(Adagrad, lr=RATES, beta1=DECAYS, tau=TAUS),
)
UPDATES = st.lists(st.floats(-8.0, 8.0, width=32), min_size=1, max_size=6)


def tensor(*values):
    return {"a": np.array(values, np.float32)}


def run(optimizer, updates):
    """The changes of one single weight over several rounds."""
    moments, changes = {}, []
    for update in updates:
        change, moments = apply(optimizer, moments, tensor(update))
        changes.append(float(change["a"][0]))
    return changes


def paper(optimizer, updates):
    """Algorithm 2 of Reddi et al. 2021 for one weight, line by line, in Python's floats."""
    if isinstance(optimizer, SGD):
        m, changes = 0.0, []
        for delta in updates:
            m = optimizer.momentum * m + delta
            changes.append(optimizer.lr * m)
        return changes
    m, v, changes = 0.0, optimizer.tau**2, []
    for delta in updates:
        m = optimizer.beta1 * m + (1 - optimizer.beta1) * delta
        if isinstance(optimizer, Adagrad):
            v = v + delta**2
        elif isinstance(optimizer, Yogi):
            difference = v - delta**2
            sign = copysign(1.0, difference) if difference else 0.0
            v = v - (1 - optimizer.beta2) * delta**2 * sign
        else:
            v = optimizer.beta2 * v + (1 - optimizer.beta2) * delta**2
        changes.append(optimizer.lr * m / (sqrt(v) + optimizer.tau))
    return changes


@given(OPTIMIZERS, UPDATES)
@hypothesis_settings(max_examples=150, deadline=None)
def test_every_optimizer_follows_the_paper_line_by_line(optimizer, updates):
    if isinstance(optimizer, Yogi):
        # At v = Δ² the sign jumps, and float32 may stand on the other side of it; these updates
        # stay clear of that, above v and below it in turn.
        updates = [
            u if place % 2 else u + 64.0 * 4 ** (place // 2) for place, u in enumerate(updates)
        ]
    np.testing.assert_allclose(
        run(optimizer, updates), paper(optimizer, updates), rtol=2e-4, atol=2e-5
    )


def test_two_steps_by_hand():
    # SGD: m = 1, then 0.5·1 + 3 = 3.5; twice that.
    assert run(SGD(lr=2.0, momentum=0.5), [1.0, 3.0]) == [2.0, 7.0]
    # Adam: m = 0.5, v = 0.5·1 + 0.5·1 = 1; then m = 3.75, v = 0.5 + 24.5 = 25.
    adam = Adam(lr=1.0, beta1=0.5, beta2=0.5, tau=1.0)
    assert run(adam, [1.0, 7.0]) == [0.5 / 2, 3.75 / 6]
    # Yogi: v = 1 = Δ² stays; then 1 < 16, so v = 1 + 0.5·16 = 9 and m = 0.25 + 2.
    yogi = Yogi(lr=1.0, beta1=0.5, beta2=0.5, tau=1.0)
    assert run(yogi, [1.0, 4.0]) == [0.5 / 2, 2.25 / 4]
    # Adagrad: v = 1 + 0.5625 = 1.25²; then 1.5625 + 9 = 3.25².
    adagrad = Adagrad(lr=1.0, tau=1.0)
    assert run(adagrad, [0.75, 3.0]) == pytest.approx([0.75 / 2.25, 3 / 4.25], rel=1e-7)


def test_yogi_shrinks_the_second_moment_where_the_square_is_smaller():
    before = {"first": tensor(2.0), "second": tensor(6.0)}
    change, after = apply(Yogi(lr=1.0, beta1=0.5, beta2=0.5, tau=1.0), before, tensor(2.0))
    assert after["second"]["a"].tolist() == [4.0]
    assert change["a"].tolist() == pytest.approx([2.0 / 3.0])


def through_torch(make, updates, each_step=lambda optimizer, step: None):
    """The changes that a torch optimizer makes when it is handed -Δ as the gradient."""
    weight = torch.nn.Parameter(torch.zeros(updates.shape[1]))
    optimizer = make([weight])
    changes = []
    for step, delta in enumerate(updates, 1):
        each_step(optimizer, step)
        before = weight.detach().clone()
        weight.grad = -torch.from_numpy(delta)
        optimizer.step()
        changes.append((weight.detach() - before).numpy())
        weight.data.zero_()
    return np.array(changes)


def through_ours(optimizer, updates):
    moments, changes = {}, []
    for delta in updates:
        change, moments = apply(optimizer, moments, {"a": delta})
        changes.append(change["a"])
    return np.array(changes)


@pytest.fixture
def deltas():
    return np.random.default_rng(3).normal(size=(6, 20)).astype(np.float32)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_equals_torch(deltas, momentum):
    theirs = through_torch(lambda w: torch.optim.SGD(w, lr=0.3, momentum=momentum), deltas)
    np.testing.assert_allclose(
        through_ours(SGD(lr=0.3, momentum=momentum), deltas), theirs, rtol=1e-6, atol=1e-7
    )


def test_adagrad_equals_torch_with_the_accumulator_at_tau_squared(deltas):
    theirs = through_torch(
        lambda w: torch.optim.Adagrad(w, lr=0.3, initial_accumulator_value=0.01, eps=0.1), deltas
    )
    ours = through_ours(Adagrad(lr=0.3, tau=0.1), deltas)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_adagrad_at_torchs_defaults_differs_by_tau_alone(deltas):
    # Torch starts at 0 and adds 1e-10, so its first step is lr·sign; a tau of 0.1 shortens it.
    theirs = through_torch(lambda w: torch.optim.Adagrad(w, lr=0.3), deltas)
    np.testing.assert_allclose(theirs[0], 0.3 * np.sign(deltas[0]), rtol=1e-5)
    ours = through_ours(Adagrad(lr=0.3, tau=0.1), deltas)
    assert (np.abs(ours[0]) < np.abs(theirs[0])).all()
    np.testing.assert_allclose(
        through_ours(Adagrad(lr=0.3, tau=1e-10), deltas), theirs, rtol=1e-5, atol=1e-7
    )


def test_adam_equals_torch_once_its_bias_correction_is_undone(deltas):
    lr, beta1, beta2, tau = 0.3, 0.9, 0.99, 0.05

    def undo(optimizer, step):
        # Torch moves by lr/(1 - β1^t)·m / (√v/√(1 - β2^t) + eps).
        second = sqrt(1 - beta2**step)
        group = optimizer.param_groups[0]
        group["lr"], group["eps"] = lr * (1 - beta1**step) / second, tau / second
        if step == 1:
            (weight,) = group["params"]
            optimizer.state[weight] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.full_like(weight, tau**2),
            }

    theirs = through_torch(lambda w: torch.optim.Adam(w, betas=(beta1, beta2)), deltas, undo)
    ours = through_ours(Adam(lr=lr, beta1=beta1, beta2=beta2, tau=tau), deltas)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


def test_adam_without_correction_is_not_torchs_adam(deltas):
    # The comparison above must be able to tell the two apart.
    theirs = through_torch(lambda w: torch.optim.Adam(w, lr=0.3, betas=(0.9, 0.99)), deltas)
    assert np.abs(through_ours(Adam(lr=0.3), deltas) - theirs).max() > 0.01


def test_plain_sgd_returns_the_update_bit_for_bit_and_keeps_nothing():
    update = tensor(1e-42, -0.0, 3.4e38, -1.1, 0.0)
    change, moments = apply(SGD(lr=1.0), {}, update)
    assert change["a"].tobytes() == update["a"].tobytes()
    assert moments == {}


@pytest.mark.parametrize(
    ("optimizer", "kept"),
    [
        (SGD(), set()),
        (SGD(momentum=0.9), {"first"}),
        (Adam(), {"first", "second"}),
        (Yogi(), {"first", "second"}),
        (Adagrad(), {"second"}),
        (Adagrad(beta1=0.5), {"first", "second"}),
    ],
)
def test_an_optimizer_keeps_only_the_moments_that_it_reads(optimizer, kept):
    _, moments = apply(optimizer, {}, tensor(1.0))
    assert set(moments) == kept
    again, _ = apply(optimizer, moments, tensor(1.0))
    assert np.isfinite(again["a"]).all()


@given(OPTIMIZERS)
@hypothesis_settings(max_examples=40, deadline=None)
def test_entries_never_meet_all_is_float32_and_arguments_stay(optimizer):
    rng = np.random.default_rng(1)
    rounds = [
        {"a": rng.normal(size=(2, 3)).astype(np.float32), "s": np.array(0.5, np.float32)}
        for _ in range(3)
    ]
    moments = {}
    for update in rounds:
        copies = {name: value.copy() for name, value in update.items()}
        old = {
            which: {name: value.copy() for name, value in tensors.items()}
            for which, tensors in moments.items()
        }
        change, after = apply(optimizer, moments, update)
        for name, value in copies.items():
            assert update[name].tobytes() == value.tobytes()
            assert change[name].shape == value.shape
            for tensors in (change, *after.values()):
                assert isinstance(tensors[name], np.ndarray)
                assert tensors[name].dtype == np.float32
            for which, tensors in old.items():
                assert moments[which][name].tobytes() == tensors[name].tobytes()
        moments = after
    entry = run(optimizer, [float(update["a"][1, 2]) for update in rounds])
    assert entry[-1] == pytest.approx(float(change["a"][1, 2]), rel=1e-6, abs=1e-9)


def test_moments_of_another_optimizer_or_of_other_tensors_are_refused():
    _, moments = apply(SGD(momentum=0.5), {}, tensor(1.0))
    with pytest.raises(VerificationError, match=r"\['first'\].*\['first', 'second'\] for adam"):
        apply(Adam(), moments, tensor(1.0))
    with pytest.raises(VerificationError):
        apply(SGD(momentum=0.5), moments, tensor(1.0, 2.0))
    with pytest.raises(VerificationError):
        apply(SGD(), moments, tensor(1.0))


def test_a_step_moves_the_weights_and_counts_the_round():
    state = ServerState(tensor(1.0, 2.0), {}, 0)
    after = server_step(SGD(lr=0.5), state, tensor(4.0, -2.0))
    assert after.weights["a"].tolist() == [3.0, 1.0]
    assert after.round == 1
    assert (state.weights["a"].tolist(), state.round) == ([1.0, 2.0], 0)


def test_a_step_refuses_other_tensors_than_the_weights():
    state = ServerState(tensor(1.0, 2.0), {}, 0)
    for update in (tensor(1.0), {"b": tensor(1.0, 2.0)["a"]}):
        with pytest.raises(VerificationError):
            server_step(SGD(), state, update)


def test_a_later_round_without_its_moments_is_refused():
    with pytest.raises(VerificationError, match="after 3 rounds holds no moments"):
        server_step(Adam(), ServerState(tensor(1.0), {}, 3), tensor(1.0))
    server_step(SGD(), ServerState(tensor(1.0), {}, 3), tensor(1.0))


@pytest.mark.parametrize("optimizer", [SGD(lr=10.0), Adam(), Adagrad(), Yogi()])
def test_a_result_beyond_float32_is_refused(optimizer):
    with pytest.raises(VerificationError, match=r"is not finite after round 0.*Lower"):
        server_step(optimizer, ServerState(tensor(0.0), {}, 0), tensor(3e38))


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "sgd", "lr": 0.0},
        {"name": "sgd", "lr": float("inf")},
        {"name": "sgd", "momentum": 1.0},
        {"name": "sgd", "beta1": 0.5},
        {"name": "adam", "beta2": 1.0},
        {"name": "yogi", "tau": 0.0},
        {"name": "adagrad", "beta2": 0.5},
        {"name": "lamb"},
    ],
)
def test_settings_that_mean_nothing_are_refused(bad):
    with pytest.raises(ValidationError):
        TypeAdapter(ServerOptimizer).validate_python(bad)


@pytest.mark.parametrize("optimizer", [SGD(lr=0.5), Adam(), Yogi(tau=0.1), Adagrad()])
def test_settings_are_values_that_survive_json(optimizer):
    assert TypeAdapter(ServerOptimizer).validate_json(optimizer.model_dump_json()) == optimizer
    with pytest.raises(ValidationError):
        optimizer.lr = 1.0
