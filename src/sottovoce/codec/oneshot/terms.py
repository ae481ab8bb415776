"""What all sides of one secure sum with helpers agree on before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Final

from sottovoce.codec import terms as agreed
from sottovoce.codec.oneshot.keys import hashed_for
from sottovoce.codec.roster import Roster, require_signature
from sottovoce.codec.sealing import KEY_BYTES, require_point
from sottovoce.codec.terms import require_agreed, require_integer
from sottovoce.errors import VerificationError

TRUST: Final[str] = (
    "whoever holds the server and one helper more than helpers.colluding allows sees every "
    "client's vector"
)
"""What breaks the protocol, as a warning can quote it."""

MOST_HELPERS: Final = 7


@dataclass(frozen=True)
class HelperKey:
    """A helper's public key of one run, signed by its pinned identity. X25519, RFC 7748."""

    helper: str
    key: bytes
    signature: bytes = field(repr=False)

    def to_sign(self, helpers: Roster, run: bytes) -> bytes:
        """Return what the signature is under: the run, all helpers, and this one's key."""
        return hashed_for("helper key", run, helpers.root, self.helper, self.key)


@dataclass(frozen=True)
class Terms:
    """One secure sum: who may take part, over what, and who helps. All public.

    Args:
        run: 32 bytes, drawn once per run.
        round: the number of the round, 0 or more.
        config_sha256: the hash of the configuration.
        model_sha256: the hash of the model of the round; a client computes it of what it received.
        roster: the pinned identities of the clients.
        cohort: who was drawn for this round, sorted.
        helpers: the pinned identities of the helpers, m of them, 2 to 7.
        helper_keys: their keys of this run, one each, in the order of their names.
        colluding: t, how many of them may work together with the server; 1 to m - 1.
        length: entries of the vector.
        bits: entries are added modulo 2^bits, 8 to 32.
        minimum_survivors: the smallest number of clients whose sum may be told.

    Guarantees:
        - terms that differ in any field have different digests, so that clients who received
          different models, or were told of different helpers, have nothing in common;
        - every helper has signed its key for this run and these helpers;
        - for every t helpers there is a set that has none of them;
        - two quorums have more than t helpers in common.

    Raises:
        ConfigError: a value out of range, or a cohort that is not sorted or not in the roster.
        VerificationError: the keys are not one of each helper, signed by it; a key is a point of
            low order, or another helper's too. Names the helper.
    """

    run: bytes
    round: int
    config_sha256: bytes
    model_sha256: bytes
    roster: Roster = field(repr=False)
    cohort: tuple[str, ...] = field(repr=False)
    helpers: Roster = field(repr=False)
    helper_keys: tuple[HelperKey, ...] = field(repr=False)
    colluding: int
    length: int
    bits: int
    minimum_survivors: int

    def __post_init__(self) -> None:
        hashes = ("run", "config_sha256", "model_sha256")
        require_agreed(self, hashes, pinned_by="all helpers")
        require_integer("minimum_survivors", self.minimum_survivors, 2, len(self.cohort))
        require_integer("the number of helpers", len(self.helpers.members), 2, MOST_HELPERS)
        require_integer("colluding", self.colluding, 1, len(self.helpers.members) - 1)
        self._require_helper_keys()

    def _require_helper_keys(self) -> None:
        named = [shown.helper for shown in self.helper_keys]
        if named != list(self.helpers.members):
            raise VerificationError(
                f"keys of the helpers {named}",
                allowed=f"one of each of {list(self.helpers.members)}, in this order",
            )
        owners: dict[bytes, str] = {}
        for shown in self.helper_keys:
            name, key = shown.helper, shown.key
            if not isinstance(key, bytes) or len(key) != KEY_BYTES:
                raise VerificationError(f"helper {name!r} has a key that is not {KEY_BYTES} bytes")
            require_signature(
                self.helpers, name, shown.to_sign(self.helpers, self.run), shown.signature
            )
            require_point(key, owner=f"helper {name!r}")
            if owners.setdefault(key, name) != name:
                raise VerificationError(f"helpers {owners[key]!r} and {name!r} have the same key")

    position = cached_property(agreed.position)
    word = cached_property(agreed.word)
    largest = cached_property(agreed.largest)
    title = cached_property(agreed.title)

    @cached_property
    def subsets(self) -> tuple[tuple[str, ...], ...]:
        """Every set Q of m - t helpers, sorted. A client draws one seed for each."""
        names = tuple(self.helpers.members)
        return tuple(combinations(names, len(names) - self.colluding))

    @cached_property
    def held(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of the sets that each helper is in, ascending; equally many for all."""
        return {
            helper: tuple(number for number, subset in enumerate(self.subsets) if helper in subset)
            for helper in self.helpers.members
        }

    @property
    def seeds_per_helper(self) -> int:
        """How many of a client's seeds one helper gets."""
        return len(next(iter(self.held.values())))

    @property
    def quorum(self) -> int:
        """q, how many helpers must sign the same survivors: the smallest with 2q - m > t.

        Any q helpers are more than t, so that there is one in every set.
        """
        return (len(self.helpers.members) + self.colluding) // 2 + 1

    @cached_property
    def helper_position(self) -> Mapping[str, int]:
        """Where each helper stands among the helpers."""
        return {name: place for place, name in enumerate(self.helpers.members)}

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over every field in its canonical form."""
        return hashed_for(
            "terms",
            self.run,
            self.round,
            self.config_sha256,
            self.model_sha256,
            self.roster.root,
            self.helpers.root,
            *(shown.key for shown in self.helper_keys),
            self.colluding,
            self.length,
            self.bits,
            self.minimum_survivors,
            *self.cohort,
        )
