"""Full training against torch's own parameters, optimizer and clipping on the same model."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sottovoce.errors import ModelError
from sottovoce.model.base import fingerprint, wrap_base
from sottovoce.model.full import FullModel
from sottovoce.model.peft_format import adapter_tensors, write_merged
from sottovoce.train import Round, TrainSettings, collate, epoch_batches, train
from sottovoce.update import flatten

RECIPE = TrainSettings(
    optimizer="sgd", learning_rate=0.1, momentum=0.9, schedule="constant", warmup_fraction=0.0,
    batch_size=2, max_gradient_norm=1.0,
)  # fmt: skip


@pytest.fixture
def whole(tiny):
    def build(name="llama", **changes):
        return FullModel(wrap_base(tiny(name, **changes), name, trainable=True))

    return build


def step_plainly(model, parameters, optimizer, examples):
    optimizer.zero_grad()
    count = sum(int(example.supervised[1:].sum()) for example in examples)
    for example in examples:
        ids = torch.from_numpy(example.tokens).long()
        nll = cross_entropy(model(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="none")
        (nll[torch.from_numpy(example.supervised[1:])].sum() / count).backward()
    torch.nn.utils.clip_grad_norm_(parameters, RECIPE.max_gradient_norm)
    optimizer.step()


@pytest.mark.parametrize(
    ("name", "changes"),
    [("llama", {}), ("llama", {"tie_word_embeddings": True}), ("gpt2", {})],
    ids=["llama", "llama with tied embeddings", "gpt2"],
)
def test_two_clients_end_where_plain_torch_brings_each_alone(
    name, changes, whole, tiny, make_client
):
    model = whole(name, **changes)
    clients = [make_client("oslo", [12, 9, 15]), make_client("rome", [20, 8])]
    row = model.initial(0)
    received = {client.name: row for client in clients}
    results = train(model, clients, received, RECIPE, Round(0, 1, 4))
    for client, (update, _) in zip(clients, results, strict=True):
        judge = tiny(name, **changes).eval()
        parameters = list(judge.parameters())
        optimizer = torch.optim.SGD(parameters, RECIPE.learning_rate, momentum=RECIPE.momentum)
        lengths = np.array([len(example.tokens) for example in client.examples])
        for batch in epoch_batches(lengths, 2, 4, client.name, 0):
            step_plainly(judge, parameters, optimizer, [client.examples[i] for i in batch])
        named = dict(judge.named_parameters())
        assert set(named) == set(update.tensors)
        start = dict(tiny(name, **changes).named_parameters())
        for key, change in update.tensors.items():
            wanted = (named[key] - start[key]).detach().numpy()
            np.testing.assert_allclose(change, wanted, rtol=0, atol=1e-5)
        assert update.steps == len(list(epoch_batches(lengths, 2, 4, client.name, 0)))
    assert all(np.abs(change).max() > 1e-5 for change in results[0][0].tensors.values())


def test_the_loaded_model_is_restored_after_training_scoring_and_errors(whole, make_client):
    model = whole()
    before = fingerprint(model.base)
    pointers = {name: p.data_ptr() for name, p in model.base.model.named_parameters()}
    row = model.initial(0)
    train(model, [make_client("oslo", [9])], {"oslo": row}, RECIPE, Round(0, 1, 0))
    with pytest.raises(RuntimeError, match="boom"), model.applied(row * 2):
        assert fingerprint(model.base) != before
        raise RuntimeError("boom")
    assert fingerprint(model.base) == before
    assert all(parameter.grad is None for parameter in model.base.model.parameters())
    assert pointers == {name: p.data_ptr() for name, p in model.base.model.named_parameters()}


def test_gradients_are_added_and_sums_of_nll_returned(whole, make_client):
    model = whole(tie_word_embeddings=True)
    row = torch.from_numpy(model.initial(0))[None]
    batch = collate([make_client("oslo", [9, 12]).examples], [0.5])
    once = torch.zeros(1, 1, model.layout.size)
    nll = model.gradients(row, batch, once)
    twice = torch.full_like(once, 0.25)
    model.gradients(row, batch, twice)
    torch.testing.assert_close(twice, once + 0.25)
    seen, _ = model.score(row, batch)
    torch.testing.assert_close(nll, seen)
    assert nll.shape == (1, 1, 2)


def test_tied_parameters_appear_once(whole):
    tied = whole(tie_word_embeddings=True)
    apart = whole()
    assert "lm_head.weight" not in tied.layout.shapes
    assert apart.layout.size - tied.layout.size == 211 * 32


def test_applied_weights_are_what_the_model_computes_with(whole, tiny):
    model = whole("gpt2")
    other = tiny("gpt2", seed=9).eval()
    row = flatten({name: p.detach().numpy() for name, p in other.named_parameters()}, model.layout)
    tokens = torch.arange(2, 14)[None]
    with torch.no_grad(), model.applied(row):
        ours = model.base.model(input_ids=tokens).logits
    torch.testing.assert_close(ours, other(input_ids=tokens).logits)


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}], ids=["apart", "tied"])
def test_the_export_is_a_checkpoint_with_the_trained_weights(changes, whole, tmp_path):
    from transformers import AutoModelForCausalLM

    model = whole("llama", **changes)
    row = model.initial(0) * np.float32(1.5)
    write_merged(row, model, tmp_path / "out", lambda folder: None)
    loaded, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = torch.arange(2, 14)[None]
    with torch.no_grad(), model.applied(row):
        ours = model.base.model(input_ids=tokens).logits
    torch.testing.assert_close(loaded.eval()(input_ids=tokens).logits, ours)
    assert set(adapter_tensors(row, model)) == set(model.layout.shapes)


def test_recomputed_activations_give_the_same_gradients(whole, make_client):
    model = whole()
    row = torch.from_numpy(model.initial(0))[None]
    batch = collate([make_client("oslo", [9, 12]).examples], [0.5])
    outs, calls = [], []
    # An early layer: recomputing stops as soon as nothing is missing.
    first = model.base.model.get_submodule("model.layers.0.self_attn.q_proj")
    first.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        out = torch.zeros(1, 1, model.layout.size)
        model.gradients(row, batch, out)
        outs.append(out)
        model.checkpoint_activations()
    assert len(calls) == 1 + 2
    torch.testing.assert_close(outs[0], outs[1])


def test_several_clients_or_groups_in_a_pass_are_refused(whole, make_client):
    model = whole()
    examples = make_client("oslo", [9]).examples
    rows = torch.from_numpy(np.stack([model.initial(0)] * 2))
    batch = collate([examples, examples], [1.0, 1.0])
    with pytest.raises(ModelError, match="2 clients with 1 groups"):
        model.gradients(rows, batch, torch.zeros(2, 1, model.layout.size))
    with pytest.raises(ModelError, match="1 clients with 2 groups"):
        model.gradients(rows[:1], batch, torch.zeros(1, 2, model.layout.size))


def test_a_base_in_bfloat16_is_refused(whole):
    with pytest.raises(ModelError, match="float32"):
        whole(dtype=torch.bfloat16)


def test_a_frozen_base_is_thawed(tiny, make_client):
    """However the base was wrapped, training has gradients for every parameter."""
    model = FullModel(wrap_base(tiny("llama"), "llama"))
    batch = collate([make_client("oslo", [9]).examples], [1.0])
    out = torch.zeros(1, 1, model.layout.size)
    model.gradients(torch.from_numpy(model.initial(0))[None], batch, out)
    assert out.any()


def test_a_pass_inside_a_pass_ends_with_the_outer_one_bound(whole, make_client):
    model = whole()
    row = model.initial(0)
    batch = collate([make_client("oslo", [9]).examples], [1.0])
    with model.applied(row * 2):
        before = fingerprint(model.base)
        model.score(torch.from_numpy(row)[None], batch)
        assert fingerprint(model.base) == before
