"""Train the bundled base model, from corpus to folder: ``python scripts/train_tiny.py --out DIR``.

The same seed gives the same weights on the same machine with the same library versions.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tiny_corpus import Document, make_document
from tokenizers import AddedToken, Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders as token_decoders
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sottovoce.rng import derive_seed

SEED = 20300301
SPECIALS = (
    "<|pad|>",
    "<|end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    "<|call|>",
    "<|text|>",
)
VOCABULARY = 4096
TOKENIZER_DOCUMENTS = 24_000
HELDOUT_DOCUMENTS = 600
THREADS = 2
# Logits are made for this many positions at once, so that they stay in the processor's cache.
LOGIT_CHUNK = 1024

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] not in ['system', 'user', 'assistant', 'tool'] -%}
{{- raise_exception('unknown role: ' ~ message['role']) -}}
{%- endif -%}
{{- '<|' ~ message['role'] ~ '|>' -}}
{%- set content = message.get('content') -%}
{%- if content is string -%}
{{- content -}}
{%- elif content is not none -%}
{{- content | tojson(separators=(',', ':'), sort_keys=true) -}}
{%- endif -%}
{%- for call in message.get('tool_calls') or [] -%}
{%- set arguments = call['function']['arguments'] -%}
{{- '<|call|>{"name":' ~ (call['function']['name'] | tojson) ~ ',"arguments":' -}}
{%- if arguments is string -%}
{{- arguments -}}
{%- else -%}
{{- arguments | tojson(separators=(',', ':'), sort_keys=true) -}}
{%- endif -%}
{{- '}' -}}
{%- endfor -%}
{{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|assistant|>' -}}
{%- endif -%}
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the model is trained.

    Args:
        steps: optimizer steps.
        tokens_per_step: tokens read in each step.
        block: length of the sequences that the documents are packed into.
        long_block: length during the last steps, so that the model also knows far positions.
        long_share: share of the steps that read long blocks.
        peak: the highest learning rate, after the warm-up.
        warm_up: steps over which the learning rate rises.
        decay: weight decay of the matrices.
    """

    steps: int = 3000
    tokens_per_step: int = 4096
    block: int = 256
    long_block: int = 1024
    long_share: float = 0.08
    peak: float = 3e-3
    warm_up: int = 100
    decay: float = 0.1

    def block_at(self, step: int) -> int:
        """Length of the sequences in one step."""
        return self.long_block if step >= self.steps * (1 - self.long_share) else self.block

    def rate_at(self, step: int) -> float:
        """Learning rate in one step: a linear rise, then a cosine down to a twentieth."""
        if step < self.warm_up:
            return self.peak * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.peak * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True, slots=True)
class Heldout:
    """What the model makes of documents that it was not trained on, in one language."""

    language: str
    documents: int
    tokens: int
    perplexity: float
    unigram_perplexity: float
    assistant_perplexity: float
    bits_per_byte: float


