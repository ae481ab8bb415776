"""pfl-research's arm: its simulated backend, one process a core, as its guide has it.

Every process runs the whole algorithm on its share of the cohort; sums are reduced between them.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from engine_arms import LEARNING_RATE
from peers_shape import ordered_tokens, peft_model
from peers_turns import Task, Turns

# pfl asks for the framework before a dataset is built: its model comes first.
from pfl.model.pytorch import PyTorchModel  # isort: skip
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted


class _Trained(torch.nn.Module):
    """What pfl asks of a module: a loss to minimise and metrics to report."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def loss(self, tokens: torch.Tensor) -> Any:
        return self.model(input_ids=tokens, labels=tokens).loss

    @torch.no_grad()
    def metrics(self, tokens: torch.Tensor) -> dict[str, Any]:
        return {"loss": Weighted(float(self.loss(tokens)) * len(tokens), len(tokens))}


class _Turn(TrainingProcessCallback):  # type: ignore[misc]
    """Waits before each central iteration and notes when it ended."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_train_begin(self, **_: Any) -> Any:
        self.turns.wait()
        return Metrics()

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Any]:
        self.turns.end()
        self.turns.wait()
        return False, Metrics()


def _local_optimizer(parameters: Any, lr: float) -> torch.optim.Optimizer:
    trainable = [weight for weight in parameters if weight.requires_grad]
    return torch.optim.AdamW(trainable, lr, weight_decay=0.0, fused=True)


def run(task: Task) -> None:
    """Federated averaging over all clients in every round; the first process writes the result.

    All clients hold equally many examples, so pfl's plain mean is the weighted one.
    """
    torch.set_num_threads(task.threads)
    setting = task.setting
    model, weights = peft_model(setting)
    tokens = torch.from_numpy(ordered_tokens(setting, task.rounds)).flatten(2, 3)
    # A user here is a client in one round: the sampler walks through them in this order.
    users = [(index, client) for index in range(task.rounds) for client in range(setting.clients)]

    def dataset(user: tuple[int, int]) -> Any:
        return PyTorchTensorDataset((tokens[user],), user_id=str(user))

    data = FederatedDataset(dataset, get_user_sampler("minimize_reuse", users))
    turns = Turns(task, speaks=os.environ.get("PFL_WORKER_RANK", "0") == "0")
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=task.rounds,
            # Only the first iteration, which does not count, evaluates the clients.
            evaluation_frequency=task.rounds + 1,
            train_cohort_size=setting.clients,
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data),
        model=PyTorchModel(
            model=_Trained(model),
            local_optimizer_create=_local_optimizer,
            central_optimizer=torch.optim.SGD(weights.values(), lr=1.0),
        ),
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=setting.batch
        ),
        model_eval_params=None,
        callbacks=[_Turn(turns)],
        send_metrics_to_platform=False,
    )
    turns.finish({name: weight.detach().numpy() for name, weight in weights.items()})
