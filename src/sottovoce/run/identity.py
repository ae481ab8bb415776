"""What makes two runs the same run: configuration, data, base model and package versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import sottovoce
from sottovoce.config import Config, load_config
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.base import fingerprint
from sottovoce.run.claims import planned, planned_of
from sottovoce.run.folder import RunFolder
from sottovoce.run.ledger import Record
from sottovoce.run.prepare import Prepared

PACKAGES = ("numpy", "tokenizers", "torch", "transformers")
"""Packages whose version may change a result."""

LOADED = "loaded"
"""What was read, skipped and taken out of the data, as rows of a table; the first is the header."""


def packages() -> dict[str, str]:
    """The versions of packages that may change a result."""
    return {name: version(name).partition("+")[0] for name in PACKAGES}


def facts(prepared: Prepared, folder: RunFolder, weights_sha256: str) -> dict[str, Any]:
    """What the first record of the ledger says about the run."""
    config = prepared.config
    # Under a plan such numbers depend on what is protected; the units of plans are public. Under
    # secure sums they are a client's own affair.
    own = bool(prepared.plans.plans) or config.secure.aggregation != "none"
    return {
        "sottovoce": sottovoce.__version__,
        "packages": packages(),
        "config_sha256": sha256(folder.config.read_bytes()).hexdigest(),
        "data_sha256": prepared.data_sha256,
        "model_sha256": fingerprint(prepared.model.base),
        "tokenizer_sha256": prepared.tokenizer.fingerprint,
        "weights_sha256": weights_sha256,
        "parameters": prepared.model.layout.size,
        "clients": [party.name for party in prepared.parties],
        "examples": [] if own else [len(party.train) for party in prepared.parties],
        LOADED: [] if own else [list(row) for row in prepared.table],
        "plans": {
            name: {
                "units": plan.units,
                "expected_units": plan.expected_units,
                "releases": plan.releases,
                "noise_multiplier": plan.noise_multiplier,
                "sampling_probability": plan.sampling_probability,
                "delta": plan.delta,
                **planned_of(prepared.plans, name),
            }
            for name, plan in prepared.plans.plans.items()
        },
        # Where plans follow from who else takes part, there is nothing to claim yet.
        "claim": planned(prepared.plans)
        if prepared.plans.settings.unit == config.privacy.unit
        else None,
        "privacy": config.privacy.model_dump(),
        "secure": config.secure.model_dump(),
        "threads": config.run.threads,
    }


def require_same_config(config: Config, folder: RunFolder) -> None:
    """Refuse a configuration other than the run's own; how machines reach each other may change.

    Raises:
        ConfigError: with the first keys that differ, and both values.
    """
    began = load_config(folder.config).model_copy(update={"network": None})
    now = config.model_copy(update={"network": None})
    if began == now:
        return
    keys = [
        f"{key} is {after!r} and was {before!r}" for key, before, after in _differences(began, now)
    ]
    raise ConfigError(
        f"the configuration differs from the one that {folder.root} was started with: "
        + "; ".join(keys[:4]),
        remedy="Resume with the same configuration, or choose another run.dir",
    )


def _differences(began: Config, now: Config) -> Iterator[tuple[str, object, object]]:
    before, after = (
        dict(_leaves(began.model_dump(mode="json"))),
        dict(_leaves(now.model_dump(mode="json"))),
    )
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield key, before.get(key), after.get(key)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def require_same_start(prepared: Prepared, folder: RunFolder, record: Record) -> None:
    """Refuse data, a base model or packages other than those that the run was started with.

    Raises:
        VerificationError: with what differs, and both values.
    """
    began = dict(_leaves(record.payload))
    now = facts(prepared, folder, str(began.get("weights_sha256")))
    for name, value in _leaves(now):
        # The same data may lie elsewhere by now.
        if name != LOADED and began.get(name) != value:
            raise VerificationError(
                f"{name} is {value!r}, and the run was started with {began.get(name)!r}",
                remedy="Resume with the same data, model and packages, or start another run",
            )
