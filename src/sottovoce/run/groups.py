"""Sums of groups instead of one of all, so that a rule can outvote those that were spoiled.

A client can send what it likes under masks. In one sum that spoils the round; in sums of groups it
spoils its own group, and a robust rule over the groups' means bounds what that does. The price:
the server sees the sums of groups, each over at least ``secure.group_size`` clients.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from sottovoce import aggregate
from sottovoce.codec.graph import shuffled
from sottovoce.codec.settings import SecureSettings
from sottovoce.errors import AbortedError, ConfigError
from sottovoce.rng import Source, seeded_source
from sottovoce.run.secure import Summed, Summing, least_survivors, sum_of
from sottovoce.update import Tensors, Update, flatten, unflatten


def group_count(clients: int, size: int) -> int:
    """How many groups of at least so many clients there are room for.

    >>> group_count(11, 3)
    3
    """
    return max(1, clients // size)


def largest_group(clients: int, size: int) -> int:
    """How many clients the largest group has.

    >>> largest_group(11, 3)
    4
    """
    return -(-clients // group_count(clients, size))


def smallest_group(clients: int, size: int) -> int:
    """How many clients the smallest group has.

    >>> smallest_group(11, 3)
    3
    """
    return clients // group_count(clients, size)


def least_groups(secure: SecureSettings) -> int:
    """How many groups the rule needs, with ``secure.faulty`` of them spoiled."""
    return 2 * secure.faulty + (3 if secure.robust == "krum" else 1)


def require_groups(secure: SecureSettings, clients: int) -> None:
    """Refuse a rule over too few groups.

    Raises:
        ConfigError: as said.
    """
    if secure.group_size is None:
        return
    found, least = group_count(clients, secure.group_size), least_groups(secure)
    if found < least:
        raise ConfigError(
            f"{clients} clients make {found} groups of at least {secure.group_size}, and "
            f"{secure.robust} over groups of which {secure.faulty} may be spoiled needs {least}",
            remedy="Lower secure.group_size or secure.faulty, or let more clients take part",
        )


def groups_of(names: Collection[str], size: int, source: Source) -> tuple[tuple[str, ...], ...]:
    """Deal clients into groups.

    Args:
        names: who was drawn for the round.
        size: the fewest in a group.
        source: of the deal; from what nobody chose, or colluding clients could surround one.

    Guarantees:
        - every client is in one group, and groups differ in size by one at most;
        - every deal is equally likely.
    """
    dealt, count = shuffled(sorted(names), source), group_count(len(names), size)
    return tuple(tuple(sorted(dealt[place::count])) for place in range(count))


def sum_in_groups(
    updates: Sequence[Update],
    absent: Collection[str],
    how: Summing,
    *,
    round_index: int,
    model_sha256: bytes,
) -> Summed:
    """Form the sum of every group, and join their means by the rule; as ``secure.sum_of``.

    A group of which too few are left is left out.

    Raises:
        AbortedError: too few groups are left for the rule.
        VerificationError: as ``sum_of``.
    """
    secure = how.secure
    if secure.group_size is None:
        raise ValueError("groups without secure.group_size")
    by_name = {update.client: update for update in updates}
    cohort = {*by_name, *absent}
    found: list[Summed] = []
    for group in groups_of(cohort, secure.group_size, _dealer(how, round_index)):
        least = least_survivors(secure, len(group))
        present = [by_name[name] for name in group if name in by_name]
        if len(present) < least:
            continue
        found.append(
            sum_of(
                present,
                set(group) - set(by_name),
                replace(how, least=least),
                round_index=round_index,
                model_sha256=model_sha256,
            )
        )
    if len(found) < least_groups(secure):
        raise AbortedError(
            f"round {round_index}",
            "the sums",
            round_index,
            f"{len(found)} groups, and {least_groups(secure)} are needed by {secure.robust}",
            sorted(absent),
        )
    return Summed(
        _joined([one.mean for one in found], how),
        tuple(sorted(name for one in found for name in one.clients)),
        sum(one.clipped for one in found),
        {key: data for one in found for key, data in one.received.items()},
    )


def _dealer(how: Summing, round_index: int) -> Source:
    """Where the deal comes from: the beacon where clients made one, else the run's seed."""
    if how.circle is None:
        return seeded_source(how.seed, "groups", round_index)
    return seeded_source(0, "groups", how.circle.beacon.hex(), round_index)


def _joined(means: Sequence[Tensors], how: Summing) -> Tensors:
    rows = np.stack([flatten(mean, how.layout) for mean in means])
    return unflatten(_rule(rows, how.secure).astype(np.float32), how.layout)


def _rule(rows: aggregate.Rows, secure: SecureSettings) -> aggregate.Vector:
    if secure.robust == "trimmed_mean":
        return aggregate.trimmed_mean(rows, trim=secure.faulty)
    if secure.robust == "geometric_median":
        return aggregate.geometric_median(rows)
    if secure.robust == "krum":
        return aggregate.krum(rows, faulty=secure.faulty)
    return aggregate.median(rows)
