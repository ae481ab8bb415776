"""What a federated algorithm and a unit of privacy ask of each other. Contradictions raise."""

from __future__ import annotations

from sottovoce.privacy.settings import PrivacySettings, Trust
from sottovoce.strategies.settings import FederationSettings


def require_protected(
    privacy: PrivacySettings, federation: FederationSettings, *, task: str
) -> None:
    """Refuse settings under which the plan's promise would not hold.

    Args:
        privacy: the section ``[privacy]``.
        federation: the section ``[federation]``.
        task: what the run trains for.

    Raises:
        ValueError: what was seen, why it breaks the promise, and what to write in its place.
    """
    if privacy.unit == "none":
        return
    name = federation.strategy.name
    if federation.weights not in (None, "uniform"):
        raise ValueError(
            f'federation.weights is "{federation.weights}" and privacy.unit is "{privacy.unit}": '
            "a weight that grows with a client's data lets one unit move the sum by more than its "
            'clip norm; set federation.weights = "uniform", or remove it'
        )
    if federation.personal is not None:
        raise ValueError(
            f"federation.personal trains without noise, and privacy.unit is "
            f'"{privacy.unit}"; remove it'
        )
    if federation.on_divergence == "drop":
        raise ValueError(
            'federation.on_divergence is "drop": who is dropped would tell of its data; remove it, '
            "since under a plan what is not finite counts as zero"
        )
    if privacy.unit == "client":
        _require_for_clients(federation, name, noised_by=privacy.trust)
    elif task == "pretrain":
        raise ValueError(
            f'privacy.unit is "{privacy.unit}" and task is "pretrain": a block of plain text joins '
            'several people\'s, and adding one moves all that follow; set privacy.unit = "client"'
        )


def _require_for_clients(federation: FederationSettings, name: str, *, noised_by: Trust) -> None:
    """A client's whole update is one contribution to one sum; Poisson samples if the server noises."""
    if federation.strategy.algorithm.expand is not None:
        raise ValueError(
            f"{name} reads every client's update by itself, which no noise on a sum protects; take "
            "fedavg, fedprox, scaffold, ffa, rolora, fedsa or fedsvd"
        )
    if federation.asynchronous is not None:
        raise ValueError(
            "federation.asynchronous decides by speed who is in a sum, which is no Poisson sample; "
            'remove it, or set privacy.unit = "owner"'
        )
    if federation.minimum_clients > 1 and noised_by == "server":
        raise ValueError(
            f"federation.minimum_clients is {federation.minimum_clients}: drawing a round again "
            "because few came is no Poisson sample; remove it"
        )
    if any(device.rank is not None for device in federation.devices.values()):
        raise ValueError(
            "federation.devices gives clients ranks of their own, and a slice that few hold gets "
            "as much noise as all; remove rank"
        )
