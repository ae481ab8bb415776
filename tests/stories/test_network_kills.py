"""SIGKILL of every process at every stage of a round, and at random for as long as patience lasts."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from network_world import SMALL, Consortium, by_one_process, consortium, stricter, wait_for

from sottovoce.data.conversation import Conversation
from sottovoce.run import network_demo
from sottovoce.run.check import check_run
from sottovoce.run.ledger import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

STAGES = (("keys", 0), ("shares", 0), ("round", 1), ("survivors", 2), ("unmask", 3), ("finish", 4))
FOUR = {**SMALL, "federation": {"rounds": 4, "strategy": {"name": "fedavg"}}}
LIMITS = {"max_epsilon_per_run": 8.0, "max_epsilon_per_data_set": 8.0, "max_delta": 1e-5}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Consortium, str]]:
    """Three sites that outlive all runs of the module, and what a run has to come to."""
    folder = tmp_path_factory.mktemp("kills")
    with consortium(folder / "world", FOUR) as one:
        for name in one.names:
            one.start_site(name)
        yield one, by_one_process(one, one.names, folder / "alone")


@pytest.mark.parametrize("what", ["server", "superlink", "door", "vault"])
def test_killed_at_each_stage_a_run_ends_as_undisturbed(
    world: tuple[Consortium, str], what: str
) -> None:
    one, undisturbed = world
    name = one.names[1]
    one.begin(f"run-{what}")
    for kind, index in STAGES:
        one.until_asked(name, kind, index)
        one.kill(what, name)
        if what == "server":
            one.start_server()
        if what == "vault":
            one.start_site(name)
    assert one.finish(300)["adapter_sha256"] == undisturbed
    assert check_run(one.run).complete
    # Each round stands once in the ledger of the site, however often it was asked for.
    run = (one.run / "run.id").read_text()
    ledger = one.folder / name / "runs" / run / "ledger.jsonl"
    answers = [record.payload for record in read(ledger) if record.kind == "answer"]
    assert [it["round"] for it in answers if it["kind"] == "round"] == [0, 1, 2, 3]


def test_where_policies_leave_too_few_the_server_says_so(world: tuple[Consortium, str]) -> None:
    one, _ = world
    name = one.names[0]
    before = (one.folder / name / "policy.toml").read_text()
    stricter(one, name, weakest_unit="owner", **LIMITS)
    try:
        one.begin("run-refused", "federation.minimum_clients=3")
        assert one.server_ended(120) == 3
    finally:
        (one.folder / name / "policy.toml").write_text(before)
    said = one.last_words()
    # Once one has said no the server need not wait for the others.
    assert re.search("[0-2] sites answered offer-0, and 3 are needed", said)
    assert f"{name}: " in said
    assert "weakest_unit" in said
    status = [event for event in one.events() if event["event"] == "ended"]
    assert status[-1]["state"] == "failed"


def test_what_was_drawn_again_is_paid_for_again(world: tuple[Consortium, str]) -> None:
    """ε is never understated: a charge is on disk before anything that it pays for is drawn."""
    one, _ = world
    name = one.names[1]
    noise = {"unit": "example", "noise_multiplier": 1.0, "clip_norm": 0.5, "delta": 1e-3}
    one.configured({"privacy": noise, "secure": {"aggregation": "none"}})
    one.begin("run-private")
    for index in range(4):
        one.until_asked(name, "round", index)
        # Somewhere between the charge, the training and the answer.
        time.sleep(0.05 + 0.1 * index)
        one.kill("vault", name)
        one.start_site(name)
    told = one.finish(300)
    run = (one.run / "run.id").read_text()
    records = list(read(one.folder / name / "runs" / run / "ledger.jsonl"))
    charged = [record.payload["round"] for record in records if record.kind == "charge"]
    answered = [
        record.payload["round"]
        for record in records
        if record.kind == "answer" and record.payload["kind"] == "round"
    ]
    assert answered == [0, 1, 2, 3]
    assert set(charged) == {0, 1, 2, 3}
    place: dict[int, int] = {}
    for number, record in enumerate(records):
        if record.kind == "charge":
            place.setdefault(record.payload["round"], number)
        if record.kind == "answer" and record.payload["kind"] == "round":
            assert place[record.payload["round"]] < number
    assert told["privacy"]["epsilon"] > 0


# --- a soak ----------------------------------------------------------------------------------------

SOAK_SITES = int(os.environ.get("SOTTO_SOAK_SITES", "16"))
SOAK_ROUNDS = int(os.environ.get("SOTTO_SOAK_ROUNDS", "200"))
SOAK: dict[str, Any] = {
    "run": {"evaluate_every": 50},
    "train": {**SMALL["train"], "steps_per_round": 1, "batch_size": 1},
    "federation": {"rounds": SOAK_ROUNDS, "strategy": {"name": "fedavg"}, "minimum_clients": 3},
    "secure": SMALL["secure"],
    "network": {"round_deadline_s": 120.0},
}
SOAK_PAUSE_S = (20, 60)
"""Between two kills. With sixteen sites on two cores a site that begins anew takes ten of them."""
talks_of_shops = network_demo._talks
SETTLED = 20
"""Rounds after which a process holds all that it will hold."""


def resident(pid: int) -> int:
    """Bytes that are a process's own, and not shared with the nursery that it comes from."""
    found: int = psutil.Process(pid).memory_full_info().uss
    return found


