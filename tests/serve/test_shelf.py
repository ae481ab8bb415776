"""Names and adapters: each name has the very model of its run, and nothing that was altered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.base import LoraSettings
from sottovoce.run.finished import Finished, open_run
from sottovoce.serve.shelf import Shelf, joint_settings, laid_out, open_shelf, read_runs
from sottovoce.update import Layout

TOKENS = torch.tensor([[5, 9, 200, 31, 7, 8]])


@pytest.fixture(scope="module")
def both(shops: Path, narrow: Path) -> Shelf:
    return open_shelf(read_runs([shops, narrow]))


def logits_of(shelf: Shelf, name: str) -> torch.Tensor:
    with torch.no_grad(), shelf.model.applied_to_rows(shelf.adapter(name)[None]):
        return shelf.model.base.model(input_ids=TOKENS).logits


def judged(run: Finished) -> torch.Tensor:
    with torch.no_grad(), run.applied():
        return run.model.base.model(input_ids=TOKENS).logits


def test_every_name_computes_what_its_run_computes(both: Shelf, shops: Path, narrow: Path) -> None:
    assert list(both.entries) == [
        "shops", "shops:base", "shops:north", "shops:south", "narrow", "narrow:base",
    ]  # fmt: skip
    opened = open_run(shops)
    wanted = {
        "shops": judged(opened),
        "shops:base": judged(opened.without_adapter()),
        "shops:north": judged(opened.of_client("north")),
        "shops:south": judged(opened.of_client("south")),
        "narrow": judged(open_run(narrow)),
    }
    for name, logits in wanted.items():
        torch.testing.assert_close(logits_of(both, name), logits, rtol=1e-4, atol=1e-4)
    apart = [float((logits - wanted["shops:base"]).abs().max()) for logits in wanted.values()]
    assert min(apart[:1] + apart[2:]) > 1e-2, "each adapter says something of its own"


def test_one_run_alone_has_the_bits_of_its_run(shops: Path) -> None:
    shelf, run = open_shelf(read_runs([shops])), open_run(shops)
    assert run.weights is not None
    np.testing.assert_array_equal(shelf.adapter("shops").numpy(), run.weights)
    assert shelf.positions == 1024


def test_a_personal_adapter_is_read_once_and_checked(both: Shelf, shops: Path) -> None:
    assert both.adapter("shops:north") is both.adapter("shops:north")
    assert both.entries["shops:north"].personal
    assert not both.entries["shops"].personal


def test_few_personal_adapters_are_kept(both: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.serve.shelf._HELD", 1)
    north = both.adapter("shops:north")
    both.adapter("shops:south")
    again = both.adapter("shops:north")
    assert again is not north
    assert torch.equal(again, north)


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def test_what_was_altered_is_not_served(shops: Path, narrow: Path, tmp_path: Path) -> None:
    weights = copied(shops, tmp_path / "a") / "rounds" / "00001.safetensors"
    shutil.copy(shops / "rounds" / "00000.safetensors", weights)
    with pytest.raises(VerificationError, match="not what the ledger says"):
        open_shelf(read_runs([tmp_path / "a"]))
    own = copied(shops, tmp_path / "b") / "personal"
    shutil.copy(own / "00001.safetensors", own / "00000.safetensors")
    shelf = open_shelf(read_runs([tmp_path / "b"]))
    with pytest.raises(VerificationError, match="not what the ledger says"):
        shelf.adapter("b:north")
    assert shelf.adapter("b:south") is not None


def test_runs_that_cannot_share_are_refused(shops: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two models would be called 'shops'"):
        open_shelf(read_runs([shops, shops]))
    other = copied(shops, tmp_path / "other") / "config.toml"
    text = other.read_text(encoding="utf-8")
    assert 'dtype = "float32"' in text
    other.write_text(text.replace('dtype = "float32"', 'dtype = "bfloat16"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"other base models.*bfloat16.*by itself"):
        open_shelf(read_runs([shops, tmp_path / "other"]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["federation.strategy=fedex"], r"changed the base model \(fedex does\).*--to merged"),
        (["model.train=full"], r"trained all parameters.*--to merged"),
    ],
    ids=["fedex", "full"],
)
def test_a_run_without_one_adapter_is_refused_with_the_way_out(
    train_run: Callable[..., Path], changes: list[str], said: str
) -> None:
    run = train_run(changes[0].rpartition("=")[2], *changes)
    with pytest.raises(ConfigError, match=said):
        open_shelf(read_runs([run]))


def test_a_row_with_room_holds_the_same_product() -> None:
    wide = Layout({"m.lora_A.weight": (4, 6), "m.lora_B.weight": (5, 4), "n.lora_A.weight": (4, 2)})
    rng = np.random.Generator(np.random.Philox(3))
    a, b = rng.normal(size=(2, 6)), rng.normal(size=(5, 2))
    tensors = {"m.lora_A.weight": a.astype(np.float32), "m.lora_B.weight": b.astype(np.float32)}
    row = laid_out(tensors, wide, factor=1.5)
    large_a, large_b = row[:24].reshape(4, 6), row[24:44].reshape(5, 4)
    np.testing.assert_allclose(large_b @ large_a, 1.5 * b @ a, rtol=1e-5)
    assert not row[44:].any()
    with pytest.raises(VerificationError, match=r"m\.lora_A"):
        laid_out({"m.lora_A.weight": np.zeros((5, 6), np.float32)}, wide, factor=1.0)
    with pytest.raises(VerificationError, match=r"x\.lora_A"):
        laid_out({"x.lora_A.weight": np.zeros((1, 1), np.float32)}, wide, factor=1.0)


def test_the_joint_adapter_is_the_smallest_that_all_fit_into() -> None:
    small = LoraSettings(rank=2, alpha=3, targets=("q_proj",))
    assert joint_settings([small, small]) is small
    large = joint_settings([small, LoraSettings(rank=5, targets=("v_proj", "q_proj"))])
    assert (large.rank, large.scaling, large.targets) == (5, 1.0, ("q_proj", "v_proj"))
    assert joint_settings([small, LoraSettings(rank=1)]).targets == "all-linear"
