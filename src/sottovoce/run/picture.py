"""The picture of a comparison: held-out loss of every arm over the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sottovoce.run.arms import Evaluation

_LOOKS = {
    "local": ("#b5651d", "each shop alone", (0, (1, 1))),
    "federated": ("#1b6ca8", "federated", "solid"),
    "centralised": ("#3d8b5f", "centralised (text pooled)", (0, (5, 2))),
}


def draw_curves(curves: Mapping[str, Sequence[Evaluation]], path: Path, *, title: str) -> None:
    """Draw held-out loss over rounds, one line per arm, the base model as a level.

    Args:
        curves: evaluations by arm, each beginning with the base model.
        path: a PNG file.
        title: what stands above the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.axhline(
        curves["federated"][0].mean, color="#888888", linewidth=1, label="base model, untrained"
    )
    for arm, points in curves.items():
        colour, label, dashes = _LOOKS[arm]
        axes.plot(
            [point.round for point in points],
            [point.mean for point in points],
            color=colour,
            label=label,
            linestyle=dashes,
            marker="o",
            markersize=3.5,
        )
    axes.set_xlabel("rounds (all arms have seen the same conversations equally often)")
    axes.set_ylabel("held-out loss, nats per token")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_title(title, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
