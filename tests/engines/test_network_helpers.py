"""Helpers that open sums across machines: offline, killed, lying, and asked by a server that lies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from helped_world import (
    Seen,
    ask_helper,
    clients_of,
    config_of,
    end_of,
    helpers_of,
    outbox_of,
    played,
    stopped_at,
    telling,
    terms_of,
)
from quick_world import (
    BrokenDisk,
    QuickWorld,
    Tampering,
    ask,
    clear,
    killed,
    other,
    parsed,
    quick,
    watched,
)

from sottovoce.codec.oneshot.helper import lock_of
from sottovoce.codec.oneshot.messages import (
    Delivery,
    Endorsement,
    PartialSum,
    Proposal,
    Receipt,
    Request,
    Upload,
    Vote,
    read,
    signed,
    write,
    write_key,
)
from sottovoce.codec.oneshot.terms import HelperKey, Terms
from sottovoce.codec.roster import new_identity
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.enrol import make_keys, open_store_key
from sottovoce.run.helped import announce_once
from sottovoce.run.helper_vault import HelperVault
from sottovoce.run.letter import PART, SERVER, Letter
from sottovoce.run.outbox import Outbox
from sottovoce.run.rounds import digest as content
from sottovoce.run.rounds import model_tensors
from sottovoce.run.sum_terms import helped_terms
from sottovoce.run.vault import Vault
from sottovoce.run.visit_helped import HelpedSums, pinned_helpers


def _world(
    tmp_path_factory: pytest.TempPathFactory, attach: Any, make_client: Any, helpers: int
) -> Iterator[QuickWorld]:
    root = tmp_path_factory.mktemp("world")
    made = QuickWorld(root, attach, make_client, helpers=helpers)
    with quick(made):
        yield made
    made.close()


@pytest.fixture(scope="module")
def all_four(
    tmp_path_factory: pytest.TempPathFactory, attach: Any, make_client: Any
) -> Iterator[QuickWorld]:
    yield from _world(tmp_path_factory, attach, make_client, 4)


@pytest.fixture(scope="module")
def all_three(
    tmp_path_factory: pytest.TempPathFactory, attach: Any, make_client: Any
) -> Iterator[QuickWorld]:
    yield from _world(tmp_path_factory, attach, make_client, 3)


@pytest.fixture
def four(all_four: QuickWorld) -> Iterator[QuickWorld]:
    """Four helpers, of which one may be offline."""
    yield all_four
    clear(all_four)


@pytest.fixture
def three(all_three: QuickWorld) -> Iterator[QuickWorld]:
    """Three helpers, of which each is needed."""
    yield all_three
    clear(all_three)


@pytest.fixture(scope="module")
def twice(all_four: QuickWorld) -> tuple[str, list[list[str]]]:
    """The end of two rounds that nobody has disturbed."""
    found = end_of(all_four, all_four.host(config_of(all_four, rounds=2)))
    clear(all_four)
    return found


@pytest.fixture(scope="module")
def undisturbed(all_four: QuickWorld) -> tuple[str, list[list[str]]]:
    """The end of one."""
    found = end_of(all_four, all_four.host(config_of(all_four)))
    clear(all_four)
    return found


# --- what is written and what is left ------------------------------------------------------------


def test_ledgers_hold_every_promise_and_outboxes_no_secret(three: QuickWorld) -> None:
    one = three.host(config_of(three, rounds=2))
    assert clients_of(three) == [three.names] * 2
    [start] = three.records(one.folder.ledger, "start")
    assert sorted(start["helper_keys"]) == three.helper_names
    assert start["helpers_root"] == helpers_of(three).root.hex()
    for name in three.helper_names:
        ledger = three.root / f"{name}-runs" / one.post.run / "ledger.jsonl"
        answers = three.records(ledger, "answer")
        kinds = ["delivery", "proposal", "request"]
        assert [(it["round"], it["kind"]) for it in answers] == [
            (index, kind) for index in range(2) for kind in kinds
        ]
        assert [it["round"] for it in three.records(ledger, "closed")] == [0, 1]
        assert three.records(ledger, "end") == [{}]
    # What helpers send is no part of what a client sends in a round.
    last = three.records(one.folder.ledger, "round")[-1]
    sent = [it for it in three.told("answered") if it["stage"] == "round"][-len(three.names) :]
    assert last["bytes_up"] == max(it["bytes"] for it in sent)
    for name in [*three.names, *three.helper_names]:
        place = outbox_of(three, name, one.post.run)
        assert len(list(place.glob("*/finished"))) == (3 if name in three.helper_names else 2)
        assert not [path for path in place.rglob("*.0*") if path.is_file()]
        assert not any(any(path.read_bytes()) for path in place.rglob("finished"))


@pytest.mark.parametrize(("kind", "lost"), [("delivery", ""), ("proposal", "close")])
def test_what_is_held_of_a_round_is_wiped_when_it_closes_or_the_next_one_begins(
    three: QuickWorld, kind: str, lost: str
) -> None:
    stopped_at(three, config_of(three, rounds=2), kind, index=1, lost=lost)
    for name in [*three.names, *three.helper_names]:
        [run] = (three.root / f"{name}-runs" / "outbox").glob("*/")
        assert (run / "00000000" / "finished").exists()
        assert not list((run / "00000000").glob("record.*"))


def test_a_helpers_secret_is_in_no_file_no_letter_and_no_log(three: QuickWorld) -> None:
    name = three.helper_names[0]
    told: list[bytes] = []
    vault = three.helper_vault(name)
    vault.log = lambda event, fields: told.append(f"{event} {dict(fields)}".encode())
    seen = stopped_at(three, config_of(three), "request")
    assert vault._run is not None
    secret = vault._run._key()[0].secret
    assert vault.store_key.hex() not in repr(vault)
    told += [repr(vault).encode(), repr(vault._run).encode()]
    told += [data for pair in seen for letter in pair for data in letter.parts.values()]
    told += [str(letter.facts).encode() for pair in seen for letter in pair]
    told += [path.read_bytes() for path in three.root.rglob("*") if path.is_file()]
    assert len(told) > 50
    for data in told:
        assert secret not in data
        assert secret.hex().encode() not in data


# --- helpers that are offline --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        (0, "delivery"),
        (2, "proposal"),
        (0, "request"),
        pytest.param(2, "delivery", marks=pytest.mark.slow),
        pytest.param(0, "proposal", marks=pytest.mark.slow),
        pytest.param(2, "request", marks=pytest.mark.slow),
    ],
)
def test_one_of_four_helpers_may_be_offline_at_any_stage(
    four: QuickWorld, undisturbed: tuple[str, list[list[str]]], stage: str, place: int
) -> None:
    """The first one is the first holder of most sets, so that others are asked for its sums."""
    carrier, gone = four.carrier(), four.helper_names[place]

    def leave(site: str, body: bytes) -> None:
        letter = parsed(body)
        if site == gone and letter.kind == stage:
            carrier.absent.add(gone)
        if letter.kind == "finish":
            carrier.absent.clear()

    carrier.before = leave
    one = four.host(config_of(four, deadline_s=0.1), carrier)
    assert end_of(four, one) == undisturbed
    late = four.told("late")
    assert [(told["site"], told["stage"].partition("-")[0]) for told in late] == [(gone, stage)]


def test_after_the_votes_one_holder_of_each_set_is_enough(
    four: QuickWorld, undisturbed: tuple[str, list[list[str]]]
) -> None:
    carrier, gone = four.carrier(), four.helper_names[:2]

    def leave(site: str, body: bytes) -> None:
        kind = parsed(body).kind
        if site in gone and kind == "request":
            carrier.absent.add(site)
        if kind == "finish":
            carrier.absent.clear()

    carrier.before = leave
    one = four.host(config_of(four, deadline_s=0.1), carrier)
    assert end_of(four, one) == undisturbed
    assert [told["site"] for told in four.told("late")] == gone


def test_a_helper_that_was_late_is_not_waited_for_until_it_is_seen_again(four: QuickWorld) -> None:
    carrier, gone = four.carrier(), four.helper_names[1]

    def leave(site: str, body: bytes) -> None:
        if parsed(body).kind == "delivery":
            carrier.absent.add(gone)

    carrier.before = leave
    one = four.host(config_of(four, rounds=2, deadline_s=0.1), carrier)
    assert one.server.round == 2
    late = [told["stage"] for told in four.told("late") if told["site"] == gone]
    assert late == ["delivery", "finish"]


def test_without_a_quorum_the_server_waits(three: QuickWorld) -> None:
    carrier, gone = three.carrier(), three.helper_names[0]
    looks: list[int] = []
    answers = carrier.answers

    def back() -> list[tuple[str, bytes]]:
        looks.append(1)
        if len(looks) > 200:
            carrier.absent.clear()
        return answers()

    carrier.absent.add(gone)
    carrier.answers = back  # type: ignore[method-assign]
    config = config_of(three, rounds=1, deadline_s=0.1)
    end_of(three, three.host(config, carrier))
    assert len(looks) > 200
    assert not [told for told in three.told("late") if told["stage"] == "announce"]


def test_a_helper_that_has_lost_a_round_is_silent_in_it_and_back_in_the_next(
    four: QuickWorld, twice: tuple[str, list[list[str]]]
) -> None:
    carrier, name = four.carrier(), four.helper_names[1]

    def lose(site: str, body: bytes) -> None:
        letter = parsed(body)
        if site == name and letter.kind == "proposal" and letter.facts["round"] == 0:
            four.restart(name)
            shutil.rmtree(outbox_of(four, name, letter.run) / "00000000")

    carrier.before = lose
    assert end_of(four, four.host(config_of(four, rounds=2), carrier)) == twice
    [told] = four.told("refused")
    assert told["site"] == name
    assert "no longer remembers what it has signed in round 0" in told["error"]
    answers = answers_of(four, name)
    assert [it["kind"] for it in answers if it["round"] == 1] == ["delivery", "proposal", "request"]


def answers_of(world: QuickWorld, name: str) -> list[Mapping[str, Any]]:
    """What a helper's only ledger says of its answers."""
    [ledger] = (world.root / f"{name}-runs").glob("*/ledger.jsonl")
    return world.records(ledger, "answer")


