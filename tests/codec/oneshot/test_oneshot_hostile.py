"""Hostile servers, clients and helpers: each is refused, and nothing is released."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from oneshot_play import (
    Play,
    announced,
    at_answer,
    at_lock,
    helper_names,
    identity_of,
    names_of,
    roster_of,
    sent,
    terms_for,
    true_sum,
)

from sottovoce.codec import checks, sealing
from sottovoce.codec.oneshot import client as client_steps
from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot import keys
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
    signed,
    write,
)
from sottovoce.codec.oneshot.states import repeat
from sottovoce.errors import VerificationError
from sottovoce.rng import seeded_source


def refuses(why: str):
    return pytest.raises(VerificationError, match=why)


# --- a hostile server ----------------------------------------------------------------------------


def test_a_helper_locks_one_survivor_set_and_no_other() -> None:
    play = at_lock(terms_for(4))
    other = Proposal(play.terms.cohort[:3])
    state, vote = steps.lock(play.states["h0"], play.got["proposal"], identity_of("h0"))
    with refuses("'h0' is asked for a step from Received in round 3, and it is at Locked"):
        steps.lock(state, other, identity_of("h0"))
    with refuses("got a Proposal that it cannot answer at Locked"):
        repeat(state, other)
    assert repeat(state, play.got["proposal"]) == vote


def two_sets(helpers: int, colluding: int):
    """The server tells one half of the honest helpers this and the other half that.

    The last t helpers work with the server, and sign both.
    """
    play = at_lock(terms_for(4, helpers, colluding))
    terms = play.terms
    sets = (terms.cohort, terms.cohort[1:])
    names = list(terms.helpers.members)
    honest, corrupt = names[: helpers - colluding], names[helpers - colluding :]
    votes: tuple[list, list] = ([], [])
    for number, name in enumerate(honest):
        which = number % 2
        state, vote = steps.lock(play.states[name], Proposal(sets[which]), identity_of(name))
        play.states[name] = state
        votes[which].append(vote)
    for which, survivors in enumerate(sets):
        for name in corrupt:
            received = play.states[name]
            votes[which].append(steps.lock(received, Proposal(survivors), identity_of(name))[1])
    return play, sets, honest, votes


@pytest.mark.parametrize(
    ("helpers", "colluding"), [(2, 1), (3, 1), (3, 2), (4, 1), (5, 2), (7, 2), (7, 3)]
)
def test_of_two_sets_that_are_told_to_different_helpers_at_most_one_is_answered(
    helpers: int, colluding: int
) -> None:
    play, sets, honest, votes = two_sets(helpers, colluding)
    answered = set()
    for which, survivors in enumerate(sets):
        shown = tuple(Endorsement(it.helper, it.signature) for it in votes[which])
        shown = tuple(sorted(shown, key=lambda it: it.helper))
        for name in honest:
            request = Request(name, survivors, shown, ())
            try:
                steps.answer(play.states[name], sent(request, play.terms))
            except VerificationError:
                continue
            answered.add(survivors)
    assert len(answered) <= 1


def test_the_quorum_is_the_smallest_of_which_two_share_more_than_the_colluding() -> None:
    for helpers in range(2, 8):
        for colluding in range(1, helpers):
            quorum = terms_for(2, helpers, colluding).quorum
            assert 2 * quorum - helpers > colluding >= 2 * (quorum - 1) - helpers
            assert colluding < quorum <= helpers


def test_a_helper_answers_for_no_other_survivors_than_it_has_locked() -> None:
    play = at_answer(terms_for(4))
    request = play.got["requests"]["h0"]
    state = play.states["h0"]
    for survivors in (request.survivors[:3], ()):
        with refuses("'h0' is asked about other survivors than it has locked"):
            steps.answer(state, replace(request, survivors=survivors))
    answered = steps.answer(state, request)
    with refuses("'h0' is asked about other survivors than it has locked"):
        steps.answer(answered, replace(request, survivors=request.survivors[:3]))
    other = steps.answer(answered, replace(request, wanted=(1,)))
    told = [list(steps.sums(it, identity_of("h0"))) for it in (answered, other)]
    assert [it.claim for it in told[0]] == [it.claim for it in told[1]]


def test_a_helper_answers_only_to_a_quorum_of_votes_for_the_same() -> None:
    play = at_answer(terms_for(4, 5, 1))
    request, state = play.got["requests"]["h0"], play.states["h0"]
    assert play.terms.quorum == 4
    with refuses(r"'h0' is shown the votes of 3 helpers in round 3. Allowed: 4 or more"):
        steps.answer(state, replace(request, votes=request.votes[:3]))
    doubled = (*request.votes[:3], request.votes[2])
    with refuses("is shown the votes of 3 helpers"):
        steps.answer(state, replace(request, votes=doubled))
    forged = (*request.votes[:3], Endorsement("h4", request.votes[3].signature))
    with refuses("the signature of client 'h4' is not one of its own"):
        steps.answer(state, replace(request, votes=forged))
    other = signed(Vote("h4", b"x" * 32), play.terms, identity_of("h4"))
    with refuses("the signature of client 'h4'"):
        steps.answer(
            state, replace(request, votes=(*request.votes[:3], Endorsement("h4", other.signature)))
        )
    # A client is no helper, whatever it signs.
    vote = signed(Vote("h4", state.sent.lock_sha256), play.terms, identity_of("c000"))
    with refuses("the signature of client 'h4'"):
        steps.answer(
            state, replace(request, votes=(*request.votes[:3], Endorsement("h4", vote.signature)))
        )


def test_a_helper_is_not_asked_for_what_is_not_its_own() -> None:
    play = at_answer(terms_for(4))
    request = play.got["requests"]["h0"]
    with refuses("'h1' got a message that is for 'h0'"):
        steps.answer(play.states["h1"], request)
    assert play.terms.held["h0"] == (0, 1)
    with refuses("'h0' is asked for a sum of which it has no seeds"):
        steps.answer(play.states["h0"], replace(request, wanted=(2,)))
    early = Play(play.terms).states["h0"]
    with refuses("'h0' is asked for sums in round 3 before it has locked"):
        steps.answer(early, request)


def test_a_helper_locks_no_set_that_is_too_small_or_has_a_stranger() -> None:
    play = Play(terms_for(4, minimum_survivors=3)).upload({"c003"}).receive()
    state = play.states["h0"]
    with refuses("'h0' is told of 2 survivors in round 3. Allowed: 3 or more"):
        steps.lock(state, Proposal(("c000", "c001")), identity_of("h0"))
    with refuses("'h0' is told that 'c003' survived, whom it has not accepted"):
        steps.lock(state, Proposal(play.terms.cohort), identity_of("h0"))
    with refuses("'h0' is asked for a step from Received in round 3, and it is at Ready"):
        steps.lock(Play(play.terms).states["h0"], Proposal(names_of(3)), identity_of("h0"))


def test_a_delivery_is_received_once() -> None:
    play = at_lock(terms_for(4))
    fewer = Delivery(play.got["delivery"].parcels[:3])
    with refuses("asked for a step from Ready in round 3, and it is at Received"):
        steps.receive(play.states["h0"], fewer, identity_of("h0"))
    with refuses("got a Delivery that it cannot answer at Received"):
        repeat(play.states["h0"], fewer)


def test_clients_that_the_server_makes_up_are_not_received() -> None:
    """With invented clients beside one that is real, the sum would be the real one's vector."""
    play = Play(terms_for(4)).upload()
    real, *_ = play.got["delivery"].parcels
    invented = []
    for name in play.terms.cohort[1:]:
        vector = np.zeros(6, np.uint16)
        parcel = Play(play.terms, 9).make_upload(name, vector).parcel
        invented.append(signed(parcel, play.terms, identity_of("the server")))
    delivery = Delivery((real, *invented))
    state, receipt = steps.receive(play.states["h0"], delivery, identity_of("h0"))
    assert receipt.accepted == ("c000",)
    assert [name for name, _ in state.refused] == ["c001", "c002", "c003"]
    assert "the signature of client 'c001' is not one of its own" in state.refused[0][1]
    with refuses("told of 1 survivors"):
        steps.lock(state, Proposal(("c000",)), identity_of("h0"))


