"""One small run with personal models, trained once for all tests of serving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def trained(root: Path, name: str, *changes: str) -> Path:
    """A run of one round over two shops; its folder."""
    from sottovoce.config import load_config
    from sottovoce.run.arms import Watch
    from sottovoce.run.compare import federation_only
    from sottovoce.run.init import write_start
    from sottovoce.run.prepare import prepare

    start = root / "start"
    if not start.exists():
        write_start(start)
    settings = [f"run.dir={root / name}", "run.threads=1", "federation.rounds=1", *changes]
    prepared = prepare(load_config(start / "federation.toml", settings))
    federation_only(prepared, watch=Watch)
    return root / name


Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs lie."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def train_run(runs: Path) -> Trained:
    """Train another: ``train_run("name", "federation.strategy=fedex")``."""
    return lambda name, *changes: trained(runs, name, *changes)


@pytest.fixture(scope="session")
def shops(runs: Path) -> Path:
    """A run folder called shops, with own models for north and south."""
    return trained(runs, "shops", "federation.personal=finetune", "train.learning_rate=0.02")


@pytest.fixture(scope="session")
def narrow(runs: Path) -> Path:
    """A run of the same base with a smaller adapter on fewer layers."""
    few = "model.lora={rank = 3, alpha = 12.0, targets = ['q_proj', 'down_proj']}"
    return trained(runs, "narrow", few, "train.learning_rate=0.02")
