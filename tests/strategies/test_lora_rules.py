"""Rules for the two factors of an adapter: whose product is the mean of the products, and whose not.

The judge is one line of float64: Σ p_k·B_k·A_k over clients that drifted apart at random.
"""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sottovoce.errors import VerificationError
from sottovoce.model.base import LoraSettings
from sottovoce.run.contribute import on_base
from sottovoce.run.rounds import round_step
from sottovoce.strategies import Work, factors
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.fedex import FedEx
from sottovoce.strategies.fedper import FedPer
from sottovoce.strategies.fedsa import FedSA
from sottovoce.strategies.fedsvd import FedSVD, orthonormal
from sottovoce.strategies.ffa import FFA
from sottovoce.strategies.flora import FLoRA
from sottovoce.strategies.rolora import RoLoRA
from sottovoce.strategies.scaffold import Scaffold
from sottovoce.strategies.server_optimizer import SGD, Adam
from sottovoce.train import score
from sottovoce.update import Update, flatten, unflatten

RANK = 4
LAYERS = {"deep.0.q": (7, 11), "deep.1.down": (13, 5), "deep.1.q": (7, 11)}
"""Name to (d_in, d_out): wide, tall, and one with the shape of another."""

A = {layer: f"{layer}.lora_A.weight" for layer in LAYERS}
B = {layer: f"{layer}.lora_B.weight" for layer in LAYERS}
RESIDUAL = {layer: f"{layer}.residual.weight" for layer in LAYERS}
EXAMPLES = (5, 1, 3, 8)


def starting_weights(seed=0, zero_b=True):
    rng = np.random.default_rng(seed)
    weights = {}
    for layer, (d_in, d_out) in LAYERS.items():
        weights[A[layer]] = rng.normal(0, 0.5, (RANK, d_in)).astype(np.float32)
        weights[B[layer]] = (
            np.zeros((d_out, RANK), np.float32)
            if zero_b
            else rng.normal(0, 0.5, (d_out, RANK)).astype(np.float32)
        )
    return weights


def drifted(algorithm, state, seed, drift=0.5):
    """What each client holds after training: random, far apart, only where it trains."""
    found = []
    for k in range(len(EXAMPLES)):
        rng = np.random.default_rng([seed, k])
        found.append(
            {
                name: (w + rng.normal(0, drift, w.shape)).astype(np.float32)
                if algorithm.trains(name, state.round)
                else w
                for name, w in state.weights.items()
            }
        )
    return found


def updates_of(algorithm, state, held):
    updates = []
    for k, weights in enumerate(held):
        change = {
            name: weights[name] - state.weights[name]
            for name in weights
            if algorithm.trains(name, state.round) and not algorithm.private(name)
        }
        sent, _ = algorithm.finish(state, {}, change, Work((0.1,)))
        updates.append(Update(sent, f"client {k}", EXAMPLES[k], 1, 1, 0.0))
    return updates


def effective(weights, residual, layer):
    """What is added to the base model's own weight, but for the scaling."""
    product = weights[B[layer]].astype(np.float64) @ weights[A[layer]].astype(np.float64)
    return product + (residual[RESIDUAL[layer]].astype(np.float64) if residual else 0)


def mean_effective(held, residual, layer):
    total = sum(EXAMPLES)
    return sum(
        n / total * effective(weights, residual, layer)
        for n, weights in zip(EXAMPLES, held, strict=True)
    )


def rounds(algorithm, count, drift=0.5, zero_b=True, seed=0):
    """Yields state, what the clients hold, and the state after, round for round."""
    state = algorithm.first(starting_weights(seed, zero_b=zero_b))
    for index in range(count):
        held = drifted(algorithm, state, index, drift)
        after, _ = round_step(algorithm, state, updates_of(algorithm, state, held))
        yield state, held, after
        state = after


def errors(algorithm, count=4, **options):
    """How far each round's product lies from the mean of the products, relative to that."""
    found = []
    for state, held, after in rounds(algorithm, count, **options):
        for layer in LAYERS:
            judge = mean_effective(held, state.residual, layer)
            ours = effective(after.weights, after.residual, layer)
            found.append(np.linalg.norm(ours - judge) / np.linalg.norm(judge))
    return found


EXACT = [FFA(), RoLoRA(), FedSVD(), FLoRA(), FedEx()]


