"""What people see while they wait: live progress, tables, and one line of JSON."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sottovoce.evaluate import AnswerReport, Estimate, LossReport
    from sottovoce.run.arms import Evaluation, Watch
    from sottovoce.train import Progress as StepProgress


def to_json(value: Mapping[str, Any]) -> str:
    """One JSON object on one line; what is not finite becomes null.

    >>> to_json({"loss": float("nan"), "rounds": 2})
    '{"loss": null, "rounds": 2}'
    """
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


def print_table(title: str, rows: Sequence[Sequence[str]], *, to_stderr: bool = False) -> None:
    """Print rows as a table; the first row is the header."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    Console(stderr=to_stderr, soft_wrap=False).print(table)


@contextmanager
def watching(
    rounds: int, arms: int = 1, *, quiet: bool = False
) -> Iterator[Callable[[str], Watch]]:
    """Show live progress on standard error while it is a terminal, and nothing otherwise.

    Args:
        rounds: rounds of each arm.
        arms: how many arms are trained one after another.
        quiet: show nothing at all.

    Yields:
        A function from the name of an arm to what ``federate`` and ``compare`` tell things to.
    """
    from sottovoce.run.arms import Watch

    if quiet or not sys.stderr.isatty():
        yield lambda arm: Watch(arm)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=24),
        TextColumn("round {task.fields[round]}/{task.fields[rounds]}"),
        TextColumn("{task.fields[rate]} tokens/s  loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        bar = display.add_task("", total=rounds * arms, round=0, rounds=rounds, rate="-", loss="-")
        begun, read = time.monotonic(), [0]
        names: list[str] = []

        def step(arm: str, index: int, progress: StepProgress) -> None:
            if arm not in names:
                names.append(arm)
            read[0] += progress.tokens
            elapsed = time.monotonic() - begun
            done = (len(names) - 1) * rounds + index + (progress.step + 1) / progress.steps
            display.update(
                bar,
                description=arm,
                completed=done,
                round=index + 1,
                rate=f"{read[0] / max(elapsed, 1e-9):,.0f}",
                loss=f"{progress.loss:.3f}",
            )

        def evaluated(arm: str, evaluation: Evaluation) -> None:
            display.console.print(
                f"  {arm}: held-out loss {evaluation.mean:.4f} after {evaluation.round} rounds"
            )

        yield lambda arm: Watch(arm, on_step=step, on_evaluation=evaluated)


def personal_rows(personal: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """What each client's own model gives it, as rows; the first is the header."""
    rows = [
        [name, *(f"{figures[key]:.4f}" for key in ("shared", "personal", "gain"))]
        for name, figures in personal.items()
    ]
    return [["client", "shared", "its own", "gain"], *rows]


def eval_rows(losses: LossReport, answers: AnswerReport | None) -> list[list[str]]:
    """Scores per client and on average, with intervals, as rows; the first is the header."""
    figures = [("loss", losses.loss), ("token accuracy", losses.token_accuracy)]
    if answers is not None:
        figures += [
            ("ROUGE-L", answers.rouge_l),
            ("exact tool calls", answers.tool_call_accuracy),
        ]

    def cell(estimate: Estimate | None) -> str:
        if estimate is None:
            return "-"
        if estimate.low is None or estimate.high is None:
            return f"{estimate.value:.3f}"
        return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"

    rows = [["client", *(name for name, _ in figures)]]
    for client in losses.loss.clients:
        rows.append([client, *(cell(scores.clients.get(client)) for _, scores in figures)])
    rows.append(["average", *(cell(scores.average) for _, scores in figures)])
    return rows


def epsilon_rows(clients: Mapping[str, float]) -> list[list[str]]:
    """ε of every client that protects its own units, as rows; the first is the header."""
    from sottovoce.privacy.statement import number

    return [["client", "ε"], *([name, number(value)] for name, value in clients.items())]
