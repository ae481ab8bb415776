"""A federation in one process: the exact, debuggable engine that judges all others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec.fixed_point import encode
from sottovoce.config import write_config
from sottovoce.errors import RefusedError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run.arms import Evaluation, Watch, is_evaluated
from sottovoce.run.claims import ended
from sottovoce.run.clients import Clients
from sottovoce.run.cohorts import Cohort
from sottovoce.run.contribute import devices_in, planned_steps
from sottovoce.run.folder import RunFolder
from sottovoce.run.identity import facts, require_same_config, require_same_start
from sottovoce.run.ledger import Ledger, Record, read
from sottovoce.run.personal import Gain, gains_of, has_own_models, personalise
from sottovoce.run.play import Played, evaluate_judged, play_round
from sottovoce.run.prepare import Prepared
from sottovoce.run.result import write_result
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.spending import Spending
from sottovoce.run.stages import Stages
from sottovoce.run.state import pack_state, read_state
from sottovoce.run.sums import cohorts_of, require_summable
from sottovoce.strategies import ServerState
from sottovoce.strategies.settings import Device
from sottovoce.update import Tensors, flatten, unflatten


@dataclass
class _Run:
    """A run under way: what the next round needs, which does not grow with rounds."""

    prepared: Prepared
    folder: RunFolder
    ledger: Ledger
    server: ServerState
    clients: Clients
    spending: Spending
    devices: Mapping[str, Device] = field(init=False)
    steps: Mapping[str, int] = field(init=False)
    cohorts: Iterator[Cohort] = field(init=False)
    vouched: dict[int, str] = field(default_factory=dict)
    tokens: int = 0
    tokens_before: int = 0
    evaluated: int = -1
    personal: bool = False
    ended: bool = False
    bytes_up: int = 0
    zeroed: int = 0
    clipped: int = 0
    stages: Stages = field(default_factory=Stages)

    def __post_init__(self) -> None:
        self.devices = devices_in(self.prepared)
        self.steps = planned_steps(self.prepared, self.devices)
        self.cohorts = cohorts_of(self.prepared, self.steps, self.devices)
        for _ in range(self.server.round):
            self.forget(next(self.cohorts))

    def forget(self, cohort: Cohort) -> None:
        """Let go of what no later cohort starts from."""
        for finished in [f for f in self.vouched if f < cohort.oldest_needed]:
            del self.vouched[finished]

    def history(self, finished: int) -> Tensors:
        """The shared weights after so many rounds, as the ledger vouches for them."""
        if finished == self.server.round:
            return self.server.weights
        path = self.folder.weights(finished)
        tensors = folders.read_tensors(path)
        if digest(tensors) != self.vouched[finished]:
            raise VerificationError(
                f"{path} is not what the ledger says, and a client under way started from it",
                remedy="Restore it from a copy, or start the run again",
            )
        return tensors


@dataclass(frozen=True)
class Outcome:
    """What a federation leaves behind.

    Args:
        folder: the run folder.
        weights: the shared weights after the last round, ``[D]``.
        rounds: rounds finished.
        adapter_sha256: ``digest`` of the shared model.
        ledger_head: the last hash of the ledger.
        tokens: tokens trained on in this process; 0 where the run was finished already.
        seconds: time spent training in this process.
        bytes_up_per_client: what one client sent in the last round.
        zeroed: contributions that were not finite and count as zero, in this process. Private.
        clipped: updates that ``secure.clip_norm`` made shorter, in this process. Private.
        spent: releases charged, by the name of each privacy plan.
        epsilon_of_data: ε of everything that runs of this folder spent or reserved on the same
            data, at the client where it is largest; None where nothing bounds it.
        epsilon_of_data_reason: why nothing does; else empty.
    """

    folder: RunFolder
    weights: NDArray[np.float32]
    rounds: int
    adapter_sha256: str
    ledger_head: str
    tokens: int
    seconds: float
    bytes_up_per_client: int
    zeroed: int
    clipped: int
    spent: Mapping[str, int]
    epsilon_of_data: float | None
    epsilon_of_data_reason: str

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Held-out losses, the base model's first, read from the ledger."""
        return tuple(
            Evaluation(_field(record, "round"), _field(record, "loss"))
            for record in read(self.folder.ledger)
            if record.kind == "evaluation"
        )

    @property
    def gains(self) -> dict[str, Gain] | None:
        """What each client's own model gives it, by name; None where there are none."""
        found = (record for record in read(self.folder.ledger) if record.kind == "personal")
        record = next(found, None)
        return None if record is None else gains_of(record)


