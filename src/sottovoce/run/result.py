"""The result of a run in the form that others read."""

from __future__ import annotations

from pathlib import Path

from sottovoce.model.adapters import LoraModel
from sottovoce.model.peft_format import write_merged, write_peft
from sottovoce.run.contribute import on_base
from sottovoce.run.prepare import Prepared
from sottovoce.strategies import ServerState
from sottovoce.update import flatten


def write_result(prepared: Prepared, server: ServerState, folder: Path) -> None:
    """Write the result for others: a PEFT adapter, or a whole checkpoint where the base changed."""
    if isinstance(prepared.model, LoraModel) and not server.residual:
        write_peft(server.weights, prepared.model, folder)
        return
    weights = flatten(server.weights, prepared.model.layout)
    vendor = prepared.tokenizer.vendor
    with on_base(prepared.model, server.residual):
        write_merged(weights, prepared.model, folder, lambda path: vendor.save_pretrained(path))
