"""The server's side of one secure sum: it forwards keys and shares, adds uploads, unmasks the total.

The server is an object and not a row of frozen values, because it holds one thing that is too large
to copy at each step: the running total, into which every upload is added as it arrives and which is
unmasked in place. Everything else it holds are keys, shares and hashes.

Each ``add_`` method takes one client's message, or raises and leaves everything as it was, so that
a faulty client costs the round no more than that client. Each ``close_`` method ends a stage with
whoever was heard by then, and returns what goes out. When to close is the caller's decision; so is
what to do with a client that was named.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sottovoce.codec import masks, sealing, shamir
from sottovoce.codec.masks import Words
from sottovoce.codec.secagg import hybrid, kem, keys
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Advertisement,
    Cohort,
    Deposit,
    Endorsement,
    Inbox,
    SealedShare,
    SealedShares,
    Signed,
    Survivors,
    Unmasking,
    UnmaskRequest,
    Upload,
    digest,
    require_signed,
)
from sottovoce.codec.secagg.terms import Terms
from sottovoce.codec.words import unpack_words
from sottovoce.errors import AbortedError, VerificationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

Stage = Literal["advertisements", "shares", "uploads", "acknowledgements", "unmasking", "the sum"]


class Server:
    """One secure sum, seen from the server. It learns the sum of the survivors and nothing else.

    Args:
        terms: what was agreed on. Public.
        model_sha256: the hash of the model that was sent to every client. Public.

    Guarantees:
        - ``recover`` returns Σ x_i mod 2^bits over the survivors, or raises and returns nothing;
        - memory for vectors is the total, one upload and one block, however many clients there are;
        - memory for deposits is 1,136 bytes a pair of neighbours until the uploads are closed, and
          from then on only for pairs of which the larger name has dropped out;
        - a message that raises changes nothing; one that comes twice counts once;
        - a share that is not the one its dealer sealed is refused, with the name of who sent it.

    Raises:
        VerificationError: from every method: a message of the wrong stage, of a client that is not
            expected, without its signature, or a second one that differs from the first.
        AbortedError: from every ``close_`` method and ``recover``: too few clients at the end of a
            stage; it holds the stage, the round and who was missing.
    """

    def __init__(self, terms: Terms, model_sha256: bytes) -> None:
        self.terms = terms
        self._model_sha256 = model_sha256
        self._stage: Stage = "advertisements"
        self._expected = frozenset(terms.cohort)
        self._seen: dict[str, bytes] = {}
        self._advertisements: dict[str, Advertisement] = {}
        self._key_owners: dict[bytes, str] = {}
        self._sealed: dict[str, dict[str, SealedShare]] = {}
        self._deposits: dict[tuple[str, str], Deposit] = {}
        self._included: tuple[str, ...] = ()
        self._total: Words = np.zeros(terms.length, terms.word)
        self._survivors: tuple[str, ...] = ()
        self._alive: frozenset[str] = frozenset()
        self._told = b""
        self._endorsements: dict[str, Endorsement] = {}
        self._revealed: dict[str, dict[str, bytes]] = {}

    @property
    def stage(self) -> Stage:
        """What is being gathered."""
        return self._stage

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Who may still send what is being gathered, and has not."""
        return tuple(sorted(self._expected.difference(self._seen)))

    @property
    def survivors(self) -> tuple[str, ...]:
        """Whose vectors are in the sum; known once the uploads are closed."""
        return self._survivors

    # --- stage 1 ---------------------------------------------------------------------------------

    def add_advertisement(self, message: Advertisement) -> None:
        """Take a client's keys.

        Raises:
            VerificationError: also a point of low order, no key of ML-KEM, or a key that another
                client has shown.
        """
        new = self._unseen(message, "advertisements")
        if new is None:
            return
        for key in (message.mask_key, message.seal_key):
            sealing.require_point(key, owner=f"client {message.client!r}")
        for key in message.kem_keys:
            kem.require_key(key, peer=message.client)
        for key in message.shown:
            if key in self._key_owners:
                raise VerificationError(
                    f"client {message.client!r} shows a key of {self._key_owners[key]!r}"
                )
        self._key_owners.update(dict.fromkeys(message.shown, message.client))
        self._advertisements[message.client] = message
        self._seen[message.client] = new

    def close_advertisements(self) -> dict[str, Cohort]:
        """Go on with whoever advertised: for each client its neighbours' keys."""
        present = self._close("advertisements", "shares", heard=self._seen, needed_by=self._seen)
        return {
            me: Cohort(
                me,
                present,
                tuple(
                    self._advertisements[name]
                    for name in sorted((me, *self.terms.graph[me]))
                    if name in self._advertisements
                ),
            )
            for me in present
        }

    # --- stage 2 ---------------------------------------------------------------------------------

    def add_shares(self, message: SealedShares) -> None:
        """Take a client's sealed shares.

        Raises:
            VerificationError: also anything but one box for each of its neighbours, and with
                ``post_quantum`` a deposit for each of larger name.
        """
        new = self._unseen(message, "shares")
        if new is None:
            return
        holders = [
            name for name in self.terms.graph[message.client] if name in self._advertisements
        ]
        if [box.client for box in message.shares] != holders:
            raise VerificationError(
                f"client {message.client!r} sealed shares for others than its neighbours"
            )
        larger = [name for name in holders if name > message.client and self.terms.post_quantum]
        if [deposit.client for deposit in message.deposits] != larger:
            raise VerificationError(
                f"client {message.client!r} left deposits for others than its neighbours of larger "
                "names"
            )
        self._sealed[message.client] = {box.client: box for box in message.shares}
        self._deposits |= {(message.client, it.client): it for it in message.deposits}
        self._seen[message.client] = new

    def close_shares(self) -> dict[str, Inbox]:
        """Go on with whoever shared: for each client what its neighbours sealed for it."""
        self._included = self._close("shares", "uploads", heard=self._seen, needed_by=self._seen)
        inboxes = {
            me: Inbox(
                me,
                self._included,
                tuple(
                    replace(self._sealed[dealer][me], client=dealer) for dealer in self._dealers(me)
                ),
            )
            for me in self._included
        }
        # From here on only what was committed to counts.
        self._sealed = {
            dealer: {it.client: replace(it, box=b"", ciphertext=b"") for it in boxes.values()}
            for dealer, boxes in self._sealed.items()
        }
        return inboxes

    # --- stage 3 ---------------------------------------------------------------------------------

    def add_upload(self, message: Upload) -> None:
        """Add a masked vector to the total, block by block, and forget it."""
        new = self._unseen(message, "uploads")
        if new is None:
            return
        for begin, block in unpack_words(message.words, self.terms):
            self._total[begin : begin + block.size] += block
        self._seen[message.client] = new

    def close_uploads(self) -> Survivors:
        """Go on with whoever uploaded. Their vectors and no others are in the total from here on.

        Where the server may be malicious, every survivor is told of them and signs them; otherwise
        ``close_acknowledgements`` follows at once.
        """
        self._survivors = self._close(
            "uploads", "acknowledgements", heard=self._seen, needed_by=self._included
        )
        self._alive = frozenset(self._survivors)
        gone = self._alive.symmetric_difference(self._included)
        self._deposits = {
            (low, high): deposit
            for (low, high), deposit in self._deposits.items()
            if low in self._alive and high in gone
        }
        told = Survivors(self._survivors)
        self._told = digest(told, self.terms)
        return told

    # --- stage 4 ---------------------------------------------------------------------------------

    def add_acknowledgement(self, message: Acknowledgement) -> None:
        """Take a client's signature under the survivors.

        Raises:
            VerificationError: also a signature under other survivors, or where the terms know none.
        """
        new = self._unseen(message, "acknowledgements")
        if new is None:
            return
        if not self.terms.malicious or message.survivors_sha256 != self._told:
            raise VerificationError(
                f"client {message.client!r} acknowledges what it was not told in {self.terms.title}"
            )
        self._endorsements[message.client] = Endorsement(message.client, message.signature)
        self._seen[message.client] = new

    def close_acknowledgements(self) -> dict[str, UnmaskRequest]:
        """Ask whoever acknowledged for its shares, with the signatures that it wants to see."""
        heard = sorted(self._seen) if self.terms.malicious else self._survivors
        requests = {me: self._request(me) for me in heard}
        if self.terms.malicious:
            # Whoever has too few endorsements would refuse, rightly, and is not asked.
            least = self.terms.threshold
            requests = {me: it for me, it in requests.items() if len(it.endorsements) >= least}
        self._close("acknowledgements", "unmasking", heard=requests, needed_by=self._included)
        return requests

    def _request(self, me: str) -> UnmaskRequest:
        near = [
            self._endorsements[name] for name in self.terms.graph[me] if name in self._endorsements
        ]
        return UnmaskRequest(me, self._survivors, tuple(near[: self.terms.threshold]))

    # --- stage 5 ---------------------------------------------------------------------------------

    def add_unmasking(self, message: Unmasking) -> None:
        """Take a client's answer.

        Raises:
            VerificationError: also anything but, for each of its neighbours, the share that the
                survivors ask for and that the neighbour has committed to.
        """
        new = self._unseen(message, "unmasking")
        if new is None:
            return
        me = message.client
        if [share.client for share in message.shares] != self._dealers(me):
            raise VerificationError(f"client {me!r} reveals shares of others than its neighbours")
        for share in message.shares:
            box = self._sealed[share.client][me]
            alive = share.client in self._alive
            committed = box.self_commitment if alive else box.mask_commitment
            # The hash covers the kind too, so a share of the other secret is as wrong as any.
            if committed != keys.commitment(share.share, self.terms, share.kind, share.client, me):
                raise VerificationError(
                    f"client {me!r} reveals another share of {share.client!r} than it was given"
                )
        self._revealed[me] = {share.client: share.share for share in message.shares}
        self._seen[me] = new

    def recover(self) -> Words:
        """Unmask the total in place and hand it over: Σ x_i mod 2^bits over the survivors.

        Returns:
            ``[length]``, in the terms' type.

        Guarantees:
            - every mask is known before the first is taken off, so that nothing is released, and
              nothing lost, where shares are missing: more answers may be added, and this tried
              again;
            - a mask secret is used only if it belongs to the key that its client has shown.

        Raises:
            VerificationError: fewer than ``threshold`` shares of a client's secret, naming who
                has not answered; or shares of a client that do not fit together, or a link that
                it has not committed to, naming it.
        """
        self._require_stage("unmasking")
        plus: list[bytes] = []
        minus: list[bytes] = []
        for client in self._included:
            secret = self._secret(client)
            if client in self._alive:
                minus.append(keys.self_key(secret, self.terms, client))
            else:
                self._pair_keys(client, secret, plus, minus)
        masks.add_masks(self._total, plus, minus)
        self._total &= self._total.dtype.type(self.terms.largest)
        self._stage = "the sum"
        return self._total

    def _secret(self, dealer: str) -> bytes:
        """Put a client's secret together from its neighbours' shares of it."""
        holders = self.terms.graph[dealer]
        shares = {
            place: self._revealed[holder][dealer]
            for place, holder in enumerate(holders)
            if holder in self._revealed
        }
        if len(shares) < self.terms.threshold:
            missing = [holder for holder in holders if holder not in self._revealed]
            raise self._stopped(
                f"{len(shares)} shares of client {dealer!r}, and {self.terms.threshold} are needed",
                missing,
            )
        try:
            secret = shamir.combine(shares, self.terms.threshold)
        except VerificationError as problem:
            # Every share is the one that the dealer committed to, so it is the dealer who lied.
            raise VerificationError(
                f"client {dealer!r} dealt shares in {self.terms.title} that do not fit together",
                remedy="Begin the round again without it",
            ) from problem
        if dealer in self._alive:
            return secret
        shown = self._advertisements[dealer]
        if hybrid.mask_keys(secret, self.terms, dealer) != (shown.mask_key, shown.mask_kem_key):
            raise VerificationError(
                f"client {dealer!r} dealt shares in {self.terms.title} of another secret than that "
                "of the key it has shown",
                remedy="Begin the round again without it",
            )
        return secret

    def _pair_keys(self, gone: str, secret: bytes, plus: list[bytes], minus: list[bytes]) -> None:
        """Add the keys of the masks that survivors share with a client that dropped out."""
        private = hybrid.mask_key(secret, self.terms, gone)
        links, opener = b"", None
        if self.terms.post_quantum:
            links = hybrid.link_secret(secret, self.terms, gone)
            opener = hybrid.mask_kem_key(secret, self.terms, gone)
        for peer in self.terms.graph[gone]:
            if peer in self._alive:
                shown = self._advertisements[peer].mask_key
                shared = sealing.agree(private, shown, owner=f"client {peer!r}")
                if opener is not None:
                    shared += self._link(gone, peer, links, opener, shared)
                key = keys.pair_key(shared, self.terms, gone, peer, self._model_sha256)
                # The earlier of two names has added the mask, the later one has subtracted it.
                (minus if peer < gone else plus).append(key)

    def _link(
        self, gone: str, peer: str, links: bytes, opener: MLKEM768PrivateKey, shared: bytes
    ) -> bytes:
        """Find the link of a client that dropped out with a survivor, from its mask secret."""
        low, high = sorted((gone, peer))
        if gone == low:
            found = hybrid.link(links, self.terms, low, high)
        else:
            left = self._deposits[low, high]
            sealed = (left.ciphertext, left.box)
            found = hybrid.open_deposit(shared, opener, sealed, self.terms, low, high)
        committed = self._sealed[low][high].link_commitment
        if committed != hybrid.commitment(found, self.terms, low, high):
            raise hybrid.wrong_link(self.terms, low, high)
        return found

    # --- what all stages share -------------------------------------------------------------------

    def _dealers(self, holder: str) -> list[str]:
        return [name for name in self.terms.graph[holder] if name in self._sealed]

    def _require_stage(self, stage: Stage) -> None:
        if stage != self._stage:
            raise VerificationError(
                f"{self.terms.title} is gathering {self._stage}, not {stage}",
                remedy="What comes too late or too early is not counted",
            )

    def _unseen(self, message: Signed, stage: Stage) -> bytes | None:
        """Return the digest of a message, or nothing if it has been counted."""
        name = message.client
        if stage != self._stage:
            raise VerificationError(
                f"client {name!r} sends {stage} while {self.terms.title} is at {self._stage}",
                remedy="What comes too late or too early is not counted",
            )
        if name not in self._expected:
            raise VerificationError(
                f"client {name!r} sends {stage} in {self.terms.title}, where it takes no part (any "
                "more)"
            )
        found = require_signed(message, self.terms)
        if self._seen.get(name, found) != found:
            raise VerificationError(f"client {name!r} sends {stage} twice, and not the same")
        return None if name in self._seen else found

    def _close(
        self, stage: Stage, following: Stage, *, heard: Collection[str], needed_by: Collection[str]
    ) -> tuple[str, ...]:
        """End a stage if those who were heard are enough for the sum and for every client."""
        self._require_stage(stage)
        missing = self.waiting_for
        if stage != "acknowledgements" and len(heard) < self.terms.minimum_survivors:
            least = self.terms.minimum_survivors
            raise self._stopped(f"{len(heard)} clients, and {least} are needed", missing)
        for name in sorted(needed_by):
            near = sum(peer in heard for peer in self.terms.graph[name])
            if near < self.terms.threshold:
                raise self._stopped(
                    f"{near} neighbours of client {name!r}, and {self.terms.threshold} are needed",
                    missing,
                )
        self._stage, self._expected, self._seen = following, frozenset(heard), {}
        return tuple(sorted(heard))

    def _stopped(self, reason: str, missing: Sequence[str]) -> AbortedError:
        return AbortedError(self.terms.title, self._stage, self.terms.round, reason, missing)