@pytest.mark.parametrize("lost", ["key", "ledger"])
def test_a_helper_that_has_lost_its_run_is_silent_for_the_rest_of_it(
    four: QuickWorld, twice: tuple[str, list[list[str]]], lost: str
) -> None:
    carrier, name = four.carrier(), four.helper_names[1]

    def lose(site: str, body: bytes) -> None:
        letter = parsed(body)
        if site == name and letter.kind == "delivery" and letter.facts["round"] == 1:
            four.restart(name)
            if lost == "key":
                shutil.rmtree(outbox_of(four, name, letter.run) / "all-rounds")
            else:
                shutil.rmtree(four.root / f"{name}-runs" / letter.run)

    carrier.before = lose
    assert end_of(four, four.host(config_of(four, rounds=2), carrier)) == twice
    told = [it for it in four.told("refused") if it["stage"] == "delivery"]
    assert [it["site"] for it in told] == [name]
    assert ("its key of this run" if lost == "key" else "knows nothing of run") in told[0]["error"]


def test_a_round_without_a_sum_is_lost_and_the_run_goes_on(three: QuickWorld) -> None:
    """All three are needed, and what sites have sent is opened in one sum of the round or in none."""
    carrier, name = three.carrier(), three.helper_names[2]

    def lose(site: str, body: bytes) -> None:
        letter = parsed(body)
        if site == name and letter.kind == "proposal" and letter.facts["round"] == 0:
            three.restart(name)
            shutil.rmtree(outbox_of(three, name, letter.run) / "00000000")

    carrier.before = lose
    one = three.host(config_of(three, rounds=2), carrier)
    _, rounds = end_of(three, one)
    assert rounds == [[], three.names]
    first, _ = three.records(one.folder.ledger, "round")
    assert first["failed"] == three.names
    [start] = three.records(one.folder.ledger, "start")
    assert first["weights_sha256"] == start["weights_sha256"]
    [lost] = three.records(one.folder.ledger, "lost")
    assert name in lost["error"]
    [aborted] = three.told("sum aborted")
    assert aborted["round"] == 0
    uploads = [it for it in three.told("answered") if it["stage"] == "round"]
    assert len(uploads) == 2 * len(three.names)


