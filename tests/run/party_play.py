"""Rounds of secure sums among durable clients, with the messages bundled; and a client's process.

A client is anything that takes what is asked of it, ``[(round, step, data), ...]``, and returns one
answer for each, or None where it refuses. It may be an outbox in this process, or a process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from sottovoce.codec.roster import Identity, Roster, identity_from
from sottovoce.codec.secagg import client as steps
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Advertisement,
    Cohort,
    Inbox,
    SealedShares,
    Survivors,
    Unmasking,
    UnmaskRequest,
    Upload,
    read,
    write,
)
from sottovoce.codec.secagg.server import Server
from sottovoce.codec.secagg.states import State
from sottovoce.codec.secagg.terms import Terms
from sottovoce.errors import SottovoceError, VerificationError
from sottovoce.rng import Source, secret_source
from sottovoce.run.outbox import Outbox
from sottovoce.run.party import Party

MODEL = b"m" * 32
STORE_KEY = b"k" * 32
LENGTH = 6
ANSWERS = {
    "advertise": Advertisement,
    "share": SealedShares,
    "upload": Upload,
    "acknowledge": Acknowledgement,
    "unmask": Unmasking,
}

ASKED = {
    "share": Cohort,
    "upload": Inbox,
    "acknowledge": Survivors,
    "unmask": UnmaskRequest,
}

Asked = Sequence[tuple[int, str, bytes]]
Answers = list[bytes | None]
Client = Callable[[Asked], Answers]


def names_of(count: int) -> tuple[str, ...]:
    return tuple(f"c{number}" for number in range(count))


@cache
def identity_of(name: str) -> Identity:
    return identity_from(name.encode().ljust(32, b"."))


@cache
def terms_of(round_: int, count: int = 5, malicious: bool = True, run: bytes = b"r" * 32) -> Terms:
    roster = Roster({name: identity_of(name).public for name in names_of(count)})
    threshold = (count - 1) // 2 + 1
    return Terms(
        run=run,
        round=round_,
        beacon=b"b" * 32,
        config_sha256=b"c" * 32,
        roster=roster,
        cohort=names_of(count),
        length=LENGTH,
        bits=16,
        neighbours=count - 1,
        threshold=threshold,
        minimum_survivors=max(2, threshold),
        malicious=malicious,
    )


def known_words(name: str, round_: int) -> np.ndarray:
    """What a client adds, but for its noise."""
    place = int(name[1:]) + 1
    words = np.array([place**2 * (round_ + 3) * 7919 * (n + 1) % 2**16 for n in range(LENGTH)])
    words[:2] = 0
    return words.astype(np.uint16)


def noisy_words(name: str, round_: int) -> np.ndarray:
    """Words with noise that is new in each call; it stands in the first entry and in the second."""
    words = known_words(name, round_)
    words[:2] = int(secret_source().words(1)[0]) % 2**16
    return words


def party_of(outbox: Outbox, terms: Terms, source: Source | None = None) -> Party:
    return Party(outbox, terms, identity_of(outbox.party), source or secret_source())


def take(outbox: Outbox, terms: Terms, step: str, data: bytes, source: Source | None) -> bytes:
    """One step of one client."""
    party = party_of(outbox, terms, source)
    if step == "close":
        party.close()
        return b""
    if step == "advertise":
        return party.advertise()
    if step == "upload":
        words = lambda: noisy_words(outbox.party, terms.round)  # noqa: E731
        return party.upload(data, words, MODEL)
    return getattr(party, step)(data)


def client_on(outbox: Outbox, count: int, malicious: bool, source: Source | None = None) -> Client:
    """A client in this process."""

    def client(asked: Asked) -> Answers:
        answers: Answers = []
        for round_, step, data in asked:
            try:
                terms = terms_of(round_, count, malicious)
                answers.append(take(outbox, terms, step, data, source))
            except SottovoceError:
                answers.append(None)
        return answers

    return client


def client_in_memory(name: str, count: int, malicious: bool) -> Client:
    """A client that nothing happens to, and that has no disk."""
    states: dict[int, State] = {}

    def step(round_: int, title: str, data: bytes) -> bytes:
        terms, identity = terms_of(round_, count, malicious), identity_of(name)
        if title == "close":
            return b""
        if title == "advertise":
            states[round_], sent = steps.advertise(identity, name, terms, secret_source())
            return write(sent, terms)
        message, state = read(ASKED[title], data, terms), states[round_]
        if title == "share":
            states[round_], sent = steps.share(state, message, identity, secret_source())
        elif title == "upload":
            words = noisy_words(name, round_)
            states[round_], sent = steps.upload(state, message, words, MODEL, identity)
        else:
            states[round_], sent = getattr(steps, title)(state, message, identity)
        return write(sent, terms)

    return lambda asked: [step(*part) for part in asked]


@dataclass
class Played:
    """What the server saw, and what it found."""

    received: dict[tuple[str, int, str], set[bytes]] = field(
        default_factory=lambda: defaultdict(set)
    )
    survivors: dict[int, tuple[str, ...]] = field(default_factory=dict)
    totals: dict[int, np.ndarray] = field(default_factory=dict)
    stopped: str = ""
    exchanges: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))

    def require_honest(self) -> None:
        """No two different messages of a kind; each sum is that of its survivors."""
        for (name, round_, step), kinds in self.received.items():
            assert len(kinds) == 1, f"{name} sent {len(kinds)} different {step} in round {round_}"
        for round_, total in self.totals.items():
            words = [known_words(name, round_).tolist() for name in self.survivors[round_]]
            want = [sum(column) % 2**16 for column in zip(*words, strict=True)]
            assert total.tolist()[2:] == want[2:]
            assert total[0] == total[1]


class Rounds:
    """Rounds one after the other, each client asked as seldom as the protocol allows."""

    def __init__(self, clients: dict[str, Client], *, rounds: int, malicious: bool = True):
        self.clients, self.rounds, self.malicious = clients, rounds, malicious
        self.played = Played()
        self.servers = {round_: Server(self.terms(round_), MODEL) for round_ in range(rounds)}
        self.asked: dict[str, list[tuple[int, str, bytes]]] = defaultdict(list)

    def terms(self, round_: int) -> Terms:
        return terms_of(round_, len(self.clients), self.malicious)

    def exchange(self, title: str, round_: int, asked: dict[str, list]) -> None:
        """Ask every client once, and hand what it answers to the servers of the rounds."""
        self.played.exchanges[round_, title] += 1
        for name, parts in asked.items():
            self.asked[name] += parts
            answers = self.clients[name](parts)
            for (of, step, _), data in zip(parts, answers, strict=True):
                if data is not None:
                    self.heard(name, of, step, data)

    def heard(self, name: str, round_: int, step: str, data: bytes) -> None:
        if step == "close":
            return
        self.played.received[name, round_, step].add(data)
        terms, server = self.terms(round_), self.servers[round_]
        add = {
            "advertise": server.add_advertisement,
            "share": server.add_shares,
            "upload": server.add_upload,
            "acknowledge": server.add_acknowledgement,
            "unmask": server.add_unmasking,
        }[step]
        add(read(ANSWERS[step], data, terms, sender=name))

    def asking(self, messages: dict, round_: int, step: str) -> dict[str, list]:
        terms = self.terms(round_)
        return {name: [(round_, step, write(it, terms))] for name, it in messages.items()}

    def play(self) -> Played:
        try:
            everybody = {name: [(0, "advertise", b"")] for name in self.clients}
            self.exchange("keys", 0, everybody)
            cohorts = self.servers[0].close_advertisements()
            self.exchange("shares", 0, self.asking(cohorts, 0, "share"))
            for round_ in range(self.rounds):
                self.round(round_)
        except VerificationError as problem:
            self.played.stopped = str(problem)
        self.exchange(
            "close", -1, {n: [(r, "close", b"") for r in self.servers] for n in self.clients}
        )
        return self.played

    def round(self, round_: int) -> None:
        """One round of a steady state: the next one's keys and shares ride on its replies."""
        server, following = self.servers[round_], round_ + 1
        last = following == self.rounds
        asked = self.asking(server.close_shares(), round_, "upload")
        if not last:
            for name in self.clients:
                asked.setdefault(name, []).append((following, "advertise", b""))
        self.exchange("train", round_, asked)
        survivors = server.close_uploads()
        self.played.survivors[round_] = survivors.survivors
        if self.malicious:
            told = dict.fromkeys(survivors.survivors, survivors)
            self.exchange("acknowledge", round_, self.asking(told, round_, "acknowledge"))
        asked = self.asking(server.close_acknowledgements(), round_, "unmask")
        if not last:
            cohorts = self.servers[following].close_advertisements()
            for name, parts in self.asking(cohorts, following, "share").items():
                asked.setdefault(name, []).extend(parts)
        self.exchange("unmask", round_, asked)
        self.played.totals[round_] = server.recover().copy()


