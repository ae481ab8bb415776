"""What a server and its sites tell each other of a run, and how it stands in a letter. No text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from sottovoce.config import Config
from sottovoce.data.settings import KEYS_OF_SITE
from sottovoce.errors import VerificationError
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import fingerprint
from sottovoce.model.peft_format import peft_config
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.contribute import devices_in, planned_steps
from sottovoce.run.identity import packages
from sottovoce.run.known import Fellows
from sottovoce.run.letter import Letter
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import units_inside
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.strategies import Algorithm, ServerState
from sottovoce.update import Layout, Tensors, Update


def shared_config(config: Config) -> bytes:
    """The configuration as all clients share it: without any place, key or policy of one machine."""
    tree = config.model_dump(mode="json", exclude_none=True)
    tree.pop("network", None)
    tree["run"].pop("dir", None)
    tree["data"].pop("path", None)
    tree["data"].pop("hub", None)
    for own in KEYS_OF_SITE:
        tree["data"].pop(own, None)
    tree["privacy"].pop("policy", None)
    # How examples were dealt to clients in one process says nothing across machines.
    tree["data"]["clients"] = "column"
    tree["federation"].pop("clients", None)
    model = tree["model"]["path"]
    if Path(model).is_absolute():
        tree["model"]["path"] = Path(model).name
    return tomli_w.dumps(tree).encode()


def told_in(prepared: Prepared, first: ServerState) -> dict[str, Any]:
    """What a site tells a server before a run: of its model all that matters, of its text sizes."""
    config, model = prepared.config, prepared.model
    [party] = prepared.parties
    units = units_inside(config, {party.name: party.train})
    adapter = peft_config(model) if isinstance(model, LoraModel) else None
    if adapter is not None and Path(adapter["base_model_name_or_path"]).is_absolute():
        adapter["base_model_name_or_path"] = Path(adapter["base_model_name_or_path"]).name
    hidden = config.privacy.unit != "none" or config.secure.aggregation != "none"
    return {
        "layout": [[name, list(shape)] for name, shape in model.layout.shapes.items()],
        "first_sha256": digest(model_tensors(first)),
        "model_sha256": fingerprint(model.base),
        "tokenizer_sha256": prepared.tokenizer.fingerprint,
        "packages": packages(),
        "adapter_config": adapter,
        "units": len(units.get(party.name, ())),
        # Under a plan, or where sums hide it, how much text a site holds is its own affair.
        "examples": 0 if hidden else len(party.train),
        "heaviest": 1
        if config.privacy.unit != "none" or config.secure.max_weight is not None
        else len(party.train),
        "steps": planned_steps(prepared, devices_in(prepared))[party.name],
    }


def figures_of(prepared: Prepared, update: Update) -> dict[str, Any]:
    """The figures of an update that travel beside it."""
    plans = prepared.plans
    hidden = plans.whole_clients or prepared.config.secure.aggregation != "none"
    return {
        "steps": update.steps,
        "weight": update.counts,
        "rank": update.rank,
        "examples": 0 if hidden else update.examples,
        "tokens": 0 if hidden else update.tokens,
        "targets": 0 if hidden else update.targets,
        # Where the server adds the noise it also releases the loss, if anybody does.
        "loss": update.loss if not hidden or plans.federation is not None else None,
    }


def fellows_in(letter: Letter) -> Fellows:
    """Who takes part, as the server says it.

    Raises:
        VerificationError: it says something else.
    """
    counts = letters.table(letter.facts, "unit_counts")
    return Fellows(
        {str(name): letters.count(counts, name) for name in counts},
        letters.count(letter.facts, "heaviest_client"),
    )


def require_like(expected: Tensors, found: Tensors) -> None:
    """Refuse tensors of other names or shapes.

    Raises:
        VerificationError: as said.
    """
    Layout({name: tuple(value.shape) for name, value in expected.items()}).check(found)


def layout_of_facts(facts: Mapping[str, Any]) -> Layout:
    """The layout that a site told.

    Raises:
        VerificationError: it is none.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    listed = facts.get("layout")
    if not isinstance(listed, list):
        raise VerificationError(f"a layout that is {type(listed).__name__}", allowed="a list")
    for item in listed:
        match item:
            case [str(name), list(shape)] if all(type(n) is int and 0 < n < 2**31 for n in shape):
                shapes[name] = tuple(shape)
            case _:
                raise VerificationError("a layout with an entry that is no name with a shape")
    if not shapes or len(shapes) != len(listed):
        raise VerificationError("a layout without tensors, or with one name twice")
    return Layout(shapes)


def model_parts(server: ServerState, algorithm: Algorithm) -> dict[str, bytes]:
    """All of a server's state that the clients' half of a round reads, as parts of a letter."""
    memory = {
        f"{kind}/{name}": value
        for kind in algorithm.shows
        for name, value in server.moments[kind].items()
    }
    parts = {"model": folders.pack_tensors(model_tensors(server))}
    return parts | ({"memory": folders.pack_tensors(memory)} if memory else {})


def model_of(letter: Letter, algorithm: Algorithm, index: int) -> ServerState:
    """The inverse of ``model_parts``.

    Raises:
        VerificationError: the tensors are damaged, or not float32.
    """
    tensors = tensors_of(letters.part(letter, "model"), "the model of the server's letter")
    residual = {name: v for name, v in tensors.items() if name.endswith(".residual.weight")}
    weights = {name: value for name, value in tensors.items() if name not in residual}
    moments: dict[str, dict[str, NDArray[Any]]] = {}
    if "memory" in letter.parts:
        memory = tensors_of(letter.parts["memory"], "the memory in the server's letter")
        for key, value in memory.items():
            kind, _, name = key.partition("/")
            moments.setdefault(kind, {})[name] = value
    if set(moments) != set(algorithm.shows):
        raise VerificationError(
            f"the server's letter shows {sorted(moments)}", allowed=f"{sorted(algorithm.shows)}"
        )
    return ServerState(weights, moments, index, residual)


def tensors_of(data: bytes, what: str, *, finite: bool = True) -> Tensors:
    """Tensors that came from outside.

    Args:
        data: the bytes.
        what: names them in errors.
        finite: whether all entries have to be finite.

    Raises:
        VerificationError: the bytes are no safetensors, or a tensor is not float32 or not finite.
    """
    tensors = folders.parse_tensors(data, Path(what))
    for name, value in tensors.items():
        if value.dtype.str != "<f4":
            raise VerificationError(f"{name} in {what} is {value.dtype}", allowed="float32")
        if finite and not np.isfinite(value).all():
            raise VerificationError(f"{name} in {what} is not finite", allowed="finite numbers")
    return tensors