def test_after_three_lost_rounds_the_server_stops_and_can_go_on(three: QuickWorld) -> None:
    name = three.helper_names[0]
    gone = Tampering(three, {name: lambda asked, told: refused_at("proposal", asked, told)})
    config = config_of(three, rounds=3)
    with pytest.raises(VerificationError, match="3 rounds in a row had no sum"):
        three.host(config, gone)
    assert clients_of(three) == [[], []]
    one = three.host(config)
    _, rounds = end_of(three, one)
    assert rounds == [[], [], three.names]


def refused_at(kind: str, question: Letter, answer: Letter) -> Letter:
    """A refusal of one kind of question, and else the honest answer."""
    if question.kind != kind:
        return answer
    facts = {"answers": answer.facts["answers"], "error": "not today", "code": 4}
    return replace(answer, kind="refused", facts=facts, parts={})


def test_what_a_helper_would_say_otherwise_than_its_ledger_it_does_not_say(
    three: QuickWorld,
) -> None:
    seen = stopped_at(three, config_of(three), "proposal")
    name, vault = three.helper_names[0], three.helper_vault(three.helper_names[0])
    delivery = next(it for it, _ in seen if it.to == name and it.kind == "delivery")
    assert ask_helper(three, name, delivery).kind == "receipt"
    assert vault._run is not None
    [asked] = vault._run._answers
    vault._run._answers[asked] = "another answer"
    answer = ask_helper(three, name, delivery)
    assert "no longer remembers how it has answered in round 0" in answer.facts["error"]
    # Another key than the one that was shown opens nothing.
    three.restart(name)
    shutil.rmtree(outbox_of(three, name, delivery.run) / "all-rounds")
    with Outbox(
        outbox_of(three, name, delivery.run).parent, open_store_key(three.keys[name]), name
    ) as box:
        run = bytes.fromhex(delivery.run)
        announce_once(box, helpers_of(three), run, three.identities[name])
    answer = ask_helper(three, name, delivery)
    assert "no longer remembers the key that it has shown" in answer.facts["error"]


