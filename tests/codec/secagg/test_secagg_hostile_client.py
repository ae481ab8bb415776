"""A client that does not keep to the protocol: the round goes on without it, or names it and stops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from secagg_play import (
    MODEL,
    Play,
    identity_of,
    roster_of,
    terms_for,
    true_sum,
)

from sottovoce.codec import shamir
from sottovoce.codec.secagg import keys
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Advertisement,
    RevealedShare,
    SealedShares,
    Unmasking,
    Upload,
    digest,
    read,
    signed,
    write,
)
from sottovoce.codec.secagg.server import Server
from sottovoce.errors import VerificationError

BAD, GOOD = "c001", "c000"
KINDS = {
    "advertise": Advertisement,
    "share": SealedShares,
    "upload": Upload,
    "acknowledge": Acknowledgement,
    "unmask": Unmasking,
}


def play_of(count: int = 6, **changes) -> Play:
    return Play(terms_for(count, **{"threshold": 3 if count == 6 else None} | changes))


def refuses(match: str):
    return pytest.raises(VerificationError, match=match)


def resigned(message, play: Play, **changes):
    """A message with other fields, signed as its client would."""
    return signed(replace(message, **changes), play.terms, identity_of(message.client))


def goes_on(play: Play, stage: str) -> None:
    """The rest of the round without the bad client, to the exact sum of the others."""
    order = play.stages()
    total = None
    for each in order[order.index(stage) :]:
        without = {BAD} | set(play.sent[each])
        for name in play.clients(each):
            if name not in without:
                play.states[name], message = getattr(play, each)(name)
                play.add(each, message)
        total = play.close(each)
    assert total.tolist() == play.expected()


# --- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", list(KINDS))
def test_malformed_and_oversized_messages_cost_the_round_nobody_else(stage: str) -> None:
    play = play_of(6, malicious=True, threshold=4).until(stage)
    _, message = getattr(play, stage)(BAD)
    data = write(message, play.terms)
    for wrong in (
        b"",
        data[:-1],
        data + b"\0",
        data[:5],
        b"SVSB" + data[4:],
        data[:4] + b"\x02" + data[5:],
        data[:5] + bytes((data[5] ^ 1,)) + data[6:],
        data[:6] + bytes(32) + data[38:],
        data[:38] + b"\xff\xff\xff\xff" + data[42:],
        data * 1000,
    ):
        with refuses("^the .* of client 'c001' "):
            read(KINDS[stage], wrong, play.terms, sender=f"client '{BAD}'")
    goes_on(play, stage)
    assert BAD not in play.server.survivors or stage in ("acknowledge", "unmask")


@pytest.mark.parametrize("stage", list(KINDS))
def test_a_message_without_the_clients_signature_is_refused(stage: str) -> None:
    play = play_of(6, threshold=4).until(stage)
    _, message = getattr(play, stage)(GOOD)
    forged = signed(message, play.terms, identity_of(BAD))
    for signature in (forged.signature, bytes(64)):
        with refuses(f"signature of client '{GOOD}'"):
            play.add(stage, replace(message, signature=signature))
    # The one whose name was used is still heard.
    play.add(stage, message)
    assert GOOD not in play.server.waiting_for


@pytest.mark.parametrize("stage", list(KINDS))
def test_a_message_that_comes_twice_counts_once(stage: str) -> None:
    play = play_of(6, threshold=4).until(stage)
    play.go(stage, close=False)
    play.add(stage, play.sent[stage][BAD])
    total = play.close(stage)
    for each in play.stages()[play.stages().index(stage) + 1 :]:
        total = play.go(each)
    assert total.tolist() == true_sum(play.vectors, play.terms.cohort, 16)


@pytest.mark.parametrize("stage", ["advertise", "share", "upload"])
def test_a_second_and_different_message_is_refused_and_the_first_one_stands(stage: str) -> None:
    play = play_of(6, threshold=4).until(stage)
    play.go(stage, close=False)
    if stage == "advertise":
        other = Play(play.terms, seed=1).advertise(BAD)[1]
    elif stage == "share":
        first = play.sent["share"][BAD]
        box = replace(first.shares[0], box=bytes(keys.BOX_BYTES))
        other = resigned(first, play, shares=(box, *first.shares[1:]))
    else:
        other = resigned(play.sent["upload"][BAD], play, words=bytes(12))
    with refuses(f"client '{BAD}' sends .* twice, and not the same"):
        play.add(stage, other)
    total = play.close(stage)
    for each in play.stages()[play.stages().index(stage) + 1 :]:
        total = play.go(each)
    assert total.tolist() == true_sum(play.vectors, play.terms.cohort, 16)


@pytest.mark.parametrize("late", ["advertise", "share", "upload", "acknowledge"])
def test_a_message_that_comes_too_late_is_not_counted(late: str) -> None:
    play = play_of(6).until(late)
    _, message = getattr(play, late)(BAD)
    play.go(late, {BAD})
    with refuses(f"client '{BAD}' sends .* while round 3 is at"):
        play.add(late, message)
    order = play.stages()
    total = None
    for each in order[order.index(late) + 1 :]:
        total = play.go(each, {BAD})
    assert total.tolist() == play.expected()
    if late == "acknowledge":
        # Its vector was in the sum before it fell silent.
        assert BAD in play.server.survivors
    with refuses("round 3 is gathering the sum"):
        play.server.recover()


def test_a_message_that_comes_too_early_is_not_counted() -> None:
    play = play_of(3, threshold=2)
    with refuses("sends uploads while round 3 is at advertisements"):
        play.add("upload", signed(Upload(BAD, bytes(12)), play.terms, identity_of(BAD)))
    with refuses("round 3 is gathering advertisements, not uploads"):
        play.server.close_uploads()
    with refuses("round 3 is gathering advertisements, not unmasking"):
        play.server.recover()


def test_whoever_dropped_out_or_was_not_drawn_is_not_heard() -> None:
    terms = replace(terms_for(6), cohort=terms_for(5).cohort, neighbours=4, threshold=3)
    terms = replace(terms, minimum_survivors=3)
    play = Play(terms)
    _, late = play.advertise(BAD)
    play.go("advertise", {BAD})
    shares = signed(SealedShares(BAD, ()), terms, identity_of(BAD))
    with refuses(f"client '{BAD}' sends shares in round 3, where it takes no part"):
        play.add("share", shares)
    assert late.client == BAD
    stranger = signed(
        Advertisement("c005", b"k" * 32, b"l" * 32), play_of().terms, identity_of("c005")
    )
    with refuses("takes no part|'c005' is not in the cohort"):
        Server(terms, MODEL).add_advertisement(stranger)


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["mask_key", "seal_key"])
def test_a_point_of_low_order_costs_only_who_sends_it(key: str) -> None:
    play = play_of()
    _, message = play.advertise(BAD)
    with refuses(f"key of client '{BAD}' is a point of low order"):
        play.add("advertise", resigned(message, play, **{key: bytes(32)}))
    goes_on(play, "advertise")


@pytest.mark.parametrize("key", ["mask_key", "seal_key"])
def test_another_clients_key_costs_only_who_shows_it(key: str) -> None:
    play = play_of()
    play.states[GOOD], first = play.advertise(GOOD)
    play.sent["advertise"][GOOD] = first
    play.add("advertise", first)
    _, message = play.advertise(BAD)
    with refuses(f"client '{BAD}' shows a key of '{GOOD}'"):
        play.add("advertise", resigned(message, play, **{key: first.mask_key}))
    goes_on(play, "advertise")


# --- shares --------------------------------------------------------------------------------------


def test_shares_for_others_than_the_neighbours_are_refused() -> None:
    play = play_of().until("share")
    _, message = play.share(BAD)
    boxes = message.shares
    own = replace(boxes[0], client=BAD)
    for wrong in (boxes[1:], (boxes[0], own, *boxes[1:]), (own, *boxes[1:])):
        with refuses(f"client '{BAD}' sealed shares for others"):
            play.add("share", resigned(message, play, shares=wrong))
    goes_on(play, "share")


def test_boxes_that_do_not_open_name_their_sender_to_every_holder() -> None:
    play = play_of().until("share")
    _, message = play.share(BAD)
    bad = resigned(
        message, play, shares=tuple(replace(it, box=bytes(keys.BOX_BYTES)) for it in message.shares)
    )
    play.go("share", {BAD}, close=False)
    play.add("share", bad)
    play.close("share")
    for name in play.terms.cohort:
        if name != BAD:
            with refuses(f"the shares that client '{BAD}' sealed for '{name}' do not open"):
                play.upload(name)
    # With nobody's vector there is nothing to unmask.
    with refuses(r"round 3 stops at uploads with 0 clients.*missing: 'c000', 'c001'"):
        play.close("upload")


def dealt(play: Play, monkeypatch, change) -> None:
    """The stage of sharing, in which the bad client deals shares that were changed."""
    split = shamir.split
    for name in play.terms.cohort:
        with monkeypatch.context() as patch:
            if name == BAD:
                patch.setattr(shamir, "split", lambda *given: change(split, *given))
            play.states[name], message = play.share(name)
        play.sent["share"][name] = message
        play.add("share", message)
    play.close("share")


def crooked(split, secret, threshold, count, source):
    """Shares that lie on no polynomial of the threshold's degree."""
    return tuple(shamir.draw_secret(source) for _ in range(count))


