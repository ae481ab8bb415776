"""A site that spoils the sums of others is found out; one that only accuses others gains nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quick_world import QuickWorld, Tampering, quick

from sottovoce.codec.secagg import keys
from sottovoce.errors import VerificationError
from sottovoce.run.letter import Letter

SECAGG = {"aggregation": "secagg", "clip_norm": 2.0}


@pytest.fixture
def world(tmp_path: Path, attach: Any, make_client: Any) -> Iterator[QuickWorld]:
    made = QuickWorld(tmp_path, attach, make_client, shops=5)
    with quick(made):
        yield made
    made.close()


def config_of(world: QuickWorld) -> Any:
    return world.config("run", secure=SECAGG, federation={"rounds": 2, "minimum_clients": 3})


def clients_of(world: QuickWorld) -> list[list[str]]:
    ledger = world.root / "run" / "ledger.jsonl"
    return [list(told["clients"]) for told in world.records(ledger, "round")]


def test_who_seals_nonsense_for_others_is_named_by_them_and_left_out(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    culprit, sealed = world.names[2], keys.seal

    def nonsense(key: bytes, *rest: Any) -> bytes:
        sender = rest[-2]
        return sealed(bytes(32) if sender == culprit else key, *rest)

    monkeypatch.setattr(keys, "seal", nonsense)
    assert world.host(config_of(world)).ended
    others = [name for name in world.names if name != culprit]
    assert clients_of(world) == [others, others]
    accused = world.told("accused")
    assert {told["site"] for told in accused} == {culprit}
    assert {told["by"] for told in accused} == set(others)


def test_who_accuses_alone_is_alone_left_out(world: QuickWorld) -> None:
    liar, honest = world.names[1], world.names[3]

    def accuse(question: Letter, answer: Letter) -> Letter:
        if answer.kind != "update":
            return answer
        facts = {"answers": answer.facts["answers"], "error": "a box", "code": 4, "culprit": honest}
        return Letter("refused", answer.run, answer.sender, answer.to, facts, {})

    assert world.host(config_of(world), Tampering(world, {liar: accuse})).ended
    others = [name for name in world.names if name != liar]
    assert clients_of(world) == [others, others]
    assert {told["by"] for told in world.told("accused")} == {liar}


def test_an_error_says_who_is_certain_to_be_its_cause() -> None:
    assert VerificationError("a box does not open", culprit="ben").culprit == "ben"
    assert not VerificationError("a box does not open").culprit
