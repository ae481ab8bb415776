"""A site whose policy says no to a run: it is left out before anything of the run is settled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_play import POLICY, World

from sottovoce.errors import RefusedError
from sottovoce.run.ledger import read
from sottovoce.run.local import federate
from sottovoce.run.prepare import prepare
from sottovoce.run.rounds import digest, model_tensors

SECAGG = {"aggregation": "secagg", "clip_norm": 2.0}


class Picky(World):
    """Four shops, of which the first asks for larger cohorts than there are."""

    def policy(self, name: str, text: str | None = None) -> Path:
        super().policy(name)
        rule = "min_cohort = 99" if name == self.names[0] else "min_cohort = 1"
        return super().policy(
            name, POLICY.format(models=json.dumps(self.models[0])).replace("min_cohort = 1", rule)
        )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Picky]:
    made = Picky(tmp_path_factory.mktemp("picky"), shops=4)
    yield made
    made.close()


@pytest.fixture
def world(shared: Picky) -> Iterator[Picky]:
    shared.log.clear()
    yield shared
    shared.close()


def alone(world: Picky, run: str) -> str:
    """The same, of the text of the three others in one process."""
    rows = (world.root / f"{name}.jsonl" for name in world.names[1:])
    data = world.root / f"{run}.jsonl"
    data.write_text("".join(path.read_text() for path in rows))
    config = world.local(run, secure=SECAGG, data={"path": str(data), "scrub": "off"})
    return federate(prepare(config)).adapter_sha256


def test_the_run_goes_on_without_it_and_it_has_promised_nothing(world: Picky) -> None:
    one = world.host(world.config("run", secure=SECAGG))
    assert list(one.known.clients) == world.names[1:]
    assert digest(model_tensors(one.server)) == alone(world, "alone")
    start = next(iter(read(one.folder.ledger)))
    assert list(start.payload["refused"]) == [world.names[0]]
    assert "min_cohort" in start.payload["refused"][world.names[0]]
    folder = world.root / f"{world.names[0]}-runs" / one.post.run
    assert [record.kind for record in read(folder / "ledger.jsonl")] == ["start"]


def test_where_too_few_are_left_the_rule_is_named(world: Picky) -> None:
    config = world.config("few", secure=SECAGG, federation={"minimum_clients": 4})
    with pytest.raises(RefusedError, match=f"{world.names[0]}: .*min_cohort") as caught:
        world.host(config)
    assert caught.value.exit_code == 3
    assert "3 sites answered offer-0, and 4 are needed" in str(caught.value)


def test_a_site_that_falls_silent_before_it_agrees_is_left_out_too(world: Picky) -> None:
    carrier = world.carrier()
    gone = world.names[1]

    def leave(site: str, body: bytes) -> None:
        if site == gone and b'"kind":"offer"' in body[:4000]:
            carrier.absent.add(gone)

    carrier.before = leave
    short = {"network": {"round_deadline_s": 0.5}, "federation": {"rounds": 1}}
    one = world.host(world.config("silent", **short), carrier)
    assert list(one.known.clients) == world.names[2:]


def test_a_server_that_is_killed_between_two_offers_goes_on(world: Picky) -> None:
    carrier = world.carrier()
    offers: list[str] = []

    class Killed(BaseException):
        """As a kill of the server."""

    def kill(site: str, body: bytes) -> None:
        if b'"kind":"offer"' in body[:4000]:
            offers.append(site)
            # In the middle of the first offer, and of the second, of which a part is repeated.
            if len(offers) in (2, 8):
                raise Killed

    config = world.config("killed", secure=SECAGG, federation={"rounds": 1})
    carrier.before = kill
    for _ in range(2):
        with pytest.raises(Killed):
            world.host(config, carrier)
    one = world.host(config, carrier)
    assert list(one.known.clients) == world.names[1:]
    start = next(iter(read(one.folder.ledger)))
    assert list(start.payload["refused"]) == [world.names[0]]
    assert "min_cohort" in start.payload["refused"][world.names[0]]
