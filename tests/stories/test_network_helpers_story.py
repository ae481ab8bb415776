"""Helpers as real processes over TLS: killed in every stage, one gone for good, and the same end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from network_world import SMALL, Consortium, by_one_process, command, consortium

from sottovoce.run.check import check_run
from sottovoce.run.ledger import read, verify
from sottovoce.run.seen import read_status, status_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOUR = {"aggregation": "helpers", "clip_norm": 2.0, "helpers": 4, "colluding": 1}
CHANGES = {**SMALL, "secure": FOUR, "network": {"round_deadline_s": 20.0}}


@dataclass
class Story:
    """What was seen while it was told."""

    one: Consortium
    alone: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    during: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Three sites and four helpers; every kind of process is killed once, and a helper leaves."""
    folder = tmp_path_factory.mktemp("helped")
    with consortium(folder / "world", CHANGES, helpers=4) as one:
        seen = Story(one)
        for name in one.names:
            one.start_site(name)
        for name in one.helper_names:
            one.start_helper(name)
        one.begin()
        seen.alone = by_one_process(one, one.names, folder / "alone")
        first, second, third, fourth = one.helper_names
        for name, kind, index in ((first, "proposal", 0), (second, "delivery", 1)):
            one.until_asked(name, kind, index)
            one.kill("helper", name)
            one.start_helper(name)
        one.until_asked(third, "request", 1)
        one.kill("server")
        one.kill("helper", fourth)
        one.start_server()
        one.until_asked(one.names[0], "round", 2)
        seen.during = json.loads(command("status", str(one.run), "--json").stdout)
        seen.told = one.finish(300)
        yield seen


def test_killed_everywhere_it_ends_as_in_one_process(story: Story) -> None:
    assert story.told["adapter_sha256"] == story.alone
    assert story.told["sites"] == story.one.names
    assert story.told["secure"]["helpers"] == len(story.one.helper_names)
    assert check_run(story.one.run).complete


def test_each_helper_has_signed_once_in_a_round(story: Story) -> None:
    for name in story.one.helper_names:
        [ledger] = (story.one.folder / name / "runs").glob("*/ledger.jsonl")
        verify(ledger)
        records = [it.payload for it in read(ledger) if it.kind == "answer"]
        signed = [it["round"] for it in records if it["kind"] == "proposal"]
        assert signed == sorted(set(signed))
        assert 0 in signed


def test_nothing_secret_is_left_of_sums(story: Story) -> None:
    one = story.one
    run = (one.run / "run.id").read_text()
    for name in [*one.names, *one.helper_names[:3]]:
        outbox = one.folder / name / "runs" / "outbox" / run
        assert list(outbox.glob("*/finished"))
        assert not [*outbox.glob("*/key.*"), *outbox.glob("*/record.*")]


def test_the_status_says_which_helpers_are_there(story: Story) -> None:
    assert story.during["helpers"] == story.one.helper_names
    rows = {row[0]: row[1] for row in status_rows(read_status(story.one.run))}
    assert rows["helpers"].startswith("helper-1 (here), ")
    assert rows["helpers"].endswith(", helper-4 (away)")
    assert "helper" not in rows["present"]
