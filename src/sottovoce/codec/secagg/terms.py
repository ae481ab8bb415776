"""What both sides of one secure sum agree on before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from sottovoce.codec import graph
from sottovoce.codec import terms as agreed
from sottovoce.codec.roster import Roster, hashed
from sottovoce.codec.secagg import kem
from sottovoce.codec.terms import LONGEST, require_agreed, require_integer

PROTOCOL: Final = "sottovoce secagg v1"
"""Stands before everything that is hashed, derived or signed here."""


def hashed_for(purpose: str, *parts: bytes | str | int) -> bytes:
    """Hash parts for one purpose of this protocol, as ``roster.hashed`` does."""
    return hashed(f"{PROTOCOL} {purpose}", *parts)


@dataclass(frozen=True)
class Terms:
    """One secure sum: who may take part, over what, and how many of them it needs. All public.

    Nothing here depends on the model of the round, so that keys can be advertised one round ahead.

    Args:
        run: 32 bytes, drawn once per run.
        round: the number of the round, 0 or more.
        beacon: 32 bytes that nobody could choose; they decide who is whose neighbour.
        config_sha256: the hash of the configuration.
        roster: the pinned identities.
        cohort: who was drawn for this round, sorted.
        length: entries of the vector.
        bits: entries are added modulo 2^bits, 8 to 32.
        neighbours: how many neighbours each client has in a sparse graph.
        threshold: how many shares bring a secret back.
        minimum_survivors: the smallest number of clients whose sum may be unmasked.
        malicious: whether the server is not even trusted to tell all clients the same.
        post_quantum: whether ML-KEM-768 stands beside X25519 in every key, so that who records
            the round cannot open it once X25519 is broken.

    Guarantees:
        - terms that differ in any field have different digests;
        - each client's neighbours are the graph's, recomputed here and never received;
        - with ``malicious``, two sets of ``threshold`` neighbours always share one, so that no
          two of them can be told different things and both be enough.

    Raises:
        ConfigError: a value out of range, a cohort that is not sorted or not in the roster, a
            threshold that the graph cannot meet, or ``post_quantum`` where ML-KEM is missing.
    """

    run: bytes
    round: int
    beacon: bytes
    config_sha256: bytes
    roster: Roster = field(repr=False)
    cohort: tuple[str, ...] = field(repr=False)
    length: int
    bits: int
    neighbours: int
    threshold: int
    minimum_survivors: int
    malicious: bool = True
    post_quantum: bool = False

    def __post_init__(self) -> None:
        require_agreed(self, ("run", "beacon", "config_sha256"), pinned_by="all others")
        require_integer("neighbours", self.neighbours, 1, LONGEST)
        # The graph may be complete where ``neighbours`` asks for less, so it is the graph that
        # says how many shares there are; it is regular.
        degree = len(self.graph[self.cohort[0]])
        require_integer(
            "threshold", self.threshold, degree // 2 + 1 if self.malicious else 1, degree
        )
        lowest = max(2, self.threshold)
        require_integer("minimum_survivors", self.minimum_survivors, lowest, len(self.cohort))
        if self.post_quantum:
            kem.require_available()

    position = cached_property(agreed.position)
    word = cached_property(agreed.word)
    largest = cached_property(agreed.largest)
    title = cached_property(agreed.title)

    @cached_property
    def graph(self) -> Mapping[str, tuple[str, ...]]:
        """Who is whose neighbour."""
        return graph.neighbours(self.beacon, self.round, self.cohort, self.neighbours)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over every field in its canonical form."""
        return hashed_for(
            "terms",
            self.run,
            self.round,
            self.beacon,
            self.config_sha256,
            self.roster.root,
            self.length,
            self.bits,
            self.neighbours,
            self.threshold,
            self.minimum_survivors,
            # Two bits of one number, so that terms without the second have the digest of old.
            int(self.malicious) + 2 * int(self.post_quantum),
            *self.cohort,
        )
