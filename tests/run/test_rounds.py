"""One round: the mean, the record, the order of arrival, the refusals, the memory."""

import dataclasses
import hashlib
import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.aggregate import weighted_mean
from sottovoce.errors import VerificationError
from sottovoce.run.ledger import canonical
from sottovoce.run.rounds import digest, round_step
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.server_optimizer import SGD, Adagrad, Adam, Yogi
from sottovoce.update import Update, l2_norm

SHAPES = {"b": (2, 3), "a": (4,), "s": (), "none": (0, 2)}


def tensors(seed, scale=1.0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(rng.normal(scale=scale, size=shape), np.float32)
        for name, shape in shapes.items()
    }


def update(client, seed, examples=3, **facts):
    values = {"steps": 2, "tokens": 50, "loss": 1.5, **facts}
    return Update(tensors(seed, 0.01), client, examples, **values)


def federation(size=5):
    return [
        update(f"client {i}", i, examples=i + 1, steps=i, tokens=10 * i, loss=i / 7)
        for i in range(size)
    ]


def bits(state):
    return {
        (which, name): value.tobytes()
        for which, kept in {"weights": state.weights, **state.moments}.items()
        for name, value in kept.items()
    }


def test_the_weights_move_by_the_weighted_mean():
    state, updates = FedAvg().algorithm.first(tensors(100)), federation()
    after, _ = round_step(FedAvg().algorithm, state, updates)
    mean = weighted_mean(updates)
    for name, value in state.weights.items():
        decoded = mean[name].astype(np.float32)
        np.testing.assert_allclose(after.weights[name], value + decoded, rtol=0, atol=2.0**-22)
        assert after.weights[name].dtype == np.float32
        assert after.weights[name].shape == value.shape
    assert after.round == 1


def test_the_record_holds_the_public_facts_in_the_order_of_names():
    updates = [
        update("zoë", 1, 4, steps=3, tokens=70, loss=2.0),
        update("anna", 2, 1, steps=0, tokens=0, loss=0.0),
        update("Bo", 3, 2, steps=1, tokens=30, loss=0.5),
    ]
    state = dataclasses.replace(FedAvg().algorithm.first(tensors(0)), round=6)
    after, record = round_step(FedAvg().algorithm, state, updates)
    assert record.round == 6
    assert record.clients == ("Bo", "anna", "zoë")
    assert record.examples == (2, 1, 4)
    assert record.steps == (1, 0, 3)
    assert record.tokens == (30, 0, 70)
    # Anna took no step and has no loss: (2·0.5 + 4·2.0) / 6.
    assert record.loss == 1.5
    assert record.weights_sha256 == digest(after.weights)
    assert record.update_norm == pytest.approx(
        l2_norm({n: v.astype(np.float32) for n, v in weighted_mean(updates).items()}), rel=1e-6
    )


def test_a_record_is_plain_json():
    _, record = round_step(FedAvg().algorithm, FedAvg().algorithm.first(tensors(0)), federation())
    payload = dataclasses.asdict(record)
    assert json.loads(canonical(payload))["clients"] == list(record.clients)


def test_a_round_without_a_step_has_no_loss():
    idle = [update("a", 1, steps=0, loss=0.0), update("b", 2, examples=0, steps=1)]
    _, record = round_step(FedAvg().algorithm, FedAvg().algorithm.first(tensors(0)), idle)
    assert record.loss is None


STRATEGIES = st.sampled_from(
    [FedAvg(), *(FedAvg(server=s) for s in (SGD(lr=0.5, momentum=0.9), Adam(), Yogi(), Adagrad()))]
)


