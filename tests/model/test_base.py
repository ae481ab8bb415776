"""Loading a base model: what is accepted, what is refused, and what is silenced."""

from dataclasses import replace

import pytest
import torch

from sottovoce.errors import MissingExtraError, ModelError
from sottovoce.model import base as bases
from sottovoce.model.base import (
    ModelSettings,
    checkpoint_activations,
    fingerprint,
    load_base,
    wrap_base,
)


@pytest.fixture
def folder(tiny, tmp_path):
    tiny("llama").save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_is_loaded_in_the_stated_precision_and_frozen(dtype, folder, tiny):
    base = load_base(ModelSettings(path=str(folder), dtype=dtype))
    wanted = tiny("llama").to(getattr(torch, dtype)).state_dict()
    held = base.model.state_dict()
    assert set(held) == set(wanted)
    assert all(torch.equal(held[name], value) for name, value in wanted.items())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.path == str(folder)
    assert base.device == torch.device("cpu")


def test_full_training_thaws_every_parameter(folder):
    base = load_base(ModelSettings(path=str(folder), train="full"))
    assert all(parameter.requires_grad for parameter in base.model.parameters())


def test_hidden_states_times_head_are_the_models_logits(tiny):
    for name in ("llama", "gemma2", "gpt2"):
        model = tiny(name)
        base = wrap_base(model, name)
        tokens = torch.arange(2, 20).view(2, 9)
        with torch.no_grad():
            ours = base.head.logits(base.hidden(tokens).flatten(0, 1))
            theirs = model.eval()(input_ids=tokens).logits.flatten(0, 1)
        torch.testing.assert_close(ours, theirs)


def test_a_name_that_is_no_folder_is_not_looked_for_on_a_hub():
    with pytest.raises(ModelError, match="neither a folder nor a model that was downloaded"):
        load_base(ModelSettings(path="someone/some-model"))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="could not be loaded as a causal language model"):
        load_base(ModelSettings(path=str(tmp_path)))


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not be loaded"):
        load_base(ModelSettings(path=str(folder)))


def test_weights_that_are_cut_off_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="could not be loaded"):
        load_base(ModelSettings(path=str(folder)))


def test_weights_that_lack_a_tensor_are_refused(folder):
    """Filled up with random numbers, as transformers does, the model would train on noise."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        load_base(ModelSettings(path=str(folder)))


def test_a_model_that_is_no_causal_language_model_is_refused(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    small = T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(small).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="could not be loaded as a causal language model"):
        load_base(ModelSettings(path=str(tmp_path)))


@pytest.mark.parametrize("device", ["cuda", "nonsense"])
def test_a_device_that_is_not_here_is_refused(device, folder):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has such a device")
    with pytest.raises(ModelError, match=f"model.device is '{device}'"):
        load_base(ModelSettings(path=str(folder), device=device))


def test_four_bits_need_their_package(folder, monkeypatch):
    monkeypatch.setattr(bases, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="bitsandbytes"):
        load_base(ModelSettings(path=str(folder), dtype="4bit"))


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("gpt2", ["resid_pdrop", "embd_pdrop", "attn_pdrop"]),
        ("llama", ["attention_dropout"]),
        ("phi3", ["resid_pdrop", "embd_pdrop", "attention_dropout"]),
        ("mixtral", ["router_jitter_noise"]),
        ("starcoder2", ["residual_dropout", "embedding_dropout", "attention_dropout"]),
    ],
)
def test_trap_4_no_dropout_is_left_wherever_an_architecture_keeps_it(name, rates, tiny):
    """In training mode, which recomputing activations needs, the model computes as in evaluation."""
    model = tiny(name, **dict.fromkeys(rates, 0.5))
    tokens = torch.arange(2, 20).view(2, 9)
    with torch.no_grad():
        assert not torch.equal(*(model.train()(input_ids=tokens).logits for _ in range(2)))
        still = model.eval()(input_ids=tokens).logits
        base = wrap_base(model, name)
        assert base.model.training
        assert torch.equal(base.model(input_ids=tokens).logits, still)


def test_the_fingerprint_sees_every_weight_and_nothing_else(tiny):
    model = tiny("llama")
    base = wrap_base(model, "here")
    first = fingerprint(base)
    assert first == fingerprint(wrap_base(tiny("llama"), "elsewhere"))
    for parameter in model.parameters():
        before = parameter.data.flatten()[-1].clone()
        parameter.data.view(-1)[-1] += 1
        assert fingerprint(base) != first
        parameter.data.view(-1)[-1] = before
    assert fingerprint(base) == first


def test_the_fingerprint_reads_bfloat16_and_single_numbers(tiny):
    model = tiny("llama", dtype=torch.bfloat16)
    model.register_buffer("counter", torch.tensor(3))
    base = wrap_base(model, "llama")
    first = fingerprint(base)
    model.counter += 1
    assert fingerprint(base) != first


def test_the_fingerprint_tells_shapes_types_and_names_of_equal_bytes_apart(tiny):
    base = wrap_base(tiny("llama"), "llama")
    buffers = [
        ("a", torch.zeros(2, 3)), ("a", torch.zeros(3, 2)), ("b", torch.zeros(2, 3)),
        ("a", torch.zeros(2, 3, dtype=torch.int32)),
    ]  # fmt: skip
    seen = set()
    for name, value in buffers:
        holder = torch.nn.Module()
        holder.register_buffer(name, value)
        seen.add(fingerprint(replace(base, model=holder)))
    assert len(seen) == len(buffers)


def test_an_architecture_without_recomputation_says_so(tiny):
    base = wrap_base(tiny("llama"), "llama")
    base.model.supports_gradient_checkpointing = False
    with pytest.raises(ModelError, match=r"train\.gradient_checkpointing = false"):
        checkpoint_activations(base)
