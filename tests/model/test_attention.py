"""Attention in float32 on a base model in bfloat16."""

import numpy as np
import pytest
import torch

from sottovoce.model.attention import NAME, use_float32_attention


@pytest.fixture(scope="module")
def tokens():
    return torch.from_numpy(np.random.default_rng(5).integers(2, 200, (3, 17)))


@torch.no_grad()
def logits(model, tokens, mask=None):
    return model(input_ids=tokens, attention_mask=mask, use_cache=False).logits.float()


@pytest.fixture
def seen(monkeypatch):
    """The types in which torch was asked to attend."""
    types = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(query, *rest, **options):
        types.append(query.dtype)
        return attend(query, *rest, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    return types


def test_logits_differ_from_the_models_own_by_rounding_alone(tiny, tokens, seen, architecture):
    """With padding on the left, as in generation, and longer than any window."""
    model = tiny(architecture).to(torch.bfloat16).eval()
    mask = torch.ones_like(tokens)
    mask[0, :5] = 0
    own = logits(model, tokens), logits(model, tokens, mask)[:, 5:]
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    assert use_float32_attention(model)
    ours = logits(model, tokens), logits(model, tokens, mask)[:, 5:]
    assert set(seen) == {torch.float32}
    exact = tiny(architecture).eval()
    for mine, theirs in zip(ours, own, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.05, atol=0.05 * float(theirs.std()))
    judge = logits(exact, tokens)
    assert (ours[0] - judge).norm() <= 1.1 * (own[0] - judge).norm()


def test_a_model_in_float32_or_with_another_attention_stays_as_it_is(tiny):
    model = tiny("llama")
    assert not use_float32_attention(model)
    assert model.config._attn_implementation == "sdpa"
    eager = tiny("llama").to(torch.bfloat16)
    eager.set_attn_implementation("eager")
    assert not use_float32_attention(eager)
    assert eager.config._attn_implementation == "eager"


def test_the_name_stays_out_of_what_is_saved(tiny, tmp_path):
    model = tiny("llama").to(torch.bfloat16)
    use_float32_attention(model)
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
