"""Who takes part: the same again, nobody twice, rates that are what they say, and FedBuff replayed."""

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.config import make_config
from sottovoce.errors import ConfigError
from sottovoce.model.base import LoraSettings
from sottovoce.run.arms import Watch
from sottovoce.run.cohorts import Cohort, Part, cohorts, devices_of, staleness_scale
from sottovoce.run.play import play_round
from sottovoce.run.prepare import Party, Prepared
from sottovoce.strategies.settings import Device, FederationSettings
from sottovoce.train import Client, ClientState, Round, Rule, train
from sottovoce.update import flatten, unflatten

NAMES = tuple(f"client {place:02d}" for place in range(12))


def drawn(names=NAMES, steps=6, devices=None, seed=0, **federation):
    if not isinstance(steps, dict):
        steps = dict.fromkeys(names, steps)
    return list(cohorts(FederationSettings(**federation), steps, devices or {}, seed))


def clients_of(cohort):
    return [part.client for part in cohort.parts]


SYNCHRONOUS = st.fixed_dictionaries(
    {
        "rounds": st.integers(1, 6),
        "clients_per_round": st.none() | st.integers(5, 12),
        "failures": st.sampled_from([0.0, 0.3]),
        "stragglers": st.none()
        | st.fixed_dictionaries(
            {"share": st.floats(0, 0.5), "work": st.sampled_from(["partial", "dropped"])}
        ),
        "minimum_clients": st.integers(1, 2),
    }
)
ASYNCHRONOUS = st.integers(1, 12).flatmap(
    lambda concurrency: st.fixed_dictionaries(
        {
            "rounds": st.integers(1, 25),
            "failures": st.sampled_from([0.0, 0.4]),
            "asynchronous": st.fixed_dictionaries(
                {"buffer": st.integers(1, concurrency), "concurrency": st.just(concurrency)}
            ),
        }
    )
)


