"""The whole run as one frozen, typed tree; its unions are the only registry."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, Field, ValidationError, model_validator

from sottovoce.codec.settings import SecureSettings
from sottovoce.data.settings import DataSettings, require_scrub
from sottovoce.errors import ConfigError
from sottovoce.model.base import ModelSettings
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.strategies.personal import Ditto
from sottovoce.strategies.protected import require_protected
from sottovoce.strategies.secured import require_secured
from sottovoce.strategies.settings import FederationSettings, with_fixed_settings
from sottovoce.train import TrainSettings

MARKETPLACE = "marketplace"
"""The value of ``data.path`` that stands for the generated marketplace of the demo."""


class RunSettings(BaseModel, frozen=True, extra="forbid"):
    """Where a run lives and how it is watched; the section ``[run]``.

    Args:
        dir: the run folder; by default ``runs/`` and the configuration's name.
        threads: threads for the arithmetic; part of the configuration because sums depend on it.
        evaluate_every: rounds between two evaluations on the held-out conversations; the last
            round is always evaluated.
        evaluate_clients: how many clients are evaluated, drawn once from the seed; None takes all.
    """

    dir: str = ""
    threads: int = Field(2, ge=1)
    evaluate_every: int = Field(1, ge=1)
    evaluate_clients: int | None = Field(None, ge=1)


class CompareSettings(BaseModel, frozen=True, extra="forbid"):
    """The arms beside the federation; the section ``[compare]``, used with ``--compare``.

    Args:
        learning_rates: a grid on which every arm is tuned on one half of the held-out
            conversations; what is reported comes from the other half. Empty: nothing is tuned.
        local_learning_rate: for clients that train alone; None takes ``train.learning_rate``.
        centralised_learning_rate: for training on the union; None takes ``train.learning_rate``.
        train: the recipe of the arms that don't federate, whole, where ``[train]`` is made for
            noise and would make them look worse than they are. How much is read stays that of
            ``[train]``.
    """

    learning_rates: tuple[float, ...] = ()
    local_learning_rate: float | None = Field(None, gt=0)
    centralised_learning_rate: float | None = Field(None, gt=0)
    train: TrainSettings | None = None


class EvaluateSettings(BaseModel, frozen=True, extra="forbid"):
    """How ``sotto eval`` scores; the section ``[evaluate]``.

    Args:
        answers_per_client: held-out answers that are generated and scored for each client.
        max_new_tokens: the longest generated answer.
        resamples: bootstrap resamples behind each interval.
    """

    answers_per_client: int = Field(16, ge=0)
    max_new_tokens: int = Field(160, ge=1)
    resamples: int = Field(1000, ge=1)


class NetworkSettings(BaseModel, frozen=True, extra="forbid"):
    """A federation across machines; the section ``[network]``, which ``sotto run`` does not read.

    Args:
        address: host and port that the server listens on.
        roster: every site's name, with the line that ``sotto enrol`` printed there.
        helpers: the same of every helper, with ``secure.aggregation = "helpers"``.
        identity: the server's own key, as ``sotto certs`` or ``sotto enrol --server`` makes it.
        certificate: the server's TLS certificate in PEM.
        key: its private key.
        ca: who signed it, where that is no authority that everybody knows.
        insecure: plain HTTP; on the loopback alone.
        round_deadline_s: seconds without an answer, and without progress on it, after which a round
            goes on without a site. ``federation.minimum_clients`` says how many have to be left.
        limit_bytes: the largest letter that is read.
        metrics_port: where counters for Prometheus are served, on the loopback; None serves none.
        name_sites: whether counters carry the names of sites.
    """

    address: str = "127.0.0.1:9092"
    roster: dict[str, str] = Field(min_length=2)
    helpers: dict[str, str] = {}
    identity: str = "server-identity.key"
    certificate: str | None = None
    key: str | None = None
    ca: str | None = None
    insecure: bool = False
    round_deadline_s: float = Field(600.0, gt=0)
    limit_bytes: int = Field(2**30, ge=2**16)
    metrics_port: int | None = Field(None, ge=1, le=65535)
    name_sites: bool = False


class Config(BaseModel, frozen=True, extra="forbid"):
    """A federation, from private text to adapter."""

    seed: int = 0
    task: Literal["chat", "pretrain"] = "chat"
    run: RunSettings = RunSettings()
    data: DataSettings
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    federation: FederationSettings = FederationSettings()
    privacy: PrivacySettings
    secure: SecureSettings = SecureSettings()
    compare: CompareSettings = CompareSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    network: NetworkSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _fix_recipe(cls, tree: object) -> object:
        """Write the settings that an algorithm fixes into the recipe, unless others were asked for."""
        return with_fixed_settings(tree) if isinstance(tree, dict) else tree

    @model_validator(mode="after")
    def _agree(self) -> Config:
        _require_fitting(self.federation, self.train, self.model)
        require_protected(self.privacy, self.federation, task=self.task)
        require_secured(self.secure, self.federation, self.privacy, self.train)
        if self.privacy.unit != "none" and self.compare.learning_rates:
            raise ValueError(
                "compare.learning_rates tunes on the text that privacy.unit = "
                f'"{self.privacy.unit}" protects, which no epsilon covers; remove it'
            )
        _require_equal_reading(self.compare, self.train)
        if (self.data.format == "text") != (self.task == "pretrain"):
            raise ValueError(
                f'task is "{self.task}" and data.format is "{self.data.format}"; '
                'plain text goes with task = "pretrain", conversations with task = "chat"'
            )
        drawn = self.data.clients in ("iid", "dirichlet")
        if drawn and self.federation.clients is None:
            raise ValueError(
                f'data.clients is "{self.data.clients}", so federation.clients must say how many'
            )
        if not drawn and self.federation.clients is not None:
            raise ValueError(
                f"federation.clients is {self.federation.clients}, but data.clients is "
                f'"{self.data.clients}", which names the clients; remove one of them'
            )
        if self.data.path != MARKETPLACE and self.network is None:
            require_scrub(self.data)
        return self


_READING = ("batch_size", "steps_per_round", "epochs_per_round", "max_length")
"""The settings that decide what is read and how often, the same in every arm of a comparison."""


def _require_equal_reading(compare: CompareSettings, train: TrainSettings) -> None:
    """Refuse a recipe by which the other arms would read more or less than the federation."""
    if compare.train is None:
        return
    for name in _READING:
        other, own = getattr(compare.train, name), getattr(train, name)
        if other != own:
            raise ValueError(
                f"compare.train.{name} is {other} and train.{name} is {own}; write the same, so "
                "that all arms read the same conversations equally often"
            )


def _require_fitting(
    federation: FederationSettings, train: TrainSettings, model: ModelSettings
) -> None:
    """Refuse an algorithm whose lines do not hold for the recipe or the model.

    Raises:
        ValueError: what was seen, and what to write in its place.
    """
    name, algorithm = federation.strategy.name, federation.strategy.algorithm
    if algorithm.needs_sgd and train.optimizer != "sgd":
        raise ValueError(
            f'{name} is derived for SGD and train.optimizer is "{train.optimizer}"; set '
            'train.optimizer = "sgd", or take fedavg or fedprox'
        )
    if name == "scaffold" and train.momentum:
        raise ValueError(
            f"scaffold reads the mean gradient from plain steps, and train.momentum is "
            f"{train.momentum}; set it to 0"
        )
    if algorithm.needs_lora and model.train != "lora":
        raise ValueError(
            f'{name} is about the factors of an adapter and model.train is "{model.train}"; '
            'set model.train = "lora", or take fedavg'
        )
    if algorithm.expand is not None and model.dtype != "float32":
        raise ValueError(
            f"{name} adds small changes to the base model's weights, and model.dtype is "
            f'"{model.dtype}", where they would vanish; set model.dtype = "float32"'
        )
    if federation.asynchronous and not algorithm.joins_late:
        raise ValueError(
            f"{name} needs every update to be to the newest weights; remove "
            "federation.asynchronous, or take fedavg, fedprox, fednova, ffa or fedsa"
        )
    if federation.asynchronous and federation.minimum_clients > federation.asynchronous.buffer:
        raise ValueError(
            f"federation.minimum_clients is {federation.minimum_clients}, more than the "
            f"{federation.asynchronous.buffer} of federation.asynchronous.buffer; lower it"
        )
    if algorithm.renews_factors and train.optimizer_state == "keep":
        raise ValueError(
            f"{name} gives every client new factors in every round, and train.optimizer_state is "
            '"keep", whose moments belong to the old ones; set it to "reset"'
        )
    if algorithm.expand is not None and isinstance(federation.personal, Ditto):
        raise ValueError(
            f"{name} changes the base model in every round, under the feet of Ditto's personal "
            'models; take federation.personal = "finetune", or fedavg'
        )
    if federation.asynchronous and federation.clients_per_round is not None:
        raise ValueError(
            "federation.asynchronous.concurrency says how many clients train at a time; remove "
            "federation.clients_per_round"
        )
    if federation.asynchronous and federation.stragglers:
        raise ValueError(
            "nobody waits in asynchronous rounds, so there are no stragglers; remove one of "
            "federation.asynchronous and federation.stragglers"
        )
    _require_fitting_devices(federation, model)


def _require_fitting_devices(federation: FederationSettings, model: ModelSettings) -> None:
    algorithm = federation.strategy.algorithm
    for name, device in federation.devices.items():
        place = f"federation.devices.{name}"
        if device.rank is not None and model.train != "lora":
            raise ValueError(f"{place}.rank is {device.rank}, but this run trains no adapter")
        if device.rank is not None and device.rank > model.lora.rank:
            raise ValueError(
                f"{place}.rank is {device.rank}; at most {model.lora.rank}, "
                "which is model.lora.rank"
            )
        if device.rank is not None and not algorithm.any_rank:
            raise ValueError(
                f"{place}.rank is {device.rank}, but {federation.strategy.name} needs equal "
                "ranks; remove it, or take flora, fedavg, ffa, rolora or fedsa"
            )
        if device.steps_per_round is not None and "steps_per_round" in algorithm.fixes:
            raise ValueError(
                f"{place}.steps_per_round is {device.steps_per_round}, but "
                f"{federation.strategy.name} takes one step; remove it"
            )
    shares = sum(device.share or 0.0 for device in federation.devices.values())
    if shares > 1 + 1e-9:
        raise ValueError(f"the shares of federation.devices add up to {shares:g}; at most 1")


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file, apply overrides, and check the whole.

    Args:
        path: a TOML file.
        overrides: ``"section.key=value"``, where the value is TOML or a bare string.

    Raises:
        ConfigError: the file, a key or a value cannot be used; the nearest valid name is given.
    """
    tree = _read_toml(path)
    for override in overrides:
        _set(tree, override)
    run = tree.setdefault("run", {})
    if isinstance(run, dict) and not run.get("dir"):
        run["dir"] = f"runs/{path.stem}"
    _resolve_paths(tree, path.parent)
    return make_config(tree, place=str(path))


