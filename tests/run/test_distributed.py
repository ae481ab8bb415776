"""Runs in which clients add the noise in shares under a secure sum, and nobody adds it all."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_faults import Killed
from test_private_run import READ_ONE_BY_ONE, STRATEGIES, strategy_of
from test_spending import at, build_world, charged, charges_of, payloads

from sottovoce.codec.coding import quantise
from sottovoce.codec.settings import SecureSettings
from sottovoce.errors import AbortedError, ConfigError, RefusedError, VerificationError
from sottovoce.privacy import accounting
from sottovoce.privacy.guard import SharedGuard
from sottovoce.privacy.settings import AdaptiveClip
from sottovoce.privacy.shares import Shares
from sottovoce.rng import seeded_source
from sottovoce.run import contribute, local, secure, sums
from sottovoce.run.budget import Row, shares_row
from sottovoce.run.distributed import Crowd, coding_of, crowd_of, lattice_of, shares_of
from sottovoce.run.local import Outcome, federate
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import claim, facts
from sottovoce.run.secure import Contribution, Noise, Summing, sum_of
from sottovoce.update import Layout, Update, unflatten

NAMES = tuple(f"client {place}" for place in range(5))
SECAGG = {"aggregation": "secagg"}
UNITS = ("client", "owner", "example")


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client, NAMES)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def shared(
    world: Prepared,
    root: Path,
    unit: str = "client",
    secure: dict[str, Any] | None = None,
    **changes: Any,
) -> Prepared:
    """A run in this folder whose clients add shares of the noise."""
    changes = {"mechanism": "skellam", "clip_norm": 0.5, **changes}
    if unit != "client":
        changes["federation"] = {"strategy": "fedsgd", **changes.get("federation", {})}
        everyone = {"optimizer": "sgd", "batch_size": 2**31 - 1}
        changes["train"] = everyone | changes.get("train", {})
    return at(world, root, unit, trust="none", secure=secure or SECAGG, **changes)


def seeded(world: Prepared, root: Path, unit: str, **changes: Any) -> Outcome:
    return federate(shared(world, root, unit, generator="seeded_for_tests", **changes))


# The same model, whatever hides the sums


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("mechanism", ["skellam", "discrete_gaussian"])
def test_masks_helpers_and_encryption_give_the_same_bits(
    world: Prepared, tmp_path: Path, unit: str, mechanism: str
) -> None:
    kinds = ["secagg", "helpers"]
    if mechanism == "skellam":
        pytest.importorskip("tenseal")
        kinds.append("he")
    found = {
        seeded(
            world,
            tmp_path / kind,
            unit,
            mechanism=mechanism,
            # With nobody corrupt encryption bears as much as masks do.
            secure={"aggregation": kind, "corrupt": 0.0},
            federation={"minimum_clients": 4},
        ).adapter_sha256
        for kind in kinds
    }
    assert len(found) == 1


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - set(READ_ONE_BY_ONE)))
def test_every_algorithm_that_needs_only_sums_runs_with_shares_of_noise(
    world: Prepared, tmp_path: Path, name: str
) -> None:
    run = shared(world, tmp_path / "run", noise_multiplier=0.3, **strategy_of(name))
    outcome = federate(run)
    assert np.isfinite(outcome.weights).all()
    assert set(outcome.spent.values()) == {1}


@pytest.mark.parametrize("name", ["fedavg", "ffa", "server_damping", "fedsgd"])
def test_algorithms_of_one_plain_step_serve_people(
    world: Prepared, tmp_path: Path, name: str
) -> None:
    strategy = {"federation": {"strategy": name}}
    outcome = federate(shared(world, tmp_path / "run", "owner", **strategy))
    still = [n for n in world.model.layout.shapes if name == "ffa" and "lora_A" in n]
    after, first = (
        unflatten(row, world.model.layout) for row in (outcome.weights, world.model.initial(0))
    )
    for tensor, value in after.items():
        assert (value == first[tensor]).all() == (tensor in still)


def test_the_mean_gradient_of_all_people_is_what_moves_the_model(
    world: Prepared, tmp_path: Path
) -> None:
    """Equally many owners everywhere, so that the mean over clients is the mean over people."""
    little = {"noise_multiplier": 0.01, "generator": "seeded_for_tests"}
    descent = {"federation": {"strategy": "fedsgd"}, "train": {"batch_size": 2**31 - 1}}
    own = federate(at(world, tmp_path / "own", "owner", clip_norm=0.5, **little, **descent))
    together = federate(shared(world, tmp_path / "together", "owner", **little))
    first = world.model.initial(0)
    moved = np.linalg.norm(own.weights - first)
    assert moved > 0.005
    assert np.linalg.norm(together.weights - own.weights) < 0.1 * moved


# How much noise there is


def _crowd(clients: int, least: int, corrupt: float, units: int = 0) -> Crowd:
    wrong = math.ceil(corrupt * clients)
    return Crowd(clients, least, wrong, least - wrong, units, 10)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("present", [6, 7, 8])
@pytest.mark.parametrize("mechanism", ["skellam", "discrete_gaussian"])
def test_a_decoded_sum_has_the_noise_of_the_shares_in_it(
    world: Prepared, tmp_path: Path, present: int, mechanism: str, inside: bool
) -> None:
    """Six of eight must deliver and one may be corrupt, so five shares carry the whole noise."""
    unit = "owner" if inside else "client"
    config = shared(world, tmp_path, unit, mechanism=mechanism).config
    crowd, size = _crowd(8, 6, 0.05, units=24), 4000
    assert crowd.honest == 5
    std = 0.7
    shares = shares_of(config, crowd, [size], std)
    coding = coding_of(config, crowd, size, shares.largest_noise_std)
    assert coding is not None
    names = [f"{place}" for place in range(present)]
    nothing = np.zeros(size, np.float32)
    updates = [Update({"x": nothing}, name, 0, 1, 0, None, weight=1) for name in names]
    given = {name: Contribution(np.zeros(size, np.int64), 3) for name in names if inside}
    noise = Noise(shares, lambda name: seeded_source(5, "share", name, present), given)
    how = Summing(
        SecureSettings(), None, 1, Layout({"x": (size,)}), coding, 3 if inside else 1, 6, noise
    )
    summed = sum_of(updates, (), how, round_index=0, model_sha256=bytes(32))
    total = summed.mean["x"].astype(np.float64) * (3 * present if inside else present)
    expected = std * math.sqrt(present / 5)

    def fits(std: float) -> bool:
        # 4,000 entries leave 1.1 percent of the standard deviation open.
        return abs(float(total.std()) / std - 1) < 0.045

    assert fits(expected)
    assert not fits(0.9 * expected)
    assert not fits(1.1 * expected)


def test_a_sum_without_one_that_delivered_is_not_told(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared(world, tmp_path / "run")
    real = secure._total

    def forget(how: Any, vectors: Any, *where: Any) -> Any:
        return real(how, {name: vectors[name] for name in NAMES[1:]}, *where)

    monkeypatch.setattr(secure, "_total", forget)
    with pytest.raises(VerificationError, match="of 4 clients"):
        federate(run)
    assert payloads(tmp_path / "run", "round") == []


def test_a_crowd_has_room_for_the_largest_clients_and_rounds_the_corrupt_ones_up(
    world: Prepared, tmp_path: Path
) -> None:
    """A sum has room for the units of any three clients, so for those of the three largest."""
    three = {"clients_per_round": 3}
    config = shared(world, tmp_path, "owner", federation=three).config
    crowd = crowd_of(config, [2, 30, 4, 25, 3])
    # All three must deliver, as two neighbours bring a secret back, and 0.15 corrupt ones are one.
    assert crowd == Crowd(clients=3, least=3, corrupt=1, honest=2, units=59, rounds=2)
    more = shared(world, tmp_path, federation={"minimum_clients": 5}).config
    assert crowd_of(more, [0] * 5) == Crowd(
        clients=5, least=5, corrupt=1, honest=4, units=0, rounds=2
    )
    # Fewer than the masks need by themselves are not enough, whatever was asked for.
    fewer = shared(world, tmp_path, federation={"minimum_clients": 2}).config
    assert crowd_of(fewer, [0] * 5).least == 4


def test_a_sum_has_room_for_all_people_in_a_single_entry(world: Prepared, tmp_path: Path) -> None:
    config = shared(world, tmp_path, "owner", secure=SECAGG | {"bits": 20}).config
    crowd = _crowd(5, 4, 0.05, units=1000)
    coding = coding_of(config, crowd, 40, 0.1)
    assert coding is not None
    assert coding.clients == 1000
    assert coding.clip_norm * coding.scale * 1000 < 2.0**19
    # A whole client's update is one contribution, however many people are behind it.
    one = coding_of(shared(world, tmp_path, secure=SECAGG | {"bits": 20}).config, crowd, 40, 0.1)
    assert one is not None
    assert one.clients == 5


def test_a_sum_of_fewer_than_carry_the_noise_is_not_told(world: Prepared, tmp_path: Path) -> None:
    config = shared(world, tmp_path).config
    crowd = _crowd(8, 6, 0.05)
    shares = shares_of(config, crowd, [64], 0.7)
    coding = coding_of(config, crowd, 64, shares.largest_noise_std)
    assert coding is not None
    noise = Noise(shares, lambda name: seeded_source(5, name))
    how = Summing(SecureSettings(), None, 1, Layout({"x": (64,)}), coding, 1, 6, noise)
    updates = [Update({"x": np.ones(64, np.float32)}, f"{k}", 0, 1, 0, None) for k in range(5)]
    updates = [replace(update, weight=1) for update in updates]
    with pytest.raises(AbortedError, match="5 clients, and 6 are needed"):
        sum_of(updates, (), how, round_index=0, model_sha256=bytes(32))


@pytest.mark.parametrize(
    ("clients", "size", "bits"), [(8, 1000, 16), (1000, 10**6, 20), (50_000, 10**6, 24)]
)
def test_words_are_so_wide_that_rounding_costs_half_a_percent(
    world: Prepared, tmp_path: Path, clients: int, size: int, bits: int
) -> None:
    config = shared(world, tmp_path).config
    coding = coding_of(config, _crowd(clients, clients, 0.05), size, 1.0)
    assert coding is not None
    assert coding.bits == bits
    unit = coding.clip_norm * coding.scale
    assert lattice_of(coding).l2 <= 1.005 * unit
    if bits > 16:
        narrower = replace(coding, bits=bits - 4)
        assert lattice_of(narrower).l2 > 1.005 * narrower.clip_norm * narrower.scale


@pytest.mark.parametrize("unit", UNITS)
def test_the_plan_and_the_sums_agree_on_the_noise(
    world: Prepared, tmp_path: Path, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared(world, tmp_path / "run", unit, federation={"minimum_clients": 5})
    people = run.plans.units
    seen: list[Noise] = []
    real = sums.sum_of

    def listen(updates: Any, absent: Any, how: Summing, **named: Any) -> Any:
        assert how.noise is not None
        # A weight above one would divide the update and not the noise.
        assert how.heaviest == (
            1 if unit == "client" else max(map(len, people.values()), default=0)
        )
        seen.append(how.noise)
        return real(updates, absent, how, **named)

    monkeypatch.setattr(sums, "sum_of", listen)
    federate(run)
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    for noise in seen:
        # Five deliver, of whom one may be corrupt.
        assert (noise.shares.certain, noise.shares.clients) == (4, 5)
        assert noise.shares.noise_std == plan.noise_std == 0.5
        assert plan.shares.lattice.covers(noise.shares.lattice)


def test_no_noise_is_drawn_twice(world: Prepared, tmp_path: Path) -> None:
    run = shared(world, tmp_path / "run")
    sources = [run.plans.source(0, "share", name, place) for name in NAMES for place in (0, 1)]
    assert len({source.words(4).tobytes() for source in sources}) == len(sources)


def test_the_noise_of_tests_differs_between_clients_and_rounds(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeded noise that came again would cancel in the difference of two rounds."""
    run = shared(world, tmp_path / "run", generator="seeded_for_tests")
    drawn: list[bytes] = []
    real = Shares.draw

    def listen(own: Shares, source: Any) -> Any:
        share = real(own, source)
        drawn.append(share.tobytes())
        return share

    monkeypatch.setattr(Shares, "draw", listen)
    federate(run)
    assert len(set(drawn)) == len(drawn) == 2 * len(NAMES)


