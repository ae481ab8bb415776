"""Messages and states as bytes: one form each, and whatever else arrives is a typed error."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_play import MODEL, Play, identity_of, sent, terms_for

from sottovoce.codec import wire
from sottovoce.codec.forms import Reader
from sottovoce.codec.secagg import hybrid, states
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Advertisement,
    Cohort,
    Deposit,
    Inbox,
    SealedShare,
    SealedShares,
    Survivors,
    Unmasking,
    UnmaskRequest,
    Upload,
    digest,
    read,
    require_signed,
    signed,
    write,
)
from sottovoce.codec.words import pack_words, unpack_words
from sottovoce.errors import VerificationError

KINDS = (
    Advertisement,
    Cohort,
    SealedShares,
    Inbox,
    Upload,
    Survivors,
    Acknowledgement,
    UnmaskRequest,
    Unmasking,
)
SIGNED = (Advertisement, SealedShares, Upload, Acknowledgement, Unmasking)


BOTH = pytest.mark.parametrize("post_quantum", [False, True])


@cache
def whole_round(post_quantum: bool = False) -> Play:
    # Nine clients, so that a set of them takes two bytes, and 9 bits, so that planes are ragged.
    play = Play(terms_for(9, threshold=5, bits=9, length=5, post_quantum=post_quantum))
    play.whole({"c008": "upload"})
    return play


@cache
def examples(post_quantum: bool = False) -> dict[type, object]:
    """One message of each kind, from the same client."""
    play = whole_round(post_quantum)
    every = [messages_["c000"] for messages_ in (*play.sent.values(), *play.got.values())]
    found = {type(message): message for message in every}
    assert set(found) == set(KINDS)
    return found


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_a_message_reads_as_it_was_written(kind: type, post_quantum: bool) -> None:
    terms, message = whole_round(post_quantum).terms, examples(post_quantum)[kind]
    assert read(kind, write(message, terms), terms) == message


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_are_those_of_the_format_written_by_hand(kind: type, post_quantum: bool) -> None:
    terms, message = whole_round(post_quantum).terms, examples(post_quantum)[kind]
    place = terms.cohort.index

    def client_set(clients) -> bytes:
        marks = "".join("1" if name in clients else "0" for name in terms.cohort)
        return bytes((int(marks[:8], 2), int(marks[8:].ljust(8, "0"), 2)))

    def boxes(shares) -> bytes:
        rows = [
            number(place(it.client))
            + it.box
            + it.self_commitment
            + it.mask_commitment
            + it.ciphertext
            + it.link_commitment
            for it in shares
        ]
        return number(len(rows)) + b"".join(rows)

    def keys_of(it) -> bytes:
        keys_ = it.mask_key + it.seal_key + it.mask_kem_key + it.seal_kem_key
        return number(place(it.client)) + keys_

    def left(deposits) -> bytes:
        rows = [number(place(it.client)) + it.ciphertext + it.box for it in deposits]
        return number(len(rows)) + b"".join(rows) if post_quantum else b""

    match message:
        case Advertisement():
            body = keys_of(message)
        case Cohort():
            rows = [keys_of(it) + it.signature for it in message.advertisements]
            body = number(0) + client_set(message.present) + number(9) + b"".join(rows)
        case SealedShares():
            body = number(0) + boxes(message.shares) + left(message.deposits)
        case Inbox():
            body = number(0) + client_set(message.included) + boxes(message.shares)
        case Upload():
            body = number(0) + message.words
        case Survivors():
            body = client_set(message.survivors)
        case Acknowledgement():
            body = number(0) + message.survivors_sha256
        case UnmaskRequest():
            rows = [number(place(it.client)) + it.signature for it in message.endorsements]
            body = number(0) + client_set(message.survivors) + number(5) + b"".join(rows)
        case Unmasking():
            rows = [
                number(place(it.client)) + bytes((it.kind == "mask",)) + it.share
                for it in message.shares
            ]
            body = number(0) + number(8) + b"".join(rows)
    sizes = {
        Advertisement: (64, 64 + 2 * 1184),
        Cohort: (2 + 4 + 9 * 132, 2 + 4 + 9 * (132 + 2 * 1184)),
        SealedShares: (4 + 8 * 160, 4 + 8 * (160 + 32 + 1088 + 32) + 4 + 8 * (4 + 1088 + 48)),
        Inbox: (4 + 2 + 8 * 160, 4 + 2 + 8 * (160 + 32 + 1088 + 32)),
    }
    if kind in sizes:
        assert len(body) == 4 + sizes[kind][post_quantum]
    start = b"SVSA\x01" + bytes((KINDS.index(kind),)) + terms.digest
    tail = message.signature if kind in SIGNED else b""
    assert write(message, terms) == start + body + tail


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_read_as_its_own_kind_only(kind: type) -> None:
    terms = whole_round().terms
    data = write(examples()[kind], terms)
    for other in set(KINDS) - {kind}:
        with pytest.raises(VerificationError, match="does not begin as one of this version"):
            read(other, data, terms)


@BOTH
@pytest.mark.parametrize("kind", SIGNED)
def test_no_byte_can_change_under_a_signature(kind: type, post_quantum: bool) -> None:
    terms = whole_round(post_quantum).terms
    data = write(examples(post_quantum)[kind], terms)
    require_signed(read(kind, data, terms), terms)
    for place in range(0, len(data), 1 if len(data) < 300 else 53 if post_quantum else 7):
        wrong = bytearray(data)
        wrong[place] ^= 0x40
        with pytest.raises(VerificationError):
            require_signed(read(kind, wrong, terms), terms)


def test_a_signature_under_one_kind_is_none_under_another() -> None:
    terms = whole_round().terms
    acknowledged = examples()[Acknowledgement]
    keys_ = Advertisement("c000", acknowledged.survivors_sha256, bytes(32), acknowledged.signature)
    with pytest.raises(VerificationError, match="signature of client 'c000'"):
        require_signed(keys_, terms)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Survivors(("c001", "c000")), "not sorted, or names somebody twice"),
        (Survivors(("c000", "c000")), "not sorted, or names somebody twice"),
        (Survivors(("c000", "zoe")), "'zoe' is not in the cohort of round 3"),
        (Acknowledgement("zoe", bytes(32)), "'zoe' is not in the cohort of round 3"),
        (Acknowledgement("c000", bytes(31)), "a hash is not a string of 32 bytes"),
        (Acknowledgement("c000", "h" * 32), "a hash is not a string of 32 bytes"),
        (Acknowledgement("c000", bytes(32), b"s"), "a signature is not a string of 64 bytes"),
        (Advertisement("c000", bytes(33), bytes(32)), "a public key is not a string of 32 bytes"),
        (Upload("c000", bytes(7)), "the words of an upload is not a string of 6 bytes"),
        (
            Advertisement("c000", bytes(32), bytes(32), mask_kem_key=bytes(1184)),
            "an ML-KEM key is not a string of 0 bytes",
        ),
        (
            SealedShares("c000", (SealedShare("c001", bytes(124), bytes(32), bytes(32)),)),
            "a sealed share is not a string of 92 bytes",
        ),
        (
            SealedShares("c000", (), deposits=(Deposit("c001", bytes(1088), bytes(48)),)),
            "a list that plain terms do not have is not empty",
        ),
    ],
)
def test_what_has_no_form_is_not_written(message, why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        write(message, whole_round().terms)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (
            Advertisement("c000", bytes(32), bytes(32), b"", bytes(1184), bytes(1183)),
            "an ML-KEM key is not a string of 1184 bytes",
        ),
        (
            SealedShares(
                "c000",
                (SealedShare("c001", bytes(124), bytes(32), bytes(32), bytes(1087), bytes(32)),),
            ),
            "an ML-KEM ciphertext is not a string of 1088 bytes",
        ),
        (
            SealedShares(
                "c000", (SealedShare("c001", bytes(124), bytes(32), bytes(32), bytes(1088)),)
            ),
            "the hash of a link is not a string of 32 bytes",
        ),
        (
            SealedShares("c000", (SealedShare("c001", bytes(92), bytes(32), bytes(32)),)),
            "a sealed share is not a string of 124 bytes",
        ),
        (
            SealedShares("c000", (), deposits=(Deposit("c001", bytes(1088), bytes(47)),)),
            "a deposit is not a string of 48 bytes",
        ),
        (
            SealedShares("c000", (), deposits=(Deposit("c001", bytes(1089), bytes(48)),)),
            "an ML-KEM ciphertext is not a string of 1088 bytes",
        ),
    ],
)
def test_what_has_no_post_quantum_form_is_not_written(message, why: str) -> None:
    with pytest.raises(VerificationError, match=why):
        write(message, whole_round(post_quantum=True).terms)


def test_bytes_that_name_clients_who_do_not_exist_are_refused() -> None:
    terms = whole_round().terms
    data = write(Survivors(terms.cohort), terms)
    with pytest.raises(VerificationError, match="the Survivors of a peer names clients beyond"):
        read(Survivors, data[:-1] + b"\xc0", terms)
    inbox = write(examples()[Inbox], terms)
    counted = inbox[:44] + number(10) + inbox[48:]
    with pytest.raises(VerificationError, match="lists 10 items for a cohort of 9"):
        read(Inbox, counted, terms)
    twice = inbox[:48] + inbox[48 : 48 + 160] * 2 + inbox[48 + 320 :]
    with pytest.raises(VerificationError, match="not sorted, or names somebody twice"):
        read(Inbox, twice, terms)
    answer = write(examples()[Unmasking], terms)
    with pytest.raises(VerificationError, match="has a share of the unknown kind 2"):
        read(Unmasking, answer[:50] + b"\2" + answer[51:], terms)


def test_a_message_of_another_sum_is_refused_before_anything_else() -> None:
    play = whole_round()
    for kind, message in examples().items():
        with pytest.raises(VerificationError, match=f"the {kind.__name__} of a peer belongs to"):
            sent(message, play.terms, to=replace(play.terms, round=4))


@st.composite
def damaged(draw):
    """A kind, and bytes that begin, mostly, as a message of that kind."""
    kind, post_quantum = draw(st.sampled_from(KINDS)), draw(st.booleans())
    terms, made = whole_round(post_quantum).terms, examples(post_quantum)
    data = bytearray(write(made[draw(st.sampled_from(KINDS))], terms))
    if draw(st.integers(0, 9)):
        data[:38] = write(made[kind], terms)[:38]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 40)))
        data[at:end] = draw(st.binary(max_size=40))
    return kind, bytes(data)


def check_bytes(kind: type, data: bytes) -> None:
    for post_quantum in (False, True):
        terms = whole_round(post_quantum).terms
        try:
            message = read(kind, data, terms, sender="a fuzzer")
        except VerificationError as refused:
            assert "a fuzzer" in str(refused)
        else:
            assert write(message, terms) == data


@given(damaged() | st.tuples(st.sampled_from(KINDS), st.binary(max_size=200)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_message_or_a_typed_error(case) -> None:
    check_bytes(*case)


@pytest.mark.slow
@given(damaged() | st.tuples(st.sampled_from(KINDS), st.binary(max_size=2000)))
@settings(max_examples=10_000, deadline=None)
def test_any_bytes_are_a_message_or_a_typed_error_at_length(case) -> None:
    check_bytes(*case)


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_messages_that_parse_never_bring_a_client_or_the_server_to_anything_but_a_typed_error(
    data,
) -> None:
    """Every list of a message cut, doubled or taken from elsewhere, and handed to who awaits it."""
    play = fresh_rounds()[data.draw(st.sampled_from(list(fresh_rounds())))]
    stage, got = play
    message = got.got[stage]["c000"]
    changes = {}
    for field in fields(message):
        value = getattr(message, field.name)
        if isinstance(value, tuple):
            keep = data.draw(st.lists(st.sampled_from(value), unique_by=id, max_size=len(value)))
            changes[field.name] = tuple(item for item in value if any(item is it for it in keep))
    try:
        getattr(got, stage)("c000", replace(message, **changes))
    except VerificationError:
        return
    assert all(changes[name] == getattr(message, name) for name in changes)


@cache
def fresh_rounds():
    built = {}
    for stage in ("share", "upload", "unmask"):
        built[stage] = (stage, Play(terms_for(5, threshold=4)).until(stage))
    return built


# --- the words of an upload ----------------------------------------------------------------------


@given(
    st.integers(8, 32),
    st.sampled_from([1, 5, 8, 2**15 - 1, 2**15, 2**15 + 1, 2**16 + 3]),
    st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_words_come_back_block_by_block(bits: int, length: int, seed: int) -> None:
    terms = terms_for(2, bits=bits, length=length)
    vector = np.random.default_rng(seed).integers(
        0, terms.largest, length, np.uint64, endpoint=True
    )
    vector = vector.astype(terms.word)
    words = pack_words(vector, terms)
    assert len(words) <= wire.packed_bytes(length, bits) + 8
    blocks = list(unpack_words(words, terms))
    assert all(later > earlier for (later, _), (earlier, _) in pairwise(blocks))
    assert np.array_equal(np.concatenate([block for _, block in reversed(blocks)]), vector)
    for wrong in (words[:-1], words + b"\0"):
        with pytest.raises(VerificationError, match="an upload of"):
            list(unpack_words(wrong, terms))


def test_an_upload_of_sixteen_bits_takes_two_bytes_an_entry() -> None:
    terms = terms_for(2, length=10**5)
    upload = Upload("c000", pack_words(np.zeros(10**5, np.uint16), terms), bytes(64))
    assert len(write(upload, terms)) == 2 * 10**5 + 4 + 2 + 32 + 4 + 64


def test_the_words_of_an_upload_are_not_copied_when_they_are_read() -> None:
    terms = whole_round().terms
    data = write(examples()[Upload], terms)
    assert read(Upload, data, terms).words.obj is data


# --- states --------------------------------------------------------------------------------------


def states_of(
    malicious: bool = True, post_quantum: bool = False
) -> tuple[Play, list[states.State]]:
    """A round, and every state of its first client in turn."""
    play = Play(terms_for(5, threshold=3, malicious=malicious, post_quantum=post_quantum))
    found = []
    for stage in play.stages():
        play.go(stage, {"c004"} if stage == "upload" else ())
        found.append(play.states["c000"])
    return play, found


@BOTH
def test_a_state_is_loaded_as_it_was_dumped(post_quantum: bool) -> None:
    play, found = states_of(post_quantum=post_quantum)
    assert [type(state).__name__ for state in found] == [
        "Advertised",
        "Shared",
        "Uploaded",
        "Acknowledged",
        "Answered",
    ]
    for state in found:
        assert states.load(states.dump(state), play.terms) == state


def test_any_byte_of_a_dump_that_changes_is_noticed() -> None:
    play, found = states_of()
    for state in found:
        data = states.dump(state)
        for place in range(len(data)):
            wrong = bytearray(data)
            wrong[place] ^= 1
            with pytest.raises(VerificationError, match="the state of a client was damaged"):
                states.load(bytes(wrong), play.terms)
        for wrong in (data[:-1], data + b"\0", b""):
            with pytest.raises(VerificationError, match="the state of a client was damaged"):
                states.load(wrong, play.terms)
        with pytest.raises(VerificationError, match="belongs to another round, roster or conf"):
            states.load(data, replace(play.terms, round=4))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda body: b"SVSX" + body[4:], "does not begin as one of this version"),
        (lambda body: body[:5] + b"\x05" + body[6:], "does not begin as one of this version"),
        (lambda body: body + b"\0", "goes on for 1 bytes after its end"),
        (lambda body: body[:-1], "ends 1 bytes too early"),
    ],
)
def test_a_dump_of_another_make_is_refused_though_its_checksum_fits(change, why: str) -> None:
    from sottovoce.codec.secagg.terms import hashed_for

    play, found = states_of()
    body = change(states.dump(found[0])[:-32])
    with pytest.raises(VerificationError, match=why):
        states.load(body + hashed_for("state", body), play.terms)


@BOTH
@pytest.mark.parametrize("malicious", [True, False])
def test_a_round_in_which_every_state_goes_to_disk_and_back_gives_the_sum(
    malicious: bool, post_quantum: bool
) -> None:
    terms = terms_for(5, threshold=3, malicious=malicious, bits=20, post_quantum=post_quantum)
    play = Play(terms)
    total = None
    for stage in play.stages():
        total = play.go(stage, {"c002"} if stage == "upload" else ())
        play.states = {
            name: states.load(states.dump(state), play.terms) for name, state in play.states.items()
        }
    assert total.tolist() == play.expected()


@BOTH
def test_secrets_leave_the_state_when_they_are_no_longer_needed(post_quantum: bool) -> None:
    _, (advertised, shared, uploaded, acknowledged, answered) = states_of(post_quantum=post_quantum)
    private = {advertised.mask_secret, advertised.seal_secret}
    masking = {shared.seed} | {it.pair_secret for it in shared.neighbours}
    opening = {it.opening_key for it in shared.neighbours}
    if post_quantum:
        masking |= {shared.link_secret, *links_of(shared)}
        opening |= {shared.seal_seed}
        assert advertised.seal_seed == shared.seal_seed
    shares = {it.self_share for it in uploaded.held} | {it.mask_share for it in uploaded.held}
    revealed = {share.share for share in answered.sent.shares}
    for state, gone in (
        (shared, private),
        (uploaded, private | masking | opening),
        (acknowledged, private | masking | opening),
        (answered, private | masking | opening | (shares - revealed)),
    ):
        data = states.dump(state)
        assert gone
        assert not [secret for secret in gone if secret in data]


def links_of(shared: states.Shared) -> list[bytes]:
    """The client's links with larger names; it is the smallest of all."""
    return [
        hybrid.link(shared.link_secret, shared.terms, shared.client, it.client)
        for it in shared.neighbours
    ]


def test_a_reader_says_what_is_wrong() -> None:
    reader = Reader(b"abc", "note of somebody")
    assert reader.take(2) == b"ab"
    with pytest.raises(VerificationError, match="the note of somebody ends 1 bytes too early"):
        reader.take(2)
    with pytest.raises(VerificationError, match="the note of somebody goes on for 1 bytes"):
        reader.require_end()


def test_a_digest_leaves_out_the_signature_and_nothing_else() -> None:
    play = whole_round()
    message = examples()[Acknowledgement]
    again = signed(message, play.terms, identity_of("c001"))
    assert again.signature != message.signature
    assert digest(again, play.terms) == digest(message, play.terms)
    assert digest(replace(message, client="c001"), play.terms) != digest(message, play.terms)
    assert len(MODEL) == 32
