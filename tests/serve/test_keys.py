"""Keys and who is let in: without, wrong, expired, over a limit, for another's model."""

from __future__ import annotations

import json
import logging
import stat
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.serve.gate import Gate, Guest
from sottovoce.serve.keys import Key, KeyFile
from sottovoce.serve.problems import Problem
from sottovoce.serve.shelf import Entry

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("run", 0),
        Entry("run:base", 0, base=True),
        Entry("run:ada", 0, "ada"),
        Entry("run:ben", 0, "ben"),
    )
}


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def gate(file: KeyFile, clock: Clock) -> Gate:
    return Gate(file, open_without=True, now=clock)


def refusal(gate: Gate, presented: str | None) -> Problem:
    with pytest.raises(Problem) as refused:
        gate.enter(None if presented is None else f"Bearer {presented}")
    assert set(refused.value.body["error"]) == {"message", "type", "param", "code"}
    return refused.value


def test_a_key_is_shown_once_and_kept_as_a_salted_hash(file: KeyFile) -> None:
    first, second = file.add("ada"), file.add("ben")
    assert first != second
    assert first.startswith("sotto-")
    assert len(first) >= 6 + 43, "256 bits"
    text = file.path.read_text(encoding="ascii")
    assert first[6:] not in text
    rows = json.loads(text)
    assert rows[0]["salt"] != rows[1]["salt"]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    found = file.find(first)
    assert found is not None
    assert found.name == "ada"
    for wrong in ("", first[:-1], first + "x", rows[0]["sha256"], "\udcff"):
        assert file.find(wrong) is None


def test_a_wrong_key_is_compared_with_all_of_them(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = file.add("ada")
    file.add("ben")
    compared: list[str] = []
    real = Key.fits
    monkeypatch.setattr(
        Key, "fits", lambda self, presented: compared.append(self.name) or real(self, presented)
    )
    file.find("wrong")
    file.find(first)
    assert compared == ["ada", "ben"] * 2


def test_a_change_by_another_process_is_seen(file: KeyFile) -> None:
    other = KeyFile(file.path)
    key = other.add("ada")
    assert file.find(key) is not None
    other.remove("ada")
    assert file.find(key) is None


def test_names_are_unique_and_limits_make_sense(file: KeyFile) -> None:
    file.add("ada")
    before = file.path.read_bytes()
    with pytest.raises(ConfigError, match="a key called 'ada' already"):
        file.add("ada")
    with pytest.raises(ConfigError, match="requests_per_minute"):
        file.add("ben", requests_per_minute=0)
    with pytest.raises(ConfigError, match="name"):
        file.add("a\nb")
    with pytest.raises(ConfigError, match=r"no key called 'ben'.*ada"):
        file.remove("ben")
    assert file.path.read_bytes() == before


def test_a_file_that_others_can_read_or_that_is_broken_lets_nobody_in(
    file: KeyFile, gate: Gate
) -> None:
    key = file.add("ada")
    file.path.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 644"):
        KeyFile(file.path).every()
    assert refusal(Gate(KeyFile(file.path), open_without=True), key).status == 503
    file.path.chmod(0o600)
    file.path.write_text("[{}]", encoding="ascii")
    with pytest.raises(VerificationError, match="something else than keys"):
        KeyFile(file.path).every()
    assert refusal(Gate(KeyFile(file.path), open_without=True), key).status == 503


def test_on_loopback_all_are_let_in_until_there_is_a_key(file: KeyFile, gate: Gate) -> None:
    assert gate.enter(None) == Guest(None)
    assert gate.enter("Bearer anything") == Guest(None)
    assert gate.model(Guest(None), ENTRIES, "run:ada").client == "ada"
    assert "every program" in (gate.warning() or "")
    key = file.add("ada")
    assert gate.warning() is None
    assert refusal(gate, None).status == 401
    assert refusal(gate, "anything").status == 401
    assert gate.enter(f"bearer {key}").key is not None
    file.remove("ada")
    assert refusal(gate, None).status == 401, "not open again when the last key is gone"
    file.path.unlink()
    assert refusal(gate, None).status == 401, "nor when the file is"


def test_off_loopback_nobody_is_let_in_without_a_key(file: KeyFile) -> None:
    gate = Gate(file, open_without=False)
    assert "nobody is let in" in (gate.warning() or "")
    assert refusal(gate, None).status == 401
    assert refusal(gate, None).headers == {"WWW-Authenticate": "Bearer"}
    assert gate.enter(f"Bearer {file.add('ada')}").key is not None


def test_a_key_counts_to_the_end_of_its_last_day(file: KeyFile, gate: Gate, clock: Clock) -> None:
    key = file.add("ada", expires=date(2026, 3, 1))
    clock.time = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)
    assert gate.enter(f"Bearer {key}").key is not None
    clock.time += timedelta(minutes=2)
    assert refusal(gate, key).status == 401
    assert "expired" in refusal(gate, key).message


