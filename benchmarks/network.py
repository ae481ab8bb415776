"""What a federation across machines costs beside training: seconds a round, memory, large updates.

    python benchmarks/network.py            a table
    python benchmarks/network.py --json     one JSON object on one line
    python benchmarks/network.py --only update_50mb_seconds

Rounds are those of ``sotto demo --network``: four sites and a server, real processes on loopback, TLS.
What a round costs is its time at the server without that of the site that trained longest in it. On
few cores the processes of all parties share them, so these figures are upper bounds.

Stock Flower is started beside it where the environment of ``make bench-peers`` is there: its SuperLink,
four SuperNodes with default isolation and an app that loads the model in every client task, on the
same text, model and steps, without secure sums on either side. Where it is not, the key is null.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import tomllib
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from measuring import Figure, environment, summary, table
from network_sites import MadeUpSites, identity_of, names_of, roster_of
from secagg_flwr import available

from sottovoce.config import Config, make_config
from sottovoce.run.certs import make_certificates
from sottovoce.run.doorkeeper import DOOR
from sottovoce.run.enrol import make_keys, open_node_key, read_member
from sottovoce.run.flower import child
from sottovoce.run.flower.carrier import FlowerCarrier, LinkSettings
from sottovoce.run.host import host
from sottovoce.run.letter import SERVER
from sottovoce.run.network_demo import make_consortium, run_server_process, running_sites
from sottovoce.run.shared import shared_config
from sottovoce.run.site_settings import load_site, own_config
from sottovoce.run.vault_socket import VaultSocket

SITES = 4
ROUNDS = 12
SETTLING = 2
"""Rounds that don't count: the first one loads what later ones have."""
STEPS = 5
UPDATE_BYTES = 50_000_000
ENTRIES = 1_000_000
SIMULATED = 64


# --- rounds ----------------------------------------------------------------------------------------


@cache
def rounds(secure: str) -> list[tuple[float, float]]:
    """Seconds of each round at the server, and of the training of the site that was slowest in it."""
    with tempfile.TemporaryDirectory() as place:
        folder = consortium(Path(place) / "world", secure)
        with running_sites(folder):
            run_server_process(folder)
        return seconds_in(folder)[SETTLING:]


def seconds_in(folder: Path) -> list[tuple[float, float]]:
    """The same of all rounds, from what server and sites have logged."""
    server = lines(folder / "server.log")
    begun = {line["round"]: line["time"] for line in server if line["event"] == "round"}
    ended = {line["rounds"] - 1: line["time"] for line in server if line["event"] == "finished"}
    trained: dict[int, float] = {}
    for log in folder.glob("*/site.log"):
        for line in lines(log):
            if line["event"] == "trained":
                found = trained.get(line["round"], 0.0)
                trained[line["round"]] = max(found, line["seconds"])
    return [(ended[index] - begun[index], trained[index]) for index in sorted(begun)]


def consortium(folder: Path, secure: str) -> Path:
    """The demo's, with as many rounds as are measured and no evaluation in between."""
    changes: dict[str, dict[str, Any]] = {
        "run": {"evaluate_every": 10_000},
        "train": {"steps_per_round": STEPS},
        "federation": {"rounds": ROUNDS},
        "secure": {"aggregation": secure},
    }
    return make_consortium(folder, changes, shops=SITES)


def lines(path: Path) -> list[dict[str, Any]]:
    """The events of a log."""
    found = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "{"]
    return [json.loads(line) for line in found]


def overhead(key: str, secure: str, bar: float) -> Figure:
    """What a round takes beyond training, as the median over rounds."""
    found = [whole - train for whole, train in rounds(secure)]
    whole, train = (statistics.median(part) for part in zip(*rounds(secure), strict=True))
    facts = {"round_seconds": whole, "train_seconds": train, "lowest": min(found)}
    facts |= {"highest": max(found), "rounds": len(found)}
    return Figure(
        key, f"{SITES} sites, secure sums: {secure}", statistics.median(found), bar, facts=facts
    )


def plain_overhead() -> Iterator[Figure]:
    """Rounds whose updates the server sees."""
    yield overhead("round_overhead_seconds_4_sites", "none", 5.0)


def hidden_overhead() -> Iterator[Figure]:
    """Rounds whose updates are masked, with a server that is taken for malicious."""
    yield overhead("secagg_round_overhead_seconds_4_sites", "secagg", 9.0)


def beside_flower() -> Iterator[Figure]:
    """A round of stock Flower over one of ours, the same work in both."""
    if not available():
        print("Flower's round is null: `make bench-peers` makes its environment", file=sys.stderr)
        return
    from network_plain import round_seconds, write_work

    with tempfile.TemporaryDirectory() as place:
        folder = consortium(Path(place) / "world", "none")
        work = Path(place) / "flower"
        work.mkdir()
        write_work(work, site_configs(folder))
        theirs = round_seconds(work, rounds=5, clients=SITES, steps=STEPS)[1:]
    ours = [whole for whole, _ in rounds("none")]
    ratio = statistics.median(theirs) / statistics.median(ours)
    facts: Mapping[str, object] = {
        "flower_round_seconds": statistics.median(theirs),
        "our_round_seconds": statistics.median(ours),
        "flower_lowest": min(theirs),
        "flower_highest": max(theirs),
        "flower_rounds": len(theirs),
    }
    key = "plain_flower_round_seconds_over_ours"
    yield Figure(key, "model loaded in each client task", ratio, at_least=2.0, facts=facts)


