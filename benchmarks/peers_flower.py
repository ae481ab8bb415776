"""Flower's arms: a ClientApp and a ServerApp in its simulation runtime, one Ray actor a core.

``run_simulation`` starts the runtime that ``flwr run`` starts, with the same grid in memory, but
without a SuperLink in front of it; only the start differs, and no round pays for it.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from engine_arms import LEARNING_RATE, build_vendor
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from peers_shape import CPU, initial_adapter, load_adapter, ordered_tokens, peft_model
from peers_turns import Task, Turns
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments


@lru_cache(maxsize=1)
def _loaded(text: str) -> tuple[Any, dict[str, torch.Tensor], torch.Tensor]:
    """Model, adapter and tokens, once in a worker: its process outlives the messages."""
    task = Task.from_json(text)
    torch.set_num_threads(task.threads)
    tokens = torch.from_numpy(ordered_tokens(task.setting, task.rounds))
    return *peft_model(task.setting), tokens


def _reloaded(task: Task) -> tuple[Any, dict[str, torch.Tensor]]:
    """The base model from its folder with a new adapter on it, as in Flower's LLM template."""
    folder = Path(task.folder, "base")
    return peft_model(task.setting, AutoModelForCausalLM.from_pretrained(folder))


def train_client(message: Any, context: Any) -> Any:
    """Train one client from the arrays of the message, and answer with its own."""
    config = message.content["config"]
    task = Task.from_json(config["task"])
    model, weights, tokens = _loaded(config["task"])
    if task.reloads:
        model, weights = _reloaded(task)
    load_adapter(weights, message.content["arrays"].to_torch_state_dict())
    own = tokens[config["server-round"] - 1, context.node_config["partition-id"]]
    train = _by_trainer if task.reloads else _by_loop
    loss = train(model, weights, own)
    metrics = {"num-examples": own.shape[0] * own.shape[1], "train-loss": loss}
    answer = RecordDict({"arrays": _record(weights), "metrics": MetricRecord(metrics)})
    return Message(content=answer, reply_to=message)


def _by_loop(model: Any, weights: dict[str, torch.Tensor], own: torch.Tensor) -> float:
    """The leanest loop that there is."""
    optimizer = torch.optim.AdamW(weights.values(), LEARNING_RATE, weight_decay=0.0, fused=True)
    total = 0.0
    for batch in own:
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += float(loss.detach())
    return total / len(own)


class _InOrder(Trainer):  # type: ignore[misc]
    """A trainer that reads the batches as they stand."""

    def _get_train_sampler(self, *_: Any) -> Any:
        return SequentialSampler(self.train_dataset)


def _by_trainer(model: Any, weights: dict[str, torch.Tensor], own: torch.Tensor) -> float:  # noqa: ARG001
    """The trainer of transformers, as in Flower's LLM template."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            per_device_train_batch_size=own.shape[1],
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            weight_decay=0.0,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        rows = [{"input_ids": row, "labels": row} for row in own.flatten(0, 1)]
        done = _InOrder(model, settings, train_dataset=rows).train()
    return float(done.training_loss)


def _record(weights: dict[str, torch.Tensor]) -> Any:
    return ArrayRecord({name: weight.detach() for name, weight in weights.items()})


def run(task: Task) -> None:
    """Federated averaging over all clients in every round, without evaluation."""
    turns = Turns(task)
    if task.reloads:
        build_vendor(task.setting, CPU).save_pretrained(Path(task.folder, "base"))
    last: list[Any] = []

    def between_rounds(index: int, arrays: Any) -> None:
        if index:
            turns.end()
        last[:] = [arrays]
        turns.wait()

    def serve(grid: Grid, _: Context) -> None:
        first = initial_adapter(task.setting)
        FedAvg(fraction_evaluate=0.0, min_available_nodes=task.setting.clients).start(
            grid=grid,
            initial_arrays=_record({name: torch.from_numpy(first[name]) for name in first}),
            num_rounds=task.rounds,
            train_config=ConfigRecord({"task": task.to_json()}),
            evaluate_fn=between_rounds,
        )

    client_app, server_app = ClientApp(), ServerApp()
    client_app.train()(train_client)
    server_app.main()(serve)
    cores = task.workers * task.threads
    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=task.setting.clients,
        backend_config={
            "init_args": {"num_cpus": cores, "_node_ip_address": "127.0.0.1"},
            "client_resources": {"num_cpus": task.threads, "num_gpus": 0.0},
        },
    )
    final = last[0].to_torch_state_dict()
    turns.finish({name: value.numpy() for name, value in final.items()})
