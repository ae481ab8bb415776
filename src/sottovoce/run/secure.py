"""The sum of a round in words of b bits: with or without somebody who hides the words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec import he
from sottovoce.codec.bfv import read_public
from sottovoce.codec.checks import Words
from sottovoce.codec.coding import (
    Coding,
    add,
    close,
    open_sum,
    quantise,
    rounded_norm_bound,
)
from sottovoce.codec.oneshot.terms import TRUST
from sottovoce.codec.roster import FEWEST_MEMBERS
from sottovoce.codec.settings import SecureSettings
from sottovoce.codec.wire import pack, unpack
from sottovoce.errors import AbortedError, ConfigError, VerificationError
from sottovoce.privacy.shares import Shares
from sottovoce.rng import Source, seeded_source
from sottovoce.run import by_helpers, by_secagg
from sottovoce.run.circle import Circle
from sottovoce.update import Layout, Tensors, Update, flatten, l2_norm, unflatten

Vectors = Mapping[str, Callable[[], Words]]
Received = dict[tuple[str, str], bytes]


@dataclass(frozen=True, eq=False)
class Summed:
    """What a server knows after a round of sums.

    Args:
        mean: the weighted mean of the survivors' updates.
        clients: the survivors, sorted.
        clipped: how many updates were longer than the clip norm. Known in this process only.
        received: all that the server received, by client and stage.
    """

    mean: Tensors = field(repr=False)
    clients: tuple[str, ...]
    clipped: int
    received: Mapping[tuple[str, str], bytes] = field(repr=False)


def require_enough(secure: SecureSettings, clients: int) -> None:
    """Refuse to hide one client among fewer than two.

    Raises:
        ConfigError: as said.
    """
    if secure.aggregation != "none" and clients < FEWEST_MEMBERS:
        raise ConfigError(
            f'secure.aggregation is "{secure.aggregation}" and {clients} client is in a sum',
            allowed="2 or more clients in a round",
            remedy="A sum of one hides nothing; raise federation.clients_per_round",
        )


def least_survivors(secure: SecureSettings, clients: int, minimum: int = 1) -> int:
    """How many clients of a round have to deliver for its sum to be told, at least.

    In the complete graph of up to 100 clients that many are also enough.

    Args:
        secure: the section ``[secure]``.
        clients: how many a round has.
        minimum: how many the configuration asks for.

    >>> least_survivors(SecureSettings(aggregation="secagg", clip_norm=1.0), 8)
    6
    """
    if secure.aggregation == "secagg":
        return max(minimum, by_secagg.degree(secure, clients)[1] + 1)
    return max(minimum, 1 if secure.aggregation == "none" else FEWEST_MEMBERS)


def facts(
    secure: SecureSettings, clients: int, *, coding: Coding | None, least: int
) -> dict[str, Any]:
    """How the sums of a run are protected, as ``sotto run --json`` says it.

    Args:
        secure: the section ``[secure]``.
        clients: how many a round has.
        coding: how words are written; None where updates travel as they are.
        least: how many have to deliver.

    Returns:
        ``colluding`` is how many may work with the server without learning anything of a client's
        update: of its neighbours under ``secagg``, of the helpers under ``helpers``, of all
        clients under ``he``; None where the server sees each update. ``wrap_log2`` bounds log2 of
        the chance that noise wraps a sum anywhere in the run; None without noise in words.
    """
    noisy = coding is not None and coding.noise_std > 0
    told: dict[str, Any] = {
        "aggregation": secure.aggregation,
        "bits": None if coding is None else coding.bits,
        "wrap_log2": coding.wrap_log2 if coding is not None and noisy else None,
        "least": least,
        "colluding": None,
        "compress": secure.compress,
        "keep": secure.keep,
        "group_size": secure.group_size,
        "robust": secure.robust,
    }
    if secure.aggregation == "helpers":
        return told | {"helpers": secure.helpers, "colluding": secure.colluding, "trust": TRUST}
    if secure.aggregation == "he":
        return told | {"colluding": 0, "trust": he.TRUST}
    if secure.aggregation == "none":
        return told
    neighbours, threshold = by_secagg.degree(secure, clients)
    return told | {
        "server": secure.server,
        "neighbours": neighbours,
        "threshold": threshold,
        "colluding": colluding(secure, clients),
    }


def colluding(secure: SecureSettings, clients: int) -> int | None:
    """How many of a client's neighbours the masks bear that work with the server.

    None where no number of other clients learns anything by itself, and under encryption, where one
    is enough.
    """
    if secure.aggregation != "secagg":
        return None
    neighbours, threshold = by_secagg.degree(secure, clients)
    if secure.server == "semi-honest":
        return threshold - 1
    # Two disjoint sets of honest neighbours, told different things, must not both be enough.
    return 2 * threshold - neighbours - 1


def claim(secure: SecureSettings, clients: int, *, coding: Coding | None, least: int) -> list[str]:
    """Say before a run what its server will see, and what would undo that; as ``facts``.

    >>> claim(SecureSettings(), 8, coding=None, least=1)
    ['Sums: the server sees the update of every client.']
    """
    told = facts(secure, clients, coding=coding, least=least)
    words = "" if told["bits"] is None else f", in words of {told['bits']} bits"
    if told["wrap_log2"] is not None:
        words += f", where noise wraps a sum of the run with a chance of at most 2^{ceil(told['wrap_log2'])}"
    if secure.compress is not None:
        words = f", in {secure.compress} bits an entry"
    sums = "the sum of a round"
    if secure.group_size is not None:
        sums = (
            f"the sums of groups of {secure.group_size} clients or more, joined by {secure.robust},"
        )
    if secure.aggregation == "none":
        return [f"Sums: the server sees the update of every client{words}."]
    start = f"Sums ({secure.aggregation}{words}): the server sees "
    if secure.aggregation == "he":
        return [f"{start}ciphertexts and nobody's update. {he.TRUST}"]
    if secure.aggregation == "helpers":
        return [
            f"{start}{sums} and nobody's update, together with up to "
            f"{secure.colluding} of {secure.helpers} helpers. {TRUST}"
        ]
    breaks = "breaks the protocol" if secure.server == "malicious" else "keeps to the protocol"
    return [
        f"{start}{sums} and nobody's update, even if it {breaks} and works with "
        f"{told['colluding']} of a client's {told['neighbours']} neighbours; {told['least']} of "
        f"{clients} clients have to deliver."
    ]


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one client sends whose units lie inside it: their bounded sum in integers. Private.

    Args:
        steps: int64, in the order of the sum's layout.
        units: how many it has; public.
    """

    steps: NDArray[np.int64] = field(repr=False)
    units: int


