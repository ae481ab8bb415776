"""What a federated algorithm may change about local training: what moves, how long, and who is left."""

from dataclasses import replace

import numpy as np
import pytest

from sottovoce.model.base import LoraSettings
from sottovoce.train import ClientState, Round, Rule, TrainSettings, rate_of, train
from sottovoce.update import flatten

LORA = LoraSettings(rank=4, alpha=8)
SEED = 11
OPTIMIZERS = [
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
]


@pytest.fixture
def model(attach):
    return attach(settings=LORA)


def changes(model, results):
    return {update.client: flatten(update.tensors, model.layout) for update, _ in results}


def sent_alike(model, clients, row, **more):
    received = {client.name: row for client in clients}
    return train(model, clients, received, where=Round(0, 2, SEED), **more)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_entry_that_is_not_trained_keeps_its_bits_and_its_memory(
    optimizer, model, random_row, five
):
    """Neither decay nor momentum from earlier rounds may move it, and its memory waits as it was."""
    recipe = TrainSettings(**optimizer, batch_size=2, steps_per_round=3, optimizer_state="keep")
    row = random_row(model)
    warm = sent_alike(model, five, row, settings=recipe)
    clients = [replace(client, state=state) for client, (_, state) in zip(five, warm, strict=True)]
    mask = np.random.default_rng(0).random(model.layout.size) < 0.5
    rule = Rule(trained={client.name: mask for client in five})
    results = sent_alike(model, clients, row, settings=recipe, rule=rule)
    for client, (update, state) in zip(clients, results, strict=True):
        change = flatten(update.tensors, model.layout)
        assert not change[~mask].any()
        assert (change[mask] != 0).mean() > 0.9 or not client.examples
        for name, before in (client.state.moments or {}).items():
            after = state.moments[name]
            if before.ndim:
                assert after[~mask].tobytes() == before[~mask].tobytes()
                assert (after[mask] != before[mask]).mean() > 0.9


def test_the_bound_is_on_what_is_trained(model, random_row, make_client):
    """A large gradient of frozen entries must not shrink the step of the others."""
    recipe = TrainSettings(optimizer="sgd", learning_rate=1.0, batch_size=2, steps_per_round=1)
    client, row = make_client("oslo", [9, 8]), random_row(model)
    free = recipe.model_copy(update={"max_gradient_norm": "off"})
    full = changes(model, sent_alike(model, [client], row, settings=free))["oslo"]
    mask = np.abs(full) < np.quantile(np.abs(full), 0.5)
    norm = np.linalg.norm(full[mask])
    assert norm < 0.5 * np.linalg.norm(full)
    bounded = recipe.model_copy(update={"max_gradient_norm": float(norm) * 1.01})
    results = sent_alike(model, [client], row, settings=bounded, rule=Rule(trained={"oslo": mask}))
    # The change is a difference of float32 weights, so it is known to a rounding of the weights.
    np.testing.assert_allclose(changes(model, results)["oslo"][mask], full[mask], atol=1e-7)


def test_masks_differ_by_client_and_nobody_else_notices(model, random_row, five):
    recipe = TrainSettings(batch_size=2, steps_per_round=2, learning_rate=1e-3)
    row = random_row(model)
    everything = np.ones(model.layout.size, bool)
    half = everything.copy()
    half[::2] = False
    rule = Rule(trained={c.name: half if c.name == "rome" else everything for c in five})
    masked = changes(model, sent_alike(model, five, row, settings=recipe, rule=rule))
    plain = changes(model, sent_alike(model, five, row, settings=recipe))
    assert not masked["rome"][::2].any()
    for name in plain:
        if name != "rome":
            assert masked[name].tobytes() == plain[name].tobytes()


def test_anchors_stand_in_the_place_of_what_was_received(model, random_row, make_client):
    recipe = TrainSettings(
        optimizer="sgd", learning_rate=0.5, steps_per_round=1, max_gradient_norm="off"
    )
    clients = [make_client(name, [9]) for name in ("rome", "oslo")]
    row = random_row(model)
    anchors = {"rome": row + np.float32(0.25), "oslo": row - np.float32(0.5)}
    plain = changes(model, sent_alike(model, clients, row, settings=recipe))
    rule = Rule(lambda gradients, weights, anchor: gradients + anchor, anchors)
    moved = changes(model, sent_alike(model, clients, row, settings=recipe, rule=rule))
    for name, change in plain.items():
        rate = rate_of(recipe, Round(0, 2, SEED), 1, 0)
        np.testing.assert_allclose(moved[name], change - rate * anchors[name], atol=2e-7)


