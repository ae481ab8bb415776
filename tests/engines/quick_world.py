"""The federation of ``network_play`` with a model so small that a whole run takes a moment."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

FAULTS = Path(__file__).resolve().parents[1] / "run"
if str(FAULTS) not in sys.path:
    sys.path.append(str(FAULTS))

from broken_disk import GROWING, BrokenDisk, Killed, watched  # noqa: E402
from network_play import POLICY, Memory, World  # noqa: E402

from sottovoce.config import Config  # noqa: E402
from sottovoce.errors import SottovoceError  # noqa: E402
from sottovoce.model.base import LoraSettings, fingerprint, model_folder  # noqa: E402
from sottovoce.model.tokenizer import load_tokenizer  # noqa: E402
from sottovoce.run import gather, identity, visit  # noqa: E402
from sottovoce.run import letter as letters  # noqa: E402
from sottovoce.run.ledger import verify  # noqa: E402
from sottovoce.run.letter import SERVER, Letter  # noqa: E402
from sottovoce.run.prepare import Party, Prepared  # noqa: E402
from sottovoce.run.shared import model_parts, shared_config  # noqa: E402
from sottovoce.run.vault import Vault  # noqa: E402
from sottovoce.update import unflatten  # noqa: E402

SEEDED: Mapping[str, Any] = {
    "generator": "seeded_for_tests",
    "delta": 1e-3,
    "clip_norm": 0.5,
    "noise_multiplier": 1.0,
}
EXAMPLE: Mapping[str, Any] = {"unit": "example", **SEEDED}


class QuickWorld(World):
    """A few sites whose model and text are made in memory."""

    def __init__(
        self, root: Path, attach: Any, make_client: Any, shops: int = 3, helpers: int = 0
    ) -> None:
        super().__init__(root, shops=shops, each=2, helpers=helpers)
        lora = LoraSettings(rank=2, alpha=4, targets=("q_proj", "v_proj"))
        self.model = attach(
            "llama", lora, hidden_size=16, intermediate_size=16, num_hidden_layers=1
        )
        self.models = [fingerprint(self.model.base)]
        self.tokenizer = load_tokenizer(model_folder("tiny"))
        self.parties = {}
        self.opened: list[str] = []
        for place, name in enumerate(self.names):
            train, held_out = make_client(name, [5] * (3 + place)), make_client(name, [6], seed=1)
            self.parties[name] = Party(name, train.examples, held_out.examples, (None,))
            self.allow(name)

    def prepared(self, config: Config, name: str) -> Prepared:
        """In the place of ``prepare_site``: nothing is read from a disk."""
        self.opened.append(name)
        return Prepared(config, (self.parties[name],), self.model, self.tokenizer, ())

    def config(self, run: str, **changes: Mapping[str, Any]) -> Config:
        train = {"steps_per_round": 1, "max_length": 48, "learning_rate": 0.05}
        changes["train"] = {**train, **changes.get("train", {})}
        return super().config(run, **changes)

    def allow(self, name: str, **rules: Any) -> None:
        """Write another policy for a site, beginning with its next run."""
        text = POLICY.format(models=f'"{self.models[0]}"')
        for rule, value in rules.items():
            lines = [line for line in text.splitlines() if not line.startswith(f"{rule} ")]
            text = "\n".join([*lines, f"{rule} = {value}"])
        (self.root / f"{name}-policy.toml").write_text(text)

    def policy(self, name: str, text: str | None = None) -> Path:
        return self.root / f"{name}-policy.toml"

    def told(self, *events: str) -> list[Mapping[str, Any]]:
        """What the server said of some kinds of events."""
        return [fields for event, fields in self.log if event in events]

    def records(self, path: Path, *kinds: str) -> list[Mapping[str, Any]]:
        """What a ledger holds of some kinds."""
        return [one.payload for one in verify(path)[0] if one.kind in kinds]

    def site_ledger(self, name: str, run: str) -> Path:
        return Path(self.site(name).folder) / run / "ledger.jsonl"


@contextmanager
def quick(world: QuickWorld) -> Iterator[QuickWorld]:
    """A context in which sites load nothing, nobody waits for a disk, and deadlines are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visit, "prepare_site", world.prepared)
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(identity, "version", cache(identity.version))
        patch.setattr(gather, "PROGRESS_S", 0.02)
        patch.setattr(gather, "LOOK_S", 0.002)
        yield world


def parsed(body: bytes) -> Letter:
    """Any letter, whoever signed it and whoever it is for."""
    import json

    size = int.from_bytes(body[5:9], "big")
    head = json.loads(body[9 : 9 + size])
    parts, begin = {}, 9 + size
    for name, count in head["parts"]:
        parts[name] = body[begin : begin + count]
        begin += count
    return Letter(head["kind"], head["run"], head["from"], head["to"], head["facts"], parts)