# What one unit moves


@given(st.integers(0, 2**32), st.integers(2, 300), st.floats(0.01, 50))
def test_a_whole_client_moves_the_integers_by_no_more_than_the_plan_says(
    seed: int, size: int, length: float
) -> None:
    draw = np.random.default_rng(seed)
    spiked = draw.standard_normal(size) * (draw.random(size) < 0.2)
    vector = (length * spiked / max(np.linalg.norm(spiked), 1e-9)).astype(np.float32)
    coding = replace(_CODING, size=size)
    steps = quantise(
        vector,
        coding,
        weight=1,
        heaviest=1,
        rotation_seed=draw.bytes(32),
        rounding=seeded_source(seed, "rounding"),
        norm_limit=lattice_of(coding).l2,
    ).steps
    assert np.linalg.norm(steps.astype(np.float64)) <= lattice_of(coding).l2


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([1e-6, 1.0, 1e4]))
def test_a_person_moves_the_integers_of_a_client_by_no_more_than_the_plan_says(
    seed: int, people: int, length: float
) -> None:
    import torch

    draw = np.random.default_rng(seed)
    rows = (length * draw.standard_normal((people, 40))).astype(np.float32)
    rows[0, 0] = draw.choice([rows[0, 0], np.nan, np.inf])
    plan = _PLAN
    assert plan.shares is not None
    totals = []
    for part in (rows, rows[1:]):
        guard = SharedGuard(replace(plan, size=40, units=len(part)))
        guard.add(torch.from_numpy(part), np.zeros(len(part)))
        totals.append(guard.total)
    moved = np.linalg.norm((totals[0] - totals[1]).astype(np.float64))
    assert moved <= plan.shares.lattice.l2
    assert np.abs(totals[0]).max(initial=0) <= people * _UNIT_CODING.limit


