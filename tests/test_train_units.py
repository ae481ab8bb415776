"""Steps that read units: whose gradient is whose, against peft and a plain loop, and the noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from sottovoce.model.base import LoraSettings
from sottovoce.privacy import gaussian
from sottovoce.privacy.guard import Guard
from sottovoce.privacy.plan import PrivacyPlan, grid
from sottovoce.privacy.sampling import poisson
from sottovoce.privacy.settings import AdaptiveClip
from sottovoce.rng import seeded_source
from sottovoce.train import (
    Client,
    ClientState,
    Example,
    Protection,
    Round,
    Rule,
    TrainSettings,
    train,
    units_of,
)
from sottovoce.train.batches import supervised_tokens
from sottovoce.train.units import collate_units, cut_unit_passes, drawn
from sottovoce.update import flatten

LORA = LoraSettings(rank=4, alpha=8)
SEED = 11
WHERE = Round(0, 1, SEED)
ALL = 2**31
SGD = TrainSettings(
    optimizer="sgd", learning_rate=0.5, schedule="constant", warmup_fraction=0.0, steps_per_round=3
)


def sequence(length: int, **facts: Any) -> Example:
    rng = np.random.default_rng(length)
    return Example(rng.integers(2, 200, length).astype(np.int32), np.ones(length, bool), **facts)


def party(make_client, name: str, *lengths: tuple[int, ...]) -> Client:
    """A client with one owner for each tuple, who has sequences of these lengths."""
    flat = make_client(name, [length for owner in lengths for length in owner]).examples
    owners = [f"{name} {place}" for place, owner in enumerate(lengths) for _ in owner]
    examples = tuple(replace(e, owner=o) for e, o in zip(flat, owners, strict=True))
    return Client(name, examples, units=units_of(examples, "owner"))


@pytest.fixture(scope="module")
def parties(make_client):
    return [
        party(make_client, "berlin", (9,), (20, 8), (13,), (17, 11, 10)),
        party(make_client, "lyon", (24,)),
        party(make_client, "oslo", (8, 8), (15,), (22,), (9, 10), (12,), (18, 11, 14)),
    ]


def plan_of(client: Client, size: int, **changes: Any) -> PrivacyPlan:
    facts: dict[str, Any] = {
        "unit": "owner",
        "units": len(client.units),
        "expected_units": float(len(client.units)),
        "releases": 9,
        "noise_multiplier": 1.0,
        "delta": 1e-4,
        "clip_norm": 1.0,
        "size": size,
    }
    return PrivacyPlan(**{**facts, **changes})


def protect(clients, size: int, *, names=("test",), most=ALL, **changes: Any) -> Protection:
    return Protection(
        {
            client.name: Guard(
                plan_of(client, size, **changes), seeded_source(SEED, client.name, *names)
            )
            for client in clients
        },
        most,
    )


def run(model, clients, row, recipe=SGD, *, protection, rule=None, where=WHERE):
    """Every client's change, ``[D]``, by name."""
    received = dict.fromkeys((client.name for client in clients), row)
    results = train(
        model, clients, received, recipe, where, rule=rule or Rule(), protection=protection
    )
    return {update.client: flatten(update.tensors, model.layout) for update, _ in results}


@pytest.fixture
def no_noise(monkeypatch):
    """The integer sums in the place where the noise would be added; nothing is."""
    totals: list[np.ndarray] = []

    def keep(total, std, source):
        totals.append(total.copy())
        return total

    monkeypatch.setattr(gaussian, "add_noise", keep)
    return totals