@pytest.mark.parametrize(
    "changes",
    [
        {"round": 4},
        {"model_sha256": b"n" * 32},
        {"config_sha256": b"d" * 32},
        {"minimum_survivors": 3},
        {"bits": 15},
        {"length": 5},
        {"cohort": names_of(3)},
        {"roster": roster_of(names_of(5))},
        {"colluding": 2},
    ],
)
def test_what_belongs_to_other_terms_is_read_and_opened_by_nobody(changes) -> None:
    mine, theirs = terms_for(4), terms_for(4, **changes)
    play = Play(mine).upload().receive().lock()
    play.answer()
    upload = play.uploads["c000"]
    for message in (upload, play.got["delivery"], *(it[0] for it in play.sent.values())):
        with refuses("belongs to another round, roster, model or configuration"):
            sent(message, mine, to=theirs)
    # Nor does it help to write it anew under the other terms.
    parcel = upload.parcel
    state = steps.begin(play.secrets["h0"], theirs)
    if "colluding" not in changes:
        state, receipt = steps.receive(state, Delivery((parcel,)), identity_of("h0"))
        assert receipt.accepted == ()
        assert "signature of client 'c000'" in state.refused[0][1]
        again = signed(parcel, theirs, identity_of("c000"))
        state = steps.begin(play.secrets["h0"], theirs)
        state, receipt = steps.receive(state, Delivery((again,)), identity_of("h0"))
        assert "do not open" in state.refused[0][1]


