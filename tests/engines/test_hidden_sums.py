"""Sums under masks between a server and its sites: what is asked, what is refused, what survives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from network_play import Memory, World

from sottovoce.errors import SottovoceError
from sottovoce.run import letter as letters
from sottovoce.run.enrol import make_keys
from sottovoce.run.letter import SERVER, Letter
from sottovoce.run.local import federate
from sottovoce.run.prepare import prepare
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.vault import Vault

SECAGG = {"aggregation": "secagg", "clip_norm": 2.0}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    shared.log.clear()
    yield shared
    shared.close()


def of(world: World, run: str, rounds: int = 3, **secure: Any) -> Any:
    return world.config(run, secure=SECAGG | secure, federation={"rounds": rounds})


def expected(world: World, run: str, **secure: Any) -> str:
    config = world.local(run, secure=SECAGG | secure, federation={"rounds": 3})
    return federate(prepare(config)).adapter_sha256


@pytest.fixture(scope="module")
def undisturbed(shared: World) -> str:
    return expected(shared, "undisturbed")


def kinds_of(asked: list[tuple[str, bytes]]) -> list[str]:
    """What one site was asked for, in order."""
    found = []
    for _, body in asked:
        size = int.from_bytes(body[5:9], "big")
        found.append(json.loads(body[9 : 9 + size])["kind"])
    return found


@pytest.mark.parametrize(
    ("server", "each"),
    [("malicious", ["round", "survivors", "unmask"]), ("semi-honest", ["round", "unmask"])],
)
def test_keys_of_the_next_round_ride_on_this_ones_answers(
    world: World, server: str, each: list[str]
) -> None:
    carrier = world.carrier()
    world.host(of(world, f"ride-{server}", server=server), carrier)
    own = [pair for pair in carrier.asked if pair[0] == world.names[0]]
    about_sums = ("keys", "shares", "round", "survivors", "unmask")
    kinds = [kind for kind in kinds_of(own) if kind in about_sums]
    assert kinds == ["keys", "shares", *each * 3]


def test_a_site_that_falls_silent_costs_one_deadline(world: World) -> None:
    """Of five sites one may drop out of a sum. After that it is not asked until it is seen again."""
    bigger = World(_fresh(world, "five"), shops=5)
    carrier = bigger.carrier()
    gone = bigger.names[-1]

    def silent(site: str, body: bytes) -> None:
        if site == gone and kinds_of([(site, body)]) == ["round"]:
            carrier.absent.add(gone)

    carrier.before = silent
    one = bigger.host(of(bigger, "net"), carrier)
    bigger.close()
    assert one.server.round == 3
    late = [fields for event, fields in bigger.log if event == "late"]
    assert [fields["site"] for fields in late if fields["stage"] != "finish"] == [gone]
    about_sums = ("keys", "shares", "round", "survivors", "unmask")
    own = [pair for pair in carrier.asked if pair[0] == bigger.names[0]]
    kinds = [kind for kind in kinds_of(own) if kind in about_sums]
    each = ["round", "survivors", "unmask"]
    # The second round's keys came with the first one's updates, for other terms: it is asked again.
    assert kinds == ["keys", "shares", *each, "keys", "shares", *each, *each]


def _fresh(world: World, name: str) -> Path:
    path = world.root / name
    path.mkdir()
    return path


STAGES = ("keys", "shares", "round", "survivors", "unmask", "finish")
AT_ONCE = {("server", "shares"), ("server", "unmask"), ("site", "round"), ("site", "unmask")}
"""Kills that the quick tests try; the slow ones try all."""


@pytest.mark.parametrize(
    ("who", "stage"),
    [
        pytest.param(*kill, marks=() if kill in AT_ONCE else pytest.mark.slow)
        for kill in product(("server", "site"), STAGES)
    ],
)
def test_killed_at_any_stage_it_ends_as_if_undisturbed(
    world: World, undisturbed: str, stage: str, who: str
) -> None:
    config = of(world, f"killed-{who}-{stage}")
    carrier = world.carrier()
    killed = []

    class Killed(BaseException):
        """As a kill of the server."""

    def kill(site: str, body: bytes, answer: bytes | None = None) -> None:
        if not killed and site == world.names[1] and kinds_of([(site, body)]) == [stage]:
            killed.append(site)
            if who == "server":
                raise Killed
            world.restart(site)

    def after(site: str, answer: bytes) -> bytes:
        kill(site, carrier.asked[-1][1])
        return answer

    # A server dies with the answer on its way, a site with the answer just given.
    carrier.change = after
    if who == "server":
        with pytest.raises(Killed):
            world.host(config, carrier)
    one = world.host(config, carrier)
    assert killed
    assert digest(model_tensors(one.server)) == undisturbed


class Recorder(Memory):
    """Remembers every letter, so that a hostile server can make its own of them."""


def ask(world: World, vault: Vault, letter: Letter) -> Letter:
    return letters.read(
        vault.answer(letters.write(letter, world.server)),
        world.roster,
        to=SERVER,
        limit=2**30,
    )


def read(world: World, body: bytes) -> Letter:
    size = int.from_bytes(body[5:9], "big")
    head = json.loads(body[9 : 9 + size])
    parts, begin = {}, 9 + size
    for name, count in head["parts"]:
        parts[name] = body[begin : begin + count]
        begin += count
    return Letter(head["kind"], head["run"], head["from"], head["to"], head["facts"], parts)


def test_no_second_sum_of_a_round_that_was_opened(world: World) -> None:
    """A server that plays a round again without one client would learn that client's update."""
    carrier = world.carrier()
    asked: list[tuple[str, bytes]] = []

    class Enough(BaseException):
        """The server has seen what it wanted."""

    def stop(site: str, answer: bytes) -> bytes:
        asked.append(carrier.asked[-1])
        if kinds_of([carrier.asked[-1]]) == ["unmask"] and site == world.names[-1]:
            raise Enough
        return answer

    carrier.change = stop
    with pytest.raises(Enough):
        world.host(of(world, "twice"), carrier)
    victim = world.names[0]
    own = [body for site, body in asked if site == victim]
    first = next(read(world, body) for body in own if kinds_of([("", body)]) == ["keys"])
    facts = {**first.facts, "attempt": 1, "cohort": world.names[:2]}
    again = Letter("keys", first.run, SERVER, victim, facts, {})
    answer = ask(world, world.vault(victim), again)
    assert answer.kind == "refused"
    assert "has helped to open a sum of round 0" in answer.facts["error"]


