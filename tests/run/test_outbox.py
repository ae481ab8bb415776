"""What a party of secure sums remembers: whole or not at all, for its eyes only, and then gone."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from broken_disk import BrokenDisk, Killed, watched

from sottovoce.errors import ConfigError, SottovoceError, UsageError, VerificationError
from sottovoce.run import outbox as outboxes
from sottovoce.run.outbox import Kept, Outbox, Sum

KEY = b"k" * 32
RUN = b"r" * 32
ABOUT = Sum(RUN, 3, "secagg")
TEXTS = [f"what is remembered after step {n}; ".encode() * 9 for n in range(1, 5)]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Nothing loses its power here, so nobody waits for the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)
    return tmp_path / "site" / "box"


@pytest.fixture
def outbox(root: Path) -> Iterator[Outbox]:
    with Outbox(root, KEY, "ada") as found:
        yield found


def place_of(root: Path, about: Sum = ABOUT) -> Path:
    return root / about.run.hex() / f"{about.round:08d}"


def filled(outbox: Outbox, steps: int, about: Sum = ABOUT) -> None:
    for step, text in enumerate(TEXTS[:steps]):
        outbox.store(about, step, text)


# What is stored is read


def test_what_was_stored_last_is_read_now_and_after_a_restart(root: Path) -> None:
    for step in range(len(TEXTS) + 1):
        with Outbox(root, KEY, "ada") as outbox:
            assert outbox.read(ABOUT) == Kept(step, TEXTS[step - 1] if step else b"")
            if step < len(TEXTS):
                outbox.store(ABOUT, step, TEXTS[step])
                assert outbox.read(ABOUT) == Kept(step + 1, TEXTS[step])


def test_sums_do_not_see_each_other(outbox: Outbox) -> None:
    all_rounds = Sum(RUN, None, "helpers")
    abouts = [ABOUT, Sum(RUN, 4, "secagg"), Sum(b"q" * 32, 3, "secagg"), all_rounds]
    for about, text in zip(abouts, TEXTS, strict=True):
        assert outbox.read(about) == Kept(0, b"")
        outbox.store(about, 0, text)
    assert [outbox.read(about).data for about in abouts] == TEXTS
    assert outbox.under_way(RUN) == (3, 4)
    outbox.wipe(ABOUT, "finished")
    assert outbox.under_way(RUN) == (4,)
    assert outbox.under_way(bytes(32)) == ()


def test_of_two_who_go_on_from_one_step_one_is_refused(outbox: Outbox) -> None:
    filled(outbox, 2)
    for after in (0, 1, 3):
        with pytest.raises(VerificationError, match="'ada' has gone on in round 3"):
            outbox.store(ABOUT, after, b"another")
    assert outbox.read(ABOUT) == Kept(2, TEXTS[1])


def test_one_process_holds_a_folder(outbox: Outbox, root: Path) -> None:
    with pytest.raises(UsageError, match="'ada' is held by another process"):
        Outbox(root, KEY, "ada")
    outbox.close()
    outbox.close()
    with Outbox(root, KEY, "ada") as second:
        filled(second, 1)
    for call in (lambda: outbox.read(ABOUT), lambda: outbox.store(ABOUT, 1, b"")):
        with pytest.raises(UsageError, match="the outbox of 'ada' is closed"):
            call()


def test_a_forked_process_does_not_use_its_parents_outbox(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    for call in (
        lambda: outbox.read(ABOUT),
        lambda: outbox.store(ABOUT, 0, b""),
        lambda: outbox.wipe(ABOUT, "finished"),
    ):
        with pytest.raises(UsageError, match="a forked process"):
            call()


@pytest.mark.parametrize("size", [0, 16, 33])
def test_a_store_key_has_32_bytes(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigError, match=f"a store key of {size} bytes"):
        Outbox(tmp_path / "box", bytes(size), "ada")
    assert not (tmp_path / "box").exists()


# Who may read it


def test_no_other_user_may_read_anything(root: Path) -> None:
    root.mkdir(parents=True, mode=0o755)
    root.chmod(0o755)
    before = os.umask(0)
    try:
        with Outbox(root, KEY, "ada") as outbox:
            filled(outbox, 3)
            outbox.store(Sum(RUN, 4, "secagg"), 0, b"")
            outbox.wipe(Sum(RUN, 4, "secagg"), "finished")
            outbox.wipe(Sum(RUN, 5, "secagg"), "dropped-out")
    finally:
        os.umask(before)
    bits = {path: stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}
    assert len(bits) == 10
    assert {path.is_dir() for path in bits} == {True, False}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in bits.items())


def test_nothing_lies_there_in_plain_text_nor_is_it_printed(outbox: Outbox, root: Path) -> None:
    filled(outbox, 3)
    files = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    assert not any(text[:9] in data for text in TEXTS for data in files)
    assert not any(KEY[:9] in data for data in files)
    shown = repr(outbox) + repr(outbox.read(ABOUT))
    assert "remembered" not in shown
    assert "kkk" not in shown


def test_a_step_makes_what_was_stored_before_unreadable(outbox: Outbox, root: Path) -> None:
    place = place_of(root)
    filled(outbox, 1)
    for step, go_on in (
        (1, lambda: outbox.store(ABOUT, 1, TEXTS[1])),
        (2, lambda: outbox.wipe(ABOUT, "finished")),
    ):
        names = sorted(path.name for path in place.iterdir())
        assert names == [f"key.{step:04d}", f"record.{step:04d}"]
        # Whoever holds the file open sees what becomes of its blocks.
        with (place / names[0]).open("rb") as key:
            assert any(key.read())
            go_on()
            key.seek(0)
            assert key.read() == bytes(80)


def test_what_was_wiped_is_over_and_cannot_be_read(outbox: Outbox, root: Path) -> None:
    filled(outbox, 2)
    record = next(place_of(root).glob("record.*"))
    old = record.read_bytes()
    outbox.wipe(ABOUT, "dropped-out")
    assert [path.name for path in place_of(root).iterdir()] == ["dropped-out"]
    assert not any((place_of(root) / "dropped-out").read_bytes())
    record.write_bytes(old)
    outbox.wipe(ABOUT, "finished")
    assert outbox.ended(ABOUT) == "dropped-out"
    assert not record.exists()
    for call in (lambda: outbox.read(ABOUT), lambda: outbox.store(ABOUT, 0, b"")):
        with pytest.raises(VerificationError, match="'ada' has dropped out of round 3"):
            call()


def test_a_sum_that_never_began_can_be_over(outbox: Outbox) -> None:
    assert outbox.ended(ABOUT) is None
    outbox.wipe(ABOUT, "finished")
    with pytest.raises(VerificationError, match="'ada' has finished round 3"):
        outbox.store(ABOUT, 0, b"")


# Files that are not what was stored last


def test_damaged_and_missing_files_are_refused(outbox: Outbox, root: Path) -> None:
    filled(outbox, 2)
    place = place_of(root)
    for name, title in (("key.0002", "the key of step 2"), ("record.0002", "the record of step 2")):
        data = (place / name).read_bytes()
        places = range(0, len(data), 7)
        for wrong in (*(flipped(data, n) for n in places), data[:-1], b""):
            (place / name).write_bytes(wrong)
            with pytest.raises(VerificationError, match=f"{title} of round 3 of 'ada' does not"):
                outbox.read(ABOUT)
        (place / name).write_bytes(data)
    (place / "record.0002").unlink()
    with pytest.raises(VerificationError, match=r"the record of step 2 .* is missing"):
        outbox.read(ABOUT)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]


@pytest.mark.parametrize(
    "other",
    [Sum(RUN, 4, "secagg"), Sum(b"q" * 32, 3, "secagg"), Sum(RUN, 3, "helpers")],
    ids=["round", "run", "protocol"],
)
def test_files_of_another_sum_are_refused(outbox: Outbox, root: Path, other: Sum) -> None:
    filled(outbox, 2)
    kept = place_of(root)
    if place_of(root, other) != kept:
        shutil.copytree(kept, place_of(root, other))
    with pytest.raises(VerificationError, match=r"the key of step 2 .* does not open"):
        outbox.read(other)


@pytest.mark.parametrize(("key", "party"), [(b"j" * 32, "ada"), (KEY, "ben")])
def test_files_of_another_party_are_refused(
    outbox: Outbox, root: Path, key: bytes, party: str
) -> None:
    filled(outbox, 2)
    outbox.close()
    with (
        Outbox(root, key, party) as stolen,
        pytest.raises(VerificationError, match=f"of '{party}' does not open"),
    ):
        stolen.read(ABOUT)


def test_older_files_are_refused_or_do_not_count(outbox: Outbox, root: Path) -> None:
    place = place_of(root)
    filled(outbox, 1)
    old = {path.name: path.read_bytes() for path in place.iterdir()}
    outbox.store(ABOUT, 1, TEXTS[1])
    for kind in ("key", "record"):
        new = (place / f"{kind}.0002").read_bytes()
        (place / f"{kind}.0002").write_bytes(old[f"{kind}.0001"])
        with pytest.raises(VerificationError, match=f"the {kind} of step 2 .* does not open"):
            outbox.read(ABOUT)
        (place / f"{kind}.0002").write_bytes(new)
    for name, data in old.items():
        (place / name).write_bytes(data)
    assert outbox.read(ABOUT) == Kept(2, TEXTS[1])
    assert not (place / "key.0001").exists()
    (place / "key.0002").rename(place / "key.0009")
    (place / "record.0002").rename(place / "record.0009")
    with pytest.raises(VerificationError, match=r"the key of step 9 .* does not open"):
        outbox.read(ABOUT)


def test_a_folder_that_was_put_back_as_a_whole_is_not_noticed(outbox: Outbox, root: Path) -> None:
    """The limit that the module names, so that nobody believes otherwise."""
    filled(outbox, 1)
    shutil.copytree(place_of(root), root / "backup")
    outbox.store(ABOUT, 1, TEXTS[1])
    shutil.rmtree(place_of(root))
    shutil.copytree(root / "backup", place_of(root))
    assert outbox.read(ABOUT) == Kept(1, TEXTS[0])


# Every single operation on the disk


def lived(root: Path, done: list[object]) -> None:
    """All that can happen to two sums; ``done`` tells what was finished."""
    with Outbox(root, KEY, "ada") as outbox:
        for step, text in enumerate(TEXTS[:3]):
            done.append(("trying", step + 1))
            outbox.store(ABOUT, step, text)
            done.append(("stored", step + 1))
            assert outbox.read(ABOUT).data == text
        done.append("wiping")
        outbox.wipe(ABOUT, "finished")
        done.append("wiped")


def after(root: Path, done: list[object]) -> None:
    """What was finished holds, and what was not has happened whole or not at all."""
    with Outbox(root, KEY, "ada") as outbox:
        stored = max((it[1] for it in done if it[0] == "stored"), default=0)  # type: ignore[index]
        tried = max((it[1] for it in done if it[0] == "trying"), default=0)  # type: ignore[index]
        files = [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]
        if outbox.ended(ABOUT):
            assert "wiping" in done
            assert [path.name for path in files] == ["finished"]
            assert not any(files[0].read_bytes())
            return
        assert "wiped" not in done
        kept = outbox.read(ABOUT)
        assert kept.step in (stored, tried)
        assert kept.data == (TEXTS[kept.step - 1] if kept.step else b"")
        outbox.store(ABOUT, kept.step, b"on")
        outbox.wipe(ABOUT, "finished")
        assert len(list(place_of(root).iterdir())) == 1


FAULTS = {"kill": 2, "half": 2, "power": 1, "full": 2, "read-only": 3, "fsync": 1}


@pytest.mark.parametrize("fault", FAULTS)
def test_stopped_at_any_operation_a_step_is_there_whole_or_not_at_all(
    root: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    root.mkdir(parents=True)
    with watched(BrokenDisk(root), monkeypatch) as disk:
        lived(root, [])
    operations = disk.done
    assert len(operations) > 40
    struck = 0
    chosen = [
        stop
        for stop, line in enumerate(operations, 1)
        if fault != "fsync" or line.startswith("fsync")
    ]
    for stop in chosen[:: FAULTS[fault]]:
        shutil.rmtree(root)
        root.mkdir()
        broken, done = BrokenDisk(root, fault, stop), []  # type: ignore[var-annotated]
        try:
            with watched(broken, monkeypatch):
                lived(root, done)
        except (Killed, SottovoceError) as problem:
            struck += 1
            assert isinstance(problem, Killed) or "cannot be read or written" in str(problem)
        if fault == "power":
            broken.lose_power()
        after(root, done)
    assert struck > 10


def test_what_is_read_after_a_kill_survives_a_loss_of_power(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may be there before it is durable: whoever reads or goes on from it makes it so."""
    site = root.parent
    for stop in range(1, 35):
        shutil.rmtree(site, ignore_errors=True)
        site.mkdir()
        disk = BrokenDisk(site, "kill", stop)
        disk.goes_on = True
        with suppress(Killed), watched(disk, monkeypatch):
            lived(root, [])
        disk.mend()
        with watched(disk, monkeypatch), Outbox(root, KEY, "ada") as outbox:
            if outbox.ended(ABOUT):
                continue
            kept = outbox.read(ABOUT)
            if not kept.step:
                outbox.store(ABOUT, 0, TEXTS[0])
                kept = Kept(1, TEXTS[0])
        disk.lose_power()
        with Outbox(root, KEY, "ada") as outbox:
            assert outbox.read(ABOUT) == kept


def test_a_wipe_that_was_cut_short_is_finished_at_the_next_start(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Outbox(root, KEY, "ada") as outbox:
        filled(outbox, 2)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(outboxes, "_overwrite", lambda _: killed())
            outbox.wipe(ABOUT, "finished")
    assert any((place_of(root) / "finished").read_bytes())
    with Outbox(root, KEY, "ada"):
        assert [path.name for path in place_of(root).iterdir()] == ["finished"]
        assert not any((place_of(root) / "finished").read_bytes())


def killed() -> None:
    raise Killed


def test_a_wipe_needs_no_room(outbox: Outbox, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(outbox, 2)
    real = os.open

    def full(path: object, flags: int, *more: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(path, flags, *more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(SottovoceError, match="No space left on device"):
            outbox.store(ABOUT, 2, b"")
        outbox.wipe(ABOUT, "finished")
    assert outbox.ended(ABOUT) == "finished"


def test_what_was_half_written_on_a_full_disk_makes_room_again(
    outbox: Outbox, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watched(BrokenDisk(root, "full", 4), monkeypatch), pytest.raises(SottovoceError):
        filled(outbox, 1)
    assert list(place_of(root).glob(".*")) == []
