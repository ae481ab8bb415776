"""A secure sum played in one process, every message as bytes, step by step or as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache

import numpy as np

from sottovoce.codec.roster import Identity, Roster, identity_from
from sottovoce.codec.secagg import client as steps
from sottovoce.codec.secagg.messages import Message, read, write
from sottovoce.codec.secagg.server import Server
from sottovoce.codec.secagg.states import State
from sottovoce.codec.secagg.terms import Terms
from sottovoce.rng import Source, seeded_source

MODEL = b"m" * 32
STAGES = ("advertise", "share", "upload", "acknowledge", "unmask")


def names_of(count: int) -> tuple[str, ...]:
    return tuple(f"c{number:03d}" for number in range(count))


@cache
def identity_of(name: str) -> Identity:
    return identity_from(name.encode().ljust(32, b"."))


@cache
def roster_of(count: int) -> Roster:
    return Roster({name: identity_of(name).public for name in names_of(count)})


def terms_for(count: int = 4, **changes) -> Terms:
    """Terms for the first clients of a roster; the threshold is floor(2k/3) + 1 unless given."""
    cohort = changes.pop("cohort", names_of(count))
    degree = len(cohort) - 1
    values = {
        "run": b"r" * 32,
        "round": 3,
        "beacon": b"b" * 32,
        "config_sha256": b"c" * 32,
        "roster": roster_of(max(count, len(cohort))),
        "cohort": cohort,
        "length": 6,
        "bits": 16,
        "neighbours": degree,
        "threshold": 2 * degree // 3 + 1 if degree > 1 else 1,
        "minimum_survivors": 2,
    }
    values |= changes
    values["minimum_survivors"] = max(values["minimum_survivors"], values["threshold"])
    return Terms(**values)


def vectors_for(terms: Terms, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, terms.largest, terms.length, np.uint64, endpoint=True).astype(
            terms.word
        )
        for name in terms.cohort
    }


def true_sum(vectors: Mapping[str, np.ndarray], who: Iterable[str], bits: int) -> list[int]:
    """The reference: Python integers, entry by entry."""
    rows = [vectors[name].tolist() for name in who]
    return [sum(column) % 2**bits for column in zip(*rows, strict=True)]


def sent(message: Message, terms: Terms, to: Terms | None = None) -> Message:
    """What the other side reads of a message."""
    return read(type(message), write(message, terms), to or terms)


class Play:
    """All clients and the server of one sum. What each stage sent is kept under its name."""

    def __init__(self, terms: Terms, seed: int = 0, models: Mapping[str, bytes] | None = None):
        self.terms = terms
        self.server = Server(terms, MODEL)
        self.models = models or {}
        self.vectors = vectors_for(terms, seed)
        self.sources: dict[str, Source] = {
            name: seeded_source(seed, "secagg", name) for name in terms.cohort
        }
        self.states: dict[str, State] = {}
        self.sent: dict[str, dict[str, Message]] = {stage: {} for stage in STAGES}
        self.got: dict[str, Mapping[str, Message]] = {}

    # What one client does at each stage; the new state is returned, not stored.

    def advertise(self, name: str):
        return steps.advertise(identity_of(name), name, self.terms, self.sources[name])

    def share(self, name: str, cohort: Message | None = None):
        cohort = cohort or self.got["share"][name]
        return steps.share(self.states[name], cohort, identity_of(name), self.sources[name])

    def upload(self, name: str, inbox: Message | None = None):
        inbox = inbox or self.got["upload"][name]
        model = self.models.get(name, MODEL)
        vector = self.vectors[name].copy()
        return steps.upload(self.states[name], inbox, vector, model, identity_of(name))

    def acknowledge(self, name: str, survivors: Message | None = None):
        survivors = survivors or self.got["acknowledge"][name]
        return steps.acknowledge(self.states[name], survivors, identity_of(name))

    def unmask(self, name: str, request: Message | None = None):
        request = request or self.got["unmask"][name]
        return steps.unmask(self.states[name], request, identity_of(name))

    # What the server does with a message, and at the end of a stage.

    def add(self, stage: str, message: Message) -> None:
        adders = {
            "advertise": self.server.add_advertisement,
            "share": self.server.add_shares,
            "upload": self.server.add_upload,
            "acknowledge": self.server.add_acknowledgement,
            "unmask": self.server.add_unmasking,
        }
        adders[stage](sent(message, self.terms))

    def close(self, stage: str):
        if stage == "advertise":
            self.got["share"] = self.server.close_advertisements()
        elif stage == "share":
            self.got["upload"] = self.server.close_shares()
        elif stage == "upload":
            survivors = self.server.close_uploads()
            self.got["acknowledge"] = dict.fromkeys(survivors.survivors, survivors)
            if not self.terms.malicious:
                self.got["unmask"] = self.server.close_acknowledgements()
        elif stage == "acknowledge":
            self.got["unmask"] = self.server.close_acknowledgements()
        else:
            return self.server.recover()
        return None

    def clients(self, stage: str) -> tuple[str, ...]:
        return self.terms.cohort if stage == "advertise" else tuple(self.got[stage])

    def stages(self) -> list[str]:
        return [stage for stage in STAGES if self.terms.malicious or stage != "acknowledge"]

    def go(self, stage: str, without: Collection[str] = (), *, close: bool = True):
        """One stage of everybody who is still there; returns the sum after the last one."""
        for name in self.clients(stage):
            if name not in without:
                self.states[name], message = getattr(self, stage)(name)
                self.sent[stage][name] = message
                self.add(stage, message)
        return self.close(stage) if close else None

    def until(self, stage: str, without: Mapping[str, str] | None = None) -> Play:
        """Play all stages before this one. ``without`` says who is silent from which stage on."""
        for each in self.stages():
            if each == stage:
                return self
            self.go(each, self.silent(each, without or {}))
        raise ValueError(stage)

    def whole(self, without: Mapping[str, str] | None = None) -> np.ndarray:
        total = None
        for stage in self.stages():
            total = self.go(stage, self.silent(stage, without or {}))
        return total

    def silent(self, stage: str, without: Mapping[str, str]) -> set[str]:
        order = STAGES.index(stage)
        return {name for name, last in without.items() if STAGES.index(last) <= order}

    def expected(self) -> list[int]:
        return true_sum(self.vectors, self.server.survivors, self.terms.bits)