def test_a_client_may_have_a_budget_of_its_own(model, random_row, five):
    """Its steps and its schedule are those of a recipe that says so for everyone."""
    row = random_row(model)
    recipe = TrainSettings(batch_size=2, learning_rate=1e-3)
    clients = [replace(c, steps=1 if c.name == "rome" else None) for c in five]
    mixed = {u.client: u for u, _ in sent_alike(model, clients, row, settings=recipe)}
    one = recipe.model_copy(update={"steps_per_round": 1})
    alike = {u.client: u for u, _ in sent_alike(model, five, row, settings=one)}
    plain = {u.client: u for u, _ in sent_alike(model, five, row, settings=recipe)}
    assert mixed["rome"].steps == 1
    assert plain["rome"].steps == 2
    for name, update in mixed.items():
        judge = (alike if name == "rome" else plain)[name]
        assert update.steps == judge.steps
        # Who shares a pass may differ, so the two agree to rounding.
        np.testing.assert_allclose(
            flatten(update.tensors, model.layout), flatten(judge.tensors, model.layout), atol=1e-5
        )


def test_a_budget_does_not_make_steps_where_there_is_nothing_to_train_on(model, random_row, five):
    clients = [replace(c, steps=3) for c in five]
    results = sent_alike(model, clients, random_row(model), settings=TrainSettings())
    assert [u.steps for u, _ in results] == [3 if c.examples else 0 for c in five]


def test_a_straggler_does_the_first_steps_of_its_round_and_goes_on_from_there(
    model, random_row, make_client
):
    recipe = TrainSettings(
        optimizer="sgd", momentum=0.5, batch_size=2, steps_per_round=4, optimizer_state="keep"
    )
    client, row = make_client("oslo", [9, 8, 7, 6, 9, 5, 8, 7]), random_row(model)
    late = replace(client, stop_after=3)
    ((part, state),) = sent_alike(model, [late], row, settings=recipe)
    assert (part.steps, state.cursor) == (3, 3)
    seen = []
    rule = Rule(lambda g, w, a: seen.append(w.clone()) or g)
    ((whole, _),) = sent_alike(model, [client], row, settings=recipe, rule=rule)
    assert whole.steps == 4
    after_three = seen[3][0].numpy() - row
    np.testing.assert_array_equal(flatten(part.tensors, model.layout), after_three)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("when", ["at once", "later", "in the last step"])
def test_who_diverges_is_dropped_and_nobody_else_notices(optimizer, when, model, random_row, five):
    recipe = TrainSettings(
        optimizer=optimizer, batch_size=2, steps_per_round=3, learning_rate=1e-3, weight_decay=0.1
    )
    row = random_row(model)
    received = {c.name: row.copy() for c in five}
    steps = []

    def spoil(gradients, weights, anchor):
        steps.append(1)
        bad = {"at once": 0, "later": 2, "in the last step": 3}[when]
        if len(steps) == bad:
            gradients[2] = float("nan")
        return gradients

    if when == "at once":
        received["rome"][5] = np.nan
    lost = []
    results = train(
        model, five, received, recipe, Round(0, 2, SEED), rule=Rule(spoil), on_diverged=lost.append
    )
    assert len(lost) == 1
    plain = changes(model, sent_alike(model, five, row, settings=recipe))
    assert [u.client for u, _ in results] == [c.name for c in five if c.name not in lost]
    for name, change in changes(model, results).items():
        assert change.tobytes() == plain[name].tobytes()


def test_training_hands_through_what_an_algorithm_keeps(model, random_row, make_client):
    own = {"control": {"x": np.ones(2, np.float32)}}
    client = replace(make_client("oslo", [9]), state=ClientState(own=own))
    ((_, state),) = sent_alike(model, [client], random_row(model), settings=TrainSettings())
    assert state.own is own