def named(strategy):
    return strategy.name


@pytest.mark.parametrize("zero_b", [True, False])
@pytest.mark.parametrize("strategy", EXACT, ids=named)
def test_the_product_after_a_round_is_the_mean_of_the_products(strategy, zero_b):
    assert max(errors(strategy.algorithm, zero_b=zero_b)) < 1e-6


def test_that_judge_rejects_the_mean_of_the_factors():
    fedit = FedAvg(name="fedit").algorithm
    assert min(errors(fedit)) > 1e-2
    # It is drift that does it: clients that stay together have an exact mean.
    assert max(errors(fedit, drift=1e-5, zero_b=False)) < 1e-6


@pytest.mark.parametrize("strategy", EXACT, ids=named)
def test_many_rounds_do_not_let_the_error_grow(strategy):
    assert max(errors(strategy.algorithm, count=25)[-4:]) < 1e-6


@pytest.mark.parametrize(
    "strategy", [*EXACT, FedAvg(name="fedit"), FedSA(), FFA(server=Adam())], ids=named
)
@given(order=st.permutations(range(len(EXAMPLES))))
@hypothesis_settings(max_examples=6, deadline=None)
def test_the_order_of_clients_changes_no_bit(strategy, order):
    algorithm = strategy.algorithm
    state = other = algorithm.first(starting_weights(zero_b=False))
    for index in range(2):
        updates = updates_of(algorithm, state, drifted(algorithm, state, index))
        state, record = round_step(algorithm, state, updates)
        other, again = round_step(algorithm, other, [updates[place] for place in order])
        assert record == again
        for one, two in ((state.weights, other.weights), (state.residual, other.residual)):
            assert {n: v.tobytes() for n, v in one.items()} == {
                n: v.tobytes() for n, v in two.items()
            }


@pytest.mark.parametrize(
    ("strategy", "enough"),
    [(FedEx(), False), (FLoRA(), False)]
    + [(s, True) for s in (FFA(), RoLoRA(), FedSVD(), FedSA(), FedAvg(), Scaffold())],
)
def test_who_needs_only_sums(strategy, enough):
    """What a rule that needs no single update declares: its server half is the same for any split.

    Two clients whose weighted sum is that of a third pair leave the same state.
    """
    algorithm = strategy.algorithm
    assert algorithm.needs_only_sums is enough
    state = algorithm.first(starting_weights(zero_b=False))
    shapes = algorithm.sent(state)
    rng = np.random.default_rng(0)
    # Small dyadic numbers: their sums are exact.
    mean, apart = (
        {n: rng.integers(-8, 8, s).astype(np.float32) / 16 for n, s in shapes.items()}
        for _ in range(2)
    )
    ends = []
    for factor in (0, 1):
        pair = [
            Update(
                {n: mean[n] + sign * factor * apart[n] for n in shapes},
                f"{sign}", 1, 1, 1, 0.0,
            )
            for sign in (1, -1)
        ]  # fmt: skip
        after, _ = round_step(algorithm, state, pair)
        ends.append({n: v.tobytes() for n, v in {**after.weights, **after.residual}.items()})
    assert (ends[0] == ends[1]) is enough


# Which factor travels


def test_ffa_never_sends_or_changes_a():
    algorithm = FFA(server=Adam(lr=0.1)).algorithm
    first = starting_weights()
    for state, held, after in rounds(algorithm, 3):
        assert set(algorithm.sent(state)) == set(B.values())
        for name in A.values():
            assert after.weights[name].tobytes() == first[name].tobytes()
        assert any((after.weights[name] != state.weights[name]).any() for name in B.values())
        tensors = {n: v - state.weights[n] for n, v in held[0].items()}
        with pytest.raises(VerificationError, match="lora_A"):
            round_step(algorithm, state, [Update(tensors, "with A", 1, 1, 1, 0.0)])


@pytest.mark.parametrize("kind", [FFA, FedSA, partial(FedPer, private=("*deep.1.*",))])
def test_the_server_goes_as_far_as_its_own_optimizer_says(kind):
    """Half the way at half the rate, for what is shared; no mean is needed to see that."""
    whole, half = kind().algorithm, kind(server=SGD(lr=0.5)).algorithm
    state = whole.first(starting_weights(zero_b=False))
    updates = updates_of(whole, state, drifted(whole, state, 0))
    ends = [round_step(algorithm, state, updates)[0].weights for algorithm in (whole, half)]
    for name, before in state.weights.items():
        moved, halfway = (end[name] - before for end in ends)
        assert (name in whole.sent(state)) is bool(moved.any())
        np.testing.assert_allclose(halfway, moved / 2, atol=1e-6)


