"""The ledger: every damage is seen, a crash costs at most the line that was being written."""

import fcntl
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.errors import SottovoceError, UsageError, VerificationError
from sottovoce.run import ledger as module
from sottovoce.run.ledger import GENESIS, Ledger, canonical, read, verify

PAYLOADS = [{"config": "a\u2028ü", "seed": 7}, {"loss": 0.1, "clients": ["x", "y"]}, {"end": None}]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path) as ledger:
        for place, payload in enumerate(PAYLOADS):
            ledger.append(f"kind {place}", payload)
    return path


def refuses(path):
    """Both doors see the damage, and neither touches the file."""
    before = path.read_bytes()
    with pytest.raises(VerificationError):
        verify(path)
    with pytest.raises(VerificationError):
        Ledger.open(path).close()
    assert path.read_bytes() == before


# What is written


def test_lines_are_the_chain_that_the_module_describes(path):
    previous = "0" * 64
    for index, line in enumerate(path.read_bytes().splitlines(keepends=True)):
        value = json.loads(line)
        checksum = value.pop("sha256")
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert value["index"] == index
        assert value["kind"] == f"kind {index}"
        assert value["payload"] == PAYLOADS[index]
        assert value["previous"] == previous
        assert checksum == hashlib.sha256(text.encode()).hexdigest()
        assert line.count(b"\n") == 1
        previous = hashlib.sha256(line).hexdigest()
    records, head = verify(path)
    assert head == previous
    assert [dict(record.payload) for record in records] == PAYLOADS


def test_the_same_payloads_give_the_same_bytes_for_there_is_no_clock(path, tmp_path):
    other = tmp_path / "other.jsonl"
    with Ledger.open(other) as ledger:
        for place, payload in enumerate(PAYLOADS):
            ledger.append(f"kind {place}", payload)
        head = ledger.head
    assert other.read_bytes() == path.read_bytes()
    assert head == verify(path)[1]


def test_a_ledger_goes_on_where_it_stopped(path):
    with Ledger.open(path) as ledger:
        assert (ledger.count, ledger.head, ledger.torn) == (3, verify(path)[1], 0)
        record = ledger.append("more", {})
        assert (record.index, record.kind) == (3, "more")
        assert ledger.head == record.line_sha256
        assert ledger.count == 4
    records, head = verify(path)
    assert (records[-1], head) == (record, record.line_sha256)


def test_an_empty_ledger_has_the_head_of_zeros(tmp_path):
    with Ledger.open(tmp_path / "l") as ledger:
        assert (ledger.count, ledger.head, ledger.torn) == (0, GENESIS, 0)
    assert verify(tmp_path / "l") == ((), "0" * 64)


def test_append_syncs_before_it_returns_and_a_new_name_is_synced_too(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def spy(descriptor):
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr(module.os, "fsync", spy)
    with Ledger.open(tmp_path / "l") as ledger:
        assert [inode for inode, _ in synced] == [tmp_path.stat().st_ino]
        ledger.append("a", {})
        status = (tmp_path / "l").stat()
        assert synced[1:] == [(status.st_ino, status.st_size)]
    with (tmp_path / "l").open("ab") as file:
        file.write(b"torn")
    Ledger.open(tmp_path / "l").close()
    assert synced[2:] == [(status.st_ino, status.st_size)]


@given(JSON)
@settings(max_examples=100, deadline=None)
def test_canonical_json_reads_back_the_same_and_in_one_form(value):
    data = canonical(value)
    back = json.loads(data)
    assert repr(back) == repr(json.loads(json.dumps(value, sort_keys=True)))
    assert canonical(back) == data
    assert b"\n" not in data


def test_the_order_of_keys_does_not_matter():
    assert canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1}) == b'{"a":2,"b":1}'


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        ({"x": float("nan")}, "payload.x is nan"),
        ({"x": [1, {"y": float("-inf")}]}, r"payload.x\[1\].y is -inf"),
        ({"x": {1: 2}}, r"key of \$\.payload\.x"),
        ({"x": np.float32(1.0)}, "payload.x is np.float32"),
        ({"x": b"bytes"}, "payload.x is b'bytes'"),
        ({"x": {1, 2}}, "payload.x is {1, 2}"),
        ({"x": 2**63}, "payload.x is 9223372036854775808"),
        ({"x": "\ud800"}, "not Unicode"),
    ],
)
def test_what_is_no_plain_json_is_refused_and_nothing_is_written(path, bad, place):
    before = path.read_bytes()
    with Ledger.open(path) as ledger:
        with pytest.raises(UsageError, match=place):
            ledger.append("bad", bad)
        assert path.read_bytes() == before
        ledger.append("good", {})
    assert len(verify(path)[0]) == 4


