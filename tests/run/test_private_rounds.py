"""Rounds under a plan: what the server learns of a client, of its units, and how much noise hides it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.config import make_config
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.base import LoraSettings
from sottovoce.privacy import accounting, gaussian
from sottovoce.privacy.plan import PrivacyPlan, clip_norm_memory, grid
from sottovoce.privacy.settings import AdaptiveClip, PrivacySettings
from sottovoce.privacy.shares import Lattice, Shares
from sottovoce.privacy.statement import number
from sottovoce.rng import seeded_source
from sottovoce.run import protect
from sottovoce.run.arms import Watch
from sottovoce.run.cohorts import Cohort, Part, cohorts
from sottovoce.run.ledger import verify
from sottovoce.run.local import federate
from sottovoce.run.play import play_round
from sottovoce.run.prepare import Party, Prepared, prepare
from sottovoce.run.protect import (
    FEDERATION,
    Plans,
    affordable,
    charges,
    claim,
    drawn_from,
    facts,
    make_plans,
    sampled,
)
from sottovoce.run.rounds import private_round_step
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.scaffold import Scaffold
from sottovoce.train import ClientState, Example
from sottovoce.update import Update, flatten, unflatten

SHAPES = {"b": (2, 3), "a": (4,), "s": ()}
SIZE = 11
ALGORITHM = FedAvg().algorithm


def tensors(seed: int, scale: float = 1.0, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {n: np.asarray(rng.normal(scale=scale, size=s), np.float32) for n, s in shapes.items()}


def update(client: str, values, **changed: Any) -> Update:
    told = {"examples": 3, "steps": 2, "tokens": 50, "loss": 1.5, **changed}
    return Update(values, client, **told)


def flat(values) -> np.ndarray:
    return np.concatenate([np.ravel(values[name]) for name in SHAPES]).astype(np.float64)


def plan_of(**changes: Any) -> PrivacyPlan:
    told: dict[str, Any] = {
        "unit": "client",
        "units": 20,
        "expected_units": 5.0,
        "releases": 9,
        "noise_multiplier": 1.0,
        "delta": 1e-3,
        "clip_norm": 0.5,
    }
    return PrivacyPlan(**{**told, **changes})


@pytest.fixture
def totals(monkeypatch):
    """The integer sums in the place where noise would be added; none is."""
    seen: list[np.ndarray] = []

    def keep(total, std, source):
        seen.append(total.copy())
        return total

    monkeypatch.setattr(gaussian, "add_noise", keep)
    return seen


def step(updates, plan, state=None, seed=0, algorithm=ALGORITHM):
    state = state or algorithm.first(tensors(100))
    return private_round_step(algorithm, state, updates, plan, seeded_source(seed))


def moves(before, after) -> np.ndarray:
    return flat(after.weights) - flat(before.weights)


# The unit client: what the server does.


def test_the_weights_move_by_the_clipped_sum_over_the_expected_number(totals) -> None:
    state, plan = ALGORITHM.first(tensors(100)), plan_of()
    given_ = [tensors(1, 1e-3), tensors(2, 10.0), tensors(3, 1.0)]
    after, record = step([update(str(i), one) for i, one in enumerate(given_)], plan, state)
    total = np.zeros(SIZE)
    for one in given_:
        vector = flat(one)
        total += vector * min(1.0, 0.5 / np.linalg.norm(vector))
    np.testing.assert_allclose(moves(state, after), total / 5, atol=1e-6)
    assert after.round == 1
    assert record.update_norm == pytest.approx(np.linalg.norm(total / 5), rel=1e-6)


def test_every_client_counts_the_same_whatever_it_says_of_itself(totals) -> None:
    plan, one = plan_of(), tensors(1)
    plain = step([update("a", one), update("b", tensors(2))], plan)[0]
    heavy = step(
        [update("a", one, examples=1000, weight=77), update("b", tensors(2), weight=0)], plan
    )[0]
    assert flat(plain.weights).tobytes() == flat(heavy.weights).tobytes()


VALUES = st.one_of(st.floats(-1e3, 1e3, width=32), st.sampled_from([math.nan, math.inf, 3e38]))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(VALUES, min_size=SIZE, max_size=SIZE), min_size=1, max_size=5),
    st.floats(-6, 6),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_one_client_moves_the_sum_by_its_own_integers_and_by_what_the_noise_covers(
    rows, power, adaptive, loss, data
) -> None:
    norm = 10.0**power
    plan = plan_of(
        clip_norm=AdaptiveClip(initial=norm, count_noise_std=2.0) if adaptive else norm,
        loss_noise_multiplier=4.0 if loss else None,
    )
    losses = data.draw(
        st.lists(
            st.one_of(st.none(), st.floats(allow_nan=True)),
            min_size=len(rows),
            max_size=len(rows),
        )
    )
    updates = []
    for place, row in enumerate(rows):
        vector, values, begin = np.array(row, np.float32), {}, 0
        for name, shape in SHAPES.items():
            count = math.prod(shape)
            values[name] = vector[begin : begin + count].reshape(shape)
            begin += count
        updates.append(update(f"client {place}", values, loss=losses[place], examples=10**place))
    gone = data.draw(st.integers(0, len(rows) - 1))
    order = data.draw(st.permutations(updates))
    seen: list[np.ndarray] = []

    def keep(total, std, source):
        seen.append(total.copy())
        return total

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", keep)
        once = step(updates, plan)
        again = step(order, plan)
        step(updates[:gone] + updates[gone + 1 :], plan)
        step([updates[gone]], plan)
    whole, shuffled, without, alone = seen
    assert whole.tolist() == shuffled.tolist()
    assert flat(once[0].weights).tobytes() == flat(again[0].weights).tobytes()
    assert once[1] == again[1]
    assert (whole - without).tolist() == alone.tolist()
    sized = replace(plan, size=SIZE)
    covered = grid(sized, norm).noise_std / plan.noise_multiplier
    assert math.sqrt(sum(int(entry) ** 2 for entry in alone)) <= covered * (1 + 1e-12)
    if not np.isfinite(np.array(rows[gone], np.float32)).all():
        assert not alone.any()


BIG = {"w": (120, 250)}


def accepts(values, std) -> bool:
    """Five standard deviations of the sample variance of independent Gaussian values."""
    ratio = float(np.mean(np.square(np.asarray(values, np.float64)))) / std**2
    return abs(ratio - 1) <= 5 * math.sqrt(2 / np.size(values))


@pytest.mark.parametrize("count", [0, 3])
def test_the_noise_of_a_round_is_z_times_the_norm_over_the_expected_number(count) -> None:
    plan = plan_of(noise_multiplier=0.8, clip_norm=2.0)
    state = ALGORITHM.first(tensors(100, 0.0, BIG))
    updates = [update(str(i), tensors(i, 1.0, BIG)) for i in range(count)]
    noises = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        exact = step(updates, plan, state)[0].weights["w"].ravel()
    for seed in (1, 2):
        after, _ = step(updates, plan, state, seed)
        noises.append(after.weights["w"].ravel().astype(np.float64) - exact)
        std = 0.8 * 2.0 / 5
        assert accepts(noises[-1], std)
        assert not accepts(noises[-1], 0.9 * std)
        assert not accepts(noises[-1], 1.1 * std)
    assert abs(np.corrcoef(*noises)[0, 1]) < 6 / math.sqrt(noises[0].size)


def test_an_empty_sample_takes_its_noisy_step_and_says_nothing_of_anybody() -> None:
    plan = plan_of(loss_noise_multiplier=3.0)
    state = ALGORITHM.first(tensors(100))
    after, record = step([], plan, state)
    assert after.round == 1
    assert np.all(moves(state, after) != 0)
    assert (record.clients, record.weights, record.steps) == ((), (), ())
    assert record.loss is not None


def test_the_record_holds_nothing_that_depends_on_the_data(totals) -> None:
    updates = [update(name, tensors(3), examples=9, tokens=99, loss=2.5) for name in ("zoë", "Bo")]
    _, record = step(updates, plan_of())
    assert (record.clients, record.weights, record.steps) == (("Bo", "zoë"), (1, 1), (2, 2))
    assert (record.examples, record.tokens, record.loss) == ((), (), None)


def test_losses_are_released_only_with_the_sum(totals) -> None:
    plan = plan_of(expected_units=4.0, loss_noise_multiplier=3.0, loss_bound=8.0)
    given_ = [1.0, 100.0, None, math.nan]
    updates = [update(str(i), tensors(i), loss=loss) for i, loss in enumerate(given_)]
    _, record = step(updates, plan)
    assert record.loss == pytest.approx((1 + 8 + 8 + 8) / 4, rel=1e-6)


def test_a_client_that_is_not_finite_counts_zero(totals) -> None:
    bad = tensors(1)
    bad["a"] = np.array([1, np.nan, 2, 3], np.float32)
    step([update("bad", bad), update("good", tensors(2))], plan_of())
    step([update("good", tensors(2))], plan_of())
    assert totals[0].tolist() == totals[1].tolist()


def test_the_clip_norm_goes_on_where_the_round_before_left_it(totals) -> None:
    plan = plan_of(clip_norm=AdaptiveClip(initial=0.5, count_noise_std=2.0))
    state = ALGORITHM.first(tensors(100))
    large = [update(str(i), tensors(i, 100.0)) for i in range(5)]
    norms = [0.5]
    for _ in range(3):
        state, _ = step(large, plan, state)
        norms.append(float(state.moments["privacy"]["clip_norm"][0]))
    # All five are above: the share is 0, and log C grows by 0.2 · 0.5.
    assert norms == pytest.approx([0.5 * math.exp(0.1 * i) for i in range(4)], rel=1e-5)
    before = state
    one = [update("a", tensors(3, 100.0))]
    after, _ = step(one, plan, before)
    assert np.linalg.norm(moves(before, after)) == pytest.approx(norms[3] / 5, rel=1e-4)
    fixed, _ = step(large, plan_of())
    assert "privacy" not in fixed.moments


def test_the_algorithm_hears_the_planned_share_and_none_of_the_plans_memory(totals) -> None:
    """Scaffold's control moves by |S|/N, which is q and not what came."""
    algorithm = Scaffold().algorithm
    plan = plan_of(clip_norm=AdaptiveClip(initial=100.0, count_noise_std=2.0), units=10)
    state = algorithm.first(tensors(100))
    assert plan.sampling_probability == 0.5
    layout = algorithm.sent(state)
    sent = {name: np.full(shape, 1.0, np.float32) for name, shape in layout.items()}
    heard = []

    def hear(state, mean):
        heard.append((set(state.moments), mean.share))
        return algorithm.step(state, mean)

    spying = replace(algorithm, step=hear)
    kinds = set(state.moments)
    for count in (1, 4):
        state, _ = step([update(str(i), sent) for i in range(count)], plan, state, algorithm=spying)
    assert heard == [(kinds, 0.5), (kinds, 0.5)]


