"""A federation across machines, without the machines: the real server and real vaults, in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sottovoce.codec.roster import Identity, Roster, new_identity
from sottovoce.config import Config, make_config, write_config
from sottovoce.data.conversation import Conversation
from sottovoce.data.dialogues import conversations
from sottovoce.data.marketplace import build_market
from sottovoce.data.write import to_lines
from sottovoce.errors import SottovoceError
from sottovoce.run.enrol import make_keys, open_identity, open_store_key, roster_of
from sottovoce.run.helper_settings import HelperSettings
from sottovoce.run.helper_vault import HelperVault
from sottovoce.run.host import Host, host
from sottovoce.run.site_settings import SiteSettings
from sottovoce.run.vault import Vault

POLICY = """
weakest_unit = "none"
min_cohort = 1
secure_aggregation = false
base_models = [{models}]
tasks = ["chat"]
trust = "server"
cryptographic_noise = false
"""


def talks_of(shops: int, each: int) -> dict[str, list[Conversation]]:
    """The first conversations of some shops of the market, by shop."""
    market = build_market(0)
    found: dict[str, list[Conversation]] = {}
    for talk in conversations(market, 0, per_shop=each):
        found.setdefault(str(talk.client), []).append(talk)
    return {name: found[name][:each] for name in sorted(found)[:shops]}


def tree_of(folder: Path, data: Path, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A small configuration in which every client trains by itself."""
    tree: dict[str, Any] = {
        "run": {"dir": str(folder), "threads": 1},
        "data": {"path": str(data), "scrub": "off", "validation_fraction": 0.3},
        "train": {
            "steps_per_round": 2,
            "batch_size": 2,
            "max_length": 64,
            "learning_rate": 0.01,
            "memory_budget_mib": 1,
        },
        "federation": {"rounds": 2},
        "privacy": {"unit": "none"},
    }
    for section, values in changes.items():
        merged = {**tree.get(section, {}), **values}
        tree[section] = {key: value for key, value in merged.items() if value is not None}
    return tree


class Memory:
    """Carries letters by calling the vaults; it can lose, repeat and hold back."""

    def __init__(self, sites: Mapping[str, Callable[[], Vault | HelperVault]]) -> None:
        self.sites = sites
        self.came: list[tuple[str, bytes]] = []
        self.absent: set[str] = set()
        self.asked: list[tuple[str, bytes]] = []
        self.before: Callable[[str, bytes], None] = lambda site, body: None
        self.change: Callable[[str, bytes], bytes | None] = lambda site, body: body

    def ask(self, site: str, make: Callable[[], bytes]) -> None:
        body = make()
        self.asked.append((site, body))
        self.before(site, body)
        if site in self.absent:
            return
        try:
            answer = self.change(site, self.sites[site]().answer(body))
        except SottovoceError:
            return
        if answer is not None:
            self.came.append((site, answer))

    def answers(self) -> list[tuple[str, bytes]]:
        came, self.came = self.came, []
        return came

    def present(self) -> frozenset[str]:
        return frozenset(self.sites) - self.absent

    def forget(self, site: str) -> None:
        """Nothing is held for anybody."""


class World:
    """Some shops with their own vaults, helpers if need be, and a server that knows them."""

    def __init__(self, root: Path, shops: int = 3, each: int = 8, helpers: int = 0) -> None:
        self.root = root
        self.talks = talks_of(shops, each)
        self.names = sorted(self.talks)
        self.server: Identity = new_identity()
        self.keys = {name: root / f"{name}-keys" for name in self.names}
        self.lines = {name: make_keys(self.keys[name], name) for name in self.names}
        self.identities = {name: open_identity(self.keys[name]) for name in self.names}
        self.roster: Roster = roster_of(self.lines)[0]
        self.helper_names = [f"helper {place}" for place in range(1, helpers + 1)]
        self.keys |= {name: root / f"{name}-keys" for name in self.helper_names}
        self.helper_lines = {name: make_keys(self.keys[name], name) for name in self.helper_names}
        self.identities |= {name: open_identity(self.keys[name]) for name in self.helper_names}
        self.log: list[tuple[str, Mapping[str, Any]]] = []
        self.models: list[str] = []
        (root / "all.jsonl").write_text(to_lines(t for n in self.names for t in self.talks[n]))
        for name in self.names:
            (root / f"{name}.jsonl").write_text(to_lines(self.talks[name]))
        self.vaults: dict[str, Vault] = {}
        self.helper_vaults: dict[str, HelperVault] = {}

    def policy(self, name: str, text: str | None = None) -> Path:
        from sottovoce.config import ModelSettings
        from sottovoce.model.base import fingerprint, load_base

        if not self.models:
            self.models.append(fingerprint(load_base(ModelSettings())))
        path = self.root / f"{name}-policy.toml"
        path.write_text(text or POLICY.format(models=json.dumps(self.models[0])))
        return path

    def site(self, name: str, **changes: Any) -> SiteSettings:
        tree = {
            "name": name,
            "folder": str(self.root / f"{name}-runs"),
            "policy": str(self.policy(name)),
            "server": {"address": "127.0.0.1:1", "identity": self.server.public.hex()},
            "data": {"path": str(self.root / f"{name}.jsonl"), "scrub": "off"},
            "roster": self.lines,
            "helpers": self.helper_lines,
        }
        return SiteSettings.model_validate(tree | changes)

    def vault(self, name: str) -> Vault:
        if name not in self.vaults:
            self.vaults[name] = Vault(
                self.site(name), self.identities[name], open_store_key(self.keys[name])
            )
        return self.vaults[name]

    def helper(self, name: str, **changes: Any) -> HelperSettings:
        tree = {
            "name": name,
            "folder": str(self.root / f"{name}-runs"),
            "server": {"address": "127.0.0.1:1", "identity": self.server.public.hex()},
            "helpers": self.helper_lines,
            "roster": self.lines,
        }
        return HelperSettings.model_validate(tree | changes)

    def helper_vault(self, name: str) -> HelperVault:
        if name not in self.helper_vaults:
            self.helper_vaults[name] = HelperVault(
                self.helper(name), self.identities[name], open_store_key(self.keys[name])
            )
        return self.helper_vaults[name]

    def restart(self, name: str) -> None:
        """As after a kill: nothing is left but what lies on disk."""
        for vaults in (self.vaults, self.helper_vaults):
            if name in vaults:
                vaults.pop(name).close()

    def carrier(self) -> Memory:
        asked: dict[str, Callable[[], Vault | HelperVault]] = {}
        asked |= {name: lambda name=name: self.vault(name) for name in self.names}
        asked |= {name: lambda name=name: self.helper_vault(name) for name in self.helper_names}
        return Memory(asked)

    def config(self, run: str, **changes: Mapping[str, Any]) -> Config:
        network = {"roster": self.lines, "round_deadline_s": 2.0, "helpers": self.helper_lines}
        network |= changes.pop("network", {})
        tree = tree_of(self.root / run, self.root / "all.jsonl", changes)
        return make_config(tree | {"network": network}, place="test")

    def local(self, run: str, **changes: Mapping[str, Any]) -> Config:
        changes.pop("network", None)
        return make_config(tree_of(self.root / run, self.root / "all.jsonl", changes), place="test")

    def host(self, config: Config, carrier: Memory | None = None) -> Host:
        def log(event: str, fields: Mapping[str, Any]) -> None:
            self.log.append((event, fields))

        return host(config, self.server, self.roster, carrier or self.carrier(), log)

    def close(self) -> None:
        for name in [*self.vaults, *self.helper_vaults]:
            self.restart(name)


__all__ = ["Memory", "World", "write_config"]
