"""The whole story on a generated marketplace: eight shops, one model, three questions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sottovoce.config import MARKETPLACE, Config, load_config
from sottovoce.data.conversation import Conversation
from sottovoce.data.dialogues import DemoQuestion
from sottovoce.errors import ConfigError
from sottovoce.model.generate import Sampling
from sottovoce.run.arms import Watch
from sottovoce.run.compare import ARMS, Comparison, compare
from sottovoce.run.finished import Finished, open_run
from sottovoce.run.folder import RunFolder
from sottovoce.run.picture import draw_curves
from sottovoce.run.prepare import Prepared, marketplace_questions, prepare
from sottovoce.tasks.chat import messages_of, parse_answer, show_answer


@dataclass(frozen=True)
class AnswerPair:
    """One question, answered by the base and by the federated model.

    Args:
        shop: whose customer asks.
        question: what the customer says.
        base: the base model's answer.
        federated: the federated model's answer.
        reference: what the shop's own facts say.
    """

    shop: str
    question: str
    base: str
    federated: str
    reference: str


@dataclass(frozen=True)
class Told:
    """All that the demo shows.

    Args:
        facts: the JSON object.
        losses: held-out losses as a table; the first row is the header.
        answers: three questions with both answers.
        closing: lines below everything.
    """

    facts: dict[str, Any]
    losses: list[list[str]]
    answers: list[AnswerPair]
    closing: list[str]


def configure(folder: Path, overrides: Sequence[str]) -> Config:
    """The demo's configuration, with a fresh run folder.

    A run folder that the demo itself made earlier is replaced.

    Raises:
        ConfigError: the folder holds something else.
    """
    path = resources.files("sottovoce.run") / "demo.toml"
    with resources.as_file(path) as file:
        config = load_config(file, [f'run.dir="{folder}"', *overrides])
    run = RunFolder(Path(config.run.dir))
    if run.ledger.exists():
        if load_config(run.config).data.path != MARKETPLACE:
            raise ConfigError(
                f"{run.root} holds a run that is not the demo's", remedy="Choose another --dir"
            )
        shutil.rmtree(run.root)
    return config


def tell(config: Config, watch: Callable[[str], Watch]) -> Told:
    """Generate the market, train all arms, draw the curves, ask three questions."""
    begin = time.monotonic()
    prepared = prepare(config)
    done = compare(prepared, watch=watch)
    picture = done.outcome.folder.root / "loss_curves.png"
    draw_curves(done.curves, picture, title="Eight shops, one model")
    answers = ask(open_run(done.outcome.folder.root))
    facts = _facts(prepared, done, time.monotonic() - begin)
    return Told(facts, loss_table(done), answers, _closing(facts, picture))


def ask(finished: Finished) -> list[AnswerPair]:
    """Put three customers' questions to the base and to the federated model."""
    before = finished.without_adapter()
    return [
        AnswerPair(
            question.shop,
            question.prompt[-1].content,
            _in_full(before, question),
            _in_full(finished, question),
            question.expected[-1].content,
        )
        for question in marketplace_questions(finished.config)
    ]


def _in_full(model: Finished, question: DemoQuestion) -> str:
    """The model's answer; a right tool call is carried out and answered from its result."""
    sampling = Sampling(max_new_tokens=model.config.evaluate.max_new_tokens)
    asked = messages_of(Conversation(question.prompt))
    content, calls = parse_answer(model.answer([asked], sampling)[0])
    asking = show_answer(content, calls)
    if not calls or calls != question.expected[0].tool_calls:
        return asking
    continued = messages_of(Conversation((*question.prompt, *question.expected[:-1])))
    return f"{asking} {parse_answer(model.answer([continued], sampling)[0])[0]}"


def loss_table(done: Comparison) -> list[list[str]]:
    """Held-out loss of every arm for every client, and on average."""
    base = done.curves["federated"][0]
    columns = [base, *(done.curves[arm][-1] for arm in ARMS)]
    rows = [["shop", "base", *ARMS]]
    for client in sorted(base.loss):
        rows.append([client, *(f"{column.loss[client]:.3f}" for column in columns)])
    rows.append(["average", *(f"{column.mean:.3f}" for column in columns)])
    return rows


def _facts(prepared: Prepared, done: Comparison, seconds: float) -> dict[str, Any]:
    share, reason = done.gap
    return {
        "seconds": round(seconds, 1),
        "loss": done.loss,
        "gap_closed": share,
        "gap_closed_reason": reason,
        "run_dir": str(done.outcome.folder.root),
        "privacy": prepared.config.privacy.facts(),
        "ledger_head": done.outcome.ledger_head,
    }


def _closing(facts: dict[str, Any], picture: Path) -> list[str]:
    share = facts["gap_closed"]
    gap = (
        f"The federation closes {share:.0%} of the gap between training alone and pooling all text."
        if share is not None
        else f"No share of the gap is given: {facts['gap_closed_reason']}."
    )
    return [
        gap,
        f"{facts['seconds']:.0f} seconds. Curves: {picture}",
        "Privacy: none. The text stayed with its shop, but the updates were neither noised nor "
        "masked.",
        f"Talk to it: sotto chat {facts['run_dir']}",
    ]
