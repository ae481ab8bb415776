"""Gradients on the group axis against peft, torch's own autograd and a loop over single examples."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from sottovoce.model.base import LoraSettings
from sottovoce.model.grouped import Binding, GroupedLinear, Site
from sottovoce.train import IGNORED, Batch

LORA = LoraSettings(rank=4, alpha=8)
LENGTH = 14


def random_batch(clients, groups, size, seed=0):
    """Sequences of unequal lengths, some positions not supervised, every sequence weighed."""
    rng = np.random.default_rng(seed)
    shape = (clients, groups, size, LENGTH)
    tokens = rng.integers(2, 200, shape)
    lengths = rng.integers(6, LENGTH + 1, shape[:-1])
    lengths.flat[0] = LENGTH
    places = np.arange(LENGTH)
    tokens[places >= lengths[..., None]] = 0
    targets = np.full(shape, IGNORED)
    known = (places[:-1] + 1 < lengths[..., None]) & (rng.random((*shape[:-1], LENGTH - 1)) < 0.8)
    targets[..., :-1][known] = tokens[..., 1:][known]
    scale = rng.uniform(0.2, 2, shape[:-1]).astype(np.float32)
    return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(scale))


def rows_for(model, random_row, clients):
    return torch.from_numpy(np.stack([random_row(model, seed) for seed in range(clients)]))


def grouped(model, weights, batch):
    """Our gradients, ``[C, E, D]``, and nll sums."""
    clients, groups = batch.scale.shape[:2]
    out = torch.zeros(clients, groups, model.layout.size)
    nll = model.gradients(weights, batch, out)
    return out, nll


def one_by_one(judge, parameters, tokens, targets, scale):
    """The same gradient of one group by peft, one sequence after another, padding cut off."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    sums = []
    for row, wanted, weight in zip(tokens, targets, scale, strict=True):
        size = int((row > 0).sum())
        logits = judge(input_ids=row[None, :size]).logits[0].float()
        nll = cross_entropy(logits, wanted[:size], ignore_index=IGNORED, reduction="sum")
        (nll * weight).backward()
        sums.append(float(nll.detach()))
    return torch.cat([parameter.grad.flatten() for parameter in parameters]), sums


def require_close(ours, wanted, relative=1e-5):
    """Equal up to ``relative`` of the largest entry."""
    assert torch.isfinite(ours).all()
    assert (ours - wanted).abs().max() <= relative * wanted.abs().max()


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_gradients_of_clients_times_examples_are_those_of_a_batch_1_loop(
    name, size, tiny, attach, with_peft, random_row
):
    model = attach(name, LORA)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=3, size=size)
    ours, nll = grouped(model, weights, batch)
    for c in range(2):
        judge, parameters = with_peft(tiny(name), LORA, weights[c].numpy(), model.layout)
        for e in range(3):
            part = batch.tokens[c, e], batch.targets[c, e], batch.scale[c, e]
            wanted, sums = one_by_one(judge, parameters, *part)
            require_close(ours[c, e], wanted)
            np.testing.assert_allclose(nll[c, e], sums, rtol=1e-5)


def test_the_sum_over_groups_is_the_plain_gradient(attach, random_row):
    model = attach(settings=LORA)
    weights = rows_for(model, random_row, clients=2)
    apart = random_batch(clients=2, groups=6, size=1)
    together = Batch(
        apart.tokens.view(2, 1, 6, LENGTH), apart.targets.view(2, 1, 6, LENGTH),
        apart.scale.view(2, 1, 6),
    )  # fmt: skip
    split, _ = grouped(model, weights, apart)
    plain, _ = grouped(model, weights, together)
    require_close(split.sum(1), plain[:, 0])


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_base_that_is_moved_afterwards_is_the_one_that_counts(name, attach, random_row):
    """``Module.to`` gives a parameter new storage; a transposed view of the old would stay behind."""
    model = attach(name, LORA)
    batch = random_batch(clients=1, groups=1, size=2)
    weights = rows_for(model, random_row, clients=1)
    _, before = grouped(model, weights, batch)
    layer = model.base.model.get_submodule(model.targets[0])
    layer.base.weight.data = layer.base.weight.data * 3
    _, moved = grouped(model, weights, batch)
    outside = layer.base(torch.ones(1, layer.site.d_in))
    with layer._binding.pass_over(torch.zeros_like(weights), None):
        torch.testing.assert_close(layer(torch.ones(1, layer.site.d_in)), outside)
    assert not np.allclose(before, moved)


