"""A client's side of one secure sum with helpers: one message.

There is no state. Whoever drives a client stores the message before its first byte leaves, and
sends the same bytes again when it has to. A second message for the same round would hide its vector
as well, under seeds of its own, but the server counts only the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sottovoce.codec import masks, sealing
from sottovoce.codec.masks import Words
from sottovoce.codec.oneshot import keys
from sottovoce.codec.oneshot.messages import Parcel, Upload, signed
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.codec.roster import Identity
from sottovoce.codec.terms import require_member
from sottovoce.codec.words import pack_words, require_vector
from sottovoce.rng import Source


def upload(identity: Identity, client: str, terms: Terms, vector: Words, source: Source) -> Upload:
    """Mask the vector, consume it, and seal what the masks grow from: y = x - Σ_Q PRG(s_Q).

    Args:
        identity: what the client signs with. Private.
        client: its name in the roster. Public.
        terms: of the sum; ``model_sha256`` is the hash of the model that this client received,
            computed by itself. Public.
        vector: ``[terms.length]`` words below 2^bits, in the terms' type; overwritten with what is
            sent. Private.
        source: of the seeds; private, or they protect nobody.

    Returns:
        The client's one message. It holds no secret that is not encrypted.

    Guarantees:
        - to whoever lacks one of the seeds, as the server and any t helpers do, the words are
          uniform, whatever the vector;
        - each helper gets the seeds of its own sets and of no others;
        - seeds and keys are drawn anew in each call.

    Raises:
        VerificationError: the client is not in the cohort, the roster has pinned another identity
            for it, or the vector is not what the terms say; the vector is as it was.
    """
    require_vector(vector, terms)
    require_member(identity, client, terms, pinned_by="helpers")
    secret, *seeds = keys.draw_secrets(source, 1 + len(terms.subsets))
    private, bound = sealing.private_key(secret), terms.digest
    masks.add_masks(
        vector, [], [keys.mask_key(seed, bound, client, n) for n, seed in enumerate(seeds)]
    )
    vector &= vector.dtype.type(terms.largest)
    words = pack_words(vector, terms)
    parcel = Parcel(
        client,
        sealing.public_bytes(private),
        tuple(keys.commitment(seed, bound, client, n) for n, seed in enumerate(seeds)),
        _boxes(client, terms, private, seeds),
        sha256(words).digest(),
    )
    return Upload(signed(parcel, terms, identity), words)


def _boxes(
    client: str, terms: Terms, private: X25519PrivateKey, seeds: Sequence[bytes]
) -> tuple[bytes, ...]:
    """Seal for each helper the seeds of the sets that it is in."""
    public, bound = sealing.public_bytes(private), terms.digest
    boxes = []
    for shown in terms.helper_keys:
        shared = sealing.agree(private, shown.key, owner=f"helper {shown.helper!r}")
        key = keys.seal_key(shared, bound, client, shown.helper, public)
        text = b"".join(seeds[number] for number in terms.held[shown.helper])
        boxes.append(keys.seal(key, text, bound, client, shown.helper))
    return tuple(boxes)
