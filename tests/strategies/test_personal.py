"""Personal models: the gradient by autograd, the shared run untouched, and a plain loop on peft."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from sottovoce.config import make_config
from sottovoce.model.base import LoraSettings
from sottovoce.run.arms import Watch
from sottovoce.run.clients import Clients
from sottovoce.run.cohorts import cohorts
from sottovoce.run.contribute import devices_in, planned_steps
from sottovoce.run.folder import RunFolder, read_tensors
from sottovoce.run.personal import personalise
from sottovoce.run.play import play_round
from sottovoce.run.prepare import Party, Prepared
from sottovoce.strategies.personal import Ditto
from sottovoce.train import ClientState
from sottovoce.update import flatten, unflatten

LORA = LoraSettings(rank=2, alpha=4, targets=("q_proj", "down_proj"))
RATE = 0.3
RECIPE = {
    "optimizer": "sgd",
    "learning_rate": RATE,
    "schedule": "constant",
    "warmup_fraction": 0.0,
    "max_gradient_norm": "off",
    "batch_size": 99,
    "steps_per_round": 2,
}
ROWS = st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3)


@given(ROWS, ROWS, ROWS, st.floats(0.001, 10))
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_personal_gradient_is_that_of_the_square(gradient, weights, shared, strength):
    v = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    w_t = torch.tensor(shared, dtype=torch.float64)
    g = torch.tensor(gradient, dtype=torch.float64)
    ((g * v).sum() + strength / 2 * ((v - w_t) ** 2).sum()).backward()
    ours = Ditto(pull=strength).adjust(g[None], v.detach()[None], w_t[None])
    torch.testing.assert_close(ours[0], v.grad, rtol=1e-9, atol=1e-9)


def test_without_a_pull_the_personal_model_trains_alone():
    assert Ditto(pull=0).adjust is None


@dataclass
class World:
    """A federation without files: what everyone remembers, and the shared weights by round."""

    prepared: Prepared
    state: object
    memory: dict = field(default_factory=dict)
    history: list = field(default_factory=list)

    def play(self):
        devices = devices_in(self.prepared)
        steps = planned_steps(self.prepared, devices)
        federation = self.prepared.config.federation
        for cohort in cohorts(federation, steps, devices, self.prepared.config.seed):
            self.history.append(self.state)
            played = play_round(
                self.prepared,
                self.state,
                cohort,
                devices=devices,
                memory=lambda name: self.memory.get(name, ClientState()),
                history=lambda version: self.history[version].weights,
                watch=Watch(),
            )
            self.state = played.server
            self.memory |= played.clients
        return self


@pytest.fixture(scope="module")
def two(make_client):
    sizes = {"berlin": [9, 12, 8, 13, 17], "lyon": [14, 11]}
    return [make_client(name, lengths) for name, lengths in sizes.items()]


@pytest.fixture(scope="module")
def model(attach):
    return attach(settings=LORA)


@pytest.fixture(scope="module")
def world(model, two, random_row):
    def build(personal, strategy="fedavg", train=(), **federation):
        tree = {
            "data": {"path": "x", "scrub": "off"},
            "privacy": {"unit": "none"},
            "train": RECIPE | dict(train),
            "federation": {"rounds": 3, "strategy": strategy, **federation},
            "model": {"lora": {"rank": 2}},
        }
        if personal:
            tree["federation"]["personal"] = personal
        parties = tuple(
            Party(client.name, client.examples, client.examples[:1], ("x",)) for client in two
        )
        config = make_config(tree, place="test")
        first = unflatten(random_row(model), model.layout)
        state = config.federation.strategy.algorithm.first(first)
        return World(Prepared(config, parties, model, None, ()), state)

    return build


@pytest.fixture(scope="module")
def judge(tiny, with_peft, model):
    """The gradient of one client's mean loss at a row of weights, by autograd on peft."""
    rows = np.zeros(model.layout.size, np.float32)
    peft, parameters = with_peft(tiny("llama"), LORA, rows, model.layout)

    def gradient(row, examples):
        parts = torch.from_numpy(row.astype(np.float32)).split([p.numel() for p in parameters])
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.copy_(part.view(parameter.shape))
                parameter.grad = None
        total = sum(int(example.supervised[1:].sum()) for example in examples)
        for example in examples:
            tokens = torch.tensor(example.tokens, dtype=torch.long)[None]
            logits = peft(input_ids=tokens).logits[0, :-1].float()
            nll = cross_entropy(logits, tokens[0, 1:], reduction="none")
            (nll[torch.from_numpy(example.supervised[1:])].sum() / total).backward()
        return torch.cat([p.grad.flatten() for p in parameters]).numpy().astype(np.float64)

    return gradient


