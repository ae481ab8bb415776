"""Every proven architecture: attach, train one step, export, load elsewhere, same logits."""

import copy
import json

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sottovoce.errors import ModelError
from sottovoce.model.adapters import find_targets
from sottovoce.model.base import LoraSettings, wrap_base
from sottovoce.model.head import objective
from sottovoce.model.peft_format import adapter_tensors, write_merged, write_peft
from sottovoce.train import Round, TrainSettings, collate, train
from sottovoce.update import flatten, unflatten

LORA = LoraSettings(rank=3, alpha=12)


@pytest.fixture(scope="module")
def tokens():
    return torch.from_numpy(np.random.default_rng(5).integers(2, 200, (3, 17)))


@torch.no_grad()
def logits(model, tokens):
    return model(input_ids=tokens, use_cache=False).logits


@pytest.fixture(scope="module")
def trained(architecture, tiny, attach, random_row, make_client):
    """One architecture after one step: its name, the adapted model and the new row of weights."""
    model = attach(architecture, LORA)
    client = make_client("oslo", [17, 9, 12])
    row = random_row(model)
    recipe = TrainSettings(learning_rate=0.02, batch_size=3, warmup_fraction=0.0)
    ((update, _),) = train(model, [client], {"oslo": row}, recipe, Round(0, 1, 0))
    change = flatten(update.tensors, model.layout)
    assert update.steps == 1
    assert np.abs(change).max() > 0.01
    return architecture, model, row + change


def test_outside_a_pass_the_attached_model_is_the_untouched_one(trained, tiny, tokens):
    name, model, _ = trained
    assert torch.equal(logits(model.base.model, tokens), logits(tiny(name).eval(), tokens))


def test_gradients_are_those_of_peft(trained, tiny, with_peft, make_client):
    """Padded and together here, alone and without padding there; longer than any window."""
    name, model, row = trained
    client = make_client("lyon", [20, 8, 14])
    batch = collate([client.examples], [0.25])
    out = torch.zeros(1, 1, model.layout.size)
    model.gradients(torch.from_numpy(row)[None], batch, out)
    judge, parameters = with_peft(tiny(name), LORA, row, model.layout)
    for example in client.examples:
        ids = torch.from_numpy(example.tokens).long()
        nll = cross_entropy(judge(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="none")
        (0.25 * nll[torch.from_numpy(example.supervised[1:])].sum()).backward()
    wanted = torch.cat([parameter.grad.flatten() for parameter in parameters])
    assert (out[0, 0] - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_peft_loads_the_export_and_gives_the_same_logits(trained, tiny, tokens, tmp_path):
    from peft import PeftModel

    name, model, row = trained
    write_peft(adapter_tensors(row, model), model, tmp_path / "adapter")
    fresh = tiny(name)
    plain = logits(fresh.eval(), tokens)
    theirs = logits(PeftModel.from_pretrained(fresh, tmp_path / "adapter").eval(), tokens)
    with model.applied(row):
        ours = logits(model.base.model, tokens)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (ours - plain).abs().max() > 0.1
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] == (name == "gpt2")


def test_transformers_loads_the_merged_export_and_gives_the_same_logits(
    trained, tiny, tokens, tmp_path
):
    from transformers import AutoModelForCausalLM

    _, model, row = trained
    write_merged(row, model, tmp_path / "merged", lambda folder: (folder / "mark").write_text("x"))
    assert (tmp_path / "merged" / "mark").exists()
    merged, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "merged", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with model.applied(row):
        ours = logits(model.base.model, tokens)
    torch.testing.assert_close(logits(merged.eval(), tokens), ours, rtol=1e-5, atol=1e-4)


def test_all_linear_is_what_peft_calls_all_linear(trained, tiny):
    from peft import LoraConfig, get_peft_model

    name, model, _ = trained
    config = LoraConfig(
        r=2, target_modules="all-linear", fan_in_fan_out=name == "gpt2", task_type="CAUSAL_LM"
    )
    judge = get_peft_model(tiny(name), config)
    theirs = {
        module.removeprefix("base_model.model.")
        for module, part in judge.named_modules()
        if hasattr(part, "lora_A")
    }
    assert set(model.targets) == theirs


def test_the_first_weights_are_spread_as_peft_spreads_them(tiny, attach, with_peft):
    """A uniform in ±1/sqrt(d_in), B zero."""
    from peft import LoraConfig, get_peft_model

    wide = LoraSettings(rank=64)
    model = attach("llama", wide)
    torch.manual_seed(0)
    config = LoraConfig(r=64, target_modules="all-linear", task_type="CAUSAL_LM")
    judge = get_peft_model(tiny("llama"), config)
    theirs = {
        name.replace(".default", ""): parameter.detach().numpy()
        for name, parameter in judge.named_parameters()
        if parameter.requires_grad
    }
    for name, ours in unflatten(model.initial(0), model.layout).items():
        if ".lora_B." in name:
            assert not ours.any()
            assert not theirs[name].any()
        else:
            assert np.abs(ours).max() == pytest.approx(np.abs(theirs[name]).max(), rel=0.01)
            assert ours.std() == pytest.approx(theirs[name].std(), rel=0.1)


def test_the_first_weights_follow_the_seed_and_every_module_draws_its_own(attach):
    model = attach("llama", LORA)
    assert (model.initial(3) == model.initial(3)).all()
    assert (model.initial(3) != model.initial(4)).any()
    tensors = unflatten(model.initial(3), model.layout)
    draws = [value.tobytes() for name, value in tensors.items() if ".lora_A." in name]
    assert len(set(draws)) == len(draws)
    fewer = attach("llama", LoraSettings(rank=3, alpha=12, targets=("v_proj",)))
    for name, value in unflatten(fewer.initial(3), fewer.layout).items():
        assert (value == tensors[name]).all()


@pytest.mark.parametrize(
    ("targets", "wanted"),
    [
        (("q_proj", "v_proj"), ["0.self_attn.q_proj", "0.self_attn.v_proj", "1.self_attn.q_proj", "1.self_attn.v_proj"]),
        (("mlp.up_proj",), ["0.mlp.up_proj", "1.mlp.up_proj"]),
        (("model.layers.1.mlp.down_proj",), ["1.mlp.down_proj"]),
    ],
)  # fmt: skip
def test_a_list_of_targets_is_read_as_peft_reads_it(targets, wanted, tiny, attach, with_peft):
    settings = LoraSettings(rank=2, targets=targets)
    model = attach("llama", settings)
    assert list(model.targets) == [f"model.layers.{name}" for name in wanted]
    with_peft(tiny("llama"), settings, model.initial(0), model.layout)


def test_an_unknown_target_is_named_with_those_that_would_do(attach):
    with pytest.raises(ModelError) as error:
        attach("gpt2", LoraSettings(targets=("c_attn", "q_proj")))
    assert str(error.value) == (
        "model.lora.targets names 'q_proj', which no linear layer of gpt2 has. "
        'Allowed: "all-linear" or some of c_attn, c_fc, c_proj.'
    )


def test_half_a_name_is_no_target(attach):
    with pytest.raises(ModelError, match="'proj'"):
        attach("llama", LoraSettings(targets=("proj",)))


def test_a_target_is_a_whole_name_and_no_ending_of_another(tiny):
    base = wrap_base(tiny("llama"), "llama")
    base.model.get_submodule("model.layers.0.self_attn").extra_q_proj = torch.nn.Linear(4, 4)
    found = find_targets(base, LoraSettings(targets=("q_proj",)))
    assert list(found) == [f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)]