@given(STRATEGIES, st.permutations(range(6)), st.permutations(range(6)), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_order_of_arrival_and_of_names_changes_no_bit(strategy, first, second, reverse):
    state = other = strategy.algorithm.first(tensors(100))
    updates = federation(6)
    if reverse:
        other = strategy.algorithm.first(dict(reversed(state.weights.items())))
    for order in (first, second):
        state, record = round_step(strategy.algorithm, state, updates)
        other, again = round_step(
            strategy.algorithm, other, iter([updates[place] for place in order])
        )
        assert bits(state) == bits(other)
        assert record == again
    assert state.round == other.round == 2


def test_a_round_is_a_pure_function():
    strategy = FedAvg(server=Adam())
    state, _ = round_step(strategy.algorithm, strategy.algorithm.first(tensors(100)), federation())
    before = bits(state)
    once, record = round_step(strategy.algorithm, state, federation())
    again, same = round_step(strategy.algorithm, state, federation())
    assert (bits(once), record) == (bits(again), same)
    assert (bits(state), state.round) == (before, 1)


def test_one_client_moves_the_weights_by_its_own_update():
    state, only = FedAvg().algorithm.first(tensors(100)), update("only", 1, examples=4)
    after, record = round_step(FedAvg().algorithm, state, [only])
    for name, value in state.weights.items():
        # The update comes back to within 2^-33 / n_k and the half unit of float32.
        exact = value + only.tensors[name]
        np.testing.assert_allclose(after.weights[name], exact, rtol=2.0**-23, atol=2.0**-33)
    assert record.loss == only.loss


def test_identical_clients_move_the_weights_as_one_does():
    # Equal weights, a power of two of clients: the mean of the sum is the same number.
    state = FedAvg().algorithm.first(tensors(100))
    one, _ = round_step(FedAvg().algorithm, state, [update("a", 1)])
    four, _ = round_step(FedAvg().algorithm, state, [update(name, 1) for name in "abcd"])
    assert bits(one) == bits(four)


def test_a_client_without_examples_changes_nothing():
    state = FedAvg().algorithm.first(tensors(100))
    without, _ = round_step(FedAvg().algorithm, state, [update("a", 1)])
    with_it, record = round_step(
        FedAvg().algorithm, state, [update("a", 1), update("b", 2, examples=0)]
    )
    assert bits(without) == bits(with_it)
    assert record.examples == (3, 0)


# Refusals


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ([], "no client delivered in round 0.*start the round again"),
        ([update("a", 1), update("a", 2)], "'a' delivered twice in round 0"),
        ([update("a", 1, examples=0)], "weights of all clients sum to 0"),
        ([update("a", 1, examples=-1)], "client 'a' has weight -1"),
        ([update("a", 1, loss=float("nan"))], "client 'a' reports the loss nan"),
        ([update("a", 1, loss=float("inf"))], "client 'a' reports the loss inf"),
    ],
)
def test_a_round_that_cannot_be_closed_raises(updates, message):
    with pytest.raises(VerificationError, match=message):
        round_step(FedAvg().algorithm, FedAvg().algorithm.first(tensors(0)), updates)


def test_tensors_that_are_not_the_weights_raise():
    state = FedAvg().algorithm.first(tensors(0))
    for shapes in ({"a": (4,)}, {**SHAPES, "b": (3, 2)}, {**SHAPES, "more": (1,)}):
        with pytest.raises(VerificationError):
            round_step(
                FedAvg().algorithm, state, [Update(tensors(1, shapes=shapes), "a", 1, 1, 1, 0.0)]
            )


def test_a_value_that_is_not_finite_names_client_and_tensor():
    bad = update("rome", 1)
    bad.tensors["b"][1, 1] = np.nan
    with pytest.raises(VerificationError, match=r"'b' of client 'rome' .* not finite"):
        round_step(FedAvg().algorithm, FedAvg().algorithm.first(tensors(0)), [update("a", 1), bad])


def test_a_sum_that_does_not_fit_raises():
    state = FedAvg().algorithm.first({"a": np.zeros(1, np.float32)})
    huge = [
        Update({"a": np.array([1.5e9], np.float32)}, client, 1, 1, 1, 0.0) for client in ("x", "y")
    ]
    with pytest.raises(VerificationError, match="sum of tensor 'a' does not fit"):
        round_step(FedAvg().algorithm, state, huge)
    round_step(FedAvg().algorithm, state, huge[:1])


# Memory


def peak_bytes(clients, size):
    state = FedAvg().algorithm.first(
        {"a": np.zeros(size, np.float32), "b": np.zeros(size, np.float32)}
    )

    def arriving():
        for place in range(clients):
            one = {name: np.full(size, place, np.float32) for name in "ab"}
            yield Update(one, f"{place}", 1, 1, 1, 0.0)

    tracemalloc.start()
    round_step(FedAvg().algorithm, state, arriving())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_clients():
    assert peak_bytes(48, 30_000) <= peak_bytes(3, 30_000) * 1.05


# The digest


def test_the_digest_is_the_hash_of_the_form_that_its_docstring_describes():
    values = {"é": np.array([[1.5, -2.0]], np.float32), "a": np.array(0.25, np.float32)}
    expected = hashlib.sha256(
        struct.pack(">Q", 2)
        + struct.pack(">QQ", 1, 0)
        + b"a"
        + struct.pack("<f", 0.25)
        + struct.pack(">QQQQ", 2, 2, 1, 2)
        + "é".encode()
        + struct.pack("<2f", 1.5, -2.0)
    ).hexdigest()
    assert digest(values) == expected


def test_the_digest_ignores_order_and_memory_layout():
    values = tensors(1)
    other = {name: np.asfortranarray(v) if v.ndim else v for name, v in reversed(values.items())}
    other["a"] = np.repeat(values["a"], 2)[::2]
    assert digest(other) == digest(values)


def test_the_digest_tells_every_difference():
    one = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(0, np.float32)}
    flipped = one["a"].copy()
    flipped.view(np.uint32)[1, 2] = 1
    others = [
        {**one, "a": flipped},
        {**one, "a": -one["a"]},
        {**one, "a": one["a"].reshape(3, 2)},
        {**one, "a": one["a"].ravel()},
        {**one, "b": np.zeros((0, 1), np.float32)},
        {"a": one["a"]},
        {"a": one["a"], "c": one["b"]},
        {"a": one["b"], "b": one["a"]},
        {},
    ]
    assert len({digest(one), *(digest(other) for other in others)}) == 1 + len(others)


def test_the_digest_takes_float32_alone():
    with pytest.raises(VerificationError, match="float64"):
        digest({"a": np.zeros(1)})
