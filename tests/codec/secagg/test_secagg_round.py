"""Whole rounds: the sum is the integer reference bit for bit, or a typed abort releases nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from secagg_play import MODEL, STAGES, Play, terms_for, true_sum

from sottovoce.codec import graph, masks
from sottovoce.codec.secagg.messages import Upload, read, write
from sottovoce.codec.secagg.server import Server
from sottovoce.errors import VerificationError

NEVER = "never"


@st.composite
def rounds(draw, post_quantum: bool = False):
    """Terms, and for each client the stage from which on it is silent."""
    count = draw(st.integers(2, 8))
    malicious = draw(st.booleans())
    degree = count - 1
    least = degree // 2 + 1 if malicious else 1
    threshold = draw(st.integers(least, degree))
    terms = terms_for(
        count,
        bits=draw(st.sampled_from([8, 16, 20, 32])),
        length=draw(st.integers(1, 9)),
        threshold=threshold,
        minimum_survivors=draw(st.integers(max(2, threshold), count)),
        malicious=malicious,
        round=draw(st.integers(0, 2**63 - 1)),
        post_quantum=post_quantum,
    )
    # Mostly nobody leaves, or nearly all rounds would end before they have begun.
    last = st.sampled_from([NEVER] * draw(st.integers(1, 20)) + list(STAGES))
    silent = {name: stage for name in terms.cohort if (stage := draw(last)) != NEVER}
    return terms, silent


def heard(terms, silent, stage):
    order = STAGES.index(stage)
    return {
        name
        for name in terms.cohort
        if STAGES.index(silent.get(name, "unmask")) > order or (name not in silent)
    }


def can_end(terms, silent) -> bool:
    """Whether those who stay are enough, from the rules of the paper and nothing else."""

    def near(name, among):
        return sum(peer in among for peer in terms.graph[name])

    def enough(among, for_whom):
        return all(near(name, among) >= terms.threshold for name in for_whom)

    present, included, survivors, signed, answering = (
        heard(terms, silent, stage) for stage in STAGES
    )
    asked = signed if terms.malicious else survivors
    if terms.malicious:
        asked = {name for name in signed if near(name, signed) >= terms.threshold}
    return (
        min(len(present), len(included), len(survivors)) >= terms.minimum_survivors
        and enough(present, present)
        and enough(included, included)
        and enough(survivors, included)
        and enough(asked, included)
        and enough(asked & answering, included)
    )


def check_round(case) -> None:
    terms, silent = case
    play = Play(terms)
    if can_end(terms, silent):
        total = play.whole(silent)
        survivors = [name for name in terms.cohort if name in heard(terms, silent, "upload")]
        assert list(play.server.survivors) == survivors
        assert total.tolist() == true_sum(play.vectors, survivors, terms.bits)
    else:
        with pytest.raises(VerificationError, match=f"round {terms.round} stops at") as stopped:
            play.whole(silent)
        assert any(name in str(stopped.value) for name in silent)


@given(rounds())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_sum_is_that_of_the_survivors_or_the_round_stops(case) -> None:
    check_round(case)


@given(rounds(post_quantum=True))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_post_quantum_sum_is_that_of_the_survivors_or_the_round_stops(case) -> None:
    check_round(case)


@pytest.mark.slow
@given(rounds() | rounds(post_quantum=True))
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_sum_is_that_of_the_survivors_or_the_round_stops_at_length(case) -> None:
    check_round(case)


@st.composite
def sparse_rounds(draw):
    """The same where a client has only some of the others for neighbours."""
    count = draw(st.integers(6, 10))
    neighbours = 2 * draw(st.integers(2, (count - 2) // 2))
    malicious = draw(st.booleans())
    threshold = draw(st.integers(neighbours // 2 + 1 if malicious else 1, neighbours))
    terms = terms_for(
        count,
        neighbours=neighbours,
        threshold=threshold,
        minimum_survivors=draw(st.integers(max(2, threshold), count)),
        malicious=malicious,
        round=draw(st.integers(0, 2**63 - 1)),
    )
    last = st.sampled_from([NEVER] * draw(st.integers(1, 20)) + list(STAGES))
    silent = {name: stage for name in terms.cohort if (stage := draw(last)) != NEVER}
    return terms, silent


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_so_it_is_in_a_sparse_graph(data) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "COMPLETE_UP_TO", 3)
        terms, silent = data.draw(sparse_rounds())
        assert max(map(len, terms.graph.values())) < len(terms.cohort) - 1
        check_round((terms, silent))


def test_a_sparse_graph_with_losses_at_every_stage() -> None:
    terms = terms_for(120, neighbours=6, threshold=4)
    assert {len(peers) for peers in terms.graph.values()} == {6}
    play = Play(terms)
    silent = {"c007": "advertise", "c030": "share", "c055": "upload"}
    silent |= {"c081": "acknowledge", "c099": "unmask"}
    total = play.whole(silent)
    assert play.server.survivors == tuple(
        name for name in terms.cohort if name not in ("c007", "c030", "c055")
    )
    assert total.tolist() == play.expected()


def test_whoever_is_lost_after_sharing_leaves_no_trace_in_the_sum() -> None:
    terms = terms_for(6, threshold=3, bits=20, length=40)
    play = Play(terms)
    total = play.whole({"c001": "upload", "c004": "upload"})
    assert play.server.survivors == ("c000", "c002", "c003", "c005")
    assert total.tolist() == play.expected()


def test_keys_are_taken_in_portions_and_all_of_them(monkeypatch) -> None:
    monkeypatch.setattr(masks, "_KEYS_AT_ONCE", 2)
    play = Play(terms_for(6, threshold=3))
    assert play.whole({"c001": "upload", "c002": "upload"}).tolist() == play.expected()


def test_answers_that_come_later_can_still_complete_the_sum() -> None:
    play = Play(terms_for(5, threshold=4)).until("unmask")
    masked = play.server._total.copy()
    for name in play.terms.cohort[:4]:
        play.add("unmask", play.unmask(name)[1])
    with pytest.raises(VerificationError, match=r"3 shares of client 'c000'.*missing: 'c004'"):
        play.server.recover()
    assert (play.server._total == masked).all()
    play.add("unmask", play.unmask("c004")[1])
    assert play.server.recover().tolist() == play.expected()


def test_the_server_says_for_whom_it_waits() -> None:
    play = Play(terms_for(3, threshold=2))
    assert play.server.waiting_for == play.terms.cohort
    play.go("advertise", {"c001"}, close=False)
    assert (play.server.stage, play.server.waiting_for) == ("advertisements", ("c001",))


@pytest.mark.parametrize("bits", [16, 20, 32])
@pytest.mark.parametrize("clients", [3, 8])
def test_the_servers_memory_is_the_total_one_upload_and_a_block(bits: int, clients: int) -> None:
    terms = terms_for(clients, bits=bits, length=2**18 + 5)
    play = Play(terms).until("upload")
    uploads = [write(play.upload(name)[1], terms) for name in terms.cohort]
    vector_bytes = terms.length * terms.word.itemsize
    tracemalloc.start()
    try:
        # A server that gets here by itself, so that its total is counted.
        own = replayed(play)
        for data in uploads:
            incoming = bytearray(data)
            own.add_upload(read(Upload, incoming, terms))
            del incoming
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * vector_bytes


def replayed(play: Play) -> Server:
    again = Server(play.terms, MODEL)
    for message in play.sent["advertise"].values():
        again.add_advertisement(message)
    again.close_advertisements()
    for message in play.sent["share"].values():
        again.add_shares(message)
    again.close_shares()
    return again


def test_unmasking_takes_no_second_vector() -> None:
    terms = terms_for(6, threshold=4, length=2**17, bits=32)
    play = Play(terms).until("unmask", {"c002": "upload"})
    play.go("unmask", close=False)
    expected = sum(play.vectors[name] for name in play.server.survivors)
    tracemalloc.start()
    try:
        total = play.server.recover()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.75 * total.nbytes
    assert np.array_equal(total, expected)


def test_a_server_that_reads_the_same_messages_again_gets_the_same_sum() -> None:
    play = Play(terms_for(4, threshold=2, malicious=False, length=50))
    total = play.whole({"c003": "upload"})
    again = replayed(play)
    for message in play.sent["upload"].values():
        again.add_upload(message)
    again.close_uploads()
    again.close_acknowledgements()
    for message in play.sent["unmask"].values():
        again.add_unmasking(message)
    assert np.array_equal(again.recover(), total)
