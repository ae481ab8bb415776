"""A client's side of one secure sum: pure steps from one frozen state to the next.

Each step takes the state and what arrived, and returns the new state and what to send. Whoever
drives the steps stores the new state BEFORE the message leaves, and never goes back to an older
one: a step that is taken twice from one state, with different arguments, could give away a secret.
From any other state than its own a step raises. When a message arrives that has been answered
before, ``repeat`` returns the same answer again, byte for byte. No error changes the state.

A client that lost its state in the middle of a round has dropped out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sottovoce.codec import masks, sealing, shamir
from sottovoce.codec.masks import Words
from sottovoce.codec.roster import HASH_BYTES, Identity
from sottovoce.codec.secagg import hybrid, kem, keys
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Advertisement,
    Cohort,
    Deposit,
    Inbox,
    RevealedShare,
    SealedShare,
    SealedShares,
    Survivors,
    Unmasking,
    UnmaskRequest,
    Upload,
    digest,
    require_signed,
    signed,
)
from sottovoce.codec.secagg.states import (
    Acknowledged,
    Advertised,
    Answered,
    Held,
    Neighbour,
    Shared,
    State,
    Uploaded,
    at,
)
from sottovoce.codec.secagg.terms import Terms
from sottovoce.codec.terms import require_member
from sottovoce.codec.words import pack_words, require_vector
from sottovoce.errors import VerificationError
from sottovoce.rng import Source

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey


def advertise(
    identity: Identity, client: str, terms: Terms, source: Source
) -> tuple[Advertised, Advertisement]:
    """Begin a sum: draw fresh keys and show their public halves.

    Args:
        identity: what the client signs with. Private.
        client: its name in the roster. Public.
        terms: of the sum; nothing of it depends on the round's model. Public.
        source: of the secrets; private, or they protect nobody. ML-KEM's ciphertexts take their
            randomness from the operating system instead.

    Guarantees:
        - keys are drawn anew in each call, and signed together with the terms.

    Raises:
        VerificationError: the client is not in the cohort, or the roster has pinned another
            identity for it.
    """
    require_member(identity, client, terms, pinned_by="other clients")
    mask_secret, seal_secret = shamir.draw_secret(source), shamir.draw_secret(source)
    mask_key, mask_kem_key = hybrid.mask_keys(mask_secret, terms, client)
    seal_key = sealing.public_bytes(sealing.private_key(seal_secret))
    seal_seed = seal_kem_key = b""
    if terms.post_quantum:
        seal_seed = source.words(kem.SEED_BYTES // 8).tobytes()
        seal_kem_key = kem.public_bytes(kem.private_key(seal_seed))
    shown = Advertisement(
        client, mask_key, seal_key, mask_kem_key=mask_kem_key, seal_kem_key=seal_kem_key
    )
    sent = signed(shown, terms, identity)
    return Advertised(terms, client, mask_secret, seal_secret, sent, seal_seed), sent


def share(
    state: State, cohort: Cohort, identity: Identity, source: Source
) -> tuple[Shared, SealedShares]:
    """Give every neighbour a share of both secrets, sealed.

    Args:
        state: of a client that has advertised.
        cohort: who else has.
        identity: what the client signs with. Private.
        source: of the self-mask's seed, the shares and the nonces; private.

    Returns:
        The state in which the X25519 secrets are gone, and one box for each neighbour. With
        ``post_quantum`` also a deposit for each neighbour of a larger name.

    Guarantees:
        - the shares of client j are those at j's place among all neighbours of the graph, so that
          nobody can move them by hiding a neighbour;
        - nobody holds a share of its own secrets;
        - with ``post_quantum``, neither X25519's secrets nor ML-KEM's open a box without the other.

    Raises:
        VerificationError: the cohort is too small; it lacks a neighbour that it calls present, or
            has somebody who is none; an advertisement is not signed by its client's pinned
            identity; the client's own is not the one it sent; two keys are equal; or a key is a
            point of low order or no key of ML-KEM. Names the peer. Or this state has already
            answered another cohort.
    """
    state = at(state, Advertised)
    terms, me = state.terms, state.client
    answers = digest(cohort, terms)
    peers = _checked_peers(state, cohort)
    place = {name: number for number, name in enumerate(terms.graph[me])}
    seed = shamir.draw_secret(source)
    split = [
        shamir.split(secret, terms.threshold, len(place), source)
        for secret in (seed, state.mask_secret)
    ]
    masking = hybrid.mask_key(state.mask_secret, terms, me)
    opening = sealing.private_key(state.seal_secret)
    links = hybrid.link_secret(state.mask_secret, terms, me) if terms.post_quantum else b""
    neighbours, boxes, deposits = [], [], []
    for peer in peers:
        name, owner = peer.client, f"client {peer.client!r}"
        pair_secret = sealing.agree(masking, peer.mask_key, owner=owner)
        common = sealing.agree(opening, peer.seal_key, owner=owner)
        opening_key = _seal_key(common, terms, peer, state.sent)
        neighbours.append(Neighbour(name, pair_secret, opening_key))
        link = hybrid.link_for(links, terms, me, name)
        dealt = [*(shares[place[name]] for shares in split), link]
        boxes.append(_boxed(state, peer, _seal_key(common, terms, state.sent, peer), dealt, source))
        if terms.post_quantum and me < name:
            sealed = hybrid.deposit(pair_secret, peer.mask_kem_key, link, terms, me, name)
            deposits.append(Deposit(name, *sealed))
    sent = signed(SealedShares(me, tuple(boxes), deposits=tuple(deposits)), terms, identity)
    after = Shared(terms, me, cohort.present, seed, tuple(neighbours), answers, sent)
    return replace(after, seal_seed=state.seal_seed, link_secret=links), sent


def upload(
    state: State,
    inbox: Inbox,
    vector: Words,
    model_sha256: bytes,
    identity: Identity,
) -> tuple[Uploaded, Upload]:
    """Mask the vector and consume it: from here on it holds what is sent.

    Args:
        state: of a client that has shared.
        inbox: the neighbours' shares.
        vector: ``[terms.length]`` words below 2^bits, in the terms' type; overwritten. Private.
        model_sha256: the hash of the model that this client received, computed by itself. Public.
        identity: what the client signs with. Private.

    Returns:
        The state in which every mask key is gone, and the masked vector.

    Guarantees:
        - to whoever lacks the seed, or one pair secret with a client whose mask secret stays
          unknown, the upload is uniform; with ``post_quantum`` a pair secret is X25519's and the
          link;
        - clients that received different models use different masks, so that their sum is noise;
        - the state that it returns can mask no other vector.

    Raises:
        VerificationError: the vector is not what the terms say; fewer than the least survivors, or
            than ``threshold`` neighbours, are included; the shares are not one box from each
            neighbour that is; a box does not open, or holds other shares than its sender has
            committed to. Names the sender, and leaves the vector as it was.
    """
    state = at(state, Shared)
    terms, me = state.terms, state.client
    answers = digest(inbox, terms)
    require_vector(vector, terms)
    if len(model_sha256) != HASH_BYTES:
        raise VerificationError(f"a model's hash of {len(model_sha256)} bytes", allowed="32 bytes")
    neighbours = _checked_included(state, inbox)
    private = kem.private_key(state.seal_seed) if terms.post_quantum else None
    plus: list[bytes] = [keys.self_key(state.seed, terms, me)]
    minus: list[bytes] = []
    held = []
    for neighbour, sealed in zip(neighbours, inbox.shares, strict=True):
        name = neighbour.client
        shares, told = _opened(state, neighbour, sealed, private)
        held.append(shares)
        link = told if name < me else hybrid.link_for(state.link_secret, terms, me, name)
        key = keys.pair_key(neighbour.pair_secret + link, terms, me, name, model_sha256)
        (plus if me < name else minus).append(key)
    masks.add_masks(vector, plus, minus)
    vector &= vector.dtype.type(terms.largest)
    sent = signed(Upload(me, pack_words(vector, terms)), terms, identity)
    return Uploaded(terms, me, inbox.included, tuple(held), answers, sent), sent


def acknowledge(
    state: State, survivors: Survivors, identity: Identity
) -> tuple[Acknowledged, Acknowledgement]:
    """Sign who is in the sum, once. Only where the server may be malicious.

    Bonawitz et al. 2017, the consistency check of the malicious setting.

    Raises:
        VerificationError: the survivors are too few, include somebody whose masks are not in the
            sum, or leave out this client or more than its threshold allows of its neighbours; this
            state has already signed others; or the terms know no acknowledgements.
    """
    state = at(state, Uploaded)
    terms, me = state.terms, state.client
    answers = digest(survivors, terms)
    if not terms.malicious:
        raise VerificationError(f"{terms.title} has no acknowledgements: its server is trusted")
    _require_survivors(survivors.survivors, me, state)
    sent = signed(Acknowledgement(me, answers), terms, identity)
    return Acknowledged(terms, me, survivors.survivors, state.held, answers, sent), sent


def unmask(state: State, request: UnmaskRequest, identity: Identity) -> tuple[Answered, Unmasking]:
    """Give one share of each neighbour, once, and forget the others.

    Of a survivor the share of its own mask's seed, of a client that dropped out after sharing the
    share of its mask secret.

    Guarantees:
        - of no client both shares, whatever is asked and however often;
        - with a malicious server, nothing before ``threshold`` neighbours among the survivors have
          signed the same survivors;
        - the new state holds no share but those that were sent.

    Raises:
        VerificationError: the survivors are not those that this client signed, or, where it signs
            none, not what ``acknowledge`` would sign; too few endorsements, or one that is not
            a surviving neighbour's; or this state has already answered another request.
    """
    terms, me = state.terms, state.client
    answers = digest(request, terms)
    if terms.malicious:
        acknowledged = at(state, Acknowledged)
        _require_endorsed(request, acknowledged)
        held = acknowledged.held
    else:
        uploaded = at(state, Uploaded)
        _require_survivors(request.survivors, request.client, uploaded)
        held = uploaded.held
    survivors = frozenset(request.survivors)
    shares = tuple(
        RevealedShare(share.client, "self", share.self_share)
        if share.client in survivors
        else RevealedShare(share.client, "mask", share.mask_share)
        for share in held
    )
    sent = signed(Unmasking(me, shares), terms, identity)
    return Answered(terms, me, answers, sent), sent


# --- checks --------------------------------------------------------------------------------------


def _checked_peers(state: Advertised, cohort: Cohort) -> tuple[Advertisement, ...]:
    """Return the neighbours' advertisements, once everything about them has been checked."""
    terms, me = state.terms, state.client
    near = _near(cohort.present, cohort.client, terms, me)
    named = [advertisement.client for advertisement in cohort.advertisements]
    if named != sorted({me, *near}):
        raise VerificationError(
            f"client {me!r} got the keys of other clients than of itself and its neighbours that "
            "are said to be present"
        )
    owners: dict[bytes, str] = {}
    for advertisement in cohort.advertisements:
        name = advertisement.client
        if name != me:
            require_signed(advertisement, terms)
        elif advertisement != state.sent:
            raise VerificationError(f"client {me!r} got other keys as its own than it had sent")
        for key in advertisement.shown:
            if owners.setdefault(key, name) != name:
                raise VerificationError(
                    f"clients {owners[key]!r} and {name!r} have shown the same key"
                )
    return tuple(peer for peer in cohort.advertisements if peer.client != me)


