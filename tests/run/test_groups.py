"""Sums of groups and a rule over them: who is in which, and what one spoiled client can do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_secure import PLAIN, SECAGG, federated, within
from test_spending import build_world, payloads

from sottovoce import aggregate
from sottovoce.codec.coding import Coding
from sottovoce.codec.settings import SecureSettings
from sottovoce.errors import AbortedError, ConfigError
from sottovoce.rng import seeded_source
from sottovoce.run import contribute, groups, secure, sums
from sottovoce.run.circle import Circle
from sottovoce.run.groups import group_count, groups_of, largest_group
from sottovoce.run.local import federate
from sottovoce.run.prepare import Prepared
from sottovoce.run.secure import Summing
from sottovoce.update import Layout, Update

NAMES = tuple(f"client {place:02d}" for place in range(10))
CODING = Coding(100, 1.0, 8, 16)
MEDIAN = {"group_size": 2, "robust": "median"}
RULES: dict[str, Callable[[Any], Any]] = {
    "median": aggregate.median,
    "trimmed_mean": lambda rows: aggregate.trimmed_mean(rows, trim=1),
    "geometric_median": aggregate.geometric_median,
    "krum": lambda rows: aggregate.krum(rows, faulty=1),
}


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client, NAMES)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 99))
def test_every_client_is_in_one_group_of_at_least_so_many(
    clients: int, size: int, seed: int
) -> None:
    size = min(size, clients)
    names = [f"{place}" for place in range(clients)]
    dealt = groups_of(names, size, seeded_source(seed))
    assert sorted(name for group in dealt for name in group) == sorted(names)
    lengths = [len(group) for group in dealt]
    assert len(dealt) == group_count(clients, size) == clients // size
    assert size <= min(lengths)
    assert max(lengths) == largest_group(clients, size) <= min(lengths) + 1
    assert dealt == groups_of(names[::-1], size, seeded_source(seed))


def test_deals_differ_from_round_to_round_and_meet_everybody() -> None:
    names = [f"{place}" for place in range(6)]
    met = set()
    for seed in range(60):
        for group in groups_of(names, 2, seeded_source(seed)):
            met.add(group)
    assert len(met) == 15


@pytest.mark.parametrize("rule", RULES)
def test_the_model_moves_by_the_rule_over_the_groups_means(
    world: Prepared, tmp_path: Path, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    means: list[Any] = []
    real = secure.sum_of

    def listen(*arguments: Any, **named: Any) -> Any:
        summed = real(*arguments, **named)
        means.append(summed)
        return summed

    monkeypatch.setattr(groups, "sum_of", listen)
    settings = PLAIN | {"group_size": 2, "robust": rule, "bits": 32}
    run = within(world, tmp_path / "run", settings, federation={"rounds": 1})
    outcome = federate(run)
    assert len(means) == 5
    assert sorted(name for one in means for name in one.clients) == sorted(NAMES)
    layout = world.model.layout
    rows = np.stack([secure.flatten(one.mean, layout) for one in means])
    moved = outcome.weights - world.model.initial(0)
    np.testing.assert_allclose(moved, RULES[rule](rows), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_spoiled_client_spoils_one_sum_and_not_the_rule_over_groups(
    world: Prepared, tmp_path: Path, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = contribute._finish

    def spoil(*arguments: Any) -> Any:
        update, state = real(*arguments)
        if update.client == NAMES[3]:
            tensors = {name: np.full_like(value, 0.04) for name, value in update.tensors.items()}
            update = replace(update, tensors=tensors)
        return update, state

    def moved(name: str, settings: dict[str, Any], *, spoiled: bool) -> Any:
        with monkeypatch.context() as patch:
            if spoiled:
                patch.setattr(contribute, "_finish", spoil)
            changes = {"federation": {"rounds": 1}, "train": {"learning_rate": 0.003}}
            return federated(world, tmp_path / name, PLAIN | settings, **changes).weights

    grouped = {"group_size": 2, "robust": rule}
    honest = moved("honest", {}, spoiled=False)
    alone = np.linalg.norm(moved("sum", {}, spoiled=True) - honest)
    robust = np.linalg.norm(moved("robust", grouped, spoiled=True) - honest)
    assert robust < 0.5 * alone


@pytest.mark.parametrize("aggregation", ["secagg", "helpers"])
def test_groups_hide_their_clients_behind_masks(
    world: Prepared, tmp_path: Path, aggregation: str
) -> None:
    run = within(world, tmp_path / "run", PLAIN | {"aggregation": aggregation} | MEDIAN)
    outcome = federate(run, wire=tmp_path / "wire")
    assert np.isfinite(outcome.weights).all()
    for row in payloads(tmp_path / "run", "round"):
        assert row["clients"] == list(NAMES)
        assert (row["examples"], row["weights"], row["loss"]) == ([], [], None)


def test_a_group_of_which_too_few_are_left_is_left_out(world: Prepared, tmp_path: Path) -> None:
    changes = {"federation": {"failures": 0.1, "rounds": 4, "minimum_clients": 8}}
    federated(world, tmp_path / "run", SECAGG | MEDIAN, **changes)
    rows = payloads(tmp_path / "run", "round")
    short = [row for row in rows if row["failed"]]
    assert short
    for row in short:
        # Whoever was dealt to a group with a silent client is not in the model either.
        assert len(row["clients"]) + len(row["failed"]) <= len(NAMES)
        assert len(row["clients"]) % 2 == 0


def test_too_few_groups_release_nothing(world: Prepared, tmp_path: Path) -> None:
    changes = {"federation": {"failures": 0.5, "rounds": 1, "minimum_clients": 3}, "seed": 3}
    settings = SECAGG | {"group_size": 2, "robust": "trimmed_mean", "faulty": 2}
    with pytest.raises(AbortedError, match=r"groups, and 5 are needed by trimmed_mean") as caught:
        federated(world, tmp_path / "run", settings, **changes)
    assert (caught.value.stage, caught.value.round) == ("the sums", 0)
    assert set(caught.value.missing) < set(NAMES)
    assert payloads(tmp_path / "run", "round") == []


@pytest.mark.parametrize(
    ("settings", "changes", "sentence"),
    [
        (PLAIN | {"group_size": 2}, {}, "set both or neither"),
        (PLAIN | {"robust": "krum"}, {}, "set both or neither"),
        (SECAGG | {"group_size": 1, "robust": "median"}, {}, "hides nothing"),
        ({"group_size": 2, "robust": "median"}, {}, "only beside secure.clip_norm"),
        (
            {"aggregation": "secagg"} | MEDIAN,
            {"unit": "client", "trust": "none", "mechanism": "skellam"},
            "all of the noise by itself",
        ),
    ],
)
def test_groups_that_make_no_sense_are_refused(
    world: Prepared, tmp_path: Path, settings: Any, changes: Any, sentence: str
) -> None:
    with pytest.raises((ConfigError, ValueError), match=sentence):
        within(world, tmp_path / "run", settings, **changes)


def test_a_rule_over_too_few_groups_is_refused_before_the_run(
    world: Prepared, tmp_path: Path
) -> None:
    settings = PLAIN | {"group_size": 3, "robust": "krum"}
    with pytest.raises(ConfigError, match=r"10 clients make 3 groups.*needs 5"):
        federated(world, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_a_smaller_group_needs_fewer_than_the_largest(world: Prepared, tmp_path: Path) -> None:
    """Ten clients make groups of 4, 3 and 3, of which masks need 4, 3 and 3."""
    settings = SECAGG | {"group_size": 3, "robust": "median"}
    federated(world, tmp_path / "run", settings, federation={"rounds": 1})
    (row,) = payloads(tmp_path / "run", "round")
    assert row["clients"] == list(NAMES)


def test_one_group_less_than_the_rule_needs_releases_nothing() -> None:
    settings = SecureSettings(clip_norm=1.0, group_size=2, robust="median")
    how = _summing(settings, None)
    names = NAMES[:6]
    dealt = groups_of(names, 2, groups._dealer(how, 0))
    for missing, enough in ((dealt[0][:1], True), (dealt[0], False)):
        sent = [_one(name) for name in names if name not in missing]
        rest: dict[str, Any] = {"round_index": 0, "model_sha256": bytes(32)}
        if enough:
            assert len(groups.sum_in_groups(sent, missing, how, **rest).clients) == 5
            continue
        with pytest.raises(AbortedError, match="2 groups, and 3 are needed by median"):
            groups.sum_in_groups(sent, missing, how, **rest)


def test_groups_are_dealt_anew_in_every_round_from_what_all_clients_threw(
    world: Prepared, tmp_path: Path
) -> None:
    runs = [within(world, tmp_path, SECAGG | MEDIAN) for _ in range(2)]
    found = [_summing(run.config.secure, run.circle) for run in runs]
    deals = [
        groups_of(NAMES, 2, groups._dealer(how, round_index))
        for how in (*found, _summing(runs[0].config.secure, None))
        for round_index in range(3)
    ]
    assert len(set(deals)) == len(deals)
    assert deals[0] == groups_of(NAMES, 2, groups._dealer(found[0], 0))


def _summing(settings: SecureSettings, circle: Circle | None) -> Summing:
    layout = Layout({"x": (8,)})
    return Summing(settings, circle, 3, layout, Coding(8, 1.0, 4, 16), 1, 1)


def _one(name: str) -> Update:
    return Update({"x": np.full(8, 0.1, np.float32)}, name, 1, 1, 1, None, weight=1)


def test_how_many_must_deliver_is_said_of_a_group_and_not_of_the_round(
    world: Prepared, tmp_path: Path
) -> None:
    run = within(world, tmp_path, SECAGG | MEDIAN, federation={"minimum_clients": 8})
    facts = sums.told(run)
    assert (facts["clients"], facts["least"]) == (2, 2)


def test_what_is_said_holds_for_the_smallest_group(world: Prepared, tmp_path: Path) -> None:
    """Ten by three are groups of three, three and four, and three clients bear one neighbour less."""
    settings = SECAGG | {"group_size": 3, "robust": "median"}
    told = sums.told(within(world, tmp_path, settings))
    assert (told["clients"], told["least"]) == (3, 3)
    assert secure.facts(**told)["colluding"] == 1


def test_a_run_says_that_groups_are_seen() -> None:
    settings = SecureSettings.model_validate(SECAGG | {"group_size": 3, "robust": "median"})
    (line,) = secure.claim(settings, 4, coding=CODING, least=4)
    assert "the sums of groups of 3 clients or more, joined by median" in line