def test_a_helper_begins_no_round_with_another_key_than_its_own() -> None:
    secret, shown = announced(3)["h0"]
    other, forged = steps.announce(
        identity_of("h0"), "h0", roster_of(helper_names(3)), b"r" * 32, seeded_source(9)
    )
    assert forged.key != shown.key
    with refuses("round 3 names another key of helper 'h0' than it has in this run"):
        steps.begin(other, terms_for(4))
    with refuses("round 3 names another key of helper 'h0'"):
        steps.begin(replace(secret, run=b"s" * 32), terms_for(4))


# --- a hostile client ----------------------------------------------------------------------------


def repacked(play: Play, name: str, **changes) -> Upload:
    """An upload of which the client itself has changed a part, and signed it."""
    upload = play.make_upload(name)
    parcel = replace(upload.parcel, **changes)
    return replace(upload, parcel=signed(parcel, play.terms, identity_of(name)))


def with_box(play: Play, name: str, helper: str, text: bytes) -> Upload:
    """An upload whose box for one helper holds something else."""
    terms = play.terms
    secret = sealing.private_key(bytes(range(32)))
    shown = terms.helper_keys[terms.helper_position[helper]]
    shared = sealing.agree(secret, shown.key, owner=helper)
    public = sealing.public_bytes(secret)
    key = keys.seal_key(shared, terms.digest, name, helper, public)
    box = keys.seal(key, text, terms.digest, name, helper)
    boxes = list(play.make_upload(name).parcel.boxes)
    boxes[terms.helper_position[helper]] = box
    return repacked(play, name, key=public, boxes=tuple(boxes))


@pytest.mark.parametrize("fault", ["noise", "another seed", "low order"])
def test_a_box_that_is_bad_for_one_helper_costs_its_client_the_round_and_nobody_else(
    fault: str,
) -> None:
    play = Play(terms_for(4))
    good = play.make_upload("c001").parcel
    if fault == "noise":
        boxes = (good.boxes[0], bytes(len(good.boxes[1])), good.boxes[2])
        bad, why = repacked(play, "c001", boxes=boxes), "sealed for helper 'h1' do not open"
    elif fault == "another seed":
        bad, why = with_box(play, "c001", "h1", bytes(64)), "another seed for helper 'h1' than it"
    else:
        bad, why = repacked(play, "c001", key=bytes(32)), "client 'c001' is a point of low order"
    play.upload(changed={"c001": bad}).receive(close=False)
    (name, said), *more = play.states["h1"].refused
    assert (name, more) == ("c001", [])
    assert why in said
    refused = play.server.refused
    assert set(refused) == {"c001"}
    assert "h1" in refused["c001"]
    with refuses("the total of round 3 has clients that helpers refuse: {'c001': "):
        play.server.close_receipts()
    play.server.take_back(bad)
    play.got["proposal"] = play.server.close_receipts()
    play.lock().answer()
    assert play.recover() == play.expected()
    assert play.server.survivors == ("c000", "c002", "c003")