def test_a_clients_own_model_is_for_keys_that_name_it(file: KeyFile, gate: Gate) -> None:
    shared = gate.enter(f"Bearer {file.add('all')}")
    own = gate.enter(f"Bearer {file.add('ada', models=['run:ada', 'run'])}")
    assert [one.name for one in gate.models(shared, ENTRIES)] == ["run", "run:base"]
    assert [one.name for one in gate.models(own, ENTRIES)] == ["run", "run:ada"]
    assert gate.model(own, ENTRIES, "run:ada").client == "ada"
    for guest, name in ((shared, "run:ada"), (own, "run:ben"), (own, "run:base")):
        with pytest.raises(Problem) as refused:
            gate.model(guest, ENTRIES, name)
        assert (refused.value.status, refused.value.code) == (403, "model_not_allowed")
    with pytest.raises(Problem) as refused:
        gate.model(own, ENTRIES, "run:cleo")
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


def test_who_asks_too_often_waits(file: KeyFile, gate: Gate, clock: Clock) -> None:
    key, other = file.add("ada", requests_per_minute=2), file.add("ben")
    gate.enter(f"Bearer {key}")
    clock.time += timedelta(seconds=20)
    gate.enter(f"Bearer {key}")
    problem = refusal(gate, key)
    assert (problem.status, problem.code) == (429, "rate_limit_exceeded")
    assert problem.headers == {"Retry-After": "40"}
    for _ in range(5):
        gate.enter(f"Bearer {other}")
    clock.time += timedelta(seconds=41)
    gate.enter(f"Bearer {key}")
    assert refusal(gate, key).status == 429


def test_tokens_are_held_before_and_given_back_after(
    file: KeyFile, gate: Gate, clock: Clock
) -> None:
    guest = gate.enter(f"Bearer {file.add('ada', tokens_per_day=100)}")
    gate.hold(guest, 60)
    with pytest.raises(Problem) as refused:
        gate.hold(guest, 41)
    assert (refused.value.status, refused.value.code) == (429, "insufficient_quota")
    assert refused.value.wait == 12 * 3600
    gate.release(guest, 50)
    assert gate.left(guest) == 90
    gate.hold(guest, 90)
    clock.time += timedelta(hours=13)
    assert gate.left(guest) == 100
    assert gate.left(Guest(None)) is None
    assert gate.left(gate.enter(f"Bearer {file.add('ben')}")) is None


def test_refusals_are_logged_without_the_key(
    file: KeyFile, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    key = file.add("ada", requests_per_minute=1, tokens_per_day=1, models=["run"])
    with caplog.at_level(logging.DEBUG):
        guest = gate.enter(f"Bearer {key}")
        assert refusal(gate, key).status == 429
        assert refusal(gate, "sotto-guess").status == 401
        with pytest.raises(Problem):
            gate.model(guest, ENTRIES, "run:ben")
        with pytest.raises(Problem):
            gate.hold(guest, 2)
    assert len(caplog.records) == 4
    assert "'ada'" in caplog.text
    assert key not in caplog.text
    assert "guess" not in caplog.text
