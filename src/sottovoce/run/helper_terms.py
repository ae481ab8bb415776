"""What sites, server and helpers of a run agree on before a sum, as their letters say it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sottovoce.codec.oneshot.messages import read_key, write_key
from sottovoce.codec.oneshot.terms import HelperKey, Terms
from sottovoce.codec.roster import HASH_BYTES, Roster
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import letter as letters

KEY: Final = "key"
"""The part of a letter in which a helper shows its key of a run."""
KEYS: Final = "helper_keys"
"""The fact under which the keys of all helpers stand."""


@dataclass(frozen=True)
class Helping:
    """What everybody has agreed on who has to do with the sums of one run. Public.

    Args:
        run: 32 bytes.
        roster: the pinned identities of the sites.
        config_sha256: of the configuration that all share.
        helpers: the pinned identities of the helpers.
        keys: their keys of this run, one each, in the order of their names.
    """

    run: bytes
    roster: Roster
    config_sha256: bytes
    helpers: Roster
    keys: tuple[HelperKey, ...]


def keys_in(facts: Mapping[str, Any], helpers: Roster, run: bytes) -> tuple[HelperKey, ...]:
    """The keys of a run as somebody shows them, each signed by the identity that is pinned here.

    Args:
        facts: of a letter or of the ledger; ``KEYS`` in them.
        helpers: the identities that the reader has pinned.
        run: 32 bytes.

    Raises:
        VerificationError: they are not one of each of these helpers, or one is not its own.
    """
    written = letters.table(facts, KEYS)
    if sorted(written) != list(helpers.members):
        raise VerificationError(
            f"the server names the helpers {sorted(map(str, written))}",
            allowed=f"those that are pinned here: {list(helpers.members)}",
        )
    return tuple(
        read_key(_bytes(written, name, None), name, helpers, run) for name in helpers.members
    )


def written_keys(helping: Helping) -> dict[str, str]:
    """The inverse of ``keys_in``: what stands under ``KEYS``."""
    return {
        shown.helper: write_key(shown, helping.helpers, helping.run).hex() for shown in helping.keys
    }


def facts_of(terms: Terms) -> dict[str, Any]:
    """What a letter to a helper says of the sum that it is about."""
    helping = Helping(
        terms.run, terms.roster, terms.config_sha256, terms.helpers, terms.helper_keys
    )
    return {
        "round": terms.round,
        "config_sha256": terms.config_sha256.hex(),
        "model_sha256": terms.model_sha256.hex(),
        "cohort": list(terms.cohort),
        "colluding": terms.colluding,
        "length": terms.length,
        "bits": terms.bits,
        "least": terms.minimum_survivors,
        KEYS: written_keys(helping),
        **roots_of(terms.roster, terms.helpers),
    }


def roots_of(roster: Roster, helpers: Roster) -> dict[str, str]:
    """The roots of both rosters, by which one who has pinned others is told from the rest."""
    return {"roster_root": roster.root.hex(), "helpers_root": helpers.root.hex()}


def require_same_roots(facts: Mapping[str, Any], roster: Roster, helpers: Roster) -> None:
    """Refuse who goes by other sites or other helpers than are pinned here.

    Raises:
        VerificationError: with whose lines differ.
    """
    whose = {"roster_root": "sites", "helpers_root": "helpers"}
    for name, root in roots_of(roster, helpers).items():
        if letters.text(facts, name) != root:
            raise VerificationError(
                f"the server goes by other lines of the {whose[name]} than are pinned here",
                remedy="Compare the rosters line by line; every party has the same",
            )


def terms_in(facts: Mapping[str, Any], run: bytes, roster: Roster, helpers: Roster) -> Terms:
    """The terms of a sum, as a server tells them and a helper makes them its own.

    Args:
        facts: of the server's letter.
        run: 32 bytes; that of the letter.
        roster: the sites that the helper has pinned.
        helpers: the helpers that it has pinned.

    Raises:
        VerificationError: terms that nobody may agree to, or among others than are pinned.
    """
    require_same_roots(facts, roster, helpers)
    cohort = facts.get("cohort")
    if not isinstance(cohort, list):
        raise VerificationError("a sum without a cohort")
    try:
        return Terms(
            run=run,
            round=letters.count(facts, "round"),
            config_sha256=_bytes(facts, "config_sha256", HASH_BYTES),
            model_sha256=_bytes(facts, "model_sha256", HASH_BYTES),
            roster=roster,
            cohort=tuple(map(str, cohort)),
            helpers=helpers,
            helper_keys=keys_in(facts, helpers, run),
            colluding=letters.count(facts, "colluding"),
            length=letters.count(facts, "length"),
            bits=letters.count(facts, "bits"),
            minimum_survivors=letters.count(facts, "least"),
        )
    except ConfigError as error:
        raise VerificationError(error.seen, allowed=error.allowed, remedy=error.remedy) from error


def _bytes(facts: Mapping[str, Any], name: str, size: int | None) -> bytes:
    try:
        found = bytes.fromhex(letters.text(facts, name))
    except ValueError as error:
        raise VerificationError(f"{name} is no row of hexadecimal digits") from error
    if size is not None and len(found) != size:
        raise VerificationError(f"{name} has {len(found)} bytes", allowed=f"{size}")
    return found
