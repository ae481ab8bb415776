"""Durable clients of secure sums: killed anywhere, they never send two different answers."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_disk import GROWING, BrokenDisk, Killed, watched
from party_play import (
    MODEL,
    STORE_KEY,
    Answers,
    Asked,
    Client,
    Played,
    Process,
    Rounds,
    client_in_memory,
    client_on,
    identity_of,
    known_words,
    names_of,
    party_of,
    terms_of,
)

from sottovoce.codec.secagg import states
from sottovoce.codec.secagg.messages import Inbox, UnmaskRequest, read, write
from sottovoce.errors import SottovoceError, VerificationError
from sottovoce.rng import Source
from sottovoce.run import party as parties
from sottovoce.run.outbox import Outbox, Sum

COUNT = 4
VICTIM = "c2"
TERMS = terms_of(0, COUNT)
OF_SUM = Sum(TERMS.run, 0, "secagg")
STEPS = ("advertise", "share", "upload", "acknowledge", "unmask")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "box", STORE_KEY, VICTIM) as found:
        yield found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def with_victim(client: Client, *, rounds: int = 1, malicious: bool = True) -> Rounds:
    clients = {name: client_in_memory(name, COUNT, malicious) for name in names_of(COUNT)}
    return Rounds(clients | {VICTIM: client}, rounds=rounds, malicious=malicious)


# Rounds without trouble


@pytest.mark.parametrize(("malicious", "interactions"), [(False, 2), (True, 3)])
def test_a_steady_state_costs_two_interactions_a_round_or_three(
    tmp_path: Path, impatient: None, malicious: bool, interactions: int
) -> None:
    """Every client is durable; the keys of the next round ride on this round's replies."""
    boxes = [Outbox(tmp_path / name, STORE_KEY, name) for name in names_of(COUNT)]
    clients = {box.party: client_on(box, COUNT, malicious) for box in boxes}
    played = Rounds(clients, rounds=3, malicious=malicious).play()
    for box in boxes:
        box.close()
    assert played.stopped == ""
    played.require_honest()
    assert list(played.totals) == [0, 1, 2]
    assert set(played.survivors.values()) == {names_of(COUNT)}
    for round_ in range(3):
        titles = [
            title for (of, title), n in played.exchanges.items() for _ in range(n) if of == round_
        ]
        begins = ["keys", "shares"] if round_ == 0 else []
        assert len(titles) - len(begins) == interactions
        assert titles[: len(begins)] == begins
    sent = {(step, of) for _, of, step in played.received}
    assert sent == {(s, n) for s in STEPS for n in range(3) if malicious or s != "acknowledge"}


def test_the_same_message_gets_the_same_bytes_also_after_a_restart(
    tmp_path: Path, impatient: None
) -> None:
    asked_again = []

    def client(asked: Asked) -> Answers:
        for again in range(3):
            with Outbox(tmp_path / "box", STORE_KEY, VICTIM) as outbox:
                one = client_on(outbox, COUNT, True)
                if again == 0:
                    answers = one(asked)
                repeated = one(asked)
            if asked[0][1] != "close":
                assert None not in answers
                assert repeated == answers
                asked_again.append(asked[0][1])
        return answers

    played = with_victim(client).play()
    played.require_honest()
    assert played.survivors[0] == names_of(COUNT)
    assert set(asked_again) == set(STEPS)


# Every single operation on the disk


