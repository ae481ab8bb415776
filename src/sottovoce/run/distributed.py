"""Who is in the sums of a run, how their vectors are written, and how much noise each one adds."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil, sqrt

from sottovoce.codec.coding import Coding, rounded_norm_bound
from sottovoce.config import Config
from sottovoce.errors import ConfigError
from sottovoce.privacy.plan import ROUNDING
from sottovoce.privacy.shares import Lattice, Shares, worst
from sottovoce.run.groups import largest_group
from sottovoce.run.secure import colluding, least_survivors

WIDTHS = (16, 20, 24, 32)
"""Bits of a word that are tried where ``secure.bits`` is not given and clients add noise."""

MOST_GROWTH = 1.005
"""By how much rounding may lengthen what one unit moves, where the width of a word is chosen."""


@dataclass(frozen=True)
class Crowd:
    """Who is in the sums of a run. Public.

    Args:
        clients: n, the most that are in one.
        least: how many must be in one for it to be told.
        corrupt: how many of a round's clients may work with the server, by ``secure.corrupt``.
        honest: how many of the least are then honest; may be negative. One, where a corrupt client
            has the key to every single ciphertext.
        units: the most units in one, where they lie inside clients.
        rounds: how many sums there are.
    """

    clients: int
    least: int
    corrupt: int
    honest: int
    units: int
    rounds: int


def clip_norm_of(config: Config) -> float | None:
    """The bound that words are written by; None where updates do not travel as words."""
    shared = config.privacy.trust == "none"
    bound = config.privacy.clip_norm if shared else config.secure.clip_norm
    return bound if isinstance(bound, float) else None


def clients_in_a_round(config: Config, everyone: int) -> int:
    """The most clients that take part in one round, in one sum or in several."""
    return min(config.federation.clients_per_round or everyone, everyone)


def crowd_of(config: Config, units: Collection[int]) -> Crowd:
    """Who is in the sums of a run.

    Args:
        config: the whole.
        units: how many units each client of the federation holds.
    """
    federation, secure = config.federation, config.secure
    clients = clients_in_a_round(config, len(units))
    minimum = federation.minimum_clients
    if secure.group_size is not None:
        clients, minimum = largest_group(clients, secure.group_size), 1
    least = least_survivors(secure, clients, minimum)
    most = sum(sorted(units, reverse=True)[:clients])
    corrupt = ceil(secure.corrupt * clients)
    honest = least - corrupt
    if secure.aggregation == "he" and corrupt:
        honest = min(honest, 1)
    return Crowd(clients, least, corrupt, honest, most, federation.rounds)


def coding_of(config: Config, crowd: Crowd, size: int, noise_std: float = 0.0) -> Coding | None:
    """How vectors are written as words; None where they travel as they are.

    A client's whole update is rotated and rounded at random. Where clients add shares of noise and
    the units lie inside them, each unit's gradient is rounded by itself instead, and a single
    entry has room for all of them. There the words are as wide as it takes for rounding to cost
    next to nothing, unless ``secure.bits`` says.

    Args:
        config: the whole.
        crowd: who is in a sum.
        size: entries of a vector.
        noise_std: of all shares of noise together, in the vector's unit.

    Raises:
        ConfigError: the words are too narrow.
    """
    privacy, secure = config.privacy, config.secure
    clip_norm = clip_norm_of(config)
    if clip_norm is None:
        return None
    inside = privacy.trust == "none" and privacy.inside_clients

    def of(bits: int) -> Coding:
        clients = crowd.units if inside else crowd.clients
        return Coding(size, clip_norm, clients, bits, noise_std, crowd.rounds, rotated=not inside)

    if secure.bits is not None or privacy.trust != "none":
        return of(secure.word_bits(crowd.clients))
    for bits in WIDTHS[:-1]:
        with suppress(ConfigError):
            if _growth(coding := of(bits)) <= MOST_GROWTH:
                return coding
    return of(WIDTHS[-1])


def _growth(coding: Coding) -> float:
    return lattice_of(coding).l2 / (coding.scale * coding.clip_norm)


def lattice_of(coding: Coding) -> Lattice:
    """How far one unit can move the integers of this coding."""
    if coding.rotated:
        return Lattice(coding.size, coding.scale, rounded_norm_bound(coding))
    # Rounding to the nearest integer moves each entry by at most a half.
    rounded = coding.clip_norm * coding.scale * (1 + ROUNDING) + sqrt(coding.size) / 2
    return Lattice(coding.size, coding.scale, rounded)


def shares_of(config: Config, crowd: Crowd, sizes: Collection[int], noise_std: float) -> Shares:
    """How clients add a noise that is certain to have at least this standard deviation.

    Args:
        config: with ``privacy.trust = "none"``.
        crowd: who is in a sum.
        sizes: of the vectors that rounds may have.
        noise_std: of the certain shares together, in the vector's unit.

    Returns:
        On a lattice that covers those of all sizes.

    Raises:
        ConfigError: no honest client is certain, the masks bear fewer corrupt ones, or the words
            are too narrow.
    """
    mechanism = config.privacy.mechanism
    if mechanism == "gaussian":
        raise ValueError("shares of noise are of an integer mechanism")
    if crowd.honest < 1:
        raise ConfigError(
            f"{crowd.least} of {crowd.clients} clients are certain to deliver, and secure.corrupt = "
            f"{config.secure.corrupt:g} of all may be corrupt: no honest share of noise is certain",
            remedy="Raise federation.minimum_clients, or lower secure.corrupt",
        )
    borne = colluding(config.secure, crowd.clients)
    if borne is not None and crowd.corrupt > borne:
        raise ConfigError(
            f"secure.corrupt = {config.secure.corrupt:g} is {crowd.corrupt} of {crowd.clients} clients, "
            f"and the masks bear {borne} that work with the server",
            remedy="Lower secure.corrupt",
        )
    shares = Shares(
        mechanism, crowd.clients, crowd.honest, noise_std, Lattice(1, 1.0, 1.0), crowd.corrupt
    )
    codings = (coding_of(config, crowd, size, shares.largest_noise_std) for size in sizes)
    lattices = [lattice_of(coding) for coding in codings if coding is not None]
    return replace(shares, lattice=worst(lattices))
