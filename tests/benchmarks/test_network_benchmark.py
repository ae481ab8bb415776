"""The benchmark of federations across machines, as far as it runs in seconds and without figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("network", "network_sites", "network_plain", "secagg_flwr", "measuring")
KEYS = {
    "round_overhead_seconds_4_sites": "at_most",
    "secagg_round_overhead_seconds_4_sites": "at_most",
    "plain_flower_round_seconds_over_ours": "at_least",
    "server_peak_bytes_over_update": "at_most",
    "update_50mb_seconds": "at_most",
}


@pytest.fixture(scope="module")
def network() -> Iterator[ModuleType]:
    """The script, imported as when it is run: its own folder first on the path."""
    if find_spec("peft") is None or find_spec("flwr") is None:
        pytest.skip("the benchmark needs peft and flwr; make venv installs them")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import network

        yield network
        for name in MODULES:
            sys.modules.pop(name, None)


def test_the_keys_are_those_of_the_bars(network: ModuleType) -> None:
    assert set(network.PARTS) == set(KEYS)


def write_log(path: Path, rows: list[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "error: the last word\n")


def test_a_rounds_cost_is_what_the_slowest_sites_training_leaves(
    network: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: list[Mapping[str, Any]] = []
    for index, seconds in enumerate((9.0, 3.0, 5.0)):
        server.append({"event": "round", "time": 100.0 * index, "round": index})
        server.append({"event": "finished", "time": 100 * index + seconds, "rounds": index + 1})
    write_log(tmp_path / "server.log", server)
    for name, factor in (("berlin", 1.0), ("oslo", 0.5)):
        told = [{"event": "trained", "round": n, "seconds": factor * (n + 1)} for n in range(3)]
        write_log(tmp_path / name / "site.log", [{"event": "asked", "kind": "join"}, *told])
    found = network.seconds_in(tmp_path)
    assert found == [(9.0, 1.0), (3.0, 2.0), (5.0, 3.0)]
    monkeypatch.setattr(network, "rounds", lambda _: found)
    figure = network.overhead("key", "none", 5.0)
    assert figure.value == 2.0
    assert figure.facts["lowest"] == 1.0
    assert figure.facts["highest"] == 8.0


def test_without_the_peers_flowers_key_is_null_and_it_says_what_to_do(
    network: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "plain_flower_round_seconds_over_ours"
    monkeypatch.setattr(network, "available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["network.py", "--json", "--only", key])
    network.main()
    said = capsys.readouterr()
    assert json.loads(said.out)[key] is None
    assert len(said.out.splitlines()) == 1
    assert "make bench-peers" in said.err


@pytest.mark.parametrize("aggregation", ["none", "secagg"])
def test_made_up_sites_play_a_run_through_the_real_server(
    network: ModuleType, aggregation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "SIMULATED", 4)
    monkeypatch.setattr(network, "ENTRIES", 16_384)
    peak = network.peak_of_round({"aggregation": aggregation, "clip_norm": 4.0})
    # What is small beside a large update, such as heads and hashes, is not so beside a small one.
    assert peak > 4 * 16_384


def test_the_app_is_one_that_flower_can_find(network: ModuleType) -> None:
    import tomllib

    from network_plain import APP

    tree = tomllib.loads((APP / "pyproject.toml").read_text(encoding="utf-8"))
    for place in tree["tool"]["flwr"]["app"]["components"].values():
        module, _, name = place.partition(":")
        text = (APP / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
        assert f"{name} = " in text
