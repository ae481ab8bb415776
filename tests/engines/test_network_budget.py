"""What a server across machines writes down of privacy: before it asks, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from network_play import Memory, World
from quick_world import EXAMPLE, Killed, QuickWorld, Tampering, other, parsed, quick

from sottovoce.run import visit
from sottovoce.run.claims import ACCOUNTED
from sottovoce.run.desk import spent_of
from sottovoce.run.ledger import read
from sottovoce.run.letter import Letter
from sottovoce.run.local import federate
from sottovoce.run.prepare import prepare

BY_SERVER: Mapping[str, Any] = {
    "privacy": EXAMPLE | {"unit": "client"},
    "federation": {"strategy": "fedavg", "clients_per_round": 2, "rounds": 6},
}
"""The server adds the noise."""
BY_SITES: Mapping[str, Any] = {"privacy": EXAMPLE, "federation": {"rounds": 2}}
"""Each site adds its own."""


@pytest.fixture
def world(tmp_path: Path, attach: Any, make_client: Any) -> Iterator[QuickWorld]:
    made = QuickWorld(tmp_path, attach, make_client)
    with quick(made):
        yield made
    made.close()


def lines(world: World, run: str, *kinds: str) -> list[Mapping[str, Any]]:
    ledger = world.root / run / "ledger.jsonl"
    return [record.payload for record in read(ledger) if record.kind in kinds]


class Mortal(Memory):
    """Lets the server die as it asks a site for a round."""

    def __init__(self, world: QuickWorld) -> None:
        super().__init__(world.carrier().sites)
        self.before = self._die

    def _die(self, site: str, body: bytes) -> None:
        if parsed(body).kind == "round":
            raise Killed


@pytest.mark.parametrize("unit", ["client", "example"])
def test_what_is_claimed_is_what_one_process_claims(tmp_path: Path, unit: str) -> None:
    world = World(tmp_path, shops=2, each=6)
    changes: Mapping[str, Any] = {
        "privacy": {"unit": unit, "noise_multiplier": 2.0, "delta": 1e-3, "clip_norm": 0.5},
        "federation": {"rounds": 2, "strategy": "fedavg"},
    }
    federate(prepare(world.local("alone", **changes)))
    assert world.host(world.config("across", **changes)).ended
    world.close()
    for kind in ("charge", "end"):
        alone, across = lines(world, "alone", kind)[-1], lines(world, "across", kind)[-1]
        assert across["epsilon"] > 0
        assert {key: across[key] for key in ACCOUNTED} == {key: alone[key] for key in ACCOUNTED}
    [begun], [told] = lines(world, "alone", "start"), lines(world, "across", "start")
    assert told["claim"]["statement"][0] == begun["claim"]["statement"][0]
    [met] = world_of_site(world)
    assert met["claim"]["statement"] == told["claim"]["statement"]


def world_of_site(world: World) -> list[Mapping[str, Any]]:
    """What a site wrote down when it learnt who takes part."""
    [ledger] = (world.root / f"{world.names[0]}-runs").glob("*/ledger.jsonl")
    return [record.payload for record in read(ledger) if record.kind == "fellows"]


def test_a_round_that_is_taken_up_again_is_one_more_for_everybody_who_was_in_it(
    world: QuickWorld,
) -> None:
    privacy = {**BY_SERVER["privacy"], "max_participations": 1}
    config = world.config("run", **{**BY_SERVER, "privacy": privacy})
    with pytest.raises(Killed):
        world.host(config, Mortal(world))
    [died] = lines(world, "run", "drawn")
    assert died["clients"]
    one = world.host(config)
    assert one.ended
    met = [name for told in lines(world, "run", "drawn") for name in told["clients"]]
    assert len(met) == len(set(met))
    rounds = lines(world, "run", "round")
    assert not set(died["clients"]) & {name for told in rounds for name in told["clients"]}
    # The noise of the round was drawn twice, and both draws are paid for.
    assert [told["round"] for told in lines(world, "run", "charge")] == [0, *range(6)]


def test_a_site_that_answered_pays_once_however_often_the_server_asks(world: QuickWorld) -> None:
    config = world.config("run", **BY_SITES)
    with pytest.raises(Killed):
        world.host(config, Mortal(world))
    one = world.host(config)
    assert [told["round"] for told in lines(world, "run", "charge")] == [0, 1]
    assert spent_of(one) == dict.fromkeys(world.names, 2)


def test_a_site_that_was_killed_while_it_trained_says_that_it_spent_more(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config("run", **{**BY_SITES, "federation": {"rounds": 3}})
    victim, trained = world.names[1], visit.contribute

    def killed_once(*of: Any, **how: Any) -> Any:
        monkeypatch.setattr(visit, "contribute", trained)
        raise Killed

    class Restarting(Memory):
        def ask(self, site: str, make: Any) -> None:
            first = parsed(make()).kind == "round" and not lines(world, "run", "round")
            if site == victim and first:
                monkeypatch.setattr(visit, "contribute", killed_once)
                with pytest.raises(Killed):
                    self.sites[site]().answer(make())
                world.restart(site)
            super().ask(site, make)

    one = world.host(config, Restarting(world.carrier().sites))
    first, *_, last = lines(world, "run", "round")
    assert first["spent"] == {name: 1 + (name == victim) for name in world.names}
    assert victim in last["clients"]
    assert spent_of(one) == {name: 3 + (name == victim) for name in world.names}


def test_nobody_is_believed_to_have_spent_more_than_is_planned(world: QuickWorld) -> None:
    liar = world.names[0]

    def lie(question: Letter, answer: Letter) -> Letter:
        return other(answer, spent=2**62) if "spent" in answer.facts else answer

    one = world.host(world.config("run", **BY_SITES), Tampering(world, {liar: lie}))
    assert liar in {told["site"] for told in world.told("rejected")}
    assert spent_of(one) == dict.fromkeys(world.names, 2)
