"""The client app: every task is a process of its own, which loads the model, trains and answers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments


def load_model(folder: Path) -> Any:
    """The base model from its folder, with an adapter."""
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    settings = json.loads((folder / "adapter.json").read_text(encoding="utf-8"))
    return get_peft_model(base, LoraConfig(**settings))


def own_rows(folder: Path, place: int) -> list[dict[str, torch.Tensor]]:
    """A client's sequences, with the labels that are trained on."""
    with np.load(folder / f"{place}.npz") as held:
        return [
            {
                "input_ids": torch.from_numpy(held[f"tokens{number}"]),
                "labels": torch.from_numpy(held[f"labels{number}"]),
            }
            for number in range(len(held.files) // 2)
        ]


def train(message: Any, context: Any) -> Any:
    """Train from the arrays of the message, and answer with its own."""
    torch.set_num_threads(1)
    folder = Path(str(context.run_config["folder"]))
    rows = own_rows(folder, int(context.node_config["partition-id"]))
    model = load_model(folder)
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    with tempfile.TemporaryDirectory() as place:
        settings = TrainingArguments(
            place,
            per_device_train_batch_size=1,
            max_steps=int(context.run_config["steps"]),
            learning_rate=0.012,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        done = Trainer(model, settings, train_dataset=rows).train()
    answer = {
        "arrays": ArrayRecord(get_peft_model_state_dict(model)),
        "metrics": MetricRecord({"num-examples": len(rows), "loss": float(done.training_loss)}),
    }
    return Message(content=RecordDict(answer), reply_to=message)


app = ClientApp()
app.train()(train)