def render(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> list[str]:
    """Write documents as the text that the model reads."""
    chats = [list(document.messages) for document in documents if document.messages]
    rendered = iter(tokenizer.apply_chat_template(chats, tokenize=False) if chats else [])
    return [
        next(rendered) if document.messages else f"<|text|>{document.text}<|end|>"
        for document in documents
    ]


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE vocabulary; every byte and every pair of digits has its own token."""
    raw = RawTokenizer(models.BPE())
    # A word may carry the space before it; digits never do, so that numbers are copied evenly.
    # Digits go in pairs, because to copy a number is to find what followed the last token of it:
    # a single digit stands in many places of a chat, a pair of them seldom.
    words = Regex(r" ?\p{L}+| ?[^\s\p{L}\p{N}]+|\p{N}{1,2}|\s+(?!\S)|\s+")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = token_decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIALS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        # Twelve bytes are four Chinese characters: words may be learnt, whole sentences may not.
        max_token_length=12,
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|text|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        extra_special_tokens=list(SPECIALS[2:7]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def corpus(seed: int, split: str, count: int | None = None) -> Iterator[list[Document]]:
    """Write the corpus in portions of 2000 documents; without end where ``count`` is None."""
    start = 0
    while count is None or start < count:
        stop = start + 2000 if count is None else min(count, start + 2000)
        yield [make_document(seed, split, index) for index in range(start, stop)]  # type: ignore[arg-type]
        start = stop


def pack(tokenizer: PreTrainedTokenizerFast, seed: int, size: int) -> NDArray[np.int64]:
    """Write one long row of exactly ``size`` training tokens."""
    portions: list[NDArray[np.int64]] = []
    have = 0
    for documents in corpus(seed, "train"):
        encoded = tokenizer.backend_tokenizer.encode_batch(
            render(tokenizer, documents), add_special_tokens=False
        )
        portions.append(np.concatenate([np.asarray(one.ids, np.int64) for one in encoded]))
        have += len(portions[-1])
        if have >= size:
            break
    return np.concatenate(portions)[:size]


def build_model(seed: int) -> LlamaForCausalLM:
    """Draw the initial weights."""
    torch.manual_seed(derive_seed(seed, "tiny", "weights") % 2**63)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=160,
        intermediate_size=432,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=7,
        attn_implementation="sdpa",
        dtype=torch.float32,
    )
    model = LlamaForCausalLM(config)
    begin_by_copying(model, seed)
    return model


def begin_by_copying(model: LlamaForCausalLM, seed: int) -> None:
    """Set the initial weights so that the untrained model already copies from its context.

    To continue a repeated sequence takes two heads in a row (Olsson et al. 2022, "In-context
    Learning and Induction Heads"): one that notes beside each token the token before it, and one
    that looks for the present token among those notes and repeats what stands there. From random
    weights, and with one digit a token, the pair was not found within 6.5 million tokens; so it
    is written into the first two layers, and training goes on from there. It holds no knowledge of any text.

    Args:
        model: initial weights, changed in place.
        seed: of the projections.
    """
    width, dim = model.config.hidden_size, model.config.head_dim
    generator = torch.Generator().manual_seed(derive_seed(seed, "tiny", "copying") % 2**63)
    # Larger embeddings than usual make the first logits large enough to be worth keeping.
    scale, constant = 3 * model.config.initializer_range, 3.0
    directions = _rotation(width - 1, generator)
    code, note = directions[: 2 * dim], directions[2 * dim : 4 * dim]
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(scale / model.config.initializer_range)
        # One coordinate is the same for all tokens; through it a head can look by place alone.
        model.model.embed_tokens.weight[:, 0] = constant * scale
        constant_after_norm = constant / math.sqrt((constant**2 + width - 1) / width)
        _note_the_token_before(first, code, 1.5 * scale * note, constant_after_norm)
        _repeat_what_followed(second, code, note, 8.0 * scale, generator)


def _rotation(size: int, generator: torch.Generator) -> Tensor:
    turned: Tensor = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    return turned


def _note_the_token_before(layer: Any, code: Tensor, note: Tensor, constant: float) -> None:
    """Two heads that read the token before along ``code`` and write it along ``note``.

    They have one query and one key for all tokens. Rotary positions (Su et al. 2021) turn the
    product of these into a function of the distance alone, the sum of cos(w_i (distance - 1)),
    which is greatest at distance 1.
    """
    dim = layer.head_dim
    half = dim // 2
    turns = layer.config.rope_parameters["rope_theta"] ** (-torch.arange(6) / half)
    key, query = torch.zeros(dim), torch.zeros(dim)
    key[:6], query[:6], query[half : half + 6] = 1.0, turns.cos(), -turns.sin()
    for head in range(2):
        rows = slice(head * dim, (head + 1) * dim)
        for projection, value in ((layer.q_proj, query), (layer.k_proj, key)):
            projection.weight[rows] *= 0.1
            projection.weight[rows, 0] = math.sqrt(200.0) / constant * value
        layer.v_proj.weight[rows, 0] = 0.0
        layer.v_proj.weight[rows, 1:] = code[rows]
        layer.o_proj.weight[0, rows] = 0.0
        layer.o_proj.weight[1:, rows] = note[rows].T


def _repeat_what_followed(
    layer: Any, code: Tensor, note: Tensor, strength: float, generator: torch.Generator
) -> None:
    """Four heads that compare the present token's code with earlier notes and repeat the match.

    They compare in the rotary pairs that hardly turn, so that distance does not matter.
    """
    dim, width = layer.head_dim, code.shape[1]
    still = [place for place in range(dim) if place % (dim // 2) >= dim // 2 - 10]
    copied = _rotation(width, generator)
    for head in range(4):
        rows = slice(head * dim, (head + 1) * dim)
        compared = _rotation(2 * dim, generator)[: len(still)]
        for projection, known in ((layer.q_proj, code), (layer.k_proj, note)):
            projection.weight[rows] *= 0.1
            projection.weight[[head * dim + place for place in still], 1:] = 3.0 * compared @ known
        layer.v_proj.weight[rows, 0] = 0.0
        layer.v_proj.weight[rows, 1:] = copied[rows]
        layer.o_proj.weight[0, rows] = 0.0
        layer.o_proj.weight[1:, rows] = strength * copied[rows].T


def learn(model: LlamaForCausalLM, rows: Tensor) -> float:
    """Add the gradient of the mean loss over rows [B, T] to the model; return that loss."""
    hidden = model.model(input_ids=rows).last_hidden_state[:, :-1].flatten(0, 1)
    targets = rows[:, 1:].flatten()
    leaf = hidden.detach().requires_grad_()
    total = 0.0
    for begin in range(0, len(targets), LOGIT_CHUNK):
        logits = model.lm_head(leaf[begin : begin + LOGIT_CHUNK])
        chunk = torch.nn.functional.cross_entropy(
            logits, targets[begin : begin + LOGIT_CHUNK], reduction="sum"
        ) / len(targets)
        chunk.backward()  # type: ignore[no-untyped-call]
        total += float(chunk.detach())
    hidden.backward(leaf.grad)
    return total


def fit(
    model: LlamaForCausalLM,
    tokens: NDArray[np.int64],
    recipe: Recipe,
    *,
    seconds_limit: float = math.inf,
    keep: Callable[[], None] = lambda: None,
) -> int:
    """Train the model in place on a long row of tokens; return the number of steps taken.

    Args:
        model: what is trained, in place.
        tokens: at least ``recipe.steps * recipe.tokens_per_step`` of them.
        recipe: how.
        seconds_limit: stop after this time, even where steps are left.
        keep: called now and then, to save what has been learnt so far.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.decay},
        {"params": others},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    started, recent = time.monotonic(), []
    model.train()
    for step in range(recipe.steps):
        span = slice(step * recipe.tokens_per_step, (step + 1) * recipe.tokens_per_step)
        rows = torch.from_numpy(tokens[span].reshape(-1, recipe.block_at(step)))
        recent.append(learn(model, rows))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.monotonic() - started
        if (step + 1) % 25 == 0 or step + 1 == recipe.steps:
            speed = (step + 1) * recipe.tokens_per_step / seconds
            say(f"step {step + 1} loss {np.mean(recent):.4f} {speed:.0f} tokens/s {seconds:.0f} s")
            recent.clear()
        if (step + 1) % 300 == 0:
            keep()
        if seconds > seconds_limit:
            say(f"stopped at the limit of {seconds_limit:.0f} s")
            return step + 1
    return recipe.steps


def evaluate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: Sequence[Document],
    frequency: NDArray[np.float64],
) -> Heldout:
    """Measure how well the model foretells documents of one language, each read alone.

    Args:
        model: the trained model.
        tokenizer: its tokenizer.
        documents: of one language.
        frequency: share of each token in the training text; what the unigram model knows.
    """
    model.eval()
    nats: list[NDArray[np.float64]] = []
    unigram: list[NDArray[np.float64]] = []
    spoken: list[NDArray[np.bool_]] = []
    size = 0
    for text in render(tokenizer, documents):
        ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids[:1024]
        row = torch.tensor([ids])
        with torch.no_grad():
            logits = model(input_ids=row).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="none")
        nats.append(loss.double().numpy())
        unigram.append(-np.log(frequency[ids[1:]]))
        spoken.append(_assistant(ids)[1:])
        size += len(text.encode())
    loss_all, said = np.concatenate(nats), np.concatenate(spoken)
    return Heldout(
        language=documents[0].language,
        documents=len(documents),
        tokens=len(loss_all),
        perplexity=float(np.exp(loss_all.mean())),
        unigram_perplexity=float(np.exp(np.concatenate(unigram).mean())),
        assistant_perplexity=float(np.exp(loss_all[said].mean())),
        bits_per_byte=float(loss_all.sum() / math.log(2) / size),
    )


