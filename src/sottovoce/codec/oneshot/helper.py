"""A helper's side of one secure sum: pure steps from one frozen state to the next.

Each step takes the state and what arrived, and returns the new state and what to send. Whoever
drives the steps keeps ONE state for each digest of terms, stores the new state BEFORE the message
leaves, and never goes back to an older one: a helper that locks twice gives a client's vector away.
No error changes the state. A helper that lost its state is offline until the next round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sottovoce.codec import masks, sealing
from sottovoce.codec.oneshot import keys
from sottovoce.codec.oneshot.messages import (
    Claim,
    Delivery,
    Parcel,
    PartialSum,
    Proposal,
    Receipt,
    Request,
    Vote,
    digest,
    require_signed,
    signed,
)
from sottovoce.codec.oneshot.states import (
    Answered,
    Locked,
    Opened,
    Ready,
    Received,
    RunSecret,
    State,
    at,
)
from sottovoce.codec.oneshot.terms import HelperKey, Terms
from sottovoce.codec.roster import Identity, Roster
from sottovoce.codec.words import pack_words
from sottovoce.errors import VerificationError
from sottovoce.rng import Source


def announce(
    identity: Identity, helper: str, helpers: Roster, run: bytes, source: Source
) -> tuple[RunSecret, HelperKey]:
    """Begin a run: draw a key, and show its public half under the pinned identity.

    Args:
        identity: what the helper signs with. Private.
        helper: its name in the roster of the helpers. Public.
        helpers: the pinned helpers. Public.
        run: 32 bytes, drawn once per run. Public.
        source: of the secret; private, or it protects nobody.

    Raises:
        VerificationError: the roster has pinned another identity, or none, for this helper.
    """
    _require_identity(identity, helper, helpers)
    (secret,) = keys.draw_secrets(source, 1)
    shown = HelperKey(helper, sealing.public_bytes(sealing.private_key(secret)), b"")
    signature = identity.sign(shown.to_sign(helpers, run))
    return RunSecret(run, helper, secret), HelperKey(helper, shown.key, signature)


def begin(secret: RunSecret, terms: Terms) -> Ready:
    """Agree to the terms of one sum; once for each digest of terms.

    Raises:
        VerificationError: the terms name another key as this helper's, or belong to another run.
    """
    found = HelperKey(secret.helper, sealing.public_bytes(sealing.private_key(secret.secret)), b"")
    named = {(shown.helper, shown.key) for shown in terms.helper_keys}
    if secret.run != terms.run or (found.helper, found.key) not in named:
        raise VerificationError(
            f"{terms.title} names another key of helper {secret.helper!r} than it has in this run"
        )
    return Ready(terms, secret.helper, secret.secret)


def receive(state: State, delivery: Delivery, identity: Identity) -> tuple[Received, Receipt]:
    """Open the seeds that clients have sealed for this helper, and say whose are in order.

    Args:
        state: of a helper that is ready.
        delivery: the parcels of all clients whose uploads arrived.
        identity: what the helper signs with. Private.

    Guarantees:
        - a client is accepted only if it has signed its parcel, and every seed in this helper's
          box is the one that the client has committed to, so that two helpers who accept the same
          parcel hold the same seeds;
        - whatever one client sends, the others are received.

    Raises:
        VerificationError: this helper has received a delivery before, or the identity is not the
            one that is pinned.
    """
    state = at(state, Ready)
    terms, me = state.terms, state.helper
    answers = digest(delivery, terms)
    _require_identity(identity, me, terms.helpers)
    private = sealing.private_key(state.secret)
    opened, refused = [], []
    for parcel in delivery.parcels:
        try:
            opened.append(_opened(parcel, private, me, terms))
        except VerificationError as problem:
            refused.append((parcel.client, str(problem)))
    accepted = tuple(it.client for it in opened)
    sent = signed(Receipt(me, accepted), terms, identity)
    return Received(terms, me, tuple(opened), tuple(refused), answers, sent), sent


def lock(state: State, proposal: Proposal, identity: Identity) -> tuple[Locked, Vote]:
    """Sign who is in the sum, once, and forget everybody else.

    Guarantees:
        - from the new state nobody can be told of other survivors, nor of other parcels of the
          same ones.

    Raises:
        VerificationError: the survivors are too few, or include somebody whom this helper has not
            accepted; or it has locked before.
    """
    state = at(state, Received)
    terms, me = state.terms, state.helper
    answers = digest(proposal, terms)
    survivors = frozenset(proposal.survivors)
    if len(survivors) < terms.minimum_survivors:
        raise VerificationError(
            f"helper {me!r} is told of {len(survivors)} survivors in {terms.title}",
            allowed=f"{terms.minimum_survivors} or more",
        )
    strangers = sorted(survivors.difference(it.client for it in state.opened))
    if strangers:
        raise VerificationError(
            f"helper {me!r} is told that {strangers[0]!r} survived, whom it has not accepted"
        )
    opened = tuple(it for it in state.opened if it.client in survivors)
    locked = lock_of([(it.client, it.parcel_sha256) for it in opened])
    sent = signed(Vote(me, locked), terms, identity)
    return Locked(terms, me, opened, answers, sent), sent


def lock_of(parcels: Sequence[tuple[str, bytes]]) -> bytes:
    """Hash who is in the sum, with the digest of each one's parcel, in the order of the names."""
    return keys.hashed_for("lock", *(part for pair in parcels for part in pair))


