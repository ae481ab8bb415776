"""What `serve.py` measures in its own process: our engine beside peft, and a larger model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, Final

import numpy as np
import torch
from measuring import take_turns

from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import LoraSettings, ModelSettings, load_base, model_folder
from sottovoce.model.generate import Sampling
from sottovoce.model.peft_format import write_peft
from sottovoce.model.tokenizer import load_tokenizer
from sottovoce.serve.engine import Ask, Ended, Engine, Token
from sottovoce.update import unflatten

READ: Final = 32
"""Tokens of a prompt."""


def mixed_adapters(count: int, tokens: int, repeats: int) -> dict[str, list[float]]:
    """Seconds in which requests with an adapter each are answered, by both.

    Args:
        count: how many at once.
        tokens: of each answer; no token ends it earlier.
        repeats: how often, in turns.

    Raises:
        SystemExit: the two do not say the same.
    """
    source = np.random.default_rng(0)
    model = LoraModel(load_base(ModelSettings()), LoraSettings())
    rows = source.normal(0, 0.02, (count, model.layout.size)).astype(np.float32)
    vocabulary = load_tokenizer(model_folder("tiny")).vocabulary_size
    prompts = source.integers(100, vocabulary, (count, READ)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        theirs = _peft(model, rows, prompts, tokens, Path(folder))
    with Engine(model.base, model.applied_to_rows) as engine:
        ours = _ours(engine, rows, prompts, tokens)
        if ours() != theirs():
            raise SystemExit("the engine and peft say different things; nothing is compared")
        return take_turns({"ours": ours, "peft": theirs}, torch.device("cpu"), repeats)


def _ours(
    engine: Engine, rows: Any, prompts: Sequence[Sequence[int]], tokens: int
) -> Callable[[], list[list[int]]]:
    adapters = [torch.from_numpy(row) for row in rows]

    def run() -> list[list[int]]:
        told: list[Queue[Token | Ended]] = [Queue() for _ in prompts]
        sampling = Sampling(max_new_tokens=tokens)
        for prompt, adapter, queue in zip(prompts, adapters, told, strict=True):
            engine.submit(Ask(prompt, adapter, sampling, frozenset()), queue.put)
        answers = []
        for queue in told:
            answer = []
            while isinstance(one := queue.get(), Token):
                answer.append(one.id)
            answers.append(answer)
        return answers

    return run


def _peft(
    model: LoraModel, rows: Any, prompts: Sequence[Sequence[int]], tokens: int, folder: Path
) -> Callable[[], list[list[int]]]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    names = [f"adapter{place}" for place in range(len(rows))]
    for name, row in zip(names, rows, strict=True):
        write_peft(unflatten(row, model.layout), model, folder / name)
    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny"))
    joined = PeftModel.from_pretrained(base, str(folder / names[0]), adapter_name=names[0])
    for name in names[1:]:
        joined.load_adapter(str(folder / name), adapter_name=name)
    joined.eval()
    ids = torch.tensor(prompts)

    def run() -> list[list[int]]:
        with torch.inference_mode():
            found = joined.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                adapter_names=names,
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                eos_token_id=None,
            )
        answers: list[list[int]] = found[:, ids.shape[1] :].tolist()
        return answers

    return run


@dataclass(frozen=True)
class Larger:
    """A model of random weights, and a prompt after which it says something that can be shown.

    Args:
        folder: with the bundled tokenizer.
        model: of transformers.
        prompt: token ids.
        parameters: how many there are.
    """

    folder: Path
    model: Any
    prompt: Sequence[int]
    parameters: int


def of_100m(folder: Path, length: int) -> Larger:
    """Make a Llama of about 100 million parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shutil.copytree(model_folder("tiny"), folder)
    (folder / "model.safetensors").unlink()
    tokenizer = load_tokenizer(str(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=768,
        intermediate_size=2464,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    source = np.random.default_rng(1)
    while True:
        prompt = source.integers(100, tokenizer.vocabulary_size, length).tolist()
        with torch.inference_mode():
            first = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
        if tokenizer.decode([first]).strip().isalnum():
            return Larger(folder, model, prompt, sum(one.numel() for one in model.parameters()))
