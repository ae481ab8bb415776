"""Who takes part in which round, from which weights, and how far each gets. Pure; no training.

Everything here is a function of the configuration, the seed and the clients' steps, so a run that
is resumed draws the same cohorts, stragglers and failures, and an asynchronous one replays who was
under way with what.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sottovoce.errors import ConfigError
from sottovoce.rng import stream
from sottovoce.strategies.settings import Asynchronous, Device, FederationSettings, Stragglers

ATTEMPTS = 100
"""How often a round is drawn again where too few of its clients deliver."""


@dataclass(frozen=True)
class Part:
    """One client's part in a round.

    Args:
        client: who.
        version: rounds that were finished when it received its weights.
        stop_after: steps after which it stops, for a straggler; None lets it finish.
    """

    client: str
    version: int
    stop_after: int | None = None


@dataclass(frozen=True)
class Cohort:
    """Who joins in one round.

    Args:
        round: the round's index.
        parts: who trains and delivers, sorted by name.
        failed: who was drawn and delivers nothing.
        time: when the last of them is done, in simulated time.
        oldest_needed: the oldest weights, in finished rounds, that a later cohort starts from.
        silent: of those that failed, who was in the draw that the round is made of.
    """

    round: int
    parts: tuple[Part, ...]
    failed: tuple[str, ...]
    time: float
    oldest_needed: int = 0
    silent: tuple[str, ...] = ()


def devices_of(
    devices: Mapping[str, Device], clients: Sequence[str], seed: int
) -> dict[str, Device]:
    """Which client runs on which kind of device; clients of no kind are left out.

    Raises:
        ConfigError: a kind names a client that does not exist or that has a device already, or a
            share is nobody or more than are left.
    """
    found: dict[str, Device] = {}
    known = set(clients)
    for kind, device in devices.items():
        for client in device.clients:
            if client not in known:
                raise ConfigError(
                    f"federation.devices.{kind} names {client!r}, which is no client",
                    allowed=", ".join(sorted(clients)[:12]),
                )
            if client in found:
                raise ConfigError(
                    f"federation.devices.{kind} names {client!r}, which has a device already",
                    allowed="every client once",
                )
            found[client] = device
    rest = [client for client in sorted(clients) if client not in found]
    order = [rest[place] for place in stream(seed, "devices").permutation(len(rest))]
    begin, share = 0, 0.0
    for kind, device in devices.items():
        if device.share is None:
            continue
        # Shares are rounded at their borders, so that two halves of five clients are all five.
        share += device.share
        end = round(share * len(clients))
        if not begin < end <= len(order):
            raise ConfigError(
                f"federation.devices.{kind}.share is {device.share:g} of {len(clients)} clients, "
                f"and {len(order) - begin} have no device yet",
                allowed="a share that is at least one client, and no more than are left",
            )
        found.update(dict.fromkeys(order[begin:end], device))
        begin = end
    return found


def cohorts(
    federation: FederationSettings,
    steps: Mapping[str, int],
    devices: Mapping[str, Device],
    seed: int,
) -> Iterator[Cohort]:
    """The cohorts of all rounds, in order.

    Args:
        federation: who takes part, how many, and what goes wrong.
        steps: the steps of a whole round, by client.
        devices: the kind of device of the clients that have one.
        seed: the run's.

    Guarantees:
        - the same arguments give the same cohorts;
        - nobody is in a cohort twice, or trains two rounds at once;
        - at least ``federation.minimum_clients`` deliver; a round with fewer is drawn again, and
          its time counts.
    """
    durations = {
        name: max(1, count) / (devices[name].speed if name in devices else 1.0)
        for name, count in steps.items()
    }
    if federation.asynchronous is None:
        return _waiting(federation, sorted(steps), steps, durations, seed)
    return _flowing(federation, federation.asynchronous, durations, seed)


def _waiting(
    federation: FederationSettings,
    names: Sequence[str],
    steps: Mapping[str, int],
    durations: Mapping[str, float],
    seed: int,
) -> Iterator[Cohort]:
    """Rounds that wait for their whole cohort."""
    time = 0.0
    partial = federation.stragglers is not None and federation.stragglers.work == "partial"
    for index in range(federation.rounds):
        failed: set[str] = set()
        for attempt in range(ATTEMPTS):
            chosen = _drawn(names, federation.clients_per_round, seed, index, attempt)
            gone = _failing(chosen, federation.failures, seed, index, attempt)
            late = _late(chosen, federation.stragglers, steps, seed, index, attempt)
            parts = tuple(
                Part(name, index, late.get(name))
                for name in chosen
                if name not in gone and (partial or name not in late)
            )
            failed |= set(chosen) - {part.client for part in parts}
            time += max((_share(part, steps) * durations[part.client] for part in parts), default=0)
            if len(parts) >= federation.minimum_clients:
                break
        else:
            raise ConfigError(
                f"in {ATTEMPTS} attempts at round {index} fewer than federation.minimum_clients = "
                f"{federation.minimum_clients} of {len(chosen)} clients delivered",
                remedy="Lower minimum_clients, failures or stragglers.share",
            )
        missing = failed - {part.client for part in parts}
        silent = set(chosen) - {part.client for part in parts}
        yield Cohort(
            index, parts, tuple(sorted(missing)), time, index + 1, silent=tuple(sorted(silent))
        )


def _share(part: Part, steps: Mapping[str, int]) -> float:
    """How much of its round a client does."""
    whole = steps[part.client]
    return 1.0 if part.stop_after is None or not whole else min(1.0, part.stop_after / whole)


def _drawn(
    names: Sequence[str], size: int | None, seed: int, index: int, attempt: int
) -> list[str]:
    """Everyone, or so many drawn without replacement."""
    if size is None or size >= len(names):
        return list(names)
    drawn = stream(seed, "cohort", index, *_again(attempt)).permutation(len(names))[:size]
    return [names[place] for place in np.sort(drawn)]


def _again(attempt: int) -> tuple[int, ...]:
    """What names the random streams of a repeated round; nothing for the first attempt."""
    return (attempt,) if attempt else ()


def _failing(chosen: Sequence[str], rate: float, seed: int, index: int, attempt: int) -> set[str]:
    if not rate:
        return set()
    draws = stream(seed, "failures", index, *_again(attempt)).random(len(chosen))
    return {name for name, draw in zip(chosen, draws, strict=True) if draw < rate}


def _late(
    chosen: Sequence[str],
    stragglers: Stragglers | None,
    steps: Mapping[str, int],
    seed: int,
    index: int,
    attempt: int,
) -> dict[str, int]:
    """Stragglers, and how many steps each gets done: uniformly from 1 to all but one.

    A client that has but one step to take cannot do a part of it; it is late all the same.
    """
    if stragglers is None:
        return {}
    draw = stream(seed, "stragglers", index, *_again(attempt))
    count = round(stragglers.share * len(chosen))
    late = sorted(chosen[place] for place in draw.permutation(len(chosen))[:count])
    return {name: int(draw.integers(1, max(2, steps[name]))) for name in late}


def _flowing(
    federation: FederationSettings,
    settings: Asynchronous,
    durations: Mapping[str, float],
    seed: int,
) -> Iterator[Cohort]:
    """FedBuff: replay who is under way, and close a round whenever the buffer is full."""
    names = sorted(durations)
    if settings.concurrency > len(names):
        raise ConfigError(
            f"federation.asynchronous.concurrency is {settings.concurrency}",
            allowed=f"at most {len(names)}, the clients",
        )
    idle = list(names)
    under_way: list[tuple[float, int, str, int]] = []
    started = 0

    def start(now: float, version: int) -> None:
        nonlocal started
        draw = stream(seed, "asynchronous", started)
        place = int(draw.integers(len(idle)))
        # The last one takes the place of who was drawn, so a draw costs the same for any number.
        idle[place], idle[-1] = idle[-1], idle[place]
        name = idle.pop()
        duration = durations[name] * float(np.exp(settings.jitter * draw.standard_normal()))
        heapq.heappush(under_way, (now + duration, started, name, version))
        started += 1

    for _ in range(settings.concurrency):
        start(0.0, 0)
    for index in range(federation.rounds):
        buffer: dict[str, Part] = {}
        failed: list[str] = []
        waiting: list[str] = []
        now = 0.0
        while len(buffer) < settings.buffer:
            now, serial, name, version = heapq.heappop(under_way)
            if stream(seed, "failures", serial).random() < federation.failures:
                failed.append(name)
            else:
                buffer[name] = Part(name, version)
                waiting.append(name)
            # Who has just delivered joins again after the step, so nobody is in a buffer twice;
            # and whoever takes the place of the last one starts from the weights after it.
            if name not in buffer:
                idle.append(name)
            if idle and len(buffer) < settings.buffer:
                start(now, index)
        idle.extend(waiting)
        while len(under_way) < settings.concurrency:
            start(now, index + 1)
        parts = tuple(buffer[name] for name in sorted(buffer))
        oldest = min((version for *_, version in under_way), default=index + 1)
        yield Cohort(index, parts, tuple(sorted(set(failed) - buffer.keys())), now, oldest)


def staleness_scale(staleness: int, exponent: float) -> float:
    """How much an update counts that is so many rounds old: (1 + τ)^-exponent.

    >>> staleness_scale(0, 0.5), staleness_scale(3, 0.5)
    (1.0, 0.5)
    """
    return float((1 + staleness) ** -exponent)