@dataclass(frozen=True, eq=False)
class Noise:
    """The shares of noise that clients add before anything hides their words.

    Args:
        shares: how much each adds.
        source: where a client's share comes from, by name. Private.
        contributions: by client, where units lie inside clients; empty where clients are the units.
    """

    shares: Shares
    source: Callable[[str], Source] = field(repr=False)
    contributions: Mapping[str, Contribution] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Summing:
    """How a sum is formed.

    Args:
        secure: the section ``[secure]``.
        circle: who hides from the server; None lets it see each client's words.
        seed: the run's; roundings and rotations come from it, so that a run can be repeated.
        layout: of an update.
        coding: how vectors are written.
        heaviest: the most that one client may weigh. Public.
        least: how many clients must be in a sum for it to be told.
        noise: what clients add under a privacy plan; None where nothing.
    """

    secure: SecureSettings
    circle: Circle | None
    seed: int
    layout: Layout
    coding: Coding
    heaviest: int
    least: int
    noise: Noise | None = None

    @property
    def inside(self) -> bool:
        """Whether the units that noise hides lie inside clients; each of them was rounded alone."""
        return not self.coding.rotated


def sum_of(
    updates: Sequence[Update],
    absent: Collection[str],
    how: Summing,
    *,
    round_index: int,
    model_sha256: bytes,
) -> Summed:
    """Write all updates as words and add them, under masks where there is a circle.

    Args:
        updates: of the clients that delivered, in any order. Private each, but for the names.
        absent: who was drawn and fell silent before it sent its update.
        how: what all agree on.
        round_index: the round, from 0.
        model_sha256: of the model that all clients received.

    Guarantees:
        - with and without a circle the mean is the same, bit for bit;
        - with a circle the server reads nothing but the sum, the sum of weights and the number of
          clients; every message passes through its bytes;
        - under a plan each client adds its share of the noise before its words are hidden, and an
          update that is not finite counts as zero.

    Raises:
        VerificationError: an update does not fit the layout, is not finite or weighs more than
            ``heaviest``; or the sum does not verify. Nothing is released.
        AbortedError: fewer clients are left than the sum needs.
    """
    present = {update.client: update for update in sorted(updates, key=lambda one: one.client)}
    if not present or len(present) < len(updates):
        raise VerificationError(
            f"{len(updates)} updates of {len(present)} clients in round {round_index}",
            allowed="one update of every client, and at least one",
        )
    if len(present) < how.least:
        raise AbortedError(
            f"round {round_index}",
            "the sum",
            round_index,
            f"{len(present)} clients, and {how.least} are needed",
            sorted(absent),
        )
    vectors = {
        name: partial(words_of, update, how, round_index) for name, update in present.items()
    }
    cohort = tuple(sorted({*present, *absent}))
    total, received = _total(how, vectors, cohort, (round_index, model_sha256))
    mean = mean_of(total, how, round_index=round_index, clients=len(present))
    norms = [] if how.inside else [l2_norm(update.tensors) for update in updates]
    return Summed(
        mean,
        tuple(present),
        clipped=sum(isfinite(norm) and norm > how.coding.clip_norm for norm in norms),
        received=received,
    )


