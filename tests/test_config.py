"""The configuration as one value: written back, read again, the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from sottovoce.config import Config, load_config, make_config, write_config
from sottovoce.errors import ConfigError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_load_and_survive_being_written(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    (tmp_path / "config.toml").write_bytes(write_config(config))
    assert load_config(tmp_path / "config.toml") == config
    assert config.run.dir == f"runs/{path.stem}"


def test_off_and_absent_survive_being_written(tmp_path: Path) -> None:
    config = load_config(
        EXAMPLES / "marketplace.toml",
        [
            "train.max_gradient_norm=off",
            "train.steps_per_round=3",
            "federation.clients_per_round=2",
        ],
    )
    (tmp_path / "config.toml").write_bytes(write_config(config))
    again = load_config(tmp_path / "config.toml")
    assert again == config
    assert again.train.max_gradient_norm == "off"


def test_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "c.toml"
    file.write_text(
        '[data]\npath = ["../a/*.jsonl", "/b.csv"]\nscrub = "off"\n[privacy]\nunit = "none"\n'
    )
    assert load_config(file).data.path == (str(tmp_path / "deep/../a/*.jsonl"), "/b.csv")


def test_strategy_by_name_or_table() -> None:
    tree = {"data": {"path": "x", "scrub": "off"}, "privacy": {"unit": "none"}}
    by_name = make_config({**tree, "federation": {"strategy": "fedavg"}}, place="here")
    table = {"name": "fedavg", "server": {"name": "sgd", "lr": 1.0}}
    assert by_name == make_config({**tree, "federation": {"strategy": table}}, place="here")
    nameless = {"server": table["server"]}
    assert by_name == make_config({**tree, "federation": {"strategy": nameless}}, place="here")


def test_a_set_value_is_toml_or_a_bare_string() -> None:
    config = load_config(
        EXAMPLES / "marketplace.toml", ["seed=7", "run.dir=some where", "model.lora.rank = 2"]
    )
    assert (config.seed, config.run.dir, config.model.lora.rank) == (7, "some where", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[data\n", "is not TOML"),
        ('[data]\npath = "x"\nformat = "text"\n[privacy]\nunit = "none"\n', "plain text goes with"),
        ('[data]\npath = "x"\nclients = "iid"\n[privacy]\nunit = "none"\n', "federation.clients"),
        ('[privacy]\nunit = "none"\n', "data is missing"),
        ('[data]\npath = "x"\n[privacy]\nunit = "none"\n[surprise]\n', "no key surprise"),
        ('[data]\npath = "x"\n[privacy]\nunit = "none"\n', 'data.scrub is missing.*"drop"'),
        (
            '[data]\npath = "x"\nscrub = "mask"\nscrub_key = "k"\n[privacy]\nunit = "none"\n',
            "scrub_key is for",
        ),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(tmp_path / "c.toml")


def test_a_configuration_is_frozen() -> None:
    config: Config = load_config(EXAMPLES / "marketplace.toml")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]
