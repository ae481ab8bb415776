"""One round of a federation as a pure function: no clock, no network, no file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import fsum, isfinite

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec.fixed_point import Sum, add_in_place, decode, empty_sum
from sottovoce.errors import VerificationError
from sottovoce.privacy.bound import bound
from sottovoce.privacy.plan import NoisySum, PrivacyPlan, clip_norm_memory
from sottovoce.privacy.settings import AdaptiveClip
from sottovoce.rng import Source
from sottovoce.strategies import Algorithm, Mean, ServerState, factors
from sottovoce.update import Layout, Tensors, Update, flatten, l2_norm, unflatten


@dataclass(frozen=True)
class RoundRecord:
    """What everyone may know about a round of a plain federation; a ledger's payload.

    Lists over clients are in the order of ``clients``, which is sorted. Nothing here is private
    in a federation without a privacy plan. With one, what depends on the clients' data is left
    out: ``examples`` and ``tokens`` are empty, and ``loss`` is None or what the plan releases.

    Args:
        round: the round's index, from 0.
        clients: who delivered.
        examples: training examples that each holds.
        weights: the weights n_k of the sum.
        steps: optimizer steps taken.
        tokens: tokens read.
        loss: mean training loss of the clients that took a step, weighted by n_k; None where
            none did.
        weights_sha256: ``digest`` of the model after the round.
        update_norm: L2 norm of the mean of what was sent.
        failed: who was drawn and delivered nothing.
        staleness: how many rounds older than the newest the weights were that each client
            trained from; all zero unless rounds are asynchronous.
        simulated_time: when the round ended by the devices' simulated speeds.
    """

    round: int
    clients: tuple[str, ...]
    examples: tuple[int, ...]
    weights: tuple[int, ...]
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    loss: float | None
    weights_sha256: str
    update_norm: float
    failed: tuple[str, ...] = ()
    staleness: tuple[int, ...] = ()
    simulated_time: float = 0.0


@dataclass(frozen=True)
class _Facts:
    """The public part of one update, kept when its tensors have been added and let go."""

    client: str
    examples: int
    weight: int
    steps: int
    tokens: int
    loss: float | None


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


def model_tensors(state: ServerState) -> Tensors:
    """Everything that makes the model of this moment: the adapter, and what the base changed by."""
    return {**state.weights, **state.residual}


def round_step(
    algorithm: Algorithm,
    state: ServerState,
    updates: Iterable[Update],
    *,
    population: int | None = None,
) -> tuple[ServerState, RoundRecord]:
    """Close one round: encode, add, decode, and let the algorithm step.

    Args:
        algorithm: both halves of the federated algorithm.
        state: before the round; it stays as it was.
        updates: one per client, weighted as each says. Read once, one at a time, so that an
            iterator needs the memory of one update.
        population: how many clients the federation has; None takes those that delivered.

    Returns:
        The state after the round, and its record.

    Guarantees:
        - the same updates in any order give the same bits, in the state and in the record.

    Raises:
        VerificationError: no update, a client twice, other names or shapes than the round asks
            for, a loss or entry that is not finite, no weight in all, or a sum that does not fit.
            Nothing is released.
    """
    layout = Layout(algorithm.sent(state))
    total: Sum | None = None
    held = _Held(layout)
    facts: dict[str, _Facts] = {}
    for update in updates:
        if update.client in facts:
            raise _twice(update.client, state.round)
        facts[update.client] = _facts(update)
        layout.check(update.tensors)
        require_held(update)
        read = update.tensors
        if algorithm.expand is not None:
            read = algorithm.expand(state, _finite(update))
        if total is None:
            total = empty_sum(Layout({name: tuple(v.shape) for name, v in read.items()}))
        total = add_in_place(total, read, update.counts, client=update.client)
        held.add(update)
        # The next one is read before this name stands for it.
        del update, read
    if total is None:
        raise VerificationError(
            f"no client delivered in round {state.round}",
            allowed="at least one update",
            remedy="The weights stay as they were; start the round again",
        )
    mean = decode(total.tensors, total.weight, held=held.weights())
    del total
    after = algorithm.step(state, Mean(mean, len(facts) / (population or len(facts))))
    return after, _record(state.round, facts, mean, after)


def private_round_step(
    algorithm: Algorithm,
    state: ServerState,
    updates: Iterable[Update],
    plan: PrivacyPlan,
    source: Source,
) -> tuple[ServerState, RoundRecord]:
    """Close one round in which whole clients are hidden: bound, add, noise, and step.

        mean = ( Σ_k clip(Δ_k, C) + noise ) / (q · N)

    McMahan et al. 2018, Algorithm 1, with the fixed denominator.

    Args:
        algorithm: both halves of the federated algorithm.
        state: before the round; it stays as it was.
        updates: one per client of the Poisson sample, which may be empty. Read once.
        plan: of the federation.
        source: where the noise comes from.

    Returns:
        The state after the round, and its record, which holds the sample: whoever reads it can
        claim no amplification.

    Guarantees:
        - every client counts the same, and moves the mean by at most C / (q·N);
        - an update that is not finite counts as zero;
        - an empty sample takes its noisy step.

    Raises:
        VerificationError: a client twice, or other names or shapes than the round asks for.
    """
    # In one order however the state was made or read, so that seeded noise meets the same entries.
    layout = Layout(dict(sorted(algorithm.sent(state).items())))
    sized = replace(plan, size=layout.size)
    clip_norm = plan.current_clip_norm(state.moments.get("privacy"))
    total = NoisySum(sized, clip_norm)
    steps: dict[str, int] = {}
    for update in updates:
        if update.client in steps:
            raise _twice(update.client, state.round)
        steps[update.client] = int(update.steps)
        one = bound(flatten(update.tensors, layout), clip_norm, total.grid.step)
        total.add(
            one.steps,
            np.array([one.norm <= clip_norm]),
            np.array([np.nan if update.loss is None else update.loss]),
            np.array([one.finite]),
        )
    released = total.release(source)
    mean = unflatten(released.mean, layout)
    public = {kind: tensors for kind, tensors in state.moments.items() if kind != "privacy"}
    after = algorithm.step(replace(state, moments=public), Mean(mean, plan.sampling_probability))
    if isinstance(plan.clip_norm, AdaptiveClip):
        memory = clip_norm_memory(released.clip_norm)
        after = replace(after, moments={**after.moments, "privacy": memory})
    names = sorted(steps)
    return after, RoundRecord(
        round=state.round,
        clients=tuple(names),
        examples=(),
        weights=(1,) * len(names),
        steps=tuple(steps[name] for name in names),
        tokens=(),
        loss=released.loss,
        weights_sha256=digest(model_tensors(after)),
        update_norm=l2_norm(mean),
    )


def summed_round_step(
    algorithm: Algorithm,
    state: ServerState,
    mean: Tensors,
    updates: Iterable[Update],
    *,
    population: int,
    hidden: bool,
) -> tuple[ServerState, RoundRecord]:
    """Close a round whose sum was formed elsewhere: let the algorithm step.

    Args:
        algorithm: both halves of the federated algorithm.
        state: before the round; it stays as it was.
        mean: the weighted mean of the updates.
        updates: those that are in it; of them the public facts alone are read.
        population: how many clients the federation has.
        hidden: whether the server saw nothing but the sum; then the record holds neither examples,
            weights and tokens of a client, nor a loss.

    Raises:
        VerificationError: a loss that is not finite.
    """
    facts = {update.client: _facts(update) for update in updates}
    after = algorithm.step(state, Mean(mean, len(facts) / population))
    record = _record(state.round, facts, mean, after)
    if hidden:
        record = replace(record, examples=(), weights=(), tokens=(), loss=None)
    return after, record


def without_private_facts(record: RoundRecord, losses: Sequence[float]) -> RoundRecord:
    """A record of clients that protect their own units, without what depends on them.

    Args:
        record: of the round.
        losses: what the clients' plans released of their losses.
    """
    mean = fsum(losses) / len(losses) if losses else None
    return replace(record, examples=(), tokens=(), loss=mean)


def _twice(client: str, index: int) -> VerificationError:
    return VerificationError(
        f"client {client!r} delivered twice in round {index}",
        allowed="one update per client and round",
    )


def require_held(update: Update) -> None:
    """Refuse entries beyond a client's rank: they would count in the sum and not in its weight.

    Raises:
        VerificationError: as said.
    """
    if update.rank is None:
        return
    for name, value in update.tensors.items():
        if np.where(factors.held(name, value.shape, update.rank), 0, value).any():
            raise VerificationError(
                f"client {update.client!r} has rank {update.rank} and sends more of {name!r}",
                allowed="zeros beyond its rank",
            )


class _Held:
    """The weight of the clients that hold each slice of a factor, where ranks differ."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._weights: dict[int | None, int] = {}

    def add(self, update: Update) -> None:
        self._weights[update.rank] = self._weights.get(update.rank, 0) + update.counts

    def weights(self) -> dict[str, NDArray[np.int64]] | None:
        """By tensor, broadcast to its shape; None where everyone holds everything."""
        if set(self._weights) == {None}:
            return None
        whole = self._weights.get(None, 0)
        return {
            name: whole
            + np.sum(
                [
                    factors.held(name, shape, rank) * np.int64(weight)
                    for rank, weight in self._weights.items()
                    if rank is not None
                ],
                axis=0,
            )
            for name, shape in self._layout.shapes.items()
        }


