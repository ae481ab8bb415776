"""The server app: federated averaging; when each round ended goes into a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from peft import get_peft_model_state_dict

from plain.client import load_model


def main(grid: Any, context: Any) -> None:
    """Average for some rounds."""
    folder = Path(str(context.run_config["folder"]))

    def note(index: int, _: Any) -> None:
        with (folder / "ended").open("a", encoding="utf-8") as file:
            file.write(f"{index} {time.time()}\n")

    FedAvg(fraction_evaluate=0.0, min_available_nodes=int(context.run_config["clients"])).start(
        grid=grid,
        initial_arrays=ArrayRecord(get_peft_model_state_dict(load_model(folder))),
        num_rounds=int(context.run_config["rounds"]),
        evaluate_fn=note,
    )


app = ServerApp()
app.main()(main)
