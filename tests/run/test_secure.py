"""Runs whose updates travel as words: the same sum with and without masks, or a clear refusal."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_faults import Killed
from test_private_run import READ_ONE_BY_ONE, STRATEGIES, strategy_of
from test_spending import at, build_world, payloads

from sottovoce.codec import he
from sottovoce.codec.coding import Coding
from sottovoce.codec.oneshot.terms import TRUST
from sottovoce.codec.settings import SecureSettings
from sottovoce.codec.wire import unpack
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import by_secagg, local, secure, sums
from sottovoce.run.local import Outcome, federate
from sottovoce.run.prepare import Prepared

NAMES = tuple(f"client {place}" for place in range(5))
PLAIN = {"clip_norm": 1.0}
CODING = Coding(100, 1.0, 8, 16)
SECAGG = {**PLAIN, "aggregation": "secagg"}


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client, NAMES)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def within(
    world: Prepared, root: Path, settings: dict[str, Any], unit: str = "none", **more: Any
) -> Prepared:
    """A run in this folder with this section ``[secure]``."""
    return at(world, root, unit, secure=settings, **more)


def federated(world: Prepared, root: Path, settings: dict[str, Any], **more: Any) -> Outcome:
    return federate(within(world, root, settings, **more))


def words_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("round-*/*"))


# The same sum


@pytest.mark.parametrize("bits", [16, 20, 32])
@pytest.mark.parametrize("server", ["malicious", "semi-honest"])
def test_masks_change_no_bit_of_the_model(
    world: Prepared, tmp_path: Path, bits: int, server: str
) -> None:
    seen = federated(world, tmp_path / "seen", PLAIN | {"bits": bits})
    hidden = federated(world, tmp_path / "hidden", SECAGG | {"bits": bits, "server": server})
    assert hidden.adapter_sha256 == seen.adapter_sha256
    assert hidden.rounds == 2


@pytest.mark.parametrize(
    "more",
    [
        {"aggregation": "helpers"},
        {"aggregation": "helpers", "helpers": 5, "colluding": 2, "bits": 20},
        {"aggregation": "he"},
        {"aggregation": "he", "bits": 32},
    ],
    ids=["helpers", "more helpers", "he", "he wide"],
)
def test_neither_helpers_nor_encryption_change_a_bit(
    world: Prepared, tmp_path: Path, more: dict[str, Any]
) -> None:
    if more["aggregation"] == "he":
        pytest.importorskip("tenseal")
    plain = PLAIN | {key: value for key, value in more.items() if key == "bits"}
    changes = {"federation": {"failures": 0.25, "rounds": 3, "minimum_clients": 3}}
    seen = federated(world, tmp_path / "seen", plain, **changes)
    hidden = federated(world, tmp_path / "hidden", PLAIN | more, **changes)
    assert hidden.adapter_sha256 == seen.adapter_sha256
    for row in payloads(tmp_path / "hidden", "round"):
        assert (row["examples"], row["weights"], row["loss"]) == ([], [], None)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {*READ_ONE_BY_ONE, "fedsgd"}))
def test_every_algorithm_that_needs_only_sums_runs_under_masks(
    world: Prepared, tmp_path: Path, name: str
) -> None:
    runs = [
        federated(world, tmp_path / str(place), settings, **strategy_of(name))
        for place, settings in enumerate((PLAIN, SECAGG))
    ]
    assert runs[0].adapter_sha256 == runs[1].adapter_sha256


def test_keys_that_outlast_x25519_change_no_bit_of_the_model(
    world: Prepared, tmp_path: Path
) -> None:
    changes = {"federation": {"failures": 0.25, "rounds": 3, "minimum_clients": 4}}
    plain = federated(world, tmp_path / "plain", SECAGG, **changes)
    hybrid = federated(world, tmp_path / "hybrid", SECAGG | {"post_quantum": True}, **changes)
    assert hybrid.adapter_sha256 == plain.adapter_sha256
    assert hybrid.bytes_up_per_client > plain.bytes_up_per_client + 4 * 1100


def test_words_are_close_to_the_updates_themselves(world: Prepared, tmp_path: Path) -> None:
    exact = federated(world, tmp_path / "exact", {})
    fine = federated(world, tmp_path / "fine", SECAGG | {"bits": 32})
    coarse = federated(world, tmp_path / "coarse", SECAGG | {"bits": 12})
    fault = [float(np.abs(run.weights - exact.weights).max()) for run in (fine, coarse)]
    assert 0 < fault[0] < 1e-5 < fault[1] < 0.05


def test_who_drops_out_is_not_in_the_sum_and_the_rest_is_exact(
    world: Prepared, tmp_path: Path
) -> None:
    changes = {"federation": {"failures": 0.25, "rounds": 3, "minimum_clients": 4}}
    seen = federated(world, tmp_path / "seen", PLAIN, **changes)
    hidden = federated(world, tmp_path / "hidden", SECAGG, **changes)
    assert hidden.adapter_sha256 == seen.adapter_sha256
    rounds = payloads(tmp_path / "hidden", "round")
    assert any(row["failed"] for row in rounds)
    assert all(set(row["clients"]) | set(row["failed"]) == set(NAMES) for row in rounds)


@pytest.mark.parametrize("unit", ["owner", "example"])
def test_people_hidden_inside_clients_go_with_clients_hidden_from_the_server(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    seeded = {"unit": unit, "generator": "seeded_for_tests"}
    seen = federated(world, tmp_path / "seen", PLAIN, **seeded)
    hidden = federated(world, tmp_path / "hidden", SECAGG, **seeded)
    assert hidden.adapter_sha256 == seen.adapter_sha256


def test_killed_in_a_round_and_resumed_ends_with_the_same_bits(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = federated(world, tmp_path / "whole", SECAGG)
    run = within(world, tmp_path / "broken", SECAGG)
    real = local._bytes_up

    def die(played: Any) -> Any:
        if played.record.round == 1:
            raise Killed
        return real(played)

    with monkeypatch.context() as patch:
        patch.setattr(local, "_bytes_up", die)
        with pytest.raises(Killed):
            federate(run)
    assert federate(run, resume=True).adapter_sha256 == whole.adapter_sha256


# What the server receives


def test_the_wire_holds_words_of_which_none_is_seen_twice(world: Prepared, tmp_path: Path) -> None:
    runs = [within(world, tmp_path / name, SECAGG) for name in "ab"]
    plain = within(world, tmp_path / "plain", PLAIN)
    for run, name in zip([*runs, plain], "abp", strict=True):
        federate(run, wire=tmp_path / f"wire {name}")
    uploads = {
        name: [
            path.read_bytes() for path in words_in(tmp_path / f"wire {name}") if "upl" in path.name
        ]
        for name in "ab"
    }
    seen = [path.read_bytes() for path in words_in(tmp_path / "wire p")]
    assert len(uploads["a"]) == len(uploads["b"]) == len(seen) == 2 * len(NAMES)
    tail = {data[-200:-64] for group in uploads.values() for data in group}
    assert len(tail) == 4 * len(NAMES)
    for data, masked in zip(seen, uploads["a"], strict=True):
        words = unpack(data, 16, len(data) // 2)
        hidden = np.frombuffer(masked[-64 - len(data) : -64], "<u2")
        # Two uniform words agree once in 65,536 times.
        assert np.mean(words == hidden) < 0.01


def test_a_record_of_hidden_updates_tells_nothing_of_one_client(
    world: Prepared, tmp_path: Path
) -> None:
    federated(world, tmp_path / "run", SECAGG)
    (start,) = payloads(tmp_path / "run", "start")
    assert start["examples"] == []
    for row in payloads(tmp_path / "run", "round"):
        assert (row["examples"], row["weights"], row["tokens"], row["loss"]) == ([], [], [], None)


def test_an_upload_takes_two_bytes_an_entry(world: Prepared, tmp_path: Path) -> None:
    outcome = federated(world, tmp_path / "run", SECAGG)
    entries = world.model.layout.size
    protocol = 170 + 4 * 250 + 138 + 4 * 60 + 400
    assert 2 * entries < outcome.bytes_up_per_client < 2 * entries + protocol


# What is counted, and what is refused


def test_updates_beyond_the_norm_are_shortened_and_counted(world: Prepared, tmp_path: Path) -> None:
    outcome = federated(world, tmp_path / "run", SECAGG | {"clip_norm": 1e-4})
    assert outcome.clipped == 2 * len(NAMES)
    assert federated(world, tmp_path / "loose", SECAGG).clipped == 0
    first, second = payloads(tmp_path / "run", "round")
    assert max(first["update_norm"], second["update_norm"]) <= 1e-4 * (1 + 1e-3)


def test_a_client_heavier_than_agreed_ends_the_round(world: Prepared, tmp_path: Path) -> None:
    run = within(world, tmp_path / "run", SECAGG | {"max_weight": 5})
    with pytest.raises(VerificationError, match=r"weighs 6.*at most 5.*max_weight"):
        federate(run)
    assert payloads(tmp_path / "run", "round") == []


def test_too_few_survivors_release_nothing(world: Prepared, tmp_path: Path) -> None:
    changes = {"federation": {"failures": 0.9, "rounds": 1, "minimum_clients": 1}}
    with pytest.raises(ConfigError, match=r"fewer than federation\.minimum_clients = 4 of 5"):
        federated(world, tmp_path / "run", SECAGG, **changes)
    assert payloads(tmp_path / "run", "round") == []


def test_a_sum_of_others_than_those_who_sent_is_refused(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = secure.close

    def twice(steps: Any, coding: Any, *, weight: int) -> Any:
        return real(steps, coding, weight=weight, count=2 if weight else 1)

    monkeypatch.setattr(secure, "close", twice)
    with pytest.raises(VerificationError, match=r"of 10 clients|count"):
        federated(world, tmp_path / "run", SECAGG)


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no norm": ({"aggregation": "secagg"}, {}, "clip_norm is missing"),
    "bits alone": ({"bits": 16}, {}, "only beside secure.clip_norm"),
    "all collude": (
        PLAIN | {"aggregation": "helpers", "helpers": 2, "colluding": 2},
        {},
        "has to be honest",
    ),
    "keys of others": (PLAIN | {"post_quantum": True}, {}, 'about the keys of "secagg"'),
    "one by one": (SECAGG, {"federation": {"strategy": "flora"}}, "flora reads every client's"),
    "late": (
        SECAGG,
        {"federation": {"asynchronous": {"buffer": 2, "concurrency": 3}}},
        "a cohort that begins together",
    ),
    "ranks": (
        SECAGG,
        {"federation": {"devices": {"small": {"rank": 1, "share": 0.5}}}},
        "remove rank",
    ),
    "targets": (SECAGG, {"federation": {"weights": "targets"}}, "nobody can bound"),
    "clients": (SECAGG, {"unit": "client"}, "so that clients add it"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_a_secure_sum_cannot_serve_is_refused(
    world: Prepared, tmp_path: Path, case: str
) -> None:
    settings, changes, sentence = REFUSALS[case]
    with pytest.raises((ConfigError, ValueError), match=sentence):
        within(world, tmp_path / "run", settings, **changes)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "sees the update of every client, in words of 16 bits"),
        ({"aggregation": "secagg"}, "breaks the protocol and works with 2 of a client's 7"),
        (
            {"aggregation": "secagg", "server": "semi-honest"},
            "keeps to the protocol and works with 4 of a client's 7",
        ),
        ({"aggregation": "helpers"}, "up to 1 of 3 helpers"),
        ({"aggregation": "he"}, "All clients share one key"),
    ],
)
def test_a_run_says_what_its_server_will_see(more: dict[str, Any], sentence: str) -> None:
    settings = SecureSettings.model_validate(PLAIN | more)
    least = secure.least_survivors(settings, 8)
    (line,) = secure.claim(settings, 8, coding=CODING, least=least)
    assert sentence in line


@pytest.mark.parametrize("clients", range(2, 40))
def test_so_many_that_work_with_a_malicious_server_learn_nothing(clients: int) -> None:
    """Told different survivors, two disjoint sets of honest neighbours cannot both be enough."""
    settings = SecureSettings.model_validate(SECAGG)
    least = secure.least_survivors(settings, clients)
    told = secure.facts(settings, clients, coding=CODING, least=least)
    corrupt, threshold, k = told["colluding"], told["threshold"], told["neighbours"]
    honest = k - corrupt
    assert corrupt >= 0
    assert corrupt < threshold
    assert honest // 2 + corrupt < threshold
    assert told["least"] <= clients


def test_one_client_hides_nothing(world: Prepared, tmp_path: Path) -> None:
    alone = replace(world, parties=world.parties[:1])
    with pytest.raises(ConfigError, match="1 client is in a sum"):
        federated(alone, tmp_path / "run", SECAGG)
    assert not (tmp_path / "run").exists()


def test_words_too_narrow_for_so_many_clients_are_refused(world: Prepared, tmp_path: Path) -> None:
    many = replace(world, parties=tuple(replace(world.parties[0], name=f"{n}") for n in range(200)))
    with pytest.raises(ConfigError, match="8 bits leave no room for 200 clients"):
        federated(many, tmp_path / "run", PLAIN | {"bits": 8})


def test_playing_a_round_hands_over_who_was_silent(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = sums.sum_of

    def listen(updates: Any, absent: Any, *more: Any, **named: Any) -> Any:
        seen.append(set(absent))
        return real(updates, absent, *more, **named)

    monkeypatch.setattr(sums, "sum_of", listen)
    changes = {"federation": {"failures": 0.25, "rounds": 3, "minimum_clients": 4}}
    federated(world, tmp_path / "run", SECAGG, **changes)
    assert seen == [set(row["failed"]) for row in payloads(tmp_path / "run", "round")]
    assert any(seen)


@pytest.mark.parametrize(
    ("clients", "corrupt", "server", "threshold"),
    [
        (8, 0.05, "malicious", 5),  # 2·7/3 + 1
        (8, 0.45, "malicious", 6),  # above (7 + 4)/2
        (100, 0.4, "malicious", 70),  # above (99 + 40)/2
        (100, 0.4, "semi-honest", 67),
    ],
)
def test_the_threshold_bears_the_stated_share_of_corrupt_clients(
    clients: int, corrupt: float, server: str, threshold: int
) -> None:
    settings = SecureSettings(aggregation="secagg", clip_norm=1.0, corrupt=corrupt, server=server)
    neighbours, found = by_secagg.degree(settings, clients)
    assert (neighbours, found) == (clients - 1, threshold)


@pytest.mark.parametrize(("aggregation", "told"), [("he", he.TRUST), ("helpers", TRUST)])
def test_a_result_says_whom_its_sums_trust(aggregation: str, told: str) -> None:
    settings = SecureSettings(aggregation=aggregation, clip_norm=1.0)
    found = secure.facts(settings, 8, coding=None, least=2)
    assert found["trust"] == told
