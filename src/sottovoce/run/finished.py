"""A finished run, opened again: to chat with, to score, to export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sottovoce import train as training
from sottovoce.config import Config
from sottovoce.data.conversation import Conversation, Message
from sottovoce.errors import ConfigError
from sottovoce.evaluate import (
    Answer,
    AnswerReport,
    LossReport,
    TokenScores,
    answer_report,
    loss_report,
)
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import load_base, model_folder
from sottovoce.model.full import FullModel
from sottovoce.model.generate import Sampling, generate
from sottovoce.model.peft_format import write_merged, write_peft
from sottovoce.model.tokenizer import Tokenizer, load_tokenizer
from sottovoce.rng import stream
from sottovoce.run.cleaning import scrubbed_with, scrubber_of
from sottovoce.run.contribute import on_base
from sottovoce.run.prepare import Party, load_parties
from sottovoce.run.stored import Stored, read_run
from sottovoce.tasks.chat import Prompt, messages_of, parse_answer, prompts, show_answer
from sottovoce.update import Tensors, flatten, unflatten

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Finished:
    """A run with its model loaded.

    Args:
        stored: the run folder and what it holds.
        model: the base model with its trainable rows.
        tokenizer: the base model's.
        weights: the shared weights after the last round, or a client's own, ``[D]``; None stands
            for the base model.
        residual: what the federated algorithm folded into the base model; empty for most.
    """

    stored: Stored
    model: LoraModel | FullModel
    tokenizer: Tokenizer
    weights: NDArray[np.float32] | None
    residual: Tensors = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.stored.config

    def without_adapter(self) -> Finished:
        """The base model of this run, as it was before the federation."""
        return replace(self, weights=None, residual={})

    @property
    def has_personal_models(self) -> bool:
        """Whether every client ended with a model of its own."""
        return self.stored.personal is not None

    def of_client(self, client: str) -> Finished:
        """The personal model of one client.

        Raises:
            ConfigError: the run has no personal models, or no such client.
            VerificationError: its file was altered.
        """
        return replace(self, weights=flatten(self.stored.of_client(client), self.model.layout))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the base model computes with this run's adapter."""
        with on_base(self.model, self.residual):
            adapter = nullcontext() if self.weights is None else self.model.applied(self.weights)
            with adapter:
                yield

    def answer(self, conversations: Sequence[Messages], sampling: Sampling) -> list[str]:
        """Generate the next assistant turn of each conversation, special tokens included.

        Answers are cut at the end-of-turn token; prompts that leave no room are refused.
        """
        ids = [
            self.tokenizer.encode(self.tokenizer.render(messages, add_generation_prompt=True))
            for messages in conversations
        ]
        limit = getattr(self.model.base.model.config, "max_position_embeddings", None)
        longest = max(len(prompt) for prompt in ids)
        if isinstance(limit, int) and longest + sampling.max_new_tokens > limit:
            raise ConfigError(
                f"the conversation has {longest} tokens and the answer may take "
                f"{sampling.max_new_tokens} more",
                allowed=f"{limit} together, the positions that {self.config.model.path} has",
                remedy="Start a new conversation, or lower --max-new-tokens",
            )
        with self.applied():
            answers = generate(self.model.base, ids, sampling, stop_ids=[self.tokenizer.eos_id])
        return [self.tokenizer.decode(answer, keep_special=True) for answer in answers]


def open_run(root: Path, overrides: Sequence[str] = ()) -> Finished:
    """Open a run folder and load its model and last weights, checked against the ledger.

    Args:
        root: the run folder.
        overrides: changes to its configuration, for scoring otherwise than it was trained.

    Raises:
        ConfigError: there is no run in the folder.
        VerificationError: the ledger, or the weights that it vouches for, were altered.
    """
    stored = read_run(root, overrides)
    config, tensors = stored.config, stored.tensors
    torch.set_num_threads(config.run.threads)
    base = load_base(config.model)
    model = FullModel(base) if config.model.train == "full" else LoraModel(base, config.model.lora)
    tokenizer = load_tokenizer(
        model_folder(config.model.path), offline=not config.model.allow_download
    )
    weights = {name: value for name, value in tensors.items() if name in model.layout.shapes}
    residual = {name: value for name, value in tensors.items() if name not in weights}
    row = flatten(weights, model.layout)
    return Finished(stored, model, tokenizer, row, residual)


def score_run(run: Finished) -> tuple[LossReport, AnswerReport | None]:
    """Score a run on the held-out conversations of its clients.

    Returns:
        Token scores of every held-out conversation; and scores of generated answers on up to
        ``evaluate.answers_per_client`` held-out turns of each client, or None for plain text.
    """
    parties, _ = load_parties(run.config, run.tokenizer)
    settings = run.config.evaluate
    losses = loss_report(
        {party.name: _token_scores(run, party) for party in parties},
        seed=run.config.seed,
        resamples=settings.resamples,
    )
    if run.config.task != "chat" or settings.answers_per_client == 0:
        return losses, None
    answers = {party.name: _answers(run, party) for party in parties}
    report = answer_report(answers, seed=run.config.seed, resamples=settings.resamples)
    return losses, report