def rounds_of(one: Consortium) -> int:
    finished = [event["rounds"] for event in one.events() if event["event"] == "finished"]
    return int(finished[-1]) if finished else 0


def branches(shops: int, each: int) -> dict[str, list[Conversation]]:
    """As many sites as are asked for: the market has eight shops, so each has some branches."""
    market = list(talks_of_shops(8, 64).values())
    found: dict[str, list[Conversation]] = {}
    for number in range(shops):
        begin = each * (number // len(market))
        found[f"branch-{number:02d}"] = market[number % len(market)][begin : begin + each]
    return found


def test_random_kills_lose_no_round_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(0)
    monkeypatch.setattr(network_demo, "_talks", branches)
    with consortium(tmp_path / "world", SOAK, shops=SOAK_SITES, each=8) as one:
        for name in one.names:
            one.start_site(name)
        one.begin()
        spared, *others = one.names
        wait_for(lambda: rounds_of(one) >= 1, 600, "a round ends")
        before: dict[str, int] = {}
        kills: dict[str, int] = {}
        assert one.server is not None
        while one.server.poll() is None:
            settled = rounds_of(one) >= SETTLED
            if settled and not before:
                before = memory(one, spared)
            # The server and one vault are left alone from there on, so that they can be measured.
            what = draw.choice(["superlink", "door", "vault"] if settled else ["server", "vault"])
            name = draw.choice(others)
            with suppress(AssertionError):
                one.kill(what, name)
                kills[what] = kills.get(what, 0) + 1
            with (tmp_path / "kills").open("a") as file:
                file.write(
                    f"{time.time():.1f} {rounds_of(one)} {what} {name} {memory(one, spared)}\n"
                )
            if what == "server":
                one.start_server()
            if what == "vault":
                one.start_site(name)
            after = memory(one, spared) or before
            until = time.monotonic() + draw.uniform(*SOAK_PAUSE_S)
            while time.monotonic() < until and one.server.poll() is None:
                time.sleep(0.2)
        told = one.finish(5)
        print({"kills": kills, "before": before, "after": after})
        assert told["rounds"] == SOAK_ROUNDS
        assert told["sites"] == one.names
        assert sum(kills.values()) > 10
        assert check_run(one.run).complete
        records = list(read(one.run / "ledger.jsonl"))
        rounds = [record.payload["round"] for record in records if record.kind == "round"]
        assert rounds == list(range(SOAK_ROUNDS))
        assert before
        for process, held in before.items():
            assert after[process] < 1.1 * held, (process, before, after)


def memory(one: Consortium, spared: str) -> dict[str, int]:
    with suppress(psutil.NoSuchProcess):
        assert one.server is not None
        return {"server": resident(one.server.pid), "vault": resident(one.sites[spared].pid)}
    return {}