def test_rolora_takes_turns_and_begins_with_b():
    algorithm = RoLoRA().algorithm
    for index, (state, _, after) in enumerate(rounds(algorithm, 4)):
        moving, staying = (A, B) if index % 2 else (B, A)
        assert set(algorithm.sent(state)) == set(moving.values())
        for name in staying.values():
            assert after.weights[name].tobytes() == state.weights[name].tobytes()
        for name in moving.values():
            assert (after.weights[name] != state.weights[name]).any()


def test_fedsvd_sends_b_alone():
    algorithm = FedSVD().algorithm
    for state, _, _ in rounds(algorithm, 2):
        assert set(algorithm.sent(state)) == set(B.values())


@pytest.mark.parametrize("strategy", [FedEx(), FLoRA(), FedAvg(name="fedit")], ids=named)
def test_both_factors_are_sent(strategy):
    algorithm = strategy.algorithm
    state = algorithm.first(starting_weights())
    assert set(algorithm.sent(state)) == {*A.values(), *B.values()}


# FedSVD


def identity_error(a):
    a = a.astype(np.float64)
    return np.abs(a @ a.T - np.eye(len(a))).max()


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(4, 9), st.integers(4, 9))
@hypothesis_settings(max_examples=40, deadline=None)
def test_turning_keeps_the_product_and_makes_a_orthonormal(seed, rank, d_in, d_out):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rank, d_in)).astype(np.float32)
    b = (rng.normal(size=(d_out, rank)) * 10.0 ** rng.uniform(-2, 2, rank)).astype(np.float32)
    turned_a, turned_b = orthonormal(a, b)
    assert (turned_a.shape, turned_b.shape) == (a.shape, b.shape)
    assert turned_a.dtype == turned_b.dtype == np.float32
    product = b.astype(np.float64) @ a.astype(np.float64)
    after = turned_b.astype(np.float64) @ turned_a.astype(np.float64)
    assert np.linalg.norm(after - product) < 1e-6 * np.linalg.norm(product)
    assert identity_error(turned_a) < 1e-6
    # Vᵀ and U·S of the product itself, which is never formed: the same singular values, in order.
    singular = np.linalg.svd(product, compute_uv=False)[:rank]
    lengths = np.linalg.norm(turned_b.astype(np.float64), axis=0)
    np.testing.assert_allclose(lengths, singular, rtol=1e-5, atol=1e-5 * singular[0])


def test_a_product_of_lower_rank_still_gets_an_orthonormal_a():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 6)).astype(np.float32)
    b = np.zeros((5, 3), np.float32)
    b[:, 1] = rng.normal(size=5)
    turned_a, turned_b = orthonormal(a, b)
    assert identity_error(turned_a) < 1e-6
    np.testing.assert_allclose(turned_b @ turned_a, b @ a, atol=1e-6)


def test_a_product_of_zero_stays_as_it_is():
    a, b = np.ones((2, 3), np.float32), np.zeros((4, 2), np.float32)
    turned_a, turned_b = orthonormal(a, b)
    assert turned_a.tobytes() == a.tobytes()
    assert turned_b.tobytes() == b.tobytes()


def test_after_every_round_of_fedsvd_a_is_orthonormal():
    for state, _, after in rounds(FedSVD().algorithm, 4):
        for layer in LAYERS:
            assert identity_error(after.weights[A[layer]]) < 1e-6
            assert state.round or identity_error(state.weights[A[layer]]) > 0.1


def test_fedsvd_waits_for_a_b_that_is_not_zero():
    algorithm = FedSVD().algorithm
    state = algorithm.first(starting_weights())
    nothing = {name: np.zeros_like(state.weights[name]) for name in B.values()}
    after, _ = round_step(algorithm, state, [Update(nothing, "idle", 1, 0, 0, 0.0)])
    assert all(after.weights[n].tobytes() == v.tobytes() for n, v in state.weights.items())


