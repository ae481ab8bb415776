"""Messages of a sum with helpers as bytes: one form each, and whatever else is a typed error."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oneshot_play import Play, announced, helper_names, identity_of, roster_of, sent, terms_for

from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot.messages import (
    Claim,
    Delivery,
    Endorsement,
    Parcel,
    PartialSum,
    Proposal,
    Receipt,
    Request,
    Upload,
    Vote,
    read,
    read_key,
    require_signed,
    write,
    write_key,
)
from sottovoce.errors import VerificationError

KINDS = (Parcel, Upload, Delivery, Receipt, Proposal, Vote, Request, Claim, PartialSum)
SIGNED = (Parcel, Receipt, Vote, Claim)


@cache
def whole_round() -> Play:
    # Nine clients, so that a set of them takes two bytes; ten sets Q too; 9 bits: ragged planes.
    return Play(terms_for(9, 5, 2, bits=9, length=5)).upload().receive().lock().answer()


@cache
def examples() -> dict[type, object]:
    """One message of each kind."""
    play = whole_round()
    told = play.sent["sums"][0]
    every = (
        *(play.uploads["c000"].parcel, play.uploads["c000"], play.got["delivery"]),
        *(play.sent["receive"][1], play.got["proposal"], play.sent["lock"][1]),
        *(play.got["requests"]["h1"], told.claim, told),
    )
    found = {type(message): message for message in every}
    assert tuple(found) == KINDS
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_reads_as_it_was_written(kind: type) -> None:
    terms, message = whole_round().terms, examples()[kind]
    assert read(kind, write(message, terms), terms) == message


def marks_of(numbers, count: int) -> bytes:
    bits = "".join("1" if number in numbers else "0" for number in range(count))
    return int(bits.ljust(-(-count // 8) * 8, "0"), 2).to_bytes(-(-count // 8), "big")


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_those_of_the_format_written_by_hand(kind: type) -> None:
    terms, message = whole_round().terms, examples()[kind]

    def clients(names) -> bytes:
        return marks_of([terms.cohort.index(name) for name in names], 9)

    def parcel(it) -> bytes:
        place = terms.cohort.index(it.client).to_bytes(4, "big")
        return place + it.key + b"".join((*it.commitments, *it.boxes)) + it.words_sha256

    def claim(it) -> bytes:
        return bytes((int(it.helper[1:]), it.subset)) + it.sum_sha256

    match message:
        case Parcel():
            body = parcel(message)
        case Upload():
            body = parcel(message.parcel) + message.parcel.signature + message.words
        case Delivery():
            body = b"\0\0\0\x09" + b"".join(parcel(it) + it.signature for it in message.parcels)
        case Receipt():
            body = b"\1" + clients(message.accepted)
        case Proposal():
            body = clients(message.survivors)
        case Vote():
            body = b"\1" + message.lock_sha256
        case Request():
            voters = marks_of([int(it.helper[1:]) for it in message.votes], 5)
            votes = b"".join(it.signature for it in message.votes)
            wanted = marks_of(message.wanted, 10)
            body = b"\1" + clients(message.survivors) + voters + votes + wanted
        case Claim():
            body = claim(message)
        case PartialSum():
            body = claim(message.claim) + message.claim.signature + b"\1" + message.words
    start = b"SVOS\x01" + bytes((KINDS.index(kind),)) + terms.digest
    tail = message.signature if kind in SIGNED else b""
    assert write(message, terms) == start + body + tail


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_read_as_its_own_kind_and_under_its_own_terms_only(kind: type) -> None:
    terms = whole_round().terms
    data = write(examples()[kind], terms)
    for other in set(KINDS) - {kind}:
        with pytest.raises(VerificationError, match="does not begin as one of this version"):
            read(other, data, terms)
    with pytest.raises(VerificationError, match=f"the {kind.__name__} of a peer belongs to ano"):
        read(kind, data, replace(terms, round=4))


@pytest.mark.parametrize("kind", SIGNED)
def test_no_byte_can_change_under_a_signature(kind: type) -> None:
    terms = whole_round().terms
    data = write(examples()[kind], terms)
    require_signed(read(kind, data, terms), terms)
    for place in range(0, len(data), 1 if len(data) < 200 else 23):
        wrong = bytearray(data)
        wrong[place] ^= 0x40
        with pytest.raises(VerificationError):
            require_signed(read(kind, wrong, terms), terms)


def test_a_signature_under_one_kind_is_none_under_another() -> None:
    terms, vote = whole_round().terms, examples()[Vote]
    claim = Claim(vote.helper, 0, vote.lock_sha256, vote.signature)
    with pytest.raises(VerificationError, match="signature of client 'h1'"):
        require_signed(claim, terms)


VOTE = Endorsement("h0", bytes(64))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Proposal(("c001", "c000")), "not sorted, or names somebody twice"),
        (Proposal(("c000", "zoe")), "'zoe' is not in the cohort of round 3"),
        (Receipt("zoe", ()), "'zoe' is no helper in round 3"),
        (Vote("h0", bytes(31)), "a hash is not a string of 32 bytes"),
        (Vote("h0", bytes(32), b"s"), "a signature is not a string of 64 bytes"),
        (Request("h0", (), (VOTE, VOTE), ()), "helpers that are not sorted, double or unknown"),
        (Request("h0", (), (replace(VOTE, helper="zoe"),), ()), "'zoe' is no helper"),
        (Request("h0", (), (), (1, 0)), "sets that are not sorted, double or unknown"),
        (Request("h0", (), (), (10,)), "sets that are not sorted, double or unknown"),
        (Claim("h0", 10, bytes(32)), "set 10 of 10"),
        (Claim("h0", -1, bytes(32)), "set -1 of 10"),
        (Parcel("c000", bytes(32), (), (), bytes(32)), "0 of commitments. Allowed: 10"),
        (Parcel("c000", bytes(31), (), (), bytes(32)), "a public key is not a string of 32 bytes"),
    ],
)
def test_what_has_no_form_is_not_written(message, why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        write(message, whole_round().terms)


@pytest.mark.parametrize("size", [0, 5, 7])
def test_words_of_another_size_are_not_written(size: int) -> None:
    terms = whole_round().terms
    upload, told = examples()[Upload], examples()[PartialSum]
    assert len(upload.words) == len(told.words) == 6
    with pytest.raises(VerificationError, match="the words of a vector is not a string of 6"):
        write(replace(upload, words=bytes(size)), terms)
    if size:
        with pytest.raises(VerificationError, match="the words of a vector is not a string of 6"):
            write(replace(told, words=bytes(size)), terms)


def test_bytes_that_name_what_does_not_exist_are_refused() -> None:
    terms = whole_round().terms

    def damaged(kind: type, place: int, value: int) -> None:
        data = bytearray(write(examples()[kind], terms))
        data[place] = value
        read(kind, data, terms)

    for case, why in (
        ((Vote, 38, 5), "names place 5 of 5 helpers"),
        ((Claim, 39, 10), "names set 10 of 10"),
        ((Request, 41, 0b11111100), "has helpers that do not exist"),
        ((PartialSum, 38 + 2 + 32 + 64, 2), "has the mark 2 where its words begin"),
    ):
        with pytest.raises(VerificationError, match=why):
            damaged(*case)
    data = write(examples()[Request], terms)
    with pytest.raises(VerificationError, match="has sets that do not exist"):
        read(Request, data[:-1] + b"\x20", terms)


@st.composite
def damaged(draw):
    """A kind, and bytes that begin, mostly, as a message of that kind."""
    terms = whole_round().terms
    kind = draw(st.sampled_from(KINDS))
    data = bytearray(write(examples()[draw(st.sampled_from(KINDS))], terms))
    if draw(st.integers(0, 9)):
        data[:38] = write(examples()[kind], terms)[:38]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 40)))
        data[at:end] = draw(st.binary(max_size=40))
    return kind, bytes(data)


def check_bytes(kind: type, data: bytes) -> None:
    terms = whole_round().terms
    try:
        message = read(kind, data, terms, sender="a fuzzer")
    except VerificationError as refused:
        assert "a fuzzer" in str(refused)
    else:
        assert write(message, terms) == data


CASES = damaged() | st.tuples(st.sampled_from(KINDS), st.binary(max_size=400))


@given(CASES)
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_message_or_a_typed_error(case) -> None:
    check_bytes(*case)


@pytest.mark.slow
@given(CASES)
@settings(max_examples=20_000, deadline=None)
def test_any_bytes_are_a_message_or_a_typed_error_at_length(case) -> None:
    check_bytes(*case)


@cache
def stages():
    """Every kind with the play that awaits it."""
    terms = terms_for(4, 4, 1)
    made = {
        "upload": Play(terms),
        "receive": Play(terms).upload(),
        "lock": Play(terms).upload().receive(),
        "answer": Play(terms).upload().receive().lock(),
    }
    return terms, made


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_message_that_parses_brings_a_helper_to_nothing_but_a_typed_error(data) -> None:
    """Every list of a message cut or doubled, and handed to the helper that awaits it."""
    _, made = stages()
    stage = data.draw(st.sampled_from(["receive", "lock", "answer"]))
    play = made[stage]
    got = {"receive": "delivery", "lock": "proposal"}.get(stage)
    message = play.got[got] if got else play.got["requests"]["h0"]
    changes = {}
    for field in fields(message):
        value = getattr(message, field.name)
        if isinstance(value, tuple) and value:
            changes[field.name] = tuple(
                data.draw(st.lists(st.sampled_from(value), max_size=len(value) + 1))
            )
    step = getattr(steps, stage)
    identity = (identity_of("h0"),) if got else ()
    try:
        step(play.states["h0"], replace(message, **changes), *identity)
    except VerificationError:
        return
    if stage == "answer":
        assert changes["survivors"] == message.survivors
        assert len({it.helper for it in changes["votes"]}) >= 3


# --- the key of a run ----------------------------------------------------------------------------


def test_the_key_of_a_run_is_read_as_it_was_written_and_nothing_else_is() -> None:
    helpers, run = roster_of(helper_names(3)), b"r" * 32
    _, shown = announced(3)["h1"]
    data = write_key(shown, helpers, run)
    assert read_key(data, "h1", helpers, run) == shown
    assert data == b"SVOS\x01\xff" + helpers.root + run + b"\1" + shown.key + shown.signature
    for place in range(len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 1
        with pytest.raises(VerificationError):
            read_key(wrong, "h1", helpers, run)
    for given_ in ((data + b"\0", "h1", run), (data[:-1], "h1", run), (data, "h0", run)):
        with pytest.raises(VerificationError, match="the key of helper 'h"):
            read_key(given_[0], given_[1], helpers, given_[2])
    with pytest.raises(VerificationError, match="does not begin as one of this version, run and"):
        read_key(data, "h1", helpers, b"s" * 32)
    with pytest.raises(VerificationError, match="'zoe' is none of the helpers"):
        read_key(data, "zoe", helpers, run)


def test_words_are_not_copied_when_they_are_read() -> None:
    terms = whole_round().terms
    for kind in (Upload, PartialSum):
        data = write(examples()[kind], terms)
        assert read(kind, data, terms).words.obj is data
    assert sent(examples()[PartialSum], terms) == examples()[PartialSum]