# Damage


def test_every_changed_byte_is_detected(path):
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    starts = [0, len(lines[0]), len(lines[0]) + len(lines[1]), len(whole)]
    for place in range(len(whole)):
        for mask in (0x01, 0x20):
            damaged = bytearray(whole)
            damaged[place] ^= mask
            path.write_bytes(damaged)
            with pytest.raises(VerificationError) as seen:
                verify(path)
            first_bad = next(line for line in (1, 2, 3) if place < starts[line])
            assert str(seen.value).startswith(f"line {first_bad} of the ledger")
            with pytest.raises(VerificationError):
                Ledger.open(path).close()
    path.write_bytes(whole)
    verify(path)


def test_every_removed_or_doubled_byte_is_detected(path):
    whole = path.read_bytes()
    for place in range(len(whole) - 1):
        path.write_bytes(whole[:place] + whole[place + 1 :])
        with pytest.raises(VerificationError):
            verify(path)
        path.write_bytes(whole[: place + 1] + whole[place:])
        with pytest.raises(VerificationError):
            verify(path)


def test_lines_removed_swapped_doubled_or_blank_are_detected(path):
    a, b, c = path.read_bytes().splitlines(keepends=True)
    for lines in (b + c, a + c, b + a + c, a + b + b + c, a + a + b + c, a + b"\n" + b + c, b"\n"):
        path.write_bytes(lines)
        refuses(path)


def test_a_sound_line_in_the_wrong_place_is_called_that(path, tmp_path):
    with Ledger.open(tmp_path / "other") as ledger:
        for place in range(3):
            ledger.append("other", {"place": place})
    a, b, c = path.read_bytes().splitlines(keepends=True)
    foreign = (tmp_path / "other").read_bytes().splitlines(keepends=True)[2]
    for lines, bad in ((a + b + b + c, 3), (a + c, 2), (a + b + foreign, 3)):
        path.write_bytes(lines)
        with pytest.raises(VerificationError, match=f"line {bad} .* does not follow from the line"):
            verify(path)


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b"5", b"NaN", b'{"index":0}', b"\xff", b"[" * 100_000, b"\xef\xbb\xbf{}"]
)
def test_lines_that_are_no_record_are_detected(path, line):
    path.write_bytes(line + b"\n")
    refuses(path)


def test_another_writing_of_the_same_record_is_detected(path):
    first, *rest = path.read_bytes().splitlines(keepends=True)
    value = json.loads(first)
    shuffled = json.dumps(dict(reversed(value.items())), separators=(",", ":"), ensure_ascii=False)
    for other in (shuffled.encode() + b"\n", first.replace(b'":', b'": ', 1), b" " + first):
        path.write_bytes(other + b"".join(rest))
        refuses(path)


def forge_last(path, **changes):
    """Rewrite the last line with a matching hash of its own, as a careful forger would."""
    *before, last = path.read_bytes().splitlines(keepends=True)
    value = {**json.loads(last), **changes}
    value.pop("sha256")

    def written():
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    value["sha256"] = hashlib.sha256(written()).hexdigest()
    path.write_bytes(b"".join(before) + written() + b"\n")


def test_a_forged_last_line_with_its_own_hash_changes_the_head(path):
    _, head = verify(path)
    forge_last(path, payload={"end": "forged"})
    assert verify(path)[1] != head


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": 7}, "does not follow"),
        ({"index": True}, "does not follow"),
        ({"previous": GENESIS}, "does not follow"),
        ({"kind": 5}, "has a kind that is no text"),
        ({"payload": [1]}, "a payload that is no object"),
        ({"payload": {"x": float("nan")}}, "a number or text that no ledger holds"),
        ({"payload": {"x": 2**63}}, "a number or text that no ledger holds"),
        ({"more": 1}, "is no object with exactly"),
    ],
)
def test_a_forged_line_must_still_be_a_record_in_its_place(path, changes, message):
    forge_last(path, **changes)
    with pytest.raises(VerificationError, match=f"line 3 of the ledger .*{message}"):
        verify(path)
    refuses(path)


def test_reading_yields_the_good_lines_before_the_bad_one(path):
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"end":null', b'"end":true'))
    records = read(path)
    assert [next(records).index, next(records).index] == [0, 1]
    with pytest.raises(VerificationError, match="line 3 of the ledger is not what its own hash"):
        next(records)


def test_a_ledger_that_is_missing_cannot_be_verified(tmp_path):
    with pytest.raises(VerificationError, match=r"gone\.jsonl cannot be read: No such file"):
        verify(tmp_path / "gone.jsonl")


# Crashes