def test_ditto_trains_each_clients_own_model_near_the_shared_one(world, judge, model, two):
    """v ← v - η·(∇F(v) + λ·(v - w_t)), with w_t what the client received in that round."""
    pull = 0.8
    run = world({"name": "ditto", "pull": pull}).play()
    for client in two:
        v = flatten(run.history[0].weights, model.layout).astype(np.float64)
        for before in run.history:
            w_t = flatten(before.weights, model.layout).astype(np.float64)
            for _ in range(2):
                v = v - RATE * (judge(v, client.examples) + pull * (v - w_t))
        ours = flatten(run.memory[client.name].own["personal"], model.layout)
        np.testing.assert_allclose(ours, v, atol=2e-5)
        assert np.abs(v - flatten(run.state.weights, model.layout)).max() > 1e-2


STRATEGIES = [
    "fedavg",
    "fedprox",
    "scaffold",
    "fednova",
    "ffa",
    "rolora",
    "fedsa",
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ditto_leaves_the_shared_weights_as_they_are_bit_for_bit(strategy, world):
    """Cursors, optimizer states and what a rule remembers too: nothing of it reaches the others."""
    train = {"optimizer_state": "keep", "batch_size": 2}
    federation = {"clients_per_round": 1, "rounds": 4}
    with_it = world("ditto", strategy, train, **federation).play()
    without = world(None, strategy, train, **federation).play()
    for one, other in (
        (with_it.state.weights, without.state.weights),
        (with_it.state.residual, without.state.residual),
    ):
        assert {n: v.tobytes() for n, v in one.items()} == {
            n: v.tobytes() for n, v in other.items()
        }
    for name, state in without.memory.items():
        mine = with_it.memory[name]
        assert mine.cursor == state.cursor
        assert set(mine.own) == {*state.own, "personal"}
        for kind, value in (state.moments or {}).items():
            assert mine.moments[kind].tobytes() == value.tobytes()


def test_only_who_takes_part_trains_its_own_model(world):
    run = world("ditto", clients_per_round=1, rounds=1).play()
    assert len(run.memory) == 1


def test_fine_tuning_descends_from_the_shared_weights(world, judge, model, two, tmp_path):
    """Two epochs of one batch: two plain steps on each client's own loss, from the last weights."""
    run = world({"name": "finetune", "epochs": 2, "learning_rate": 0.2}).play()
    folder = RunFolder(tmp_path)
    clients = Clients(folder, {client.name: place for place, client in enumerate(two)})
    before = flatten(run.state.weights, model.layout).copy()
    report = personalise(run.prepared, run.state, clients, folder, Watch())
    assert report["clients"] == ["berlin", "lyon"]
    for place, client in enumerate(two):
        v = before.astype(np.float64)
        for _ in range(2):
            v = v - 0.2 * judge(v, client.examples)
        ours = flatten(read_tensors(folder.personal(place)), model.layout)
        np.testing.assert_allclose(ours, v, atol=2e-5)
    assert flatten(run.state.weights, model.layout).tobytes() == before.tobytes()


def test_fine_tuning_takes_the_recipes_rate_where_none_is_named(world, judge, model, two, tmp_path):
    run = world("finetune")
    folder = RunFolder(tmp_path)
    clients = Clients(folder, {client.name: place for place, client in enumerate(two)})
    personalise(run.prepared, run.state, clients, folder, Watch())
    start = flatten(run.state.weights, model.layout).astype(np.float64)
    for place, client in enumerate(two):
        ours = flatten(read_tensors(folder.personal(place)), model.layout)
        np.testing.assert_allclose(ours, start - RATE * judge(start, client.examples), atol=2e-5)