def test_no_run_begins_with_a_key_that_its_helper_has_not_signed(three: QuickWorld) -> None:
    def lie(question: Letter, answer: Letter) -> Letter:
        return replace(answer, parts={"key": b"no key"}) if question.kind == "announce" else answer

    with pytest.raises(VerificationError, match="2 sites answered announce, and 3 are needed"):
        three.host(config_of(three), Tampering(three, {three.helper_names[2]: lie}))
    # Nothing was reserved or begun: the next start is another run.
    assert not (three.root / "run" / "run.id").exists()


# --- helpers and sites that lie ------------------------------------------------------------------


def lying(
    world: QuickWorld,
    name: str,
    kind: str,
    change: Callable[[Terms, Mapping[str, bytes]], Mapping[str, bytes]],
) -> Tampering:
    """A party whose answers of one kind are changed by itself, so that all signatures are good."""

    def lie(question: Letter, answer: Letter) -> Letter:
        if question.kind != kind or answer.kind == "refused":
            return answer
        return replace(answer, parts=dict(change(terms_of(world, question), answer.parts)))

    return Tampering(world, {name: lie})


def another_sum(
    world: QuickWorld, name: str
) -> Callable[[Terms, Mapping[str, bytes]], dict[str, bytes]]:
    """All sums that a helper tells, with the last word changed, and claimed as they are."""

    def change(terms: Terms, parts: Mapping[str, bytes]) -> dict[str, bytes]:
        found = {}
        for key, data in parts.items():
            told = read(PartialSum, data, terms)
            words = bytearray(told.words)
            wrong = sha256(b"another sum").digest()
            if words:
                words[-1] ^= 1
                wrong = sha256(words).digest()
            claim = replace(told.claim, sum_sha256=wrong)
            mine = signed(claim, terms, world.identities[name])
            found[key] = write(PartialSum(mine, bytes(words)), terms)
        return found

    return change


def test_a_helper_that_tells_a_wrong_sum_is_named_and_nothing_is_released(
    four: QuickWorld,
) -> None:
    name = four.helper_names[0]
    carrier = lying(four, name, "request", another_sum(four, name))
    config = config_of(four)
    for _ in range(2):
        with pytest.raises(VerificationError, match=r"\['helper 1'\] disagree.*they are wrong"):
            four.host(config, carrier)
        assert clients_of(four) == []


def test_a_helper_that_votes_for_others_counts_as_silent(
    four: QuickWorld, undisturbed: tuple[str, list[list[str]]]
) -> None:
    name = four.helper_names[0]

    def change(terms: Terms, parts: Mapping[str, bytes]) -> dict[str, bytes]:
        vote = Vote(name, lock_of([(terms.cohort[0], b"p" * 32)]))
        return {PART: write(signed(vote, terms, four.identities[name]), terms)}

    carrier = lying(four, name, "proposal", change)
    assert end_of(four, four.host(config_of(four), carrier)) == undisturbed
    told = four.told("rejected")
    assert {it["site"] for it in told} == {name}
    assert "votes for other survivors" in told[0]["error"]


