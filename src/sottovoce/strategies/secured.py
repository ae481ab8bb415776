"""What a federated algorithm and a secure sum ask of each other. Contradictions raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sottovoce.codec.settings import SecureSettings
from sottovoce.privacy.settings import AdaptiveClip, PrivacySettings
from sottovoce.strategies import no_tensor, nothing_more, send_change
from sottovoce.strategies.settings import FederationSettings

if TYPE_CHECKING:
    # At run time it would bring torch along, which no configuration needs.
    from sottovoce.train import TrainSettings


def require_secured(
    secure: SecureSettings,
    federation: FederationSettings,
    privacy: PrivacySettings,
    train: TrainSettings,
) -> None:
    """Refuse settings that a sum of integers mod 2^b cannot serve.

    Args:
        secure: the section ``[secure]``.
        federation: the section ``[federation]``.
        privacy: the section ``[privacy]``.
        train: the section ``[train]``.

    Raises:
        ValueError: what was seen, why it cannot be, and what to write in its place.
    """
    _require_norm(secure, privacy)
    _require_for_parts(secure, federation, privacy)
    if secure.clip_norm is None and privacy.trust != "none":
        return
    name = federation.strategy.name
    if not federation.strategy.algorithm.needs_only_sums:
        raise ValueError(
            f"{name} reads every client's update by itself, and the section [secure] asks for a sum of "
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
    if federation.weighting == "targets" and privacy.unit == "none":
        raise ValueError(
            'federation.weights is "targets", which nobody can bound beforehand; set it to '
            '"examples" or "uniform"'
        )
    if privacy.trust == "none":
        _require_for_shares(secure, privacy)
        if privacy.inside_clients:
            _require_one_step(federation, privacy, train)
    elif privacy.unit == "client":
        raise ValueError(
            'privacy.unit is "client", privacy.trust is "server" and secure.clip_norm is set: a '
            'server that adds the noise must see single updates; set privacy.trust = "none" and a '
            "privacy.mechanism, so that clients add it, or remove the section [secure]"
        )


def _require_norm(secure: SecureSettings, privacy: PrivacySettings) -> None:
    """Words need one bound on a client's update: their own, or the privacy plan's."""
    if privacy.trust == "none":
        if secure.clip_norm is not None:
            raise ValueError(
                'secure.clip_norm is set and privacy.trust is "none", where privacy.clip_norm is the '
                "bound that words are written by; remove secure.clip_norm"
            )
        return
    if secure.aggregation != "none" and secure.clip_norm is None:
        raise ValueError(
            f'secure.aggregation is "{secure.aggregation}" and secure.clip_norm is missing: sums '
            "of integers need a bound on one client's update; write one a little above the "
            'update_norm that the ledger of a run with aggregation = "none" shows'
        )
    words = {
        "bits": secure.bits,
        "max_weight": secure.max_weight,
        "robust": secure.robust,
        "keep": secure.keep if secure.keep < 1 else None,
    }
    asked = [f"secure.{name}" for name, value in words.items() if value is not None]
    if secure.clip_norm is None and asked:
        raise ValueError(f"{asked[0]} has a meaning only beside secure.clip_norm; add it")


def _require_for_parts(
    secure: SecureSettings, federation: FederationSettings, privacy: PrivacySettings
) -> None:
    """What travels in few bits, in parts or in groups must still be what the rules were made for."""
    if secure.compress is not None and (
        secure.clip_norm is not None or secure.aggregation != "none" or privacy.trust == "none"
    ):
        raise ValueError(
            f"secure.compress is {secure.compress}, with a scale for every client and block, and "
            "sums of words need one scale for all; remove it, and set secure.bits, or remove "
            "secure.clip_norm and secure.aggregation"
        )
    inside = privacy.trust == "none" and privacy.inside_clients
    if secure.keep < 1 and (inside or federation.strategy.name in ("scaffold", "fedsgd")):
        raise ValueError(
            f"secure.keep is {secure.keep:g}: clients send later what they did not send now, and "
            f"{'units inside clients' if inside else federation.strategy.name} would then be in "
            "sums of rounds that are not theirs; remove it"
        )
    if secure.robust is not None and privacy.trust == "none":
        raise ValueError(
            f'secure.robust is "{secure.robust}" and privacy.trust is "none": every group would need '
            "all of the noise by itself; remove one of the two"
        )
    if secure.robust is not None and federation.strategy.name == "scaffold":
        raise ValueError(
            f'secure.robust is "{secure.robust}", and scaffold needs the mean of all control '
            "variates; remove it, or take fedavg or fedprox"
        )


def _require_for_shares(secure: SecureSettings, privacy: PrivacySettings) -> None:
    """Clients add the noise, so nobody may see their words before all of it is there."""
    if secure.aggregation == "none":
        raise ValueError(
            'privacy.trust is "none" and secure.aggregation is "none": the server would see every '
            'client\'s words with a share of the noise only; set secure.aggregation = "secagg", or '
            'privacy.trust = "server" and privacy.mechanism = "gaussian"'
        )
    if isinstance(privacy.clip_norm, AdaptiveClip):
        raise ValueError(  # noqa: TRY004 - pydantic turns a ValueError into its own
            'privacy.clip_norm follows a quantile and privacy.trust is "none": words are written by '
            "one norm; write a number"
        )
    if privacy.loss_noise_multiplier is not None:
        raise ValueError(
            'privacy.loss_noise_multiplier is set and privacy.trust is "none": the sum has no room '
            "for losses; remove it"
        )
    if secure.max_weight is not None:
        raise ValueError(
            'secure.max_weight is set and privacy.trust is "none", where every unit weighs the '
            "same; remove it"
        )


_ONE_STEP = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "steps_per_round": 1}


def _require_one_step(
    federation: FederationSettings, privacy: PrivacySettings, train: TrainSettings
) -> None:
    """Noise that all clients share is in sums of gradients, so a round is one step along one."""
    why = f'privacy.trust is "none" and privacy.unit is "{privacy.unit}"'
    algorithm = federation.strategy.algorithm
    changes = (algorithm.adjust, algorithm.finish, algorithm.private, algorithm.adds)
    if changes != (None, send_change, no_tensor, nothing_more):
        raise ValueError(
            f"{why}: clients send their people's gradients under shares of the noise, and "
            f"{federation.strategy.name} sends or keeps something else; take fedsgd, fedavg, ffa or "
            'server_damping, or set privacy.trust = "server"'
        )
    for name, wanted in _ONE_STEP.items():
        found = getattr(train, name)
        if found != wanted:
            raise ValueError(
                f"{why}: noise is in the sum of one gradient, so a round is one plain step, and "
                f"train.{name} is {found!r}; set it to {wanted!r}, and let federation.strategy.server "
                "be more than plain descent"
            )
    if any(device.steps_per_round not in (None, 1) for device in federation.devices.values()):
        raise ValueError(
            f"{why}: a round is one step, and federation.devices gives clients steps of their own; "
            "remove steps_per_round"
        )