def of_another_secret(split, secret, threshold, count, source):
    return split(shamir.draw_secret(source), threshold, count, source)


def test_shares_that_do_not_fit_together_name_their_dealer(monkeypatch) -> None:
    play = play_of().until("share")
    dealt(play, monkeypatch, crooked)
    play.go("upload")
    play.go("acknowledge")
    play.go("unmask", close=False)
    masked = play.server._total.copy()
    with refuses(f"client '{BAD}' dealt shares in round 3 that do not fit together"):
        play.server.recover()
    assert (play.server._total == masked).all()


def test_shares_of_another_mask_secret_name_their_dealer(monkeypatch) -> None:
    play = play_of().until("share")
    dealt(play, monkeypatch, of_another_secret)
    play.go("upload", {BAD})
    play.go("acknowledge")
    play.go("unmask", close=False)
    with refuses(f"client '{BAD}' dealt shares in round 3 of another secret than that of the key"):
        play.server.recover()


# --- uploads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [9, 20])
def test_bits_that_belong_to_no_entry_are_refused_before_anything_is_added(bits: int) -> None:
    # Two full blocks and a ragged one, so that the fault lies at the very end.
    play = play_of(3, threshold=2, bits=bits, length=2**16 + 3).until("upload")
    _, message = play.upload(BAD)
    words = bytearray(message.words)
    words[-1] |= 0x80
    with refuses("bits behind the last word are set"):
        play.add("upload", resigned(message, play, words=bytes(words)))
    assert not play.server._total.any()
    play.add("upload", message)
    assert play.server._total.any()