def test_a_helper_that_refuses_every_site_is_done_without(
    four: QuickWorld, undisturbed: tuple[str, list[list[str]]]
) -> None:
    name = four.helper_names[3]

    def change(terms: Terms, parts: Mapping[str, bytes]) -> dict[str, bytes]:
        return {PART: write(signed(Receipt(name, ()), terms, four.identities[name]), terms)}

    carrier = lying(four, name, "delivery", change)
    assert end_of(four, four.host(config_of(four), carrier)) == undisturbed
    assert {it["site"] for it in four.told("gave up")} == {name}


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("delivery", {}), ("proposal", {PART: b"nonsense"}), ("request", {PART: b"nonsense"})],
)
def test_a_helper_that_answers_nonsense_counts_as_silent(
    four: QuickWorld,
    undisturbed: tuple[str, list[list[str]]],
    kind: str,
    parts: Mapping[str, bytes],
) -> None:
    name = four.helper_names[0]
    carrier = lying(four, name, kind, lambda terms, honest: parts)
    assert end_of(four, four.host(config_of(four), carrier)) == undisturbed
    assert {it["site"] for it in four.told("rejected")} == {name}


def at_site(world: QuickWorld, name: str, question: Letter) -> Terms:
    """The terms of a sum as a site makes them of what it has received."""
    visit = world.vault(name)._visit
    assert visit is not None
    assert isinstance(visit.sums, HelpedSums)
    assert visit.sums.agreed is not None
    facts = question.facts
    sha = content(model_tensors(visit._received(question, facts["round"])))
    cohort = tuple(facts["cohort"])
    return helped_terms(
        visit.prepared, visit.sums.agreed, facts["round"], cohort, bytes.fromhex(sha)
    )


def spoiled(world: QuickWorld, name: str) -> Tampering:
    """A site whose seeds the first helper cannot open, in the first round, signed as if in order."""

    def spoil(question: Letter, answer: Letter) -> Letter:
        if answer.kind != "update" or question.facts["round"] != 0:
            return answer
        terms = at_site(world, name, question)
        upload = read(Upload, answer.parts[PART], terms)
        boxes = (bytes(len(upload.parcel.boxes[0])), *upload.parcel.boxes[1:])
        parcel = replace(upload.parcel, boxes=boxes)
        mine = signed(parcel, terms, world.identities[name])
        return replace(answer, parts={PART: write(Upload(mine, upload.words), terms)})

    return Tampering(world, {name: spoil})


def test_a_site_that_seals_nonsense_for_a_helper_is_named_and_left_out(three: QuickWorld) -> None:
    name = three.names[1]
    one = three.host(config_of(three, rounds=2), spoiled(three, name))
    _, rounds = end_of(three, one)
    assert rounds == [[three.names[0], three.names[2]], three.names]
    [told] = three.told("rejected")
    assert (told["site"], told["stage"]) == (name, "delivery")
    assert "did not open for helper 1" in told["error"]


def test_a_site_that_brings_what_another_has_sent_is_left_out(three: QuickWorld) -> None:
    thief, victim = three.names[1], three.names[0]
    taken: dict[int, bytes] = {}

    def keep(question: Letter, answer: Letter) -> Letter:
        if answer.kind == "update":
            taken[question.facts["round"]] = answer.parts[PART]
        return answer

    def steal(question: Letter, answer: Letter) -> Letter:
        if answer.kind != "update":
            return answer
        return replace(answer, parts={PART: taken[question.facts["round"]]})

    carrier = Tampering(three, {victim: keep, thief: steal})
    _, rounds = end_of(three, three.host(config_of(three), carrier))
    assert rounds == [[victim, three.names[2]]]
    assert {it["site"] for it in three.told("rejected")} == {thief}


# --- a server that lies --------------------------------------------------------------------------


def receipts_of(world: QuickWorld) -> tuple[Terms, tuple[str, ...], Seen]:
    """A sum up to the moment when helpers are told who is in it."""
    seen = stopped_at(world, config_of(world), "proposal")
    terms = terms_of(world, first_of(seen, "delivery"))
    return terms, terms.cohort, seen


def first_of(seen: Seen, kind: str) -> Letter:
    """The first question of a kind."""
    return next(question for question, _ in seen if question.kind == kind)


def voted(world: QuickWorld, name: str, terms: Terms, survivors: tuple[str, ...]) -> Letter:
    return ask_helper(world, name, telling("proposal", name, terms, Proposal(survivors)))


def test_of_two_sets_of_survivors_neither_is_opened(four: QuickWorld) -> None:
    """The difference of both sums would be one site's update."""
    terms, everybody, _ = receipts_of(four)
    names = four.helper_names
    sets = {name: everybody if place < 2 else everybody[1:] for place, name in enumerate(names)}
    votes = {}
    for name in names:
        answer = voted(four, name, terms, sets[name])
        votes[name] = read(Vote, answer.parts[PART], terms)
    for name in names:
        # Each has signed once, and signs nothing else, after a restart neither.
        four.restart(name)
        others = everybody[1:] if sets[name] == everybody else everybody
        again = voted(four, name, terms, others)
        assert again.kind == "refused"
        assert "cannot answer at Locked" in again.facts["error"]
    said = []
    for name in names:
        for chosen in (names, names[:2], names[2:], [name] * 3):
            shown = tuple(Endorsement(it, votes[it].signature) for it in sorted(set(chosen)))
            request = Request(name, sets[name], shown, terms.held[name])
            answer = ask_helper(four, name, telling("request", name, terms, request))
            assert answer.kind == "refused"
            assert not answer.parts
            said.append(answer.facts["error"])
    assert any("the votes of 2 helpers" in text for text in said)
    assert any("signature" in text for text in said)


