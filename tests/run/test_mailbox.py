"""Mail: on disk before it counts, closed for ever, gone when its round is in the ledger."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_disk import BrokenDisk, Killed, watched

from sottovoce.errors import SottovoceError, VerificationError
from sottovoce.run.mailbox import Mailbox

PLACES = {"ada": 0, "ben": 1, "cyd": 2}


def mail_in(root: Path) -> Mailbox:
    return Mailbox(root / "mail" / "00007", PLACES)


def play(mail: Mailbox) -> None:
    """All that a server does with the mail of one round."""
    mail.note("cohort", ["ada", "ben"])
    mail.put("round", "ada", b"one")
    mail.put("round", "ben", b"two")
    mail.close("round", ["ben", "ada"])
    mail.put("unmask", "ada", b"three")


def test_what_was_put_is_there_again(tmp_path: Path) -> None:
    play(mail_in(tmp_path))
    mail = mail_in(tmp_path)
    assert mail.get("round", "ada") == b"one"
    assert mail.get("round", "ben") == b"two"
    assert mail.get("unmask", "ada") == b"three"
    assert mail.closed("round") == ("ada", "ben")
    assert mail.noted("cohort") == ["ada", "ben"]


def test_what_was_not_put_is_not_there(tmp_path: Path) -> None:
    mail = mail_in(tmp_path)
    assert not mail.has("round", "ada")
    assert mail.closed("round") is None
    assert mail.noted("cohort") is None
    with pytest.raises(VerificationError, match="cannot be read"):
        mail.get("round", "ada")
    play(mail)
    assert not mail.has("round", "cyd")
    assert not mail.has("unmask", "ben")
    assert mail.closed("unmask") is None


def test_no_two_answers_have_one_place(tmp_path: Path) -> None:
    mail = mail_in(tmp_path)
    stages = ("round", "round-1", "first-ada", "keys-0", "keys-1")
    for stage, site in itertools.product(stages, PLACES):
        mail.put(stage, site, f"{stage} {site}".encode())
    for stage, site in itertools.product(stages, PLACES):
        assert mail.get(stage, site) == f"{stage} {site}".encode()
    assert len(list(mail.root.iterdir())) == len(stages) * len(PLACES)


def test_a_name_that_is_a_path_stays_in_its_folder(tmp_path: Path) -> None:
    names = {"../../../etc/passwd": 0, "/root": 1, "a/b": 2}
    mail = Mailbox(tmp_path / "mail", names)
    for name in names:
        mail.put("round", name, name.encode())
    assert sorted(path.name for path in mail.root.iterdir()) == [
        "round-0000.bin",
        "round-0001.bin",
        "round-0002.bin",
    ]


@pytest.mark.parametrize("damaged", [b"", b"{", b'["ada"', b"\xff\xfe", b"[" * 5000])
def test_a_note_that_is_damaged_is_an_error(tmp_path: Path, damaged: bytes) -> None:
    mail = mail_in(tmp_path)
    play(mail)
    (mail.root / "round.closed").write_bytes(damaged)
    with pytest.raises(VerificationError, match="damaged"):
        mail.closed("round")


def test_emptied_twice_it_is_empty(tmp_path: Path) -> None:
    mail = mail_in(tmp_path)
    mail.empty()
    play(mail)
    mail.empty()
    assert not mail.root.exists()
    assert mail.closed("round") is None
    mail.empty()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_what_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    mail = mail_in(tmp_path)
    play(mail)
    mail.root.chmod(0o500)
    with pytest.raises(OSError, match="denied"):
        mail.empty()


def steps_of(mail: Mailbox) -> list[tuple[Callable[[], object], Callable[[], bool]]]:
    """What is done in turn, and how one sees that it is."""
    return [
        (lambda: mail.note("cohort", ["ada"]), lambda: mail.noted("cohort") == ["ada"]),
        (
            lambda: mail.put("round", "ada", b"x" * 5000),
            lambda: mail.has("round", "ada") and mail.get("round", "ada") == b"x" * 5000,
        ),
        (lambda: mail.close("round", ["ada"]), lambda: mail.closed("round") == ("ada",)),
    ]


@pytest.mark.parametrize("fault", ["kill", "half", "power", "full", "read-only", "fsync"])
def test_whatever_happens_an_answer_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """And what a call has returned from is there, if the power fails a moment later."""
    for stop in range(1, 60):
        root = tmp_path / f"{fault}{stop}"
        root.mkdir()
        disk, mail, returned = BrokenDisk(root, fault, stop), mail_in(root), 0
        try:
            with watched(disk, monkeypatch):
                for do, _ in steps_of(mail):
                    do()
                    returned += 1
        except (Killed, SottovoceError):
            pass
        if fault == "power":
            disk.lose_power()
        for place, (_, is_done) in enumerate(steps_of(mail)):
            if place < returned:
                assert is_done()
            elif place > returned:
                assert not is_done()
        assert not mail.has("round", "ada") or mail.get("round", "ada") == b"x" * 5000
        if len(disk.done) < stop:
            break
    else:
        raise AssertionError("it never came to its end")
    assert stop > 10


def test_an_answer_replaces_no_other_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put once more, and stopped in the middle, the first stays."""
    mail = mail_in(tmp_path)
    mail.put("round", "ada", b"first")
    for stop in range(1, 6):
        disk = BrokenDisk(tmp_path, "half", stop)
        with watched(disk, monkeypatch), pytest.raises(Killed):
            mail.put("round", "ada", b"second" * 100)
        assert mail.get("round", "ada") in (b"first", b"second" * 100)
        if stop < 5:
            assert mail.get("round", "ada") == b"first"
