"""Clients of unequal rank: each slice is averaged over those who hold it, and nobody trains others'.

Also what a rule may keep a client from training at all, and who is left out when training diverges.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sottovoce.codec.fixed_point import decode, encode
from sottovoce.config import make_config
from sottovoce.errors import VerificationError
from sottovoce.model.base import LoraSettings
from sottovoce.run.arms import Watch
from sottovoce.run.cohorts import Cohort, Part
from sottovoce.run.contribute import devices_in
from sottovoce.run.play import play_round
from sottovoce.run.prepare import Party, Prepared
from sottovoce.run.rounds import round_step
from sottovoce.strategies import Work, factors
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.fednova import FedNova
from sottovoce.strategies.ffa import FFA
from sottovoce.strategies.server_optimizer import Adam
from sottovoce.train import Client, ClientState, Diverged, Round, Rule, TrainSettings, train
from sottovoce.update import Layout, Update, flatten, unflatten

RANK = 5
LAYOUT = Layout(
    {
        "x.lora_A.weight": (RANK, 7),
        "x.lora_B.weight": (3, RANK),
        "y.lora_A.weight": (RANK, 2),
        "y.lora_B.weight": (6, RANK),
        "head.weight": (4, 2),
    }
)
"""Two adapters, and a tensor that has no rank."""


def first_weights():
    rng = np.random.default_rng(7)
    return {n: rng.normal(size=s).astype(np.float32) for n, s in LAYOUT.shapes.items()}


def holds(name, index, rank):
    """Whether a client of this rank has this entry: of A its first rows, of B its first columns."""
    if rank is None:
        return True
    if "lora_A" in name:
        return index[0] < rank
    if "lora_B" in name:
        return index[1] < rank
    return True


def update(seed, rank, weight):
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in LAYOUT.shapes.items():
        value = rng.normal(size=shape).astype(np.float32)
        for index in np.ndindex(*shape):
            value[index] *= holds(name, index, rank)
        tensors[name] = value
    return Update(tensors, f"{seed:03d}", 1, 1, 1, 0.0, weight=weight, rank=rank)


def sliced_mean(updates):
    """Entry by entry in float64: Σ n_k·x_k / Σ n_k over those who hold it; 0 where nobody does."""
    means = {}
    for name, shape in LAYOUT.shapes.items():
        means[name] = np.zeros(shape)
        for index in np.ndindex(*shape):
            holding = [one for one in updates if holds(name, index, one.rank)]
            total = sum(one.weight for one in holding)
            if total:
                means[name][index] = (
                    sum(one.weight * float(one.tensors[name][index]) for one in holding) / total
                )
    return means


CLIENTS = st.lists(
    st.tuples(st.none() | st.integers(1, RANK), st.integers(0, 9)), min_size=1, max_size=5
).filter(lambda some: any(weight for _, weight in some))


@given(CLIENTS, st.integers(0, 99), st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=60, deadline=None)
def test_each_slice_is_averaged_over_those_who_hold_it(clients, seed, random):
    updates = [update(10 * seed + k, rank, n) for k, (rank, n) in enumerate(clients)]
    algorithm = FedAvg().algorithm
    state = algorithm.first(first_weights())
    after, record = round_step(algorithm, state, updates)
    for name, mean in sliced_mean(updates).items():
        np.testing.assert_allclose(
            after.weights[name], state.weights[name].astype(np.float64) + mean, atol=2e-6
        )
    random.shuffle(updates)
    again, same = round_step(algorithm, state, updates)
    assert same == record
    assert all(v.tobytes() == after.weights[n].tobytes() for n, v in again.weights.items())


def test_that_judge_rejects_the_mean_over_all():
    """Dividing by everyone's weight would shrink what few hold, the collapse of ranks."""
    updates = [update(1, None, 1), update(2, 2, 9)]
    algorithm = FedAvg().algorithm
    state = algorithm.first(first_weights())
    plain, _ = round_step(algorithm, state, [replace(one, rank=None) for one in updates])
    judge = sliced_mean(updates)["x.lora_A.weight"]
    moved = plain.weights["x.lora_A.weight"] - state.weights["x.lora_A.weight"]
    np.testing.assert_allclose(moved[:2], judge[:2], atol=2e-6)
    assert np.abs(moved[2:] - judge[2:]).max() > 0.5