def test_gradients_are_added_to_what_is_there(attach, random_row):
    model = attach(settings=LORA)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=2, size=1)
    once, _ = grouped(model, weights, batch)
    out = torch.full_like(once, 0.25)
    model.gradients(weights, batch, out)
    torch.testing.assert_close(out, once + 0.25)


def test_gradients_may_be_rows_of_a_larger_matrix(attach, random_row):
    model = attach(settings=LORA)
    weights = rows_for(model, random_row, clients=3)
    batch = random_batch(clients=2, groups=1, size=2)
    wanted, _ = grouped(model, weights[1:], batch)
    matrix = torch.zeros_like(weights)
    model.gradients(weights[1:3], batch, matrix[1:3, None])
    assert not matrix[0].any()
    torch.testing.assert_close(matrix[1:], wanted[:, 0])


def test_trap_1_the_loss_is_summed_per_group_and_never_averaged_over_the_pass(attach, random_row):
    """A group's gradient is the same beside one token and beside many."""
    model = attach(settings=LORA)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=1, size=3)
    wanted, _ = grouped(model, weights, batch)
    batch.targets[1, 0, :, 1:] = IGNORED
    batch.scale[1] *= 50
    ours, _ = grouped(model, weights, batch)
    require_close(ours[0], wanted[0], 1e-6)


def test_trap_2_no_group_feels_another_groups_example(attach, random_row):
    model = attach(settings=LORA)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=3, size=1)
    before, _ = grouped(model, weights, batch)
    batch.tokens[1, 1] = batch.tokens[1, 1].flip(-1)
    after, _ = grouped(model, weights, batch)
    moved = (after - before).abs().amax(-1) > 1e-5 * before.abs().max()
    assert moved.tolist() == [[False] * 3, [False, True, False]]


def test_trap_2_no_client_feels_another_clients_weights(attach, random_row):
    model = attach(settings=LORA)
    weights = rows_for(model, random_row, clients=3)
    batch = random_batch(clients=3, groups=2, size=1)
    before, _ = grouped(model, weights, batch)
    weights[1] *= 2
    after, _ = grouped(model, weights, batch)
    moved = (after - before).abs().amax(-1) > 1e-5 * before.abs().max()
    assert moved.tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_trap_3_padding_is_never_seen(attach, random_row):
    """Sequences are padded, not packed: what stands in the padding changes no gradient."""
    for name in ("llama", "gemma3", "gpt2"):
        model = attach(name, LORA)
        weights = rows_for(model, random_row, clients=2)
        batch = random_batch(clients=2, groups=2, size=2)
        before, _ = grouped(model, weights, batch)
        padding = batch.tokens == 0
        assert padding.any()
        batch.tokens[padding] = 99
        after, _ = grouped(model, weights, batch)
        require_close(after, before)


@pytest.mark.parametrize(
    "dropouts", [("resid_pdrop",), ("embd_pdrop",), ("attn_pdrop",)], ids=lambda names: names[0]
)
def test_trap_4_dropout_never_ties_a_client_to_its_neighbours(dropouts, attach, random_row):
    model = attach("gpt2", LORA, **dict.fromkeys(dropouts, 0.1))
    still = attach("gpt2", LORA, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=2, size=1)
    first, _ = grouped(model, weights, batch)
    second, _ = grouped(model, weights, batch)
    wanted, _ = grouped(still, weights, batch)
    assert torch.equal(first, second)
    assert torch.equal(first, wanted)


