"""What a federated algorithm and a secure sum ask of each other. Contradictions raise."""

from __future__ import annotations

from sottovoce.codec.settings import SecureSettings
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.strategies.settings import FederationSettings


def require_secured(
    secure: SecureSettings, federation: FederationSettings, privacy: PrivacySettings
) -> None:
    """Refuse settings that a sum of integers mod 2^b cannot serve.

    Args:
        secure: the section ``[secure]``.
        federation: the section ``[federation]``.
        privacy: the section ``[privacy]``.

    Raises:
        ValueError: what was seen, why it cannot be, and what to write in its place.
    """
    if secure.clip_norm is None:
        return
    name = federation.strategy.name
    if not federation.strategy.algorithm.needs_only_sums:
        raise ValueError(
            f"{name} reads every client's update by itself, and secure.clip_norm asks for a sum of "
            "them; take fedavg, fedprox, scaffold, fednova, ffa, rolora, fedsa or fedsvd"
        )
    if federation.asynchronous is not None:
        raise ValueError(
            "federation.asynchronous adds updates as they arrive, and a secure sum needs a cohort "
            "that begins together; remove one of the two"
        )
    if any(device.rank is not None for device in federation.devices.values()):
        raise ValueError(
            "federation.devices gives clients ranks of their own, so that the server must know who "
            "holds which slice; remove rank, or the section [secure]"
        )
    if federation.weighting == "targets":
        raise ValueError(
            'federation.weights is "targets", which nobody can bound beforehand; set it to '
            '"examples" or "uniform"'
        )
    if privacy.unit == "client":
        raise ValueError(
            'privacy.unit is "client" and secure.clip_norm is set: noise on the words of a secure '
            'sum is not supported; remove the section [secure], or set privacy.unit = "owner", '
            "whose noise is added before anything is sent"
        )