@pytest.mark.parametrize("ranks", [(RANK, RANK, RANK), (None, RANK, None), (9, RANK, None)])
def test_where_everyone_holds_everything_it_is_the_plain_mean_bit_for_bit(ranks):
    algorithm = FedAvg(server=Adam()).algorithm
    state = algorithm.first(first_weights())
    updates = [update(k, None, 3 + k) for k in range(3)]
    plain, record = round_step(algorithm, state, updates)
    ours, same = round_step(
        algorithm, state, [replace(u, rank=r) for u, r in zip(updates, ranks, strict=True)]
    )
    assert same == record
    assert all(v.tobytes() == ours.weights[n].tobytes() for n, v in plain.weights.items())


def test_a_slice_that_nobody_holds_does_not_move():
    algorithm = FedAvg().algorithm
    state = algorithm.first(first_weights())
    # The one that holds the last row counts for nothing.
    after, _ = round_step(algorithm, state, [update(1, 2, 4), update(2, 3, 1), update(3, 5, 0)])
    for name, axis in (("x.lora_A.weight", 0), ("y.lora_B.weight", 1)):
        before, now = (np.moveaxis(s.weights[name], axis, 0) for s in (state, after))
        assert now[3:].tobytes() == before[3:].tobytes()
        assert (now[:3] != before[:3]).all()


def test_a_rule_that_sends_one_factor_averages_its_slices_too():
    algorithm = FFA().algorithm
    state = algorithm.first({n: v for n, v in first_weights().items() if "lora" in n})
    updates = [update(1, None, 2), update(2, 2, 3)]
    judge = sliced_mean(updates)
    sent = [
        replace(one, tensors={n: v for n, v in one.tensors.items() if "lora_B" in n})
        for one in updates
    ]
    after, _ = round_step(algorithm, state, sent)
    for name, value in state.weights.items():
        moved = judge[name] if "lora_B" in name else 0
        np.testing.assert_allclose(after.weights[name], value + moved, atol=2e-6)


def test_what_is_sent_beside_the_factors_belongs_to_all():
    """FedNova's path has no rank: ā is over all, the mean step of a slice over those who hold it."""
    algorithm = FedNova().algorithm
    state = algorithm.first(first_weights())
    updates, paths = [update(1, None, 2), update(2, 2, 3)], (0.3, 0.1)
    sent = []
    for one, path in zip(updates, paths, strict=True):
        tensors, _ = algorithm.finish(state, {}, one.tensors, Work((path,)))
        sent.append(replace(one, tensors=tensors))
    after, _ = round_step(algorithm, state, sent)
    steps = [
        replace(one, tensors={n: v / p for n, v in one.tensors.items()})
        for one, p in zip(updates, paths, strict=True)
    ]
    distance = (2 * 0.3 + 3 * 0.1) / 5
    for name, mean in sliced_mean(steps).items():
        np.testing.assert_allclose(
            after.weights[name], state.weights[name] + distance * mean, atol=5e-6
        )


def test_decoding_by_who_holds_an_entry():
    total = encode(
        {"a": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), "b": np.ones(1, np.float32)}, 6
    )
    held = {"a": np.array([[6], [3]], np.int64)}
    means = decode(total, 6, held=held)
    assert means["a"].tolist() == [[1.0, 2.0], [6.0, 8.0]]
    # A tensor that is not mentioned is everyone's.
    assert means["b"].tolist() == [1.0]
    zeros = {name: np.zeros_like(value) for name, value in total.items()}
    assert decode(zeros, 6, held={"a": np.zeros((2, 1), np.int64)})["a"].tolist() == [
        [0, 0],
        [0, 0],
    ]
    with pytest.raises(VerificationError, match="sum to 0"):
        decode(zeros, 0, held=held)