@given(SYNCHRONOUS | ASYNCHRONOUS, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_same_arguments_give_the_same_cohorts(federation, seed):
    steps = {name: 1 + place % 7 for place, name in enumerate(NAMES)}
    once = drawn(steps=steps, seed=seed, **federation)
    # The order in which clients are handed over is no argument.
    again = drawn(steps=dict(reversed(steps.items())), seed=seed, **federation)
    assert once == again
    assert [cohort.round for cohort in once] == list(range(federation["rounds"]))
    # A run that is resumed walks over the rounds that are done; a longer one begins alike.
    begun = cohorts(FederationSettings(**federation), steps, {}, seed)
    done = len(once) // 2
    assert list(islice(begun, done)) == once[:done]
    assert list(begun) == once[done:]
    longer = drawn(steps=steps, seed=seed, **(federation | {"rounds": len(once) + 3}))
    assert longer[: len(once)] == once


@given(SYNCHRONOUS | ASYNCHRONOUS, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_nobody_is_in_a_cohort_twice_or_trains_two_rounds_at_once(federation, seed):
    delivered = {}
    for cohort in drawn(seed=seed, **federation):
        names = clients_of(cohort)
        assert names == sorted(set(names))
        assert set(names) <= set(NAMES)
        for part in cohort.parts:
            assert 0 <= part.version <= cohort.round
            # Who trains begins after its last delivery was joined.
            assert part.version > delivered.get(part.client, -1)
        delivered |= dict.fromkeys(names, cohort.round)


@given(SYNCHRONOUS, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_whoever_is_drawn_delivers_or_failed(federation, seed):
    for cohort in drawn(seed=seed, **federation):
        names, failed = clients_of(cohort), list(cohort.failed)
        assert not set(names) & set(failed)
        assert failed == sorted(set(failed))
        size = min(federation["clients_per_round"] or 12, 12)
        # A round that was drawn again has met more clients than one cohort holds.
        assert len(names) + len(failed) >= size
        assert len(names) >= federation["minimum_clients"]
        assert all(part.version == cohort.round for part in cohort.parts)
        assert cohort.oldest_needed == cohort.round + 1


def test_another_seed_and_another_round_draw_others():
    some = [drawn(rounds=6, clients_per_round=4, seed=seed) for seed in range(3)]
    assert len({tuple(clients_of(cohort)) for one in some for cohort in one}) > 15


def test_without_a_number_everyone_takes_part_at_once():
    for cohort in drawn(rounds=3):
        assert clients_of(cohort) == list(NAMES)
        assert cohort.failed == ()
        assert all(part.stop_after is None for part in cohort.parts)


def fits(count, trials, rate, sigmas=4.0):
    """Whether so many hits in so many trials are what a rate gives."""
    return abs(count - trials * rate) < sigmas * np.sqrt(trials * rate * (1 - rate))


def test_every_client_is_drawn_equally_often():
    counts = Counter(
        name for cohort in drawn(rounds=1200, clients_per_round=3) for name in clients_of(cohort)
    )
    assert all(fits(counts[name], 1200, 3 / 12) for name in NAMES)
    assert not any(fits(counts[name], 1200, 4 / 12) for name in NAMES)


@pytest.mark.parametrize("rate", [0.1, 0.35])
def test_failures_come_at_the_rate_that_is_asked_for(rate):
    failed = Counter(name for c in drawn(rounds=600, failures=rate) for name in c.failed)
    count = sum(failed.values())
    assert fits(count, 600 * 12, rate)
    assert not fits(count, 600 * 12, rate * 1.25)
    assert not fits(count, 600 * 12, rate * 0.75)
    # Nobody fails more than others, and rounds do not fail together.
    assert all(fits(failed[name], 600, rate) for name in NAMES)
    sizes = [len(cohort.failed) for cohort in drawn(rounds=600, failures=rate)]
    assert np.var(sizes) == pytest.approx(12 * rate * (1 - rate), rel=0.25)


# Stragglers


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 3), (0.5, 6), (1.0, 12)])
def test_so_many_are_late_and_other_ones_each_time(share, count):
    seen = [
        {part.client: part.stop_after for part in cohort.parts if part.stop_after is not None}
        for cohort in drawn(rounds=40, stragglers={"share": share})
    ]
    assert [len(late) for late in seen] == [count] * 40
    if 0 < share < 1:
        assert len({tuple(late) for late in seen}) > 10


def test_a_straggler_gets_between_one_step_and_all_but_one_done():
    steps = {name: 2 + place for place, name in enumerate(NAMES)}
    done = {name: [] for name in NAMES}
    for cohort in drawn(steps=steps, rounds=400, stragglers={"share": 0.5}):
        for part in cohort.parts:
            if part.stop_after is not None:
                done[part.client].append(part.stop_after)
    for name, counts in done.items():
        most = steps[name] - 1
        assert set(counts) <= set(range(1, most + 1))
        # Uniformly, so both ends occur, and the mean lies between them.
        assert {1, most} <= set(counts)
        spread = np.sqrt((most**2 - 1) / 12)
        assert abs(np.mean(counts) - (1 + most) / 2) <= 4.5 * spread / np.sqrt(len(counts))


def test_late_clients_may_be_dropped():
    for cohort in drawn(rounds=10, stragglers={"share": 0.25, "work": "dropped"}):
        assert len(cohort.parts) == 9
        assert len(cohort.failed) == 3
        assert all(part.stop_after is None for part in cohort.parts)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_client_of_one_step_cannot_do_a_part_of_it(steps):
    for cohort in drawn(steps=steps, rounds=5, stragglers={"share": 1.0}):
        assert [part.stop_after for part in cohort.parts] == [1] * 12


# Rounds that are drawn again