# --- a client in a process of its own ------------------------------------------------------------


class Process:
    """A client's process, started anew whenever it was killed."""

    def __init__(self, folder: Path, name: str, count: int, malicious: bool):
        self.arguments = [str(folder), name, str(count), str(int(malicious))]
        self.folder = folder
        self.kills = 0
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *self.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def ask(self, asked: Asked, *, die_at: int = 0) -> None:
        assert self.process.stdin is not None
        line = {"die_at": die_at, "asked": [[r, s, data.hex()] for r, s, data in asked]}
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
            self.process.stdin.flush()

    def hear(self) -> Answers | None:
        """The answers; None where it was killed before it had sent them."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        return [None if it is None else bytes.fromhex(it) for it in json.loads(line)]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def again(self) -> None:
        """Wait for its end, and start it anew."""
        if self.end() == -signal.SIGKILL:
            self.kills += 1
        self.start()

    def end(self) -> int:
        code = self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        return code


def serve(folder: str, name: str, count: str, malicious: str) -> None:
    """Answer line by line until there are no more. It may be told when to kill itself."""
    left = [0]

    def hook(event: str, arguments: tuple) -> None:
        # Python tells of every file that is opened, renamed or removed, before it happens.
        touches = event in ("open", "os.rename", "os.remove", "os.mkdir")
        if left[0] and touches and str(arguments[0]).startswith(folder):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    with Outbox(Path(folder), STORE_KEY, name) as outbox:
        client = client_on(outbox, int(count), bool(int(malicious)))
        for line in sys.stdin.buffer:
            told = json.loads(line)
            left[0] = told["die_at"]
            answers = client([(r, s, bytes.fromhex(data)) for r, s, data in told["asked"]])
            left[0] = 0
            sys.stdout.write(
                json.dumps([None if it is None else it.hex() for it in answers]) + "\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    serve(*sys.argv[1:])
