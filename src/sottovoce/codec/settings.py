"""How updates are written and added: the section [secure] of a configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from sottovoce.codec.coding import default_bits
from sottovoce.codec.sparse import REFUSAL_TOP_K


class SecureSettings(BaseModel, frozen=True, extra="forbid"):
    """How updates are written and added; the section ``[secure]``.

    Without any of it the server sees every client's update, in 64-bit integers. With ``clip_norm``
    updates are written in words of ``bits`` bits, and with an ``aggregation`` the server sees
    nothing but their sum, which is the same sum, bit for bit.

    Args:
        aggregation: ``"none"``: the server sees each client's update; ``"secagg"``: each is hidden
            under masks that cancel in the sum; ``"helpers"``: under masks that a few independent
            helpers sum up; ``"he"``: encrypted under a key that all clients share.
        server: with ``secagg``, ``"malicious"``: a server that breaks the protocol, even by telling clients
            different things, learns no more; ``"semi-honest"``: one that keeps to it learns no
            more, and an interaction is saved.
        clip_norm: the L2 bound on one client's update; the words' scale follows from it. Updates
            beyond it are shortened, and counted.
        bits: the width of a word; None takes 16 up to 1,000 clients in a round and 20 above.
        compress: bits of an entry, 8 or 4, with a scale for every 256 of them; for a server that is
            trusted with each update.
        keep: the share of the entries that travel in a round, the same ones for all clients and
            others in the next round; what a client did not send it adds to its next update.
        parts: how the entries of ``keep`` are chosen. One random part for all is what there is;
            ``"top_k"`` can be asked for so that the error can say why not.
        group_size: the fewest clients of a sum; a round has as many sums as that leaves room for,
            and ``robust`` joins their means. None is one sum of all.
        robust: ``"median"``, ``"trimmed_mean"``, ``"geometric_median"`` or ``"krum"`` over the
            groups.
        faulty: how many groups may hold a client that sends what it likes; for ``"trimmed_mean"``
            and ``"krum"``.
        max_weight: the most that one client may weigh; None takes the heaviest client's weight,
            which the server then knows.
        corrupt: the share of the clients of a round, of every round, that may work together with
            the server. Where a server picks who takes part, that is not the share of all clients.
        dropped: the share of the clients of a round that may drop out. Both decide how many
            neighbours a client has where a round has more than 100.
        post_quantum: with ``"secagg"``, puts ML-KEM-768 beside X25519 in every key.
        helpers: how many help, with ``"helpers"``.
        colluding: how many of them may work together with the server.
    """

    aggregation: Literal["none", "secagg", "helpers", "he"] = "none"
    server: Literal["malicious", "semi-honest"] = "malicious"
    clip_norm: float | None = Field(None, ge=1e-20, le=1e20)
    bits: int | None = Field(None, ge=8, le=32)
    compress: Literal[8, 4] | None = None
    keep: float = Field(1.0, gt=0, le=1)
    parts: Literal["random", "top_k"] = "random"
    group_size: int | None = Field(None, ge=1)
    robust: Literal["median", "trimmed_mean", "geometric_median", "krum"] | None = None
    faulty: int = Field(1, ge=1)
    max_weight: int | None = Field(None, ge=1, lt=2**29)
    corrupt: float = Field(0.05, ge=0, lt=0.5)
    dropped: float = Field(0.05, ge=0, lt=0.5)
    post_quantum: bool = False
    helpers: int = Field(3, ge=2, le=7)
    colluding: int = Field(1, ge=1, le=6)

    @model_validator(mode="after")
    def _agree(self) -> SecureSettings:
        if self.post_quantum and self.aggregation != "secagg":
            raise ValueError(
                f'secure.post_quantum is about the keys of "secagg", and secure.aggregation is '
                f'"{self.aggregation}"; remove it'
            )
        if self.parts == "top_k":
            raise ValueError(f'secure.parts is "top_k": {REFUSAL_TOP_K}; remove it')
        if (self.group_size is None) != (self.robust is None):
            raise ValueError(
                f"secure.group_size is {self.group_size} and secure.robust is {self.robust}: groups "
                "are for a rule over their sums, and a rule needs groups; set both or neither"
            )
        if self.group_size == 1 and self.aggregation != "none":
            raise ValueError(
                "secure.group_size is 1: a sum of one client hides nothing; set 2 or more, or "
                'aggregation = "none"'
            )
        if self.colluding >= self.helpers:
            raise ValueError(
                f"secure.colluding is {self.colluding} of {self.helpers} helpers; at least one of "
                "them has to be honest"
            )
        return self

    def word_bits(self, clients: int) -> int:
        """The width of a word where up to so many clients are in a sum."""
        return self.bits or default_bits(clients)
