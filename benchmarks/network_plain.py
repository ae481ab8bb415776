"""Stock Flower beside ours: its SuperLink, SuperNodes and an app in ``flower_app``, as users start them.

Everything is Flower's default but what would reach for the network: run-time installation, telemetry
and the check for updates are off, which takes nothing but waiting away. Needs ``make bench-peers``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from secagg_flwr import PYTHON, ROOT

from sottovoce.config import Config
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import model_folder
from sottovoce.model.peft_format import peft_config
from sottovoce.run.prepare import prepare_site

APP = Path(__file__).resolve().parent / "flower_app"
PATIENCE_S = 900.0


def write_work(folder: Path, configs: Sequence[tuple[str, Config]]) -> None:
    """The model, the adapter's settings and each site's sequences, for the app to find.

    Args:
        folder: where.
        configs: of each site, by name, as its vault resolves it.
    """
    for place, (name, config) in enumerate(configs):
        prepared = prepare_site(config, name)
        rows: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        for number, example in enumerate(prepared.parties[0].train):
            tokens = np.asarray(example.tokens, np.int64)
            rows[f"tokens{number}"] = tokens
            rows[f"labels{number}"] = np.where(example.supervised, tokens, -100)
        np.savez(folder / f"{place}.npz", **rows)  # type: ignore[arg-type]
    if not isinstance(prepared.model, LoraModel):
        raise TypeError("the benchmark trains adapters")
    shutil.copytree(model_folder(config.model.path), folder / "base")
    settings = peft_config(prepared.model)
    wanted = ("r", "lora_alpha", "target_modules", "task_type")
    chosen = {name: settings[name] for name in wanted}
    (folder / "adapter.json").write_text(json.dumps(chosen), encoding="utf-8")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def round_seconds(folder: Path, *, rounds: int, clients: int, steps: int) -> list[float]:
    """Run Flower's deployment on the work of a folder; how long each round took.

    Raises:
        RuntimeError: it did not get to its end; what its processes said is told.
    """
    shutil.copytree(APP, folder / "app")
    with deployment(folder, clients) as port:
        home = folder / "home"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
            "insecure = true\n",
            encoding="utf-8",
        )
        config = f'folder="{folder}" rounds={rounds} clients={clients} steps={steps}'
        command = [program("flwr"), "run", str(folder / "app"), "here", "--run-config", config]
        done = subprocess.run(
            command, env=environment(home), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"flwr run failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        ended = _await(folder, rounds)
    return [later - earlier for earlier, later in pairwise(ended)]


def _await(folder: Path, rounds: int) -> list[float]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if (folder / "ended").exists():
            lines = (folder / "ended").read_text(encoding="utf-8").splitlines()
            if len(lines) > rounds:
                return [float(line.split()[1]) for line in lines]
        time.sleep(0.2)
    said = "\n".join(path.read_text(errors="replace")[-1500:] for path in folder.glob("*.log"))
    raise RuntimeError(f"Flower's rounds did not end in {PATIENCE_S} s:\n{said}")


def program(name: str) -> str:
    """One of Flower's commands in the peers' environment."""
    return str(PYTHON.with_name(name))


def environment(home: Path) -> dict[str, str]:
    """What Flower's processes are started with."""
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    path = os.pathsep.join((str(PYTHON.parent), os.environ["PATH"]))
    python = os.pathsep.join((str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")))
    own = {"FLWR_HOME": str(home), "PATH": path, "PYTHONPATH": python}
    return {**os.environ, **quiet, **threads, **own}


@contextmanager
def deployment(folder: Path, clients: int) -> Iterator[int]:
    """A SuperLink and its SuperNodes, with default isolation, on loopback and without TLS."""
    port = free_port()
    offline = "--disable-runtime-dependency-installation"
    link = [program("flower-superlink"), "--insecure", "--port", str(port), offline]
    commands = {"superlink": link}
    for place in range(clients):
        node = [program("flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{port}"]
        node += ["--port", str(free_port())]
        node += ["--node-config", f"partition-id={place} num-partitions={clients}"]
        commands[f"supernode-{place}"] = node
    running = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                own = environment(folder / f"home-{name}")
                running.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))
            if name == "superlink":
                _listening(port)
        yield port
    finally:
        for process in running[::-1]:
            process.terminate()
        for process in running:
            process.wait(60)


def _listening(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