def test_only_what_was_added_and_refused_is_taken_back() -> None:
    play = Play(terms_for(4))
    good = play.make_upload("c001").parcel
    bad = repacked(play, "c001", boxes=tuple(bytes(len(it)) for it in good.boxes))
    play.upload(changed={"c001": bad}).receive(close=False)
    before = play.server._total.copy()
    for wrong in (play.uploads["c000"], repacked(play, "c001", boxes=bad.parcel.boxes)):
        with refuses("is not one that was added and then refused"):
            play.server.take_back(wrong)
    with refuses("client 'c001' sends other words than its parcel names"):
        play.server.take_back(replace(bad, words=bytes(12)))
    assert np.array_equal(play.server._total, before)
    play.server.take_back(bad)
    with refuses("is not one that was added and then refused"):
        play.server.take_back(bad)


def test_a_helper_that_refuses_everybody_can_be_given_up() -> None:
    terms = terms_for(4, 4, 1)
    play = Play(terms).upload().receive({"h3"}, close=False)
    nobody = signed(Receipt("h3", ()), terms, identity_of("h3"))
    play.server.add_receipt(nobody)
    assert play.server.refused == dict.fromkeys(terms.cohort, ("h3",))
    play.server.give_up("h3")
    assert play.server.refused == {}
    play.got["proposal"] = play.server.close_receipts()
    play.lock({"h3"}).answer()
    assert play.recover() == play.expected()
    with refuses("'h9' is no helper in round 3"):
        play.server.give_up("h9")


def test_fewer_helpers_than_the_quorum_stop_the_round() -> None:
    why = "with 2 helpers, and 3 are needed; missing: 'h1', 'h3'"
    with refuses(f"round 3 stops at receipts {why}"):
        Play(terms_for(3, 4, 1)).upload().receive({"h1", "h3"})
    with refuses(f"round 3 stops at votes {why}"):
        at_lock(terms_for(3, 4, 1)).lock({"h1", "h3"})


def test_no_sum_is_handed_over_before_the_last_holder_was_heard_or_given_up() -> None:
    play = at_answer(terms_for(3, 4, 1)).answer({"h3"})
    with refuses("stops at sums with sums that are missing; missing: 'h3'"):
        play.recover()
    play.server.give_up("h3")
    assert play.recover() == play.expected()


def test_no_sum_is_handed_over_when_all_holders_of_a_set_were_given_up() -> None:
    play = at_answer(terms_for(3, 2, 1)).answer({"h1"})
    play.server.give_up("h1")
    assert play.server.waiting_for == ()
    with refuses("stops at sums with sums that are missing; missing: 'h1'"):
        play.recover()


def test_only_the_stages_with_an_answer_repeat_it() -> None:
    play = Play(terms_for(3)).upload()
    with refuses("'h0' got a Delivery that it cannot answer at Ready in round 3"):
        repeat(play.states["h0"], play.got["delivery"])
    play.receive().lock().answer()
    with refuses("'h0' got a Proposal that it cannot answer at Answered in round 3"):
        repeat(play.states["h0"], play.got["proposal"])


def test_too_few_are_left_when_refused_clients_are_taken_back() -> None:
    play = Play(terms_for(3, minimum_survivors=3))
    empty = tuple(bytes(len(it)) for it in play.make_upload("c001").parcel.boxes)
    play.upload(changed={"c001": repacked(play, "c001", boxes=empty)})
    with refuses("stops at receipts with 2 clients, and 3 are needed; missing: 'c001'"):
        play.receive()


