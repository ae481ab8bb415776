"""Special cases in which two algorithms are one: sharper than any figure of merit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sottovoce import train as training
from sottovoce.config import Config, make_config
from sottovoce.errors import VerificationError
from sottovoce.run.arms import Watch, train_apart
from sottovoce.run.compare import compare
from sottovoce.run.prepare import Prepared, prepare
from sottovoce.run.rehearsal import rehearse, rounds_of
from sottovoce.train import Client, Round
from sottovoce.update import flatten

SGD = {"optimizer": "sgd", "learning_rate": 0.3, "momentum": 0.5}
ADAMW = {"optimizer": "adamw", "learning_rate": 0.01}


def settings(folder: Path, **changes: object) -> Config:
    tree: dict[str, object] = {
        "run": {"dir": str(folder), "threads": 1},
        "data": {"path": "marketplace", "max_conversations": 160, "validation_fraction": 0.2},
        "train": {"batch_size": 2, "max_length": 64, "steps_per_round": 3},
        "federation": {"rounds": 3},
        "privacy": {"unit": "none"},
    }
    for key, value in changes.items():
        section = tree.setdefault(key, {})
        assert isinstance(section, dict) and isinstance(value, dict)
        section.update(value)
    return make_config(tree, place="test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    whole = prepare(settings(tmp_path_factory.mktemp("run")))
    return replace(whole, parties=whole.parties[:4])


def within(prepared: Prepared, folder: Path, **changes: object) -> Prepared:
    return replace(prepared, config=settings(folder, **changes))


def shared(prepared: Prepared) -> np.ndarray:
    return flatten(rehearse(prepared, Watch()).server.weights, prepared.model.layout)


@pytest.mark.parametrize("recipe", [SGD, SGD | {"optimizer_state": "keep"}, ADAMW], ids=str)
def test_one_client_is_local_training_to_the_last_bit(
    prepared: Prepared, tmp_path: Path, recipe: dict[str, object]
) -> None:
    if recipe is ADAMW:
        recipe = recipe | {"optimizer_state": "keep"}
    alone = replace(within(prepared, tmp_path, train=recipe), parties=prepared.parties[:1])
    party = alone.parties[0]
    rows, _ = train_apart(alone, {party.name: (party.train, [party])}, alone.config.train, Watch())
    assert shared(alone).tobytes() == rows[party.name].tobytes()


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_one_client_is_a_run_that_was_never_cut_into_rounds(
    prepared: Prepared, tmp_path: Path, recipe: dict[str, object]
) -> None:
    """With kept state, three rounds of three steps are nine steps, but for the integers' grid.

    In each round a change is rounded to float32 and to a multiple of 2^-32 over the client's
    examples; the judge never leaves the engine.
    """
    kept = recipe | {"optimizer_state": "keep", "schedule": "constant", "warmup_fraction": 0.0}
    alone = replace(within(prepared, tmp_path, train=kept), parties=prepared.parties[:1])
    party, model = alone.parties[0], alone.model
    row = model.initial(alone.config.seed)
    whole = alone.config.train.model_copy(update={"steps_per_round": 9})
    ((update, _),) = training.train(
        model,
        [Client(party.name, party.train)],
        {party.name: row},
        whole,
        Round(0, 1, alone.config.seed),
    )
    uncut = row + flatten(update.tensors, model.layout)
    difference = np.abs(shared(alone) - uncut)
    assert difference.max() < (5e-7 if recipe is SGD else 2e-6)
    assert np.abs(uncut - row).max() > 0.01


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("strategy", ["fedavg", "fednova", "scaffold"])
def test_identical_clients_are_one_local_run(
    prepared: Prepared, tmp_path: Path, recipe: dict[str, object], strategy: str
) -> None:
    """Five clients with the same single example, each in a pass of its own."""
    if recipe is ADAMW and strategy != "fedavg":
        return  # Both are refused with AdamW, which test_settings.py holds.
    recipe = recipe | {"optimizer_state": "keep", "tokens_per_pass": 1}
    if strategy == "scaffold":
        recipe = recipe | {"momentum": 0.0}
    party = replace(prepared.parties[0], train=prepared.parties[0].train[:1])
    run = within(prepared, tmp_path, train=recipe, federation={"strategy": strategy})
    many = replace(run, parties=tuple(replace(party, name=f"copy {k}") for k in range(5)))
    rows, _ = train_apart(
        many, {"copy 0": (party.train, [many.parties[0]])}, many.config.train, Watch()
    )
    if strategy == "fedavg":
        assert shared(many).tobytes() == rows["copy 0"].tobytes()
    else:
        # These divide by the way that was gone and multiply by it again, which rounds.
        np.testing.assert_allclose(shared(many), rows["copy 0"], atol=1e-6)


def test_fedsgd_is_gradient_descent_on_the_union(prepared: Prepared, tmp_path: Path) -> None:
    """Every round, all clients: the federated and the centralised arm walk the same way."""
    small = tuple(replace(party, train=party.train[:3]) for party in prepared.parties)
    config = make_config(
        {
            "run": {"dir": str(tmp_path / "run"), "threads": 1},
            "data": {"path": "marketplace", "max_conversations": 160, "validation_fraction": 0.2},
            "train": {"learning_rate": 0.5, "max_length": 64},
            "federation": {"rounds": 3, "strategy": "fedsgd"},
            "privacy": {"unit": "none"},
        },
        place="test",
    )
    run = replace(prepared, parties=small, config=config)
    union = [example for party in small for example in party.train]
    rows, _ = train_apart(run, {"all": (union, small)}, config.train, Watch())
    moved = np.abs(rows["all"] - run.model.initial(config.seed)).max()
    assert moved > 0.05
    np.testing.assert_allclose(shared(run), rows["all"], atol=2e-6)
    # Weighing clients by their conversations is another descent: lengths differ between them.
    by_count = config.federation.model_copy(update={"weights": "examples"})
    other = replace(run, config=config.model_copy(update={"federation": by_count}))
    assert np.abs(shared(other) - rows["all"]).max() > 1e-3
    done = compare(run, watch=Watch)
    assert done.loss["federated"] == pytest.approx(done.loss["centralised"], abs=1e-5)


def test_nobody_late_and_a_buffer_for_all_is_waiting_for_all(
    prepared: Prepared, tmp_path: Path
) -> None:
    count = len(prepared.parties)
    patient = shared(within(prepared, tmp_path))
    flowing = within(
        prepared,
        tmp_path,
        federation={"asynchronous": {"buffer": count, "concurrency": count, "jitter": 0.0}},
    )
    assert shared(flowing).tobytes() == patient.tobytes()
    hasty = within(
        prepared, tmp_path, federation={"asynchronous": {"buffer": 2, "concurrency": count}}
    )
    ages = [max(played.record.staleness) for _, played in rounds_of(hasty, Watch())]
    assert ages[0] == 0
    assert max(ages) > 0


def test_old_updates_are_scaled_by_their_age(prepared: Prepared, tmp_path: Path) -> None:
    """An update that is one round old moves the weights by 2^-exponent of what it would."""

    def sent(exponent: float) -> list[dict[str, tuple[int, float]]]:
        flow = {"buffer": 2, "concurrency": 4, "staleness_exponent": exponent}
        run = within(prepared, tmp_path, federation={"rounds": 2, "asynchronous": flow})
        found = []
        for _, played in rounds_of(run, Watch()):
            norms = {
                u.client: float(np.linalg.norm(flatten(u.tensors, run.model.layout)))
                for u in played.updates
            }
            ages = dict(zip(played.record.clients, played.record.staleness, strict=True))
            found.append({name: (ages[name], norm) for name, norm in norms.items()})
        return found

    whole, scaled = sent(0.0)[:2], sent(0.5)[:2]
    old = [(name, place) for place, row in enumerate(whole) for name in row if row[name][0]]
    assert old
    for name, place in old:
        age, norm = whole[place][name]
        assert scaled[place][name][1] == pytest.approx(norm * (1 + age) ** -0.5, rel=1e-5)


def test_devices_of_full_rank_and_budget_are_no_devices(prepared: Prepared, tmp_path: Path) -> None:
    plain = shared(within(prepared, tmp_path))
    device = {"share": 0.5, "rank": prepared.config.model.lora.rank, "steps_per_round": 3}
    full = within(prepared, tmp_path, federation={"devices": {"all of it": device}})
    np.testing.assert_array_equal(shared(full), plain)
    less = within(prepared, tmp_path, federation={"devices": {"p": device | {"rank": 1}}})
    assert np.abs(shared(less) - plain).max() > 1e-3


def test_stragglers_join_what_they_have_done_or_nothing(prepared: Prepared, tmp_path: Path) -> None:
    def records(work: str) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
        late = {"share": 0.5, "work": work}
        run = within(prepared, tmp_path, federation={"stragglers": late})
        return [(p.record.steps, p.record.failed) for _, p in rounds_of(run, Watch())]

    count = len(prepared.parties)
    for steps, failed in records("partial"):
        assert len(steps) == count
        assert not failed
        assert sorted(steps)[count // 2 :] == [3] * (count - count // 2)
        assert set(sorted(steps)[: count // 2]) <= {1, 2}
    for steps, failed in records("dropped"):
        assert steps == (3,) * (count - count // 2)
        assert len(failed) == count // 2


def test_ditto_leaves_the_shared_weights_as_they_are(prepared: Prepared, tmp_path: Path) -> None:
    plain = shared(within(prepared, tmp_path))
    ditto = {"personal": {"name": "ditto", "pull": 0.5}}
    assert shared(within(prepared, tmp_path, federation=ditto)).tobytes() == plain.tobytes()


def test_ditto_with_no_pull_trains_alone_and_with_a_strong_one_stays_near(
    prepared: Prepared, tmp_path: Path
) -> None:
    recipe = {"optimizer": "sgd", "learning_rate": 0.02}

    def personal(pull: float) -> tuple[np.ndarray, np.ndarray]:
        run = within(
            prepared,
            tmp_path,
            train=recipe,
            federation={"rounds": 2, "personal": {"name": "ditto", "pull": pull}},
        )
        *_, (before, played) = rounds_of(run, Watch())
        layout = run.model.layout
        own = np.stack([flatten(c.own["personal"], layout) for c in played.clients.values()])
        return own, flatten(before.weights, layout)

    alone, received = personal(0.0)
    run = within(prepared, tmp_path, train=recipe, federation={"rounds": 2})
    rows, _ = train_apart(
        run, {p.name: (p.train, [p]) for p in run.parties}, run.config.train, Watch()
    )
    np.testing.assert_allclose(alone, np.stack(list(rows.values())), atol=1e-6)
    near, _ = personal(40.0)
    distance = [float(np.linalg.norm(own - received)) for own in (alone, near)]
    assert distance[1] < 0.5 * distance[0]


def test_who_diverges_can_be_left_out(prepared: Prepared, tmp_path: Path) -> None:
    wild = {"optimizer": "sgd", "learning_rate": 1e6, "max_gradient_norm": "off"}
    device = {"slow": {"clients": [prepared.parties[0].name], "steps_per_round": 1}}
    run = within(
        prepared,
        tmp_path,
        train=wild,
        federation={"rounds": 1, "devices": device, "on_divergence": "drop"},
    )
    ((_, played),) = rounds_of(run, Watch())
    assert len(played.record.failed) + len(played.record.clients) == len(prepared.parties)
    assert played.record.failed
    assert np.isfinite(flatten(played.server.weights, run.model.layout)).all()


def test_an_update_that_no_sum_can_hold_counts_as_diverged(
    prepared: Prepared, tmp_path: Path
) -> None:
    """Finite, but beyond the integers: the others must not be stopped by it."""
    wild = {"optimizer": "sgd", "learning_rate": 1e12, "max_gradient_norm": "off"}
    run = within(
        prepared,
        tmp_path,
        train=wild | {"steps_per_round": 1},
        federation={"rounds": 1, "on_divergence": "drop"},
    )
    with pytest.raises(VerificationError, match=r"0 clients delivered.*because they diverged"):
        rehearse(run, Watch())
    stopping = within(prepared, tmp_path, train=wild | {"steps_per_round": 1})
    with pytest.raises(VerificationError, match=r"reaches .* at weight"):
        rehearse(stopping, Watch())
