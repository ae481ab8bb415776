"""A server that does not keep to the protocol: each attack raises at the client, nothing leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from secagg_play import (
    MODEL,
    Play,
    identity_of,
    names_of,
    roster_of,
    sent,
    terms_for,
    true_sum,
)

from sottovoce.codec import sealing
from sottovoce.codec.coding import Coding, close, open_sum, quantise
from sottovoce.codec.roster import Roster, new_identity
from sottovoce.codec.secagg import client as steps
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Endorsement,
    Inbox,
    Survivors,
    UnmaskRequest,
    digest,
    signed,
)
from sottovoce.codec.secagg.states import repeat
from sottovoce.errors import VerificationError
from sottovoce.rng import seeded_source

ROUNDED = {"rounding": seeded_source(0, "rounding"), "rotation_seed": bytes(32)}
ME, PEER, OTHER = "c000", "c001", "c002"

# Every point whose order divides 8, on the curve and its twist, in each form that X25519 accepts.
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def play_of(count: int = 5, **changes) -> Play:
    return Play(terms_for(count, **changes))


def replaced(items, client: str, **changes):
    """A list of items in which the one of this client has other fields."""
    return tuple(replace(it, **changes) if it.client == client else it for it in items)


def refuses(match: str):
    return pytest.raises(VerificationError, match=match)


def request_for(name: str, survivors: Survivors, endorsements) -> UnmaskRequest:
    return UnmaskRequest(name, survivors.survivors, tuple(endorsements))


# --- keys ----------------------------------------------------------------------------------------


def shown(play: Play, **changes):
    """The cohort message for this client with other fields."""
    return replace(play.got["share"][ME], **changes)


@pytest.mark.parametrize("key", ["mask_key", "seal_key"])
def test_keys_that_were_swapped_are_not_the_peers(key: str) -> None:
    play = play_of().until("share")
    keys_ = play.got["share"][ME].advertisements
    of_other = getattr(keys_[2], key)
    with refuses(f"signature of client '{PEER}'"):
        play.share(ME, shown(play, advertisements=replaced(keys_, PEER, **{key: of_other})))
    assert play.share(ME)[1].client == ME


@pytest.mark.parametrize("key", ["mask_key", "seal_key"])
def test_the_clients_own_keys_come_back_unchanged(key: str) -> None:
    play = play_of().until("share")
    keys_ = play.got["share"][ME].advertisements
    # Even a signature of its own from an earlier try does not help.
    mine = signed(replace(keys_[0], **{key: keys_[1].mask_key}), play.terms, identity_of(ME))
    with refuses(f"'{ME}' got other keys as its own"):
        play.share(ME, shown(play, advertisements=(mine, *keys_[1:])))


@pytest.mark.parametrize("key", ["mask_key", "seal_key"])
@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_point_of_low_order_names_the_peer(key: str, point: str) -> None:
    play = play_of(3).until("share")
    keys_ = play.got["share"][ME].advertisements
    bad = replace(keys_[1], **{key: bytes.fromhex(point)})
    bad = signed(bad, play.terms, identity_of(PEER))
    with refuses(f"'{PEER}' is a point of low order"):
        play.share(ME, shown(play, advertisements=(keys_[0], bad, keys_[2])))


@pytest.mark.parametrize(("key", "of"), [("mask_key", 2), ("seal_key", 2), ("seal_key", 0)])
def test_two_clients_with_one_key_are_refused(key: str, of: int) -> None:
    play = play_of(3).until("share")
    keys_ = play.got["share"][ME].advertisements
    bad = signed(replace(keys_[1], **{key: keys_[of].mask_key}), play.terms, identity_of(PEER))
    with refuses("have shown the same key"):
        play.share(ME, shown(play, advertisements=(keys_[0], bad, keys_[2])))


def test_a_forged_roster_gives_no_signature_that_the_pinned_one_knows() -> None:
    play = play_of().until("share")
    stranger = new_identity()
    keys_ = play.got["share"][ME].advertisements
    forged = signed(keys_[1], play.terms, stranger)
    with refuses(f"signature of client '{PEER}'"):
        play.share(
            ME, shown(play, advertisements=replaced(keys_, PEER, signature=forged.signature))
        )
    members = dict(play.terms.roster.members) | {PEER: stranger.public}
    other = replace(play.terms, roster=Roster(members))
    with refuses("belongs to another round, roster or configuration"):
        sent(play.got["share"][ME], other, to=play.terms)


def test_an_identity_that_the_roster_has_not_pinned_signs_nothing() -> None:
    play = play_of()
    with refuses(f"identity of client '{ME}' is not the one in the roster"):
        steps.advertise(new_identity(), ME, play.terms, play.sources[ME])


def test_a_client_that_was_not_drawn_does_not_take_part() -> None:
    terms = replace(terms_for(5), cohort=names_of(5)[1:], neighbours=3, threshold=3)
    for name in (ME, "zoe"):
        with refuses(f"client '{name}' is not in the cohort of round 3"):
            steps.advertise(identity_of(name), name, terms, Play(terms_for(5)).sources[ME])


def test_a_cohort_is_the_clients_and_its_neighbours_and_nobody_else() -> None:
    play = play_of(120, neighbours=6, threshold=4).until("share")
    whole = play.got["share"][ME]
    near = play.terms.graph[ME]
    far = next(name for name in play.terms.cohort if name not in (ME, *near))
    everybody = {it.client: it for it in play.sent["advertise"].values()}
    listed = {it.client: it for it in whole.advertisements}
    for names in (
        {*listed, far},
        set(listed) - {near[0]},
        set(listed) - {ME},
        (set(listed) - {near[0]}) | {far},
    ):
        keys_ = tuple(everybody[name] for name in sorted(names))
        with refuses("keys of other clients than of itself and its neighbours"):
            play.share(ME, replace(whole, advertisements=keys_))


def test_a_cohort_without_this_client_or_of_too_few_is_refused() -> None:
    play = play_of(minimum_survivors=5).until("share")
    keys_ = play.got["share"][ME].advertisements
    present = play.terms.cohort
    with refuses("told that it takes no part"):
        play.share(ME, shown(play, present=present[1:], advertisements=keys_[1:]))
    with refuses("told of 4 clients in round 3"):
        play.share(ME, shown(play, present=present[:4], advertisements=keys_[:4]))
    with refuses(f"'{ME}' got a message that is for '{PEER}'"):
        play.share(ME, shown(play, client=PEER))


def test_a_cohort_with_fewer_neighbours_than_shares_are_needed_is_refused() -> None:
    play = play_of(120, neighbours=6, threshold=4).until("share")
    whole = play.got["share"][ME]
    gone = play.terms.graph[ME][:3]
    present = tuple(name for name in whole.present if name not in gone)
    keys_ = tuple(it for it in whole.advertisements if it.client not in gone)
    with refuses("told of 3 neighbours"):
        play.share(ME, replace(whole, present=present, advertisements=keys_))


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (0, 1, 1, 3, 4)])
def test_a_list_out_of_order_or_with_somebody_twice_is_refused(order: tuple[int, ...]) -> None:
    play = play_of().until("share")
    whole = play.got["share"][ME]
    with refuses("not sorted, or names somebody twice"):
        play.share(ME, shown(play, advertisements=tuple(whole.advertisements[i] for i in order)))
    with refuses("not sorted, or names somebody twice"):
        play.share(ME, shown(play, present=tuple(whole.present[i] for i in order)))


# --- shares --------------------------------------------------------------------------------------


def delivered(play: Play, **changes) -> Inbox:
    return replace(play.got["upload"][ME], **changes)


def test_a_box_for_somebody_else_or_of_somebody_else_does_not_open() -> None:
    play = play_of().until("upload")
    shares = play.got["upload"][ME].shares
    for_other = next(it for it in play.got["upload"][OTHER].shares if it.client == PEER)
    for wrong in (replace(shares[1], client=PEER), for_other):
        with refuses(f"shares that client '{PEER}' sealed for '{ME}' do not open"):
            play.upload(ME, delivered(play, shares=(wrong, *shares[1:])))


@pytest.mark.parametrize("place", [0, 11, 12, 75, 91])
def test_a_box_that_was_changed_anywhere_does_not_open(place: int) -> None:
    play = play_of(3).until("upload")
    shares = play.got["upload"][ME].shares
    box = bytearray(shares[0].box)
    box[place] ^= 1
    vector = play.vectors[ME]
    with refuses(f"client '{PEER}' sealed for '{ME}' do not open"):
        steps.upload(
            play.states[ME],
            delivered(play, shares=(replace(shares[0], box=bytes(box)), shares[1])),
            vector,
            MODEL,
            identity_of(ME),
        )
    assert vector.tolist() == Play(play.terms).vectors[ME].tolist()


@pytest.mark.parametrize("field", ["self_commitment", "mask_commitment"])
def test_shares_other_than_those_committed_to_name_the_dealer(field: str) -> None:
    play = play_of(3).until("upload")
    shares = play.got["upload"][ME].shares
    with refuses(f"'{PEER}' gave '{ME}' other shares than it has committed to"):
        play.upload(
            ME, delivered(play, shares=(replace(shares[0], **{field: bytes(32)}), shares[1]))
        )


def test_an_inbox_has_one_box_from_each_neighbour_whose_shares_arrived() -> None:
    play = play_of(6, threshold=3).until("upload", {"c005": "advertise"})
    whole = play.got["upload"][ME]
    with refuses("other shares than one from each neighbour"):
        play.upload(ME, delivered(play, shares=whole.shares[1:]))
    with refuses("other shares than one from each neighbour"):
        play.upload(ME, delivered(play, included=whole.included[:-1]))
    with refuses("shares of 'c005', who had not advertised"):
        extra = replace(whole.shares[0], client="c005")
        play.upload(ME, delivered(play, included=play.terms.cohort, shares=(*whole.shares, extra)))
    with refuses("told that it takes no part"):
        play.upload(ME, delivered(play, included=whole.included[1:]))
    with refuses("told of 2 clients"):
        play.upload(ME, delivered(play, included=whole.included[:2], shares=whole.shares[:1]))
    with refuses(f"'{ME}' got a message that is for '{PEER}'"):
        play.upload(ME, play.got["upload"][PEER])


def test_too_few_neighbours_with_shares_are_refused() -> None:
    play = play_of(4, threshold=3).until("upload")
    whole = play.got["upload"][ME]
    with refuses("told of 2 neighbours"):
        play.upload(ME, delivered(play, included=whole.included[:3], shares=whole.shares[:2]))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda vector: vector.astype(np.uint32), "a vector of uint32"),
        (lambda vector: vector[:-1], r"shape \(5,\)"),
        (lambda vector: vector[:, None], r"shape \(6, 1\)"),
        (lambda vector: vector | np.uint16(1 << 12), "an entry beyond 12 bits"),
    ],
)
def test_a_vector_that_the_terms_do_not_describe_is_not_masked(change, why: str) -> None:
    play = play_of(3, bits=12).until("upload")
    with refuses(why):
        steps.upload(
            play.states[ME],
            play.got["upload"][ME],
            change(play.vectors[ME]),
            MODEL,
            identity_of(ME),
        )


def test_a_hash_of_another_length_is_no_models_hash() -> None:
    play = play_of(3).until("upload")
    with refuses("a model's hash of 16 bytes"):
        steps.upload(
            play.states[ME], play.got["upload"][ME], play.vectors[ME], b"m" * 16, identity_of(ME)
        )


# --- one upload ----------------------------------------------------------------------------------


def test_a_second_vector_is_not_masked_and_a_repeat_is_the_same_to_the_byte() -> None:
    play = play_of().until("upload")
    inbox = play.got["upload"][ME]
    after, first = play.upload(ME)
    assert repeat(after, inbox) is first
    with refuses("asked for a step from Shared in round 3, and it is at Uploaded"):
        steps.upload(after, inbox, play.vectors[PEER], MODEL, identity_of(ME))
    with refuses("got a Inbox that it cannot answer at Uploaded"):
        repeat(after, play.got["upload"][PEER])


def test_the_vector_is_consumed() -> None:
    play = play_of().until("upload")
    vector = play.vectors[ME].copy()
    state = play.states[ME]
    _, message = steps.upload(state, play.got["upload"][ME], vector, MODEL, identity_of(ME))
    assert vector.tobytes() == bytes(message.words)
    assert vector.tolist() != play.vectors[ME].tolist()


def test_different_models_give_neither_the_sum_nor_anybodys_vector() -> None:
    terms = terms_for(4, length=200)
    play = Play(terms, models={PEER: b"n" * 32})
    total = play.whole()
    wrong = [true_sum(play.vectors, terms.cohort, 16)]
    wrong += [play.vectors[name].tolist() for name in terms.cohort]
    wrong += [true_sum(play.vectors, set(terms.cohort) - {name}, 16) for name in terms.cohort]
    # Entries agree with any fixed vector as often as chance has it, one in 2^16.
    assert all(sum(a == b for a, b in zip(total.tolist(), it, strict=True)) < 4 for it in wrong)


def test_one_model_for_one_client_and_another_for_all_others_hides_that_client_too() -> None:
    terms = terms_for(4, length=200)
    play = Play(terms, models=dict.fromkeys(terms.cohort[1:], b"n" * 32))
    total = play.whole()
    alone = play.vectors[ME].tolist()
    assert sum(a == b for a, b in zip(total.tolist(), alone, strict=True)) < 4


@pytest.mark.parametrize("models", [{}, {PEER: b"n" * 32}])
def test_the_checksum_finds_a_sum_over_different_models(models: dict[str, bytes]) -> None:
    coding = Coding(60, 1.0, 4, 16)
    terms = terms_for(4, length=coding.length, bits=16)
    play = Play(terms, models=models)
    for place, name in enumerate(terms.cohort):
        vector = np.full(60, 0.01 * (place + 1), np.float32)
        steps_of = quantise(vector, coding, weight=1, heaviest=1, **ROUNDED).steps
        play.vectors[name] = close(steps_of, coding, weight=1)
    total = play.whole()
    if not models:
        assert open_sum(total, coding, rotation_seed=bytes(32), heaviest=1).count == 4
        return
    with pytest.raises(VerificationError, match="checksum"):
        open_sum(total, coding, rotation_seed=bytes(32), heaviest=1)


# --- survivors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("malicious", [True, False])
def test_survivors_who_are_too_few_or_no_subset_are_refused(malicious: bool) -> None:
    play = play_of(6, threshold=3, minimum_survivors=4, malicious=malicious)
    play.until("acknowledge" if malicious else "unmask", {"c005": "share"})

    def told(*names: str):
        if malicious:
            return play.acknowledge(ME, Survivors(names))
        return play.unmask(ME, replace(play.got["unmask"][ME], survivors=names))

    with refuses("told of 3 clients"):
        told("c000", "c001", "c002")
    with refuses("told that it takes no part"):
        told("c001", "c002", "c003", "c004")
    with refuses("'c005' survived, whose masks are not in the sum"):
        told("c000", "c001", "c002", "c003", "c005")
    with refuses("not sorted, or names somebody twice"):
        told("c001", "c000", "c002", "c003")
    with refuses("not sorted, or names somebody twice"):
        told("c000", "c001", "c001", "c002")
    with refuses("not in the cohort"):
        told("c000", "c001", "c002", "zoe")
    assert told("c000", "c001", "c002", "c003")[1].client == ME


@pytest.mark.parametrize("malicious", [True, False])
def test_survivors_among_whom_a_client_has_too_few_neighbours_are_refused(malicious: bool) -> None:
    play = play_of(4, threshold=3, minimum_survivors=3, malicious=malicious)
    play.until("acknowledge" if malicious else "unmask")
    names = ("c000", "c001", "c002")
    with refuses("told of 2 neighbours"):
        if malicious:
            play.acknowledge(ME, Survivors(names))
        else:
            play.unmask(ME, replace(play.got["unmask"][ME], survivors=names))


def test_a_client_signs_one_set_of_survivors() -> None:
    play = play_of().until("acknowledge")
    told = play.got["acknowledge"][ME]
    after, first = play.acknowledge(ME)
    assert repeat(after, told) is first
    fewer = Survivors(told.survivors[:-1])
    with refuses("got a Survivors that it cannot answer"):
        repeat(after, fewer)
    with refuses("and it is at Acknowledged"):
        steps.acknowledge(after, fewer, identity_of(ME))


def test_different_survivors_for_different_clients_unmask_nobody() -> None:
    """The split view of Bonawitz et al. 2017, section 6.2: some are told that c004 is gone."""
    play = play_of(6, threshold=4).until("acknowledge")
    everybody = play.got["acknowledge"][ME]
    fewer = Survivors(tuple(name for name in everybody.survivors if name != "c004"))
    told = {name: everybody if name in ("c000", "c001", "c004") else fewer for name in play.states}
    signed_by = {name: play.acknowledge(name, told[name]) for name in told}
    play.states |= {name: state for name, (state, _) in signed_by.items()}
    for name, survivors in told.items():
        for claimed in (everybody, fewer):
            # The best that the server can do: the signatures that fit, and the others as filling.
            endorsements = tuple(
                Endorsement(peer, signed_by[peer][1].signature)
                for peer in play.terms.graph[name]
                if peer in claimed.survivors
            )
            request = request_for(name, claimed, endorsements)
            with refuses("not one of its own|asked about other survivors|takes no part"):
                play.unmask(name, request)
            fitting = tuple(it for it in endorsements if told[it.client] == claimed)
            with refuses("acknowledgements of its neighbours|other survivors|takes no part"):
                play.unmask(name, request_for(name, claimed, fitting))
        assert repeat(play.states[name], survivors) is signed_by[name][1]


# --- the one answer ------------------------------------------------------------------------------


def asked(play: Play, **changes):
    return replace(play.got["unmask"][ME], **changes)


def test_no_client_ever_reveals_both_shares_of_a_peer() -> None:
    play = play_of(6, threshold=4).until("unmask", {"c005": "upload"})
    play.go("unmask", close=False)
    for name, answer in play.sent["unmask"].items():
        kinds = {share.client: share.kind for share in answer.shares}
        assert len(kinds) == len(answer.shares)
        assert kinds == {
            peer: "mask" if peer == "c005" else "self" for peer in play.terms.graph[name]
        }


@pytest.mark.parametrize("malicious", [True, False])
def test_a_second_request_with_other_survivors_gets_nothing(malicious: bool) -> None:
    play = play_of(6, threshold=3, malicious=malicious).until("unmask")
    request = play.got["unmask"][ME]
    after, answer = play.unmask(ME)
    assert repeat(after, request) is answer
    fewer = replace(request, survivors=request.survivors[:-1])
    with refuses("got a UnmaskRequest that it cannot answer at Answered"):
        repeat(after, fewer)
    with refuses("and it is at Answered"):
        steps.unmask(after, fewer, identity_of(ME))
    with refuses("and it is at Answered"):
        steps.unmask(after, request, identity_of(ME))


def test_a_request_about_others_than_the_client_signed_gets_nothing() -> None:
    play = play_of(6, threshold=4).until("unmask")
    fewer = Survivors(play.terms.cohort[:-1])
    # Even if every neighbour had signed the smaller set.
    endorsements = tuple(
        Endorsement(name, forged.signature)
        for name in fewer.survivors[1:]
        for forged in [
            signed(Acknowledgement(name, digest(fewer, play.terms)), play.terms, identity_of(name))
        ]
    )
    with refuses("asked about other survivors than it has signed"):
        play.unmask(ME, request_for(ME, fewer, endorsements))


def test_an_unmask_request_before_any_acknowledgement_gets_nothing() -> None:
    play = play_of().until("acknowledge")
    request = request_for(ME, play.got["acknowledge"][ME], ())
    with refuses("asked for a step from Acknowledged in round 3, and it is at Uploaded"):
        play.unmask(ME, request)


def test_a_forged_signature_is_no_acknowledgement() -> None:
    play = play_of().until("unmask")
    given = play.got["unmask"][ME].endorsements
    forger = new_identity()
    body = Acknowledgement(PEER, digest(play.got["acknowledge"][ME], play.terms))
    for signature in (
        signed(body, play.terms, forger).signature,
        bytes(64),
        given[1].signature,
        # Its own, but under the survivors of another round.
        signed(body, replace(play.terms, round=4), identity_of(PEER)).signature,
    ):
        with refuses(f"signature of client '{PEER}'"):
            play.unmask(ME, asked(play, endorsements=replaced(given, PEER, signature=signature)))


def test_one_neighbours_signature_counts_once() -> None:
    play = play_of().until("unmask")
    given = play.got["unmask"][ME].endorsements
    with refuses("not sorted, or names somebody twice"):
        play.unmask(ME, asked(play, endorsements=(given[0], given[0], *given[1:])))
    renamed = replaced(given[:2], given[1].client, signature=given[0].signature)
    with refuses(f"signature of client '{given[1].client}'"):
        play.unmask(ME, asked(play, endorsements=(*renamed, *given[2:])))
    with refuses("shown 2 acknowledgements of its neighbours"):
        play.unmask(ME, asked(play, endorsements=given[:2]))


def test_only_surviving_neighbours_endorse() -> None:
    play = play_of(6, threshold=4).until("unmask", {"c005": "upload"})
    request = play.got["unmask"][ME]
    for name in (ME, "c005"):
        body = Acknowledgement(name, digest(play.got["acknowledge"][ME], play.terms))
        extra = Endorsement(name, signed(body, play.terms, identity_of(name)).signature)
        endorsements = tuple(sorted((*request.endorsements, extra), key=lambda it: it.client))
        with refuses(f"'{name}' is no surviving neighbour"):
            play.unmask(ME, asked(play, endorsements=endorsements))


def test_a_request_for_somebody_else_gets_nothing() -> None:
    play = play_of().until("unmask")
    with refuses(f"'{ME}' got a message that is for '{PEER}'"):
        play.unmask(ME, play.got["unmask"][PEER])


def test_a_trusted_servers_round_knows_no_acknowledgements() -> None:
    play = play_of(malicious=False).until("unmask")
    with refuses("its server is trusted"):
        play.acknowledge(ME, Survivors(play.terms.cohort))


# --- another time, other terms -------------------------------------------------------------------


def test_everything_of_another_round_is_refused() -> None:
    """Replay: each message of round 3, handed to a client in round 4."""
    before, now = play_of(), play_of(round=4)
    before.whole()
    for stage in ("share", "upload", "acknowledge", "unmask"):
        with refuses("belongs to another round, roster or configuration"):
            sent(before.got[stage][ME], before.terms, to=now.terms)
    now.until("share")
    # The same values under the new terms: the signatures and boxes are those of the old ones.
    with refuses("signature of client|other keys as its own"):
        now.share(ME, before.got["share"][ME])
    keys_ = before.got["share"][ME].advertisements
    mine = now.got["share"][ME].advertisements[0]
    with refuses(f"signature of client '{PEER}'"):
        now.share(ME, replace(now.got["share"][ME], advertisements=(mine, *keys_[1:])))
    now.go("share")
    with refuses("do not open"):
        now.upload(ME, before.got["upload"][ME])
    now.go("upload")
    now.go("acknowledge")
    with refuses("signature of client"):
        now.unmask(ME, before.got["unmask"][ME])


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 17},
        {"length": 7},
        {"threshold": 3},
        {"minimum_survivors": 5},
        {"malicious": False},
        {"post_quantum": True},
        {"config_sha256": b"d" * 32},
        {"beacon": b"e" * 32},
        {"run": b"s" * 32},
        {"round": 2},
        {"roster": roster_of(6)},
        {"neighbours": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_terms_at_the_server_end_the_round_at_its_first_message(change) -> None:
    play = play_of(5, threshold=4)
    theirs = replace(play.terms, **change)
    assert theirs.digest != play.terms.digest
    _, advertisement = play.advertise(ME)
    with refuses("belongs to another round, roster or configuration"):
        sent(advertisement, play.terms, to=theirs)
    # And in the other direction, with the keys of somebody who follows the changed terms.
    other = Play(theirs).until("share")
    with refuses("belongs to another round, roster or configuration"):
        sent(other.got["share"][ME], theirs, to=play.terms)
    play.go("advertise")
    with refuses("other keys as its own|signature of client|an ML-KEM key is not a string of 0"):
        play.share(ME, other.got["share"][ME])


def test_a_step_is_taken_from_its_own_state_only() -> None:
    play = play_of().until("upload")
    shared = play.states[ME]
    with refuses("from Advertised in round 3, and it is at Shared"):
        play.share(ME)
    with refuses("from Uploaded in round 3, and it is at Shared"):
        play.acknowledge(ME, Survivors(play.terms.cohort))
    cohort = play.got["share"][ME]
    assert repeat(shared, cohort) is play.sent["share"][ME]
    with refuses("got a Cohort that it cannot answer at Shared"):
        repeat(shared, replace(cohort, present=cohort.present[:-1]))
    advertised, _ = play.advertise(ME)
    with refuses("got a Cohort that it cannot answer at Advertised"):
        repeat(advertised, cohort)


def test_a_refused_message_does_not_keep_the_right_one_from_being_answered() -> None:
    play = play_of()
    play.until("unmask")
    with pytest.raises(VerificationError):
        play.unmask(ME, asked(play, endorsements=()))
    play.go("unmask", close=False)
    assert play.server.recover().tolist() == play.expected()


def test_low_order_points_are_all_refused_and_random_ones_are_not() -> None:
    for point in LOW_ORDER:
        with refuses("low order"):
            sealing.require_point(bytes.fromhex(point), owner=PEER)
    sealing.require_point(sealing.public_bytes(sealing.private_key(b"k" * 32)), owner=PEER)