def make_config(tree: Mapping[str, Any], *, place: str) -> Config:
    """Check a tree of settings; ``place`` names it in errors."""
    try:
        return Config.model_validate(dict(tree))
    except ValidationError as error:
        raise _explain(error, place) from None


def write_config(config: Config) -> bytes:
    """The resolved configuration as TOML that ``load_config`` reads back to the same value."""
    return tomli_w.dumps(_without_none(config.model_dump(mode="json"))).encode()


def _resolve_paths(tree: dict[str, Any], folder: Path) -> None:
    """Make data and model paths absolute: they are meant relative to the configuration's folder."""
    data, model = tree.get("data"), tree.get("model")
    if isinstance(data, dict) and (paths := data.get("path")) not in (None, MARKETPLACE):
        several = [paths] if isinstance(paths, str) else paths
        if isinstance(several, list) and all(isinstance(one, str) for one in several):
            resolved = [str((folder / Path(one).expanduser()).absolute()) for one in several]
            data["path"] = resolved[0] if isinstance(paths, str) else resolved
    if isinstance(data, dict) and data.get("scrub") == "pseudonym":
        own = Path(str(data.get("scrub_key", "scrub.key"))).expanduser()
        data["scrub_key"] = str((folder / own).absolute())
    privacy = tree.get("privacy")
    if isinstance(privacy, dict) and isinstance(policy := privacy.get("policy"), str):
        privacy["policy"] = str((folder / Path(policy).expanduser()).absolute())
    network = tree.get("network")
    for key in ("identity", "certificate", "key", "ca"):
        if isinstance(network, dict) and isinstance(place := network.get(key), str):
            network[key] = str((folder / Path(place).expanduser()).absolute())
    if isinstance(model, dict) and isinstance(name := model.get("path"), str):
        inner = folder / Path(name).expanduser()
        if name != "tiny" and inner.is_dir():
            model["path"] = str(inner.absolute())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration {path}", remedy="Make one with: sotto init DIR"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _set(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set {override!r} is no assignment", allowed="--set section.key=value")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for name in names[:-1]:
        inner = tree.setdefault(name, {})
        if isinstance(inner, str) and name == "strategy":
            inner = tree[name] = {"name": inner}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {name} is a value, not a section")
        tree = inner
    tree[names[-1]] = value