def _seal_key(common: bytes, terms: Terms, sender: Advertisement, receiver: Advertisement) -> bytes:
    """Derive the key of a box, or the half of it that X25519 gives."""
    shown = (sender, receiver) if terms.post_quantum else ()
    bound = (digest(advertisement, terms) for advertisement in shown)
    return keys.seal_key(common, terms, sender.client, receiver.client, *bound)


def _boxed(
    state: Advertised, peer: Advertisement, key: bytes, dealt: Sequence[bytes], source: Source
) -> SealedShare:
    """Seal for one neighbour its share of the seed, its share of the mask secret, and the link."""
    terms, me, name = state.terms, state.client, peer.client
    own, mask, link = dealt
    ciphertext = link_commitment = b""
    if terms.post_quantum:
        key, ciphertext = hybrid.sealing_key(key, peer.seal_kem_key, terms, me, name)
        link_commitment = hybrid.commitment(link, terms, me, name)
    nonce = source.words(2).tobytes()[: sealing.NONCE_BYTES]
    return SealedShare(
        name,
        keys.seal(key, nonce, own + mask + link, terms, me, name),
        keys.commitment(own, terms, "self", me, name),
        keys.commitment(mask, terms, "mask", me, name),
        ciphertext,
        link_commitment,
    )


def _near(listed: Sequence[str], addressee: str, terms: Terms, me: str) -> list[str]:
    """Return the neighbours on a list of clients that is long enough and has this client on it."""
    if addressee != me:
        raise VerificationError(f"client {me!r} got a message that is for {addressee!r}")
    on_list = frozenset(listed)
    if me not in on_list:
        raise VerificationError(f"client {me!r} is told that it takes no part in {terms.title}")
    if len(on_list) < terms.minimum_survivors:
        raise VerificationError(
            f"client {me!r} is told of {len(on_list)} clients in {terms.title}",
            allowed=f"{terms.minimum_survivors} or more",
        )
    near = [name for name in terms.graph[me] if name in on_list]
    if len(near) < terms.threshold:
        raise VerificationError(
            f"client {me!r} is told of {len(near)} neighbours in {terms.title}",
            allowed=f"{terms.threshold} or more",
        )
    return near