@pytest.mark.parametrize(("d_in", "d_out"), [(3, 9), (9, 3), (3, 3)])
def test_a_rank_above_the_layers_size_keeps_shapes_and_product(d_in, d_out):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(RANK, d_in)).astype(np.float32)
    b = rng.normal(size=(d_out, RANK)).astype(np.float32)
    turned_a, turned_b = orthonormal(a, b)
    assert (turned_a.shape, turned_b.shape) == (a.shape, b.shape)
    np.testing.assert_allclose(turned_b @ turned_a, b @ a, atol=1e-5)


# FLoRA


def stacked(held, layer, ranks=None):
    """The table's own lines: A = [p_1·A_1; …; p_K·A_K], B = [B_1, …, B_K], and their product."""
    p = np.array(EXAMPLES) / sum(EXAMPLES)
    ranks = ranks or [RANK] * len(held)
    a = np.concatenate(
        [
            p_k * weights[A[layer]][:rank].astype(np.float64)
            for p_k, rank, weights in zip(p, ranks, held, strict=True)
        ]
    )
    b = np.concatenate(
        [
            weights[B[layer]][:, :rank].astype(np.float64)
            for rank, weights in zip(ranks, held, strict=True)
        ],
        axis=1,
    )
    assert a.shape[0] == b.shape[1] == sum(ranks)
    return b @ a


def test_flora_merges_the_product_of_the_stack():
    for state, held, after in rounds(FLoRA().algorithm, 3):
        for layer in LAYERS:
            grown = after.residual[RESIDUAL[layer]].astype(np.float64)
            grown -= state.residual[RESIDUAL[layer]]
            np.testing.assert_allclose(grown, stacked(held, layer), atol=2e-6)


def test_flora_stacks_adapters_of_unequal_rank():
    """A client of rank r sends the first r rows of A and columns of B, and zeros."""
    algorithm, ranks = FLoRA().algorithm, (4, 1, 3, 2)
    state = algorithm.first(starting_weights())
    for index in range(3):
        held, updates = [], []
        for k, (weights, rank) in enumerate(
            zip(drifted(algorithm, state, index), ranks, strict=True)
        ):
            for layer in LAYERS:
                weights[A[layer]][rank:] = 0
                weights[B[layer]][:, rank:] = 0
            start = {
                n: np.where(factors.held(n, v.shape, rank), v, 0) for n, v in state.weights.items()
            }
            change = {n: np.float32(weights[n] - start[n]) for n in weights}
            facts = {"rank": None if rank == RANK else rank}
            updates.append(Update(change, f"{k}", EXAMPLES[k], 1, 1, 0.0, **facts))
            held.append(weights)
        after, _ = round_step(algorithm, state, updates)
        for layer in LAYERS:
            grown = after.residual[RESIDUAL[layer]].astype(np.float64)
            grown -= state.residual[RESIDUAL[layer]]
            np.testing.assert_allclose(grown, stacked(held, layer, ranks), atol=2e-6)
        state = after


def test_flora_begins_anew_after_every_round():
    draws, scaled = [], []
    for seed in (0, 0, 1):
        for state, _, after in rounds(FLoRA().algorithm, 2, seed=seed):
            for layer, (d_in, _) in LAYERS.items():
                assert not after.weights[B[layer]].any()
                a = after.weights[A[layer]]
                assert a.shape == state.weights[A[layer]].shape
                assert a.dtype == np.float32
                draws.append(a.tobytes())
                scaled.append(a.ravel() * np.sqrt(d_in))
    # Server and clients draw the same; rounds, layers and seeds draw others.
    first, second, other = draws[:6], draws[6:12], draws[12:]
    assert first == second
    assert len({*first, *other}) == 12
    # As at the start of a run, uniform in ±1/√d_in: the mean square is a third of the bound's.
    entries = np.concatenate(scaled)
    assert np.abs(entries).max() <= 1
    assert np.mean(entries**2) == pytest.approx(1 / 3, abs=0.06)
    assert np.mean(entries) == pytest.approx(0, abs=0.15)


# FedEx


def test_the_factors_of_fedex_are_those_of_federated_averaging_bit_for_bit():
    mine, averaging = FedEx().algorithm, FedAvg().algorithm
    state, judge = (algorithm.first(starting_weights()) for algorithm in (mine, averaging))
    for index in range(4):
        updates = updates_of(mine, state, drifted(mine, state, index))
        state, _ = round_step(mine, state, updates)
        judge, _ = round_step(averaging, judge, updates)
        for name, value in judge.weights.items():
            assert state.weights[name].tobytes() == value.tobytes()
    assert all(value.any() for value in state.residual.values())