def test_a_round_with_too_few_is_drawn_again():
    federation = {"rounds": 60, "clients_per_round": 6, "failures": 0.5, "minimum_clients": 4}
    some = drawn(**federation)
    assert all(4 <= len(cohort.parts) <= 6 for cohort in some)
    # Without a minimum most of these rounds would have had fewer.
    plain = drawn(**(federation | {"minimum_clients": 1}))
    few = [len(cohort.parts) < 4 for cohort in plain]
    assert sum(few) > 20
    # Whoever delivered the first time is not drawn again.
    for one, other, again in zip(some, plain, few, strict=True):
        assert again or (one.parts, one.failed) == (other.parts, other.failed)


def test_the_time_of_a_round_that_is_drawn_again_counts():
    some = drawn(rounds=30, failures=0.5, minimum_clients=7)
    times = [0.0, *(cohort.time for cohort in some)]
    taken = np.diff(times) / 6
    # Every attempt at a round of 12 waits for someone, for 6 steps at the speed of 1.
    np.testing.assert_allclose(taken, np.rint(taken), atol=1e-9)
    assert taken.min() == 1
    assert taken.max() > 1
    # Who failed at the first attempt and delivered at the last has delivered.
    assert all({*clients_of(c), *c.failed} == set(NAMES) for c in some)
    assert all(len(c.parts) + len(c.failed) == 12 for c in some)


def test_a_minimum_that_cannot_be_reached_stops_with_a_remedy():
    with pytest.raises(ConfigError, match=r"round 0 .*minimum_clients = 5.*Lower minimum_clients"):
        drawn(clients_per_round=4, minimum_clients=5)


# Simulated time


def test_a_round_takes_as_long_as_its_slowest():
    steps = {name: 3 + place for place, name in enumerate(NAMES)}
    slow, fast = Device(share=0.2, speed=0.25), Device(share=0.2, speed=8.0)
    devices = {NAMES[0]: slow, NAMES[3]: slow, NAMES[11]: fast}
    federation = {"rounds": 30, "clients_per_round": 3, "stragglers": {"share": 0.4}}
    before = 0.0
    for cohort in drawn(steps=steps, devices=devices, **federation):
        needed = [
            (steps[p.client] if p.stop_after is None else p.stop_after)
            / (devices[p.client].speed if p.client in devices else 1)
            for p in cohort.parts
        ]
        assert cohort.time - before == pytest.approx(max(needed))
        before = cohort.time


# Devices


def test_devices_are_named_or_a_share_of_all():
    devices = {
        "phone": Device(share=0.5, rank=2),
        "server": Device(clients=("client 03", "client 07")),
        "laptop": Device(share=0.25),
    }
    found = devices_of(devices, NAMES, 0)
    kinds = {kind: [n for n in NAMES if found.get(n) is device] for kind, device in devices.items()}
    assert kinds["server"] == ["client 03", "client 07"]
    assert (len(kinds["phone"]), len(kinds["laptop"])) == (6, 3)
    assert len(found) == 11
    assert found == devices_of(devices, NAMES[::-1], 0)
    assert found != devices_of(devices, NAMES, 1)
    assert devices_of({}, NAMES, 0) == {}


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({"phone": Device(clients=("rome",))}, "devices.phone names 'rome', which is no client"),
        (
            {"a": Device(clients=("client 01",)), "b": Device(clients=("client 01",))},
            "devices.b names 'client 01', which has a device already",
        ),
        ({"a": Device(clients=("client 01", "client 01"))}, "which has a device already"),
        ({"a": Device(share=0.01)}, "share is 0.01 of 12 clients.*at least one client"),
        (
            {"a": Device(clients=tuple(NAMES[:9])), "b": Device(share=0.5)},
            "devices.b.share is 0.5 of 12 clients, and 3 have no device yet",
        ),
    ],
)
def test_devices_of_nobody_and_of_two_kinds_are_refused(devices, message):
    with pytest.raises(ConfigError, match=message):
        devices_of(devices, NAMES, 0)


# FedBuff