class Recorder:
    """A guard that takes given units at each step, remembers what it is handed, releases zeros."""

    def __init__(self, size: int, *samples: list[int]) -> None:
        self.size, self.samples = size, list(samples)
        self.gradients: list[torch.Tensor] = []
        self.losses: list[np.ndarray] = []
        self.order: list[str] = []

    def sample(self):
        self.order.append("sample")
        return np.array(self.samples.pop(0), np.int64)

    def add(self, gradients, losses):
        self.order.append("add")
        self.gradients.append(gradients.clone())
        self.losses.append(losses.copy())

    def release(self):
        self.order.append("release")
        return torch.zeros(self.size)

    def sorted_rows(self):
        """All gradients with their losses, in an order that does not depend on the passes."""
        rows, losses = torch.cat(self.gradients), np.concatenate(self.losses)
        order = np.argsort(losses)
        return rows[order], losses[order]


# Who is a unit.


def test_an_owner_is_all_of_a_persons_sequences_and_an_example_all_of_a_conversations() -> None:
    examples = [
        sequence(4, owner="ann", record=0),
        sequence(5, owner="bob", record=1),
        sequence(6, owner="ann", record=2),
        sequence(7, owner="ann", record=2),
        sequence(8, owner="bob", record=3),
    ]

    def lengths(unit):
        return [[len(e.tokens) for e in found] for found in units_of(examples, unit)]

    assert lengths("owner") == [[4, 6, 7], [5, 8]]
    assert lengths("example") == [[4], [5], [6, 7], [8]]
    whole = [replace(example, record=None) for example in examples]
    assert [len(unit) for unit in units_of(whole, "example")] == [1] * 5
    with pytest.raises(ValueError, match="no owner"):
        units_of([*examples, sequence(9)], "owner")
    assert len(units_of([*examples[:2], sequence(9, record=7)], "example")) == 3
    assert units_of([], "owner") == []


def test_a_whole_conversation_never_joins_one_that_was_cut() -> None:
    """Two conversations in one unit: removing one of them moves the sum by up to 2 C."""
    mixed = [sequence(4, record=1), sequence(5), sequence(6, record=1)]
    assert len(units_of(mixed, "example")) == 2


def test_every_sequence_is_in_exactly_one_unit() -> None:
    rng = np.random.default_rng(0)
    examples = [
        sequence(int(size), owner=str(rng.integers(7)), record=int(rng.integers(12)))
        for size in rng.integers(2, 30, 40)
    ]
    for unit in ("owner", "example"):
        found = [id(e) for members in units_of(examples, unit) for e in members]
        assert sorted(found) == sorted(map(id, examples))


def test_a_large_unit_is_read_in_part_and_drawn_anew() -> None:
    units = [[sequence(size) for size in range(2, 12)], [sequence(40)], [sequence(41)] * 3]
    seen = set()
    for step in range(60):
        first, second = drawn(units, [0, 1], 3, SEED, "oslo", step)
        assert len(first) == 3
        assert [len(e.tokens) for e in first] == sorted(len(e.tokens) for e in first)
        assert second == units[1]
        seen |= {len(e.tokens) for e in first}
        assert drawn(units, [0], 3, SEED, "oslo", step) == [first], "whoever else is there"
    assert seen == set(range(2, 12))
    assert drawn(units, [2], 3, SEED, "oslo", 0) == [units[2]]
    draws = [
        [len(e.tokens) for e in drawn(units, [0], 3, SEED, *names)[0]]
        for names in (("oslo", 0), ("oslo", 1), ("rome", 0))
    ]
    assert draws[0] != draws[1]
    assert draws[0] != draws[2]


# How units are cut into passes and stacked.

