"""What everybody in a federation knows of it, wherever the text lies. Public; no model, no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sottovoce.config import Config
from sottovoce.run.protect import Plans
from sottovoce.update import Layout


class Known(Protocol):
    """What sums, cohorts and the server's half of a round ask of a federation."""

    @property
    def config(self) -> Config:
        """The resolved configuration."""

    @property
    def plans(self) -> Plans:
        """How every contribution is protected."""

    @property
    def layout(self) -> Layout:
        """Of one row of trainable weights."""

    @property
    def clients(self) -> tuple[str, ...]:
        """All clients of the federation, sorted."""

    @property
    def unit_counts(self) -> Mapping[str, int]:
        """How many units each client holds; 0 where units don't lie inside clients."""

    @property
    def heaviest_client(self) -> int:
        """Examples of the client that has most."""


@dataclass(frozen=True)
class Fellows:
    """What the clients of a federation have told of themselves.

    Args:
        unit_counts: how many units each holds, by name; 0 where units don't lie inside clients.
        heaviest_client: examples of the client that has most; 1 where nobody needs to know.
    """

    unit_counts: Mapping[str, int]
    heaviest_client: int = 1

    @property
    def clients(self) -> tuple[str, ...]:
        """All clients, sorted."""
        return tuple(sorted(self.unit_counts))


@dataclass(frozen=True)
class Federation:
    """A federation as a server knows it; satisfies ``Known``.

    Args:
        config: the resolved configuration.
        layout: of one row of trainable weights.
        fellows: its clients.
        plans: how every contribution is protected.
    """

    config: Config
    layout: Layout
    fellows: Fellows
    plans: Plans = field(default_factory=Plans)

    @property
    def clients(self) -> tuple[str, ...]:
        """All clients of the federation, sorted."""
        return self.fellows.clients

    @property
    def unit_counts(self) -> Mapping[str, int]:
        """How many units each client holds."""
        return self.fellows.unit_counts

    @property
    def heaviest_client(self) -> int:
        """Examples of the client that has most."""
        return self.fellows.heaviest_client