_TAGS = {"fixed", "adaptive"}
"""What tells the two forms of a clip norm apart; nobody writes it as part of a key."""


def _explain(error: ValidationError, place: str) -> ConfigError:
    """Turn the first fault into a sentence with what was seen and what is allowed."""
    fault = error.errors()[0]
    parts = [str(part) for part in fault["loc"]]
    names, fields = _locate(p for p in parts if not p.startswith("function-") and p not in _TAGS)
    key = ".".join(names)
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(names[-1], fields, n=1) or _anywhere(names[-1])
        return ConfigError(
            f"{place}: there is no key {key}",
            allowed=", ".join(sorted(fields)),
            remedy=f"Did you mean {close[0]}?" if close else "",
        )
    if fault["type"] == "missing":
        if names[:1] == ["privacy"]:
            return ConfigError(
                f"{place}: privacy.unit is missing; it has no default",
                allowed='[privacy] with unit = "client", "owner", "example" or "none"',
                remedy="Write it out, so that nobody mistakes a run for a private one",
            )
        return ConfigError(f"{place}: {key} is missing")
    if fault["type"] == "union_tag_invalid":
        known = fault["ctx"]["expected_tags"].replace("'", "")
        seen = fault["ctx"]["tag"]
        close = difflib.get_close_matches(seen, known.split(", "), n=1)
        return ConfigError(
            f"{place}: {key} is {seen!r}",
            allowed=known,
            remedy=f"Did you mean {close[0]}?" if close else "",
        )
    if fault["type"] == "union_tag_not_found":
        return ConfigError(f"{place}: {key}.name is missing", remedy="Say which kind it is")
    message = fault["msg"].removeprefix("Value error, ")
    where = f"{key} is {fault['input']!r}: " if key and not isinstance(fault["input"], dict) else ""
    return ConfigError(f"{place}: {where}{message}")