def test_an_upload_that_is_forged_changed_or_second_is_not_added() -> None:
    play = Play(terms_for(4))
    good = play.make_upload("c000")
    play.server.add_upload(good)
    before = play.server._total.copy()
    with refuses("client 'c000' sends uploads twice, and not the same"):
        play.server.add_upload(play.make_upload("c000"))
    other = play.make_upload("c001")
    with refuses("client 'c001' sends other words than its parcel names"):
        play.server.add_upload(replace(other, words=good.words))
    forged = replace(other.parcel, signature=good.parcel.signature)
    with refuses("the signature of client 'c001'"):
        play.server.add_upload(replace(other, parcel=forged))
    taken = replace(good.parcel, client="c001")
    with refuses("the signature of client 'c001'"):
        play.server.add_upload(replace(good, parcel=taken))
    assert np.array_equal(play.server._total, before)


def test_an_upload_with_bits_beyond_its_last_word_is_not_added() -> None:
    terms = terms_for(3, bits=9, length=3)
    play = Play(terms)
    good = play.make_upload("c000")
    words = good.words[:-1] + bytes((good.words[-1] | 0x80,))
    parcel = replace(good.parcel, words_sha256=sha256(words).digest())
    bad = Upload(signed(parcel, terms, identity_of("c000")), words)
    with refuses("bits behind the last word are set"):
        play.server.add_upload(bad)
    assert not play.server._total.any()
    play.server.add_upload(good)


def test_an_upload_that_is_too_long_or_too_short_is_not_read() -> None:
    play = Play(terms_for(3))
    data = write(play.make_upload("c000"), play.terms)
    with refuses("the Upload of 'c000' goes on for 2 bytes after its end"):
        read(Upload, data + b"\0\0", play.terms, sender="'c000'")
    with refuses("the Upload of 'c000' ends 1 bytes too early"):
        read(Upload, data[:-1], play.terms, sender="'c000'")


def test_a_client_cannot_send_the_seeds_of_another() -> None:
    play = Play(terms_for(4))
    stolen = play.make_upload("c000").parcel
    bad = repacked(play, "c001", key=stolen.key, boxes=stolen.boxes, commitments=stolen.commitments)
    play.upload(changed={"c001": bad}).receive(close=False)
    assert set(play.server.refused) == {"c001"}


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda it: it.astype(np.uint32), "a vector of uint32 and shape"),
        (lambda it: it[:-1], r"shape \(5,\). Allowed: uint16 and shape \(6,\)"),
        (lambda it: it | np.uint16(1 << 12), "an entry beyond 12 bits"),
    ],
)
def test_a_vector_that_is_not_what_the_terms_say_is_not_masked(make, why: str) -> None:
    play = Play(terms_for(3, bits=12))
    vector = make(play.vectors["c000"])
    before = vector.copy()
    with refuses(why):
        play.make_upload("c000", vector)
    assert np.array_equal(vector, before)


def test_a_client_uploads_only_as_itself_and_only_where_it_was_drawn() -> None:
    terms = terms_for(4, cohort=names_of(3))
    vector = np.zeros(6, np.uint16)
    with refuses("client 'c003' is not in the cohort of round 3"):
        client_steps.upload(identity_of("c003"), "c003", terms, vector, seeded_source(0))
    with refuses("the identity of client 'c000' is not the one in the roster"):
        client_steps.upload(identity_of("c001"), "c000", terms, vector, seeded_source(0))
    assert not vector.any()


# --- a hostile helper ----------------------------------------------------------------------------


def wrong_sum(play: Play, message: PartialSum, helper: str) -> PartialSum:
    """Another sum than the true one, signed by the helper that tells it."""
    words = bytearray(message.words or bytes(12))
    words[0] ^= 1
    claim = Claim(helper, message.claim.subset, sha256(words).digest())
    signed_claim = signed(claim, play.terms, identity_of(helper))
    return PartialSum(signed_claim, bytes(words) if message.words else b"")