def federate(
    prepared: Prepared,
    *,
    watch: Watch = Watch(),  # noqa: B008 - a frozen value
    resume: bool = False,
    wire: Path | None = None,
) -> Outcome:
    """Run a federation to its end in this process, recording every round durably.

    Args:
        prepared: model, data and configuration.
        watch: what is told along the way.
        resume: go on with a run that was interrupted; finished rounds are not repeated.
        wire: a folder that receives exactly what each client sends to the server.

    Guarantees:
        - after a kill at any moment, ``resume`` ends with the same weights, bit for bit;
        - the same configuration and data give the same weights and the same ledger head;
        - under a privacy plan with cryptographic noise both hold for what is on disk; what is not
          is drawn anew, and charged again before it is drawn.

    Raises:
        ConfigError: the run folder holds another run, or none to resume.
        RefusedError: the privacy budget ends before the rounds do; the model so far is written
            and can be used.
        VerificationError: the ledger or a file of the run was altered.
    """
    config = prepared.config
    root = Path(config.run.dir)
    seconds = 0.0
    if not RunFolder(root).ledger.exists():
        # Before anything is written: a refusal leaves nothing behind.
        require_summable(prepared)
        Spending(prepared, root).require_allowed()
    with folders.on_disk(root), _open(prepared, root, resume) as run:
        if run.evaluated < run.server.round and (
            run.server.round == 0 or is_evaluated(prepared.config, run.server.round)
        ):
            _evaluate(run, watch, 0.0)
        refused: RefusedError | None = None
        if run.ended and run.server.round < config.federation.rounds:
            refused = run.spending.refusal(run.server.round)
        while run.server.round < config.federation.rounds and not run.ended:
            begin = time.monotonic()
            try:
                _one_round(run, watch, wire)
            except RefusedError as error:
                refused = error
                if run.evaluated < run.server.round:
                    _evaluate(run, watch, seconds)
                break
            seconds += time.monotonic() - begin
            if is_evaluated(prepared.config, run.server.round):
                _evaluate(run, watch, seconds)
        if not run.ended:
            _finish(run, watch)
        if refused is not None:
            raise refused
        return _outcome(run, seconds)


@contextmanager
def _open(prepared: Prepared, root: Path, resume: bool) -> Iterator[_Run]:
    """A run whose folder nobody else can touch: the lock comes before everything else.

    A run killed before its first record has left nothing to resume; it starts again.
    """
    folder = folders.create(root, resume=resume)
    with Ledger.open(folder.ledger) as ledger:
        if ledger.count and not resume:
            raise folders.holds_a_run(root)
        begin = _resume if ledger.count else _start
        yield begin(prepared, folder, ledger)


def _start(prepared: Prepared, folder: RunFolder, ledger: Ledger) -> _Run:
    config, layout = prepared.config, prepared.model.layout
    folders.write_bytes(folder.config, write_config(config))
    first = unflatten(prepared.model.initial(config.seed), layout)
    server = config.federation.strategy.algorithm.first(first)
    tensors = model_tensors(server)
    folders.write_tensors(folder.weights(0), tensors)
    first_sha256 = digest(tensors)
    spending = Spending(prepared, folder.root)
    ledger.append("start", facts(prepared, folder, first_sha256))
    spending.begin(ledger)
    clients = _no_clients(prepared, folder)
    return _Run(prepared, folder, ledger, server, clients, spending, vouched={0: first_sha256})


def _no_clients(prepared: Prepared, folder: RunFolder) -> Clients:
    return Clients(folder, {party.name: place for place, party in enumerate(prepared.parties)})


def _one_round(run: _Run, watch: Watch, wire: Path | None) -> None:
    """Play a round and make it durable: files first, then the line that vouches for them."""
    before = run.server.round
    run.stages.begin()
    cohort = run.spending.charge(run.ledger, next(run.cohorts), run.steps)
    played = play_round(
        run.prepared,
        run.server,
        cohort,
        devices=run.devices,
        memory=run.clients.read,
        history=run.history,
        watch=watch,
        lap=run.stages.lap,
    )
    if wire is not None:
        _write_wire(wire, before, played)
    run.server = played.server
    run.zeroed += played.zeroed
    run.tokens += sum(update.tokens for update in played.updates)
    run.bytes_up = _bytes_up(played) or run.bytes_up
    run.clipped += 0 if played.summed is None else played.summed.clipped
    folders.write_tensors(run.folder.weights(before + 1), model_tensors(run.server))
    state = pack_state(run.server)
    folders.write_bytes(run.folder.state(before + 1), state)
    kept = run.clients.write(before + 1, played.clients)
    record = run.ledger.append(
        "round",
        asdict(played.record)
        | {
            "bytes_up": run.bytes_up,
            "clients_sha256": kept,
            "state_sha256": sha256(state).hexdigest(),
        },
    )
    run.clients.replay(record)
    _tidy(run.folder, run.clients, record)
    run.vouched[before + 1] = played.record.weights_sha256
    run.forget(cohort)
    run.stages.lap("save")


def _tidy(folder: RunFolder, clients: Clients, record: Record) -> None:
    """Remove what a round has replaced, once its record is on disk; resuming does it again."""
    folder.state(int(_field(record, "round"))).unlink(missing_ok=True)
    clients.forget_older(record)


