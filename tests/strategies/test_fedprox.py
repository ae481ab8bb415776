"""FedProx: the gradient of the square, its special case, and what it is taken for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sottovoce.strategies import Mean
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.fedprox import FedProx
from sottovoce.strategies.server_damping import ServerDamping
from sottovoce.strategies.server_optimizer import SGD, Adam

ROWS = st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3)


def tensor(*values):
    return {"a": np.array(values, np.float32)}


@given(ROWS, ROWS, ROWS, st.floats(0.001, 10))
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_local_gradient_is_that_of_the_square(gradient, weights, received, mu):
    """Autograd differentiates the paper's term; a norm without its square would fail here."""
    w = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    w0 = torch.tensor(received, dtype=torch.float64)
    g = torch.tensor(gradient, dtype=torch.float64)
    ((g * w).sum() + mu / 2 * ((w - w0) ** 2).sum()).backward()
    ours = FedProx(mu=mu).algorithm.adjust(g[None], w.detach()[None], w0[None])
    torch.testing.assert_close(ours[0], w.grad, rtol=1e-9, atol=1e-9)


def test_at_zero_it_is_federated_averaging():
    prox = FedProx(mu=0, server=Adam(lr=0.1))
    avg = FedAvg(server=Adam(lr=0.1))
    assert prox.algorithm.adjust is None
    one, other = prox.algorithm.first(tensor(1.0, 2.0)), avg.algorithm.first(tensor(1.0, 2.0))
    for update in (tensor(0.5, -0.5), tensor(0.25, 0.1)):
        one, other = prox.algorithm.step(one, Mean(update)), avg.algorithm.step(other, Mean(update))
    assert one.weights["a"].tobytes() == other.weights["a"].tobytes()
    assert one.moments["second"]["a"].tobytes() == other.moments["second"]["a"].tobytes()


@pytest.mark.parametrize("mu", [-0.1, float("nan"), float("inf")])
def test_a_pull_that_pushes_is_refused(mu):
    with pytest.raises(ValidationError):
        FedProx(mu=mu)


def test_damping_mixes_the_mean_of_the_clients_with_the_weights_before():
    """The essay's line, written out: (1 - mu) * mean + mu * old."""
    old, ends = 3.0, np.array([4.0, 1.0, 8.0])
    update = tensor((ends - old).mean())
    damping = ServerDamping(mu=0.25)
    after = damping.algorithm.step(damping.algorithm.first(tensor(old)), Mean(update))
    assert after.weights["a"][0] == pytest.approx(0.75 * ends.mean() + 0.25 * old, rel=1e-6)
    assert damping.algorithm.adjust is None


def test_damping_at_zero_is_federated_averaging_and_one_is_refused():
    state = FedAvg().algorithm.first(tensor(0.1, -3.7))
    update = tensor(0.3, 1e-8)
    mine = ServerDamping(mu=0).algorithm.step(state, Mean(update)).weights["a"]
    assert (
        mine.tobytes()
        == FedAvg(server=SGD()).algorithm.step(state, Mean(update)).weights["a"].tobytes()
    )
    with pytest.raises(ValidationError):
        ServerDamping(mu=1.0)


def test_both_need_only_sums():
    assert FedProx().algorithm.needs_only_sums
    assert ServerDamping().algorithm.needs_only_sums