def play_with_liars(terms, liars) -> Play:
    play = at_answer(terms)
    for name in play.states:
        for message in play.sums_of(name):
            told = wrong_sum(play, message, name) if name in liars else message
            play.server.add_sum(sent(told, terms))
    return play


@pytest.mark.parametrize("liar", ["h0", "h3"])
def test_a_wrong_sum_is_found_and_its_helper_named_where_enough_others_hold_the_set(
    liar: str,
) -> None:
    play = play_with_liars(terms_for(3, 4, 1), {liar})
    with refuses(rf"helpers \['{liar}'\] disagree about set \d in round 3: they are wrong"):
        play.recover()
    assert play.server.stage == "sums"


def test_of_two_holders_that_disagree_both_are_named() -> None:
    play = play_with_liars(terms_for(3, 3, 1), {"h1"})
    with refuses(r"helpers \['h0', 'h1'\] disagree about set 0 .*: at least one of them is wrong"):
        play.recover()
    with refuses(r"helpers \['h0', 'h1'\] disagree"):
        play.recover()


def test_colluding_helpers_cannot_put_the_blame_on_an_honest_one() -> None:
    play = play_with_liars(terms_for(3, 5, 2), {"h3", "h4"})
    with pytest.raises(VerificationError) as caught:
        play.recover()
    assert "at least one of them is wrong" in str(caught.value)


def sealed_play(helpers: int, colluding: int) -> Play:
    terms = terms_for(3, helpers, colluding, length=20 + checks.check_words(16, 3))
    play = Play(terms)
    for name in terms.cohort:
        checks.seal(play.vectors[name], 16, 3, weight=1, count=1)
    return play.upload().receive().lock()


def test_a_mistake_of_the_only_holder_fails_the_checksum_and_a_forgery_does_not() -> None:
    """What ``server`` says of t = m - 1, both halves of it."""
    for place, fails in (((0,), True), ((0, -4), False)):
        play = sealed_play(2, 1)
        for name in play.states:
            for message in play.sums_of(name):
                told = message
                if name == "h1":
                    words = np.frombuffer(bytearray(message.words), np.uint16)
                    words[list(place)] += 5
                    claim = Claim(name, message.claim.subset, sha256(words.tobytes()).digest())
                    claim = signed(claim, play.terms, identity_of(name))
                    told = PartialSum(claim, words.tobytes())
                play.server.add_sum(sent(told, play.terms))
        total = play.server.recover()
        if fails:
            with refuses("the checksum of the sum is wrong"):
                checks.read(total, 16, 3, heaviest=1)
        else:
            assert checks.read(total, 16, 3, heaviest=1) == (3, 3)
            assert total.tolist() != play.expected()


def test_a_sum_that_is_not_its_helpers_to_tell_is_not_added() -> None:
    play = at_answer(terms_for(3, 4, 1))
    server, terms = play.server, play.terms
    mine = play.sums_of("h0")
    before = server._total.copy()
    with refuses("the signature of client 'h0'"):
        server.add_sum(replace(mine[0], claim=replace(mine[0].claim, signature=bytes(64))))
    with refuses("helper 'h0' sends another sum than it claims"):
        server.add_sum(replace(mine[0], words=bytes(12)))
    claim = signed(Claim("h0", 3, bytes(32)), terms, identity_of("h0"))
    with refuses("helper 'h0' tells the sum of set 3 in round 3, which is not its own to tell"):
        server.add_sum(PartialSum(claim, b""))
    assert np.array_equal(server._total, before)
    server.add_sum(mine[0])
    with refuses("helper 'h0' sends sums twice, and not the same"):
        server.add_sum(wrong_sum(play, mine[0], "h0"))


def test_a_helper_that_tells_hashes_and_no_words_is_named_and_another_is_asked() -> None:
    play = at_answer(terms_for(3, 4, 1))
    for name in play.states:
        for message in play.sums_of(name):
            play.server.add_sum(replace(message, words=b"") if name == "h0" else message)
    assert play.server.waiting_for == ("h0",)
    with refuses("stops at sums with sums that are missing; missing: 'h0'"):
        play.recover()
    play.server.give_up("h0")
    assert play.server.waiting_for == ("h1", "h2")
    play.ask(play.server.requests())
    assert play.got["requests"]["h1"].wanted == (0, 1)
    play.answer()
    assert play.recover() == play.expected()


