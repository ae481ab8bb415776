"""Whole rounds with helpers: the sum of the integer reference bit for bit, or a typed error."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oneshot_play import Play, at_answer, identity_of, sent, terms_for

from sottovoce.codec import checks
from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot.messages import Proposal, Upload, read, write
from sottovoce.codec.oneshot.states import repeat
from sottovoce.errors import VerificationError

PLANS = [(m, t) for m in range(2, 6) for t in range(1, m)]


@pytest.mark.parametrize(("helpers", "colluding"), PLANS)
@pytest.mark.parametrize("bits", [8, 16, 20, 32])
def test_the_sum_is_that_of_the_integer_reference(helpers: int, colluding: int, bits: int) -> None:
    play = at_answer(terms_for(3, helpers, colluding, bits=bits, length=11), seed=bits)
    assert play.answer().recover() == play.expected()
    assert play.server.survivors == play.terms.cohort
    assert play.server.stage == "the sum"
    assert play.server.waiting_for == ()


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whoever_drops_out_the_sum_is_exact_or_nothing_is_released(data) -> None:
    helpers, colluding = data.draw(st.sampled_from([*PLANS, (7, 2), (7, 3)]))
    clients = data.draw(st.integers(2, 5))
    bits = data.draw(st.sampled_from([8, 13, 16, 20, 32]))
    terms = terms_for(clients, helpers, colluding, bits=bits, length=data.draw(st.integers(1, 9)))
    silent = data.draw(st.sets(st.sampled_from(terms.cohort), max_size=clients - 2))
    names = tuple(terms.helpers.members)
    play = Play(terms, data.draw(st.integers(0, 9))).upload(silent)
    gone: set[str] = set()
    for stage in (play.receive, play.lock):
        gone |= data.draw(st.sets(st.sampled_from(names), max_size=1))
        if len(names) - len(gone) < terms.quorum:
            with pytest.raises(VerificationError, match=f"{terms.quorum} are needed; missing: "):
                stage(gone)
            return
        stage(gone)
    fallen = data.draw(st.sets(st.sampled_from(sorted(set(names) - gone))))
    play.answer(fallen)
    if fallen:
        with pytest.raises(VerificationError, match=f"missing; missing: '{min(fallen)}'"):
            play.recover()
    for name in fallen:
        play.server.give_up(name)
    play.ask(play.server.requests())
    play.answer()
    if len(names) - len(gone | fallen) > colluding:
        assert play.recover() == play.expected()
        assert play.server.survivors == tuple(sorted(set(terms.cohort) - silent))
    else:
        with pytest.raises(VerificationError, match="sums that are missing; missing: "):
            play.recover()


def test_weight_count_and_checksum_come_back_in_the_sum() -> None:
    terms = terms_for(4, length=50 + checks.check_words(16, 4))
    play = Play(terms)
    for weight, name in enumerate(terms.cohort, 1):
        checks.seal(play.vectors[name], 16, 4, weight=weight, count=1)
    total = play.upload({"c002"}).receive().lock().answer().server.recover()
    assert checks.read(total, 16, 4, heaviest=10) == (1 + 2 + 4, 3)


def test_the_messages_have_the_sizes_that_the_docstrings_state() -> None:
    terms = terms_for(3, 3, 1, length=10**5)
    play = Play(terms)
    data = write(play.make_upload("c000"), terms)
    # Header, client, key, three commitments, three boxes of two seeds, hash and signature.
    assert len(data) - 2 * 10**5 == 6 + 32 + 4 + 32 + 3 * 32 + 3 * (2 * 32 + 16) + 32 + 64
    seven = terms_for(3, 7, 3, length=1)
    assert len(write(Play(seven).make_upload("c000"), seven)) < 7000


def test_each_set_is_asked_for_in_words_once_and_as_a_hash_of_all_other_holders() -> None:
    play = at_answer(terms_for(3, 4, 1))
    wanted = [number for it in play.got["requests"].values() for number in it.wanted]
    assert sorted(wanted) == [0, 1, 2, 3]
    play.answer()
    told = Counter(it.claim.subset for it in play.sent["sums"])
    assert told == dict.fromkeys(range(4), 3)
    assert sum(len(it.words) > 0 for it in play.sent["sums"]) == 4


def test_what_is_said_twice_is_the_same_bytes_and_counts_once() -> None:
    terms = terms_for(3, 4, 1)
    play = Play(terms).upload()
    play.receive(close=False)
    for name, state in play.states.items():
        again = repeat(state, play.got["delivery"])
        assert write(again, terms) == write(state.sent, terms)
        play.server.add_receipt(sent(again, terms))
        assert again.helper == name
    play.got["proposal"] = play.server.close_receipts()
    play.lock(close=False)
    for state in play.states.values():
        again = repeat(state, play.got["proposal"])
        assert write(again, terms) == write(state.sent, terms)
        play.server.add_vote(sent(again, terms))
    play.ask(play.server.close_votes())
    first = {name: [write(it, terms) for it in play.sums_of(name)] for name in play.states}
    play.answer().answer()
    assert first == {name: [write(it, terms) for it in play.sums_of(name)] for name in play.states}
    assert play.recover() == play.expected()


def test_an_upload_that_comes_twice_counts_once() -> None:
    play = Play(terms_for(3))
    twice = play.make_upload("c000")
    play.server.add_upload(twice)
    play.upload(changed={"c000": twice}).receive().lock().answer()
    assert play.recover() == play.expected()


def test_who_is_waited_for_is_told_at_each_stage() -> None:
    play = Play(terms_for(3, 4, 1))
    assert play.server.waiting_for == ("c000", "c001", "c002")
    play.upload({"c001"})
    assert play.server.waiting_for == ("h0", "h1", "h2", "h3")
    play.receive({"h2"})
    assert play.server.waiting_for == ("h0", "h1", "h3")
    play.lock({"h2"})
    assert play.server.waiting_for == ("h0", "h1", "h3")
    play.answer({"h0"})
    assert play.server.waiting_for == ("h0",)
    # The words of its sets are to come from their next holders, who have told only hashes.
    play.server.give_up("h0")
    assert play.server.waiting_for == ("h1", "h3")
    play.ask(play.server.requests())
    play.answer()
    assert play.server.waiting_for == ()


def test_fewer_than_the_least_survivors_are_never_summed() -> None:
    with pytest.raises(VerificationError, match="2 clients, and 3 are needed; missing: 'c000', 'c"):
        Play(terms_for(4, minimum_survivors=3)).upload({"c000", "c003"})


def test_a_round_without_its_stage_is_refused() -> None:
    play = Play(terms_for(3))
    server = play.server
    for step in (
        server.close_receipts,
        server.close_votes,
        server.requests,
        server.recover,
    ):
        with pytest.raises(VerificationError, match="round 3 is gathering uploads, not"):
            step()
    late = play.make_upload("c000")
    play.upload()
    for step in (server.close_uploads, lambda: server.add_upload(late)):
        with pytest.raises(VerificationError, match="round 3 is gathering receipts, not uploads"):
            step()
    receipts = play.receive().sent["receive"]
    for step in (
        lambda: server.add_receipt(receipts[0]),
        lambda: server.take_back(late),
    ):
        with pytest.raises(VerificationError, match="round 3 is gathering votes, not receipts"):
            step()
    votes = play.lock().sent["lock"]
    with pytest.raises(VerificationError, match="round 3 is gathering sums, not votes"):
        server.add_vote(votes[0])
    play.answer().recover()
    for step in (server.recover, lambda: server.add_sum(play.sent["sums"][0])):
        with pytest.raises(VerificationError, match="round 3 is gathering the sum, not sums"):
            step()


BLOCKS = 2**20


def peak_of(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bits", [16, 20])
def test_the_memory_of_server_and_helper_does_not_grow_with_clients_and_sets(bits: int) -> None:
    terms = terms_for(3, 4, 2, length=2**20, bits=bits)
    play = Play(terms)
    vector = np.ones(terms.length, terms.word)
    size = vector.nbytes
    written = {name: write(play.make_upload(name, vector.copy()), terms) for name in terms.cohort}

    def take_uploads() -> None:
        for name in terms.cohort:
            play.server.add_upload(read(Upload, written[name], terms))

    # The total and the message that arrives were there before; this comes on top of them.
    assert peak_of(take_uploads) <= BLOCKS
    play.got["delivery"] = play.server.close_uploads()
    play.receive().lock()
    state = steps.answer(play.states["h0"], play.got["requests"]["h0"])
    told = steps.sums(state, identity_of("h0"))
    assert peak_of(lambda: next(told)) <= 3 * size + BLOCKS
    assert len(terms.held["h0"]) == 3
    assert peak_of(lambda: list(map(play.server.add_sum, told))) <= 3 * size + BLOCKS


def test_the_lock_forgets_everybody_who_is_not_in_the_sum() -> None:
    play = Play(terms_for(4)).upload().receive(close=False)
    proposal = play.server.close_receipts()
    fewer = Proposal(proposal.survivors[:3])
    state, _ = steps.lock(play.states["h0"], fewer, identity_of("h0"))
    assert [it.client for it in state.opened] == ["c000", "c001", "c002"]
    assert not hasattr(play.states["h0"], "secret")
