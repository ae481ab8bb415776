"""What a server says of a federation across machines: as keys for scripts, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sottovoce.run.desk import Host, spent_of
from sottovoce.run.protect import claim
from sottovoce.run.protect import facts as privacy_facts
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.secure import facts as secure_facts
from sottovoce.run.seen import Seen
from sottovoce.run.sums import told


def server_facts(one: Host, seen: Seen) -> dict[str, Any]:
    """What ``sotto server --json`` prints."""
    spent = spent_of(one)
    loss = one.loss
    return {
        "run_dir": str(one.folder.root),
        "rounds": one.server.round,
        "sites": list(one.known.clients),
        "loss": sum(loss.values()) / len(loss) if loss else None,
        "loss_by_site": dict(loss),
        "gains": dict(one.gains),
        "adapter_sha256": digest(model_tensors(one.server)),
        "privacy": privacy_facts(one.known.plans, spent),
        "statement": claim(one.known.plans, spent),
        "secure": secure_facts(**told(one.known)),
        "bytes_up": dict(seen.bytes_up),
        "stage_seconds": {key: round(value, 3) for key, value in seen.stage_seconds.items()},
        "ledger_head": one.ledger.head,
    }


def server_words(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    lines = [f"{facts['rounds']} rounds with {', '.join(facts['sites'])}"]
    if facts["loss"] is not None:
        lines.append(f"held-out loss: {facts['loss']:.4f}")
    lines += facts["statement"]
    lines.append(f"run folder: {facts['run_dir']}")
    lines.append(f"next: sotto chat {facts['run_dir']}")
    return "\n".join(lines)