def mean_of(total: Words, how: Summing, *, round_index: int, clients: int) -> Tensors:
    """The weighted mean in a sum of words.

    Args:
        total: the sum. It is overwritten.
        how: what all agree on.
        round_index: the round, from 0.
        clients: how many are in it.

    Raises:
        VerificationError: the sum is not of so many clients, or they weigh nothing.
    """
    rotation = _rotation(how, round_index)
    decoded = open_sum(total, how.coding, rotation_seed=rotation, heaviest=how.heaviest)
    if decoded.count != clients or not decoded.weight:
        raise VerificationError(
            f"the sum of round {round_index} is of {decoded.count} clients that weigh "
            f"{decoded.weight}",
            allowed=f"the {clients} that sent their vectors, with a weight above 0",
        )
    mean = decoded.vector * np.float32((1 if how.inside else how.heaviest) / decoded.weight)
    return unflatten(mean, how.layout)


def _rotation(how: Summing, round_index: int) -> bytes:
    return seeded_source(how.seed, "rotation", round_index).words(4).tobytes()


def words_of(update: Update, how: Summing, round_index: int) -> Words:
    """One client's update as words, with its weight, count and checksum.

    Raises:
        VerificationError: the update does not fit the layout, is not finite or weighs more than
            ``heaviest``.
    """
    if how.noise is not None and update.client in how.noise.contributions:
        own = how.noise.contributions[update.client]
        noisy = own.steps + how.noise.shares.draw(how.noise.source(update.client))
        return close(noisy, how.coding, weight=own.units)
    if not 0 <= update.counts <= how.heaviest:
        raise VerificationError(
            f"client {update.client!r} weighs {update.counts}",
            allowed=f"at most {how.heaviest}",
            remedy="Raise secure.max_weight",
        )
    vector = flatten(update.tensors, how.layout)
    if how.noise is not None and not np.isfinite(vector).all():
        # To stop here would tell of the client's text; under a plan it counts as zero.
        vector = np.zeros_like(vector)
    steps = quantise(
        vector,
        how.coding,
        weight=update.counts,
        heaviest=how.heaviest,
        rotation_seed=_rotation(how, round_index),
        rounding=seeded_source(how.seed, "rounding", update.client, round_index),
        norm_limit=None if how.noise is None else rounded_norm_bound(how.coding),
    ).steps
    if how.noise is not None:
        steps = steps + how.noise.shares.draw(how.noise.source(update.client))
    return close(steps, how.coding, weight=update.counts)


def _total(
    how: Summing,
    vectors: Vectors,
    cohort: tuple[str, ...],
    where: tuple[int, bytes],
) -> tuple[Words, Received]:
    """The sum of the words, by whatever hides them; ``where`` is the round and its model's hash."""
    round_index, model_sha256 = where
    circle, coding = how.circle, how.coding
    if circle is None:
        hidden = how.secure.aggregation == "he"
        return _encrypted(vectors, coding) if hidden else _seen(vectors, coding)
    if circle.helpers is None:
        terms = by_secagg.terms_of(how.secure, circle, round_index, cohort, coding, least=how.least)
        return by_secagg.play(terms, circle, model_sha256, vectors)
    agreed = by_helpers.terms_of(
        circle,
        circle.helpers,
        round_index,
        cohort,
        coding,
        model_sha256=model_sha256,
        colluding=how.secure.colluding,
        least=how.least,
    )
    return by_helpers.play(agreed, circle, circle.helpers, vectors)


def _seen(vectors: Vectors, coding: Coding) -> tuple[Words, Received]:
    """The sum where the server sees the words of every client."""
    total = np.zeros(coding.length, coding.dtype)
    received = {}
    for name, words in vectors.items():
        received[name, "words"] = data = pack(words(), coding.bits)
        add(total, unpack(data, coding.bits, coding.length))
    return total, received


def _encrypted(vectors: Vectors, coding: Coding) -> tuple[Words, Received]:
    """The sum where the clients share a key, drawn anew for every sum, and the server adds."""
    keys = he.make_keys(coding.bits, coding.clients, coding.length)
    total = he.Total(read_public(keys.public))
    received: Received = {}
    for name, words in vectors.items():
        received[name, "ciphertexts"] = data = he.encrypt(words(), keys)
        total = he.add(total, data, client=name)
    return he.decrypt(he.write(total), keys, clients=len(vectors)), received
