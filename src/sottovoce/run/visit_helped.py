"""A site's side of sums that helpers open: it seals its update once in a round, and never again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sottovoce.codec.checks import Words
from sottovoce.codec.roster import Identity, Roster
from sottovoce.config import Config
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.enrol import roster_of
from sottovoce.run.helped import upload_once
from sottovoce.run.helper_terms import KEYS, Helping, keys_in, written_keys
from sottovoce.run.known import Known
from sottovoce.run.letter import PART, Letter
from sottovoce.run.outbox import Outbox, Sum
from sottovoce.run.party import remembered
from sottovoce.run.sum_terms import helped_terms


@dataclass
class HelpedSums:
    """The sums of one run at one site, where helpers open them.

    Args:
        run: 32 bytes.
        name: of the site.
        identity: what it signs with. Private.
        outbox: what it remembers of sums, encrypted.
        roster: the sites that this site has pinned itself.
        helpers: the helpers that this site has pinned itself.
        config_sha256: of the configuration that all share, as it came.
        agreed: who has to do with the sums, once the server has shown the helpers' keys.

    Guarantees:
        - what it seals, it seals for the helpers of its own file, under the keys that they have
          signed for this run and that the server showed first;
        - there is one upload in a round, on disk before it leaves: under other terms it is refused.
    """

    run: bytes
    name: str
    identity: Identity = field(repr=False)
    outbox: Outbox
    roster: Roster
    helpers: Roster
    config_sha256: bytes
    agreed: Helping | None = None

    @property
    def repeats(self) -> bool:
        """Whether a round may have a second sum."""
        return False

    def joined(self) -> dict[str, str]:
        """What a site tells of its sums as it joins: which helpers it has pinned."""
        return {"helpers_root": self.helpers.root.hex()}

    def begun(self, facts: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Look at the helpers' keys.

        Returns:
            The keys, to be remembered; and nothing to be told.

        Raises:
            VerificationError: they are not one of each pinned helper, signed by it for this run.
        """
        return written_keys(self._helping(facts)), {}

    def hold(self, committed: Mapping[str, str]) -> None:
        """From now on these are the helpers' keys, whatever the server shows."""
        self.agreed = self._helping({KEYS: dict(committed)})

    def require(self, known: Known, request: Letter) -> None:
        """Refuse what the sum itself forbids, before anything is trained or charged.

        Raises:
            VerificationError: a sum without this site, or of a round that it has dropped out of.
        """
        index, cohort = self._about(request)
        for number in self.outbox.under_way(self.run):
            if number < index:
                self.outbox.wipe(self._sum(number), "finished")
        remembered(self.outbox, self._sum(index))
        if strangers := sorted(set(cohort) - set(known.clients)):
            raise VerificationError(f"a sum with {strangers[0]!r}, who takes no part in the run")

    def parts(
        self, known: Known, request: Letter, words: Callable[[], Words], model_sha256: str
    ) -> dict[str, bytes]:
        """The one upload of a round, as a part of the letter that answers."""
        if self.agreed is None:
            raise VerificationError("a sum before the helpers have shown their keys")
        index, cohort = self._about(request)
        terms = helped_terms(known, self.agreed, index, cohort, bytes.fromhex(model_sha256))
        return {PART: upload_once(self.outbox, terms, self.identity, words)}

    def close(self) -> None:
        """Wipe what is left of all sums of the run."""
        for number in self.outbox.under_way(self.run):
            self.outbox.wipe(self._sum(number), "finished")

    def _helping(self, facts: Mapping[str, Any]) -> Helping:
        keys = keys_in(facts, self.helpers, self.run)
        return Helping(self.run, self.roster, self.config_sha256, self.helpers, keys)

    def _about(self, request: Letter) -> tuple[int, tuple[str, ...]]:
        cohort = request.facts.get("cohort")
        if not isinstance(cohort, list) or self.name not in cohort:
            raise VerificationError(f"a sum without {self.name!r}")
        return letters.count(request.facts, "round"), tuple(map(str, cohort))

    def _sum(self, index: int) -> Sum:
        return Sum(self.run, index, "helpers")


def pinned_helpers(lines: Mapping[str, str], config: Config) -> Roster:
    """The identities of all helpers, as a site has pinned them.

    Args:
        lines: of the site's own file.
        config: of the run.

    Raises:
        ConfigError: the site has pinned none, or a line cannot be read.
        VerificationError: the run has more or fewer helpers.
    """
    if not lines:
        raise ConfigError(
            "helpers open the sums of the run, and this site has pinned none",
            remedy="Write the lines of all helpers under [helpers] in the site's file: if the server "
            "alone says who they are, it can be all of them",
        )
    if len(lines) != config.secure.helpers:
        raise VerificationError(
            f"a run with {config.secure.helpers} helpers, and {len(lines)} are pinned here"
        )
    return roster_of(lines)[0]