@pytest.mark.parametrize("rank", [1, 3, RANK, 9])
def test_the_entries_of_a_rank_lie_where_the_flat_row_has_them(rank):
    row = factors.held_entries(LAYOUT, rank)
    place = 0
    for name, shape in LAYOUT.shapes.items():
        for index in np.ndindex(*shape):
            assert row[place] == holds(name, index, rank)
            place += 1
    assert place == len(row)


def test_the_entries_of_chosen_tensors():
    chosen = {name: "lora_B" in name for name in LAYOUT.shapes}
    tensors = unflatten(factors.chosen_entries(LAYOUT, chosen), LAYOUT)
    assert {name: (v.all(), v.any()) for name, v in tensors.items()} == {
        name: (yes, yes) for name, yes in chosen.items()
    }
    assert factors.held_entries(Layout({}), 1).shape == (0,)
    assert factors.chosen_entries(Layout({}), {}).shape == (0,)


def test_an_entry_outside_the_declared_rank_is_refused():
    """The weight of a client that says rank 2 is not counted in row 3; what it sends there is."""
    algorithm = FedAvg().algorithm
    state = algorithm.first(first_weights())
    with pytest.raises(VerificationError):
        round_step(algorithm, state, [update(1, None, 1), replace(update(2, None, 1), rank=2)])


# Through the engine


WIDE = LoraSettings(rank=4, alpha=8, targets=("q_proj", "down_proj"))
NARROW = LoraSettings(rank=2, alpha=4, targets=("q_proj", "down_proj"))
"""The same scaling, α / r = 2."""


@pytest.fixture(scope="module")
def wide(attach):
    return attach(settings=WIDE)


@pytest.fixture(scope="module")
def two(make_client):
    return [make_client("berlin", [9, 12, 8, 13, 17]), make_client("lyon", [14, 11, 9])]


def narrowed(row, layout, narrow_layout):
    """The first rows of A and columns of B."""
    tensors = unflatten(row, layout)
    return flatten(
        {
            name: tensors[name][tuple(slice(0, size) for size in shape)]
            for name, shape in narrow_layout.shapes.items()
        },
        narrow_layout,
    )


def recipe(**changes):
    return TrainSettings(
        **{"learning_rate": 0.01, "batch_size": 2, "steps_per_round": 3, **changes}
    )


KEPT = {"optimizer": "adamw", "weight_decay": 0.1, "optimizer_state": "keep"}
RECIPES = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.2, "momentum": 0.5, "max_gradient_norm": "off"},
    "clipped sgd": {"optimizer": "sgd", "learning_rate": 0.2, "max_gradient_norm": 0.1},
    "adamw": KEPT,
}


@pytest.mark.parametrize("settings", RECIPES.values(), ids=RECIPES)
def test_a_client_of_lower_rank_is_a_client_with_a_smaller_adapter(
    settings, wide, attach, random_row, two
):
    """The judge is a model whose adapters have that rank: the same update, and zero elsewhere."""
    narrow = attach(settings=NARROW)
    held = factors.held_entries(wide.layout, 2)
    row = random_row(wide)
    start = np.where(held, row, np.float32(0))
    rule = Rule(trained={client.name: held for client in two})
    ours, judge = (
        train(
            model,
            two,
            dict.fromkeys(("berlin", "lyon"), received),
            recipe(**settings),
            Round(0, 2, 0),
            rule=which,
        )
        for model, received, which in (
            (wide, start, rule),
            (narrow, narrowed(row, wide.layout, narrow.layout), Rule()),
        )
    )
    for (mine, _), (other, _) in zip(ours, judge, strict=True):
        vector = flatten(mine.tensors, wide.layout)
        assert not vector[~held].any()
        np.testing.assert_allclose(
            narrowed(vector, wide.layout, narrow.layout),
            flatten(other.tensors, narrow.layout),
            atol=1e-5,
        )
        assert mine.loss == pytest.approx(other.loss, abs=1e-5)