def test_the_head_is_no_target(tiny):
    base = wrap_base(tiny("llama"), "llama")
    assert "lm_head" not in find_targets(base, LORA)
    with pytest.raises(ModelError, match="'lm_head'"):
        find_targets(base, LoraSettings(targets=("lm_head",)))


def test_adapters_are_attached_once(attach):
    from sottovoce.model.adapters import LoraModel

    model = attach("llama", LORA)
    with pytest.raises(ModelError, match="already"):
        LoraModel(model.base, LORA)


def test_gemma_2s_capped_logits_are_trained_as_they_are(tiny, attach, random_row, make_client):
    model = attach("gemma2", LORA)
    judge = tiny("gemma2").eval()
    assert model.base.head.softcap == judge.config.final_logit_softcapping == 3.0
    client = make_client("rome", [16, 11])
    batch = collate([client.examples], [1.0])
    rows, targets = batch.tokens.view(2, 16), batch.targets.view(2, 16)
    _, sums = objective(model.base.hidden(rows), targets, torch.ones(2), model.base.head)
    for place, example in enumerate(client.examples):
        ids = torch.from_numpy(example.tokens).long()
        nll = cross_entropy(judge(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="none")
        wanted = nll[torch.from_numpy(example.supervised[1:])].sum()
        torch.testing.assert_close(sums[place], wanted)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("cohere", {"logit_scale": 0.5}), ("granite", {"logits_scaling": 4.0})],
)
def test_a_model_that_scales_its_logits_after_the_head_is_refused(name, changes, tiny):
    with pytest.raises(ModelError, match="changes its logits after the head"):
        wrap_base(tiny(name, **changes), name)


def test_a_model_that_does_not_is_welcome(tiny):
    model = tiny("granite", logits_scaling=1.0)
    assert wrap_base(model, "granite").head.weight is model.get_output_embeddings().weight


def test_an_architecture_that_reads_a_layers_weight_itself_is_refused(attach):
    """Mamba multiplies by ``out_proj.weight`` by hand: an adapter there would be passed over."""
    with pytest.raises(ModelError, match=r"mamba.*GroupedLinear"):
        attach("mamba", LORA)


def test_a_model_without_a_linear_head_is_refused(tiny):
    from transformers import AutoModel

    body = AutoModel.from_config(copy.deepcopy(tiny("llama").config))
    with pytest.raises(ModelError, match="no separate backbone and linear head"):
        wrap_base(body, "llama-body")


def test_trap_2_a_model_that_joins_the_sequences_of_a_pass_is_refused(tiny):
    """As batch statistics, or experts with a shared capacity, would."""
    from sottovoce.model.adapters import LoraModel

    base = wrap_base(tiny("llama"), "joined")
    layer = base.model.get_submodule("model.layers.0.mlp")
    layer.register_forward_hook(lambda module, inputs, out: out - out.mean(0, keepdim=True))
    with pytest.raises(ModelError, match="lets one sequence of a pass touch another"):
        LoraModel(base, LORA)