def _locate(parts: Iterable[str]) -> tuple[list[str], list[str]]:
    """The key that a fault's location stands for, and the keys that its section may have.

    Where a section is one of several kinds, the location holds the kind's name too, which nobody
    wrote as part of the key.
    """
    names: list[str] = []
    fields: list[str] = []
    inner: Any = Config
    for part in parts:
        kinds = {
            name: kind
            for kind in _members(inner)
            if "name" in getattr(kind, "model_fields", {})
            for name in get_args(kind.model_fields["name"].annotation)
        }
        if part in kinds:
            inner = kinds[part]
            continue
        forms = [inner, *_members(inner)]
        known: dict[str, Any] = next(
            (one.model_fields for one in forms if hasattr(one, "model_fields")), {}
        )
        names.append(part)
        fields = list(known)
        inner = known[part].annotation if part in known else None
    return names, fields


def _members(annotation: Any) -> list[Any]:
    """What a union is made of, however deep it is nested."""
    inner = get_args(annotation)
    return [one for part in inner for one in _members(part)] if inner else [annotation]


def _anywhere(name: str) -> list[str]:
    """The full key nearest to ``name`` in any section."""
    keys = {
        inner: f"{outer}.{inner}"
        for outer, field in Config.model_fields.items()
        for inner in getattr(field.annotation, "model_fields", {})
    }
    return [keys[close] for close in difflib.get_close_matches(name, list(keys), n=1, cutoff=0.8)]


def _without_none(tree: Any) -> Any:
    """TOML has no null: a key that is None is left out, and its default is None."""
    if isinstance(tree, dict):
        return {name: _without_none(value) for name, value in tree.items() if value is not None}
    return tree