@pytest.mark.parametrize(
    ("case", "change", "why"),
    [
        ("others", lambda facts: facts | {"cohort": facts["cohort"][1:]}, "a sum without"),
        ("attempt", lambda facts: facts | {"attempt": 10**6}, "attempt is"),
        ("all", lambda facts: facts | {"cohort": "all"}, "a sum without"),
    ],
)
def test_a_sum_on_other_terms_is_refused(world: World, case: str, change: Any, why: str) -> None:
    carrier = world.carrier()
    seen: list[str] = []

    def alter(site: str, body: bytes) -> None:
        if site == world.names[0] and kinds_of([(site, body)]) == ["keys"]:
            found = read(world, body)
            changed = Letter(
                found.kind, found.run, SERVER, site, change(dict(found.facts)), found.parts
            )
            answer = ask(world, world.vault(site), changed)
            assert answer.kind == "refused"
            seen.append(answer.facts["error"])

    carrier.before = alter
    world.host(of(world, f"terms-{case}", rounds=1), carrier)
    assert why in seen[0]


def test_commitments_that_change_are_refused(world: World) -> None:
    """Nonces are shown once; other commitments after that would let somebody choose the beacon."""
    carrier = world.carrier()
    seen: list[Letter] = []

    def alter(site: str, body: bytes) -> None:
        if site == world.names[0] and kinds_of([(site, body)]) == ["keys"] and not seen:
            begin = next(
                read(world, b)
                for s, b in carrier.asked
                if s == site and kinds_of([(s, b)]) == ["begin"]
            )
            commitments = dict(begin.facts["commitments"])
            commitments[world.names[1]] = "00" * 32
            facts = {**begin.facts, "commitments": commitments}
            seen.append(
                ask(world, world.vault(site), Letter("begin", begin.run, SERVER, site, facts, {}))
            )

    carrier.before = alter
    world.host(of(world, "commitments"), carrier)
    assert seen[0].kind == "refused"
    assert "other commitments" in seen[0].facts["error"]


def with_roster(world: World, case: str, lines: Mapping[str, str]) -> tuple[Memory, Vault]:
    """The first site pins these lines in the place of everybody's."""
    name = world.names[0]
    site = world.site(name, roster=dict(lines), folder=str(world.root / f"{case}-runs"))
    vault = Vault(site, world.identities[name], bytes(32))
    carrier = world.carrier()
    carrier.sites = {**carrier.sites, name: lambda: vault}
    return carrier, vault


def test_a_site_that_pins_nobody_takes_part_in_no_sum(world: World) -> None:
    carrier, vault = with_roster(world, "none", {})
    one = world.host(of(world, "roster-none", rounds=1), carrier)
    vault.close()
    assert one.known.clients == tuple(world.names[1:])
    assert any(
        event == "refused" and fields["site"] == world.names[0] for event, fields in world.log
    )


def test_a_site_with_another_roster_is_in_no_sum_with_the_others(world: World) -> None:
    """Their terms differ, so it refuses; where too few are left without it, there is no sum."""
    fake = make_keys(world.root / "fake-keys", world.names[1])
    carrier, vault = with_roster(world, "forged", {**world.lines, world.names[1]: fake})
    config = world.config("roster-forged", secure=SECAGG, network={"round_deadline_s": 0.3})
    with pytest.raises(SottovoceError, match="had no sum in 6 attempts"):
        world.host(config, carrier)
    vault.close()
    told = [fields for event, fields in world.log if event == "sum aborted"]
    assert world.names[0] in told[0]["without"]


def test_what_a_site_remembers_of_sums_is_wiped(world: World) -> None:
    run = world.host(of(world, "wiped")).post.run
    for name in world.names:
        folder = world.root / f"{name}-runs"
        assert list((folder / "outbox" / run).glob("*/finished"))
        assert not list((folder / "outbox" / run).glob("*/record.*"))
        assert not list((folder / run / "made").glob("*.bin"))