def _checked_included(state: Shared, inbox: Inbox) -> list[Neighbour]:
    """Return the neighbours whose masks are in the sum."""
    near = _near(inbox.included, inbox.client, state.terms, state.client)
    strangers = sorted(set(inbox.included) - set(state.present))
    if strangers:
        raise VerificationError(
            f"client {state.client!r} is told of shares of {strangers[0]!r}, who had not advertised"
        )
    if [sealed.client for sealed in inbox.shares] != near:
        raise VerificationError(
            f"client {state.client!r} got other shares than one from each neighbour"
        )
    on_list = set(near)
    return [neighbour for neighbour in state.neighbours if neighbour.client in on_list]


def _opened(
    state: Shared, neighbour: Neighbour, sealed: SealedShare, private: MLKEM768PrivateKey | None
) -> tuple[Held, bytes]:
    """Open a neighbour's shares of its seed and of its mask secret, and the link in the box."""
    terms, me, sender = state.terms, state.client, neighbour.client
    key = neighbour.opening_key
    if private is not None:
        key = hybrid.opening_key(key, private, sealed.ciphertext, terms, sender, me)
    text = keys.unseal(key, sealed.box, terms, sender, me)
    own, mask = text[: shamir.SHARE_BYTES], text[shamir.SHARE_BYTES : 2 * shamir.SHARE_BYTES]
    link = text[2 * shamir.SHARE_BYTES :]
    found = (
        keys.commitment(own, terms, "self", sender, me),
        keys.commitment(mask, terms, "mask", sender, me),
        hybrid.commitment(link, terms, sender, me) if terms.post_quantum else b"",
    )
    if found != (sealed.self_commitment, sealed.mask_commitment, sealed.link_commitment):
        raise VerificationError(
            f"client {sender!r} gave {me!r} other shares than it has committed to", culprit=sender
        )
    return Held(sender, own, mask), link


def _require_survivors(survivors: Sequence[str], addressee: str, state: Uploaded) -> None:
    _near(survivors, addressee, state.terms, state.client)
    strangers = sorted(set(survivors) - set(state.included))
    if strangers:
        raise VerificationError(
            f"client {state.client!r} is told that {strangers[0]!r} survived, whose masks are not "
            "in the sum"
        )


def _require_endorsed(request: UnmaskRequest, state: Acknowledged) -> None:
    terms, me = state.terms, state.client
    _near(request.survivors, request.client, terms, me)
    if request.survivors != state.survivors:
        raise VerificationError(f"client {me!r} is asked about other survivors than it has signed")
    near = set(terms.graph[me]).intersection(state.survivors)
    for endorsement in request.endorsements:
        if endorsement.client not in near:
            raise VerificationError(
                f"{endorsement.client!r} is no surviving neighbour of client {me!r}"
            )
        require_signed(
            Acknowledgement(endorsement.client, state.answers, endorsement.signature), terms
        )
    if len(request.endorsements) < terms.threshold:
        raise VerificationError(
            f"client {me!r} is shown {len(request.endorsements)} acknowledgements of its neighbours",
            allowed=f"{terms.threshold} or more",
        )