def _bytes_up(played: Played) -> int:
    """What the client that sent most has sent; plain tensors travel as 64-bit integers."""
    if played.received:
        sent: dict[str, int] = {}
        for (client, _), data in played.received.items():
            sent[client] = sent.get(client, 0) + len(data)
        return max(sent.values())
    sizes = (sum(value.size for value in one.tensors.values()) for one in played.updates)
    return 8 * max(sizes, default=0)


def _write_wire(folder: Path, index: int, played: Played) -> None:
    round_folder = folder / f"round-{index + 1:05d}"
    # A round that is drawn again may have fewer clients than what it leaves behind.
    shutil.rmtree(round_folder, ignore_errors=True)
    if played.received:
        places = {
            name: place for place, name in enumerate(sorted({name for name, _ in played.received}))
        }
        for (client, stage), data in played.received.items():
            folders.write_bytes(round_folder / f"{places[client]:04d}-{stage}.bin", data)
        return
    for place, update in enumerate(played.updates):
        payload = encode(update.tensors, update.counts, client=update.client)
        name = f"{place:04d}.safetensors"
        folders.write_tensors(round_folder / name, payload)


def _evaluate(run: _Run, watch: Watch, seconds: float) -> None:
    run.stages.begin()
    evaluation = evaluate_judged(run.prepared, run.server, run.clients.read)
    run.stages.lap("evaluate")
    # Metrics first: a line without its record is dropped on resuming, a record never is.
    line = {
        "round": evaluation.round,
        "loss": evaluation.mean,
        # Under a plan the number of tokens that were read depends on what is protected.
        "tokens": None if run.prepared.plans.plans else run.tokens_before + run.tokens,
        "seconds": round(seconds, 3),
        "stages": run.stages.take(),
    }
    folders.append_metrics(run.folder, line)
    run.ledger.append("evaluation", {"round": evaluation.round, "loss": dict(evaluation.loss)})
    run.evaluated = evaluation.round
    watch.evaluated(evaluation)


def _resume(prepared: Prepared, folder: RunFolder, ledger: Ledger) -> _Run:
    """Read a run back from its folder, checking every file against the ledger."""
    folders.find(folder.root)
    require_same_config(prepared.config, folder)
    clients = _no_clients(prepared, folder)
    last: Record | None = None
    vouched: dict[int, str] = {}
    evaluated, tokens, personal, ended = -1, 0, False, False
    spending = Spending(prepared, folder.root)
    for record in read(folder.ledger):
        match record.kind:
            case "start":
                require_same_start(prepared, folder, record)
                vouched[0] = str(_field(record, "weights_sha256"))
            case "round":
                clients.replay(record)
                vouched[int(_field(record, "round")) + 1] = str(_field(record, "weights_sha256"))
                tokens += sum(_field(record, "tokens"))
                last = record
            case "budget" | "charge" | "drawn":
                spending.replay(record)
            case "evaluation":
                evaluated = int(_field(record, "round"))
            case "personal":
                personal = True
            case "end":
                ended = True
    server = read_state(prepared, folder, vouched[0], last)
    folders.mend(folder, evaluated)
    if last is not None:
        _tidy(folder, clients, last)
    spending.require_allowed()
    spending.begin(ledger)
    run = _Run(prepared, folder, ledger, server, clients, spending, vouched=vouched)
    run.evaluated, run.personal, run.ended = evaluated, personal, ended
    run.tokens_before = tokens
    run.bytes_up = int(_field(last, "bytes_up")) if last else 0
    return run


def _field(record: Record, name: str) -> Any:
    return record.payload[name]


def _finish(run: _Run, watch: Watch) -> None:
    """Write the result in the form that others read, and close the ledger's story."""
    if has_own_models(run.prepared) and not run.personal:
        report = personalise(run.prepared, run.server, run.clients, run.folder, watch)
        run.ledger.append("personal", report)
    write_result(run.prepared, run.server, run.folder.adapter)
    folders.sync_files(run.folder.adapter)
    run.ledger.append(
        "end",
        {
            "rounds": run.server.round,
            "adapter_sha256": digest(model_tensors(run.server)),
            "files_sha256": folders.file_digests(run.folder.adapter),
            **ended(run.prepared.plans, run.spending.spent),
        },
    )
    run.spending.settle()


def _outcome(run: _Run, seconds: float) -> Outcome:
    of_data, why_not = run.spending.epsilon_of_data()
    return Outcome(
        folder=run.folder,
        weights=flatten(run.server.weights, run.prepared.model.layout),
        rounds=run.server.round,
        adapter_sha256=digest(model_tensors(run.server)),
        ledger_head=run.ledger.head,
        tokens=run.tokens,
        seconds=seconds,
        bytes_up_per_client=run.bytes_up,
        zeroed=run.zeroed,
        clipped=run.clipped,
        spent=dict(run.spending.spent),
        epsilon_of_data=of_data,
        epsilon_of_data_reason=why_not,
    )
