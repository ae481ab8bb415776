"""What a site has made of a round, kept until no other sum of the round can ask for it. Private."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.run import folder as folders
from sottovoce.run.ledger import canonical
from sottovoce.run.secure import Contribution
from sottovoce.update import Update

_FIGURES: Final = ("examples", "steps", "tokens", "loss", "targets", "weight", "rank")


@dataclass(frozen=True)
class Made:
    """A trained update before anything hides it.

    Args:
        update: what is sent.
        inside: what is sent in its place, where units inside the site hide in one sum.
        blocks: the same in few bits, where it travels so.
    """

    update: Update = field(repr=False)
    inside: Contribution | None = field(repr=False)
    blocks: bytes = field(repr=False)


def pack_made(made: Made) -> bytes:
    """Write it as the bytes of a safetensors file."""
    update = made.update
    figures = canonical({name: getattr(update, name) for name in _FIGURES})
    tensors: dict[str, NDArray[Any]] = {f"update/{n}": v for n, v in update.tensors.items()}
    tensors["figures"] = np.frombuffer(figures, np.uint8)
    if made.inside is not None:
        tensors["inside"] = made.inside.steps
        tensors["units"] = np.array([made.inside.units], np.int64)
    return folders.pack_tensors(tensors)


def unpack_made(data: bytes, client: str) -> Made:
    """Read what ``pack_made`` wrote.

    Raises:
        VerificationError: the bytes are damaged.
    """
    tensors = folders.parse_tensors(data, Path("what was made of the round"))
    figures: Mapping[str, Any] = json.loads(tensors["figures"].tobytes())
    named = {
        key.removeprefix("update/"): value
        for key, value in tensors.items()
        if key.startswith("update/")
    }
    inside = None
    if "inside" in tensors:
        inside = Contribution(tensors["inside"], int(tensors["units"][0]))
    return Made(Update(named, client, **figures), inside, b"")
