"""One round at the server: ask a cohort, close over those whose answers count, make it durable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from typing import Any, Final

from sottovoce.errors import AbortedError, RefusedError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.arms import is_evaluated
from sottovoce.run.claims import so_far
from sottovoce.run.cohorts import Cohort, Part
from sottovoce.run.desk import (
    Host,
    asking,
    count_price,
    count_round,
    epsilon_of,
    helped,
    hides,
    spent_of,
    told_spent,
    took_part,
)
from sottovoce.run.gather import gather
from sottovoce.run.helped_round import HelpedRound, helped_round
from sottovoce.run.helper_terms import Helping, keys_in
from sottovoce.run.hidden import Round, hidden_round
from sottovoce.run.letter import Letter
from sottovoce.run.mailbox import Mailbox
from sottovoce.run.play import join
from sottovoce.run.protect import affordable, charges, sampled, steps_in, under_cap
from sottovoce.run.received import mean_of_words, require_update, update_of
from sottovoce.run.rounds import RoundRecord, digest, model_tensors
from sottovoce.run.shared import (
    model_parts,
)
from sottovoce.run.state import pack_state
from sottovoce.run.sum_terms import Agreement, bytes_by_name
from sottovoce.run.sums import crowd_in
from sottovoce.update import Tensors

_MOST_LOST: Final = 3
"""Rounds in a row without a sum after which somebody has to look."""


def play_one(one: Host) -> None:
    """Ask a cohort, close the round over those whose answers count, and make it durable."""
    index = one.server.round
    # Exchanges before the first round are of none.
    one.post.stages.take()
    mail = one.mail(f"{index:05d}")
    drawn, one.next_drawn = one.next_drawn or next(one.cohorts), None
    cohort = _cohort(one, drawn, mail)
    evaluate = is_evaluated(one.config, index)
    answers: dict[str, Letter] = {}
    try:
        mean, answers = _asked(one, mail, cohort, evaluate=evaluate)
        record = _closed(one, cohort, answers, mean)
        one.lost = 0
    except AbortedError as error:
        record = _lost(one, cohort, error)
    if evaluate:
        note_evaluation(one, index, answers)
    _durable(one, record, told_spent(one, answers))
    mail.empty()
    for name in one.post.helper_names:
        # Whoever misses it wipes its secrets with the next round, or at the end.
        one.post.carrier.ask(name, asking(one.post, "close", name, {"round": index}, {}))
        one.post.carrier.forget(name)


def _lost(one: Host, cohort: Cohort, error: AbortedError) -> RoundRecord:
    """Close a round that had no sum, and cannot have another one: the model stays as it was.

    What a site has sent for helpers to open it sends once, since two sums would show what differs.

    Raises:
        VerificationError: several rounds in a row had none.
    """
    index, one.lost = one.server.round, one.lost + 1
    one.post.log("sum aborted", {"round": index, "error": str(error)})
    if one.lost >= _MOST_LOST:
        raise VerificationError(
            f"{one.lost} rounds in a row had no sum; the last one: {error}",
            remedy="See to who was missing or refused, then start the server again",
        ) from error
    one.ledger.append("lost", {"round": index, "error": str(error)})
    one.server = replace(one.server, round=index + 1)
    return RoundRecord(
        round=index,
        clients=(),
        examples=(),
        weights=(),
        steps=(),
        tokens=(),
        loss=None,
        weights_sha256=digest(model_tensors(one.server)),
        update_norm=0.0,
        failed=tuple(sorted({*cohort.failed, *(part.client for part in cohort.parts)})),
        simulated_time=round(cohort.time, 6),
    )


def _asked(
    one: Host, mail: Mailbox, cohort: Cohort, *, evaluate: bool
) -> tuple[Tensors | None, dict[str, Letter]]:
    """Ask a cohort for its updates; the mean, where it was formed under masks, and the answers.

    The model as it travels is let go of with the last question.
    """
    index = one.server.round
    parts = model_parts(one.server, one.config.federation.strategy.algorithm)

    def facts(part: Part) -> dict[str, Any]:
        return {"round": index, "stop_after": part.stop_after, "evaluate": evaluate}

    asks = {
        part.client: asking(one.post, "round", part.client, facts(part), parts)
        for part in cohort.parts
    }
    # A Poisson sample that came out small is no reason to wait for others.
    least = one.config.federation.minimum_clients
    if one.known.plans.federation is not None:
        least = 0
    one.post.log("round", {"round": index, "sites": len(asks)})
    check = partial(
        require_update, one.known, one.server, clients=len(asks), hidden=hides(one.config)
    )
    if hides(one.config):
        each = {part.client: facts(part) for part in cohort.parts}
        if helped(one.config):
            opened = HelpedRound(one.known, _helping(one), one.server, each, parts, check)
            return helped_round(one.post, mail, opened)
        ahead = one.mail(f"{index + 1:05d}")
        after = _following(one)
        hidden = Round(one.known, _agreement(one), one.server, each, parts, after, ahead, check)
        return hidden_round(one.post, mail, hidden)
    answers, refused = gather(
        one.post, mail, "round", asks, least=min(least, len(asks)), check=check
    )
    for site, why in refused.items():
        one.ledger.append("refused", {"round": index, "site": site, "error": why})
    return None, answers


def _cohort(one: Host, drawn: Cohort, mail: Mailbox) -> Cohort:
    """Who is asked in a round: drawn once, even if the server is killed in between.

    Raises:
        RefusedError: the privacy budget covers no further round.
    """
    plans = one.known.plans
    federation = plans.federation is not None
    if federation and not affordable(plans, drawn, one.spent, one.steps).parts:
        raise RefusedError(
            f"the privacy budget ended after {drawn.round} of {one.config.federation.rounds} rounds",
            remedy=f"The model so far is in {one.folder.root} and can be used",
        )
    noted = mail.noted("cohort")
    if noted is None:
        noted = _there(one, under_cap(plans, sampled(plans, drawn, one.config.seed), one.taken))
        mail.note("cohort", noted)
    parts = tuple(part for part in drawn.parts if part.client in set(noted))
    cohort = replace(drawn, parts=parts)
    # Who was in a round that is taken up again may have had enough by now.
    cohort = under_cap(plans, cohort, one.taken) if federation else cohort
    _charge(one, cohort)
    return cohort


def _charge(one: Host, cohort: Cohort) -> None:
    """Write down what a round costs, and who takes part in it, before anybody is asked.

    Where sites have plans of their own, one that has answered spends nothing when it is asked again,
    so a round is charged once. A server that adds the noise itself draws it anew whenever it takes up
    a round, which is one more for the budget and for everybody who is in it.
    """
    plans, index = one.known.plans, cohort.round
    federation = plans.federation is not None
    if not plans.plans or (index <= one.charged and not federation):
        return
    told = {"round": index, "releases": charges(plans, cohort, steps_in(cohort, one.steps))}
    count_price(one, told)
    one.ledger.append("charge", told | so_far(plans, spent_of(one)))
    if federation and plans.settings.max_participations is not None:
        clients = [part.client for part in cohort.parts]
        one.ledger.append("drawn", {"round": index, "clients": clients})
        took_part(one, clients)


def _there(one: Host, chosen: Cohort) -> list[str]:
    """Who of a cohort is asked: not a site that let a deadline pass and has not been seen since.

    Where too few are left without it, it is waited for.
    """
    gone = one.post.away - one.post.carrier.present()
    names = [part.client for part in chosen.parts]
    left = [name for name in names if name not in gone]
    least = max(crowd_in(one.known).least, one.config.federation.minimum_clients)
    return left if len(left) >= least else names


def _following(one: Host) -> tuple[str, ...]:
    """Who is in the round after this one, where it can be known already."""
    one.next_drawn = next(one.cohorts, None)
    if one.next_drawn is None:
        return ()
    return tuple(sorted(_there(one, under_cap(one.known.plans, one.next_drawn, one.taken))))


def _agreement(one: Host) -> Agreement:
    """What everybody who hides updates has agreed on, from the ledger."""
    payload: Mapping[str, Any] = one.start.payload
    return Agreement(
        bytes.fromhex(one.post.run),
        one.post.roster,
        bytes.fromhex(payload["shared_config_sha256"]),
        bytes_by_name(payload, "commitments"),
        bytes_by_name(payload, "nonces"),
    )


def _helping(one: Host) -> Helping:
    """Who has to do with the sums that helpers open, from the ledger."""
    helpers, payload = one.post.helpers, one.start.payload
    if helpers is None:
        raise VerificationError("a sum with helpers in a run that has none")
    run = bytes.fromhex(one.post.run)
    config_sha256 = bytes.fromhex(str(payload["shared_config_sha256"]))
    keys = keys_in(payload, helpers, run)
    return Helping(run, one.post.roster, config_sha256, helpers, keys)


def _closed(
    one: Host, cohort: Cohort, answers: Mapping[str, Letter], mean: Tensors | None
) -> RoundRecord:
    """Make one update of the answers, and step."""
    index = one.server.round
    delivered = {site: found for site, found in answers.items() if found.kind == "update"}
    least = one.config.federation.minimum_clients
    if one.known.plans.federation is None and len(delivered) < least:
        raise VerificationError(
            f"{len(delivered)} clients delivered in round {index}",
            allowed=f"at least federation.minimum_clients = {least}",
            remedy="The log says who was late, refused or diverged; start the server again",
        )
    if mean is None:
        mean = mean_of_words(one.known, one.server, delivered)
    updates = (
        update_of(one.known, one.server, delivered[site], words=mean is not None)
        for site in sorted(delivered)
    )
    one.server, record = join(one.known, one.server, updates, mean)
    asked = {part.client for part in cohort.parts}
    return replace(
        record,
        failed=tuple(sorted({*cohort.failed, *(asked - set(delivered))})),
        staleness=(0,) * len(record.clients),
        simulated_time=round(cohort.time, 6),
    )


def note_evaluation(one: Host, index: int, answers: Mapping[str, Letter]) -> None:
    """What the sites said of the model that they received."""
    found = {site: letters.figure(told.facts, "heldout_loss") for site, told in answers.items()}
    loss = {site: value for site, value in found.items() if value is not None}
    if not loss or index <= one.evaluated:
        return
    mean = sum(loss.values()) / len(loss)
    # The model came of rounds that are over; the one under way is told with the next.
    line = {"round": index, "loss": mean, "tokens": None, "seconds": None}
    folders.append_metrics(one.folder, line | {"stages": one.stages.take()})
    one.ledger.append("evaluation", {"round": index, "loss": loss})
    one.evaluated, one.loss = index, loss
    one.post.log("evaluated", {"round": index, "loss": round(mean, 4)})


def _durable(one: Host, record: RoundRecord, spent: Mapping[str, int]) -> None:
    """Write a round: files first, then the line that vouches for them."""
    finished = one.server.round
    folders.write_tensors(one.folder.weights(finished), model_tensors(one.server))
    state = pack_state(one.server)
    folders.write_bytes(one.folder.state(finished), state)
    told = one.ledger.append(
        "round",
        asdict(record)
        | {
            "bytes_up": max(
                (one.post.bytes_up.get(site, 0) for site in one.known.clients), default=0
            ),
            "clients_sha256": [None] * len(record.clients),
            "state_sha256": sha256(state).hexdigest(),
            "spent": spent,
        },
    )
    count_round(one, told.payload)
    one.post.bytes_up.clear()
    for stage, seconds in one.post.stages.take().items():
        one.stages.add(stage, seconds)
    one.folder.state(finished - 1).unlink(missing_ok=True)
    one.post.log("finished", {"rounds": finished, "epsilon": epsilon_of(one)})