SHAPES = st.lists(
    st.lists(st.lists(st.integers(2, 30), min_size=1, max_size=4), max_size=6),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(SHAPES, st.integers(1, 400), st.integers(1, 12))
def test_every_unit_is_in_one_pass_of_its_client_within_both_budgets(shapes, tokens, rows) -> None:
    samples = [[[sequence(n) for n in unit] for unit in client] for client in shapes]
    passes = cut_unit_passes(samples, tokens, rows)
    found: dict[int, list[int]] = {client: [] for client in range(len(samples))}
    for part in passes:
        assert len(part.units) == part.last - part.first
        assert any(part.units)
        for place, group in enumerate(part.units):
            found[part.first + place] += [id(unit) for unit in group]
        everyone = [unit for group in part.units for unit in group]
        slots = len(part.units) * max(map(len, part.units))
        area = max(map(len, everyone)) * max(len(e.tokens) for unit in everyone for e in unit)
        if len(everyone) > 1:
            assert slots <= rows
            assert slots * area <= tokens
    for client, units in enumerate(samples):
        assert sorted(found[client]) == sorted(id(unit) for unit in units)


def test_a_unit_weighs_each_of_its_targets_by_one_over_their_number() -> None:
    marks = np.array([False, True, False, True])
    tokens = np.arange(5, 9, dtype=np.int32)
    half = Example(tokens, marks)
    silent = Example(tokens, np.zeros(4, bool))
    batch = collate_units([[[half, sequence(6)], [half]], [[silent]]])
    assert batch.tokens.shape == (2, 2, 2, 6)
    np.testing.assert_allclose(batch.scale[0].numpy(), [[1 / 7, 1 / 7], [1 / 2, 0]])
    assert batch.scale[1].tolist() == [[1, 0], [0, 0]]
    assert batch.targets[0, 1, 0].tolist() == [6, -1, 8, -1, -1, -1]
    assert (batch.targets[1] == -1).all()


# What a step is.


def reference_gradient(judge, parameters, unit):
    """One unit alone: the gradient and the value of the mean nll over its own targets."""
    for parameter in parameters:
        parameter.grad = None
    count, nll = supervised_tokens(unit), 0.0
    for example in unit:
        tokens = torch.tensor(example.tokens, dtype=torch.long)[None]
        logits = judge(input_ids=tokens).logits[0, :-1].float()
        marks = torch.from_numpy(example.supervised[1:])
        loss = cross_entropy(logits, tokens[0, 1:], reduction="none")[marks].sum() / count
        loss.backward()
        nll += float(loss.detach())
    return torch.cat([p.grad.flatten() for p in parameters]).double().numpy(), nll


def load(parameters, row):
    parts = torch.from_numpy(row.astype(np.float32)).split([p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view(parameter.shape))


ADAMW = SGD.model_copy(
    update={"optimizer": "adamw", "learning_rate": 4e-3, "beta1": 0.8, "beta2": 0.95,
            "weight_decay": 0.1}
)  # fmt: skip


class Stepper:
    """The optimizers as torch has them, over one flat vector."""

    def __init__(self, row: np.ndarray, recipe: TrainSettings) -> None:
        self.weights = torch.nn.Parameter(torch.from_numpy(row.astype(np.float32).copy()))
        if recipe.optimizer == "sgd":
            self.optimizer = torch.optim.SGD([self.weights], recipe.learning_rate)
        else:
            self.optimizer = torch.optim.AdamW(
                [self.weights], recipe.learning_rate, (recipe.beta1, recipe.beta2),
                weight_decay=recipe.weight_decay,
            )  # fmt: skip

    def step(self, gradient: np.ndarray) -> None:
        self.weights.grad = torch.from_numpy(gradient.astype(np.float32))
        self.optimizer.step()


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_training_is_the_slow_loop_over_one_unit_at_a_time(
    adaptive, recipe, tiny, attach, with_peft, random_row, parties, no_noise
):
    """peft, autograd, one sequence at a time: clip each unit, add, divide by q·n, step."""
    model = attach(settings=LORA)
    row = random_row(model)
    first = 4.2
    clip: float | AdaptiveClip = first
    if adaptive:
        clip = AdaptiveClip(initial=first, learning_rate=0.5, count_noise_std=1.0)
    if recipe is SGD:
        recipe = SGD.model_copy(update={"learning_rate": 0.05})
    changes = {"clip_norm": clip, "loss_noise_multiplier": 9.0}
    expected = {"berlin": 2.4, "lyon": 1.0, "oslo": 3.0}
    guards = {
        client.name: Guard(
            plan_of(client, model.layout.size, expected_units=expected[client.name], **changes),
            seeded_source(SEED, client.name),
        )
        for client in parties
    }
    changed = run(model, parties, row, recipe, protection=Protection(guards, 2))
    judge, parameters = with_peft(tiny("llama"), LORA, row, model.layout)
    clipped = kept = empty = 0
    for client in parties:
        source = seeded_source(SEED, client.name)
        stepper, norm_bound = Stepper(row, recipe), first
        for step in range(3):
            places = poisson(len(client.units), expected[client.name] / len(client.units), source)
            empty += not len(places)
            weights = stepper.weights.detach().numpy().copy()
            total, within, told = np.zeros(weights.shape), 0.0, 0.0
            for unit in drawn(client.units, places, 2, SEED, client.name, step):
                load(parameters, weights)
                gradient, nll = reference_gradient(judge, parameters, unit)
                norm = float(np.linalg.norm(gradient))
                total += gradient * min(1.0, norm_bound / norm)
                within += 0.5 if norm <= norm_bound else -0.5
                told += min(10.0, nll) - 5.0
                clipped += norm > norm_bound
                kept += norm <= norm_bound
            stepper.step(total / expected[client.name])
            loss = guards[client.name].losses[step]
            assert loss == pytest.approx(told / expected[client.name] + 5, rel=1e-5)
            if adaptive:
                share = within / expected[client.name] + 0.5
                norm_bound *= math.exp(-0.5 * (share - 0.5))
        ours, wanted = changed[client.name], stepper.weights.detach().numpy() - row
        scale = float(np.abs(wanted).max()) or 1.0
        error = np.abs(ours - wanted) / scale
        if recipe.optimizer == "sgd":
            assert error.max() <= 1e-5
        else:
            # It divides a gradient by its own size: where that is rounding, rounding decides.
            assert np.quantile(error, 0.98) <= 1e-4
            assert error.max() <= 1e-2
        assert guards[client.name].clip_norm == pytest.approx(norm_bound, rel=1e-6)
    assert clipped
    assert kept
    assert len(no_noise) == 9


def test_each_unit_has_the_gradient_of_the_mean_over_its_own_targets(
    tiny, attach, with_peft, random_row, parties
):
    model = attach(settings=LORA)
    row = random_row(model)
    recorders = {c.name: Recorder(model.layout.size, list(range(len(c.units)))) for c in parties}
    recipe = SGD.model_copy(update={"steps_per_round": 1})
    run(model, parties, row, recipe, protection=Protection(recorders, ALL))
    judge, parameters = with_peft(tiny("llama"), LORA, row, model.layout)
    for client in parties:
        rows, losses = recorders[client.name].sorted_rows()
        wanted = [reference_gradient(judge, parameters, unit) for unit in client.units]
        wanted.sort(key=lambda pair: pair[1])
        for ours, told, (gradient, nll) in zip(rows, losses, wanted, strict=True):
            assert told == pytest.approx(nll, rel=1e-5)
            error = np.linalg.norm(ours.numpy() - gradient) / np.linalg.norm(gradient)
            assert error < 1e-5


def test_passes_and_memory_change_the_gradients_by_rounding_and_nothing_else(
    attach, random_row, parties, spy, no_noise
):
    model = spy(attach(settings=LORA))
    row = random_row(model)
    size = model.layout.size
    rows_per_mib = 2**20 // (8 * size)
    assert rows_per_mib < 40
    budgets = [
        {},
        {"tokens_per_pass": 1},
        {"tokens_per_pass": 200},
        {"memory_budget_mib": 1},
    ]
    first = None
    for budget in budgets:
        recipe = SGD.model_copy(update={"steps_per_round": 1, **budget})
        recorders = {c.name: Recorder(size, list(range(len(c.units)))) for c in parties}
        run(model, parties, row, recipe, protection=Protection(recorders, ALL))
        passes = [tuple(batch.tokens.shape) for batch in model.drain()]
        for shape in passes:
            assert shape[0] * shape[1] == 1 or math.prod(shape) <= recipe.tokens_per_pass
        assert (len(passes) == 11) == (recipe.tokens_per_pass == 1)
        found = {name: recorder.sorted_rows() for name, recorder in recorders.items()}
        trained = run(
            model, parties, row, SGD.model_copy(update=budget), protection=protect(parties, size)
        )
        model.drain()
        if first is None:
            first = found, trained
            assert len(passes) == 1
        for name, (rows, losses) in found.items():
            torch.testing.assert_close(rows, first[0][name][0], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(losses, first[0][name][1], rtol=1e-5)
            np.testing.assert_allclose(trained[name], first[1][name], rtol=0, atol=1e-5)


def test_a_pass_holds_no_more_rows_of_gradients_than_the_stated_memory(
    attach, random_row, make_client, spy
):
    model = spy(attach(settings=LoraSettings(rank=24)))
    size = model.layout.size
    rows = 2**20 // (8 * size)
    assert 1 < rows < 9
    client = party(make_client, "rome", *[(9,)] * 9)
    recorder = Recorder(size, list(range(9)))
    recipe = SGD.model_copy(update={"steps_per_round": 1, "memory_budget_mib": 1})
    run(model, [client], random_row(model), recipe, protection=Protection({"rome": recorder}, ALL))
    shapes = [batch.tokens.shape[:2] for batch in model.drain()]
    assert max(c * e for c, e in shapes) == rows
    assert sum(e for _, e in shapes) == 9


def test_a_step_samples_adds_and_releases_once_and_an_empty_sample_releases(
    attach, random_row, make_client
):
    model = attach(settings=LORA)
    client = party(make_client, "rome", (9,), (8, 12))
    recorder = Recorder(model.layout.size, [0, 1], [], [1])
    changed = run(
        model, [client], random_row(model), protection=Protection({"rome": recorder}, ALL)
    )
    assert recorder.order == ["sample", "add", "release", "sample", "release", "sample", "add",
                              "release"]  # fmt: skip
    assert not changed["rome"].any(), "what the guard does not release is not used"


def test_no_more_sequences_of_an_owner_are_read_than_the_cap(attach, random_row, make_client, spy):
    model = spy(attach(settings=LORA))
    client = party(make_client, "rome", (9, 10, 11, 12, 13, 14), (8,))
    recorder = Recorder(model.layout.size, [0, 1], [0, 1], [0, 1])
    run(model, [client], random_row(model), protection=Protection({"rome": recorder}, 2))
    steps = [batch.rows() for batch in model.drain()]
    assert [len(rows) for rows in steps] == [3, 3, 3]
    assert len({frozenset(rows) for rows in steps}) > 1, "drawn anew in every step"


def test_who_shares_the_pack_has_no_part_in_a_clients_steps(attach, random_row, parties, no_noise):
    model = attach(settings=LORA)
    row = random_row(model)
    together = run(model, parties, row, protection=protect(parties, model.layout.size))
    for client in parties:
        alone = run(model, [client], row, protection=protect([client], model.layout.size))
        np.testing.assert_allclose(alone[client.name], together[client.name], rtol=0, atol=1e-5)


def test_the_steps_of_a_round_count_units(attach, random_row, make_client):
    client = party(make_client, "rome", (9, 10, 11, 12), (8,), (7, 9))
    recipe = TrainSettings(batch_size=2, epochs_per_round=2.0)
    assert client.planned(recipe) == 4
    assert replace(client, units=()).planned(recipe) == 8
    assert replace(client, steps=5).planned(recipe) == 5


def test_the_recipes_bound_gives_way_to_the_guards(attach, random_row, parties):
    """The guard releases more than max_gradient_norm, and all of it is used."""
    model = attach(settings=LORA)

    class Releases(Recorder):
        def release(self):
            return torch.ones(self.size)

    client = parties[1]
    guard = Releases(model.layout.size, [])
    recipe = SGD.model_copy(update={"steps_per_round": 1, "max_gradient_norm": 0.01})
    changed = run(
        model, [client], random_row(model), recipe, protection=Protection({"lyon": guard}, ALL)
    )
    np.testing.assert_allclose(changed["lyon"], -0.5, rtol=1e-6)


class Spoiled:
    """A model whose gradient and loss are not finite for one sequence."""

    def __init__(self, model, tokens) -> None:
        self.model, self.tokens = model, torch.from_numpy(tokens.astype(np.int64))

    def __getattr__(self, name):
        return getattr(self.model, name)

    def gradients(self, weights, batch, out):
        nll = self.model.gradients(weights, batch, out)
        size = len(self.tokens)
        bad = (batch.tokens[..., :size] == self.tokens).all(-1)
        out[bad.any(-1)] = math.inf
        out[bad.any(-1)][..., 0] = math.nan
        nll[bad] = math.nan
        return nll


def test_a_unit_that_is_not_finite_counts_zero_and_nobody_diverges(
    attach, random_row, make_client, no_noise
):
    model = attach(settings=LORA)
    row = random_row(model)
    client = party(make_client, "rome", (9,), (20,), (13, 8))
    bad = Spoiled(model, client.units[1][0].tokens)
    changes = {"expected_units": 3.0, "loss_noise_multiplier": 5.0}
    protection = protect([client], model.layout.size, **changes)
    changed = run(bad, [client], row, protection=protection)
    assert protection.guards["rome"].zeroed == 3
    assert np.isfinite(changed["rome"]).all()
    assert all(0 <= loss <= 10 for loss in protection.guards["rome"].losses)
    rest = replace(client, units=[client.units[0], client.units[2]])
    without = protect([rest], model.layout.size, **changes, units=2)
    wanted = run(model, [rest], row, protection=without)
    np.testing.assert_allclose(changed["rome"], wanted["rome"], rtol=0, atol=1e-6)


# What one unit moves.


def moved(no_noise, model, row, client, whole, *, most=ALL, recipe=SGD, **changes):
    """By how much the first sum differs between two clients, and what the noise covers of it."""
    recipe = recipe.model_copy(update={"steps_per_round": 1})
    plan: PrivacyPlan | None = None
    for one in (client, whole):
        protection = protect([one], model.layout.size, most=most, **changes)
        plan = protection.guards[one.name].plan
        run(model, [one], row, recipe, protection=protection)
    assert plan is not None
    difference = no_noise[-1] - no_noise[-2]
    norm = math.sqrt(sum(int(entry) ** 2 for entry in difference))
    return norm, grid(plan, plan.first_clip_norm).noise_std / plan.noise_multiplier


@pytest.mark.parametrize("clip_norm", [0.01, AdaptiveClip(initial=0.1, count_noise_std=4.0), 100.0])
@pytest.mark.parametrize("tokens", [8192, 1])
@pytest.mark.parametrize("unit", ["owner", "example"])
def test_a_whole_unit_moves_the_sum_of_a_step_by_what_the_noise_covers(
    unit, tokens, clip_norm, attach, random_row, make_client, no_noise
):
    """An owner with several sequences, a conversation cut in pieces.

    The gradients of the others are float32 and follow the shape of their pass to rounding, which
    is not in the plan; where every unit has a pass of its own they are the same to the bit.
    """
    model = attach(settings=LORA)
    flat = make_client("rome", [9, 20, 8, 13, 17, 11]).examples
    owners = ["ann", "ann", "bob", "eve", "eve", "eve"]
    examples = [
        replace(e, owner=o, record=owners.index(o)) for e, o in zip(flat, owners, strict=True)
    ]
    clients = [
        Client("rome", tuple(kept), units=units_of(kept, unit)) for kept in (examples[:3], examples)
    ]
    assert [len(client.units) for client in clients] == [2, 3]
    recipe = SGD.model_copy(update={"tokens_per_pass": tokens})
    norm, covered = moved(
        no_noise, model, random_row(model), *clients, recipe=recipe, clip_norm=clip_norm,
        expected_units=3.0, loss_noise_multiplier=6.0,
    )  # fmt: skip
    assert 0 < norm <= covered * (1 + (1e-12 if tokens == 1 else 1e-6))


def test_an_owner_who_comes_first_leaves_the_draws_of_the_others_alone(
    attach, random_row, make_client, no_noise
):
    """The seed is public, so whoever has it knows every draw, and one person more moves them all."""
    model = attach(settings=LORA)
    others = [(9, 20, 8, 14), (13, 17, 11, 10), (12, 19, 16, 15), (18, 7, 21, 22)]
    examples = party(make_client, "rome", (24,), *others).examples
    clients = [
        Client("rome", tuple(kept), units=units_of(kept, "owner"))
        for kept in (examples[1:], examples)
    ]
    norm, covered = moved(
        no_noise, model, random_row(model), *clients, most=1, clip_norm=0.01, expected_units=5.0,
        recipe=SGD.model_copy(update={"tokens_per_pass": 1}),
    )  # fmt: skip
    assert norm <= covered * (1 + 1e-6)


# The noise.


def ratio(values, std):
    return float(np.mean(np.square(np.asarray(values, np.float64)))) / std**2


def accepts(values, std):
    """Five standard deviations of the sample variance of independent Gaussian values."""
    return abs(ratio(values, std) - 1) <= 5 * math.sqrt(2 / np.size(values))


class Kept(Guard):
    """A guard that remembers what it released."""

    released: list[np.ndarray]

    def release(self):
        mean = super().release()
        self.released = [*getattr(self, "released", []), mean.numpy().copy()]
        return mean


def test_every_step_of_every_client_moves_by_noise_of_its_own_at_the_right_scale(
    attach, random_row, make_client
):
    """Nobody is sampled: a step is the noise alone, z·C / (q·n) on every entry, times the rate."""
    model = attach(settings=LORA)
    size = model.layout.size
    clients = [party(make_client, name, (9,), (8, 12)) for name in ("rome", "oslo")]
    guards = {
        c.name: Kept(
            plan_of(c, size, units=2, expected_units=1e-9, noise_multiplier=0.8, clip_norm=0.05),
            seeded_source(SEED, c.name),
        )
        for c in clients
    }
    rate = 1e-9
    recipe = SGD.model_copy(update={"learning_rate": rate, "steps_per_round": 4})
    changed = run(model, clients, np.zeros(size, np.float32), recipe,
                  protection=Protection(guards, ALL))  # fmt: skip
    std = 0.8 * 0.05 / 1e-9
    steps = [mean for guard in guards.values() for mean in guard.released]
    assert len(steps) == 8
    values = np.concatenate(steps)
    assert accepts(values, std)
    assert not accepts(values, 0.9 * std)
    assert not accepts(values, 1.1 * std)
    for place, one in enumerate(steps):
        for other in steps[:place]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 6 / math.sqrt(size)
    # Four steps of one client add up: twice the deviation of one.
    both = np.concatenate([changed["rome"], changed["oslo"]])
    assert accepts(both, 2 * rate * std)
    assert not accepts(both, 2 * rate * std * 1.1)
    assert not accepts(both, 2 * rate * std * 0.9)


@pytest.mark.parametrize("unit", ["owner", "example"])
def test_the_noise_is_on_top_of_what_the_units_say(unit, attach, random_row, make_client):
    model = attach(settings=LORA)
    size, row = model.layout.size, random_row(model)
    clients = []
    for name in ("rome", "oslo", "lyon"):
        examples = party(make_client, name, (9,), (8, 12), (15,)).examples
        clients.append(Client(name, examples, units=units_of(examples, unit)))
    recipe = SGD.model_copy(update={"steps_per_round": 1})
    changes = {"unit": unit, "clip_norm": 0.3, "expected_units": 2.0, "noise_multiplier": 1.5}
    noisy = run(model, clients, row, recipe, protection=protect(clients, size, **changes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        exact = run(model, clients, row, recipe, protection=protect(clients, size, **changes))
    noise = np.concatenate([noisy[c.name].astype(float) - exact[c.name] for c in clients])
    std = 0.5 * 1.5 * 0.3 / 2.0
    assert accepts(noise, std)
    assert not accepts(noise, 0.9 * std)
    assert not accepts(noise, 1.1 * std)
    assert max(np.abs(change).max() for change in exact.values()) > 0


def test_another_round_has_other_noise_and_the_same_one_repeats_it(attach, random_row, parties):
    model = attach(settings=LORA)
    row, size = random_row(model), model.layout.size
    client = parties[1]
    one, again, other = (
        run(model, [client], row, protection=protect([client], size, names=names))["lyon"]
        for names in ((0,), (0,), (1,))
    )
    assert (one == again).all()
    assert np.mean(one == other) < 0.01


# Entries that a rule does not train.


def test_entries_that_are_not_trained_have_no_noise_and_no_part_in_the_norm(
    tiny, attach, with_peft, random_row, make_client, no_noise
):
    model = attach(settings=LORA)
    row = random_row(model)
    client = party(make_client, "rome", (9,), (20, 8), (13,))
    mask = np.random.default_rng(0).random(model.layout.size) < 0.3
    chosen = int(mask.sum())
    recipe = SGD.model_copy(update={"steps_per_round": 1, "weight_decay": 0.1, "momentum": 0.5})
    rule = Rule(trained={"rome": mask})
    judge, parameters = with_peft(tiny("llama"), LORA, row, model.layout)
    total, inside, outside = np.zeros(chosen), 0, 0
    gradients = [reference_gradient(judge, parameters, unit)[0] for unit in client.units]
    clip_norm = float(np.median([np.linalg.norm(g[mask]) for g in gradients]))
    for gradient in gradients:
        norm = float(np.linalg.norm(gradient[mask]))
        inside += norm <= clip_norm < np.linalg.norm(gradient)
        outside += norm > clip_norm
        total += gradient[mask] * min(1.0, clip_norm / norm)
    assert inside
    assert outside
    protection = protect([client], chosen, clip_norm=clip_norm * (1 + 1e-6))
    changed = run(model, [client], row, recipe, protection=protection, rule=rule)["rome"]
    wanted = -0.5 * (total / 3 + 0.1 * row[mask])
    np.testing.assert_allclose(changed[mask], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert not changed[~mask].any()
    assert no_noise[-1].shape == (chosen + 2,)


def test_entries_that_are_trained_have_all_of_the_noise(attach, random_row, make_client):
    model = attach(settings=LORA)
    mask = np.zeros(model.layout.size, bool)
    mask[::2] = True
    clients = [party(make_client, name, (9,)) for name in ("rome", "oslo")]
    changes = {"expected_units": 1e-9, "noise_multiplier": 0.8}
    protection = protect(clients, int(mask.sum()), **changes)
    recipe = SGD.model_copy(update={"learning_rate": 1e-9, "steps_per_round": 4})
    rule = Rule(trained={"rome": mask, "oslo": mask})
    changed = run(model, clients, np.zeros(len(mask), np.float32), recipe, protection=protection,
                  rule=rule)  # fmt: skip
    values = np.concatenate([change[mask] for change in changed.values()])
    assert accepts(values, 2 * 0.8)
    assert not accepts(values, 2 * 0.8 * 0.85)
    assert not accepts(values, 2 * 0.8 * 1.15)
    for change in changed.values():
        assert not change[~mask].any()


def test_the_cursor_goes_on_over_steps_that_read_units(attach, random_row, make_client):
    model = attach(settings=LORA)
    client = replace(party(make_client, "rome", (9,)), state=ClientState(cursor=5))
    received = {"rome": random_row(model)}
    protection = protect([client], model.layout.size)
    ((update, state),) = train(model, [client], received, SGD, WHERE, protection=protection)
    assert (update.steps, state.cursor) == (3, 8)