class Tampering(Memory):
    """Lets a test say what a site answers in the place of what its vault has answered.

    Args:
        world: whose vaults.
        wrong: by site, what it makes of the question and its honest answer; None says nothing, and
            a letter is signed by the site itself.
    """

    def __init__(
        self,
        world: QuickWorld,
        wrong: Mapping[str, Callable[[Letter, Letter], Letter | bytes | None]],
    ) -> None:
        super().__init__(world.carrier().sites)
        self.world, self.wrong = world, wrong
        self.change = self._changed

    def _changed(self, site: str, answer: bytes) -> bytes | None:
        if site not in self.wrong:
            return answer
        found = self.wrong[site](parsed(self.asked[-1][1]), parsed(answer))
        if isinstance(found, Letter):
            return letters.write(found, self.world.identities[site])
        return found


def ask(world: QuickWorld, vault: Vault, letter: Letter) -> Letter:
    """What a vault answers to a letter of the real server."""
    answer = vault.answer(letters.write(letter, world.server))
    return letters.read(answer, world.roster, to=SERVER, limit=2**30)


class Server:
    """What a server says to one site, letter by letter, whatever it likes.

    Args:
        world: whose keys it has.
        name: of the site.
        changes: of the configuration.
    """

    def __init__(self, world: QuickWorld, name: str, **changes: Any) -> None:
        self.world, self.name = world, name
        self.run = secrets.token_hex(32)
        self.config = world.config("hostile", **changes)
        self.shared = shared_config(self.config)
        self.algorithm = self.config.federation.strategy.algorithm
        model = world.model
        weights = unflatten(model.initial(self.config.seed), model.layout)
        self.state = self.algorithm.first(weights)

    def letter(
        self, kind: str, facts: Mapping[str, Any], parts: Mapping[str, bytes] | None = None
    ) -> Letter:
        return Letter(kind, self.run, SERVER, self.name, facts, parts or {})

    def ask(
        self, kind: str, facts: Mapping[str, Any], parts: Mapping[str, bytes] | None = None
    ) -> Letter:
        return ask(self.world, self.world.vault(self.name), self.letter(kind, facts, parts))

    def join(self) -> Letter:
        return self.ask("join", {"members": self.world.names}, {"config": self.shared})

    def fellows(self, **counts: int) -> dict[str, Any]:
        inside = self.config.privacy.unit in ("owner", "example")
        known = {n: len(p.train) if inside else 0 for n, p in self.world.parties.items()}
        return {"unit_counts": {**known, **counts}, "heaviest_client": 5, "commitments": {}}

    def begin(self, **counts: int) -> Letter:
        """Join, and learn who takes part."""
        joined = self.join()
        return joined if joined.kind == "refused" else self.ask("begin", self.fellows(**counts))

    def round(self, index: int, **facts: Any) -> Letter:
        return self.ask("round", self.facts(index, **facts), self.parts())

    def facts(self, index: int, **facts: Any) -> dict[str, Any]:
        return {"round": index, "stop_after": None, "evaluate": False, **facts}

    def parts(self) -> dict[str, bytes]:
        return model_parts(self.state, self.algorithm)

    def ledger(self, *kinds: str) -> list[Mapping[str, Any]]:
        return self.world.records(self.world.site_ledger(self.name, self.run), *kinds)

    @property
    def folder(self) -> Path:
        return self.world.site_ledger(self.name, self.run).parent


def other(letter: Letter, **facts: Any) -> Letter:
    """The same letter with other facts."""
    return replace(letter, facts={**letter.facts, **facts})


def clear(world: QuickWorld) -> None:
    """Leave nothing of the runs so far."""
    world.close()
    world.log.clear()
    for name in [*world.names, *world.helper_names]:
        shutil.rmtree(world.root / f"{name}-runs", ignore_errors=True)
    shutil.rmtree(world.root / "run", ignore_errors=True)


class Mortal(Memory):
    """Vaults that die, and are started again at once; the answer of one that died is lost."""

    def __init__(self, world: QuickWorld, disk: BrokenDisk) -> None:
        super().__init__(world.carrier().sites)
        self.world, self.disk, self.deaths = world, disk, 0

    def ask(self, site: str, make: Callable[[], bytes]) -> None:
        try:
            super().ask(site, make)
        except Killed:
            self.deaths += 1
            fault = self.disk.fault
            self.disk.mend()
            self.world.restart(site)
            if fault == "power" and self.disk.root.is_dir():
                self.disk.lose_power()


def killed(
    world: QuickWorld,
    config: Config,
    patch: pytest.MonkeyPatch,
    fault: str,
    stop: int,
    carrier: Memory | None = None,
) -> bool:
    """Run a server, or go on, and stop it at one operation; whether that came at all."""
    disk = BrokenDisk(Path(config.run.dir), fault, stop)
    try:
        with watched(disk, patch):
            world.host(config, carrier)
    except Killed:
        if fault == "power" and disk.root.is_dir():
            disk.lose_power()
        return True
    return False


__all__ = [
    "EXAMPLE",
    "GROWING",
    "SEEDED",
    "BrokenDisk",
    "Killed",
    "Mortal",
    "QuickWorld",
    "Server",
    "SottovoceError",
    "Tampering",
    "ask",
    "clear",
    "killed",
    "other",
    "parsed",
    "quick",
    "watched",
]