class Unlucky:
    """A client whose disk or process fails at one operation, and which is then started again."""

    def __init__(self, root: Path, disk: BrokenDisk, patch: pytest.MonkeyPatch, played: Played):
        self.root, self.disk, self.patch, self.played = root, disk, patch, played
        self.history: list[tuple[int, str, bytes]] = []

    def __call__(self, asked: Asked) -> Answers:
        self.history += asked
        hurt_before = self.disk.broken
        answers = self.ask(asked, hurt=not hurt_before)
        if self.disk.broken and not hurt_before:
            if self.disk.fault == "power":
                self.disk.lose_power()
            # Whoever is started again must not say anything else than before, whatever is asked.
            self.ask(self.history)
            answers = self.ask(asked)
        return answers

    def ask(self, asked: Asked, *, hurt: bool = False) -> Answers:
        outbox = None
        answers: Answers = [None] * len(asked)
        try:
            if hurt:
                with watched(self.disk, self.patch):
                    outbox = Outbox(self.root, STORE_KEY, VICTIM)
                    answers = client_on(outbox, COUNT, True)(asked)
            else:
                outbox = Outbox(self.root, STORE_KEY, VICTIM)
                answers = client_on(outbox, COUNT, True)(asked)
        except (Killed, SottovoceError):
            answers = [None] * len(asked)
        if outbox is not None:
            outbox.close()
        for (round_, step, _), data in zip(asked, answers, strict=True):
            if data:
                self.played.received[VICTIM, round_, step].add(data)
        return answers