def test_a_helper_takes_one_delivery_in_a_round_on_one_set_of_terms(three: QuickWorld) -> None:
    terms, _, seen = receipts_of(three)
    name = three.helper_names[0]
    parcels = read(Delivery, first_of(seen, "delivery").parts[PART], terms).parcels
    fewer = ask_helper(three, name, telling("delivery", name, terms, Delivery(parcels[1:])))
    assert fewer.kind == "refused"
    for changed in (
        replace(terms, model_sha256=b"m" * 32),
        replace(terms, cohort=terms.cohort[1:]),
        replace(terms, length=terms.length + 1),
    ):
        answer = ask_helper(three, name, telling("delivery", name, changed, Delivery(())))
        assert answer.kind == "refused"
        assert "belongs to another round" in answer.facts["error"]


def test_a_round_that_is_over_is_not_opened_again(three: QuickWorld) -> None:
    seen = stopped_at(three, config_of(three, rounds=2), "proposal", index=1)
    name = three.helper_names[1]
    answered = [(question, told) for question, told in seen if question.to == name]
    for question, told in answered:
        if question.facts.get("round") == 0 and question.kind in (
            "delivery",
            "proposal",
            "request",
        ):
            assert told.kind != "refused"
            again = ask_helper(three, name, question)
            assert again.kind == "refused"
            assert "round 0 is over" in again.facts["error"]


def test_repeated_letters_get_the_same_bytes_and_a_restart_changes_none(three: QuickWorld) -> None:
    carrier = three.carrier()
    repeats: list[str] = []

    def change(site: str, answer: bytes) -> bytes:
        body = carrier.asked[-1][1]
        kind = parsed(body).kind
        if kind in ("announce", "delivery", "proposal", "request", "close", "round"):
            assert carrier.sites[site]().answer(body) == answer
            three.restart(site)
            assert carrier.sites[site]().answer(body) == answer
            repeats.append(kind)
        return answer

    carrier.change = change
    end_of(three, three.host(config_of(three), carrier))
    assert len(repeats) == 3 + 3 * 4 + 3
    for name in three.helper_names:
        assert len(answers_of(three, name)) == 3


def test_a_site_uploads_once_in_a_round_whatever_it_is_asked(three: QuickWorld) -> None:
    seen = stopped_at(three, config_of(three), "delivery")
    name = three.names[0]
    question, told = next(it for it in seen if it[0].kind == "round" and it[0].to == name)
    cohort = list(question.facts["cohort"])
    for changed in (
        other(question, cohort=cohort[:2]),
        other(question, evaluate=not question.facts["evaluate"]),
    ):
        answer = ask(three, three.vault(name), changed)
        assert answer.kind == "refused"
        assert "round 0 is over" in answer.facts["error"]
    assert ask(three, three.vault(name), question).parts == told.parts


@pytest.mark.parametrize("cohort", [lambda names: names[1:], lambda names: [*names, "zz"], str])
def test_a_sum_with_others_than_take_part_is_refused(
    three: QuickWorld, cohort: Callable[[list[str]], Any]
) -> None:
    seen = stopped_at(three, config_of(three), "round")
    name = three.names[0]
    begin = first_of(seen, "begin")
    facts = {"round": 0, "stop_after": None, "evaluate": False, "cohort": cohort(three.names)}
    letter = Letter("round", begin.run, SERVER, name, facts, {"model": b""})
    answer = ask(three, three.vault(name), letter)
    assert answer.kind == "refused"
    assert answer.facts["error"].startswith("a sum with")


# --- whom everybody has pinned -------------------------------------------------------------------


def with_site(world: QuickWorld, **changes: Any) -> tuple[Tampering, Vault]:
    """The first site goes by another file."""
    name = world.names[0]
    site = world.site(name, folder=str(world.root / f"{name}-runs"), **changes)
    vault = Vault(site, world.identities[name], bytes(32))
    carrier = Tampering(world, {})
    carrier.sites = {**carrier.sites, name: lambda: vault}
    return carrier, vault


