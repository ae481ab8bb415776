"""A base model whose own weights have changed: what it computes, and that nothing stays behind."""

import numpy as np
import pytest
import torch

from sottovoce.errors import ModelError
from sottovoce.model.adapters import residual_name
from sottovoce.model.base import LoraSettings, fingerprint
from sottovoce.model.peft_format import merged_state
from sottovoce.train import Batch
from sottovoce.update import unflatten

LORA = LoraSettings(rank=4, alpha=8)


def draw_residual(model, size=0.05, seed=3):
    rng = np.random.default_rng(seed)
    found = {}
    for name in model.targets:
        shape = (
            model.layout.shapes[f"base_model.model.{name}.lora_B.weight"][0],
            model.layout.shapes[f"base_model.model.{name}.lora_A.weight"][1],
        )
        found[residual_name(name)] = rng.normal(0, size, shape).astype(np.float32)
    return found


def losses(model, row):
    tokens = torch.arange(2, 26).view(1, 1, 2, 12)
    batch = Batch(tokens, tokens.roll(-1, -1), torch.ones(1, 1, 2))
    return model.score(torch.from_numpy(row)[None], batch)[0].numpy()


def test_inside_the_context_every_layer_computes_with_the_changed_weight(
    architecture, tiny, attach, random_row
):
    """The judge is the model of transformers with W + s·R and s·B·A written into its weights."""
    model = attach(architecture, LORA)
    row, residual = random_row(model), draw_residual(model)
    judge = tiny(architecture).eval()
    tensors = unflatten(row, model.layout)
    with torch.no_grad():
        for name in model.targets:
            a, b = (tensors[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
            change = torch.from_numpy(2.0 * (residual[residual_name(name)] + b @ a))
            weight = judge.get_submodule(name).weight
            weight += change.t() if architecture == "gpt2" else change
        tokens = torch.arange(2, 26).view(2, 12)
        logits = judge(tokens).logits
        wanted = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens.roll(-1, -1).flatten(), reduction="none"
        ).view(2, 12)
    plain = losses(model, row)
    with model.based_on(residual):
        changed = losses(model, row)
        state = merged_state(tensors, model)
    np.testing.assert_allclose(changed[0, 0], wanted.sum(1).numpy(), rtol=2e-5)
    assert np.abs(changed - plain).max() > 1e-2
    for name in model.targets:
        torch.testing.assert_close(
            state[f"{name}.weight"], judge.get_submodule(name).weight, rtol=1e-5, atol=1e-6
        )


def test_afterwards_every_weight_has_its_bits_again(attach, random_row):
    model = attach(settings=LORA)
    before, row = fingerprint(model.base), random_row(model)
    loss = losses(model, row)
    with pytest.raises(KeyboardInterrupt), model.based_on(draw_residual(model)):
        assert fingerprint(model.base) != before
        raise KeyboardInterrupt
    assert fingerprint(model.base) == before
    assert losses(model, row).tobytes() == loss.tobytes()


def test_a_missing_layer_leaves_no_half_changed_model(attach):
    model = attach(settings=LORA)
    before, residual = fingerprint(model.base), draw_residual(model)
    del residual[residual_name(model.targets[-1])]
    with pytest.raises(KeyError), model.based_on(residual):
        pass
    assert fingerprint(model.base) == before


def test_a_base_in_which_small_changes_would_vanish_is_refused(attach):
    model = attach(settings=LORA, dtype=torch.bfloat16)
    with (
        pytest.raises(ModelError, match=r'bfloat16.*model.dtype = "float32"'),
        model.based_on(draw_residual(model)),
    ):
        pass
