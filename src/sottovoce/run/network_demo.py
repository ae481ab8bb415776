"""A federation across machines on one machine: one server and four sites, real processes, TLS."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import tomli_w

from sottovoce.data.conversation import Conversation
from sottovoce.data.dialogues import conversations
from sottovoce.data.marketplace import build_market
from sottovoce.data.write import to_lines
from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.model.base import ModelSettings, fingerprint, load_base
from sottovoce.run.check import check_run
from sottovoce.run.enrol import make_keys
from sottovoce.run.founding import found_server

SHOPS: Final = 4
EACH: Final = 24
_MARK: Final = "a-demo-of-sottovoce"
_COMMAND: Final = "import sys; from sottovoce.cli import main; sys.argv[0] = 'sotto'; main()"


def tell_network(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Make a consortium in a folder, run it to its end, and say what came of it.

    Args:
        folder: a new one, or that of an earlier demo, which is replaced.
        overrides: settings of the run.

    Raises:
        ConfigError: the folder holds something else.
        SottovoceError: the server failed; what it said is in its log.
    """
    began = time.monotonic()
    place = make_consortium(folder.absolute())
    with running_sites(place):
        ready = time.monotonic()
        told = run_server_process(place, overrides)
    checked = check_run(Path(told["run_dir"]))
    seconds = time.monotonic() - began
    facts = {
        "seconds": round(seconds, 1),
        "seconds_of_server": round(time.monotonic() - ready, 1),
        **told,
        "verified_records": checked.records,
    }
    return facts | {"story": _story(facts, place)}


def _story(facts: Mapping[str, Any], place: Path) -> list[str]:
    return [
        f"{len(facts['sites'])} shops and a server, each a process of its own, over TLS with keys "
        "that were enrolled:",
        *(f"  {name:24} held-out loss {loss:.3f}" for name, loss in facts["loss_by_site"].items()),
        f"{facts['rounds']} rounds; the server saw sums, and {sum(facts['bytes_up'].values()):,} "
        "bytes in all.",
        f"The server's ledger holds {facts['verified_records']} records, all of them verified.",
        f"{facts['seconds']:.0f} seconds. Everything lies in {place}: consortium.toml, the sites' "
        "files, their ledgers.",
        f"Talk to the result: sotto chat {facts['run_dir']}",
    ]


def make_consortium(
    folder: Path,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    shops: int = SHOPS,
    each: int = EACH,
    helpers: int = 0,
) -> Path:
    """Write everything that a consortium of generated shops needs: keys, text, files of all parties.

    Args:
        folder: where.
        changes: of the server's configuration, by section.
        shops: how many sites.
        each: conversations of a site.
        helpers: how many help with the sums.
    """
    if folder.exists():
        if not (folder / _MARK).exists():
            raise ConfigError(f"{folder} holds something else", remedy="Choose another --dir")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    server = found_server(folder / "server", "localhost")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    talks = _talks(shops, each)
    lines = {name: make_keys(folder / name, name) for name in talks}
    opening = [f"helper-{place}" for place in range(1, helpers + 1)]
    their_lines = {name: make_keys(folder / name, name) for name in opening}
    model = fingerprint(load_base(ModelSettings()))
    for name, own in talks.items():
        (folder / name / "conversations.jsonl").write_text(to_lines(own), encoding="utf-8")
        (folder / name / "policy.toml").write_text(_policy(model), encoding="utf-8")
        site = _member(name, address, server["identity"], lines, their_lines) | {
            "policy": "policy.toml",
            "data": {"path": "conversations.jsonl", "scrub": "off"},  # its people are made up
        }
        (folder / name / "site.toml").write_text(tomli_w.dumps(site), encoding="utf-8")
    for name in opening:
        helper = _member(name, address, server["identity"], lines, their_lines)
        (folder / name / "helper.toml").write_text(tomli_w.dumps(helper), encoding="utf-8")
    tree = _consortium(address, lines, their_lines)
    for section, values in (changes or {}).items():
        tree[section] = {**tree.get(section, {}), **values}
    (folder / "consortium.toml").write_text(tomli_w.dumps(tree), encoding="utf-8")
    return folder


def _talks(shops: int, each: int) -> dict[str, list[Conversation]]:
    found: dict[str, list[Conversation]] = {}
    for talk in conversations(build_market(0), 0, per_shop=each):
        name = str(talk.client).replace(" ", "-").lower()
        found.setdefault(name, []).append(talk)
    return {name: found[name][:each] for name in sorted(found)[:shops]}


def _policy(model: str) -> str:
    return tomli_w.dumps(
        {
            "weakest_unit": "none",
            "min_cohort": 2,
            "secure_aggregation": False,
            "base_models": [model],
            "tasks": ["chat"],
            "trust": "server",
            "cryptographic_noise": False,
        }
    )


def _member(
    name: str,
    address: str,
    identity: str,
    lines: Mapping[str, str],
    helpers: Mapping[str, str],
) -> dict[str, Any]:
    """What a site's and a helper's file say alike."""
    return {
        "name": name,
        "server": {"address": address, "identity": identity, "ca": "../server/ca.pem"},
        "roster": dict(lines),
        "helpers": dict(helpers),
    }


def _consortium(
    address: str, lines: Mapping[str, str], helpers: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "run": {"dir": "run", "threads": 1},
        "data": {"path": "../every-site-has-its-own", "validation_fraction": 0.34},
        "model": {"path": "tiny"},
        "train": {
            "learning_rate": 0.012,
            "optimizer_state": "keep",
            "batch_size": 1,
            "steps_per_round": 5,
            "max_length": 256,
            "beta2": 0.95,
        },
        "federation": {
            "rounds": 8,
            "strategy": {"name": "fedavg", "server": {"name": "sgd", "momentum": 0.5}},
        },
        "privacy": {"unit": "none"},
        "secure": {"aggregation": "secagg", "clip_norm": 4.0},
        "network": {
            "address": address,
            "identity": "server/server-identity.key",
            "certificate": "server/server.pem",
            "key": "server/server.key",
            "ca": "server/ca.pem",
            "round_deadline_s": 60.0,
            "roster": dict(lines),
            "helpers": dict(helpers),
        },
    }


def sotto(*arguments: str) -> list[str]:
    """The command line of ``sotto`` in a process of its own, whatever is on the path."""
    return [sys.executable, "-P", "-c", _COMMAND, *arguments]


@contextmanager
def running_sites(folder: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """All sites of a consortium, each in a process of its own, until the context ends."""
    sites: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for file in sorted(folder.glob("*/site.toml")):
            sites[file.parent.name] = start_site(file)
        yield sites
    finally:
        for process in sites.values():
            process.terminate()
        for process in sites.values():
            process.wait(20)


def start_site(file: Path) -> subprocess.Popen[bytes]:
    """Start one site; what it says goes into ``site.log`` beside its file."""
    with (file.parent / "site.log").open("ab") as log:
        return subprocess.Popen(sotto("site", str(file)), stdout=log, stderr=log)


def run_server_process(folder: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Run the server of a consortium to its end; its JSON.

    Raises:
        SottovoceError: it ended with an error; what it said last is told.
    """
    changes = [part for override in overrides for part in ("--set", override)]
    dir_ = f'run.dir="{folder / "run"}"'
    command = sotto("server", str(folder / "consortium.toml"), "--json", "--set", dir_, *changes)
    with (folder / "server.log").open("ab") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode:
        said = (folder / "server.log").read_text(errors="replace").splitlines()[-3:]
        raise SottovoceError(f"the server ended with {done.returncode}: {' / '.join(said)}")
    found: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return found