def test_a_guard_that_shares_noise_moves_nothing_and_counts_what_was_not_finite() -> None:
    import torch

    rows = torch.ones(3, 40)
    rows[1, 7] = math.nan
    guard = SharedGuard(replace(_PLAN, size=40, units=3))
    guard.add(rows[:2], np.zeros(2))
    guard.add(rows[2:], np.zeros(1))
    assert guard.zeroed == 1
    assert guard.sample().tolist() == [0, 1, 2]
    assert guard.release().tolist() == [0.0] * 40
    # Two people within, each of the norm 0.5, and one who counts as zero.
    assert _PLAN.shares is not None
    length = float(np.linalg.norm(guard.total)) / _PLAN.shares.lattice.scale
    assert length == pytest.approx(1.0, rel=1e-3)


def test_a_guard_that_shares_noise_needs_shares_and_one_norm() -> None:
    for wrong in ({"shares": None}, {"clip_norm": AdaptiveClip(initial=1.0)}):
        with pytest.raises(ValueError, match="a fixed clip norm"):
            SharedGuard(replace(_PLAN, size=40, **wrong))


def test_a_run_rounds_again_until_the_norm_is_what_was_accounted_for(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared(world, tmp_path / "run", federation={"rounds": 1})
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    limits, norms = [], []
    real = secure.quantise

    def listen(*arguments: Any, **named: Any) -> Any:
        found = real(*arguments, **named)
        limits.append(named["norm_limit"])
        norms.append(float(np.linalg.norm(found.steps.astype(np.float64))))
        return found

    monkeypatch.setattr(secure, "quantise", listen)
    federate(run)
    assert len(limits) == len(NAMES)
    assert set(limits) == {plan.shares.lattice.l2}
    assert max(norms) <= plan.shares.lattice.l2


def _prepared_values() -> tuple[Any, Any, Any]:
    """Values that need no model: how five clients write 300 entries, and a plan over 40."""
    from sottovoce.config import make_config
    from sottovoce.privacy.plan import make_plan

    def config(unit: str) -> Any:
        tree: dict[str, Any] = {
            "data": {"path": "marketplace"},
            "secure": SECAGG,
            "privacy": {
                "unit": unit,
                "trust": "none",
                "mechanism": "skellam",
                "delta": 1e-3,
                "clip_norm": 0.5,
                "noise_multiplier": 1.0,
            },
        }
        if unit == "owner":
            tree["federation"] = {"strategy": "fedsgd"}
        return make_config(tree, place="test")

    crowd = crowd_of(config("owner"), [6] * 5)
    client = coding_of(config("client"), crowd, 300, 1.0)
    owner = coding_of(config("owner"), crowd, 40, 1.0)
    plan = make_plan(
        config("owner").privacy,
        units=6,
        expected_units=6,
        releases=2,
        size=40,
        shares=lambda std: shares_of(config("owner"), crowd, [40], std),
    )
    return client, owner, plan


_CODING, _UNIT_CODING, _PLAN = _prepared_values()


def test_an_update_that_is_not_finite_counts_as_zero_and_nobody_else_learns_it(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared(world, tmp_path / "run", federation={"rounds": 1})
    real = contribute._finish

    def spoil(*arguments: Any) -> Any:
        update, state = real(*arguments)
        if update.client == NAMES[2]:
            tensors = {name: np.full_like(value, np.nan) for name, value in update.tensors.items()}
            update = replace(update, tensors=tensors)
        return update, state

    monkeypatch.setattr(contribute, "_finish", spoil)
    outcome = federate(run)
    assert outcome.zeroed == 1
    assert np.isfinite(outcome.weights).all()
    (row,) = payloads(tmp_path / "run", "round")
    assert row["clients"] == list(NAMES)
    assert (row["loss"], row["examples"], row["weights"]) == (None, [], [])


def test_clients_whose_training_ended_early_deliver_zeros_and_stop_no_round(
    world: Prepared, tmp_path: Path
) -> None:
    """All five must deliver and none is finite: a round that stopped would tell of their text."""
    wild = {"learning_rate": 1e38, "steps_per_round": 3}
    five = {"rounds": 1, "minimum_clients": 5}
    outcome = federate(shared(world, tmp_path / "run", train=wild, federation=five))
    assert outcome.zeroed == 5
    assert np.isfinite(outcome.weights).all()
    (row,) = payloads(tmp_path / "run", "round")
    assert (row["clients"], row["failed"]) == (list(NAMES), [])


# What it costs, and what is said


@pytest.mark.parametrize("unit", UNITS)
def test_the_noise_for_a_target_spends_it_and_no_more(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    run = shared(world, tmp_path / "run", unit, noise_multiplier=None, epsilon=3.0)
    outcome = federate(run)
    told = facts(run.plans, outcome.spent)
    assert 2.99 < told["epsilon"] <= 3.0
    assert (told["accountant"], told["releases"], told["sampling_probability"]) == ("rdp", 2, 1.0)
    assert told["noise_std"] == pytest.approx(0.5 * told["noise_multiplier"])
    assert outcome.epsilon_of_data == pytest.approx(told["epsilon"])
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    assert plan.epsilon(1).epsilon < plan.epsilon(2).epsilon
    said = " ".join(claim(run.plans, outcome.spent))
    assert "none is claimed" in said
    assert "Skellam noise" in said
    assert f"{plan.shares.certain} honest clients" in said


def test_a_person_at_every_site_moves_one_sum_from_all_of_them(
    world: Prepared, tmp_path: Path
) -> None:
    run = shared(world, tmp_path / "run", "owner", noise_multiplier=20.0)
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    spent = dict.fromkeys(NAMES, 2)
    found = run.plans.everywhere(spent).epsilon
    # Two sums, each moved five times as far: as dear as fifty sums moved once.
    fifty = accounting.epsilon([(plan.shares.release, 50)], plan.delta).epsilon
    assert found == pytest.approx(fifty, rel=0.01)
    assert run.plans.everywhere({}).epsilon == 0


def test_a_client_enforces_how_often_it_takes_part(world: Prepared, tmp_path: Path) -> None:
    often = shared(
        world,
        tmp_path / "run",
        noise_multiplier=None,
        epsilon=3.0,
        max_participations=2,
        federation={"rounds": 3},
    )
    with pytest.raises(RefusedError, match="2 of 3 rounds"):
        federate(often)
    rare = shared(world, tmp_path / "other", noise_multiplier=None, epsilon=3.0)
    plans = [next(iter(run.plans.plans.values())) for run in (often, rare)]
    assert plans[0].noise_multiplier == pytest.approx(plans[1].noise_multiplier, rel=1e-4)


def test_a_client_stays_away_after_its_last_time_even_if_no_target_would_stop_it(
    world: Prepared, tmp_path: Path
) -> None:
    """With a noise multiplier nothing runs out, so the cap alone holds."""
    run = shared(world, tmp_path / "run", max_participations=2, federation={"rounds": 3})
    with pytest.raises(RefusedError, match="2 of 3 rounds"):
        federate(run)
    assert charged(tmp_path / "run") == 2 * len(NAMES)


def test_more_rounds_of_a_client_are_one_release_each_however_many_steps(
    world: Prepared, tmp_path: Path
) -> None:
    run = shared(world, tmp_path / "run", train={"steps_per_round": 3})
    federate(run)
    assert charged(tmp_path / "run") == 2 * len(NAMES)


def test_a_round_that_died_is_drawn_again_and_charged_twice(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared(world, tmp_path / "run")
    real = Shares.draw

    def die(*arguments: Any) -> Any:
        if charges_of(tmp_path / "run", 1):
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Shares, "draw", die)
        with pytest.raises(Killed):
            federate(run)
    outcome = federate(run, resume=True)
    assert outcome.rounds == 2
    assert charged(tmp_path / "run") == 3 * len(NAMES)
    assert set(outcome.spent.values()) == {3}


def test_a_row_of_the_budget_holds_what_a_release_costs(world: Prepared, tmp_path: Path) -> None:
    import json

    run = shared(world, tmp_path / "run", mechanism="discrete_gaussian")
    plan = next(iter(run.plans.plans.values()))
    row = Row("x", "client", 1.0, 1.0, 2, json.loads(json.dumps(shares_row(plan.shares))))
    assert row.release == plan.release


# What is refused

REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "no secure sum": ({"secure": {"aggregation": "none", "bits": 20}}, "share of the noise only"),
    "two norms": ({"secure": SECAGG | {"clip_norm": 1.0}}, "remove secure.clip_norm"),
    "weights": ({"secure": SECAGG | {"max_weight": 3}}, "every unit weighs the same"),
    "a norm that moves": ({"clip_norm": {"initial": 1.0}}, "write a number"),
    "losses": ({"loss_noise_multiplier": 5.0}, "no room for losses"),
    "one by one": ({"federation": {"strategy": "flora"}}, "flora reads every client's"),
    "several steps": (
        {"unit": "owner", "federation": {"strategy": "fedavg"}, "train": {"steps_per_round": 2}},
        "one plain step, and train.steps_per_round is 2",
    ),
    "another optimizer": (
        {"unit": "owner", "federation": {"strategy": "ffa"}, "train": {"optimizer": "adamw"}},
        "train.optimizer is 'adamw'",
    ),
    "something else": (
        {"unit": "owner", "federation": {"strategy": "fedsa"}},
        "fedsa sends or keeps",
    ),
    "drift": ({"unit": "owner", "federation": {"strategy": "scaffold"}}, "scaffold sends or keeps"),
    "in turns": ({"unit": "owner", "federation": {"strategy": "rolora"}}, "entries in turns"),
    "some people": (
        {"unit": "owner", "federation": {"strategy": "ffa"}, "train": {"batch_size": 2}},
        "every owner is read in every round",
    ),
    "steps of their own": (
        {
            "unit": "owner",
            "federation": {
                "strategy": "ffa",
                "devices": {"slow": {"share": 0.5, "steps_per_round": 2}},
            },
        },
        "remove steps_per_round",
    ),
    "late": (
        {"federation": {"asynchronous": {"buffer": 2, "concurrency": 3}}},
        "asynchronous",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_shares_of_noise_cannot_serve_is_refused(
    world: Prepared, tmp_path: Path, case: str
) -> None:
    changes, sentence = REFUSALS[case]
    with pytest.raises((ConfigError, ValueError), match=sentence):
        shared(world, tmp_path / "run", **changes)


@pytest.mark.parametrize(
    ("secure", "sentence"),
    [
        ({"aggregation": "helpers", "corrupt": 0.4}, "no honest share of noise is certain"),
        ({"aggregation": "secagg", "bits": 8}, "8 bits leave no room"),
    ],
)
def test_noise_that_nobody_could_add_is_refused_before_the_run(
    world: Prepared, tmp_path: Path, secure: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        shared(world, tmp_path / "run", secure=secure, noise_multiplier=50.0)


def test_a_size_that_no_plan_accounted_for_is_not_sent(world: Prepared, tmp_path: Path) -> None:
    run = shared(world, tmp_path / "run")
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    finer = replace(plan.shares.lattice, scale=2 * plan.shares.lattice.scale)
    wrong = replace(plan, shares=replace(plan.shares, lattice=finer))
    plans = replace(run.plans, plans=dict.fromkeys(NAMES, wrong))
    with pytest.raises(VerificationError, match="accounted for"):
        federate(replace(run, plans=plans))
    assert payloads(tmp_path / "run", "round") == []


@pytest.mark.parametrize("unit", ["client", "owner"])
def test_gradients_written_on_another_scale_than_the_sum_is_read_on_are_not_sent(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    """A coarser lattice covers a finer one; a client's update is written anew, people's are not."""
    run = shared(world, tmp_path / "run", unit)
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    coarser = replace(plan.shares.lattice, scale=plan.shares.lattice.scale / 2)
    other = replace(plan, shares=replace(plan.shares, lattice=coarser))
    run = replace(run, plans=replace(run.plans, plans=dict.fromkeys(NAMES, other)))
    if unit == "client":
        federate(run)
        return
    with pytest.raises(VerificationError, match="gradients were written"):
        federate(run)
    assert payloads(tmp_path / "run", "round") == []


# Who is corrupt


def test_one_corrupt_client_opens_any_ciphertext_so_each_bears_all_of_the_noise(
    world: Prepared, tmp_path: Path
) -> None:
    run = shared(world, tmp_path, secure={"aggregation": "he"}, federation={"minimum_clients": 5})
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    assert (plan.shares.certain, plan.shares.clients) == (1, 5)
    nobody = shared(
        world,
        tmp_path,
        secure={"aggregation": "he", "corrupt": 0.0},
        federation={"minimum_clients": 5},
    )
    plan = next(iter(nobody.plans.plans.values()))
    assert plan.shares is not None
    assert plan.shares.certain == 5


def test_more_corrupt_clients_than_the_masks_bear_are_refused(
    world: Prepared, tmp_path: Path
) -> None:
    """Five clients have four neighbours each; against one that keeps to it the masks bear two."""
    secure = SECAGG | {"corrupt": 0.45, "server": "semi-honest"}
    with pytest.raises(ConfigError, match=r"0\.45 is 3 of 5 clients, and the masks bear 2"):
        shared(world, tmp_path, secure=secure, federation={"minimum_clients": 5})


@pytest.mark.parametrize("server", ["malicious", "semi-honest"])
def test_the_masks_bear_the_stated_share_of_corrupt_clients(
    world: Prepared, tmp_path: Path, server: str
) -> None:
    """Against a server that breaks the protocol the threshold rises for it."""
    secure = SECAGG | {"corrupt": 0.3, "server": server}
    run = shared(world, tmp_path, secure=secure, federation={"minimum_clients": 5})
    said = " ".join(claim(run.plans))
    assert (
        "together with up to 2 of the clients of a round, as long as the secure sum holds" in said
    )


def test_a_round_that_never_ended_counts_as_a_participation(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared(world, tmp_path / "run", max_participations=2, federation={"rounds": 4})
    real = local._bytes_up

    def die(played: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(local, "_bytes_up", die)
        with pytest.raises(Killed):
            federate(run)
    assert real is local._bytes_up
    with pytest.raises(RefusedError, match="max_participations = 2 covers no more"):
        federate(run, resume=True)
    assert charged(tmp_path / "run") == 2 * len(NAMES)
    assert len(payloads(tmp_path / "run", "round")) == 1


def test_no_figure_of_a_clients_text_leaves_it(world: Prepared, tmp_path: Path) -> None:
    outcome = federate(shared(world, tmp_path / "run"))
    assert outcome.tokens == 0


def test_a_loss_that_is_not_finite_stops_nobody(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = contribute._finish

    def spoil(*arguments: Any) -> Any:
        update, state = real(*arguments)
        return replace(update, loss=float("inf")), state

    monkeypatch.setattr(contribute, "_finish", spoil)
    assert federate(shared(world, tmp_path / "run")).rounds == 2


def test_the_chance_of_a_wrap_is_said_and_small(world: Prepared, tmp_path: Path) -> None:
    run = shared(world, tmp_path)
    told = sums.told(run)
    found = secure.facts(**told)["wrap_log2"]
    assert -300 < found <= -30
    (line,) = secure.claim(**told)
    assert f"with a chance of at most 2^{math.ceil(found)}" in line
    plain = sums.told(at(world, tmp_path, "none", secure=SECAGG | {"clip_norm": 1.0}))
    assert secure.facts(**plain)["wrap_log2"] is None
    assert "wraps" not in secure.claim(**plain)[0]


def test_narrow_shares_are_charged_one_by_one_where_that_is_dearer(
    world: Prepared, tmp_path: Path
) -> None:
    """Shares of half an integer are far from a Gaussian, and each sum pays for that by itself."""
    run = shared(world, tmp_path, "owner", mechanism="discrete_gaussian")
    plan = next(iter(run.plans.plans.values()))
    assert plan.shares is not None
    narrow = replace(plan.shares, noise_std=1.2 / plan.shares.lattice.scale)
    narrow = replace(narrow, lattice=replace(narrow.lattice, l2=0.05))
    plans = replace(run.plans, plans=dict.fromkeys(NAMES, replace(plan, shares=narrow)))
    spent = dict.fromkeys(NAMES, 1)
    singly, together = (
        accounting.epsilon(releases, plan.delta).epsilon
        for releases in ([(narrow.release, 25)], [(narrow.moved_by(5).release, 1)])
    )
    assert singly > 1.2 * together
    assert plans.everywhere(spent).epsilon >= singly


def test_equal_plans_are_accounted_for_once_and_not_once_a_client(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shared(world, tmp_path, noise_multiplier=0.97)
    plan = next(iter(run.plans.plans.values()))
    many = {f"phone {place}": place % 3 for place in range(900)}
    plans = replace(run.plans, plans=dict.fromkeys(many, plan))
    asked: list[int] = []
    real = type(plan).epsilon

    def count(self: Any, releases: int | None = None) -> Any:
        asked.append(releases or 0)
        return real(self, releases)

    monkeypatch.setattr(type(plan), "epsilon", count)
    told = facts(plans, many)
    # Once for each number of releases, and a few times for what is said of the worst.
    assert len(asked) < 9
    assert len(set(told["clients"].values())) == 3
