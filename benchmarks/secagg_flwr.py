"""Flower's SecAgg+ on a vector of ours, in the environment of the peers, turn by turn.

``benchmarks/secagg.py`` starts this script with the Python of ``make bench-peers`` and asks for one
measurement at a time, a line in and a line out, so that either side rests while the other works.
Flower's own server workflow and client mod run unchanged, in one process: where a grid would send
a message to a node, the mod is called with it. What a client needs to make its result, which is not
a part of the sum, is taken off. Seconds are those of the processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
CLIENTS = 10
THRESHOLD = 7
"""Shares that bring a secret back among ten, as ours asks for in its default settings."""


def available() -> bool:
    """Whether the environment of the peers is there, with Flower in it."""
    packages = (ROOT / ".venv-peers" / "lib").glob("python*/site-packages/flwr")
    return PYTHON.exists() and any(packages)


class Flower:
    """The other end, as ``benchmarks/secagg.py`` holds it.

    Args:
        vector: a file of float32 numbers as ``numpy.save`` writes it.
    """

    def __init__(self, vector: Path) -> None:
        settings = {"FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [str(PYTHON), str(Path(__file__).resolve()), str(vector)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings, "OPENBLAS_NUM_THREADS": "1"},
        )

    def measure(self, what: str) -> Mapping[str, float]:
        """Let it do one thing, ``"round"`` or ``"shares"``, and wait."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("Flower's process has no pipes")
        print(what, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"Flower's process ended while it was asked for a {what}")
        told: Mapping[str, float] = json.loads(line)
        return told

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


class MemoryGrid:
    """What a workflow asks of a grid: every node's client mod is called in this process."""

    def __init__(self, vector: Any) -> None:
        from flwr.app import Context, RecordDict

        self.vector = vector
        self.contexts = {
            node: Context(run_id=1, node_id=node, node_config={}, state=RecordDict(), run_config={})
            for node in range(1, CLIENTS + 1)
        }
        self.own_seconds = 0.0
        self.masking: list[float] = []
        self.upload_bytes = 0

    def send_and_receive(self, messages: Iterable[Any], **_: Any) -> Any:
        """Deliver the messages one after another; nothing has to be waited for."""
        from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod
        from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
        from flwr.common.serde import recorddict_to_proto

        replies = []
        for message in messages:
            begin = time.process_time()
            # The mod takes parts out of what a server has sent to several nodes as one object.
            arrived = deepcopy(message)
            self.own_seconds += time.process_time() - begin
            own, begin = self.own_seconds, time.process_time()
            reply = secaggplus_mod(arrived, self.contexts[message.metadata.dst_node_id], self.fit)
            taken = time.process_time() - begin - (self.own_seconds - own)
            if Key.MASKED_PARAMETERS in reply.content.config_records[RECORD_KEY_CONFIGS]:
                self.masking.append(taken)
                begin = time.process_time()
                if not self.upload_bytes:
                    self.upload_bytes = recorddict_to_proto(reply.content).ByteSize()
                self.own_seconds += time.process_time() - begin
            replies.append(reply)
        return replies

    def fit(self, message: Any, _: Any) -> Any:
        """Stand for a client's training: the vector is its result."""
        from flwr.app import Message
        from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
        from flwr.compat.common.recorddict_compat import fitres_to_recorddict

        begin = time.process_time()
        result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters([self.vector]), 1000, {})
        reply = Message(fitres_to_recorddict(result, False), reply_to=message)
        self.own_seconds += time.process_time() - begin
        return reply


class Everybody:
    """A strategy that asks all nodes and hands on the sum that the workflow found."""

    def configure_fit(self, _round: int, parameters: Any, _clients: Any) -> Any:
        """Send every node the same."""
        from types import SimpleNamespace

        from flwr.common import FitIns

        proxies = [SimpleNamespace(node_id=node) for node in range(1, CLIENTS + 1)]
        return [(proxy, FitIns(parameters, {})) for proxy in proxies]

    def aggregate_fit(self, _round: int, results: Any, _failures: Any) -> Any:
        """Take the mean that every result holds by now."""
        return results[0][1].parameters, {}


def one_round(vector: Any) -> dict[str, float]:
    """A whole sum among ten clients, the server's work included."""
    import numpy as np
    from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict
    from flwr.server.compat.legacy_context import LegacyContext
    from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
    from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow

    state = RecordDict(
        {
            MAIN_CONFIGS_RECORD: ConfigRecord({Key.CURRENT_ROUND: 1}),
            MAIN_PARAMS_RECORD: ArrayRecord(),
        }
    )
    bare = Context(run_id=1, node_id=0, node_config={}, state=state, run_config={})
    context = LegacyContext(bare, strategy=Everybody())  # type: ignore[arg-type, unused-ignore]
    grid = MemoryGrid(vector)
    begin = time.process_time()
    workflow = SecAggPlusWorkflow(num_shares=1.0, reconstruction_threshold=THRESHOLD)
    workflow(grid, context)  # type: ignore[arg-type, unused-ignore]
    taken = time.process_time() - begin - grid.own_seconds
    (found,) = context.state.array_records[MAIN_PARAMS_RECORD].to_numpy_ndarrays()
    # A sum that came out wrong would have been quick for nothing.
    error = float(np.sqrt(np.mean(np.square(found - vector.astype(np.float64)))))
    masking = sorted(grid.masking)[len(grid.masking) // 2]
    return {
        "seconds": taken,
        "masking_seconds": masking,
        "upload_bytes": grid.upload_bytes,
        "rms_error": error,
    }


def both_secrets() -> dict[str, float]:
    """The shares of a client's two secrets, for itself and a hundred others."""
    from flwr.common.secure_aggregation.crypto.shamir import create_shares
    from flwr.supercore.primitives.asymmetric import generate_key_pairs, private_key_to_bytes

    private = private_key_to_bytes(generate_key_pairs()[0])
    begin = time.process_time()
    create_shares(os.urandom(32), 51, 101)
    create_shares(private, 51, 101)
    return {"seconds": time.process_time() - begin}


def serve(path: str) -> None:
    """Do what the lines of the standard input ask for, one after another."""
    import logging

    import numpy as np
    from flwr.supercore.task_identity import TaskIdentity

    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 0
    vector = np.load(path)
    for line in sys.stdin:
        told = one_round(vector) if line.strip() == "round" else both_secrets()
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