def site_configs(folder: Path) -> list[tuple[str, Config]]:
    """The configuration of every site as its vault would resolve it."""
    tree = tomllib.loads((folder / "consortium.toml").read_text(encoding="utf-8"))
    shared = shared_config(make_config(tree, place="the benchmark"))
    found = []
    for file in sorted(folder.glob("*/site.toml")):
        site = load_site(file)
        found.append((site.name, own_config(site, shared, folder / "not-used")))
    return found


# --- memory ----------------------------------------------------------------------------------------


def server_memory() -> Iterator[Figure]:
    """The peak of what a server allocates in a round, over one update in float32."""
    kinds: dict[str, dict[str, Any]] = {
        "as it is": {"aggregation": "none"},
        "in words": {"aggregation": "none", "clip_norm": 4.0},
        "masked": {"aggregation": "secagg", "clip_norm": 4.0},
    }
    for name, secure in kinds.items():
        peak = peak_of_round(secure)
        setting = f"{SIMULATED} sites, update {name}"
        yield Figure("server_peak_bytes_over_update", setting, peak / (4 * ENTRIES), 4.0)


def peak_of_round(secure: Mapping[str, Any]) -> int:
    """Most bytes that were allocated within a round and not before it."""
    with tempfile.TemporaryDirectory() as place:
        tree = {
            "run": {"dir": str(Path(place) / "run")},
            "data": {"path": "every-site-has-its-own"},
            "federation": {"rounds": 2},
            "privacy": {"unit": "none"},
            "secure": secure,
            "network": {"roster": dict.fromkeys(names_of(SIMULATED), "made up")},
        }
        peaks: list[int] = []

        def log(event: str, _: Mapping[str, Any]) -> None:
            if event == "round":
                tracemalloc.start()
            elif event == "finished":
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()

        sites = MadeUpSites(tree, SIMULATED, ENTRIES)
        try:
            config = make_config(tree, place="the benchmark")
            host(config, identity_of(SERVER), roster_of(SIMULATED), sites, log)
        finally:
            sites.close()
    return max(peaks)


# --- a large update --------------------------------------------------------------------------------


def large_update() -> Iterator[Figure]:
    """50 MB from a site, through the vault, the door, TLS, the SuperLink and the carrier; and both ways."""
    body = os.urandom(UPDATE_BYTES)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_certificates(folder / "certs", "127.0.0.1")
        member = read_member("site", make_keys(folder / "site", "site"))
        port = _port()
        certificate, key = (folder / "certs" / name for name in ("server.pem", "server.key"))
        settings = LinkSettings("127.0.0.1", port, folder / "link", certificate, key)
        path = folder / "vault.sock"
        told = {
            "address": f"127.0.0.1:{port}",
            "ca": str(folder / "certs" / "ca.pem"),
            "insecure": False,
            "node_key": open_node_key(folder / "site"),
            "socket": str(path),
            "poll_seconds": 0.2,
            "limit_bytes": 1 << 30,
            "user": None,
        }
        with (
            VaultSocket(path, 1 << 30) as vault,
            FlowerCarrier(settings, {"site": member.node_key}) as carrier,
        ):
            serve: Callable[[], None] = lambda: vault.serve(lambda _: body)  # noqa: E731
            threading.Thread(target=serve, daemon=True).start()
            door = child.start(DOOR, told, folder / "door.log")
            try:
                up = [_seconds(carrier, b"update", body) for _ in range(6)][1:]
                both = [_seconds(carrier, body, body) for _ in range(6)][1:]
            finally:
                child.stop(door)
    rows = {
        "update_50mb_seconds": ("a small question, 50 MB back", up, 3.0),
        "model_and_update_50mb_seconds": ("50 MB there, 50 MB back", both, None),
    }
    for name, (about, seconds, bar) in rows.items():
        facts = {"lowest": min(seconds), "highest": max(seconds), "times": len(seconds)}
        yield Figure(name, about, statistics.median(seconds), bar, facts=facts)


def _port() -> int:
    from network_plain import free_port

    return free_port()


def _seconds(carrier: FlowerCarrier, question: bytes, body: bytes) -> float:
    begun = time.perf_counter()
    carrier.ask("site", lambda: question)
    while True:
        for _, answer in carrier.answers(1.0):
            taken = time.perf_counter() - begun
            if answer != body:
                raise RuntimeError("what came back is something else")
            return taken


PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "update_50mb_seconds": large_update,
    "server_peak_bytes_over_update": server_memory,
    "round_overhead_seconds_4_sites": plain_overhead,
    "secagg_round_overhead_seconds_4_sites": hidden_overhead,
    "plain_flower_round_seconds_over_ours": beside_flower,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = environment(torch.device("cpu"))
    figures = [figure for name in options.only for figure in PARTS[name]()]
    result = dict.fromkeys(options.only) | summary(figures, about)
    print(json.dumps(result) if options.json else table(figures, about))


if __name__ == "__main__":
    main()