def test_trap_5_nothing_but_the_adapters_is_trained(attach):
    """Norms, biases, embeddings and head have no group axis, so they stay frozen."""
    for name in ("llama", "gpt2"):
        model = attach(name, LORA)
        assert not any(parameter.requires_grad for parameter in model.base.model.parameters())
        assert all(".lora_A." in key or ".lora_B." in key for key in model.layout.shapes)


@pytest.mark.parametrize("where", ["embedding of one token", "weights of one client"])
def test_trap_9_a_value_that_is_not_finite_stays_in_its_own_row(where, attach, random_row):
    model = attach(settings=LORA)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=3, size=1)
    batch.tokens[1, 2, 0, 3] = 205
    wanted, losses = grouped(model, weights, batch)
    poisoned = torch.zeros(2, 3, dtype=torch.bool)
    if where == "embedding of one token":
        model.base.model.get_input_embeddings().weight.data[205] = float("nan")
        poisoned[1, 2] = True
    else:
        weights[1, 7] = float("inf")
        poisoned[1] = True
    ours, nll = grouped(model, weights, batch)
    assert not torch.isfinite(ours[poisoned]).all(-1).any()
    require_close(ours[~poisoned], wanted[~poisoned], 1e-6)
    torch.testing.assert_close(nll[~poisoned], losses[~poisoned])


def test_trap_11_at_b_zero_all_signal_is_in_b(attach):
    model = attach(settings=LORA)
    weights = torch.from_numpy(model.initial(0))[None]
    ours, _ = grouped(model, weights, random_batch(clients=1, groups=2, size=1))
    for name, start in model.layout.offsets.items():
        part = ours[..., start : start + int(np.prod(model.layout.shapes[name]))]
        assert bool(part.any()) == (".lora_B." in name)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_trap_8_rows_keep_float32_over_a_bfloat16_base(name, attach, random_row):
    """Adding a small gradient to a large sum must not be rounded to bfloat16's 8 bits."""
    model = attach(name, LORA, dtype=torch.bfloat16)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=1, size=3)
    out = torch.full((2, 1, model.layout.size), 1000.0)
    model.gradients(weights, batch, out)
    alone, nll = grouped(model, weights, batch)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out - 1000, alone, rtol=0, atol=2e-4)
    exact, losses = grouped(attach(name, LORA), weights, batch)
    assert float(nll.sum()) == pytest.approx(float(losses.sum()), rel=0.01)
    cosine = torch.nn.functional.cosine_similarity(alone.flatten(), exact.flatten(), dim=0)
    assert cosine > 0.99


class Foreign(nn.Linear):
    """A linear layer whose weight is not ours to multiply, as that of a quantised base."""


def make_layer(kind, d_in, d_out):
    torch.manual_seed(0)
    if kind == "Conv1D":
        layer = Conv1D(d_out, d_in)
        nn.init.normal_(layer.bias)
    else:
        layer = (Foreign if kind == "foreign" else nn.Linear)(d_in, d_out, bias=kind != "no bias")
    return layer.requires_grad_(False)


@pytest.mark.parametrize("kind", ["bias", "no bias", "Conv1D", "foreign"])
def test_a_grouped_layer_is_the_written_formula(kind):
    """y[c] = W x[c] + b + s B[c] A[c] x[c], differentiated by torch one client at a time."""
    d_in, d_out, rank, clients, groups, scaling = 5, 7, 3, 2, 2, 1.7
    layer = make_layer(kind, d_in, d_out)
    size = rank * (d_in + d_out)
    binding = Binding()
    site = Site(4, 4 + rank * d_in, rank, d_in, d_out)
    ours = GroupedLinear(layer, site, scaling, binding)
    weights = torch.randn(clients, size + 4)
    x = torch.randn(clients * groups * 3, 6, d_in, requires_grad=True)
    slope = torch.randn(clients * groups * 3, 6, d_out)
    out = torch.zeros(clients, groups, size + 4)
    with binding.pass_over(weights, out):
        y = ours(x)
        y.backward(slope)
    for c in range(clients):
        for e in range(groups):
            part = slice((c * groups + e) * 3, (c * groups + e + 1) * 3)
            a = weights[c, 4 : 4 + rank * d_in].view(rank, d_in).clone().requires_grad_()
            b = weights[c, 4 + rank * d_in :].view(d_out, rank).clone().requires_grad_()
            own = x.detach()[part].requires_grad_()
            wanted = layer(own) + scaling * own @ a.T @ b.T
            wanted.backward(slope[part])
            torch.testing.assert_close(y[part], wanted)
            torch.testing.assert_close(x.grad[part], own.grad)
            row = torch.cat([torch.zeros(4), a.grad.flatten(), b.grad.flatten()])
            torch.testing.assert_close(out[c, e], row)


