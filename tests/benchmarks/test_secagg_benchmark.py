"""The comparison of secure sums with Flower's, as far as it runs without Flower."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("secagg", "secagg_flwr", "measuring")
KEYS = (
    "flwr_client_mask_seconds_1m_n10",
    "flwr_round_cpu_seconds_1m_n10",
    "flwr_bytes_per_entry",
    "flwr_share_seconds_t51_n101",
)


@pytest.fixture(scope="module")
def secagg() -> Iterator[ModuleType]:
    """The script, imported as when it is run: its own folder first on the path."""
    if find_spec("peft") is None:
        pytest.skip("the versions beside the figures name peft's; make venv installs it")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import secagg

        yield secagg
        for name in MODULES:
            sys.modules.pop(name, None)


def test_without_the_peers_their_keys_are_null_and_it_says_what_to_do(
    secagg: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secagg, "available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["secagg.py", "--only", "flwr", "--json"])
    secagg.main()
    said = capsys.readouterr()
    told = json.loads(said.out)
    for key in KEYS:
        assert told[key] is None
        assert told[f"{key}_over_ours"] is None
    assert "make bench-peers" in said.err
    assert len(said.err.splitlines()) == 1


class Puppet:
    """What a Flower process would tell; the second turn is an outlier."""

    turns = 0

    def __init__(self, vector: Path) -> None:
        assert np.load(vector).dtype == np.float32
        assert np.linalg.norm(np.load(vector)) == pytest.approx(1, rel=1e-4)

    def measure(self, what: str) -> dict[str, float]:
        if what == "shares":
            return {"seconds": 9.0}
        Puppet.turns += 1
        slow = 100.0 if Puppet.turns == 1 else 1.0
        told = {"seconds": 3 * slow, "masking_seconds": slow, "upload_bytes": 8e6}
        return {**told, "rms_error": self.error}

    def close(self) -> None:
        Puppet.turns = 0

    error = 1e-6


def ours(_: object) -> dict[str, float]:
    return {"client": 0.5, "round": 1.0, "bytes": 2.0, "shares": 0.5}


def test_the_ratios_are_those_of_the_medians_and_first_turns_do_not_count(
    secagg: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secagg, "available", lambda: True)
    monkeypatch.setattr(secagg, "Flower", Puppet)
    monkeypatch.setattr(secagg, "our_turn", ours)
    found = {figure.key: figure.value for figure in secagg.beside_flower(turns=2)}
    values = (1.0, 3.0, 8.0, 9.0)
    assert found == {
        **dict(zip(KEYS, values, strict=True)),
        **{f"{k}_over_ours": r for k, r in zip(KEYS, (2.0, 3.0, 4.0, 18.0), strict=True)},
    }


def test_a_sum_of_flowers_that_is_wrong_counts_for_nothing(
    secagg: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secagg, "available", lambda: True)
    monkeypatch.setattr(secagg, "Flower", Puppet)
    monkeypatch.setattr(Puppet, "error", 0.5)
    monkeypatch.setattr(secagg, "our_turn", ours)
    with pytest.raises(RuntimeError, match=r"mean is off by 0\.5"):
        list(secagg.beside_flower(turns=1))
