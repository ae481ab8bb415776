"""What a server reads from the answers of its sites, in whatever form updates travel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from sottovoce.codec import blocks
from sottovoce.codec.coding import add, open_sum
from sottovoce.codec.fixed_point import WEIGHT_LIMIT, fits
from sottovoce.codec.wire import unpack
from sottovoce.errors import VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.desk import most_spent
from sottovoce.run.distributed import clip_norm_of
from sottovoce.run.known import Known
from sottovoce.run.letter import Letter
from sottovoce.run.rounds import require_held
from sottovoce.run.secure import mean_of
from sottovoce.run.sum_terms import parts_of, summing_of
from sottovoce.run.sums import as_update, layout_of, shared_inside
from sottovoce.run.tensor_view import view_tensors
from sottovoce.strategies import ServerState
from sottovoce.update import Tensors, Update, unflatten

_MOST: Final = 2**53


def require_update(
    known: Known, server: ServerState, answer: Letter, *, clients: int, hidden: bool
) -> None:
    """Refuse an answer that would stop a round, whoever else is in it.

    Args:
        known: the federation.
        server: before the round.
        answer: the site's letter.
        clients: the most that are in the round.
        hidden: whether the update itself travels under masks, which the sum checks.

    Raises:
        VerificationError: what is wrong with it.
    """
    letters.figure(answer.facts, "heldout_loss")
    letters.count(answer.facts, "spent", most_spent(known, answer.sender))
    if letters.count(answer.facts, "round") != server.round:
        raise VerificationError(f"an answer to round {answer.facts['round']}")
    if answer.kind == "diverged":
        return
    form = _form(known)
    if answer.kind != "update" or not (hidden or set(answer.parts) == {form}):
        raise VerificationError(
            f"a letter of kind {answer.kind!r} with the parts {sorted(answer.parts)[:3]}",
            allowed=f"an update with the part {form!r}",
        )
    update = update_of(known, server, answer, words=hidden or form == "words")
    if hidden:
        return
    if form == "words":
        how = summing_of(known, server)
        words = unpack(answer.parts[form], how.coding.bits, how.coding.length)
        # Where it points does not matter: whether its words are those of one client does.
        opened = open_sum(words, how.coding, rotation_seed=bytes(32), heaviest=how.heaviest)
        if opened.count != 1:
            raise VerificationError(f"words of {opened.count} clients", allowed="those of one")
    elif known.plans.federation is None:
        _require_room(known, server, update, clients)


def _require_room(known: Known, server: ServerState, update: Update, clients: int) -> None:
    """Refuse an update of which so many together could be too large for the sum."""
    require_held(update)
    read, algorithm = update.tensors, known.config.federation.strategy.algorithm
    if algorithm.expand is not None:
        with np.errstate(all="ignore"):
            read = algorithm.expand(server, read)
    if update.counts >= WEIGHT_LIMIT or not fits(read, max(1, update.counts) * clients):
        raise VerificationError(
            f"an update that is too large at the weight {update.counts}",
            allowed=f"less than 2^31 for value times weight, with {clients} clients in the sum",
        )


def _form(known: Known) -> str:
    """The part in which updates travel that the server sees."""
    if known.config.secure.compress is not None:
        return "blocks"
    return "update" if clip_norm_of(known.config) is None else "words"


def update_of(known: Known, server: ServerState, answer: Letter, *, words: bool) -> Update:
    """One site's update.

    Args:
        known: the federation.
        server: before the round.
        answer: the site's letter.
        words: whether the sum was formed from words already; then figures alone are read.

    Raises:
        VerificationError: figures or tensors that are not what the round asks for.
    """
    facts = answer.facts
    rank = facts.get("rank")
    weight = letters.count(facts, "weight", _MOST)
    if known.plans.plans and weight != 1:
        raise VerificationError(f"{answer.sender!r} weighs {weight} under a plan", allowed="1")
    return Update(
        tensors={} if words else _tensors(known, server, answer),
        client=answer.sender,
        examples=letters.count(facts, "examples", _MOST),
        steps=letters.count(facts, "steps", _MOST),
        tokens=letters.count(facts, "tokens", _MOST),
        loss=letters.figure(facts, "loss"),
        targets=letters.count(facts, "targets", _MOST),
        weight=weight,
        rank=None if rank is None else letters.count(facts, "rank", 2**20),
    )


def _tensors(known: Known, server: ServerState, answer: Letter) -> Tensors:
    layout = layout_of(known, server)
    whose = f"the update of {answer.sender!r}"
    if known.config.secure.compress is not None:
        read = blocks.read(letters.part(answer, "blocks"), layout.size)
        return unflatten(blocks.expand(read), layout)
    # Under a plan at the server an update that is not finite counts as zero.
    finite = known.plans.federation is None
    tensors = view_tensors(letters.part(answer, "update"), whose)
    for name, value in tensors.items():
        if finite and not np.isfinite(value).all():
            raise VerificationError(f"{name} in {whose} is not finite", allowed="finite numbers")
    layout.check(tensors)
    return tensors


def mean_of_words(
    known: Known, server: ServerState, answers: Mapping[str, Letter]
) -> Tensors | None:
    """The mean of updates that travel as words which the server sees; None where they don't.

    Raises:
        VerificationError: words of another length, or a sum that does not verify.
    """
    if _form(known) != "words":
        return None
    how = summing_of(known, server)
    total = np.zeros(how.coding.length, how.coding.dtype)
    for answer in answers.values():
        data = letters.part(answer, "words")
        add(total, unpack(data, how.coding.bits, how.coding.length))
    mean = mean_of(total, how, round_index=server.round, clients=len(answers))
    parts = parts_of(known, server)
    return as_update(known, server, mean, parts, inside=shared_inside(known))
