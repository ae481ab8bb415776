"""Federated averaging: its special case, its declarations, its settings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sottovoce.errors import VerificationError
from sottovoce.strategies import Mean, ServerState
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.server_optimizer import SGD, Adam, server_step

ENTRIES = st.lists(
    st.tuples(st.floats(-(2.0**99), 2.0**99, width=32), st.floats(-(2.0**99), 2.0**99, width=32)),
    min_size=1,
    max_size=5,
)


def tensor(*values):
    return {"a": np.array(values, np.float32)}


@given(ENTRIES)
@hypothesis_settings(max_examples=100, deadline=None)
def test_by_default_the_new_weights_are_exactly_weights_plus_mean_update(entries):
    weights, update = (tensor(*column) for column in zip(*entries, strict=True))
    after = FedAvg().algorithm.step(FedAvg().algorithm.first(weights), Mean(update))
    assert after.weights["a"].dtype == np.float32
    assert after.weights["a"].tobytes() == (weights["a"] + update["a"]).tobytes()
    assert after.moments == {}


def test_sgd_at_one_is_federated_averaging():
    assert FedAvg() == FedAvg(server=SGD(lr=1.0, momentum=0.0))
    assert FedAvg.model_validate({"server": {"name": "sgd"}}) == FedAvg()


def test_the_mean_of_the_updates_gives_the_mean_of_the_weights():
    # McMahan et al. average the clients' weights; the two forms are one.
    start, ends, n = np.float32(3.0), np.array([4.0, 1.0, 8.0]), np.array([1, 2, 5])
    mean = tensor((n * (ends - start)).sum() / n.sum())
    after = FedAvg().algorithm.step(FedAvg().algorithm.first(tensor(start)), Mean(mean))
    assert after.weights["a"].tolist() == [(n * ends).sum() / n.sum()]


def test_another_server_optimizer_is_a_setting():
    adam = Adam(lr=0.1)
    strategy = FedAvg(server=adam)
    state = strategy.algorithm.first(tensor(1.0, 2.0))
    once = strategy.algorithm.step(state, Mean(tensor(0.5, -0.5)))
    twice = strategy.algorithm.step(once, Mean(tensor(0.25, 0.0)))
    judge = server_step(adam, server_step(adam, state, tensor(0.5, -0.5)), tensor(0.25, 0.0))
    assert twice.weights["a"].tobytes() == judge.weights["a"].tobytes()
    assert twice.round == 2
    assert set(twice.moments) == {"first", "second"}


def test_the_first_state_is_round_zero_with_nothing_remembered():
    weights = tensor(1.0)
    assert FedAvg().algorithm.first(weights) == ServerState(weights, {}, 0)


@pytest.mark.parametrize(
    "weights", [{"a": np.zeros(1)}, tensor(np.nan), tensor(1.0, -np.inf), {"a": np.zeros(1, int)}]
)
def test_first_weights_must_be_finite_float32(weights):
    with pytest.raises(VerificationError, match=r"tensor 'a'.*Allowed: finite float32"):
        FedAvg().algorithm.first(weights)


def test_the_client_half_is_no_work_and_sums_are_enough():
    assert FedAvg().algorithm.adjust is None
    assert FedAvg().algorithm.needs_only_sums is True
    assert FedAvg().name == "fedavg"


@pytest.mark.parametrize("bad", [{"name": "fedprox"}, {"mu": 1.0}, {"server": {"name": "x"}}])
def test_unknown_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        FedAvg.model_validate(bad)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        FedAvg().server = Adam()