def test_a_client_twice_and_another_shape_are_refused() -> None:
    with pytest.raises(VerificationError, match=r"'a' delivered twice.*one update per client"):
        step([update("a", tensors(1)), update("a", tensors(2))], plan_of())
    with pytest.raises(VerificationError, match="lack"):
        step([update("a", {"b": tensors(1)["b"]})], plan_of())


# A round with training, on a tiny model.

LORA = LoraSettings(rank=4, alpha=8)
LENGTHS = {"rome": (9, 12, 8, 15), "oslo": (20, 8, 11, 10), "lyon": (13, 9, 14, 10)}


def configured(**sections: Any):
    tree: dict[str, Any] = {
        "data": {"path": "x", "scrub": "off"},
        "train": {
            "optimizer": "sgd",
            "learning_rate": 0.5,
            "schedule": "constant",
            "warmup_fraction": 0.0,
            "steps_per_round": 1,
            "batch_size": 2,
        },
        "federation": {"rounds": 3},
        "privacy": {"unit": "none"},
    }
    for key, values in sections.items():
        tree[key] = values if key == "privacy" else {**tree.get(key, {}), **values}
    return make_config(tree, place="test")


PRIVACY = {
    "noise_multiplier": 1.5,
    "delta": 1e-3,
    "clip_norm": 0.3,
    "generator": "seeded_for_tests",
}