def copied_numbers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: Iterable[Document],
    limit: int,
) -> tuple[int, int]:
    """Count the tool calls in which the model's likeliest number is the customer's own.

    A chat is asked once: up to the place in its first call where a number of four digits or more
    stands that an earlier turn holds too. The model is right if it would write that number out.

    Args:
        model: the trained model.
        tokenizer: its tokenizer.
        documents: held-out documents.
        limit: how many chats are asked.

    Returns:
        How many were right, and how many were asked.
    """
    right = asked = 0
    model.eval()
    for document in documents:
        if asked == limit:
            break
        text = render(tokenizer, [document])[0]
        head, call, tail = text.partition("<|call|>")
        found = re.search(r"[A-Z]*-?\d{4,}", tail.partition("<|end|>")[0])
        if found is None or found[0] not in head:
            continue
        encode = tokenizer.backend_tokenizer.encode
        prompt = encode(head + call + tail[: found.start()], add_special_tokens=False).ids
        number = encode(found[0], add_special_tokens=False).ids
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + number])).logits[0, len(prompt) - 1 :]
        right += logits[:-1].argmax(-1).tolist() == number
        asked += 1
    return right, asked


def _assistant(ids: Sequence[int]) -> NDArray[np.bool_]:
    """Mark the tokens that the assistant says, its end of turn included."""
    marks, speaking = [], False
    for token in ids:
        marks.append(speaking)
        if token == SPECIALS.index("<|assistant|>"):
            speaking = True
        elif token == SPECIALS.index("<|end|>"):
            speaking = False
    return np.array(marks)