def test_an_upload_of_another_size_is_no_message() -> None:
    play = play_of(3, threshold=2).until("upload")
    _, message = play.upload(BAD)
    for size in (11, 13):
        with refuses("words of an upload is not a string of 12 bytes"):
            write(replace(message, words=bytes(size)), play.terms)


def test_any_words_are_a_masked_vector_and_the_sum_of_the_others_stays_hidden() -> None:
    """A client may upload what it likes; it spoils the sum and learns nothing."""
    play = play_of(4, threshold=3, length=100).until("upload")
    play.go("upload", {BAD}, close=False)
    play.states[BAD], message = play.upload(BAD)
    play.sent["upload"][BAD] = resigned(message, play, words=bytes(200))
    play.add("upload", play.sent["upload"][BAD])
    play.close("upload")
    play.go("acknowledge")
    total = play.go("unmask")
    others = true_sum(play.vectors, ["c000", "c002", "c003"], 16)
    assert sum(a == b for a, b in zip(total.tolist(), others, strict=True)) < 4


# --- acknowledgements and answers ----------------------------------------------------------------


def test_an_acknowledgement_of_other_survivors_is_refused() -> None:
    play = play_of().until("acknowledge")
    other = Acknowledgement(BAD, bytes(32))
    with refuses(f"client '{BAD}' acknowledges what it was not told"):
        play.add("acknowledge", signed(other, play.terms, identity_of(BAD)))
    goes_on(play, "acknowledge")


def test_an_acknowledgement_where_the_terms_know_none_is_refused() -> None:
    play = play_of(malicious=False).until("upload")
    play.go("upload", close=False)
    told = play.server.close_uploads()
    unasked = Acknowledgement(BAD, digest(told, play.terms))
    with refuses(f"client '{BAD}' acknowledges what it was not told"):
        play.add("acknowledge", signed(unasked, play.terms, identity_of(BAD)))