@pytest.fixture(scope="module")
def tiny_run(attach, random_row, make_client):
    model = attach(settings=LORA)
    row = random_row(model)
    parties = []
    for name, lengths in LENGTHS.items():
        examples = tuple(
            replace(example, owner=f"{name} {place // 2}", record=place)
            for place, example in enumerate(make_client(name, lengths).examples)
        )
        parties.append(Party(name, examples, (), (), ()))

    def build(privacy, **sections):
        config = configured(privacy=privacy, **sections)
        held = {party.name: party.train for party in parties}
        plans = make_plans(config, held, model.layout.size)
        return Prepared(config, tuple(parties), model, None, (), plans), row

    return build


def play(prepared, row, index=0, memory=None, algorithm=ALGORITHM):
    server = replace(algorithm.first(unflatten(row, prepared.model.layout)), round=index)
    parts = tuple(Part(party.name, index) for party in prepared.parties)
    return play_round(
        prepared,
        server,
        Cohort(index, parts, (), 0.0),
        devices={},
        memory=memory or (lambda name: ClientState()),
        history=lambda version: server.weights,
        watch=Watch(),
    )


def played(prepared, row, index=0):
    """What every client sent, flat, by name."""
    layout = prepared.model.layout
    return {u.client: flatten(u.tensors, layout) for u in play(prepared, row, index).updates}


