"""Clients, and helpers where there are some, that have met once before the first secure sum."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sottovoce.codec import graph
from sottovoce.codec.oneshot import helper as helper_steps
from sottovoce.codec.oneshot.states import RunSecret
from sottovoce.codec.oneshot.terms import HelperKey
from sottovoce.codec.roster import Identity, Roster, new_identity
from sottovoce.rng import secret_source


@dataclass(frozen=True)
class Helpers:
    """Who helps with the sums of a run. In this process only.

    Args:
        identities: what each signs with. Private to each.
        roster: their public halves.
        secrets: the secret of each helper's key of this run. Private to each.
        keys: the public keys, signed.
    """

    identities: Mapping[str, Identity] = field(repr=False)
    roster: Roster = field(repr=False)
    secrets: Mapping[str, RunSecret] = field(repr=False)
    keys: tuple[HelperKey, ...] = field(repr=False)


@dataclass(frozen=True)
class Circle:
    """Clients that have met once: what they pinned before the first sum. In this process only.

    Args:
        run: 32 bytes, drawn once.
        identities: what each client signs with. Private to each.
        roster: their public halves.
        beacon: 32 bytes that no client could choose.
        config_sha256: what they all agreed to.
        helpers: who helps; None where nobody does.
    """

    run: bytes
    identities: Mapping[str, Identity] = field(repr=False)
    roster: Roster = field(repr=False)
    beacon: bytes
    config_sha256: bytes
    helpers: Helpers | None = None


def meet(names: Collection[str], config_sha256: bytes, *, helpers: int = 0) -> Circle:
    """Let clients draw identities, pin each other's, and make the beacon by commit and reveal.

    Args:
        names: two or more clients. Public.
        config_sha256: 32 bytes. Public.
        helpers: how many help, 2 to 7, or 0.
    """
    run, source = secret_source().words(4).tobytes(), secret_source()
    identities, roster = _pinned(names)
    nonces = {name: source.words(4).tobytes() for name in identities}
    committed = {name: graph.commit(nonces[name], client=name, run=run) for name in nonces}
    beacon = graph.open_beacon(committed, nonces, run=run)
    return Circle(run, identities, roster, beacon, config_sha256, _meet_helpers(helpers, run))


def _meet_helpers(count: int, run: bytes) -> Helpers | None:
    if not count:
        return None
    identities, roster = _pinned([f"helper {place}" for place in range(1, count + 1)])
    announced = {
        name: helper_steps.announce(identity, name, roster, run, secret_source())
        for name, identity in identities.items()
    }
    secrets = {name: secret for name, (secret, _) in announced.items()}
    return Helpers(identities, roster, secrets, tuple(key for _, key in announced.values()))


def _pinned(names: Collection[str]) -> tuple[dict[str, Identity], Roster]:
    identities = {name: new_identity() for name in sorted(names)}
    return identities, Roster({name: one.public for name, one in identities.items()})