def answer(state: State, request: Request) -> Answered:
    """Accept that enough helpers have locked the same, and go on to tell the sums.

    It may be asked again, for the words of other sets, about the same survivors.

    Raises:
        VerificationError: the survivors are not those that this helper has locked; fewer votes
            than the quorum; a vote that its helper has not signed, or for something else; sums
            are wanted of sets that this helper is not in; or it has not locked yet.
    """
    terms, me = state.terms, state.helper
    if not isinstance(state, Locked | Answered):
        raise VerificationError(
            f"helper {me!r} is asked for sums in {terms.title} before it has locked"
        )
    vote = state.sent if isinstance(state, Locked) else state.vote
    if request.helper != me:
        raise VerificationError(f"helper {me!r} got a message that is for {request.helper!r}")
    if request.survivors != tuple(it.client for it in state.opened):
        raise VerificationError(f"helper {me!r} is asked about other survivors than it has locked")
    voters = {endorsement.helper for endorsement in request.votes}
    for endorsement in request.votes:
        require_signed(Vote(endorsement.helper, vote.lock_sha256, endorsement.signature), terms)
    if len(voters) < terms.quorum:
        raise VerificationError(
            f"helper {me!r} is shown the votes of {len(voters)} helpers in {terms.title}",
            allowed=f"{terms.quorum} or more",
        )
    if not set(request.wanted) <= set(terms.held[me]):
        raise VerificationError(f"helper {me!r} is asked for a sum of which it has no seeds")
    return Answered(terms, me, state.opened, vote, request.wanted)


def sums(state: Answered, identity: Identity) -> Iterator[PartialSum]:
    """Tell for each set that this helper is in the sum of its key streams: Σ_i PRG(s_iQ).

    Yields:
        One message for each set, with the words where they are wanted, and else only their hash,
        to which whoever sends the words is held.

    Guarantees:
        - the same bytes for the same survivors, however often it is asked;
        - memory is three vectors (the sum, and its words while they are joined) and some blocks,
          however many clients and sets there are.
    """
    for place in range(state.terms.seeds_per_helper):
        yield _told(state, place, identity)


def _told(state: Answered, place: int, identity: Identity) -> PartialSum:
    terms = state.terms
    number = terms.held[state.helper][place]
    words = _summed([it.mask_keys[place] for it in state.opened], terms)
    claim = signed(Claim(state.helper, number, sha256(words).digest()), terms, identity)
    return PartialSum(claim, words if number in state.wanted else b"")


def _summed(mask_keys: Sequence[bytes], terms: Terms) -> bytes:
    total = np.zeros(terms.length, terms.word)
    masks.add_masks(total, mask_keys, [])
    # What lies above the width of a word is not packed.
    return pack_words(total, terms)


def _opened(parcel: Parcel, private: X25519PrivateKey, me: str, terms: Terms) -> Opened:
    """Check everything about one client's parcel and derive the keys of its masks."""
    client, bound = parcel.client, terms.digest
    found = require_signed(parcel, terms)
    shared = sealing.agree(private, parcel.key, owner=f"client {client!r}")
    key = keys.seal_key(shared, bound, client, me, parcel.key)
    text = keys.unseal(key, parcel.boxes[terms.helper_position[me]], bound, client, me)
    mask_keys = []
    for place, number in enumerate(terms.held[me]):
        seed = text[place * sealing.KEY_BYTES : (place + 1) * sealing.KEY_BYTES]
        if keys.commitment(seed, bound, client, number) != parcel.commitments[number]:
            raise VerificationError(
                f"client {client!r} sealed another seed for helper {me!r} than it has committed to"
            )
        mask_keys.append(keys.mask_key(seed, bound, client, number))
    return Opened(client, found, tuple(mask_keys))


def _require_identity(identity: Identity, helper: str, helpers: Roster) -> None:
    if identity.public != helpers.members.get(helper):
        raise VerificationError(
            f"the identity of helper {helper!r} is not the one in the roster of the helpers",
            remedy="Sign with the key that the clients have pinned",
        )
