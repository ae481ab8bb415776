"""Updates that travel in parts or in few bits: what is sent, what is kept, and what it costs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_faults import Killed
from test_private_run import strategy_of
from test_secure import PLAIN, SECAGG, federated, within
from test_spending import build_world, payloads

from sottovoce.codec import blocks
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import contribute, local, sending
from sottovoce.run.local import federate
from sottovoce.run.prepare import Prepared
from sottovoce.run.sending import PART, part_of, places, thinned, whole
from sottovoce.train import ClientState
from sottovoce.update import Layout, Update, flatten

NAMES = tuple(f"client {place}" for place in range(5))
LAYOUT = Layout({"a": (3, 4), "b": (8,)})


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client, NAMES)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def update(seed: int, length: float = 1.0) -> Update:
    draw = np.random.default_rng(seed)
    tensors = {
        name: (length * draw.standard_normal(shape)).astype(np.float32)
        for name, shape in LAYOUT.shapes.items()
    }
    return Update(tensors, "one", 1, 1, 1, 0.0)


# Parts


def test_what_was_sent_and_what_is_left_are_all_updates_together() -> None:
    state, sent = ClientState(), np.zeros(LAYOUT.size)
    updates = [update(seed) for seed in range(7)]
    for round_index, one in enumerate(updates):
        indices = places(LAYOUT.size, 0.3, 5, round_index)
        part, state = thinned(one, state, LAYOUT, indices, 100.0)
        assert part.tensors[PART].shape == (6,)
        sent += flatten(whole(part.tensors, indices, LAYOUT), LAYOUT)
    left = flatten(state.own["unsent"], LAYOUT)
    everything = np.sum([flatten(one.tensors, LAYOUT) for one in updates], axis=0)
    assert np.count_nonzero(sent) > 15
    np.testing.assert_allclose(sent + left, everything, rtol=0, atol=1e-5)


def test_a_part_is_bounded_after_what_was_left_is_added() -> None:
    state = ClientState(own={"unsent": update(1, 1000.0).tensors})
    indices = places(LAYOUT.size, 0.5, 5, 0)
    part, after = thinned(update(2, 0.01), state, LAYOUT, indices, 1.0)
    assert np.linalg.norm(part.tensors[PART].astype(np.float64)) <= 1.0
    assert np.linalg.norm(flatten(after.own["unsent"], LAYOUT)) > 1000


def test_rounds_send_other_entries_and_everybody_the_same() -> None:
    drawn = [tuple(places(1000, 0.1, 5, index)) for index in range(3)]
    assert len(set(drawn)) == 3
    assert drawn[0] == tuple(places(1000, 0.1, 5, 0))
    assert all(len(one) == part_of(1000, 0.1) == 100 for one in drawn)


def test_other_tensors_of_what_is_left_stay_where_they_are() -> None:
    """A rule that sends other tensors every other round."""
    half = Layout({"b": (8,)})
    state = ClientState(own={"unsent": update(1).tensors, "control": {}})
    small = Update({"b": np.ones(8, np.float32)}, "one", 1, 1, 1, 0.0)
    _, after = thinned(small, state, half, places(8, 0.5, 1, 0), 100.0)
    assert after.own["unsent"]["a"].tolist() == state.own["unsent"]["a"].tolist()
    assert after.own["control"] == {}


@pytest.mark.parametrize("name", ["fedavg", "rolora", "ffa", "fedsvd", "fednova"])
def test_parts_give_the_same_bits_under_masks(world: Prepared, tmp_path: Path, name: str) -> None:
    changes = strategy_of(name)
    changes["federation"]["rounds"] = 3
    runs = [
        federated(world, tmp_path / str(place), settings | {"keep": 0.25}, **changes)
        for place, settings in enumerate((PLAIN, SECAGG))
    ]
    assert runs[0].adapter_sha256 == runs[1].adapter_sha256
    whole_run = federated(world, tmp_path / "whole", PLAIN, **changes)
    assert runs[0].bytes_up_per_client < 0.25 * whole_run.bytes_up_per_client + 30


def test_nothing_is_lost_when_a_run_with_parts_dies(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, changes = SECAGG | {"keep": 0.2}, {"federation": {"rounds": 4}}
    undisturbed = federated(world, tmp_path / "whole", settings, **changes)
    run = within(world, tmp_path / "broken", settings, **changes)
    real = local._bytes_up

    def die(played: Any) -> Any:
        if played.record.round == 2:
            raise Killed
        return real(played)

    with monkeypatch.context() as patch:
        patch.setattr(local, "_bytes_up", die)
        with pytest.raises(Killed):
            federate(run)
    assert federate(run, resume=True).adapter_sha256 == undisturbed.adapter_sha256


def test_a_whole_client_hides_behind_shares_of_noise_in_parts_too(
    world: Prepared, tmp_path: Path
) -> None:
    shares = {"unit": "client", "trust": "none", "mechanism": "skellam", "noise_multiplier": 0.5}
    masks = {"aggregation": "secagg"}
    run = federated(world, tmp_path / "run", masks | {"keep": 0.3}, **shares)
    assert np.isfinite(run.weights).all()
    whole_run = federated(world, tmp_path / "whole", masks, **shares)
    left_out = world.model.layout.size - part_of(world.model.layout.size, 0.3)
    assert whole_run.bytes_up_per_client - run.bytes_up_per_client == 2 * left_out


# Few bits


@pytest.mark.parametrize("bits", [8, 4])
def test_few_bits_are_what_travels_and_what_is_added(
    world: Prepared, tmp_path: Path, bits: int
) -> None:
    run = within(world, tmp_path / "run", {"compress": bits}, federation={"rounds": 1})
    size = world.model.layout.size
    few = federate(run, wire=tmp_path / "wire")
    whole_run = federated(world, tmp_path / "whole", {}, federation={"rounds": 1})
    scales = 4 * -(-size // blocks.BLOCK)
    assert few.bytes_up_per_client == 15 + scales + size * bits // 8
    files = sorted((tmp_path / "wire" / "round-00001").iterdir())
    layout = Layout(dict(sorted(world.model.layout.shapes.items())))
    read = [blocks.expand(blocks.read(path.read_bytes(), layout.size)) for path in files]
    assert len(read) == len(NAMES)
    # All clients weigh the same here.
    moved = few.weights - world.model.initial(0)
    order = world.model.layout
    tensors = sending.unflatten(np.mean(read, axis=0, dtype=np.float64).astype(np.float32), layout)
    np.testing.assert_allclose(moved, flatten(tensors, order), rtol=0, atol=1e-6)
    fault = np.abs(few.weights - whole_run.weights).max()
    assert 0 < fault < 2 * np.abs(moved).max() / (2 ** (bits - 1) - 1)


@pytest.mark.parametrize("name", ["flora", "fedex", "scaffold"])
def test_few_bits_serve_rules_that_read_single_updates(
    world: Prepared, tmp_path: Path, name: str
) -> None:
    outcome = federated(world, tmp_path / "run", {"compress": 8}, **strategy_of(name))
    assert np.isfinite(outcome.weights).all()


@pytest.mark.parametrize("unit", ["none", "client"])
def test_what_is_not_finite_is_refused_or_counts_as_zero(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    real = contribute._finish

    def spoil(*arguments: Any) -> Any:
        one, state = real(*arguments)
        if one.client == NAMES[2]:
            tensors = {name: np.full_like(value, np.nan) for name, value in one.tensors.items()}
            one = sending.replace(one, tensors=tensors)
        return one, state

    monkeypatch.setattr(contribute, "_finish", spoil)
    run = within(world, tmp_path / "run", {"compress": 8}, unit, federation={"rounds": 1})
    if unit == "none":
        with pytest.raises(VerificationError, match=NAMES[2]):
            federate(run)
        assert payloads(tmp_path / "run", "round") == []
    else:
        assert federate(run).zeroed <= 1


def test_a_part_that_is_not_finite_counts_as_zero_and_nobody_else_learns_it(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = contribute._finish

    def spoil(*arguments: Any) -> Any:
        one, state = real(*arguments)
        if one.client == NAMES[2]:
            tensors = {name: np.full_like(value, np.inf) for name, value in one.tensors.items()}
            one = sending.replace(one, tensors=tensors)
        return one, state

    monkeypatch.setattr(contribute, "_finish", spoil)
    shares = {"unit": "client", "trust": "none", "mechanism": "skellam"}
    settings = {"aggregation": "secagg", "keep": 0.3}
    outcome = federated(world, tmp_path / "run", settings, **shares)
    assert outcome.zeroed == 2
    assert np.isfinite(outcome.weights).all()
    assert [row["clients"] for row in payloads(tmp_path / "run", "round")] == [list(NAMES)] * 2


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "few bits in words": (PLAIN | {"compress": 8}, {}, "one scale for all"),
    "few bits under masks": (SECAGG | {"compress": 4}, {}, "one scale for all"),
    "other bits": ({"compress": 5}, {}, "compress"),
    "parts without words": ({"keep": 0.5}, {}, "secure.keep has a meaning only beside"),
    "its own largest entries": (
        SECAGG | {"keep": 0.5, "parts": "top_k"},
        {},
        "would learn which entries every client chose",
    ),
    "no part": (PLAIN | {"keep": 0.0}, {}, "keep"),
    "parts of control variates": (
        PLAIN | {"keep": 0.5},
        strategy_of("scaffold"),
        "scaffold would then be in sums",
    ),
    "parts of people": (
        {"aggregation": "secagg", "keep": 0.5},
        {"unit": "owner", "trust": "none", "mechanism": "skellam", **strategy_of("fedsgd")},
        "units inside clients would then be",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_travel_so_is_refused(world: Prepared, tmp_path: Path, case: str) -> None:
    settings, changes, sentence = REFUSALS[case]
    with pytest.raises((ConfigError, ValueError), match=sentence):
        within(world, tmp_path / "run", settings, **changes)


def test_finite_updates_that_are_not_finite_together_or_too_large_count_as_zero() -> None:
    huge = update(1)
    huge = sending.replace(
        huge, tensors={n: np.full_like(v, 3e38) for n, v in huge.tensors.items()}
    )
    state = ClientState(own={"unsent": huge.tensors})
    part, after = thinned(huge, state, LAYOUT, places(LAYOUT.size, 0.3, 5, 0), 1.0)
    assert np.isnan(part.tensors[PART]).all()
    assert after is state
    read, data = sending.compressed(huge, LAYOUT, 8, 5, 0)
    assert all(np.isnan(value).all() for value in read.tensors.values())
    assert not blocks.read(data, LAYOUT.size).values.any()
