"""A federation in one process: the exact, debuggable engine that judges all others."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import sottovoce
from sottovoce import train as training
from sottovoce.codec.fixed_point import encode
from sottovoce.config import load_config, write_config
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import fingerprint
from sottovoce.model.peft_format import write_merged, write_peft
from sottovoce.rng import stream
from sottovoce.run import folder as folders
from sottovoce.run.arms import Evaluation, Watch, evaluate_parties, is_evaluated
from sottovoce.run.folder import RunFolder
from sottovoce.run.ledger import Ledger, Record, verify
from sottovoce.run.prepare import Prepared
from sottovoce.run.rounds import RoundRecord, digest, round_step
from sottovoce.strategies import ServerState
from sottovoce.train import Client, ClientState, Round
from sottovoce.update import Update, flatten, unflatten


@dataclass
class _Run:
    """A run under way: what the next round needs."""

    prepared: Prepared
    folder: RunFolder
    ledger: Ledger
    server: ServerState
    clients: Mapping[str, ClientState]
    evaluations: list[Evaluation] = field(default_factory=list)
    tokens: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a federation leaves behind.

    Args:
        folder: the run folder.
        weights: the shared weights after the last round, ``[D]``.
        evaluations: held-out losses, the base model's first.
        rounds: rounds finished.
        adapter_sha256: ``digest`` of the shared weights.
        ledger_head: the last hash of the ledger.
        tokens: tokens trained on in this process; 0 where the run was finished already.
        seconds: time spent training in this process.
        bytes_up_per_client: what one client sends in one round.
    """

    folder: RunFolder
    weights: NDArray[np.float32]
    evaluations: tuple[Evaluation, ...]
    rounds: int
    adapter_sha256: str
    ledger_head: str
    tokens: int
    seconds: float
    bytes_up_per_client: int


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
        - the same configuration and data give the same weights and the same ledger head.

    Raises:
        ConfigError: the run folder holds another run, or none to resume.
        VerificationError: the ledger or a file of the run was altered.
    """
    config = prepared.config
    root = Path(config.run.dir)
    begun = resume and _has_begun(RunFolder(root))
    run = _resume(prepared, root, watch) if begun else _start(prepared, root, watch)
    seconds = 0.0
    with run.ledger:
        for index in range(run.server.round, config.federation.rounds):
            begin = time.monotonic()
            _one_round(run, watch, wire)
            seconds += time.monotonic() - begin
            if is_evaluated(prepared, index + 1):
                _evaluate(run, watch, seconds)
        if not any(record.kind == "end" for record in verify(run.folder.ledger)[0]):
            _finish(run)
        return _outcome(run, seconds)


def _has_begun(folder: RunFolder) -> bool:
    """Whether there is anything to resume; a run killed before its first record has left nothing."""
    if not folder.ledger.exists():
        return False
    with Ledger.open(folder.ledger) as ledger:
        begun = ledger.count > 0
    if not begun:
        folder.ledger.unlink()
    return begun


def _start(prepared: Prepared, root: Path, watch: Watch) -> _Run:
    config = prepared.config
    folder = folders.create(root)
    write_config(config, folder.config)
    tensors = unflatten(prepared.model.initial(config.seed), prepared.model.layout)
    ledger = Ledger.open(folder.ledger)
    try:
        folders.write_tensors(folder.weights(0), tensors)
        ledger.append("start", _facts(prepared, folder, digest(tensors)))
        server = config.federation.strategy.init(tensors)
        states = {party.name: ClientState() for party in prepared.parties}
        run = _Run(prepared, folder, ledger, server, states)
        _evaluate(run, watch, 0.0)
    except BaseException:
        ledger.close()
        raise
    return run


def _facts(prepared: Prepared, folder: RunFolder, weights_sha256: str) -> dict[str, Any]:
    """What the first record of the ledger says about the run."""
    config = prepared.config
    return {
        "sottovoce": sottovoce.__version__,
        "torch": torch.__version__.partition("+")[0],
        "config_sha256": sha256(folder.config.read_bytes()).hexdigest(),
        "model_sha256": fingerprint(prepared.model.base),
        "tokenizer_sha256": prepared.tokenizer.fingerprint,
        "weights_sha256": weights_sha256,
        "parameters": prepared.model.layout.size,
        "clients": [party.name for party in prepared.parties],
        "examples": [len(party.train) for party in prepared.parties],
        "privacy": config.privacy.model_dump(),
        "secure": config.secure.model_dump(),
        "threads": config.run.threads,
    }


@dataclass(frozen=True)
class Played:
    """What one round gives, before anything of it is written."""

    server: ServerState
    clients: Mapping[str, ClientState]
    updates: Sequence[Update]
    record: RoundRecord


def play_round(
    prepared: Prepared, server: ServerState, clients: Mapping[str, ClientState], watch: Watch
) -> Played:
    """Let a cohort train from the shared weights, and let the server join what they send."""
    config, model = prepared.config, prepared.model
    chosen = _cohort(prepared, server.round)
    members = [
        Client(party.name, party.train, clients[party.name])
        for party in prepared.parties
        if party.name in chosen
    ]
    strategy = config.federation.strategy
    trained = training.train(
        model,
        members,
        dict.fromkeys(chosen, flatten(server.weights, model.layout)),
        config.train,
        Round(server.round, config.federation.rounds, config.seed),
        adjust=strategy.adjust,
        on_step=watch.step(server.round),
    )
    updates = [update for update, _ in trained]
    after, record = round_step(strategy, server, updates)
    states = dict(clients) | {update.client: state for update, state in trained}
    return Played(after, states, updates, record)


def _one_round(run: _Run, watch: Watch, wire: Path | None) -> None:
    """Play a round and make it durable: files first, then the line that vouches for them."""
    before = run.server.round
    played = play_round(run.prepared, run.server, run.clients, watch)
    if wire is not None:
        _write_wire(wire, before, played.updates)
    run.server, run.clients = played.server, played.clients
    run.tokens += sum(update.tokens for update in played.updates)
    folders.write_tensors(run.folder.weights(before + 1), run.server.weights)
    folders.write_tensors(run.folder.state(before + 1), _memory(run))
    state_sha256 = sha256(run.folder.state(before + 1).read_bytes()).hexdigest()
    run.ledger.append("round", asdict(played.record) | {"state_sha256": state_sha256})
    run.folder.state(before).unlink(missing_ok=True)


def _cohort(prepared: Prepared, index: int) -> list[str]:
    """Who takes part in a round: everyone, or so many drawn without replacement."""
    names = [party.name for party in prepared.parties]
    size = prepared.config.federation.clients_per_round
    if size is None or size >= len(names):
        return names
    drawn = stream(prepared.config.seed, "cohort", index).permutation(len(names))[:size]
    return [names[place] for place in np.sort(drawn)]


def _write_wire(folder: Path, index: int, updates: Sequence[Update]) -> None:
    for place, update in enumerate(updates):
        payload = encode(update.tensors, update.examples, client=update.client)
        name = f"{place:04d}.safetensors"
        folders.write_tensors(folder / f"round-{index + 1:05d}" / name, payload)


def _evaluate(run: _Run, watch: Watch, seconds: float) -> None:
    weights = flatten(run.server.weights, run.prepared.model.layout)
    parties = run.prepared.parties
    rows = {party.name: weights for party in parties}
    evaluation = evaluate_parties(run.prepared, rows, parties, run.server.round)
    run.evaluations.append(evaluation)
    run.ledger.append("evaluation", {"round": evaluation.round, "loss": dict(evaluation.loss)})
    row = {
        "round": evaluation.round,
        "loss": evaluation.mean,
        "tokens": run.tokens,
        "seconds": round(seconds, 3),
    }
    folders.append_metrics(run.folder, row)
    watch.evaluated(evaluation)


def _memory(run: _Run) -> dict[str, NDArray[Any]]:
    """Everything but the weights that the next round depends on, as named tensors."""
    names = [party.name for party in run.prepared.parties]
    tensors: dict[str, NDArray[Any]] = {
        "cursors": np.array([run.clients[name].cursor for name in names], np.int64)
    }
    for moment, values in run.server.moments.items():
        tensors.update({f"server/{moment}/{key}": value for key, value in values.items()})
    for place, name in enumerate(names):
        for moment, row in (run.clients[name].moments or {}).items():
            tensors[f"client/{place}/{moment}"] = row
    return tensors


def _resume(prepared: Prepared, root: Path, watch: Watch) -> _Run:
    """Read a run back from its folder, checking every file against the ledger."""
    folder = folders.find(root)
    if load_config(folder.config) != prepared.config:
        raise ConfigError(
            f"the configuration differs from the one that {root} was started with",
            remedy="Resume with the same configuration, or choose another run.dir",
        )
    ledger = Ledger.open(folder.ledger)
    try:
        records, _ = verify(folder.ledger)
        _check_start(prepared, folder, records)
        rounds = [record for record in records if record.kind == "round"]
        server, clients = _read_state(prepared, folder, rounds)
        run = _Run(prepared, folder, ledger, server, clients)
        run.evaluations = [
            Evaluation(_field(r, "round"), _field(r, "loss"))
            for r in records
            if r.kind == "evaluation"
        ]
        finished = server.round
        scored = [evaluation.round for evaluation in run.evaluations]
        if is_evaluated(prepared, finished) and finished not in scored:
            _evaluate(run, watch, 0.0)
    except BaseException:
        ledger.close()
        raise
    return run


def _field(record: Record, name: str) -> Any:
    return record.payload[name]


def _check_start(prepared: Prepared, folder: RunFolder, records: Sequence[Record]) -> None:
    """The data, the model and the configuration must be those that the run was started with."""
    begun = records[0].payload if records else {}
    now = _facts(prepared, folder, str(begun.get("weights_sha256")))
    for name, value in now.items():
        if begun.get(name) != value:
            raise VerificationError(
                f"{name} is {value!r}, and the run was started with {begun.get(name)!r}",
                remedy="Resume with the same data, model and package, or start another run",
            )


def _read_state(
    prepared: Prepared, folder: RunFolder, rounds: Sequence[Record]
) -> tuple[ServerState, dict[str, ClientState]]:
    names = [party.name for party in prepared.parties]
    strategy = prepared.config.federation.strategy
    weights = folders.read_tensors(folder.weights(len(rounds)))
    prepared.model.layout.check(weights)
    if not rounds:
        return strategy.init(weights), {name: ClientState() for name in names}
    payload = rounds[-1].payload
    path = folder.state(len(rounds))
    memory = folders.read_tensors(path)
    seen = (digest(weights), sha256(path.read_bytes()).hexdigest())
    if seen != (payload["weights_sha256"], payload["state_sha256"]):
        raise VerificationError(
            f"the files of round {len(rounds)} in {folder.root} are not those in the ledger",
            remedy="Restore them from a copy, or start the run again",
        )
    moments: dict[str, dict[str, NDArray[Any]]] = {}
    clients: dict[int, dict[str, NDArray[Any]]] = {}
    for key, value in memory.items():
        kind, _, rest = key.partition("/")
        if kind == "server":
            moment, _, name = rest.partition("/")
            moments.setdefault(moment, {})[name] = value
        elif kind == "client":
            place, _, moment = rest.partition("/")
            clients.setdefault(int(place), {})[moment] = value
    states = {
        name: ClientState(int(memory["cursors"][place]), clients.get(place))
        for place, name in enumerate(names)
    }
    return ServerState(weights, moments, len(rounds)), states


def _finish(run: _Run) -> None:
    """Write the result in the form that others read, and close the ledger's story."""
    write_result(run.prepared, run.server.weights, run.folder.adapter)
    run.ledger.append(
        "end", {"rounds": run.server.round, "adapter_sha256": digest(run.server.weights)}
    )


def write_result(
    prepared: Prepared, tensors: Mapping[str, NDArray[np.float32]], folder: Path
) -> None:
    """Write trained weights as a PEFT adapter, or as a whole checkpoint after full training."""
    if isinstance(prepared.model, LoraModel):
        write_peft(tensors, prepared.model, folder)
        return
    weights = flatten(tensors, prepared.model.layout)
    vendor = prepared.tokenizer.vendor
    write_merged(weights, prepared.model, folder, lambda path: vendor.save_pretrained(path))


def _outcome(run: _Run, seconds: float) -> Outcome:
    weights = flatten(run.server.weights, run.prepared.model.layout)
    return Outcome(
        folder=run.folder,
        weights=weights,
        evaluations=tuple(run.evaluations),
        rounds=run.server.round,
        adapter_sha256=digest(run.server.weights),
        ledger_head=run.ledger.head,
        tokens=run.tokens,
        seconds=seconds,
        bytes_up_per_client=8 * weights.size,
    )
