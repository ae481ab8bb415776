"""One configuration, two engines: in one process and across sites the same adapter, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from network_play import World

from sottovoce.errors import ConfigError, RefusedError
from sottovoce.run.budget import NAME, Budget
from sottovoce.run.check import check_run
from sottovoce.run.ledger import verify
from sottovoce.run.local import federate
from sottovoce.run.prepare import prepare
from sottovoce.run.rounds import digest, model_tensors

SEEDED = {"generator": "seeded_for_tests", "delta": 1e-3, "clip_norm": 0.5}
SECAGG = {"aggregation": "secagg", "clip_norm": 2.0}
HELPERS = {"aggregation": "helpers", "clip_norm": 2.0, "helpers": 3, "colluding": 1}
SHARED = {"trust": "none", "mechanism": "skellam"}
WHOLE = {"optimizer": "sgd", "batch_size": None, "steps_per_round": None}
SGD = {"optimizer": "sgd", "learning_rate": 0.05}

CASES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "fedavg": {"federation": {"strategy": "fedavg"}},
    "kept moments": {"train": {"optimizer_state": "keep"}},
    "adam at the server": {
        "federation": {"strategy": {"name": "fedavg", "server": {"name": "adam", "lr": 0.01}}}
    },
    "sampled, late and failing": {
        "federation": {
            "clients_per_round": 2,
            "rounds": 3,
            "failures": 0.3,
            "stragglers": {"share": 0.5, "work": "partial"},
        }
    },
    "fedsgd": {"federation": {"strategy": "fedsgd"}, "train": WHOLE},
    "fedprox": {"federation": {"strategy": {"name": "fedprox", "mu": 0.1}}},
    "server_damping": {"federation": {"strategy": {"name": "server_damping", "mu": 0.1}}},
    "scaffold": {"federation": {"strategy": "scaffold"}, "train": SGD},
    "fednova": {"federation": {"strategy": "fednova"}, "train": SGD},
    "fedit": {"federation": {"strategy": "fedit"}},
    "ffa": {"federation": {"strategy": "ffa"}},
    "rolora": {"federation": {"strategy": "rolora"}},
    "fedsa": {"federation": {"strategy": "fedsa"}},
    "fedsvd": {"federation": {"strategy": "fedsvd"}},
    "flora": {"federation": {"strategy": "flora"}},
    "fedex": {"federation": {"strategy": "fedex"}},
    "fedper": {"federation": {"strategy": {"name": "fedper", "private": ["*layers.0*"]}}},
    "words": {"secure": {"clip_norm": 2.0}},
    "few bits": {"secure": {"compress": 8}},
    "a part": {"secure": {"clip_norm": 2.0, "keep": 0.25}},
    "secagg": {"secure": SECAGG},
    "secagg, a part": {"secure": SECAGG | {"keep": 0.25}, "federation": {"rounds": 3}},
    "secagg, semi-honest": {"secure": SECAGG | {"server": "semi-honest"}},
    "helpers": {"secure": HELPERS},
    "secagg, owner": {
        "secure": SECAGG,
        "privacy": {"unit": "owner", "noise_multiplier": 1.0, **SEEDED},
    },
    "shares of clients": {
        "secure": SECAGG | {"clip_norm": None, "corrupt": 0.0},
        "privacy": {"unit": "client", "noise_multiplier": 1.0, **SEEDED, **SHARED},
    },
    "shares of examples": {
        "secure": SECAGG | {"clip_norm": None, "corrupt": 0.0},
        "privacy": {"unit": "example", "noise_multiplier": 1.0, **SEEDED, **SHARED},
        "train": {"optimizer": "sgd", "batch_size": 2147483647, "steps_per_round": 1},
        "federation": {"strategy": "ffa"},
    },
    "example": {"privacy": {"unit": "example", "noise_multiplier": 1.0, **SEEDED}},
    "owner": {"privacy": {"unit": "owner", "noise_multiplier": 1.0, **SEEDED}},
    "client": {
        "privacy": {"unit": "client", "noise_multiplier": 1.0, **SEEDED},
        "federation": {"strategy": "fedavg", "clients_per_round": 2},
    },
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"), helpers=3)
    yield made
    made.close()


SLOW = {
    "kept moments",
    "fedprox",
    "server_damping",
    "fednova",
    "fedit",
    "ffa",
    "rolora",
    "fedsvd",
    "flora",
    "fedper",
    "secagg, semi-honest",
    "secagg, a part",
    "owner",
}
"""Cases that take the same ways as others."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in CASES],
)
def test_both_engines_end_with_the_same_adapter(world: World, case: str) -> None:
    changes = CASES[case]
    alone = federate(prepare(world.local(f"local-{case}", **changes)))
    across = world.host(world.config(f"net-{case}", **changes))
    assert digest(model_tensors(across.server)) == alone.adapter_sha256
    assert across.ended
    records = dict.fromkeys(("start", "round", "end"), 0)
    for record in verify(across.folder.ledger)[0]:
        records[record.kind] = records.get(record.kind, 0) + 1
    assert records["round"] == alone.rounds
    checked = check_run(across.folder.root)
    assert checked.complete


def test_losses_are_those_of_one_process(world: World) -> None:
    alone = federate(prepare(world.local("local-loss")))
    across = world.host(world.config("net-loss"))
    assert dict(across.loss) == dict(alone.evaluations[-1].loss)
    rows = [json.loads(line) for line in across.folder.metrics.read_text().splitlines()]
    # Round 0 is told with the model that came of it.
    assert [set(row["stages"]) for row in rows] == [set(), {"round"}, {"round"}]


def test_what_runs_in_one_process_alone_is_refused_by_name(world: World) -> None:
    with pytest.raises(ConfigError, match=r"federation.asynchronous"):
        world.host(
            world.config("async", federation={"asynchronous": {"concurrency": 2, "buffer": 1}})
        )
    assert not (world.root / "async" / "ledger.jsonl").exists()


def test_a_private_run_stops_when_the_budget_of_the_federation_is_spent(world: World) -> None:
    unit = {"unit": "client", "epsilon": 8.0, **SEEDED}
    config = world.config("spent", privacy=unit, federation={"clients_per_round": 2, "rounds": 2})
    carrier = world.carrier()

    class Stop(BaseException):
        pass

    def stop(site: str, body: bytes) -> None:
        if b'"kind":"round"' in body[:4000]:
            raise Stop

    carrier.before = stop
    for _ in range(2):
        with pytest.raises(Stop):
            world.host(config, carrier)
    # Two rounds were paid for and never ended; the target covers no third.
    with pytest.raises(RefusedError, match="budget ended"):
        world.host(config)


def test_a_site_stands_with_all_that_a_server_may_have_spent(world: World) -> None:
    """The server adds the noise, so a site cannot know how often it did: it counts every round."""
    unit = {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-3, "clip_norm": 0.5}
    world.host(world.config("stands", privacy=unit, federation={"rounds": 3}))
    for name in world.names:
        rows = Budget(world.root / f"{name}-runs" / NAME).rows()
        own = [row for run in rows.values() for row in run if row.unit == "client"]
        assert [row.releases for row in own] == [3]


@pytest.fixture(autouse=True)
def _fresh(world: World, tmp_path: Path) -> Iterator[None]:
    yield
    world.close()
