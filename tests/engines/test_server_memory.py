"""A server's memory does not grow with the number of its sites."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sottovoce.codec.roster import Identity, Roster, new_identity
from sottovoce.config import make_config
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.host import host
from sottovoce.run.letter import SERVER, Letter
from sottovoce.run.rounds import digest

SHAPES: Mapping[str, tuple[int, ...]] = {
    f"layer{place}.lora_{factor}.weight": (128, 128) for place in range(4) for factor in "AB"
}
UPDATE_BYTES = 4 * 8 * 128 * 128
FIRST = {name: np.full(shape, 0.5, np.float32) for name, shape in SHAPES.items()}


class Simulated:
    """Sites that train nothing: each answers when its answer is looked for, one at a time."""

    def __init__(self, identities: Mapping[str, Identity], roster: Roster) -> None:
        self.identities, self.roster = identities, roster
        self.asked: list[tuple[str, Callable[[], bytes]]] = []
        self.peak = 0

    def ask(self, site: str, make: Callable[[], bytes]) -> None:
        self.asked.append((site, make))

    def answers(self) -> Iterator[tuple[str, bytes]]:
        while self.asked:
            site, make = self.asked.pop(0)
            body = make()
            # What a site needs to answer is not the server's.
            self.peak = max(self.peak, tracemalloc.get_traced_memory()[1])
            answer = self._answer(site, body)
            del body
            tracemalloc.reset_peak()
            yield site, answer

    def _answer(self, site: str, body: bytes) -> bytes:
        question = letters.read(body, self.roster, to=site, limit=2**30)
        index = question.facts.get("round", -1)
        kind, parts = {"offer": "agreed", "begin": "begun"}.get(question.kind, question.kind), {}
        facts: dict[str, Any] = {"answers": letters.name_of(body), "round": index}
        if question.kind == "join":
            kind, layout = "joined", [[name, list(shape)] for name, shape in SHAPES.items()]
            figures = {"units": 0, "heaviest": 1, "steps": 1, "examples": 1}
            hashes = dict.fromkeys(("model_sha256", "tokenizer_sha256"), "0" * 64)
            facts |= {"layout": layout, "first_sha256": digest(FIRST), "adapter_config": None}
            facts |= {**figures, **hashes}
        elif question.kind == "first":
            parts = {"model": folders.pack_tensors(FIRST)}
        elif question.kind == "round":
            kind = "update"
            drawn = np.random.default_rng([index, *site.encode()])
            update = {n: drawn.standard_normal(s, np.float32) for n, s in SHAPES.items()}
            parts = {"update": folders.pack_tensors(update)}
            figures = dict.fromkeys(("steps", "examples", "tokens", "targets", "weight"), 1)
            facts |= {**figures, "loss": 1.0, "rank": None, "heldout_loss": 1.0}
            facts["spent"] = 0
        elif question.kind == "finish":
            kind = "finished"
            facts |= {"heldout_loss": 1.0, "spent": 0}
        return letters.write(
            Letter(kind, question.run, site, SERVER, facts, parts), self.identities[site]
        )

    def present(self) -> frozenset[str]:
        return frozenset(self.identities)

    def forget(self, site: str) -> None:
        """Nothing is held for anybody."""


def peak_of_rounds(folder: Path, sites: int) -> float:
    """The most that a server takes in a round beyond what it holds between rounds, in updates."""
    identities = {f"site{place:03d}": new_identity() for place in range(sites)}
    server = new_identity()
    tree = {
        "run": {"dir": str(folder), "threads": 1},
        "data": {"path": "unused"},
        "train": {"steps_per_round": 1},
        "federation": {"rounds": 2},
        "privacy": {"unit": "none"},
        "network": {"roster": dict.fromkeys(identities, "a line")},
    }
    members = Roster({name: one.public for name, one in identities.items()})
    asked = Roster({SERVER: server.public, **members.members})
    begun: list[int] = []
    peaks: list[int] = []

    carrier = Simulated(identities, asked)

    def log(event: str, fields: Mapping[str, Any]) -> None:
        if event == "round":
            begun.append(tracemalloc.get_traced_memory()[0])
            carrier.peak = 0
            tracemalloc.reset_peak()
        elif event == "finished":
            peaks.append(max(carrier.peak, tracemalloc.get_traced_memory()[1]))

    tracemalloc.start()
    try:
        host(make_config(tree, place="test"), server, members, carrier, log)
    finally:
        tracemalloc.stop()
    assert len(peaks) == 2
    return max(peak - at for peak, at in zip(peaks, begun, strict=True)) / UPDATE_BYTES


def test_memory_is_that_of_a_few_updates_however_many_sites_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    few, many = peak_of_rounds(tmp_path / "few", 3), peak_of_rounds(tmp_path / "many", 64)
    assert many == pytest.approx(few, abs=0.3)
    assert many <= 4, many
