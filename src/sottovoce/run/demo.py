"""The whole story on a generated marketplace: eight shops, one model, three questions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
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
from sottovoce.run.compare import ARMS, Comparison, compare, gap_closed
from sottovoce.run.finished import Finished, open_run
from sottovoce.run.folder import RunFolder
from sottovoce.run.local import Outcome, federate
from sottovoce.run.picture import draw_curves
from sottovoce.run.prepare import Prepared, marketplace_questions, prepare
from sottovoce.run.protect import facts as facts_of_privacy
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

    def in_words(self) -> str:
        """The question and what each of them answers, a line each."""
        return (
            f"{self.shop}\n  customer   {self.question}\n  base       {self.base}\n"
            f"  federated  {self.federated}\n  the facts  {self.reference}\n"
        )


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


@dataclass(frozen=True)
class Private:
    """The same federation with every customer hidden.

    Args:
        outcome: of the run.
        facts: what its result says about privacy.
        gap: the share of the gap that it closes, and why there is none.
    """

    outcome: Outcome
    facts: Mapping[str, Any]
    gap: tuple[float | None, str]

    @property
    def loss(self) -> float:
        """Held-out loss, averaged over the shops."""
        return self.outcome.evaluations[-1].mean


def configure(folder: Path, overrides: Sequence[str]) -> tuple[Config, Config]:
    """The demo's two configurations, without and with privacy, with fresh run folders.

    Run folders that the demo itself made earlier are replaced.

    Raises:
        ConfigError: a folder holds something else.
    """
    return (
        _configure("demo.toml", folder, overrides),
        _configure("demo_private.toml", folder.with_name(f"{folder.name}-private"), overrides),
    )


def _configure(name: str, folder: Path, overrides: Sequence[str]) -> Config:
    path = resources.files("sottovoce.run") / name
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


def tell(config: Config, private: Config, watch: Callable[[str], Watch]) -> Told:
    """Generate the market, train all arms and once more in private, draw, ask three questions."""
    begin = time.monotonic()
    prepared = prepare(config)
    done = compare(prepared, watch=watch)
    hidden = in_private(private, done, watch("private"))
    picture = done.outcome.folder.root / "loss_curves.png"
    draw_curves(done.curves, picture, title="Eight shops, one model")
    answers = ask(open_run(done.outcome.folder.root))
    facts = _facts(prepared, done, hidden, time.monotonic() - begin)
    return Told(facts, loss_table(done, hidden), answers, _closing(facts, picture))


def in_private(config: Config, done: Comparison, watch: Watch) -> Private:
    """Train the federation once more, with noise, and hold it against the same other arms."""
    prepared = prepare(config)
    outcome = federate(prepared, watch=watch)
    gap = gap_closed(done.loss | {"federated": outcome.evaluations[-1].mean})
    return Private(outcome, facts_of_privacy(prepared.plans, outcome.spent), gap)


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


def loss_table(done: Comparison, hidden: Private) -> list[list[str]]:
    """Held-out loss of every arm for every client, and on average."""
    base = done.curves["federated"][0]
    columns = [base, *(done.curves[arm][-1] for arm in ARMS), hidden.outcome.evaluations[-1]]
    rows = [["shop", "base", *ARMS, "private"]]
    for client in sorted(base.loss):
        rows.append([client, *(f"{column.loss[client]:.3f}" for column in columns)])
    rows.append(["average", *(f"{column.mean:.3f}" for column in columns)])
    return rows


def _facts(prepared: Prepared, done: Comparison, hidden: Private, seconds: float) -> dict[str, Any]:
    share, reason = done.gap
    private_share, private_reason = hidden.gap
    return {
        "seconds": round(seconds, 1),
        "loss": done.loss,
        "gap_closed": share,
        "gap_closed_reason": reason,
        "run_dir": str(done.outcome.folder.root),
        "privacy": facts_of_privacy(prepared.plans, done.outcome.spent),
        "private": {
            "gap_closed": private_share,
            "gap_closed_reason": private_reason,
            "loss": hidden.loss,
            "run_dir": str(hidden.outcome.folder.root),
            **{key: hidden.facts[key] for key in ("epsilon", "delta", "unit", "statement")},
        },
        "ledger_head": done.outcome.ledger_head,
    }


def _closing(facts: dict[str, Any], picture: Path) -> list[str]:
    share = facts["gap_closed"]
    gap = (
        f"The federation closes {share:.0%} of the gap between training alone and pooling all text."
        if share is not None
        else f"No share of the gap is given: {facts['gap_closed_reason']}."
    )
    hidden = facts["private"]
    with_noise = (
        f"With every customer hidden it closes {hidden['gap_closed']:.0%}."
        if (hidden["gap_closed"] or 0) > 0
        else f"With every customer hidden its loss is {hidden['loss']:.2f}, more than each shop's "
        "alone: so few customers hide only behind a lot of noise."
    )
    return [
        gap,
        with_noise,
        *hidden["statement"],
        "The other run has no privacy: its text stayed with its shop, but the updates were neither "
        "noised nor masked.",
        f"{facts['seconds']:.0f} seconds. Curves: {picture}",
        f"Talk to it: sotto chat {facts['run_dir']}",
    ]