def test_a_helper_that_did_not_vote_tells_no_sum() -> None:
    play = Play(terms_for(3, 4, 1)).upload().receive().lock({"h3"})
    claim = signed(Claim("h3", 1, bytes(32)), play.terms, identity_of("h3"))
    with refuses("helper 'h3' tells the sum of set 1 in round 3, which is not its own"):
        play.server.add_sum(PartialSum(claim, b""))


def test_a_sum_with_bits_beyond_its_last_word_changes_nothing() -> None:
    terms = terms_for(3, bits=9, length=3)
    play = at_answer(terms)
    first = play.sums_of("h0")[0]
    words = first.words[:-1] + bytes((first.words[-1] | 0x80,))
    claim = signed(Claim("h0", 0, sha256(words).digest()), terms, identity_of("h0"))
    with refuses("bits behind the last word are set"):
        play.server.add_sum(PartialSum(claim, words))
    play.answer()
    assert play.recover() == play.expected()


def test_votes_and_receipts_of_others_are_not_counted() -> None:
    terms = terms_for(3, 4, 1)
    play = Play(terms).upload()
    receipt = signed(Receipt("h0", terms.cohort), terms, identity_of("h1"))
    with refuses("the signature of client 'h0'"):
        play.server.add_receipt(receipt)
    play.receive({"h3"}, close=False)
    with refuses("helper 'h0' sends receipts twice, and not the same"):
        play.server.add_receipt(signed(Receipt("h0", ()), terms, identity_of("h0")))
    play.got["proposal"] = play.server.close_receipts()
    play.lock({"h3"}, close=False)
    locked = play.states["h0"].sent.lock_sha256
    with refuses("the signature of client 'h0'"):
        play.server.add_vote(signed(Vote("h0", locked), terms, identity_of("h1")))
    with refuses("helper 'h3' votes without having sent a receipt"):
        play.server.add_vote(signed(Vote("h3", locked), terms, identity_of("h3")))
    with refuses("helper 'h0' votes for other survivors of round 3 than are proposed"):
        play.server.add_vote(signed(Vote("h0", bytes(32)), terms, identity_of("h0")))


def test_helpers_that_hold_other_parcels_of_the_same_clients_lock_something_else() -> None:
    """A client, or the server for it, that shows two helpers two uploads fools neither of them."""
    play = Play(terms_for(3))
    second = play.make_upload("c000").parcel
    play.upload()
    parcels = play.got["delivery"].parcels
    assert isinstance(second, Parcel)
    votes = []
    for name, first in (("h0", parcels[0]), ("h1", second)):
        delivery = Delivery((first, *parcels[1:]))
        state, receipt = steps.receive(play.states[name], delivery, identity_of(name))
        assert receipt.accepted == play.terms.cohort
        votes.append(steps.lock(state, Proposal(play.terms.cohort), identity_of(name))[1])
    assert votes[0].lock_sha256 != votes[1].lock_sha256


def test_the_identity_of_a_helper_is_the_one_that_is_pinned() -> None:
    play = Play(terms_for(3)).upload()
    with refuses("the identity of helper 'h0' is not the one in the roster of the helpers"):
        steps.receive(play.states["h0"], play.got["delivery"], identity_of("h1"))
    with refuses("the identity of helper 'h0' is not the one in the roster of the helpers"):
        steps.announce(identity_of("h1"), "h0", play.terms.helpers, b"r" * 32, seeded_source(0))


def test_the_sum_of_everybody_is_what_the_reference_says_though_a_liar_spoke_first() -> None:
    """A liar's words are in the total, so that total is never handed over."""
    play = play_with_liars(terms_for(3, 4, 1), {"h0"})
    with refuses("they are wrong"):
        play.recover()
    told = play.server._total.tolist()
    assert told != true_sum(play.vectors, play.terms.cohort, 16)