def card(
    recipe: Recipe,
    steps: int,
    tokens: NDArray[np.int64],
    scores: Sequence[Heldout],
    copied: tuple[int, int],
    size: int,
) -> str:
    """Write the model card."""
    table = "\n".join(
        f"| {s.language} | {s.documents} | {s.tokens} | {s.perplexity:.2f} "
        f"| {s.assistant_perplexity:.2f} | {s.unigram_perplexity:.0f} | {s.bits_per_byte:.3f} |"
        for s in scores
    )
    digest = hashlib.sha256(tokens.astype("<u2").tobytes()).hexdigest()
    values = {
        "parameters": f"{size:,}",
        "steps": f"{steps:,}",
        "tokens": f"{steps * recipe.tokens_per_step:,}",
        "digest": digest,
        "table": table,
        "copied": str(copied[0]),
        "asked": str(copied[1]),
        "seed": str(SEED),
        "limit": "" if steps == recipe.steps else f" of {recipe.steps:,} (stopped by the limit)",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
    }
    text = (Path(__file__).parent / "tiny_card.md").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def say(line: str) -> None:
    """Print one line of progress to standard error."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train tokenizer and model, measure them, and write the folder with its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="optimizer steps")
    parser.add_argument("--seconds-limit", type=float, default=2700.0, help="of training")
    options = parser.parse_args(arguments)
    recipe = Recipe(steps=options.steps)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    # Portions of text are first tokenized by a tokenizer that only carries the template.
    carrier = PreTrainedTokenizerFast(
        tokenizer_object=RawTokenizer(models.BPE()), chat_template=CHAT_TEMPLATE
    )
    say("tokenizer")
    portions = corpus(SEED, "train", TOKENIZER_DOCUMENTS)
    tokenizer = train_tokenizer(text for portion in portions for text in render(carrier, portion))
    say("corpus")
    tokens = pack(tokenizer, SEED, recipe.steps * recipe.tokens_per_step)
    model = build_model(SEED)
    size = sum(parameter.numel() for parameter in model.parameters())
    say(f"{size} parameters, {len(tokens)} tokens")
    steps = fit(
        model,
        tokens,
        recipe,
        seconds_limit=options.seconds_limit,
        keep=lambda: save(options.out, model, tokenizer),
    )
    counts = np.bincount(tokens, minlength=VOCABULARY) + 1.0
    heldout = [d for part in corpus(SEED, "heldout", HELDOUT_DOCUMENTS) for d in part]
    scores = [
        evaluate(
            model, tokenizer, [d for d in heldout if d.language == tongue], counts / counts.sum()
        )
        for tongue in ("en", "zh")
    ]
    copied = copied_numbers(model, tokenizer, heldout, 200)
    for score in (*scores, copied):
        say(str(score))
    save(options.out, model, tokenizer)
    (options.out / "README.md").write_text(
        card(recipe, steps, tokens, scores, copied, size), encoding="utf-8"
    )


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write model, tokenizer and generation settings as transformers loads them."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config.max_new_tokens = 128
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