def test_a_ledger_cut_at_any_byte_keeps_every_whole_line_and_goes_on(path, monkeypatch):
    # Nothing crashes for real here, and waiting for the disk thousands of times proves nothing.
    monkeypatch.setattr(module.os, "fsync", lambda descriptor: None)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        stand = sum(end <= size for end in ends)
        kept = ends[stand - 1] if stand else 0
        if size > kept:
            with pytest.raises(VerificationError, match=f"line {stand + 1} .* does not end"):
                verify(path)
        with Ledger.open(path) as ledger:
            assert (ledger.count, ledger.torn) == (stand, size - kept)
            assert path.stat().st_size == kept
            for place in range(stand, 3):
                ledger.append(f"kind {place}", PAYLOADS[place])
        assert path.read_bytes() == whole


def test_zeros_behind_a_torn_line_are_dropped_with_it(path):
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"index":3,"ki' + bytes(40))
    with Ledger.open(path) as ledger:
        assert (ledger.count, ledger.torn) == (3, 54)
    assert path.read_bytes() == whole


def test_a_last_newline_that_was_overwritten_is_damage_and_no_crash(path):
    whole = path.read_bytes()
    for byte in range(256):
        if byte != 10:
            path.write_bytes(whole[:-1] + bytes([byte]))
            refuses(path)


def test_a_torn_line_behind_a_bad_one_is_not_repaired(path):
    path.write_bytes(path.read_bytes().replace(b'"seed":7', b'"seed":8') + b'{"index')
    refuses(path)


WRITER = """
import sys
from pathlib import Path
from sottovoce.run.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    while True:
        record = ledger.append("round", {"text": "x" * 3000, "place": ledger.count})
        print(record.index, record.line_sha256, flush=True)
"""


def start(program, path):
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )


def test_after_kill_nine_every_acknowledged_record_stands(tmp_path):
    path = tmp_path / "ledger.jsonl"
    acknowledged = {}
    for patience in (0.0, 0.013, 0.05):
        with start(WRITER, path) as writer:
            first = writer.stdout.readline()
            time.sleep(patience)
            writer.send_signal(signal.SIGKILL)
            lines = [first.strip(), *writer.stdout.read().splitlines()]
        acknowledged.update(line.split() for line in lines if line.count(" ") == 1)
        with Ledger.open(path) as ledger:
            assert ledger.count >= len(acknowledged)
        records, _ = verify(path)
        hashes = {str(record.index): record.line_sha256 for record in records}
        assert acknowledged.items() <= hashes.items()


# One writer


def test_a_second_opener_is_refused_until_the_first_lets_go(path):
    with Ledger.open(path):
        with pytest.raises(UsageError, match=r"held by another process.*Wait"):
            Ledger.open(path)
        assert len(verify(path)[0]) == 3
    Ledger.open(path).close()


def test_another_process_is_refused_and_a_killed_one_holds_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with start(WRITER, path) as writer:
        writer.stdout.readline()
        with pytest.raises(UsageError, match="held by another process"):
            Ledger.open(path)
        writer.kill()
        writer.wait()
        with Ledger.open(path) as ledger:
            assert ledger.count > 0


def test_a_refused_opener_repairs_nothing(path):
    whole = path.read_bytes() + b'{"torn'
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b'{"torn')
        other.flush()
        with pytest.raises(UsageError):
            Ledger.open(path)
        assert path.read_bytes() == whole


def test_a_file_that_changed_while_open_is_not_written_to(path):
    with Ledger.open(path) as ledger:
        with path.open("ab") as stranger:
            stranger.write(b"hello\n")
        before = path.read_bytes()
        with pytest.raises(VerificationError, match="changed while it was open"):
            ledger.append("a", {})
        assert path.read_bytes() == before


def test_a_closed_ledger_refuses_and_closes_twice(path):
    ledger = Ledger.open(path)
    ledger.close()
    ledger.close()
    with pytest.raises(UsageError, match="closed"):
        ledger.append("a", {})


# Disks


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_takes_the_line_back_and_earlier_records_stand(path, room):
    whole = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ledger = Ledger.open(path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, hard))
        with pytest.raises(SottovoceError, match=r"cannot be written: .*Make room"):
            ledger.append("large", {"text": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == whole
    with pytest.raises(UsageError, match="closed"):
        ledger.append("a", {})
    with Ledger.open(path) as again:
        assert again.torn == 0
        again.append("a", {})
    assert len(verify(path)[0]) == 4


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    for place in (tmp_path / "missing" / "ledger.jsonl", tmp_path):
        with pytest.raises(UsageError, match=r"cannot be opened.*run\.dir"):
            Ledger.open(Path(place))
