"""Our arm of the comparison: whole rounds on the group axis, server included."""

from __future__ import annotations

from engine_arms import LEARNING_RATE, SEED, build_ours, draw_clients
from peers_shape import CPU, initial_adapter
from peers_turns import Task, Turns

from sottovoce.run.rounds import round_step
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.train import Client, ClientState, Round, TrainSettings, train
from sottovoce.update import flatten


def run(task: Task) -> None:
    """Train all clients, encode and add what they send, step the server; as ``sotto run`` does.

    Not part of it: the run folder and its ledger, which the peers don't keep either.
    """
    setting = task.setting
    model = build_ours(setting, CPU)
    recipe = TrainSettings(
        learning_rate=LEARNING_RATE,
        schedule="constant",
        warmup_fraction=0.0,
        max_gradient_norm="off",
        batch_size=setting.batch,
        optimizer_state="reset",
    )
    averaging = FedAvg().algorithm
    server = averaging.first(initial_adapter(setting))
    clients = draw_clients(setting)
    states = {client.name: ClientState() for client in clients}
    turns = Turns(task)
    for index in range(task.rounds):
        turns.wait()
        members = [Client(c.name, c.examples, states[c.name]) for c in clients]
        shared = flatten(server.weights, model.layout)
        trained = train(
            model,
            members,
            dict.fromkeys(states, shared),
            recipe,
            Round(index, task.rounds, SEED),
        )
        server, _ = round_step(averaging, server, [update for update, _ in trained])
        states = {update.client: state for update, state in trained}
        turns.end()
    turns.finish(server.weights)
