"""One run at one site: the client's half of a federation across machines, durable step by step.

A step is a letter that asks and the letter that answers it. The answer is on disk, and the ledger
holds both hashes, before its first byte leaves; a letter that comes again is answered from there. So
nothing is trained twice, and no ε is spent twice, whatever the network repeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from sottovoce.codec.wire import pack
from sottovoce.config import Config, write_config
from sottovoce.errors import VerificationError
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.arms import Watch
from sottovoce.run.claims import planned
from sottovoce.run.clients import Clients
from sottovoce.run.cohorts import Cohort, Part
from sottovoce.run.contribute import (
    contribute,
    contributions_of,
    devices_in,
    planned_steps,
)
from sottovoce.run.distributed import clip_norm_of
from sottovoce.run.folder import RunFolder
from sottovoce.run.identity import facts, require_same_config, require_same_start
from sottovoce.run.known import Fellows
from sottovoce.run.ledger import Ledger, Record, read
from sottovoce.run.letter import Letter
from sottovoce.run.made import Made, pack_made, unpack_made
from sottovoce.run.personal import has_own_models, personalise
from sottovoce.run.play import evaluate_judged
from sottovoce.run.prepare import Prepared, prepare_site, with_fellows
from sottovoce.run.reception import Answer
from sottovoce.run.result import write_result
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.secure import words_of
from sottovoce.run.shared import fellows_in, figures_of, model_of, require_like, told_in
from sottovoce.run.spending import Spending
from sottovoce.run.sum_terms import parts_of
from sottovoce.run.sums import as_sent, summing
from sottovoce.run.visit_helped import HelpedSums
from sottovoce.run.visit_sums import Hiding, Sums
from sottovoce.strategies import ServerState
from sottovoce.update import Update, unflatten

_KEPT_LETTERS: Final = 8
"""Answers that stay on disk: a server that was killed may ask for its last steps once more."""


@dataclass
class Visit:
    """A run that a site takes part in, from its folder; held by one process at a time.

    Args:
        name: of the site.
        folder: of the run, at the site.
        ledger: of that folder, open.
        prepared: the site's text and the model; with its plans once it is known who takes part.
        watch: told of training steps.
        sums: those that hide this site's updates; None in a run without.
        train_seconds: how long the last training took.
    """

    name: str
    folder: RunFolder
    ledger: Ledger
    prepared: Prepared
    watch: Watch
    sums: Hiding | None = None
    answered: dict[str, str] = field(default_factory=dict)
    committed: dict[str, str] = field(default_factory=dict)
    spending: Spending | None = None
    finished: int = 0
    over: bool = False
    train_seconds: float = 0.0
    clients: Clients = field(init=False)

    def __post_init__(self) -> None:
        self.clients = Clients(self.folder, {self.name: 0})
        for record in read(self.folder.ledger):
            self._replay(record)

    def _replay(self, record: Record) -> None:
        payload: Mapping[str, Any] = record.payload
        match record.kind:
            case "start":
                require_same_start(self.prepared, self.folder, record)
            case "fellows":
                self._meet(Fellows(payload["unit_counts"], payload["heaviest_client"]))
                self._hold(payload["commitments"])
            case "agreed" if isinstance(self.sums, Sums):
                self.sums.agree(self.committed, payload)
            case "budget" | "charge":
                self._spends.replay(record)
            case "answer":
                self.answered[payload["request_sha256"]] = payload["answer_sha256"]
                if payload["kind"] == "round" and payload["clients"]:
                    self.clients.replay(record)
                    self._spends.took_part([self.name])
                if payload["kind"] == "round":
                    self.finished = int(payload["round"]) + 1
                    self._made_place(self.finished - 2).unlink(missing_ok=True)
                if payload["kind"] == "unmask" and isinstance(self.sums, Sums):
                    self.sums.opened = int(payload["round"])
                self.over |= payload["kind"] == "finish"

    @cached_property
    def _first(self) -> ServerState:
        """What the run starts from; it follows from the seed and the model."""
        config, model = self.prepared.config, self.prepared.model
        weights = unflatten(model.initial(config.seed), model.layout)
        return config.federation.strategy.algorithm.first(weights)

    @property
    def _spends(self) -> Spending:
        if self.spending is None:
            raise VerificationError(
                f"{self.name!r} does not know yet who else takes part",
                remedy="The server begins a run before it asks for rounds",
            )
        return self.spending

    @property
    def _spent(self) -> int:
        """Releases of this site's own plan that are charged; 0 where it has none."""
        return self._spends.spent.get(self.name, 0)

    def repeated(self, request: str) -> bytes | None:
        """The answer to a letter that was answered before; None where it was not."""
        known = self.answered.get(request)
        if known is None:
            return None
        data = folders.read_bytes(self._place(request))
        if letters.name_of(data) != known:
            raise VerificationError(
                f"the answer in {self._place(request)} is not the one in the ledger",
                remedy="Restore it from a copy; until then this site is silent",
            )
        return data

    def _place(self, request: str) -> Path:
        return self.folder.root / "letters" / f"{request}.bin"

    def kept(self, request: str, answer: bytes, payload: Mapping[str, Any]) -> bytes:
        """Make an answer durable, and only then hand it out."""
        folders.write_bytes(self._place(request), answer)
        told = {"request_sha256": request, "answer_sha256": letters.name_of(answer)}
        record = self.ledger.append("answer", {**payload, **told})
        self._replay(record)
        if payload["kind"] == "round" and payload["clients"]:
            self.clients.forget_older(record)
        if payload["kind"] == "finish" and self.prepared.plans.federation is None:
            # From here on nothing is spent any more. What a server spends for all is not known
            # here, so that what was reserved for it stands.
            self._spends.settle()
        self._forget_letters()
        return answer

    def _forget_letters(self) -> None:
        """Remove answers that the server must have, because it has asked for something later."""
        for request in list(self.answered)[:-_KEPT_LETTERS]:
            del self.answered[request]
            self._place(request).unlink(missing_ok=True)

    # --- what is asked ---------------------------------------------------------------------------

    def join(self) -> Answer:
        """Say what the server needs to know of this site, and nothing of its text."""
        first = self._first
        if not self.ledger.count:
            sha = digest(model_tensors(first))
            self.ledger.append("start", facts(self.prepared, self.folder, sha))
        told = told_in(self.prepared, first)
        if self.sums is not None:
            told |= self.sums.joined()
        return "joined", told, {}

    def first(self) -> Answer:
        """Send the weights that everybody starts from; they follow from the seed and the model."""
        config, model = self.prepared.config, self.prepared.model
        weights = unflatten(model.initial(config.seed), model.layout)
        return "first", {}, {"model": folders.pack_tensors(weights)}

    def offer(self, request: Letter) -> Answer:
        """Ask the site's policy about a run with these fellows, before anything is shown or settled.

        Raises:
            RefusedError: the policy says no, with the rule.
        """
        prepared = with_fellows(self.prepared, fellows_in(request))
        Spending(prepared, self.folder.root).require_allowed()
        return "agreed", {}, {}

    def begin(self, request: Letter) -> Answer:
        """Learn who takes part, make the plans that follow, and ask the site's policy.

        Raises:
            RefusedError: the policy says no, with the rule.
            VerificationError: the run has begun, and others took part in it.
        """
        if not self.ledger.count:
            raise VerificationError(f"{self.name!r} has not joined")
        fellows = fellows_in(request)
        told: dict[str, str] = {}
        committed: dict[str, str] = {}
        if self.sums is not None:
            committed, told = self.sums.begun(request.facts)
        if self.spending is None:
            # Nothing is remembered of a run that the policy refuses.
            prepared = with_fellows(self.prepared, fellows)
            Spending(prepared, self.folder.root).require_allowed()
            self.ledger.append(
                "fellows",
                {
                    "unit_counts": dict(fellows.unit_counts),
                    "heaviest_client": fellows.heaviest_client,
                    "commitments": committed,
                    "claim": planned(prepared.plans),
                },
            )
            self._meet(fellows)
            self._hold(committed)
        if committed != self.committed:
            raise VerificationError("the server shows other commitments than before")
        if fellows != self.prepared.fellows:
            raise VerificationError("the server said before that others take part")
        self._require_allowed()
        return "begun", told, {}

    def _require_allowed(self) -> None:
        """Ask the policy, which may be another by now, and see that all that may be spent is reserved.

        Raises:
            RefusedError: the policy says no, with the rule.
            VerificationError: the run has not begun here, or has ended.
        """
        if self.over:
            raise VerificationError(f"the run has ended for {self.name!r}")
        self._spends.require_allowed()
        self._spends.begin(self.ledger)

    def hidden(self, request: Letter) -> tuple[Answer, dict[str, Any]]:
        """Answer one message of a sum that hides this site's update."""
        if not isinstance(self.sums, Sums):
            raise VerificationError("a sum under masks that cancel, in a run without")
        if self.sums.agreed is None:
            self.sums.agree(self.committed, request.facts)
            nonces = letters.table(request.facts, "nonces")
            self.ledger.append("agreed", {"nonces": nonces})
        parts = self.sums.answered(self.prepared, request)
        index = letters.count(request.facts, "round")
        record = {"kind": request.kind, "round": index, "clients": []}
        return (request.kind, {"round": index}, parts), record

    def _hold(self, committed: Mapping[str, str]) -> None:
        self.committed = dict(committed)
        if isinstance(self.sums, HelpedSums):
            self.sums.hold(self.committed)

    def _meet(self, fellows: Fellows) -> None:
        self.prepared = with_fellows(self.prepared, fellows)
        self.spending = Spending(self.prepared, self.folder.root)

    def round(self, request: Letter) -> tuple[Answer, dict[str, Any]]:
        """Take part in a round: measure what was received, train, and send what travels.

        Returns:
            The answer, and what the ledger says of it.

        Raises:
            RefusedError: the budget or the participations of this site are spent.
            VerificationError: a round that is over, or weights of another model.
        """
        self._require_allowed()
        index = letters.count(request.facts, "round")
        rounds = self.prepared.config.federation.rounds
        if index >= rounds:
            raise VerificationError(f"round {index} of a run that has {rounds} rounds, from 0")
        made = self._made_before(index)
        if index < self.finished and made is None:
            raise VerificationError(
                f"round {index} is over for {self.name!r}, which has answered it otherwise",
                remedy="Nothing is sent twice",
            )
        if self.sums is not None:
            self.sums.require(self.prepared, request)
        server = self._received(request, index)
        told: dict[str, Any] = {"round": index, "heldout_loss": None}
        if request.facts.get("evaluate") is True:
            told["heldout_loss"] = self._measured(server)
        cohort = self._charged(request, index)
        told["spent"] = self._spent
        record = self._recorded(index, None, server)
        if made is None:
            made, kept = self._trained(server, cohort)
            if made is None:
                return ("diverged", told, {}), record
            record = self._recorded(index, made.update, server) | {"clients_sha256": kept}
        parts = self._parts(server, made, request)
        return ("update", told | figures_of(self.prepared, made.update), parts), record

    def _trained(self, server: ServerState, cohort: Cohort) -> tuple[Made | None, list[str | None]]:
        """Train, remember, and keep what was made where a second sum may ask for it."""
        begun = time.monotonic()
        done = contribute(
            self.prepared,
            server,
            cohort,
            devices=devices_in(self.prepared),
            memory=self.clients.read,
            history=lambda _: server.weights,
            watch=self.watch,
        )
        self.train_seconds = time.monotonic() - begun
        if not done.pairs:
            return None, []
        leaves = as_sent(self.prepared, server, done.pairs)
        update, state = leaves.pairs[0]
        inside = contributions_of(done.protection).get(self.name)
        made = Made(update, inside, leaves.travels.get((self.name, "blocks"), b""))
        if self.sums is not None and self.sums.repeats:
            folders.write_bytes(self._made_place(server.round), pack_made(made))
        return made, self.clients.write(server.round + 1, {self.name: state})

    def _made_place(self, index: int) -> Path:
        return self.folder.root / "made" / f"{index:05d}.bin"

    def _made_before(self, index: int) -> Made | None:
        """What was made of the newest round, for another sum of it; None where there is nothing."""
        place = self._made_place(index)
        if self.sums is None or index != self.finished - 1 or not place.is_file():
            return None
        return unpack_made(folders.read_bytes(place), self.name)

    def _received(self, request: Letter, index: int) -> ServerState:
        server = model_of(request, self.prepared.config.federation.strategy.algorithm, index)
        first = self._first
        require_like(first.weights, server.weights)
        require_like(first.residual, server.residual)
        for kind, found in server.moments.items():
            require_like(first.moments[kind], found)
        return server

    def _measured(self, server: ServerState) -> float | None:
        """The held-out loss of what was received; under a plan it stays here."""
        found = evaluate_judged(self.prepared, server, self.clients.read).loss.get(self.name)
        self.ledger.append("evaluation", {"round": server.round, "loss": found})
        return None if self.prepared.plans.plans else found

    def _charged(self, request: Letter, index: int) -> Cohort:
        stop = request.facts.get("stop_after")
        part = Part(
            self.name, index, None if stop is None else letters.count(request.facts, "stop_after")
        )
        cohort = Cohort(index, (part,), (), 0.0, index)
        steps = planned_steps(self.prepared, devices_in(self.prepared))
        return self._spends.charge_own(self.ledger, cohort, steps)

    def _parts(self, server: ServerState, made: Made, request: Letter) -> dict[str, bytes]:
        """What travels of an update, in the form that the configuration says."""
        config = self.prepared.config
        if config.secure.compress is not None:
            return {"blocks": made.blocks}
        if clip_norm_of(config) is None:
            return {"update": folders.pack_tensors(made.update.tensors)}
        inside = {} if made.inside is None else {self.name: made.inside}
        entries = parts_of(self.prepared, server)
        how = summing(self.prepared, server, entries, inside, None)
        if self.sums is None:
            return {"words": pack(words_of(made.update, how, server.round), how.coding.bits)}
        sha = digest(model_tensors(server))
        return self.sums.parts(
            self.prepared, request, lambda: words_of(made.update, how, server.round), sha
        )

    def _recorded(self, index: int, update: Update | None, server: ServerState) -> dict[str, Any]:
        taken = update is not None
        return {
            "kind": "round",
            "round": index,
            "clients": [self.name] if taken else [],
            "steps": [update.steps] if update is not None else [],
            "clients_sha256": [],
            "weights_sha256": digest(model_tensors(server)),
        }

    def finish(self, request: Letter) -> tuple[Answer, dict[str, Any]]:
        """Take the final model: measure it, make it this site's own where that is asked, keep it."""
        self._require_allowed()
        index = letters.count(request.facts, "round")
        if not self.finished <= index <= self.prepared.config.federation.rounds:
            raise VerificationError(f"an end after {index} rounds")
        server = self._received(request, index)
        told: dict[str, Any] = {"round": index, "spent": self._spent}
        told["heldout_loss"] = self._measured(server)
        if has_own_models(self.prepared):
            report = personalise(self.prepared, server, self.clients, self.folder, self.watch)
            self.ledger.append("personal", report)
            if not self.prepared.plans.plans:
                told["gain"] = [report["shared_loss"][0], report["personal_loss"][0]]
        write_result(self.prepared, server, self.folder.adapter)
        folders.sync_files(self.folder.adapter)
        if self.sums is not None:
            self.sums.close()
            self._made_place(index - 1).unlink(missing_ok=True)
        sha = digest(model_tensors(server))
        return ("finished", told, {}), {"kind": "finish", "round": index, "weights_sha256": sha}


def open_visit(
    name: str,
    root: Path,
    config: Callable[[], Any],
    ledger: Ledger,
    watch: Watch,
    sums: Callable[[Config], Hiding],
) -> Visit:
    """Load the text and the model of a run at a site, and go on where its ledger ends.

    Args:
        name: of the site.
        root: the run folder at the site.
        config: makes the configuration as the site runs it.
        ledger: of that folder, open.
        watch: told of training steps.
        sums: opens what the site remembers of sums; called where the run hides updates.
    """
    folder = RunFolder(root)
    prepared = prepare_site(config(), name)
    if folder.config.exists() and ledger.count:
        require_same_config(prepared.config, folder)
    else:
        folders.write_bytes(folder.config, write_config(prepared.config))
    hides = prepared.config.secure.aggregation != "none"
    hiding = sums(prepared.config) if hides else None
    return Visit(name, folder, ledger, prepared, watch, hiding)
