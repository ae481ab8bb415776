"""What stays at home: FedPer's patterns and FedSA's B, and the factor whose turn it is not.

Whole rounds run through the engine; the judge trains each client alone and averages by hand.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from sottovoce.config import make_config
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.base import LoraSettings
from sottovoce.run.arms import Watch
from sottovoce.run.cohorts import cohorts
from sottovoce.run.contribute import devices_in, personal_weights, planned_steps
from sottovoce.run.play import play_round
from sottovoce.run.prepare import Party, Prepared
from sottovoce.run.rounds import round_step
from sottovoce.strategies.factors import chosen_entries
from sottovoce.strategies.fedper import FedPer
from sottovoce.strategies.fedsa import FedSA
from sottovoce.train import Client, ClientState, Round, Rule, train
from sottovoce.update import Update, flatten, unflatten

RECIPE = {
    "optimizer": "sgd",
    "learning_rate": 0.2,
    "schedule": "constant",
    "warmup_fraction": 0.0,
    "batch_size": 2,
    "steps_per_round": 2,
}


@dataclass
class World:
    """A federation without files: what everyone remembers, and what was sent in each round."""

    prepared: Prepared
    state: object
    memory: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    sent: list = field(default_factory=list)

    def play(self):
        federation, seed = self.prepared.config.federation, self.prepared.config.seed
        devices = devices_in(self.prepared)
        steps = planned_steps(self.prepared, devices)
        for cohort in cohorts(federation, steps, devices, seed):
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
            self.sent.append({update.client: update for update in played.updates})
        return self


@pytest.fixture(scope="module")
def three(make_client):
    sizes = {"berlin": [9, 12, 8, 13, 17], "lyon": [14, 11], "oslo": [8, 15, 9]}
    return [make_client(name, lengths) for name, lengths in sizes.items()]


@pytest.fixture(scope="module")
def model(attach):
    return attach(settings=LoraSettings(rank=2, alpha=4, targets=("q_proj", "down_proj")))


@pytest.fixture(scope="module")
def world(model, three, random_row):
    """Make a federation of these clients under a strategy."""

    def build(strategy, rounds=3, train=(), **federation):
        tree = {
            "data": {"path": "x", "scrub": "off"},
            "privacy": {"unit": "none"},
            "train": RECIPE | dict(train),
            "federation": {"strategy": strategy, "rounds": rounds, **federation},
            "model": {"lora": {"rank": 2}},
        }
        parties = tuple(Party(client.name, client.examples, (), ()) for client in three)
        config = make_config(tree, place="test")
        first = unflatten(random_row(model), model.layout)
        state = config.federation.strategy.algorithm.first(first)
        return World(Prepared(config, parties, model, None, ()), state)

    return build


def alone(model, three, prepared, rounds, kept):
    """Every client by itself with its own kept tensors; the shared ones averaged in float64.

    ``kept(name)`` says which tensors stay. Returns the shared weights and each client's tensors.
    """
    total = sum(len(client.examples) for client in three)
    shared = None
    own = {client.name: {} for client in three}
    states = {client.name: ClientState() for client in three}
    for index in range(rounds):
        if shared is None:
            shared = dict(prepared)
        moved = {name: np.zeros_like(v, np.float64) for name, v in shared.items() if not kept(name)}
        for client in three:
            start = {**shared, **own[client.name]}
            ((update, states[client.name]),) = train(
                model,
                [Client(client.name, client.examples, states[client.name])],
                {client.name: flatten(start, model.layout)},
                make_config(
                    {
                        "data": {"path": "x", "scrub": "off"},
                        "privacy": {"unit": "none"},
                        "train": RECIPE,
                    },
                    place="judge",
                ).train,
                Round(index, rounds, 0),
            )
            for name, change in update.tensors.items():
                if kept(name):
                    own[client.name][name] = (start[name] + change).astype(np.float32)
                else:
                    moved[name] += len(client.examples) / total * change.astype(np.float64)
        shared = {
            n: (v + moved[n]).astype(np.float32) if n in moved else v for n, v in shared.items()
        }
    return shared, own


PATTERNS = ("*.layers.1.*", "*q_proj.lora_B*")


def by_pattern(name):
    return ".layers.1." in name or "q_proj.lora_B" in name


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [
        ({"name": "fedper", "private": PATTERNS}, by_pattern),
        ("fedsa", lambda name: "lora_B" in name),
    ],
    ids=["fedper", "fedsa"],
)
def test_what_is_private_trains_jointly_and_stays_with_its_client(
    strategy, kept, world, model, three
):
    run = world(strategy)
    first = dict(run.state.weights)
    run.play()
    shared, own = alone(model, three, first, 3, kept)
    for name, value in run.state.weights.items():
        np.testing.assert_allclose(value, shared[name], atol=1e-6)
        # The server's copy of a private tensor is what all began with.
        assert (value.tobytes() == first[name].tobytes()) is kept(name)
    for client, state in run.memory.items():
        assert set(state.own["private"]) == set(own[client])
        for name, value in personal_weights(run.state.weights, state.own).items():
            judge = own[client][name] if kept(name) else shared[name]
            np.testing.assert_allclose(value, judge, atol=1e-6)
    assert not any(
        np.allclose(own["berlin"][name], own["oslo"][name], atol=1e-4) for name in own["oslo"]
    )


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [(FedPer(private=PATTERNS), by_pattern), (FedSA(), lambda name: "lora_B" in name)],
    ids=["fedper", "fedsa"],
)
def test_no_entry_of_a_private_tensor_leaves_a_client(strategy, kept, world):
    """Neither sent, nor asked for, nor taken if it comes."""
    run = world(strategy.model_dump()).play()
    everything = set(run.state.weights)
    assert any(kept(name) for name in everything) and not all(kept(name) for name in everything)
    travels = {name for name in everything if not kept(name)}
    for updates in run.sent:
        assert len(updates) == 3
        assert all(set(update.tensors) == travels for update in updates.values())
    assert set(strategy.algorithm.sent(run.state)) == travels
    leaking = Update(
        {name: np.zeros_like(value) for name, value in run.state.weights.items()}, "a", 1, 1, 1, 0.0
    )
    with pytest.raises(VerificationError, match="beyond the layout"):
        round_step(strategy.algorithm, run.state, [leaking])


KEEPING = {"optimizer": "adamw", "weight_decay": 0.1, "optimizer_state": "keep"}


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *(("ffa", recipe) for recipe in (KEEPING, {})),
        *(("rolora", recipe) for recipe in (KEEPING, {})),
        # Its factors are new in every round, so that nothing can be kept of them.
        *(("fedsvd", recipe) for recipe in (KEEPING | {"optimizer_state": "reset"}, {})),
    ],
)
def test_the_factor_whose_turn_it_is_not_never_moves_in_a_client(name, optimizer, world, model):
    """Nor by weight decay, nor by what an optimizer remembers of the round before."""
    run = world(name, rounds=4, train=optimizer)
    algorithm = run.prepared.config.federation.strategy.algorithm
    run.play()
    for before, updates in zip(run.history, run.sent, strict=True):
        moving = "lora_A" if name == "rolora" and before.round % 2 else "lora_B"
        for update in updates.values():
            assert set(update.tensors) == {n for n in model.layout.shapes if moving in n}
            assert all(value.any() for value in update.tensors.values())
        assert set(algorithm.sent(before)) == set(updates["oslo"].tensors)
    if name != "fedsvd":
        for before, after in zip(run.history, [*run.history[1:], run.state], strict=True):
            moving = "lora_A" if name == "rolora" and before.round % 2 else "lora_B"
            for tensor, value in after.weights.items():
                same = value.tobytes() == before.weights[tensor].tobytes()
                assert same is (moving not in tensor)


@pytest.mark.parametrize(
    ("name", "index"), [("ffa", 0), ("fedsvd", 0), ("rolora", 0), ("rolora", 1)]
)
def test_a_factor_learns_beside_the_other_as_it_was_received(name, index, world, model, three):
    """Also inside a round: the judge takes the other factor's gradient away by hand."""
    run = world(name, rounds=2, train={"max_gradient_norm": "off"}).play()
    before, moving = run.history[index], "lora_A" if index else "lora_B"
    chosen = {tensor: moving in tensor for tensor in model.layout.shapes}
    keep = torch.from_numpy(chosen_entries(model.layout, chosen).astype(np.float32))
    rule = Rule(adjust=lambda gradients, weights, anchors: gradients * keep)
    for client in three:
        # Every round takes two steps, which is where the client's examples go on.
        member = Client(client.name, client.examples, ClientState(2 * index))
        received = {client.name: flatten(before.weights, model.layout)}
        recipe = run.prepared.config.train
        ((judge, _),) = train(model, [member], received, recipe, Round(index, 2, 0), rule=rule)
        for tensor, value in run.sent[index][client.name].tensors.items():
            np.testing.assert_allclose(value, judge.tensors[tensor], atol=1e-6)
            assert np.abs(value).max() > 1e-3


def test_a_pattern_is_that_of_a_shell_and_minds_the_case():
    def private(name, *patterns):
        return FedPer(private=patterns).algorithm.private(name)

    name = "base_model.model.layers.3.q_proj.lora_A.weight"
    assert private(name, "*.layers.3.*")
    assert private(name, "*.layers.?.*")
    assert private(name, "*.lora_[AB].weight")
    assert private(name, "nothing", name)
    assert not private(name, "*.LORA_A.*")
    # The whole name must fit, not a part of it.
    assert not private(name, "layers.3")
    assert not private(name, "*.layers.[12].*")


def test_both_need_only_sums():
    assert FedPer(private=("*",)).algorithm.needs_only_sums
    assert FedSA().algorithm.needs_only_sums


def test_fedper_without_a_pattern_is_refused():
    tree = {"data": {"path": "x", "scrub": "off"}, "privacy": {"unit": "none"}}
    for strategy in ("fedper", {"name": "fedper", "private": []}):
        with pytest.raises(ConfigError, match=r"federation\.strategy\.private"):
            make_config({**tree, "federation": {"strategy": strategy}}, place="here")