def _finite(update: Update) -> Tensors:
    """The tensors of an update before they are multiplied, so that an error names what was sent."""
    for name, value in update.tensors.items():
        if not np.isfinite(value).all():
            raise VerificationError(
                f"tensor {name!r} of client {update.client!r} holds a value that is not finite",
                allowed="finite numbers",
            )
    return update.tensors


def _facts(update: Update) -> _Facts:
    if update.loss is not None and not isfinite(update.loss):
        raise VerificationError(
            f"client {update.client!r} reports the loss {update.loss}",
            allowed="a finite number",
            remedy="Lower train.learning_rate; this client has diverged",
        )
    return _Facts(
        update.client,
        int(update.examples),
        int(update.counts),
        int(update.steps),
        int(update.tokens),
        None if update.loss is None else float(update.loss),
    )


def _record(
    index: int, facts: dict[str, _Facts], mean_update: Tensors, after: ServerState
) -> RoundRecord:
    rows = [facts[client] for client in sorted(facts)]
    told = [(row.weight, row.loss) for row in rows if row.steps and row.loss is not None]
    trained = [(weight, loss) for weight, loss in told if weight]
    total = sum(weight for weight, _ in trained)
    return RoundRecord(
        round=index,
        clients=tuple(row.client for row in rows),
        examples=tuple(row.examples for row in rows),
        weights=tuple(row.weight for row in rows),
        steps=tuple(row.steps for row in rows),
        tokens=tuple(row.tokens for row in rows),
        loss=fsum(weight * loss for weight, loss in trained) / total if trained else None,
        weights_sha256=digest(model_tensors(after)),
        update_norm=l2_norm(mean_update),
    )
