"""Sites without text and without a model, for the memory of a server: they answer as real ones do.

They live in a process of their own, so that what they hold is not counted, and speak with the server's
carrier over two pipes: ``A`` site letter asks, ``R`` takes one answer. What they send is made up; how
it is signed, masked and shared is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from sottovoce.codec.roster import Identity, Roster, identity_from
from sottovoce.codec.wire import pack
from sottovoce.config import Config, make_config
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.known import Federation, Fellows
from sottovoce.run.letter import PART, SERVER, Letter
from sottovoce.run.outbox import Outbox
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.secure import words_of
from sottovoce.run.shared import model_of, shared_config
from sottovoce.run.sum_terms import summing_of
from sottovoce.run.visit_sums import Sums
from sottovoce.update import Layout, Tensors, Update

TENSORS = 16


def names_of(count: int) -> list[str]:
    """The names of all sites."""
    return [f"site-{number:03d}" for number in range(count)]


def identity_of(name: str) -> Identity:
    """The key of a made-up site, or of the server."""
    return identity_from(sha256(f"made up, {name}".encode()).digest())


def roster_of(count: int) -> Roster:
    """The public keys of all sites."""
    return Roster({name: identity_of(name).public for name in names_of(count)})


def tensors(entries: int, scale: float) -> Tensors:
    """Some tensors of so many entries in all."""
    rows = entries // TENSORS
    draw = np.random.default_rng(0)
    return {
        f"layers.{number:02d}.weight": (scale * draw.standard_normal((rows // 8, 8))).astype(
            np.float32
        )
        for number in range(TENSORS)
    }


class MadeUpSites:
    """The carrier to them, at the server.

    Args:
        tree: the run's configuration.
        count: how many sites there are.
        entries: of an update.
    """

    def __init__(self, tree: Mapping[str, Any], count: int, entries: int) -> None:
        self._names = frozenset(names_of(count))
        settings = {"tree": tree, "count": count, "entries": entries}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        _send(self._to, json.dumps(settings).encode())

    @property
    def _to(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise RuntimeError("there is no pipe")
        return self._process.stdin

    @property
    def _from(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise RuntimeError("there is no pipe")
        return self._process.stdout

    def ask(self, site: str, make: Callable[[], bytes]) -> None:
        """Bring a letter."""
        _send(self._to, b"A" + site.encode())
        _send(self._to, make())

    def answers(self) -> Iterator[tuple[str, bytes]]:
        """Take what there is, one after another."""
        while True:
            _send(self._to, b"R")
            site = _receive(self._from)
            if not site:
                return
            yield site.decode(), _receive(self._from)

    def present(self) -> frozenset[str]:
        """All of them, always."""
        return self._names

    def forget(self, site: str) -> None:
        """Nothing is held for anybody."""

    def close(self) -> None:
        """End them."""
        self._to.close()
        self._process.wait(60)
        self._from.close()


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(len(data).to_bytes(8, "big"))
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    return pipe.read(int.from_bytes(head, "big"))


class Site:
    """One of them."""

    def __init__(self, name: str, config: Config, count: int, entries: int, folder: Path) -> None:
        self.name, self.config, self.folder = name, config, folder
        self.identity, self.roster = identity_of(name), roster_of(count)
        self.server = Roster({SERVER: identity_of(SERVER).public, name: self.identity.public})
        self.weights, self.change = tensors(entries, 1.0), tensors(entries, 0.001)
        self.layout = Layout({key: value.shape for key, value in self.weights.items()})
        self.known = Federation(config, self.layout, Fellows(dict.fromkeys(names_of(count), 0)))
        self.sums: Sums | None = None
        self.committed: dict[str, str] = {}

    def answer(self, body: bytes) -> bytes:
        """Answer a letter."""
        letter = letters.read(body, self.server, to=self.name, limit=2**31)
        kind, facts, parts = self._made(letter)
        facts["answers"] = letters.name_of(body)
        return letters.write(
            Letter(kind, letter.run, self.name, SERVER, facts, parts), self.identity
        )

    def _made(self, letter: Letter) -> tuple[str, dict[str, Any], dict[str, bytes]]:
        match letter.kind:
            case "join":
                return "joined", self._joined(letter), {}
            case "first":
                return "first", {}, {"model": folders.pack_tensors(self.weights)}
            case "begin" if self.sums is not None:
                self.committed, nonce = self.sums.reveal(letter.facts)
                return "begun", {"nonce": nonce}, {}
            case "round":
                return "update", self._figures(letter), self._update(letter)
            case "keys" | "shares" | "survivors" | "unmask" if self.sums is not None:
                if self.sums.agreed is None:
                    self.sums.agree(self.committed, letter.facts)
                return letter.kind, {}, self.sums.answered(self.known, letter)
        return letter.kind, {}, {}

    def _joined(self, letter: Letter) -> dict[str, Any]:
        first = self.config.federation.strategy.algorithm.first(self.weights)
        told: dict[str, Any] = {
            "layout": [[key, list(shape)] for key, shape in self.layout.shapes.items()],
            "first_sha256": digest(model_tensors(first)),
            "model_sha256": "0" * 64,
            "tokenizer_sha256": "0" * 64,
            "adapter_config": None,
            "units": 0,
            "examples": 0,
            "heaviest": 1,
            "steps": 1,
        }
        if self.config.secure.aggregation != "none":
            own = self.folder / self.name
            own.mkdir()
            self.sums = Sums(
                bytes.fromhex(letter.run),
                self.name,
                self.identity,
                Outbox(own / "outbox", bytes(32), self.name),
                self.roster,
                sha256(shared_config(self.config)).digest(),
                own,
            )
            told["commitment"] = self.sums.commitment()
        return told

    def _figures(self, letter: Letter) -> dict[str, Any]:
        none = dict.fromkeys(("examples", "tokens", "targets"), 0)
        told = {"round": letter.facts["round"], "heldout_loss": None, "loss": None, "rank": None}
        told["spent"] = 0
        return {**told, **none, "steps": 1, "weight": 1}

    def _update(self, letter: Letter) -> dict[str, bytes]:
        if self.config.secure.clip_norm is None:
            return {"update": folders.pack_tensors(self.change)}
        index = int(letter.facts["round"])
        server = model_of(letter, self.config.federation.strategy.algorithm, index)
        how = summing_of(self.known, server)
        update = Update(self.change, self.name, 0, 1, 0, None, weight=1)
        if self.sums is None:
            return {"words": pack(words_of(update, how, index), how.coding.bits)}
        sha = digest(model_tensors(server))
        upload = self.sums.upload(self.known, letter, lambda: words_of(update, how, index), sha)
        return {PART: upload, **self.sums.ahead(self.known, letter)}


def main() -> None:
    """Answer until the pipe ends."""
    to, come = sys.stdout.buffer, sys.stdin.buffer
    settings = json.loads(_receive(come))
    config = make_config(settings["tree"], place="the benchmark")
    count, entries = settings["count"], settings["entries"]
    with tempfile.TemporaryDirectory() as folder:
        sites = {name: Site(name, config, count, entries, Path(folder)) for name in names_of(count)}
        asked: deque[tuple[str, bytes]] = deque()
        while True:
            try:
                told = _receive(come)
            except EOFError:
                return
            if told[:1] == b"A":
                asked.append((told[1:].decode(), _receive(come)))
            elif asked:
                name, body = asked.popleft()
                answer = sites[name].answer(body)
                _send(to, name.encode())
                _send(to, answer)
            else:
                _send(to, b"")


if __name__ == "__main__":
    main()
