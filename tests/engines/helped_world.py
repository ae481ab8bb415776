"""What tests of helpers across machines share: a quick world with helpers, and hostile letters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quick_world import (
    BrokenDisk,
    Mortal,
    QuickWorld,
    Tampering,
    parsed,
    watched,
)

from sottovoce.codec.oneshot.messages import Message, write
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.codec.roster import Roster
from sottovoce.config import Config
from sottovoce.run import letter as letters
from sottovoce.run.check import check_run
from sottovoce.run.enrol import roster_of
from sottovoce.run.helper_terms import facts_of, terms_in
from sottovoce.run.host import Host
from sottovoce.run.ledger import verify
from sottovoce.run.letter import PART, SERVER, Letter
from sottovoce.run.rounds import digest, model_tensors

Seen = list[tuple[Letter, Letter]]


def secure_of(world: QuickWorld) -> dict[str, Any]:
    """One of the helpers may work with the server."""
    count = len(world.helper_names)
    return {"aggregation": "helpers", "clip_norm": 2.0, "helpers": count, "colluding": 1}


def config_of(
    world: QuickWorld, rounds: int = 1, deadline_s: float = 2.0, **changes: Any
) -> Config:
    """A run of few rounds."""
    network = {"round_deadline_s": deadline_s}
    secure = {**secure_of(world), **changes.pop("secure", {})}
    federation = {"rounds": rounds, **changes.pop("federation", {})}
    return world.config("run", secure=secure, federation=federation, network=network, **changes)


def helpers_of(world: QuickWorld) -> Roster:
    """The helpers as everybody has pinned them."""
    return roster_of(world.helper_lines)[0]


def end_of(world: QuickWorld, one: Host) -> tuple[str, list[list[str]]]:
    """A run that has ended and whose folder is what its ledger says: its model, who was in rounds."""
    assert one.ended
    assert check_run(one.folder.root).complete
    assert not list((one.folder.root / "mail").glob("*/*"))
    for name in world.helper_names:
        for ledger in (world.root / f"{name}-runs").glob("*/ledger.jsonl"):
            verify(ledger)
    return digest(model_tensors(one.server)), clients_of(world)


def clients_of(world: QuickWorld) -> list[list[str]]:
    """Who was in the sum of each round."""
    return [one["clients"] for one in world.records(world.root / "run" / "ledger.jsonl", "round")]


def outbox_of(world: QuickWorld, name: str, run: str) -> Path:
    """Where a party remembers the sums of a run."""
    return world.root / f"{name}-runs" / "outbox" / run


def terms_of(world: QuickWorld, question: Letter) -> Terms:
    """The terms that a letter to a helper is about."""
    run = bytes.fromhex(question.run)
    return terms_in(question.facts, run, world.roster, helpers_of(world))


def ask_helper(world: QuickWorld, name: str, letter: Letter) -> Letter:
    """What a helper answers to a letter of the real server."""
    body = letters.write(letter, world.server)
    return parsed(world.helper_vault(name).answer(body))


def telling(kind: str, name: str, terms: Terms, message: Message) -> Letter:
    """A letter of the server about a sum."""
    parts = {PART: write(message, terms)}
    return Letter(kind, terms.run.hex(), SERVER, name, facts_of(terms), parts)


class Stopped(BaseException):
    """The server has seen what it wanted."""


def stopped_at(
    world: QuickWorld, config: Config, kind: str, index: int = 0, lost: str = ""
) -> Seen:
    """Run a server until it asks for something; what was asked and answered before.

    Letters of the kind ``lost`` arrive nowhere.
    """
    seen: Seen = []
    carrier = Tampering(world, {})

    def before(site: str, body: bytes) -> None:
        letter = parsed(body)
        if letter.kind == kind and letter.facts.get("round", 0) == index:
            raise Stopped
        (carrier.absent.add if letter.kind == lost else carrier.absent.discard)(site)

    def change(site: str, answer: bytes) -> bytes:
        seen.append((parsed(carrier.asked[-1][1]), parsed(answer)))
        return answer

    carrier.before, carrier.change = before, change
    with pytest.raises(Stopped):
        world.host(config, carrier)
    return seen


def played(
    world: QuickWorld,
    name: str,
    patch: pytest.MonkeyPatch,
    fault: str = "none",
    stop: int = 0,
) -> tuple[tuple[str, list[list[str]]], BrokenDisk]:
    """A whole run in which one party meets a fault; how it ends, and what the party did."""
    disk = BrokenDisk(world.root / f"{name}-runs", fault, stop)
    carrier = Mortal(world, disk)
    with watched(disk, patch):
        one = world.host(config_of(world), carrier)
    assert carrier.deaths == (fault != "none")
    return end_of(world, one), disk