def wrong_answers(play: Play):
    """Each way in which an answer can be other than the one that was asked for."""
    _, message = play.unmask(BAD)
    first = message.shares[0]
    other = RevealedShare(first.client, first.kind, bytes(32))
    held = {share.client: share for share in play.states[BAD].held}
    kinds = RevealedShare(first.client, "mask", held[first.client].mask_share)
    moved = RevealedShare(first.client, "self", message.shares[1].share)
    gone = next(share for share in message.shares if share.kind == "mask")
    both = RevealedShare(gone.client, "self", held[gone.client].self_share)
    own = RevealedShare(BAD, "self", first.share)
    rest = message.shares[1:]
    yield message, (other, *rest)
    yield message, (kinds, *rest)
    yield message, (replace(first, kind="mask"), *rest)
    yield message, (moved, *rest)
    yield message, rest
    yield message, (first, own, *rest)
    yield message, tuple(both if share is gone else share for share in message.shares)


def test_an_answer_with_another_share_costs_only_who_gives_it() -> None:
    play = play_of(6, threshold=3).until("unmask", {"c005": "upload"})
    for message, shares in wrong_answers(play):
        with refuses(f"client '{BAD}' reveals "):
            play.add("unmask", resigned(message, play, shares=shares))
    goes_on(play, "unmask")


def test_too_many_wrong_answers_stop_the_round_and_each_was_named() -> None:
    play = play_of(4, threshold=3).until("unmask")
    liars = ("c001", "c002")
    for name in play.terms.cohort:
        _, message = play.unmask(name)
        if name in liars:
            lie = replace(message.shares[0], share=b"\1" * 32)
            with refuses(f"client '{name}' reveals another share of 'c000' than it was given"):
                play.add("unmask", resigned(message, play, shares=(lie, *message.shares[1:])))
        else:
            play.add("unmask", message)
    masked = play.server._total.copy()
    with refuses(r"1 shares of client 'c000', and 3 are needed; missing: 'c001', 'c002'"):
        play.server.recover()
    assert (play.server._total == masked).all()


def test_an_answer_is_for_the_clients_place_and_no_other() -> None:
    """Two holders cannot trade shares, though both are real shares of the same secret."""
    play = play_of(6).until("unmask")
    _, mine = play.unmask(BAD)
    _, theirs = play.unmask("c002")
    traded = next(share for share in theirs.shares if share.client == GOOD)
    with refuses(f"client '{BAD}' reveals another share of '{GOOD}'"):
        play.add("unmask", resigned(mine, play, shares=(traded, *mine.shares[1:])))


# --- too few -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ("advertise", "round 3 stops at advertisements with 3 clients, and 4 are needed"),
        ("share", "round 3 stops at shares with 3 clients, and 4 are needed"),
        ("upload", "round 3 stops at uploads with 3 clients, and 4 are needed"),
        (
            "acknowledge",
            "round 3 stops at acknowledgements with 0 neighbours of client 'c000', and 3 are needed",
        ),
    ],
)
def test_too_few_clients_stop_the_round_and_those_who_lack_are_named(stage: str, why: str) -> None:
    play = play_of(6, threshold=3, minimum_survivors=4)
    gone = {"c001": stage, "c003": stage, "c004": stage}
    with refuses(rf"{why}.*missing: 'c001', 'c003', 'c004'\. Nothing was released"):
        play.whole(gone)
    assert play.server.stage != "the sum"


def test_a_stage_that_stopped_can_still_be_completed() -> None:
    play = play_of(6, minimum_survivors=6)
    with refuses("missing: 'c001'"):
        play.go("advertise", {BAD})
    goes_on_with = play.advertise(BAD)
    play.states[BAD] = goes_on_with[0]
    play.add("advertise", goes_on_with[1])
    play.close("advertise")
    for stage in ("share", "upload", "acknowledge"):
        play.go(stage)
    assert play.go("unmask").tolist() == play.expected()


def test_a_long_list_of_missing_clients_is_cut() -> None:
    play = Play(terms_for(20, threshold=12))
    with refuses(r"missing: ('c0\d\d', ){9}'c009' and 10 more\. "):
        play.server.close_advertisements()
    assert np.array_equal(play.server._total, np.zeros(6, np.uint16))
    assert roster_of(20).root == play.terms.roster.root
