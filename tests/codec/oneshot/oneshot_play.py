"""A secure sum with helpers played in one process, every message as bytes, stage by stage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache

import numpy as np

from sottovoce.codec.oneshot import client as client_steps
from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot.messages import Message, Upload, read, write
from sottovoce.codec.oneshot.server import Server
from sottovoce.codec.oneshot.states import RunSecret, State
from sottovoce.codec.oneshot.terms import HelperKey, Terms
from sottovoce.codec.roster import Identity, Roster, identity_from
from sottovoce.rng import Source, seeded_source

RUN = b"r" * 32


def names_of(count: int) -> tuple[str, ...]:
    return tuple(f"c{number:03d}" for number in range(count))


@cache
def identity_of(name: str) -> Identity:
    return identity_from(name.encode().ljust(32, b"."))


def roster_of(names: Iterable[str]) -> Roster:
    return Roster({name: identity_of(name).public for name in names})


def helper_names(count: int) -> tuple[str, ...]:
    return tuple(f"h{number}" for number in range(count))


@cache
def announced(count: int, run: bytes = RUN) -> dict[str, tuple[RunSecret, HelperKey]]:
    helpers = roster_of(helper_names(count))
    return {
        name: steps.announce(
            identity_of(name), name, helpers, run, seeded_source(0, "run", name, run.hex())
        )
        for name in helpers.members
    }


def terms_for(clients: int = 4, helpers: int = 3, colluding: int = 1, **changes) -> Terms:
    values = {
        "run": RUN,
        "round": 3,
        "config_sha256": b"c" * 32,
        "model_sha256": b"m" * 32,
        "roster": roster_of(names_of(clients)),
        "cohort": names_of(clients),
        "helpers": roster_of(helper_names(helpers)),
        "helper_keys": tuple(shown for _, shown in announced(helpers).values()),
        "colluding": colluding,
        "length": 6,
        "bits": 16,
        "minimum_survivors": 2,
    }
    return Terms(**values | changes)


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
    """All clients, helpers and the server of one sum."""

    def __init__(self, terms: Terms, seed: int = 0):
        self.terms = terms
        self.server = Server(terms)
        self.vectors = vectors_for(terms, seed)
        self.sources: dict[str, Source] = {
            name: seeded_source(seed, "oneshot", name) for name in terms.cohort
        }
        self.secrets = {name: it[0] for name, it in announced(len(terms.helpers.members)).items()}
        self.states: dict[str, State] = {
            name: steps.begin(secret, terms) for name, secret in self.secrets.items()
        }
        self.uploads: dict[str, Upload] = {}
        self.got: dict[str, object] = {}
        self.sent: dict[str, list[Message]] = {"receive": [], "lock": [], "sums": []}

    def make_upload(self, name: str, vector: np.ndarray | None = None) -> Upload:
        vector = self.vectors[name].copy() if vector is None else vector
        return client_steps.upload(identity_of(name), name, self.terms, vector, self.sources[name])

    def upload(self, without: Collection[str] = (), changed: Mapping[str, Upload] | None = None):
        """Stage 1; ``changed`` says what some clients send instead."""
        for name in self.terms.cohort:
            if name not in without:
                self.uploads[name] = (changed or {}).get(name) or self.make_upload(name)
                self.server.add_upload(sent(self.uploads[name], self.terms))
        self.got["delivery"] = sent(self.server.close_uploads(), self.terms)
        return self

    def receive(self, without: Collection[str] = (), *, close: bool = True):
        """Stage 2."""
        for name in self.states:
            if name not in without:
                self.states[name], message = steps.receive(
                    self.states[name], self.got["delivery"], identity_of(name)
                )
                self.sent["receive"].append(message)
                self.server.add_receipt(sent(message, self.terms))
        if close:
            for name in self.server.refused:
                self.server.take_back(sent(self.uploads[name], self.terms))
            self.got["proposal"] = sent(self.server.close_receipts(), self.terms)
        return self

    def lock(self, without: Collection[str] = (), *, close: bool = True):
        """Stage 3."""
        for name, state in self.states.items():
            if name not in without:
                self.states[name], message = steps.lock(
                    state, self.got["proposal"], identity_of(name)
                )
                self.sent["lock"].append(message)
                self.server.add_vote(sent(message, self.terms))
        if close:
            self.ask(self.server.close_votes())
        return self

    def ask(self, requests) -> None:
        self.got["requests"] = {name: sent(it, self.terms) for name, it in requests.items()}

    def sums_of(self, name: str):
        self.states[name] = steps.answer(self.states[name], self.got["requests"][name])
        return list(steps.sums(self.states[name], identity_of(name)))

    def answer(self, without: Collection[str] = ()):
        """Stage 4."""
        for name in self.got["requests"]:
            if name not in without:
                for message in self.sums_of(name):
                    self.sent["sums"].append(message)
                    self.server.add_sum(sent(message, self.terms))
        return self

    def recover(self) -> list[int]:
        return self.server.recover().tolist()

    def expected(self) -> list[int]:
        return true_sum(self.vectors, self.server.survivors, self.terms.bits)


def at_lock(terms: Terms, seed: int = 0) -> Play:
    return Play(terms, seed).upload().receive()


def at_answer(terms: Terms, seed: int = 0) -> Play:
    return at_lock(terms, seed).lock()
