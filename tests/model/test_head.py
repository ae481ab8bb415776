"""The chunked objective against torch's cross-entropy over all logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, linear

from sottovoce.model import head as heads
from sottovoce.model.head import Head, objective, score

V, D = 37, 6


def case(sequences=3, length=5, bias=True, softcap=None, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(sequences, length, D, generator=generator, dtype=dtype)
    weight = torch.randn(V, D, generator=generator, dtype=dtype)
    offset = torch.randn(V, generator=generator, dtype=dtype) if bias else None
    targets = torch.randint(0, V, (sequences, length), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.3] = -1
    scale = torch.rand(sequences, generator=generator) + 0.1
    for tensor in (hidden, weight, offset):
        if tensor is not None:
            tensor.requires_grad_()
    return hidden, targets, scale, Head(weight, offset, softcap)


def plainly(hidden, targets, scale, head):
    """All logits at once, and torch's own derivative."""
    logits = linear(hidden, head.weight, head.bias)
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    nll = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="none")
    sums = nll.view(targets.shape).sum(1)
    return (sums * scale).sum(), sums


def leaves(hidden, head):
    return [tensor for tensor in (hidden, head.weight, head.bias) if tensor is not None]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("softcap", [None, 2.5])
@pytest.mark.parametrize("chunk", [1, 4 * V * 2, 4 * V * 4, 2**25])
def test_values_and_gradients_are_those_of_cross_entropy(bias, softcap, chunk, monkeypatch):
    """At one row, two rows, four rows and all rows of logits held at once."""
    monkeypatch.setattr(heads, "CHUNK_BYTES", chunk)
    hidden, targets, scale, head = case(bias=bias, softcap=softcap)
    wanted, wanted_sums = plainly(hidden, targets, scale, head)
    wanted_slopes = torch.autograd.grad(3.0 * wanted, leaves(hidden, head))
    total, sums = objective(hidden, targets, scale, head)
    slopes = torch.autograd.grad(3.0 * total, leaves(hidden, head))
    torch.testing.assert_close(total, wanted)
    torch.testing.assert_close(sums, wanted_sums)
    torch.testing.assert_close(slopes, wanted_slopes)


@given(
    sequences=st.integers(1, 4),
    length=st.integers(1, 6),
    seed=st.integers(0, 99),
    bias=st.booleans(),
    rows=st.integers(1, 9),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_shape_in_any_chunks(sequences, length, seed, bias, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "CHUNK_BYTES", 4 * V * rows)
        hidden, targets, scale, head = case(sequences, length, bias, None, seed)
        wanted, _ = plainly(hidden, targets, scale, head)
        total, sums = objective(hidden, targets, scale, head)
        torch.testing.assert_close(total, wanted)
        slopes = torch.autograd.grad(total, leaves(hidden, head))
        torch.testing.assert_close(slopes, torch.autograd.grad(wanted, leaves(hidden, head)))
        assert not sums.requires_grad
        seen, _ = score(hidden, targets, head)
        torch.testing.assert_close(seen, sums)


def test_no_supervised_position_gives_zero_and_no_gradient():
    hidden, targets, scale, head = case()
    targets[1] = -1
    total, sums = objective(hidden, targets, scale, head)
    (slope,) = torch.autograd.grad(total, hidden)
    assert sums[1] == 0
    assert not slope[1].any()
    assert slope[0].any()
    targets[:] = -1
    total, sums = objective(hidden, targets, scale, head)
    assert total == 0
    assert not sums.any()
    for slope in torch.autograd.grad(total, leaves(hidden, head)):
        assert not slope.any()


def test_logits_exist_at_supervised_positions_only_and_never_all_at_once(monkeypatch):
    monkeypatch.setattr(heads, "CHUNK_BYTES", 4 * V * 3)
    blocks = []
    whole = Head.logits

    def watched(self, hidden):
        blocks.append(len(hidden))
        return whole(self, hidden)

    monkeypatch.setattr(Head, "logits", watched)
    hidden, targets, scale, head = case(sequences=4, length=8)
    supervised = int((targets >= 0).sum())
    assert 3 < supervised < targets.numel()
    for run in (
        lambda: objective(hidden, targets, scale, head),
        lambda: score(hidden, targets, head),
    ):
        blocks.clear()
        run()
        assert max(blocks) == 3
        assert sum(blocks) == supervised


def test_extreme_logits_neither_overflow_nor_lose_the_small_loss():
    hidden = torch.tensor([[[1e4, 0.0], [1e4, 0.0]]], requires_grad=True)
    head = Head(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    total, sums = objective(hidden, torch.tensor([[0, 1]]), torch.tensor([1.0]), head)
    assert sums.tolist() == [2e4]
    assert torch.isfinite(torch.autograd.grad(total, hidden)[0]).all()


def test_a_row_that_is_not_finite_stays_alone():
    hidden, targets, scale, head = case()
    targets[:, 0] = 3
    with torch.no_grad():
        hidden[1, 0, 2] = float("nan")
    total, sums = objective(hidden, targets, scale, head)
    (slope,) = torch.autograd.grad(total, hidden)
    assert torch.isfinite(sums).tolist() == [True, False, True]
    assert torch.isfinite(slope).all(-1).sum() == targets.numel() - 1


def test_a_bfloat16_head_is_within_its_precision():
    hidden, targets, scale, head = case(dtype=torch.bfloat16)
    total, sums = objective(hidden, targets, scale, head)
    exact = Head(head.weight.float(), head.bias.float())
    wanted, _ = plainly(hidden.float(), targets, scale, exact)
    assert total.dtype == sums.dtype == torch.float32
    assert total.item() == pytest.approx(wanted.item(), rel=1e-2)
    (slope,) = torch.autograd.grad(total, hidden)
    assert slope.dtype == torch.bfloat16


@pytest.mark.parametrize("chunk", [1, 2**25])
def test_score_counts_the_likeliest_token(chunk, monkeypatch):
    monkeypatch.setattr(heads, "CHUNK_BYTES", chunk)
    hidden, targets, _, head = case(sequences=4, length=9, seed=2)
    best = linear(hidden, head.weight, head.bias).argmax(-1)
    targets[0] = best[0]
    targets[1] = (best[1] + 1) % V
    targets[2, ::2] = best[2, ::2]
    targets[3] = -1
    _, right = score(hidden, targets, head)
    wanted = ((best == targets) & (targets >= 0)).sum(1)
    assert right.tolist() == wanted.tolist()
    assert wanted[0] == 9
    assert wanted[1] == 0
    assert wanted[2] >= 5
    assert wanted[3] == 0
