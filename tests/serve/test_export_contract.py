"""What ``sotto export`` writes is what is served: peft and transformers compute the same from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from typer.testing import CliRunner

from sottovoce.cli import app
from sottovoce.model.base import model_folder

PROMPT = list(range(300, 340))


def told(address: str, model: str) -> dict[str, float]:
    """The likeliest next tokens by the server, with the logarithms of their probabilities."""
    asked = {"model": model, "prompt": PROMPT, "max_tokens": 1, "temperature": 0, "logprobs": 20}
    answer = httpx.post(f"{address}/v1/completions", json=asked).raise_for_status().json()
    [top] = answer["choices"][0]["logprobs"]["top_logprobs"]
    return dict(top)


def computed(model: Any, shelf: Any) -> dict[str, float]:
    """The same by transformers."""
    with torch.inference_mode():
        values, ids = model.eval()(torch.tensor([PROMPT])).logits[0, -1].log_softmax(0).topk(20)
    names = [shelf.tokenizer.decode([one], keep_special=True) for one in ids.tolist()]
    return dict(zip(names, values.tolist(), strict=True))


def exported(run: Path, folder: Path, *words: str) -> Path:
    done = CliRunner().invoke(app, ["export", str(run), str(folder), *words])
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize(
    ("model", "words"), [("shops", ()), ("shops:north", ("--client", "north"))]
)
def test_peft_computes_what_is_served(
    model: str, words: tuple[str, ...], shops: Path, shelf: Any, address: str, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny"))
    wrapped = PeftModel.from_pretrained(base, str(exported(shops, tmp_path / "adapter", *words)))
    assert computed(wrapped, shelf) == pytest.approx(told(address, model), abs=2e-4)
    assert computed(wrapped, shelf) != pytest.approx(told(address, "shops:base"), abs=2e-3)


def test_transformers_computes_what_is_served(
    shops: Path, shelf: Any, address: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = exported(shops, tmp_path / "merged", "--to", "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder)
    assert computed(merged, shelf) == pytest.approx(told(address, "shops"), abs=2e-4)