@pytest.mark.parametrize(("unit", "units"), [("owner", 2), ("example", 4)])
def test_what_leaves_a_client_has_noise_of_its_own_at_the_right_scale(tiny_run, unit, units):
    prepared, row = tiny_run({"unit": unit, **PRIVACY})
    noisy = [played(prepared, row, index) for index in (0, 1)]
    again = played(prepared, row, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        exact = played(prepared, row, 0)
    assert all((again[name] == noisy[0][name]).all() for name in LENGTHS)
    noise = {name: noisy[0][name].astype(float) - exact[name] for name in LENGTHS}
    std = 0.5 * 1.5 * 0.3 / min(2, units)
    values = np.concatenate(list(noise.values()))
    assert accepts(values, std)
    assert not accepts(values, 0.9 * std)
    assert not accepts(values, 1.1 * std)
    later = {name: noisy[1][name].astype(float) - exact[name] for name in LENGTHS}
    all_noises = [*noise.values(), *later.values()]
    for place, one in enumerate(all_noises):
        for other in all_noises[:place]:
            # In another round another sample is read as well, so the whole cannot be told apart
            # from the noise; a noise used again would leave a correlation near 1.
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.5
            assert np.mean(one == other) < 0.01


def test_noise_from_the_operating_system_never_comes_twice(tiny_run):
    prepared, row = tiny_run({"unit": "owner", **PRIVACY, "generator": "cryptographic"})
    one, other = played(prepared, row), played(prepared, row)
    assert all(np.mean(one[name] == other[name]) < 0.01 for name in LENGTHS)
    prepared, row = tiny_run({"unit": "client", **PRIVACY, "generator": "cryptographic"})
    first, second = (flatten(play(prepared, row).server.weights, prepared.model.layout)
                     for _ in range(2))  # fmt: skip
    assert np.mean(first == second) < 0.01


@pytest.mark.parametrize("unit", ["owner", "example"])
def test_updates_and_record_hold_nothing_that_the_guard_did_not_release(tiny_run, unit):
    prepared, row = tiny_run({"unit": unit, **PRIVACY})
    result = play(prepared, row)
    for sent in result.updates:
        assert (sent.examples, sent.tokens, sent.targets, sent.loss) == (0, 0, 0, None)
        assert sent.weight == sent.counts == 1
    record = result.record
    assert (record.examples, record.tokens, record.loss) == ((), (), None)
    assert record.weights == (1, 1, 1)
    assert record.clients == tuple(sorted(LENGTHS))


def test_sites_count_the_same_in_the_mean(tiny_run):
    """One owner more at a site must not let that site weigh more."""
    prepared, row = tiny_run({"unit": "owner", **PRIVACY})
    result = play(prepared, row)
    layout = prepared.model.layout
    moved = flatten(result.server.weights, layout).astype(float) - row
    mean = np.mean([flatten(sent.tensors, layout) for sent in result.updates], axis=0)
    np.testing.assert_allclose(moved, mean, atol=1e-6)


def test_a_released_loss_is_noisy_and_the_mean_over_sites(tiny_run):
    prepared, row = tiny_run({"unit": "owner", **PRIVACY, "loss_noise_multiplier": 4.0})
    result = play(prepared, row)
    told = [sent.loss for sent in result.updates]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        exact = [sent.loss for sent in play(prepared, row).updates]
    assert all(abs(one - other) > 1e-3 for one, other in zip(told, exact, strict=True))
    assert result.record.loss == pytest.approx(np.mean(told))


def test_each_site_takes_its_clip_norm_into_the_next_round(tiny_run, totals):
    adaptive = {"initial": 1e-3, "count_noise_std": 2.0}
    prepared, row = tiny_run({"unit": "example", **PRIVACY, "clip_norm": adaptive})
    result = play(prepared, row)
    kept = {
        name: float(state.own["privacy"]["clip_norm"][0]) for name, state in result.clients.items()
    }
    assert all(norm is not None and norm != 1e-3 for norm in kept.values())
    far = ClientState(own={"privacy": clip_norm_memory(0.25)})
    later = play(prepared, row, 1, memory=lambda name: far)
    for state in later.clients.values():
        norm = float(state.own["privacy"]["clip_norm"][0])
        # A step moves the logarithm by at most half of η and what a larger sample adds.
        assert 0 < abs(math.log(norm / 0.25)) < 0.5


def test_a_round_of_whole_clients_is_noised_by_the_server(tiny_run):
    prepared, row = tiny_run({"unit": "client", **PRIVACY, "clip_norm": 0.01})
    layout = prepared.model.layout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        plain = [play(prepared, row, index) for index in (0, 1)]
    noisy = [play(prepared, row, index) for index in (0, 1)]
    noises = [
        flatten(one.server.weights, layout).astype(float) - flatten(other.server.weights, layout)
        for one, other in zip(noisy, plain, strict=True)
    ]
    std = 1.5 * 0.01 / 3
    # 3,712 entries tell a fifth, not a tenth; the tenth is judged on ``private_round_step``.
    assert accepts(noises[0], std)
    assert not accepts(noises[0], 0.8 * std)
    assert not accepts(noises[0], 1.2 * std)
    assert abs(np.corrcoef(*noises)[0, 1]) < 0.1
    total = np.zeros(layout.size)
    for sent in plain[0].updates:
        vector = flatten(sent.tensors, layout).astype(float)
        total += vector * min(1.0, 0.01 / np.linalg.norm(vector))
    moved = flatten(plain[0].server.weights, layout).astype(float) - row
    np.testing.assert_allclose(moved, total / 3, atol=1e-6)
    record = noisy[0].record
    assert (record.examples, record.tokens, record.loss) == ((), (), None)


def test_a_client_whose_training_is_not_finite_counts_zero_and_stops_nobody(tiny_run, totals):
    """Whether a run ends is told to everybody; under a plan it must not follow from one client."""
    train = {"learning_rate": 1e9, "steps_per_round": 4, "max_gradient_norm": "off"}
    prepared, row = tiny_run({"unit": "client", **PRIVACY}, train=train)
    result = play(prepared, row)
    assert not totals[-1].any()
    assert result.record.clients == tuple(sorted(LENGTHS))


# The plans of a run.


def sequences(*owners: str | None) -> tuple[Example, ...]:
    tokens = np.arange(1, 5, dtype=np.int32)
    return tuple(
        Example(tokens, np.ones(4, bool), owner=owner, record=place)
        for place, owner in enumerate(owners)
    )


HELD = {"rome": sequences("ann", "ann", "bob"), "oslo": sequences("ann", "eve", "eve", "dan")}


def plans_of(privacy, held=None, **sections):
    return make_plans(configured(privacy=privacy, **sections), held or HELD, 7)


def test_without_a_unit_there_is_no_plan() -> None:
    plans = plans_of({"unit": "none"})
    assert not plans.plans
    assert not plans.units
    assert facts(plans, {})["epsilon"] is None
    assert "none" in claim(plans)[0]


def test_a_federation_of_clients_has_one_plan() -> None:
    privacy = {"unit": "client", **PRIVACY}
    plan = plans_of(privacy, federation={"rounds": 5}).federation
    assert plan is not None
    assert (plan.units, plan.expected_units, plan.releases, plan.size) == (2, 2.0, 5, 7)
    some = plans_of(privacy, federation={"rounds": 5, "clients_per_round": 1}).federation
    assert some is not None
    assert some.sampling_probability == 0.5


def test_every_client_has_a_plan_over_its_own_units_and_all_its_steps() -> None:
    train = {"steps_per_round": None, "epochs_per_round": 1.0, "batch_size": 2}
    for unit, counts in (("owner", {"rome": 2, "oslo": 3}), ("example", {"rome": 3, "oslo": 4})):
        plans = plans_of({"unit": unit, **PRIVACY}, train=train)
        assert plans.federation is None
        for name, count in counts.items():
            plan = plans.plans[name]
            assert (plan.units, plan.expected_units, plan.size) == (count, 2.0, 7)
            assert plan.releases == 3 * math.ceil(count / 2)
            assert len(plans.units[name]) == count
    device = {"fast": {"clients": ["rome"], "steps_per_round": 50}}
    plans = plans_of({"unit": "owner", **PRIVACY}, federation={"rounds": 3, "devices": device})
    assert plans.plans["rome"].releases == 150


def test_what_the_data_contradict_is_refused() -> None:
    owner = {"unit": "owner", **PRIVACY}
    with pytest.raises(ConfigError, match=r"'rome' has no owner.*Name data\.owner_column, or set"):
        plans_of(owner, {"rome": sequences("ann", None)})
    with pytest.raises(ConfigError, match=r"client 'rome': privacy\.delta is 0\.6.*below 1/2"):
        plans_of({**owner, "delta": 0.6}, {"rome": sequences("ann", "bob")})
    with pytest.raises(ConfigError, match=r"one owner is at 2 clients.*Declare 2, or remove it"):
        plans_of({**owner, "max_sites_per_owner": 1})
    assert plans_of({**owner, "max_sites_per_owner": 2}).sites_per_owner == 2
    assert plans_of(owner).sites_per_owner == 2
    example = {"unit": "example", **PRIVACY, "max_sites_per_owner": 1}
    with pytest.raises(ConfigError, match="no conversation has an owner to check"):
        plans_of(example, {"rome": sequences(None, None)})


COHORT = Cohort(0, tuple(Part(f"client {i:02}", 0) for i in range(20)), (), 0.0)


def test_the_clients_of_a_round_are_a_poisson_sample() -> None:
    held = {f"client {i:02}": sequences("a") for i in range(20)}
    privacy = {"unit": "client", **PRIVACY, "delta": 1e-3}
    plans = plans_of(privacy, held, federation={"clients_per_round": 5})
    sizes, counts = [], dict.fromkeys(held, 0)
    for index in range(2000):
        drawn = sampled(plans, replace(COHORT, round=index), 3)
        sizes.append(len(drawn.parts))
        for part in drawn.parts:
            counts[part.client] += 1
    # n·q = 5, n·q·(1-q) = 3.75; each is in 500 of 2,000 rounds, give or take 19.
    assert np.mean(sizes) == pytest.approx(5, abs=5 * math.sqrt(3.75 / 2000))
    assert np.var(sizes) == pytest.approx(3.75, rel=0.2)
    assert all(abs(count - 500) < 5 * 19.4 for count in counts.values())
    others = plans_of({"unit": "owner", **PRIVACY})
    assert sampled(others, COHORT, 3) is COHORT


def test_a_round_has_the_expected_number_of_clients() -> None:
    """The denominator is q·n = 5, and 5 of 20 are in a round in the mean, up to all 20."""
    held = {f"client {i:02}": sequences("a") for i in range(20)}
    config = configured(
        privacy={"unit": "client", **PRIVACY},
        federation={"rounds": 400, "clients_per_round": 5},
    )
    plans = make_plans(config, held, 7)
    federation = drawn_from(plans, config.federation)
    drawn = [
        len(sampled(plans, cohort, config.seed).parts)
        for cohort in cohorts(federation, dict.fromkeys(held, 1), {}, config.seed)
    ]
    assert np.mean(drawn) == pytest.approx(5, abs=5 * math.sqrt(3.75 / 400))
    assert max(drawn) > 5


@pytest.mark.slow
def test_a_run_has_the_expected_number_of_clients_in_a_round(tmp_path) -> None:
    prepared = prepare(
        make_config(
            {
                "run": {"dir": str(tmp_path / "run"), "evaluate_every": 1000},
                "data": {"path": "marketplace", "max_conversations": 160},
                "train": {"steps_per_round": 0},
                "federation": {"rounds": 60, "clients_per_round": 4},
                "privacy": {"unit": "client", **PRIVACY, "delta": 1e-2},
            },
            place="test",
        )
    )
    assert len(prepared.parties) == 8
    records, _ = verify(federate(prepared).folder.ledger)
    sizes = [len(record.payload["clients"]) for record in records if record.kind == "round"]
    assert np.mean(sizes) == pytest.approx(4, abs=5 * math.sqrt(2 / 60))


def test_a_round_is_charged_before_it_is_drawn_and_to_whom_it_belongs() -> None:
    clients = plans_of({"unit": "client", **PRIVACY, "noise_multiplier": None, "epsilon": 5.0})
    steps = {"rome": 2, "oslo": 5}
    cohort = Cohort(0, (Part("oslo", 0), Part("rome", 0)), (), 0.0)
    assert charges(clients, cohort, steps) == {FEDERATION: 1}
    assert charges(clients, replace(cohort, parts=()), steps) == {FEDERATION: 1}
    assert affordable(clients, cohort, {FEDERATION: 2}, steps) == cohort
    assert affordable(clients, cohort, {FEDERATION: 3}, steps).parts == ()
    # All owners in every step: without sampling the noise for a target is found at once.
    everyone = {"train": {"batch_size": 9}}
    owners = plans_of(
        {"unit": "owner", **PRIVACY, "noise_multiplier": None, "epsilon": 5.0}, **everyone
    )
    assert charges(owners, cohort, steps) == {"rome": 2, "oslo": 5}
    assert owners.plans["rome"].releases == 3
    some = affordable(owners, cohort, {"rome": 1, "oslo": 0}, steps)
    assert [part.client for part in some.parts] == ["rome"]
    assert some.failed == ("oslo",)
    nobody = affordable(owners, cohort, {"rome": 2, "oslo": 0}, steps)
    assert nobody.parts == ()
    none = plans_of({"unit": "none"})
    assert charges(none, cohort, steps) == {}
    assert affordable(none, cohort, {}, steps) is cohort


def test_the_facts_name_the_worst_site_and_a_person_at_all_of_them() -> None:
    privacy = {**PRIVACY, "generator": "cryptographic"}
    plans = plans_of({"unit": "owner", **privacy}, train={"batch_size": 9})
    told = facts(plans, {"rome": 1, "oslo": 3})
    assert (told["relation"], told["units_of_person"]) == ("add or remove one unit", 1)
    assert told["epsilon"] == plans.plans["oslo"].epsilon(3).epsilon
    assert told["clients"] == {
        "rome": plans.plans["rome"].epsilon(1).epsilon,
        "oslo": plans.plans["oslo"].epsilon(3).epsilon,
    }
    assert told["epsilon_of_a_person_at_all"] > told["epsilon"]
    assert told["releases"] == 3
    # No sampling: three plain Gaussians at 1.5, the closed form of Balle and Wang, by hand 3.753.
    assert told["epsilon"] == pytest.approx(3.753, abs=0.002)
    assert told["noise_std"] == pytest.approx(1.5 * 0.3, rel=1e-5)
    text = " ".join(told["statement"])
    for words in ("one person's text at one client", "oslo", "at 2 of the 2 clients", "held-out"):
        assert words in text
    seeded = facts(
        plans_of({"unit": "owner", **PRIVACY}, train={"batch_size": 9}), {"rome": 1, "oslo": 3}
    )
    assert seeded["epsilon"] is seeded["epsilon_rdp"] is None
    assert "seeded for tests" in seeded["statement"][0]
    assert "clients" not in seeded


# A person who has several conversations.


def everyone(privacy, held=None):
    """Every unit is in every step, so that each figure has a closed form."""
    told = {**PRIVACY, "generator": "cryptographic", **privacy}
    return plans_of(told, held, train={"batch_size": 9}, federation={"rounds": 2})


def plain_gaussian(*parts: tuple[float, int]) -> float:
    """ε of plain Gaussians by dp-accounting: of each the multiplier, and how often."""
    inverse = math.sqrt(sum(count / multiplier**2 for multiplier, count in parts))
    return dp_accounting.get_epsilon_gaussian(1 / inverse, PRIVACY["delta"])


SEVERAL = {"rome": sequences("ann", "ann", "ann", "bob"), "oslo": sequences("ann", "eve", "eve")}


def test_a_person_with_several_conversations_moves_the_sum_by_all_of_them() -> None:
    """Unit example: three of Ann's at Rome and up to two of Eve's at Oslo, not one of each."""
    plans = everyone({"unit": "example"}, SEVERAL)
    assert plans.units_of_person == {"rome": 3, "oslo": 2}
    told = facts(plans, {"rome": 2, "oslo": 2})
    wanted = plain_gaussian((1.5 / 3, 2), (1.5 / 2, 2))
    assert told["epsilon_of_a_person_at_all"] == pytest.approx(wanted, rel=1e-6)
    assert told["epsilon_of_a_person_at_all"] > 3 * plain_gaussian((1.5, 4))
    assert (told["units_of_person"], told["sites_per_owner"]) == (3, 2)
    text = " ".join(told["statement"])
    assert "For a person with up to 3 conversations at one client, at 2 of the 2 clients" in text
    assert f"ε = {number(wanted)}" in text
    assert "taken as public" in text


def test_of_several_clients_the_ones_where_a_person_has_most_are_composed() -> None:
    plans = everyone({"unit": "example"}, SEVERAL)
    one = replace(plans, sites_per_owner=1)
    found = one.everywhere({"rome": 2, "oslo": 2})
    assert found is not None
    assert found.epsilon == pytest.approx(plain_gaussian((1.5 / 3, 2)), rel=1e-6)
    # Who has spent nothing has lost nothing, however much is there.
    other = one.everywhere({"rome": 0, "oslo": 2})
    assert other is not None
    assert other.epsilon == pytest.approx(plain_gaussian((1.5 / 2, 2)), rel=1e-6)


def test_a_conversation_that_was_cut_is_one_of_a_persons() -> None:
    cut = tuple(replace(one, record=0) for one in sequences("ann", "ann", "ann"))
    assert everyone({"unit": "example"}, {"rome": cut}).units_of_person == {"rome": 1}


@pytest.mark.slow
def test_under_sampling_a_person_is_a_mixture_of_gaussians() -> None:
    privacy = {"unit": "example", **PRIVACY, "generator": "cryptographic"}
    plans = plans_of(privacy, {"rome": sequences("ann", "ann", "bob", "cy")})
    (plan,) = plans.plans.values()
    release = accounting.SampledExamples(1.5, 0.5, 2)
    assert plan.release_for(2) == release
    found = facts(plans, {"rome": 3})["epsilon_of_a_person_at_all"]
    wanted = accounting.epsilon([(release, 3)], PRIVACY["delta"]).epsilon
    assert found == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    "held",
    [
        {"rome": sequences(None, None), "oslo": sequences(None)},
        {"rome": sequences("ann", "ann"), "oslo": sequences("ann", None)},
    ],
)
def test_where_owners_are_unknown_nothing_bounds_a_person(held) -> None:
    plans = everyone({"unit": "example"}, held)
    told = facts(plans, dict.fromkeys(held, 2))
    assert told["epsilon"] > 0
    assert told["epsilon_of_a_person_at_all"] is told["units_of_person"] is None
    text = " ".join(told["statement"])
    assert "No bound for a person, whose conversations are not known to belong together" in text
    assert "For a person" not in text


