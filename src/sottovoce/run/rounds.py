"""One round of a federation as a pure function: no clock, no network, no file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, isfinite

import numpy as np

from sottovoce.codec.fixed_point import add_client, decode, empty_sum
from sottovoce.errors import VerificationError
from sottovoce.strategies import ServerState, Strategy
from sottovoce.update import Layout, Tensors, Update, l2_norm


@dataclass(frozen=True)
class RoundRecord:
    """What everyone may know about a round of a plain federation; a ledger's payload.

    Lists over clients are in the order of ``clients``, which is sorted. Nothing here is private
    in a federation without a privacy plan; with one, the plan decides what may be recorded.

    Args:
        round: the round's index, from 0.
        clients: who delivered.
        examples: the weights n_k of the sum.
        steps: optimizer steps taken.
        tokens: tokens read.
        loss: mean training loss of the clients that took a step, weighted by n_k; None where
            none did.
        weights_sha256: ``digest`` of the weights after the round.
        update_norm: L2 norm of the mean update.
    """

    round: int
    clients: tuple[str, ...]
    examples: tuple[int, ...]
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    loss: float | None
    weights_sha256: str
    update_norm: float


@dataclass(frozen=True)
class _Facts:
    """The public part of one update, kept when its tensors have been added and let go."""

    client: str
    examples: int
    steps: int
    tokens: int
    loss: float


def digest(tensors: Tensors) -> str:
    """SHA-256 of named tensors in one canonical form.

    Names in sorted order; for each the name, the shape and the entries as little-endian float32,
    every variable part behind its length.

    Guarantees:
        - the order of the mapping and the memory layout of the arrays don't matter;
        - any other name, shape or bit gives another digest, and so does -0.0 for 0.0.

    Raises:
        VerificationError: a tensor is not float32.

    >>> one, two = np.ones(1, np.float32), np.zeros(2, np.float32)
    >>> digest({"a": one, "b": two}) == digest({"b": two, "a": one})
    True
    """
    state = hashlib.sha256()
    state.update(len(tensors).to_bytes(8, "big"))
    for name in sorted(tensors):
        value = tensors[name]
        if value.dtype != np.float32:
            raise VerificationError(f"tensor {name!r} is {value.dtype}", allowed="float32")
        text = name.encode()
        for number in (len(text), value.ndim, *value.shape):
            state.update(int(number).to_bytes(8, "big"))
        state.update(text)
        state.update(np.asarray(value, "<f4").tobytes())
    return state.hexdigest()


def round_step(
    settings: Strategy, state: ServerState, updates: Iterable[Update]
) -> tuple[ServerState, RoundRecord]:
    """Close one round: encode, add, decode, and let the strategy step.

    Args:
        settings: the strategy with its numbers.
        state: before the round; it stays as it was.
        updates: one per client, weighted by its examples. Read once, one at a time, so that
            an iterator needs the memory of one update.

    Returns:
        The state after the round, and its record.

    Guarantees:
        - the same updates in any order give the same bits, in the state and in the record.

    Raises:
        VerificationError: no update, a client twice, other names or shapes than the weights, a
            loss or entry that is not finite, no example in all, or a sum that does not fit.
            Nothing is released.
    """
    total = empty_sum(Layout({name: tuple(v.shape) for name, v in state.weights.items()}))
    facts: dict[str, _Facts] = {}
    for update in updates:
        if update.client in facts:
            raise VerificationError(
                f"client {update.client!r} delivered twice in round {state.round}",
                allowed="one update per client and round",
            )
        facts[update.client] = _facts(update)
        total = add_client(total, update.tensors, update.examples, client=update.client)
    if not facts:
        raise VerificationError(
            f"no client delivered in round {state.round}",
            allowed="at least one update",
            remedy="The weights stay as they were; start the round again",
        )
    mean_update = decode(total.tensors, total.weight)
    after = settings.step(state, mean_update)
    return after, _record(state.round, facts, mean_update, after)


def _facts(update: Update) -> _Facts:
    if not isfinite(update.loss):
        raise VerificationError(
            f"client {update.client!r} reports the loss {update.loss}",
            allowed="a finite number",
            remedy="Lower train.learning_rate; this client has diverged",
        )
    return _Facts(
        update.client,
        int(update.examples),
        int(update.steps),
        int(update.tokens),
        float(update.loss),
    )


def _record(
    index: int, facts: dict[str, _Facts], mean_update: Tensors, after: ServerState
) -> RoundRecord:
    rows = [facts[client] for client in sorted(facts)]
    trained = [row for row in rows if row.steps and row.examples]
    weight = sum(row.examples for row in trained)
    return RoundRecord(
        round=index,
        clients=tuple(row.client for row in rows),
        examples=tuple(row.examples for row in rows),
        steps=tuple(row.steps for row in rows),
        tokens=tuple(row.tokens for row in rows),
        loss=fsum(row.examples * row.loss for row in trained) / weight if trained else None,
        weights_sha256=digest(after.weights),
        update_norm=l2_norm(mean_update),
    )
