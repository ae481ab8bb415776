"""What a configuration may ask of a federation: each refusal, and the neighbour that is allowed."""

import copy

import pytest

from sottovoce.config import load_config, make_config, write_config
from sottovoce.errors import ConfigError
from sottovoce.strategies.fedsgd import ALL_EXAMPLES
from sottovoce.strategies.settings import FederationSettings

SGD = {"train": {"optimizer": "sgd"}}
FULL = {"model": {"train": "full"}}
LATE = {"buffer": 2, "concurrency": 3}


def strategy(name, *sections, **federation):
    """A configuration tree with this strategy and these sections."""
    tree = {"federation": {"strategy": name, **federation}}
    for section in sections:
        for key, values in section.items():
            tree.setdefault(key, {}).update(values)
    return tree


def device(name="fedavg", *sections, **settings):
    return strategy(name, *sections, devices={"phone": {"share": 0.5, **settings}})


def configured(tree):
    tree = copy.deepcopy(tree)
    return make_config(
        {"data": {"path": "x", "scrub": "off"}, "privacy": {"unit": "none"}, **tree},
        place="here.toml",
    )


def said(tree):
    with pytest.raises(ConfigError) as caught:
        configured(tree)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("here.toml: ")
    return str(caught.value)


# A refused tree, words of its message, and the nearest tree that passes.
REFUSALS = [
    *(
        pytest.param(
            strategy(name),
            [name, 'train.optimizer is "adamw"', 'set train.optimizer = "sgd"'],
            strategy(name, SGD),
            id=f"{name} under adamw",
        )
        for name in ("scaffold", "fednova")
    ),
    pytest.param(
        strategy("scaffold", {"train": {"optimizer": "sgd", "momentum": 0.5}}),
        ["scaffold", "train.momentum is 0.5", "set it to 0"],
        strategy("fednova", {"train": {"optimizer": "sgd", "momentum": 0.5}}),
        id="scaffold with momentum",
    ),
    *(
        pytest.param(
            strategy(name, FULL),
            [name, 'model.train is "full"', 'set model.train = "lora", or take fedavg'],
            strategy(name),
            id=f"{name} without an adapter",
        )
        for name in ("ffa", "rolora", "fedsa", "fedsvd", "flora", "fedex")
    ),
    *(
        pytest.param(
            strategy(name, {"model": {"dtype": dtype}}),
            [name, f'model.dtype is "{dtype}"', 'set model.dtype = "float32"'],
            strategy(neighbour, {"model": {"dtype": dtype}}),
            id=f"{name} on a base in {dtype}",
        )
        for name, neighbour in (("flora", "ffa"), ("fedex", "fedavg"))
        for dtype in ("bfloat16", "4bit")
    ),
    *(
        pytest.param(
            strategy(name, *sections, asynchronous=LATE),
            [name, "remove federation.asynchronous, or take fedavg"],
            strategy(name, *sections),
            id=f"{name} with late updates",
        )
        for name, *sections in (
            ("scaffold", SGD), ("rolora",), ("flora",), ("fedex",), ("fedsvd",),
        )
    ),
    pytest.param(
        strategy("fedavg", asynchronous=LATE, clients_per_round=2),
        ["asynchronous.concurrency", "remove federation.clients_per_round"],
        strategy("fedavg", asynchronous=LATE),
        id="asynchronous and drawn cohorts",
    ),
    pytest.param(
        strategy("fedavg", asynchronous=LATE, stragglers={"share": 0.5}),
        ["remove one of federation.asynchronous and federation.stragglers"],
        strategy("fedavg", stragglers={"share": 0.5}),
        id="asynchronous and stragglers",
    ),
    pytest.param(
        device(rank=9),
        ["federation.devices.phone.rank is 9", "at most 8", "model.lora.rank"],
        device(rank=8),
        id="a rank above the model's",
    ),
    pytest.param(
        device("fedavg", FULL, rank=2),
        ["federation.devices.phone.rank is 2", "trains no adapter"],
        device("fedavg", FULL, steps_per_round=2),
        id="a rank without an adapter",
    ),
    *(
        pytest.param(
            device(name, *sections, rank=2),
            ["federation.devices.phone.rank is 2", f"{name} needs equal ranks", "take flora"],
            device(neighbour, *sections, rank=2),
            id=f"unequal ranks with {name}",
        )
        for name, neighbour, *sections in (
            ("scaffold", "fednova", SGD), ("fedex", "flora"), ("fedsvd", "ffa"),
        )
    ),
    pytest.param(
        device("fedsgd", steps_per_round=2),
        ["federation.devices.phone.steps_per_round is 2", "fedsgd takes one step", "remove it"],
        device("fedsgd", speed=2.0),
        id="fedsgd with several steps on a device",
    ),
    *(
        pytest.param(
            strategy("fedsgd", {"train": {key: value}}),
            [f"train.{key} is {value!r}", f"fedsgd fixes it at {fixed!r}", "leave it out"],
            strategy("fedsgd", {"train": {key: fixed}}),
            id=f"fedsgd with train.{key}",
        )
        for key, value, fixed in (
            ("optimizer", "adamw", "sgd"),
            ("momentum", 0.9, 0.0),
            ("weight_decay", 0.1, 0.0),
            ("max_gradient_norm", 1.0, "off"),
            ("batch_size", 4, ALL_EXAMPLES),
            ("steps_per_round", 2, 1),
        )
    ),
    pytest.param(
        strategy("fedavg", devices={"a": {"share": 0.6}, "b": {"share": 0.5}}),
        ["shares of federation.devices add up to 1.1", "at most 1"],
        strategy("fedavg", devices={"a": {"share": 0.5}, "b": {"share": 0.5}}),
        id="shares above one",
    ),
    pytest.param(
        strategy("fedavg", devices={"a": {"speed": 2.0}}),
        ["needs either clients, by name, or share"],
        strategy("fedavg", devices={"a": {"speed": 2.0, "clients": ["x"]}}),
        id="a device of nobody",
    ),
    pytest.param(
        strategy("fedavg", devices={"a": {"share": 0.5, "clients": ["x"]}}),
        ["needs either clients, by name, or share, not both"],
        strategy("fedavg", devices={"a": {"share": 0.5}}),
        id="a device of named clients and of a share",
    ),
    *(
        pytest.param(
            strategy("fedavg", **{section: {**good, key: bad}}),
            [f"federation.{section}.{key} is {bad!r}", words],
            strategy("fedavg", **{section: {**good, key: fine}}),
            id=f"{section}.{key} = {bad}",
        )
        for section, good, key, bad, fine, words in (
            ("stragglers", {"share": 0.5}, "share", 1.1, 1.0, "less than or equal to 1"),
            ("stragglers", {"share": 0.5}, "share", -0.1, 0.0, "greater than or equal to 0"),
            ("stragglers", {"share": 0.5}, "work", "half", "dropped", "'partial' or 'dropped'"),
            ("asynchronous", LATE, "buffer", 0, 1, "greater than or equal to 1"),
            ("asynchronous", LATE, "concurrency", 0, 2, "greater than or equal to 1"),
            ("asynchronous", LATE, "staleness_exponent", -1.0, 0.0, "greater than or equal to 0"),
            ("asynchronous", LATE, "jitter", -1.0, 0.0, "greater than or equal to 0"),
        )
    ),
    *(
        pytest.param(
            strategy("fedavg", devices={"a": {"share": 0.5, key: bad}}),
            [f"federation.devices.a.{key} is {bad!r}"],
            strategy("fedavg", devices={"a": {"share": 0.5, key: fine}}),
            id=f"devices.{key} = {bad}",
        )
        for key, bad, fine in (
            ("share", 0.0, 1.0), ("share", 1.5, 1.0), ("rank", 0, 1), ("speed", 0.0, 0.1),
            ("steps_per_round", 0, 1), ("speed", float("inf"), 9.0),
        )
    ),
    *(
        pytest.param(
            strategy("fedavg", **{key: bad}),
            [f"federation.{key} is {bad!r}", words],
            strategy("fedavg", **{key: fine}),
            id=f"{key} = {bad}",
        )
        for key, bad, fine, words in (
            ("failures", 1.0, 0.99, "less than 1"),
            ("failures", -0.1, 0.0, "greater than or equal to 0"),
            ("weights", "steps", "targets", "'examples', 'targets' or 'uniform'"),
            ("on_divergence", "ignore", "drop", "'stop' or 'drop'"),
            ("minimum_clients", 0, 1, "greater than or equal to 1"),
            ("clients_per_round", 0, 1, "greater than or equal to 1"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("refused", "words", "allowed"), REFUSALS)
def test_a_contradiction_is_refused_and_its_neighbour_is_not(refused, words, allowed):
    message = said(refused)
    for word in words:
        assert word in message
    configured(allowed)


ALL = [
    "fedavg",
    "fedit",
    "fedsgd",
    "fedprox",
    "server_damping",
    "scaffold",
    "fednova",
    "ffa",
    "rolora",
    "fedsa",
    "fedsvd",
    "flora",
    "fedex",
]


@pytest.mark.parametrize("name", ALL)
def test_every_algorithm_is_known_by_its_name(name):
    sections = [SGD] if name in ("scaffold", "fednova") else []
    config = configured(strategy(name, *sections))
    assert config.federation.strategy.name == name
    by_table = configured(strategy({"name": name}, *sections))
    assert by_table == config


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fednova", "ffa", "fedsa"])
def test_what_the_message_on_late_updates_recommends_is_allowed(name):
    assert configured(strategy(name, SGD, asynchronous=LATE)).federation.asynchronous is not None


@pytest.mark.parametrize("name", ["flora", "fedavg", "ffa", "rolora", "fedsa"])
def test_what_the_message_on_ranks_recommends_is_allowed(name):
    assert configured(device(name, rank=2)).federation.devices["phone"].rank == 2


@pytest.mark.parametrize("name", ["fedavg", "fedprox"])
def test_what_the_message_on_adamw_recommends_is_allowed(name):
    assert configured(strategy(name)).train.optimizer == "adamw"


@pytest.mark.parametrize(
    ("federation", "names"),
    [
        ({"strategy": "scafold"}, ["scafold", "Did you mean scaffold?", "fedavg"]),
        ({"personal": "dito"}, ["dito", "Did you mean ditto?", "finetune"]),
        ({"strategy": {"name": "scafold"}}, ["scafold", "Did you mean scaffold?"]),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_are_known(federation, names):
    message = said({"federation": federation})
    for name in names:
        assert name in message


@pytest.mark.parametrize(("key", "bad"), [("strategy", "scafold"), ("personal", "dito")])
def test_an_unknown_name_is_told_with_its_key(key, bad):
    assert f"federation.{key}" in said({"federation": {key: bad}})


def test_a_bad_personal_setting_is_told_by_the_key_that_was_written():
    message = said({"federation": {"personal": {"name": "ditto", "pull": -1}}})
    assert "federation.personal.pull is -1" in message


@pytest.mark.parametrize(
    ("tree", "key", "near"),
    [
        (
            strategy({"name": "scaffold", "servers": 1}, SGD),
            "federation.strategy.servers",
            "server",
        ),
        (strategy("fedavg", device={}), "federation.device", "devices"),
        (strategy("fedavg", straggler={}), "federation.straggler", "stragglers"),
        (device(ranks=3), "federation.devices.phone.ranks", ""),
    ],
)
def test_an_unknown_key_is_refused(tree, key, near):
    message = said(tree)
    assert f"there is no key {key}" in message
    assert not near or f"Did you mean {near}?" in message


def test_personal_by_name_is_a_table_with_that_name():
    for name in ("finetune", "ditto"):
        one = configured({"federation": {"personal": name}})
        assert one == configured({"federation": {"personal": {"name": name}}})
        assert one.federation.personal.name == name
    for bad in ({"name": "finetune", "epochs": 0}, {"name": "finetune", "learning_rate": 0.0}):
        assert "greater than 0" in said({"federation": {"personal": bad}})


def test_what_is_fixed_survives_being_written(tmp_path):
    config = configured(strategy("fedsgd"))
    (tmp_path / "config.toml").write_bytes(write_config(config))
    again = load_config(tmp_path / "config.toml", ["data.path=x"])
    assert again.train == config.train
    assert again.train.batch_size == ALL_EXAMPLES


@pytest.mark.parametrize("train", [{}, {"learning_rate": 0.5, "schedule": "linear"}])
def test_what_is_not_fixed_stays_as_asked(train):
    recipe = configured(strategy("fedsgd", {"train": train})).train
    plain = configured({"train": train}).train
    fixed = FederationSettings(strategy="fedsgd").strategy.algorithm.fixes
    for key, value in recipe.model_dump().items():
        assert value == (fixed[key] if key in fixed else getattr(plain, key))


def test_a_recipe_is_fixed_also_where_sections_are_values():
    federation = FederationSettings(strategy="fedsgd")
    assert configured({"federation": federation}).train.optimizer == "sgd"


@pytest.mark.parametrize(
    ("name", "weighting"),
    [("fedavg", "examples"), ("fedsgd", "targets"), ("scaffold", "uniform"), ("ffa", "examples")],
)
def test_weights_are_the_algorithms_unless_others_are_asked_for(name, weighting):
    assert FederationSettings(strategy=name).weighting == weighting
    for other in ("examples", "targets", "uniform"):
        assert FederationSettings(strategy=name, weights=other).weighting == other


def test_a_buffer_that_never_reaches_the_minimum_is_refused():
    message = said(strategy("fedavg", asynchronous=LATE, minimum_clients=3))
    assert "minimum_clients" in message


@pytest.mark.parametrize("name", ["flora", "fedsvd"])
def test_memory_of_factors_that_are_replaced_is_refused(name):
    message = said(strategy(name) | {"train": {"optimizer_state": "keep"}})
    assert 'train.optimizer_state is "keep"' in message
    assert 'set it to "reset"' in message
    configured(strategy(name))


@pytest.mark.parametrize("name", ["flora", "fedex"])
def test_dittos_own_models_need_a_base_that_stays(name):
    assert "under the feet of Ditto" in said(strategy(name, personal="ditto"))
    configured(strategy(name, personal="finetune"))


def test_a_buffer_larger_than_who_trains_is_refused():
    message = said(strategy("fedavg", asynchronous={"buffer": 4, "concurrency": 3}))
    assert "buffer is 4 and concurrency 3" in message
    assert "lower buffer" in message
