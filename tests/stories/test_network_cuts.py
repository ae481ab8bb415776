"""What real networks and machines do: cuts, delays, broken and silent connections, full disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from network_proxy import Proxy
from network_world import SMALL, Consortium, by_one_process, consortium, wait_for
from safetensors.numpy import load, load_file

from sottovoce.run import letter as letters
from sottovoce.run.certs import make_certificates
from sottovoce.run.check import check_run
from sottovoce.run.enrol import roster_of
from sottovoce.run.ledger import read
from sottovoce.run.letter import SERVER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CUT_S = 10.0


def of(**sections: Any) -> dict[str, Any]:
    """The small run with some sections changed."""
    return {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {*SMALL, *sections}}


def rewrite(path: Path, change: Any) -> None:
    tree = tomllib.loads(path.read_text())
    change(tree)
    path.write_text(tomli_w.dumps(tree))


def rounds_in(one: Consortium) -> list[dict[str, Any]]:
    return [dict(r.payload) for r in read(one.run / "ledger.jsonl") if r.kind == "round"]


@contextmanager
def behind(one: Consortium, name: str, **how: float) -> Iterator[Proxy]:
    """Have a site reach the server through a proxy."""
    proxy = Proxy(one.port, **how)  # type: ignore[arg-type]
    address = f"127.0.0.1:{proxy.port}"
    rewrite(one.folder / name / "site.toml", lambda tree: tree["server"].update(address=address))
    try:
        yield proxy
    finally:
        proxy.close()


def test_a_slow_and_breaking_way_that_is_cut_for_a_while_changes_nothing(tmp_path: Path) -> None:
    with consortium(tmp_path / "w", SMALL) as one:
        name = one.names[0]
        with behind(one, name, delay_s=0.05, breaks=0.02) as proxy:
            for site in one.names:
                one.start_site(site)
            one.begin()
            undisturbed = by_one_process(one, one.names, tmp_path / "alone")
            one.until_asked(name, "round", 1)
            proxy.cut()
            time.sleep(CUT_S)
            proxy.heal()
            told = one.finish(300)
        assert proxy.broken
        assert told["adapter_sha256"] == undisturbed
        assert check_run(one.run).complete


def test_connections_that_fall_silent_are_given_up_in_time(tmp_path: Path) -> None:
    """As behind a translator of addresses that forgets: no end of the connection is told."""
    with consortium(tmp_path / "w", SMALL) as one:
        name = one.names[0]
        with behind(one, name) as proxy:
            for site in one.names:
                one.start_site(site)
            one.begin("run", "network.round_deadline_s=300")
            undisturbed = by_one_process(one, one.names, tmp_path / "alone")
            one.until_asked(name, "round", 1)
            proxy.silence()
            time.sleep(CUT_S)
            proxy.heal()
            healed = time.monotonic()
            one.until_asked(name, "survivors", 1, 240)
            print({"seconds until it went on": time.monotonic() - healed})
            told = one.finish(300)
        assert told["adapter_sha256"] == undisturbed


def namespaces_work() -> bool:
    if os.geteuid() or not shutil.which("ip"):
        return False
    made = subprocess.run(["ip", "netns", "add", "sotto-try"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", "sotto-try"], capture_output=True, check=False)
    return made.returncode == 0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.mark.skipif(not namespaces_work(), reason="network namespaces need root and ip")
def test_a_cable_that_is_pulled_and_plugged_in_again_changes_nothing(tmp_path: Path) -> None:
    space, here, there = "sotto-site", "sotto-here", "sotto-there"
    with consortium(tmp_path / "w", SMALL) as one:
        name = one.names[0]
        ip("netns", "add", space)
        try:
            ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
            ip("address", "add", "10.213.7.1/24", "dev", here)
            ip("link", "set", here, "up")
            ip("-n", space, "address", "add", "10.213.7.2/24", "dev", there)
            ip("-n", space, "link", "set", there, "up")
            move(one, f"10.213.7.1:{one.port}")
            one.prefix = {name: ("ip", "netns", "exec", space)}
            for site in one.names:
                one.start_site(site)
            one.begin()
            undisturbed = by_one_process(one, one.names, tmp_path / "alone")
            one.until_asked(name, "round", 1)
            ip("link", "set", here, "down")
            time.sleep(CUT_S)
            ip("link", "set", here, "up")
            told = one.finish(300)
        finally:
            one.close()
            ip("netns", "del", space)
            with suppress(subprocess.CalledProcessError):
                ip("link", "del", here)
        assert told["adapter_sha256"] == undisturbed


def move(one: Consortium, address: str) -> None:
    """Have the server listen at an address of its own, with a certificate for it."""
    for place in (one.folder / "server").iterdir():
        if place.name != "server-identity.key":
            place.unlink()
    make_certificates(one.folder / "server", address.rpartition(":")[0])
    where = {"address": address}
    rewrite(one.folder / "consortium.toml", lambda tree: tree["network"].update(where))
    for name in one.names:
        rewrite(one.folder / name / "site.toml", lambda tree: tree["server"].update(where))


def test_a_site_that_sleeps_past_the_deadline_is_left_out_of_an_exact_mean(tmp_path: Path) -> None:
    """The mean of the others is computed again from the answers that lie at the sites."""
    with consortium(tmp_path / "w", of(network={"round_deadline_s": 4.0}), shops=4) as one:
        one.configured({"secure": {"aggregation": "none"}})
        for site in one.names:
            one.start_site(site)
        one.begin()
        slow, *others = one.names
        one.until_asked(slow, "round", 1)
        os.kill(one.sites[slow].pid, signal.SIGSTOP)
        wait_for(lambda: any(late_of(one, slow)), 60, "it is late")
        os.kill(one.sites[slow].pid, signal.SIGCONT)
        told = one.finish(120)
        assert told["rounds"] == 3
        assert [it["clients"] for it in rounds_in(one)] == [one.names, others, one.names]
        assert rounds_in(one)[1]["failed"] == [slow]
        wait_for(lambda: dropped_of(one, slow), 5, "its late answer is logged")
        total, weight = recomputed(one, others, 1)
        before, after = (load_file(one.run / "rounds" / f"{n:05d}.safetensors") for n in (1, 2))
        assert len(total) == len(after) > 1
        for key, sums in total.items():
            expected = before[key] + sums / weight
            np.testing.assert_allclose(after[key], expected, rtol=1e-6, atol=1e-7)
            assert np.abs(sums).max() > 0


def late_of(one: Consortium, name: str) -> list[dict[str, Any]]:
    return [it for it in one.events() if it["event"] == "late" and it["site"] == name]


def dropped_of(one: Consortium, name: str) -> list[dict[str, Any]]:
    """Lines that say that an answer of a site came too late."""
    return [it for it in one.events() if "late answer" in it["event"] and name in str(it)]


def recomputed(one: Consortium, names: list[str], index: int) -> tuple[dict[str, Any], float]:
    """The weighted sum of what sites answered in a round, from the letters that they keep."""
    roster, _ = roster_of(one.roster)
    total: dict[str, Any] = {}
    weight = 0.0
    for name in names:
        [found] = [
            letter
            for place in (one.folder / name / "runs").glob("*/letters/*.bin")
            for letter in [letters.read(place.read_bytes(), roster, to=SERVER, limit=2**30)]
            if letter.kind == "update" and letter.facts["round"] == index
        ]
        weight += found.facts["weight"]
        for key, value in load(bytes(found.parts["update"])).items():
            total[key] = total.get(key, 0) + value.astype(np.float64) * found.facts["weight"]
    return total, weight


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_site_whose_disk_is_full_comes_back_when_there_is_room(tmp_path: Path) -> None:
    changes = of(
        network={"round_deadline_s": 6.0},
        federation={"rounds": 5, "strategy": {"name": "fedavg"}},
    )
    # A sum under masks needs four of five.
    with consortium(tmp_path / "w", changes, shops=5) as one:
        full, *others = one.names
        disk = one.folder / full / "runs"
        disk.mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], check=True)
        try:
            for site in one.names:
                one.start_site(site)
            one.begin()
            one.until_asked(full, "unmask", 0)
            ballast = disk / "ballast"
            with suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            wait_for(
                lambda: others in [it["clients"] for it in rounds_in(one)], 120, "a round ends"
            )
            ballast.unlink()
            told = one.finish(300)
            assert told["rounds"] == 5
            clients = [it["clients"] for it in rounds_in(one)]
            assert clients[-1] == one.names
            [why] = {it["error"] for it in one.events() if it["event"] == "refused"}
            assert "the site's own log says more" in why
            assert any("No space left" in str(it.get("error")) for it in one.events(full))
            assert check_run(one.run).complete
        finally:
            one.close()
            subprocess.run(["umount", str(disk)], check=True)
