"""A base model held in four bits: its judge is the same model with the weights unpacked."""

import numpy as np
import pytest
import torch

from sottovoce.errors import ModelError
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import LoraSettings, ModelSettings, load_base
from sottovoce.model.peft_format import adapter_tensors, read_peft, write_merged, write_peft
from sottovoce.train import Round, TrainSettings, collate, train
from sottovoce.update import flatten

functional = pytest.importorskip(
    "bitsandbytes.functional", reason="four bits need the extra sottovoce[quantised]"
)
LORA = LoraSettings(rank=3, alpha=12)


@pytest.fixture(scope="module")
def quantised():
    return LoraModel(load_base(ModelSettings(path="tiny", dtype="4bit")), LORA)


@pytest.fixture(scope="module")
def unpacked(quantised):
    """The base model in bfloat16 with the very weights that the four bits stand for."""
    model = LoraModel(load_base(ModelSettings(path="tiny", dtype="bfloat16")), LORA)
    with torch.no_grad():
        for name in quantised.targets:
            packed = quantised.base.model.get_submodule(name).base.weight
            plain = functional.dequantize_4bit(packed.data, packed.quant_state)
            model.base.model.get_submodule(name).base.weight.copy_(plain)
    return model


@pytest.fixture(scope="module")
def batch(make_client):
    clients = [make_client("oslo", [12, 9]), make_client("rome", [7, 11])]
    return collate([client.examples for client in clients], [0.1, 0.2])


def test_the_weights_of_the_layers_take_four_bits(quantised):
    layer = quantised.base.model.get_submodule(quantised.targets[0]).base
    assert layer.weight.numel() * layer.weight.element_size() * 2 == (
        layer.in_features * layer.out_features
    )


def test_gradients_are_those_of_the_unpacked_weights(quantised, unpacked, random_row, batch):
    rows = torch.from_numpy(np.stack([random_row(quantised, 1), random_row(quantised, 2)]))
    found = []
    for model in (quantised, unpacked):
        out = torch.zeros(2, 1, model.layout.size)
        nll = model.gradients(rows, batch, out)
        found.append((nll, out))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0.01, atol=0.01)
    for client in range(2):
        ours, theirs = found[0][1][client, 0], found[1][1][client, 0]
        # Rounding in bfloat16 leaves a few hundredths; another client, or no adapter, most of it.
        assert (ours - theirs).norm() < 0.1 * theirs.norm()
        assert (ours - found[1][1][1 - client, 0]).norm() > 0.5 * theirs.norm()


def test_a_round_lowers_the_loss_and_leaves_the_base_as_it_was(quantised, make_client):
    client = make_client("lyon", [20, 14, 9, 17])
    before = quantised.base.model.get_submodule(quantised.targets[3]).base.weight.clone()
    row = quantised.initial(0)
    losses = []
    for index in range(4):
        recipe = TrainSettings(learning_rate=0.01, batch_size=4, warmup_fraction=0.0)
        where = Round(index, 4, 0)
        ((update, _),) = train(quantised, [client], {"lyon": row}, recipe, where)
        losses.append(update.loss)
        row = row + flatten(update.tensors, quantised.layout)
    assert losses[-1] < losses[0] - 0.5
    assert torch.equal(quantised.base.model.get_submodule(quantised.targets[3]).base.weight, before)


def test_the_adapter_is_exported_and_a_merge_is_refused(quantised, random_row, tmp_path):
    row = random_row(quantised)
    write_peft(adapter_tensors(row, quantised), quantised, tmp_path / "adapter")
    tensors, _ = read_peft(tmp_path / "adapter")
    np.testing.assert_array_equal(flatten(tensors, quantised.layout), row)
    with pytest.raises(ModelError, match="held in 4 bits and cannot be merged"):
        write_merged(row, quantised, tmp_path / "merged", lambda folder: None)
    assert not (tmp_path / "merged").exists()