def test_outside_a_pass_a_layer_is_the_base_layer_even_after_an_error():
    layer = make_layer("bias", 5, 7)
    binding = Binding()
    ours = GroupedLinear(layer, Site(0, 15, 3, 5, 7), 1.0, binding)
    x = torch.randn(2, 4, 5)
    with pytest.raises(RuntimeError, match="boom"), binding.pass_over(torch.ones(1, 36), None):
        assert not torch.equal(ours(x), layer(x))
        raise RuntimeError("boom")
    assert torch.equal(ours(x), layer(x))


@pytest.mark.parametrize("reentrant", [True, False])
def test_trap_4_a_checkpointed_layer_adds_its_gradient_once(reentrant):
    torch.manual_seed(0)
    layer = make_layer("bias", 5, 5)
    binding = Binding()
    first = GroupedLinear(layer, Site(0, 15, 3, 5, 5), 2.0, binding)
    second = GroupedLinear(layer, Site(30, 45, 3, 5, 5), 2.0, binding)
    weights = torch.randn(2, 60)
    x = torch.randn(4, 6, 5, requires_grad=True)

    def body(x):
        return torch.tanh(second(torch.tanh(first(x))))

    results = []
    for run in (body, lambda x: checkpoint(body, x, use_reentrant=reentrant)):
        out = torch.zeros(2, 2, 60)
        with binding.pass_over(weights, out):
            run(x).square().sum().backward()
        results.append((out, x.grad))
        x.grad = None
    assert results[0][0].abs().min(-1).values.max() > 0
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "phi3"])
def test_trap_4_recomputed_activations_give_the_same_gradients(name, attach, random_row):
    model = attach(name, LORA)
    weights = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=2, groups=2, size=1)
    stored, _ = grouped(model, weights, batch)
    calls = []
    inner = model.base.backbone.get_submodule(model.targets[0].partition(".")[2])
    inner.register_forward_hook(lambda *_: calls.append(1))
    model.checkpoint_activations()
    recomputed, _ = grouped(model, weights, batch)
    assert len(calls) == 2
    require_close(recomputed, stored, 1e-6)
    with torch.no_grad():
        model.score(weights, batch)


def test_a_pass_inside_a_pass_ends_with_the_outer_one_bound(attach, random_row):
    """Scoring another row while an adapter is applied must not leave the bare base model behind."""
    model = attach(settings=LORA)
    outer, inner = rows_for(model, random_row, clients=2)
    batch = random_batch(clients=1, groups=1, size=2)
    tokens = batch.tokens[0, 0]
    with torch.no_grad(), model.applied(outer.numpy()):
        before = model.base.hidden(tokens)
        model.score(inner[None], batch)
        assert torch.equal(model.base.hidden(tokens), before)


def test_trap_10_one_row_may_serve_all_groups_without_a_copy(attach, random_row):
    """A batch stride of 0: the received weights of one client, expanded over many."""
    model = attach(settings=LORA)
    row = rows_for(model, random_row, clients=1)
    batch = random_batch(clients=3, groups=1, size=2)
    expanded, _ = grouped(model, row.expand(3, -1), batch)
    copied, _ = grouped(model, row.repeat(3, 1), batch)
    assert torch.equal(expanded, copied)