def played_with(
    root: Path, fault: str, stop: int, patch: pytest.MonkeyPatch
) -> tuple[Played, list[str]]:
    """One sum in which the victim's disk or process fails at one operation."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    disk = BrokenDisk(root, fault, stop)
    rounds = with_victim(lambda asked: unlucky(asked))
    unlucky = Unlucky(root, disk, patch, rounds.played)
    played = rounds.play()
    unlucky.ask(unlucky.history)
    return played, disk.done


def moments(done: list[str], fault: str) -> list[int]:
    """Where a fault can strike among these operations."""
    kinds = {
        "half": ("open", "write"),
        "full": GROWING,
        "fsync": ("fsync",),
    }.get(fault)
    return [stop for stop, line in enumerate(done, 1) if kinds is None or line.split()[0] in kinds]


STRIDES = {"kill": 7, "power": 5, "half": 6, "full": 6, "fsync": 5, "read-only": 15}


def sweep(root: Path, fault: str, stride: int, patch: pytest.MonkeyPatch) -> None:
    _, done = played_with(root, "none", 0, patch)
    assert len(done) > 100
    dropped = 0
    for stop in moments(done, fault)[::stride]:
        played, _ = played_with(root, fault, stop, patch)
        where = f"{fault} at {stop}, {done[stop - 1]}"
        assert played.stopped == "", where
        played.require_honest()
        dropped += VICTIM not in played.survivors[0]
        left = [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]
        assert not any(any(path.read_bytes()) for path in left), where
        assert [path.name for path in left] in (["finished"], ["dropped-out"]), where
    # Only between the mark and the upload is a client lost.
    assert 0 < dropped < len(done) / 3


@pytest.mark.parametrize("fault", ["kill", "power"])
def test_stopped_at_every_operation_a_client_sends_one_answer_of_each_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None, fault: str
) -> None:
    sweep(tmp_path / "box", fault, STRIDES[fault], monkeypatch)


@pytest.mark.parametrize("fault", ["half", "full", "fsync", "read-only"])
def test_a_disk_that_fails_at_any_operation_lets_no_second_answer_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None, fault: str
) -> None:
    sweep(tmp_path / "box", fault, STRIDES[fault], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("fault", STRIDES)
def test_no_operation_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None, fault: str
) -> None:
    sweep(tmp_path / "box", fault, 1, monkeypatch)


# Real processes, really killed


def killed_now_and_then(
    process: Process, kills: set[int], rng: random.Random, played: Played
) -> Client:
    """A process that is killed during these exchanges, from outside or at one of its operations."""
    count = 0

    def hear(asked: Asked) -> Answers | None:
        answers = process.hear()
        for (round_, step, _), data in zip(asked, answers or [], strict=bool(answers)):
            if data:
                played.received[VICTIM, round_, step].add(data)
        return answers

    def client(asked: Asked) -> Answers:
        nonlocal count
        count += 1
        if count - 1 in kills:
            if rng.random() < 0.5:
                process.ask(asked, die_at=rng.randint(1, 12))
            else:
                process.ask(asked)
                time.sleep(rng.uniform(0, 0.02))
                process.kill()
            # What it had sent before it was killed has been received.
            hear(asked)
            process.again()
        process.ask(asked)
        answers = hear(asked)
        assert answers is not None
        return answers

    return client


def kill_at_random(tmp_path: Path, *, rounds: int, kills: int, seed: int) -> Played:
    rng = random.Random(seed)
    process = Process(tmp_path / "box", VICTIM, COUNT, True)
    plan = with_victim(lambda asked: client(asked), rounds=rounds)
    exchanges = 2 + 3 * rounds + 1
    chosen = set(rng.sample(range(exchanges), kills))
    client = killed_now_and_then(process, chosen, rng, plan.played)
    try:
        played = plan.play()
    finally:
        process.kill()
        process.end()
    assert played.stopped == ""
    played.require_honest()
    # A client that has dropped out is left out of the exchanges that follow in its round.
    assert kills - 4 <= process.kills <= kills
    return played


def test_a_process_that_is_killed_at_random_moments_sends_one_answer_of_each_kind(
    tmp_path: Path,
) -> None:
    played = kill_at_random(tmp_path, rounds=4, kills=6, seed=5)
    assert len(played.totals) == 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_process_that_is_killed_in_every_second_exchange(tmp_path: Path, seed: int) -> None:
    played = kill_at_random(tmp_path, rounds=10, kills=18, seed=seed)
    assert len(played.totals) == 10
    missing = sum(VICTIM not in names for names in played.survivors.values())
    assert missing < 10


# What may be resumed, and what not


@pytest.fixture
def asked(tmp_path: Path, impatient: None) -> dict[str, bytes]:
    """What the server says, step by step, to a victim whose keys come from ``replayed``."""
    with Outbox(tmp_path / "first", STORE_KEY, VICTIM) as first:
        rounds = with_victim(client_on(first, COUNT, True, replayed()))
        assert rounds.play().stopped == ""
    return {step: data for _, step, data in rounds.asked[VICTIM]}


def replayed() -> Source:
    return Source(b"s" * 32)


def do(outbox: Outbox, step: str, asked: dict[str, bytes]) -> bytes:
    party = party_of(outbox, TERMS, replayed())
    if step == "advertise":
        return party.advertise()
    if step == "upload":
        return party.upload(asked[step], lambda: known_words(VICTIM, 0), MODEL)
    answer: bytes = getattr(party, step)(asked[step])
    return answer


def up_to(outbox: Outbox, step: str, asked: dict[str, bytes]) -> parties.Party:
    """A client that has done all steps before this one."""
    for before in STEPS[: STEPS.index(step)]:
        do(outbox, before, asked)
    return party_of(outbox, TERMS, replayed())


def killed() -> np.ndarray:
    raise Killed


def test_whoever_may_have_made_words_without_an_upload_has_dropped_out(
    outbox: Outbox, asked: dict[str, bytes]
) -> None:
    party = up_to(outbox, "upload", asked)
    with pytest.raises(Killed):
        party.upload(asked["upload"], killed, MODEL)
    # Its secrets were gone before the words were made, and not only now.
    assert outbox.read(OF_SUM).data == b"begun"
    for step in ("upload", *STEPS):
        with pytest.raises(VerificationError, match="'c2' has dropped out of round 0"):
            do(outbox, step, asked)
    assert outbox.ended(OF_SUM) == "dropped-out"


def test_words_that_cannot_be_made_end_the_round_for_their_client(
    outbox: Outbox, asked: dict[str, bytes]
) -> None:
    def beyond() -> np.ndarray:
        raise VerificationError("an entry beyond its bound")

    party = up_to(outbox, "upload", asked)
    with pytest.raises(VerificationError, match="beyond its bound"):
        party.upload(asked["upload"], beyond, MODEL)
    with pytest.raises(VerificationError, match="dropped out"):
        do(outbox, "upload", asked)


def test_before_words_are_made_a_client_goes_on_and_after_the_upload_too(
    tmp_path: Path, asked: dict[str, bytes]
) -> None:
    sent = []
    for step in STEPS:
        with Outbox(tmp_path / "box", STORE_KEY, VICTIM) as outbox:
            sent.append(do(outbox, step, asked))
    assert len(set(sent)) == len(STEPS)


def test_words_are_made_once(outbox: Outbox, asked: dict[str, bytes]) -> None:
    made = []

    def words() -> np.ndarray:
        made.append(1)
        return known_words(VICTIM, 0)

    party = up_to(outbox, "upload", asked)
    assert party.upload(asked["upload"], words, MODEL) == party.upload(
        asked["upload"], words, MODEL
    )
    assert made == [1]


def test_a_message_that_is_refused_leaves_everything_as_it_was(
    outbox: Outbox, asked: dict[str, bytes]
) -> None:
    inbox = read(Inbox, asked["upload"], TERMS)
    first = inbox.shares[0]
    damaged = first.box[:-1] + bytes((first.box[-1] ^ 1,))
    changed = (type(first)(first.client, damaged, first.self_commitment, first.mask_commitment),)
    wrong = write(Inbox(inbox.client, inbox.included, changed + inbox.shares[1:]), TERMS)
    party = up_to(outbox, "upload", asked)
    for bad in (wrong, asked["upload"][:-1], b"", asked["share"]):
        before = states.load(outbox.read(OF_SUM).data, TERMS)
        with pytest.raises(VerificationError):
            party.upload(bad, lambda: known_words(VICTIM, 0), MODEL)
        assert states.load(outbox.read(OF_SUM).data, TERMS) == before
    assert do(outbox, "upload", asked)


def test_only_one_unmask_request_is_ever_answered(tmp_path: Path, asked: dict[str, bytes]) -> None:
    semi = terms_of(0, COUNT, False)
    with Outbox(tmp_path / "semi", STORE_KEY, VICTIM) as outbox:
        rounds = with_victim(client_on(outbox, COUNT, False, replayed()), malicious=False)
        rounds.play()
    said = {step: data for _, step, data in rounds.asked[VICTIM]}
    request = read(UnmaskRequest, said["unmask"], semi)
    gone = next(name for name in request.survivors if name != VICTIM)
    fewer = tuple(name for name in request.survivors if name != gone)
    with Outbox(tmp_path / "box", STORE_KEY, VICTIM) as outbox:
        party = party_of(outbox, semi, replayed())
        party.advertise()
        party.share(said["share"])
        party.upload(said["upload"], lambda: known_words(VICTIM, 0), MODEL)
        answer = party.unmask(said["unmask"])
    with Outbox(tmp_path / "box", STORE_KEY, VICTIM) as outbox:
        party = party_of(outbox, semi)
        with pytest.raises(VerificationError, match="cannot answer"):
            party.unmask(write(UnmaskRequest(VICTIM, fewer, ()), semi))
        assert party.unmask(said["unmask"]) == answer


def test_a_client_that_remembers_nothing_answers_nothing(
    outbox: Outbox, asked: dict[str, bytes]
) -> None:
    for step in STEPS[1:]:
        with pytest.raises(VerificationError, match="remembers nothing of round 0"):
            do(outbox, step, asked)
    do(outbox, "advertise", asked)
    do(outbox, "share", asked)
    with pytest.raises(VerificationError, match="asked for a step from Advertised"):
        do(outbox, "advertise", asked)


def test_a_closed_sum_leaves_nothing_and_does_not_begin_again(
    outbox: Outbox, asked: dict[str, bytes], tmp_path: Path
) -> None:
    party = up_to(outbox, "unmask", asked)
    party.unmask(asked["unmask"])
    party.close()
    party.close()
    assert not any(any(path.read_bytes()) for path in (tmp_path / "box").rglob("*/*/*"))
    for step in STEPS:
        with pytest.raises(VerificationError, match="'c2' has finished round 0"):
            do(outbox, step, asked)


def test_one_round_has_one_set_of_terms(outbox: Outbox, asked: dict[str, bytes]) -> None:
    up_to(outbox, "upload", asked)
    other = party_of(outbox, terms_of(0, COUNT, False))
    with pytest.raises(VerificationError, match="belongs to another round, roster or config"):
        other.advertise()


@pytest.mark.parametrize("change", ["round", "run", "party"])
def test_what_another_round_run_or_client_has_left_is_refused(
    outbox: Outbox, asked: dict[str, bytes], tmp_path: Path, change: str
) -> None:
    up_to(outbox, "upload", asked)
    root = tmp_path / "box"
    if change == "party":
        outbox.close()
        with (
            Outbox(root, STORE_KEY, "c1") as stolen,
            pytest.raises(VerificationError, match="does not open"),
        ):
            party_of(stolen, TERMS).share(asked["share"])
        return
    terms = terms_of(1, COUNT) if change == "round" else terms_of(0, COUNT, run=b"q" * 32)
    place = root / terms.run.hex() / f"{terms.round:08d}"
    shutil.copytree(root / TERMS.run.hex() / "00000000", place)
    with pytest.raises(VerificationError, match="does not open"):
        party_of(outbox, terms).advertise()


# What lies on disk


class Heard:
    """A source that remembers what it gave."""

    def __init__(self) -> None:
        self.source, self.given = replayed(), []

    def words(self, count: int) -> Any:
        words = self.source.words(count)
        self.given.append(words.tobytes())
        return words


def files_of(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def secrets_in(files: dict[str, bytes], secrets: set[bytes]) -> set[str]:
    return {name for name, data in files.items() for secret in secrets if secret in data}


def test_no_secret_lies_there_in_plain_text(
    outbox: Outbox, asked: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what the source gave, nor a share or a key that came of it, nor what was sent."""
    stored = []
    real = states.dump
    monkeypatch.setattr(parties, "dump", lambda state: stored.append(real(state)) or stored[-1])
    heard = Heard()
    party = parties.Party(outbox, TERMS, identity_of(VICTIM), heard)  # type: ignore[arg-type]
    after: list[dict[str, bytes]] = []
    for step in STEPS:
        words = {"words": lambda: known_words(VICTIM, 0), "model_sha256": MODEL}
        more = words if step == "upload" else {}
        getattr(party, step)(*([asked[step]] if step != "advertise" else []), **more)
        after.append(files_of(tmp_path / "box"))
    # A secret is drawn as a number, and numbers are written with their highest byte first.
    drawn = [*heard.given, *(data[::-1] for data in heard.given)]
    pieces = {data[n : n + 16] for data in (*drawn, *stored) for n in range(0, len(data), 16)}
    pieces = {piece for piece in pieces if len(piece) == 16 and len(set(piece)) > 4}
    assert len(pieces) > 100
    for files in after:
        assert len(files) == 3
        assert secrets_in(files, pieces) == set()
    # The search would find them.
    assert secrets_in({"plain": b"x" + stored[0]}, pieces) == {"plain"}
    assert any(data in stored[0] for data in drawn)


def test_a_full_disk_is_a_clear_error_and_nothing_is_sent(
    tmp_path: Path, asked: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in STEPS:
        root = tmp_path / step
        with Outbox(root, STORE_KEY, VICTIM) as outbox:
            party = up_to(outbox, step, asked)
            with (
                watched(BrokenDisk(root, "full", 1), monkeypatch),
                pytest.raises(
                    SottovoceError, match=r"No space left on device.*not stored is not sent"
                ),
            ):
                do(outbox, step, asked)
            # It failed before the mark was stored, so the client may go on when there is room.
            assert party.terms == TERMS
            assert do(outbox, step, asked)
