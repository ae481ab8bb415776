"""Adapter folders: what is written can be read, by us and by peft, and nothing is half-written."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch

from sottovoce.errors import ModelError, UsageError, VerificationError
from sottovoce.model.base import LoraSettings
from sottovoce.model.peft_format import adapter_tensors, read_peft, write_merged, write_peft

LORA = LoraSettings(rank=3, alpha=7.5, targets=("q_proj", "down_proj"))


@pytest.fixture
def written(attach, random_row, tmp_path):
    model = attach("llama", LORA)
    row = random_row(model)
    write_peft(adapter_tensors(row, model), model, tmp_path / "adapter")
    return model, row, tmp_path / "adapter"


def test_reading_is_the_inverse_of_writing(written, tiny):
    from sottovoce.model.adapters import LoraModel
    from sottovoce.model.base import wrap_base
    from sottovoce.update import flatten

    model, row, folder = written
    tensors, settings = read_peft(folder)
    again = LoraModel(wrap_base(tiny("llama"), "llama"), settings)
    assert again.layout == model.layout
    assert settings.scaling == LORA.scaling
    assert (flatten(tensors, again.layout) == row).all()


def test_what_peft_writes_is_read(tiny, with_peft, attach, random_row, tmp_path):
    model = attach("llama", LORA)
    row = random_row(model)
    judge, _ = with_peft(tiny("llama"), LORA, row, model.layout)
    judge.save_pretrained(tmp_path)
    tensors, settings = read_peft(tmp_path)
    assert (settings.rank, settings.alpha) == (3, 7.5)
    for name, value in adapter_tensors(row, model).items():
        assert (tensors[name] == value).all()


def test_the_folder_holds_two_files_and_the_configuration_no_surprise(written):
    _, _, folder = written
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "llama"
    assert config["target_modules"] == [
        f"model.layers.{layer}.{name}" for layer in (0, 1) for name in ("mlp.down_proj", "self_attn.q_proj")
    ]  # fmt: skip
    assert all(
        value.dtype == np.float32
        for value in load_file(folder / "adapter_model.safetensors").values()
    )


def test_tensors_that_are_not_the_adapters_are_refused_and_nothing_is_written(written, tmp_path):
    model, row, _ = written
    tensors = dict(adapter_tensors(row, model))
    tensors.popitem()
    with pytest.raises(VerificationError, match="lack"):
        write_peft(tensors, model, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_failed_export_leaves_no_file_behind(written, tmp_path):
    model, row, folder = written

    def fail(path):
        raise OSError("disk full")

    for target in (tmp_path / "new", folder):
        before = sorted(p.name for p in target.iterdir()) if target.exists() else []
        with pytest.raises(OSError, match="disk full"):
            write_merged(row, model, target, fail)
        assert sorted(p.name for p in target.iterdir()) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_export_onto_a_file_is_refused(written, tmp_path):
    model, row, _ = written
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write_peft(adapter_tensors(row, model), model, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        read_peft(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 2}},
        {"alpha_pattern": {"q_proj": 2}},
        {"target_modules": "all-linear"},
        {"target_modules": ".*q_proj"},
        {"peft_type": "IA3"},
    ],
    ids=str,
)
def test_an_adapter_that_means_something_else_is_refused(changes, written):
    """Read without a word, each of these would compute other logits than peft does."""
    _, _, folder = written
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=next(iter(changes))):
        read_peft(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"r": 0}'])
def test_a_broken_configuration_is_refused(text, written):
    _, _, folder = written
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        read_peft(folder)


def test_merging_keeps_the_precision_of_the_base(attach, random_row, tmp_path):
    from transformers import AutoModelForCausalLM

    model = attach("gpt2", LoraSettings(rank=3), dtype=torch.bfloat16)
    row = random_row(model)
    write_merged(row, model, tmp_path, lambda folder: None)
    stored = load_torch(tmp_path / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    name = model.targets[0]
    a, b = (
        v
        for k, v in adapter_tensors(row, model).items()
        if k.startswith(f"base_model.model.{name}.")
    )
    base = model.base.model.get_submodule(name).base.weight.detach().float().numpy()
    wanted = torch.from_numpy(base + model.settings.scaling * (b @ a).T).bfloat16()
    torch.testing.assert_close(loaded.get_submodule(name).weight.detach(), wanted)


def test_an_adapter_file_without_numbers_of_ours_is_kept_apart(written):
    """A foreign tensor in the file does not pass for the adapter's."""
    model, _, folder = written
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(tensors | {"x": np.zeros(1, np.float32)}, folder / "adapter_model.safetensors")
    tensors, _ = read_peft(folder)
    with pytest.raises(VerificationError):
        model.layout.check(tensors)


def test_shards_of_an_earlier_export_do_not_stay_beside_the_new_weights(written, tmp_path):
    """A loader that finds an index or more shards would read them."""
    model, row, _ = written
    others = {"notes.txt", "adapter_model-00001-of-00002.safetensors", "other.safetensors"}
    shards = {"model-00001-of-00002.safetensors", "model.safetensors.index.json"}
    for name in shards | others:
        (tmp_path / name).write_text("stale")
    write_merged(row, model, tmp_path, lambda folder: None)
    left = {path.name for path in tmp_path.iterdir()}
    assert "model.safetensors" in left
    assert left & (shards | others) == others