@pytest.mark.parametrize("strategy", [FedEx(), FLoRA()], ids=named)
def test_the_base_begins_unchanged(strategy):
    state = strategy.algorithm.first(starting_weights())
    assert {n: v.shape for n, v in state.residual.items()} == {
        RESIDUAL[layer]: (d_out, d_in) for layer, (d_in, d_out) in LAYERS.items()
    }
    assert not any(value.any() for value in state.residual.values())
    assert all(value.dtype == np.float32 for value in state.residual.values())


@pytest.mark.parametrize("strategy", [FedEx(), FLoRA()], ids=named)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_product_is_not_formed_from_a_factor_that_is_not_finite(strategy, bad):
    algorithm = strategy.algorithm
    state = algorithm.first(starting_weights())
    update = updates_of(algorithm, state, drifted(algorithm, state, 0))[1]
    update.tensors[A["deep.0.q"]][0, 0] = bad
    with pytest.raises(VerificationError, match=r"deep\.0\.q\.lora_A.* 'client 1' .*not finite"):
        round_step(algorithm, state, [update])


@pytest.mark.parametrize("strategy", [*EXACT, FedSA()], ids=named)
def test_a_round_leaves_the_state_before_it_as_it_was(strategy):
    algorithm = strategy.algorithm
    state = algorithm.first(starting_weights(zero_b=False))
    before = {n: v.tobytes() for n, v in {**state.weights, **state.residual}.items()}
    round_step(algorithm, state, updates_of(algorithm, state, drifted(algorithm, state, 0)))
    assert {n: v.tobytes() for n, v in {**state.weights, **state.residual}.items()} == before


# The model that comes of it


@pytest.mark.parametrize("strategy", [FedSVD(), FLoRA(), FedEx()], ids=named)
def test_with_one_client_the_new_model_is_that_clients_model(
    strategy, attach, random_row, make_client
):
    """Whatever was turned, merged or folded into the base: the logits are those of its adapter.

    Two rounds, so that the client of the second trains on a base that has changed already.
    """
    model = attach(settings=LoraSettings(rank=RANK, alpha=12))
    examples = make_client("rome", [12, 9, 20, 7]).examples
    algorithm = strategy.algorithm
    state = algorithm.first(unflatten(random_row(model), model.layout))

    def losses(weights):
        with on_base(model, state.residual):
            row = flatten(weights, model.layout)
            return score(model, row, examples, tokens_per_pass=4096).nll

    last = None
    for index in range(2):
        rng = np.random.default_rng(index)
        held = {
            name: (w + rng.normal(0, 0.2, w.shape)).astype(np.float32)
            if algorithm.trains(name, index)
            else w
            for name, w in state.weights.items()
        }
        judge = losses(held)
        change = {n: held[n] - state.weights[n] for n in algorithm.sent(state)}
        state, _ = round_step(algorithm, state, [Update(change, "rome", 4, 1, 1, 0.0)])
        np.testing.assert_allclose(losses(state.weights), judge, rtol=1e-5)
        assert last is None or np.abs(judge - last).max() > 0.05
        last = judge


# The names of the factors


def test_a_factor_is_known_by_the_name_that_travels():
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    other = name.replace("lora_A", "lora_B")
    assert factors.is_a(name) and not factors.is_b(name)
    assert factors.is_b(other) and not factors.is_a(other)
    assert list(factors.pairs([other, name])) == [(name, other, name.replace("lora_A", "residual"))]


@given(st.integers(0, 2**31))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_change_of_a_product_is_the_product_after_less_the_one_before(seed):
    rng = np.random.default_rng(seed)
    weights, change = starting_weights(seed, zero_b=False), starting_weights(seed + 1, zero_b=False)
    change = {n: v * np.float32(rng.uniform(0.01, 1)) for n, v in change.items()}
    made = factors.product_changes(weights, change)
    for layer in LAYERS:
        after = {n: v.astype(np.float64) + change[n] for n, v in weights.items()}
        judge = effective(after, {}, layer) - effective(weights, {}, layer)
        np.testing.assert_allclose(made[RESIDUAL[layer]], judge, rtol=1e-6, atol=1e-7)