def _token_scores(run: Finished, party: Party) -> TokenScores:
    weights = run.weights if run.weights is not None else run.model.initial(run.config.seed)
    budget = run.config.train.tokens_per_pass
    with on_base(run.model, run.residual):
        scores = training.score(run.model, weights, party.validation, tokens_per_pass=budget)
    return TokenScores(scores.nll, scores.correct, scores.tokens, party.units)


def _answers(run: Finished, party: Party) -> list[Answer]:
    """Answer a fixed draw of the party's held-out turns; prompts of similar length share a pass."""
    settings = run.config.evaluate
    asked = [
        (prompt, conversation.owner or conversation.source)
        for conversation in party.held_out
        for prompt in prompts(conversation)
    ]
    drawn = stream(run.config.seed, "answers", party.name).permutation(len(asked))
    chosen = [asked[place] for place in sorted(drawn[: settings.answers_per_client])]
    chosen.sort(key=lambda pair: _size(pair[0]))
    answers: list[Answer] = []
    for start in range(0, len(chosen), 8):
        part = chosen[start : start + 8]
        texts = run.answer(
            [prompt.messages for prompt, _ in part],
            Sampling(max_new_tokens=settings.max_new_tokens),
        )
        for (prompt, unit), text in zip(part, texts, strict=True):
            content, calls = parse_answer(text)
            answers.append(Answer(content, prompt.content, calls, prompt.tool_calls, unit))
    return answers


def _size(prompt: Prompt) -> int:
    return sum(len(str(message.get("content", ""))) for message in prompt.messages)


def export_run(run: Finished, to: str, folder: Path) -> list[str]:
    """Write the shared model for others: a PEFT adapter, or a whole merged checkpoint.

    Args:
        run: the finished run.
        to: ``"peft"`` or ``"merged"``.
        folder: where the files go.

    Returns:
        The names of the files.

    Raises:
        ConfigError: another format, or an adapter of a run that trained all parameters or whose
            algorithm changed the base model.
    """
    weights = run.weights if run.weights is not None else run.model.initial(run.config.seed)
    if to == "merged":
        with on_base(run.model, run.residual):
            write_merged(weights, run.model, folder, run.tokenizer.vendor.save_pretrained)
    elif run.residual and to == "peft":
        raise ConfigError(
            f"{run.config.federation.strategy.name} changed the base model, so an adapter alone "
            "is not the result",
            remedy="Use --to merged",
        )
    elif to != "peft":
        raise ConfigError(f"--to is {to!r}", allowed="peft or merged")
    elif isinstance(run.model, LoraModel):
        write_peft(unflatten(weights, run.model.layout), run.model, folder)
    else:
        raise ConfigError(
            "this run trained all parameters, so there is no adapter", remedy="Use --to merged"
        )
    return sorted(path.name for path in folder.iterdir())


def system_message(run: Finished, client: str | None = None) -> str | None:
    """The system message that a client's conversations begin with, if they have one.

    Args:
        run: whose configuration says where the data are.
        client: whose; None takes the first client that has one.

    Raises:
        ConfigError: the run has no such client.
    """
    if run.config.task != "chat":
        return None
    data = run.config.data
    scrubber = scrubber_of(data) if data.scrubs else None
    # Only the message that is shown is scrubbed here: the rest is read and not looked at.
    plain = run.config.model_copy(update={"data": data.model_copy(update={"scrub": "off"})})
    parties = load_parties(plain, run.tokenizer)[0]
    if client is not None and client not in (names := [party.name for party in parties]):
        raise ConfigError(f"there is no client {client!r}", allowed=", ".join(names))
    for party in parties:
        for conversation in party.held_out if client in (None, party.name) else ():
            first = conversation.messages[0]
            if first.role == "system":
                shown = scrubbed_with(scrubber, first.content)
                if shown is not None:
                    return shown
    return None


def converse(run: Finished, system: str | None, sampling: Sampling) -> Callable[[str], str]:
    """Begin a conversation: a function from what the user says to what the model answers.

    Every turn stays in the conversation, so later answers may refer to earlier ones. Tool calls
    are shown behind the answer and not carried out.
    """
    turns = [Message("system", system)] if system else []

    def say(text: str) -> str:
        turns.append(Message("user", text))
        messages = messages_of(Conversation(tuple(turns)))
        content, calls = parse_answer(run.answer([messages], sampling)[0])
        turns.append(Message("assistant", content, calls))
        return show_answer(content, calls)

    return say