def other_line(world: QuickWorld, name: str) -> str:
    """The line of somebody else of the same name."""
    folder = world.root / f"other-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    return make_keys(folder, name)


def test_a_site_with_other_helpers_than_the_server_names_takes_no_part(three: QuickWorld) -> None:
    name, fake = three.names[0], three.helper_names[0]
    for lines, why in (
        ({**three.helper_lines, fake: other_line(three, fake)}, "has pinned other helpers"),
        ({}, "the site's own log says more"),
    ):
        carrier, vault = with_site(three, helpers=lines)
        one = three.host(config_of(three), carrier)
        vault.close()
        assert one.known.clients == tuple(three.names[1:])
        [said] = [it for it in three.told("rejected", "refused") if it["site"] == name]
        assert why in said["error"]
        clear(three)
    fewer = dict(list(three.helper_lines.items())[:2])
    with pytest.raises(VerificationError, match="a run with 3 helpers, and 2 are pinned"):
        pinned_helpers(fewer, config_of(three))


def test_keys_that_the_pinned_helpers_have_not_signed_are_refused(three: QuickWorld) -> None:
    seen = stopped_at(three, config_of(three), "round")
    begin = first_of(seen, "begin")
    vault = three.vault(begin.to)
    run, helpers = bytes.fromhex(begin.run), helpers_of(three)
    name = three.helper_names[0]

    def shown(signer: Any) -> dict[str, str]:
        key = HelperKey(name, b"k" * 32, b"")
        key = replace(key, signature=signer.sign(key.to_sign(helpers, run)))
        return {**begin.facts["helper_keys"], name: write_key(key, helpers, run).hex()}

    others = dict(list(begin.facts["helper_keys"].items())[:2])
    for keys, why in (
        (shown(new_identity()), "the signature of client 'helper 1'"),
        (shown(three.identities[name]), "other commitments than before"),
        (others, "the server names the helpers"),
        ({**begin.facts["helper_keys"], name: "no digits"}, "no row of hexadecimal digits"),
    ):
        answer = ask(three, vault, other(begin, helper_keys=keys))
        assert answer.kind == "refused"
        assert why in answer.facts["error"]


def test_a_helper_that_has_pinned_others_shows_no_key(three: QuickWorld) -> None:
    name, fake = three.helper_names[0], three.names[0]
    for changes, whose in (
        ({"roster": {**three.lines, fake: other_line(three, fake)}}, "sites"),
        (
            {"helpers": {**three.helper_lines, "helper 3": other_line(three, "helper 3")}},
            "helpers",
        ),
    ):
        settings = three.helper(name, **changes)
        vault = HelperVault(settings, three.identities[name], open_store_key(three.keys[name]))
        carrier = Tampering(three, {})
        carrier.sites = {**carrier.sites, name: lambda vault=vault: vault}
        with pytest.raises(VerificationError, match=f"other lines of the {whose}"):
            three.host(config_of(three), carrier)
        vault.close()
        clear(three)


def test_a_helper_tells_no_sum_of_fewer_than_its_own_file_allows(three: QuickWorld) -> None:
    name = three.helper_names[0]
    settings = three.helper(name, least=3)
    vault = HelperVault(settings, three.identities[name], open_store_key(three.keys[name]))
    carrier = Tampering(three, {})
    carrier.sites = {**carrier.sites, name: lambda: vault}
    _, rounds = end_of(three, three.host(config_of(three), carrier))
    assert rounds == [[]]
    [aborted] = three.told("sum aborted")
    assert "a sum of 2 sites. Allowed: 3 or more" in aborted["error"]
    vault.close()
    clear(three)
    end_of(three, three.host(config_of(three, federation={"minimum_clients": 3}), carrier))
    vault.close()


def test_a_vector_too_long_for_a_letter_is_refused_before_anything_is_made(
    three: QuickWorld,
) -> None:
    terms, _, _ = receipts_of(three)
    name = three.helper_names[0]
    huge = replace(terms, round=1, length=2**32 - 1)
    answer = ask_helper(three, name, telling("delivery", name, huge, Delivery(())))
    assert "what fits into a letter" in answer.facts["error"]