def replay(durations, buffer, rounds):
    """FedBuff where all clients train at once, event by event, looking through everyone each time.

    Then nobody is drawn: whoever has delivered waits for the step and begins again from it.
    """
    training = {name: (duration, 0) for name, duration in durations.items()}
    for index in range(rounds):
        joined = []
        while len(joined) < buffer:
            name = min(training, key=lambda one: training[one][0])
            now, version = training.pop(name)
            joined.append((name, version))
        for name, _ in joined:
            training[name] = (now + durations[name], index + 1)
        yield sorted(joined), now, min(version for _, version in training.values())


@given(st.lists(st.floats(0.5, 20), min_size=5, max_size=5, unique=True), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_fedbuff_is_what_a_slow_replay_of_events_gives(speeds, buffer):
    # Speeds that no sum of few durations makes meet, so that the order is beyond dispute.
    speeds = [speed * (1 + 1e-4 * np.sqrt(place + 2)) for place, speed in enumerate(speeds)]
    names, steps = NAMES[:5], 7
    devices = {
        name: Device(clients=(name,), speed=speed)
        for name, speed in zip(names, speeds, strict=True)
    }
    some = drawn(
        names,
        steps,
        devices,
        rounds=12,
        asynchronous={"buffer": buffer, "concurrency": 5, "jitter": 0},
    )
    judged = replay({n: steps / d.speed for n, d in devices.items()}, buffer, 12)
    for cohort, (joined, now, oldest) in zip(some, judged, strict=True):
        assert [(part.client, part.version) for part in cohort.parts] == joined
        assert cohort.time == pytest.approx(now)
        assert cohort.oldest_needed == oldest
        assert cohort.failed == ()


@given(ASYNCHRONOUS, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_step_waits_for_a_full_buffer_and_for_nothing_else(federation, seed):
    some = drawn(seed=seed, **federation)
    buffer = federation["asynchronous"]["buffer"]
    assert all(len(cohort.parts) == buffer for cohort in some)
    assert all(one.time <= other.time for one, other in pairwise(some))


def staleness(some):
    return [cohort.round - part.version for cohort in some for part in cohort.parts]


def test_staleness_is_that_of_the_clients_that_are_under_way():
    """Every step makes all that are under way one step older: Little's law.

    So an update is concurrency / buffer steps old in the mean, or one less who is under way where
    the last that fills the buffer is replaced only after the step.
    """
    names = tuple(f"{place}" for place in range(200))
    some = drawn(names, rounds=800, asynchronous={"buffer": 5, "concurrency": 20})
    assert 19 / 5 * 0.96 < np.mean(staleness(some)) < 20 / 5 * 1.02


def test_slow_devices_are_more_stale_and_deliver_less():
    devices = {name: Device(clients=(name,), speed=0.2) for name in NAMES[:4]}
    some = drawn(devices=devices, rounds=400, asynchronous={"buffer": 3, "concurrency": 6})
    slow, fast = (
        [c.round - p.version for c in some for p in c.parts if (p.client in devices) is which]
        for which in (True, False)
    )
    assert np.mean(slow) > 2 * np.mean(fast)
    assert len(slow) / 4 < len(fast) / 8


def test_idle_clients_are_drawn_equally_often():
    names = tuple(f"{place}" for place in range(30))
    some = drawn(names, rounds=1500, asynchronous={"buffer": 2, "concurrency": 3, "jitter": 0})
    counts = Counter(part.client for cohort in some for part in cohort.parts)
    assert all(fits(counts[name], 3000, 1 / 30) for name in names)


def test_the_jitter_is_the_deviation_of_the_logarithm_of_a_time():
    """One client at a time: the times between two steps are the times of its rounds."""
    for jitter in (0.0, 0.3, 0.8):
        some = drawn(
            NAMES[:1], 5, rounds=1500,
            asynchronous={"buffer": 1, "concurrency": 1, "jitter": jitter},
        )  # fmt: skip
        logs = np.log(np.diff([0.0, *(cohort.time for cohort in some)]) / 5)
        assert np.std(logs) == pytest.approx(jitter, rel=0.1, abs=1e-9)
        assert np.mean(logs) == pytest.approx(0, abs=4.5 * jitter / np.sqrt(1500) + 1e-9)


def test_late_deliveries_fail_at_the_rate_that_is_asked_for_too():
    names = tuple(f"{place}" for place in range(300))
    federation = {"rounds": 800, "failures": 0.25}
    some = drawn(names, asynchronous={"buffer": 4, "concurrency": 8}, **federation)
    failed = sum(len(cohort.failed) for cohort in some)
    assert fits(failed, failed + 3200, 0.25)
    assert not fits(failed, failed + 3200, 0.33)


@pytest.mark.parametrize(
    ("asynchronous", "message"),
    [
        ({"buffer": 1, "concurrency": 13}, "concurrency is 13. Allowed: at most 12"),
    ],
)
def test_a_buffer_that_nobody_fills_is_refused(asynchronous, message):
    with pytest.raises(ConfigError, match=message):
        drawn(asynchronous=asynchronous)


def test_shares_are_rounded_at_their_borders():
    """Two halves of five clients are all five, and three thirds are, too."""
    for parts in (2, 3):
        kinds = {str(k): Device(share=1 / parts, rank=k + 1) for k in range(parts)}
        found = devices_of(kinds, NAMES[:5], 0)
        assert sorted(found) == list(NAMES[:5])
        sizes = [sum(device == kind for device in found.values()) for kind in kinds.values()]
        assert max(sizes) - min(sizes) <= 1


def test_nobody_delivers_and_failed_in_one_asynchronous_round():
    some = drawn(NAMES[:4], rounds=40, failures=0.5, asynchronous={"buffer": 2, "concurrency": 3})
    for cohort in some:
        assert not set(clients_of(cohort)) & set(cohort.failed)


def test_one_client_at_a_time_is_never_stale():
    some = drawn(rounds=10, asynchronous={"buffer": 1, "concurrency": 1})
    assert staleness(some) == [0] * 10


@given(st.integers(0, 50), st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_an_old_update_counts_less(age, exponent):
    ours = staleness_scale(age, exponent)
    assert ours == pytest.approx(1 / (1 + age) ** exponent)
    assert staleness_scale(0, exponent) == 1
    assert staleness_scale(age, 0) == 1
    assert staleness_scale(age + 1, exponent) <= ours


@given(SYNCHRONOUS | ASYNCHRONOUS, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_no_later_cohort_starts_from_weights_older_than_are_said_to_be_needed(federation, seed):
    """What may be let go of is never asked for again, and nothing is needed anew."""
    some = drawn(seed=seed, **federation)
    for one, other in pairwise(some):
        assert one.oldest_needed <= other.oldest_needed
        assert one.oldest_needed <= min(part.version for part in other.parts)
        assert one.oldest_needed <= one.round + 1


# Through the engine


@pytest.fixture(scope="module")
def model(attach):
    return attach(settings=LoraSettings(rank=2, alpha=4, targets=("q_proj",)))


@pytest.fixture(scope="module")
def federation(model, make_client):
    """Two clients without files: ``federation(strategy, **settings)``."""
    sizes = {"berlin": [9, 12, 8, 13, 17], "lyon": [14, 11]}
    parties = tuple(
        Party(name, make_client(name, lengths).examples, (), ()) for name, lengths in sizes.items()
    )

    def build(strategy, train=(), **changes):
        recipe = {"optimizer": "sgd", "learning_rate": 0.3, "batch_size": 2, "steps_per_round": 5}
        tree = {
            "data": {"path": "x", "scrub": "off"},
            "privacy": {"unit": "none"},
            "train": {**recipe, **dict(train)},
            "federation": {"strategy": strategy, "rounds": 5, **changes},
        }
        return Prepared(make_config(tree, place="test"), parties, model, None, ())

    return build


def playing(prepared, cohort, weights):
    """One round after several, where ``weights[v]`` are those after v rounds."""
    history = [unflatten(row, prepared.model.layout) for row in weights]
    algorithm = prepared.config.federation.strategy.algorithm
    state = replace(algorithm.first(history[-1]), round=len(weights) - 1)
    return play_round(
        prepared,
        state,
        cohort,
        devices={},
        memory=lambda name: ClientState(),
        history=lambda version: history[version],
        watch=Watch(),
    )


LATE = {"buffer": 1, "concurrency": 1, "staleness_exponent": 0.7}


def test_a_late_update_starts_from_its_own_weights_and_counts_less(federation, model, random_row):
    """FedBuff, line 11: the mean of s(τ)·Δ_k, each from the weights that it was handed."""
    rows = [random_row(model, seed) for seed in range(4)]
    prepared = federation("fedavg", asynchronous=LATE, weights="uniform")
    parts = (Part("berlin", 1), Part("lyon", 3))
    played = playing(prepared, Cohort(3, parts, (), 0.0), rows)
    moved = np.zeros(model.layout.size)
    for part in parts:
        party = prepared.party(part.client)
        member = Client(party.name, party.train)
        ((update, _),) = train(
            model, [member], {party.name: rows[part.version]}, prepared.config.train, Round(3, 5, 0)
        )
        scale = (1 + 3 - part.version) ** -0.7
        moved += scale * flatten(update.tensors, model.layout) / 2
    ours = flatten(played.server.weights, model.layout)
    np.testing.assert_allclose(ours, rows[3] + moved, atol=2e-6)
    assert np.abs(moved).max() > 1e-3
    assert played.record.staleness == (2, 0)


@pytest.mark.parametrize(
    "version",
    [
        3,
        1,
    ],
)
def test_one_client_under_fednova_is_one_client_under_federated_averaging(
    version, federation, model, random_row
):
    """Its path times its mean step is its change, and s(τ) of it is what a late one counts."""
    rows = [random_row(model, seed) for seed in range(4)]
    cohort = Cohort(3, (Part("berlin", version),), (), 0.0)
    ours, judge = (
        flatten(
            playing(federation(name, asynchronous=LATE), cohort, rows).server.weights, model.layout
        )
        for name in ("fednova", "fedavg")
    )
    np.testing.assert_allclose(ours - rows[3], judge - rows[3], atol=2e-6)


def test_a_straggler_does_the_first_steps_of_its_round(federation, model, random_row):
    """The schedule goes on as if it had finished, and its examples go on where it stopped."""
    rows = [random_row(model)]
    prepared = federation("fedavg", stragglers={"share": 1.0})
    cohort = Cohort(0, (Part("berlin", 0, 2), Part("lyon", 0)), (), 0.0)
    played = playing(prepared, cohort, rows)
    assert played.record.steps == (2, 5)
    assert [played.clients[name].cursor for name in ("berlin", "lyon")] == [2, 5]
    # The first two of five steps, by a whole round whose later rates are as good as zero.
    seen = []
    recipe = prepared.config.train
    party = prepared.party("berlin")

    def spend_two(gradients, weights, anchors):
        seen.append(1)
        return gradients if len(seen) <= 2 else gradients * 0

    ((whole, _),) = train(
        model, [Client("berlin", party.train)], {"berlin": rows[0]}, recipe, Round(0, 5, 0),
        rule=Rule(spend_two),
    )  # fmt: skip
    assert whole.steps == 5
    late = next(update for update in played.updates if update.client == "berlin")
    np.testing.assert_allclose(
        flatten(late.tensors, model.layout), flatten(whole.tensors, model.layout), atol=1e-6
    )


def test_the_record_names_who_failed_and_how_old_the_weights_were(federation, model, random_row):
    rows = [random_row(model)]
    cohort = Cohort(0, (Part("berlin", 0),), ("lyon",), 12.3456789)
    record = playing(federation("fedavg"), cohort, rows).record
    assert record.clients == ("berlin",)
    assert record.failed == ("lyon",)
    assert record.staleness == (0,)
    assert record.simulated_time == 12.345679
