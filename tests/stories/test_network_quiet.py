"""Nothing leaves the machine that nobody asked for, and no code that comes over the network runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from network_world import SMALL, Consortium, consortium, wait_for
from test_network_story import hostile_bundle

from sottovoce.run import letter as letters
from sottovoce.run.check import check_run
from sottovoce.run.enrol import roster_of, server_identity
from sottovoce.run.flower import carrier as carriers
from sottovoce.run.flower import link
from sottovoce.run.letter import SERVER, Letter
from sottovoce.run.network_demo import sotto

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BARE = Path(__file__).resolve().with_name("bare_superlink.py")
OUTSIDE = "import socket; socket.create_connection(('192.0.2.1', 9), 3)"
ALONE = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def namespaces_work() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not namespaces_work(), reason="a namespace of one's own needs unshare and ip")
def test_the_demo_needs_nothing_but_the_loopback_and_asks_for_nothing_else(tmp_path: Path) -> None:
    tried = subprocess.run(
        [*ALONE, sys.executable, "-c", OUTSIDE], capture_output=True, check=False
    )
    assert b"unreachable" in tried.stderr
    trace = tmp_path / "trace"
    strace = shutil.which("strace")
    watch = [strace, "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto", "-o", str(trace)]
    demo = sotto("demo", "--network", "--json", "--dir", "d", "--set", "federation.rounds=2")
    command = [*ALONE, *(map(str, watch) if strace else ()), *demo]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["rounds"] == 2
    assert check_run(Path(told["run_dir"])).complete
    if strace:
        # Not even an attempt: a name that is looked up, an address that cannot be reached.
        addresses = set(
            re.findall(r'inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"', trace.read_text())
        )
        assert addresses == {"127.0.0.1"}


@contextmanager
def hostile_server(one: Consortium, bundle: bytes, log: Path) -> Iterator[carriers.FlowerCarrier]:
    """A server that offers a bundle, whose SuperLink answers every request of everybody."""

    def start(
        module: str, settings: Mapping[str, object], log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        # As the carrier's own, with another program.
        child = subprocess.Popen(
            [sys.executable, "-P", str(BARE), str(requests)], stdin=subprocess.PIPE, stderr=stderr
        )
        assert child.stdin is not None
        child.stdin.write(json.dumps(settings).encode() + b"\n")
        child.stdin.flush()
        return child

    requests = log
    port = one.port
    folder = one.folder / "hostile"
    server = one.folder / "server"
    settings = carriers.LinkSettings(
        "127.0.0.1", port, folder, server / "server.pem", server / "server.key"
    )
    members = roster_of(one.roster)[1]
    with pytest.MonkeyPatch.context() as patch, (one.folder / "bare.log").open("wb") as stderr:
        patch.setattr(carriers, "start", start)
        patch.setattr(link, "_bundle", lambda: bundle)
        keys = {name: member.node_key for name, member in members.items()}
        with carriers.FlowerCarrier(settings, keys) as carrier:
            yield carrier


@contextmanager
def stock_node(one: Consortium, name: str, log: Path) -> Iterator[None]:
    """Flower's own SuperNode with a site's key, as its users start it."""
    programs = Path(sys.executable).parent
    command = [str(programs / "flower-supernode"), "--superlink"]
    command += [f"127.0.0.1:{one.port}", "--root-certificates", str(one.folder / "server/ca.pem")]
    key = load_pem_private_key((one.folder / name / "node.key").read_bytes(), None)
    own = one.folder / "stock.key"
    own.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    command += ["--auth-supernode-private-key", str(own)]
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    path = os.pathsep.join((str(programs), os.environ["PATH"]))
    environment = {**os.environ, **quiet, "FLWR_HOME": str(one.folder / "flwr"), "PATH": path}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_a_hostile_bundle_runs_in_a_stock_node_and_never_at_a_site(tmp_path: Path) -> None:
    """The stock node is the control: what it runs, our site does not even fetch."""
    mark, requests = tmp_path / "mark", tmp_path / "requests"
    with consortium(tmp_path / "world", SMALL, shops=2) as one:
        ours, stock = one.names
        with hostile_server(one, hostile_bundle(mark), requests) as carrier:
            one.start_site(ours)
            identity = server_identity(one.folder / "server" / "server-identity.key")
            question = Letter("progress", "0" * 64, SERVER, ours, {}, {})
            body = letters.write(question, identity)
            for _ in range(3):
                carrier.ask(ours, lambda: body)
            answers: list[tuple[str, bytes]] = []
            wait_for(
                lambda: answers.extend(carrier.answers()) or len(answers) == 3, 60, "it answers"
            )
            roster, _ = roster_of(one.roster)
            found = letters.read(answers[0][1], roster, to=SERVER, limit=2**20)
            assert found.kind == "progress"
            assert not mark.exists()
            asked = set(requests.read_text().split())
            assert "/v1/fleet/pull-messages" in asked
            assert not any("fab" in path or "run" in path for path in fleet(asked))

            carrier.ask(stock, lambda: body)
            with stock_node(one, stock, tmp_path / "stock.log"):
                end = time.monotonic() + 90
                while not mark.exists() and time.monotonic() < end:
                    carrier.answers()
                    time.sleep(0.2)
            assert mark.read_text().startswith("it ran")
            assert any("fab" in path for path in fleet(set(requests.read_text().split())))


def fleet(paths: set[str]) -> set[str]:
    return {path for path in paths if path.startswith("/v1/fleet/")}