def test_an_entry_that_is_not_trained_keeps_its_bits_and_its_memory(wide, random_row, two):
    """Against weight decay, kept moments and a rule that pulls; each client has its own entries."""
    size = wide.layout.size
    row = random_row(wide)
    rng = np.random.default_rng(0)
    trained = {client.name: rng.random(size) < 0.5 for client in two}
    moments = {
        "exp_avg": rng.normal(size=size).astype(np.float32),
        "exp_avg_sq": rng.uniform(1, 2, size).astype(np.float32),
        "step": np.float32(3),
    }
    clients = [replace(client, state=ClientState(0, moments)) for client in two]
    rule = Rule(adjust=lambda g, w, a: g + w + 1, trained=trained)
    results = train(
        wide, clients, dict.fromkeys(trained, row), recipe(**KEPT), Round(0, 1, 0), rule=rule
    )
    for update_, state in results:
        vector, may = flatten(update_.tensors, wide.layout), trained[update_.client]
        assert vector[~may].tobytes() == np.zeros((~may).sum(), np.float32).tobytes()
        assert (vector[may] != 0).mean() > 0.99
        for name in ("exp_avg", "exp_avg_sq"):
            assert state.moments[name][~may].tobytes() == moments[name][~may].tobytes()
            assert (state.moments[name][may] != moments[name][may]).mean() > 0.99
        assert state.moments["step"] == 6


def test_the_bound_is_on_the_norm_of_what_is_trained(wide, random_row, two):
    """One plain step gives each gradient; masked and clipped by hand it is the bounded step."""
    chosen = {name: "lora_B" in name for name in wide.layout.shapes}
    trained = factors.chosen_entries(wide.layout, chosen)
    received = {client.name: random_row(wide) for client in two}
    plain = {"optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant"}
    plain |= {"warmup_fraction": 0.0, "steps_per_round": 1}
    rule = Rule(trained={client.name: trained for client in two})
    free, bounded = (
        train(wide, two, received, recipe(**plain, max_gradient_norm=bound), Round(0, 1, 0), rule=r)
        for bound, r in (("off", Rule()), (0.3, rule))
    )
    for (one, _), (other, _) in zip(free, bounded, strict=True):
        step = np.where(trained, flatten(one.tensors, wide.layout), 0)
        assert np.linalg.norm(step) > 0.3
        judge = step * 0.3 / np.linalg.norm(step)
        np.testing.assert_allclose(flatten(other.tensors, wide.layout), judge, atol=1e-5)


def test_an_entry_that_was_never_trained_has_no_memory(wide, random_row, two):
    trained = np.arange(wide.layout.size) % 2 == 0
    rule = Rule(trained={client.name: trained for client in two})
    received = {client.name: random_row(wide) for client in two}
    for _, state in train(wide, two, received, recipe(**KEPT), Round(0, 1, 0), rule=rule):
        assert not state.moments["exp_avg"][~trained].any()
        assert state.moments["exp_avg"][trained].any()


def test_each_client_is_compared_with_its_own_anchor(wide, random_row, two):
    """A rule without the loss's gradient: one plain step goes along the anchor alone."""
    size = wide.layout.size
    anchors = {c.name: np.full(size, 1.0 + k, np.float32) for k, c in enumerate(two)}
    rule = Rule(adjust=lambda g, w, anchor: 0 * g + anchor, anchors=anchors)
    received = {client.name: random_row(wide, k) for k, client in enumerate(two)}
    plain = recipe(optimizer="sgd", schedule="constant", warmup_fraction=0.0, steps_per_round=1)
    for size_mib in (1, 4096):
        settings = plain.model_copy(update={"memory_budget_mib": size_mib})
        for one, _ in train(wide, two, received, settings, Round(0, 1, 0), rule=rule):
            moved = flatten(one.tensors, wide.layout)
            np.testing.assert_allclose(moved, -0.01 * anchors[one.client], atol=1e-6)


def test_who_diverges_is_named_and_left_out(wide, random_row, two, make_client):
    """The others train on as if it had not been there."""
    bad = random_row(wide)
    bad[0] = np.nan
    clients = [two[0], make_client("oslo", [9, 8, 7, 11, 12, 9]), two[1]]
    received = {"berlin": random_row(wide), "lyon": random_row(wide, 1), "oslo": bad}
    plain = recipe(steps_per_round=None)
    lost = []
    results = train(wide, clients, received, plain, Round(0, 1, 0), on_diverged=lost.append)
    assert lost == ["oslo"]
    assert [update_.client for update_, _ in results] == ["berlin", "lyon"]
    judge = train(wide, two, received, plain, Round(0, 1, 0))
    for (ours, state), (other, same) in zip(results, judge, strict=True):
        np.testing.assert_allclose(
            flatten(ours.tensors, wide.layout), flatten(other.tensors, wide.layout), atol=1e-5
        )
        assert state.cursor == same.cursor
    with pytest.raises(Diverged, match="oslo"):
        train(wide, clients, received, plain, Round(0, 1, 0))


