"""What a server and its sites compute alike before a sum that hides updates. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from sottovoce.codec import graph
from sottovoce.codec.oneshot.terms import Terms as HelpedTerms
from sottovoce.codec.roster import Roster
from sottovoce.codec.secagg.terms import Terms
from sottovoce.errors import VerificationError
from sottovoce.rng import stream
from sottovoce.run import letter as letters
from sottovoce.run.by_secagg import terms_of
from sottovoce.run.circle import Circle
from sottovoce.run.helper_terms import Helping
from sottovoce.run.known import Known
from sottovoce.run.secure import Summing
from sottovoce.run.sending import places
from sottovoce.run.sums import layout_of, summing
from sottovoce.strategies import ServerState
from sottovoce.update import Layout, Tensors

ATTEMPTS: Final = 1000
"""Sums that a round may have: one, and others where too few were left."""


@dataclass(frozen=True)
class Agreement:
    """What everybody who hides updates of one run has agreed on. Public.

    Args:
        run: 32 bytes.
        roster: the pinned identities.
        config_sha256: of the configuration that all share.
        commitments: to a nonce, of every client.
        nonces: every client's, or none before all were opened.
    """

    run: bytes
    roster: Roster
    config_sha256: bytes
    commitments: Mapping[str, bytes]
    nonces: Mapping[str, bytes]

    @property
    def circle(self) -> Circle:
        """The same as sums in one process know it, without anybody's secrets.

        Raises:
            VerificationError: a nonce is not the one that its client has committed to.
        """
        beacon = graph.open_beacon(self.commitments, self.nonces, run=self.run)
        return Circle(self.run, {}, self.roster, beacon, self.config_sha256)


def serial_of(index: int, attempt: int) -> int:
    """The number of a sum: no two sums of a run have the same."""
    return index * ATTEMPTS + attempt


def any_weights(seed: int, layout: Layout) -> Tensors:
    """Weights of the right shapes; no rule makes anything of zeros alone."""
    draw = stream(seed, "shapes")
    return {
        name: draw.standard_normal(shape).astype(np.float32)
        for name, shape in layout.shapes.items()
    }


def state_of_shape(known: Known, index: int) -> ServerState:
    """A state with the shapes of a round, before its weights are known."""
    algorithm = known.config.federation.strategy.algorithm
    first = algorithm.first(any_weights(known.config.seed, known.layout))
    return replace(first, round=index)


def summing_of(known: Known, server: ServerState) -> Summing:
    """How a round's updates are written, without anybody's contribution."""
    return summing(known, server, parts_of(known, server), {}, None)


def parts_of(known: Known, server: ServerState) -> Any:
    """Which entries travel in a round; None for all."""
    keep = known.config.secure.keep
    if keep >= 1:
        return None
    return places(layout_of(known, server).size, keep, known.config.seed, server.round)


def terms_of_sum(
    known: Known, agreed: Agreement, index: int, attempt: int, cohort: tuple[str, ...]
) -> Terms:
    """The terms of a round's sum."""
    how = summing_of(known, state_of_shape(known, index))
    circle, secure = agreed.circle, known.config.secure
    serial = serial_of(index, attempt)
    return terms_of(secure, circle, serial, cohort, how.coding, least=how.least)


def helped_terms(
    known: Known, agreed: Helping, index: int, cohort: tuple[str, ...], model_sha256: bytes
) -> HelpedTerms:
    """The terms of a round's sum with helpers. There is one in a round.

    Args:
        known: the federation.
        agreed: who has to do with its sums.
        index: the round, from 0.
        cohort: who was drawn, sorted.
        model_sha256: of the model of the round; a site computes it of what it received.

    Raises:
        ConfigError: a cohort that is not sorted, or not in the roster.
        VerificationError: keys that are not the helpers' own.
    """
    how = summing_of(known, state_of_shape(known, index))
    return HelpedTerms(
        run=agreed.run,
        round=index,
        config_sha256=agreed.config_sha256,
        model_sha256=model_sha256,
        roster=agreed.roster,
        cohort=cohort,
        helpers=agreed.helpers,
        helper_keys=agreed.keys,
        colluding=known.config.secure.colluding,
        length=how.coding.length,
        bits=how.coding.bits,
        minimum_survivors=how.least,
    )


def bytes_by_name(facts: Mapping[str, Any], name: str) -> dict[str, bytes]:
    """A table of byte strings in hexadecimal digits.

    Raises:
        VerificationError: it is none.
    """
    try:
        return {str(key): bytes.fromhex(value) for key, value in letters.table(facts, name).items()}
    except (TypeError, ValueError) as error:
        raise VerificationError(f"{name} holds something else than bytes") from error