@pytest.mark.parametrize(("unit", "known"), [("owner", True), ("example", False)])
def test_who_knows_counts_alone_knows_of_persons_only_where_they_are_the_units(unit, known) -> None:
    """A server makes its plans from the numbers that sites tell; nobody tells how many are whose."""
    tree = {**PRIVACY, "generator": "cryptographic", "unit": unit}
    config = configured(privacy=tree, train={"batch_size": 9}, federation={"rounds": 2})
    plans = protect.plans_of(config, {"rome": 4, "oslo": 3}, 7, sites=2)
    told = facts(plans, {"rome": 2, "oslo": 2})
    figure = told["epsilon_of_a_person_at_all"]
    assert figure == (pytest.approx(plain_gaussian((1.5, 4)), rel=1e-6) if known else None)
    assert ("No bound for a person" in " ".join(told["statement"])) is not known


def test_a_person_moves_one_sum_with_shared_noise_by_all_that_she_has_anywhere() -> None:
    """Units add up over sites before they move the sum: 3 + 2, not the composition of both."""
    shares = Shares("discrete_gaussian", 8, 6, 4.0, Lattice(7, 64.0, 66.0))
    plan = plan_of(unit="example", size=7, shares=shares, delta=1e-5)
    plain = PrivacySettings(unit="example", noise_multiplier=1.0, delta=1e-5, clip_norm=1.0)
    plans = Plans(
        plain, {"rome": plan, "oslo": plan, "bern": plan}, {}, 2, {"rome": 3, "oslo": 1, "bern": 2}
    )
    assert isinstance(shares.release, accounting.Concentrated)
    five = accounting.Concentrated(25 * shares.release.rho)
    found = plans.everywhere({"rome": 4, "oslo": 4, "bern": 4})
    assert found is not None
    assert found.epsilon >= accounting.epsilon([(five, 4)], 1e-5).epsilon * (1 - 1e-9)
    moved = accounting.epsilon([(shares.moved_by(5).release, 4)], 1e-5).epsilon
    assert found.epsilon >= moved > plan.epsilon(4).epsilon
    assert found.epsilon == pytest.approx(
        max(moved, accounting.epsilon([(shares.release, 100)], 1e-5).epsilon), rel=1e-6
    )


def test_the_statement_says_for_whom_held_out_losses_are() -> None:
    text = " ".join(claim(everyone({"unit": "owner"})))
    for words in (
        "held-out losses, which are exact",
        "in one process they stand in the ledger and the metrics",
        "across machines no site sends its own",
        "if only by one conversation, begins a new count",
    ):
        assert words in text