def test_who_diverges_in_its_last_step_is_left_out_too(wide, random_row, two):
    """No loss is read any more: the weights themselves say it."""
    rule = Rule(adjust=lambda g, w, a: g + a, anchors={
        "berlin": np.full(wide.layout.size, np.inf, np.float32),
        "lyon": np.zeros(wide.layout.size, np.float32),
    })  # fmt: skip
    lost = []
    received = {client.name: random_row(wide) for client in two}
    plain = recipe(optimizer="sgd", steps_per_round=1)
    results = train(wide, two, received, plain, Round(0, 1, 0), rule=rule, on_diverged=lost.append)
    assert lost == ["berlin"]
    assert [update_.client for update_, _ in results] == ["lyon"]


def test_devices_train_what_they_hold_and_the_rest_stays(wide, random_row, two):
    """A whole round: who has which rank, what it starts from, what it sends, what the server does."""
    tree = {
        "data": {"path": "x", "scrub": "off"},
        "privacy": {"unit": "none"},
        "model": {"lora": {"rank": 4}},
        "train": {"optimizer": "sgd", "learning_rate": 0.2, "steps_per_round": 3, "batch_size": 2},
        "federation": {
            "rounds": 1,
            "devices": {"phone": {"clients": ["berlin"], "rank": 1, "steps_per_round": 2}},
        },
    }
    config = make_config(tree, place="test")
    parties = tuple(Party(c.name, c.examples, (), ()) for c in two)
    prepared = Prepared(config, parties, wide, None, ())
    row = random_row(wide)
    algorithm = config.federation.strategy.algorithm
    state = algorithm.first(unflatten(row, wide.layout))
    played = play_round(
        prepared,
        state,
        Cohort(0, (Part("berlin", 0), Part("lyon", 0)), (), 0.0),
        devices=devices_in(prepared),
        memory=lambda name: ClientState(),
        history=lambda version: state.weights,
        watch=Watch(),
    )
    small, large = played.updates
    assert (small.rank, large.rank) == (1, None)
    assert played.record.steps == (2, 3)
    held = factors.held_entries(wide.layout, 1)
    judges = []
    for client, start, rule in (
        (replace(two[0], steps=2), np.where(held, row, np.float32(0)), {"berlin": held}),
        (two[1], row, {"lyon": np.ones_like(held)}),
    ):
        ((one, _),) = train(
            wide,
            [client],
            {client.name: start},
            config.train,
            Round(0, 1, 0),
            rule=Rule(trained=rule),
        )
        judges.append(flatten(one.tensors, wide.layout).astype(np.float64))
    for one, judge in zip((small, large), judges, strict=True):
        np.testing.assert_allclose(flatten(one.tensors, wide.layout), judge, atol=1e-6)
    moved = flatten(played.server.weights, wide.layout) - row
    mean = np.where(held, (5 * judges[0] + 3 * judges[1]) / 8, judges[1])
    np.testing.assert_allclose(moved, mean, atol=2e-6)


def test_a_clients_own_steps_replace_the_recipes(two):
    settings = recipe(steps_per_round=None, batch_size=2)
    client = two[0]
    assert (client.planned(settings), client.taken(settings)) == (3, 3)
    own = replace(client, steps=7)
    assert (own.planned(settings), own.taken(settings)) == (7, 7)
    late = replace(own, stop_after=2)
    assert (late.planned(settings), late.taken(settings)) == (7, 2)
    assert replace(own, stop_after=9).taken(settings) == 7
    # Nothing to train on, nothing to take.
    assert Client("empty", (), steps=7).planned(settings) == 0