def test_a_helper_answers_its_server_alone(three: QuickWorld) -> None:
    name, vault = three.helper_names[0], three.helper_vault(three.helper_names[0])
    letter = Letter("announce", "ab" * 32, SERVER, name, {}, {})
    with pytest.raises(VerificationError, match="signature"):
        vault.answer(letters.write(letter, new_identity()))
    with pytest.raises(VerificationError, match="somebody else"):
        vault.answer(letters.write(replace(letter, to="helper 2"), three.server))
    with pytest.raises(VerificationError, match="no server of a run"):
        vault.answer(letters.write(replace(letter, run="../up"), three.server))
    for kind, why in (("round", "knows nothing of run"), ("proposal", "knows nothing of run")):
        answer = ask_helper(three, name, replace(letter, kind=kind))
        assert why in answer.facts["error"]
    assert not (three.root / f"{name}-runs").exists()


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (
            lambda world: {"helpers": dict(list(world.helper_lines.items())[:2])},
            "secure.helpers is",
        ),
        (
            lambda world: {
                "helpers": {
                    **dict(list(world.helper_lines.items())[:2]),
                    world.names[0]: world.lines[world.names[0]],
                }
            },
            "is a site and a helper",
        ),
    ],
)
def test_a_server_whose_file_has_other_helpers_does_not_start(
    three: QuickWorld, network: Callable[[QuickWorld], Mapping[str, Any]], why: str
) -> None:
    config = config_of(three)
    assert config.network is not None
    config = config.model_copy(
        update={"network": config.network.model_copy(update=dict(network(three)))}
    )
    with pytest.raises(ConfigError, match=why):
        three.host(config)
    assert not (three.root / "run").exists()


def test_a_run_goes_on_with_the_helpers_that_it_began_with(three: QuickWorld) -> None:
    config = config_of(three, rounds=2)
    stopped_at(three, config, "round", index=1)
    assert config.network is not None
    lines = {**three.helper_lines, "helper 3": other_line(three, "helper 3")}
    network = config.network.model_copy(update={"helpers": lines})
    with pytest.raises(ConfigError, match=r"network.helpers are others"):
        three.host(config.model_copy(update={"network": network}))


# --- killed, and started again -------------------------------------------------------------------


def sweep_of(
    world: QuickWorld,
    who: str,
    patch: pytest.MonkeyPatch,
    faults: Mapping[str, slice],
) -> int:
    """Kill a party at some of its writes; the end is the same, or a site has dropped out."""
    expected, disk = played(world, who, patch)
    tried = 0
    for fault, chosen in faults.items():
        for stop in range(1, len(disk.done) + 1)[chosen]:
            clear(world)
            found, _ = played(world, who, patch, fault, stop)
            where = fault, disk.done[stop - 1]
            if found != expected:
                # Between making its words and having stored them a site cannot go on.
                assert who in world.names, where
                assert [who] in [sorted({*world.names} - {*clients}) for clients in found[1]], where
            tried += 1
    return tried


@pytest.mark.parametrize("party", ["site", "helper"])
def test_a_party_that_is_killed_at_any_write_changes_nothing(
    four: QuickWorld, monkeypatch: pytest.MonkeyPatch, party: str
) -> None:
    who = four.names[0] if party == "site" else four.helper_names[0]
    faults = {"kill": slice(20, None, 60), "half": slice(70, 71), "power": slice(45, 46)}
    assert sweep_of(four, who, monkeypatch, faults) > 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("party", ["site", "helper"])
def test_a_party_that_is_killed_at_every_write_changes_nothing(
    four: QuickWorld, monkeypatch: pytest.MonkeyPatch, party: str
) -> None:
    who = four.names[0] if party == "site" else four.helper_names[0]
    faults = dict.fromkeys(("kill", "half", "power"), slice(None))
    assert sweep_of(four, who, monkeypatch, faults) > 100


def server_sweep(
    world: QuickWorld,
    patch: pytest.MonkeyPatch,
    faults: Mapping[str, slice],
) -> int:
    config = config_of(world)
    expected = end_of(world, world.host(config))
    clear(world)
    disk = BrokenDisk(world.root / "run")
    with watched(disk, patch):
        world.host(config)
    tried = 0
    for fault, chosen in faults.items():
        for stop in range(1, len(disk.done) + 1)[chosen]:
            clear(world)
            assert killed(world, config, patch, fault, stop)
            assert end_of(world, world.host(config)) == expected, (fault, stop)
            tried += 1
    return tried


def test_a_server_that_is_killed_at_any_write_ends_the_same(
    four: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {"kill": slice(150, None, 200), "half": slice(110, 111), "power": slice(280, 281)}
    assert server_sweep(four, monkeypatch, faults) > 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_server_that_is_killed_at_every_write_ends_the_same(
    four: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {"kill": slice(None), "half": slice(None, None, 5), "power": slice(None, None, 5)}
    assert server_sweep(four, monkeypatch, faults) > 300
