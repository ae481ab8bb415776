"""Whose contribution is hidden, how well, and at what price: the section ``[privacy]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

Unit = Literal["none", "client", "owner", "example"]
Trust = Literal["server", "none"]


class AdaptiveClip(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A clip norm that follows a quantile of the norms; the table ``[privacy.clip_norm]``.

    Andrew et al. 2021, Algorithm 1: after every release the norm is multiplied by
    exp(-learning_rate · (share - quantile)), where ``share`` is the noisy share of units whose
    norm was within it.

    Args:
        initial: the first clip norm.
        quantile: the share of units that should not be clipped.
        learning_rate: how fast the norm follows.
        count_noise_std: standard deviation of the noise on the number of units within the norm;
            None takes a twentieth of the expected number, as the paper does.
    """

    initial: float = Field(gt=0)
    quantile: float = Field(0.5, gt=0, lt=1)
    learning_rate: float = Field(0.2, gt=0)
    count_noise_std: float | None = Field(None, gt=0)


def _kind_of_norm(value: object) -> str:
    return "adaptive" if isinstance(value, (dict, AdaptiveClip)) else "fixed"


ClipNorm = Annotated[
    Annotated[float, Field(gt=0), Tag("fixed")] | Annotated[AdaptiveClip, Tag("adaptive")],
    Discriminator(_kind_of_norm),
]
"""A number, or a table for a norm that follows a quantile."""


class PrivacySettings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """The unit of privacy and what hides it; the section ``[privacy]``, which has no default.

    Args:
        unit: ``"client"``: a client's whole update is clipped, and noise is added to the sum.
            ``"owner"``: inside each client, every person's gradient is clipped and noise is added
            to every step. ``"example"``: the same for every conversation. ``"none"`` must be
            written out: nothing is hidden.
        epsilon: the target; the noise follows from it. Either this or ``noise_multiplier``.
        delta: below one over the number of units.
        noise_multiplier: standard deviation of the noise over the sensitivity of all that a step
            releases.
        clip_norm: the L2 bound on one unit's contribution; a number, or a table for one that
            follows a quantile.
        trust: ``"server"``: the server may see single contributions, of clients in the clear
            (it adds the noise), of owners and examples already noised. ``"none"``: nobody sees
            one; it needs a secure sum.
        mechanism: the distribution of the noise. Shares of it that clients add under a secure sum
            are ``discrete_gaussian`` or ``skellam``.
        sampling: who is in a release. Poisson sampling alone is accounted for; the others can be
            asked for so that the error can say why not.
        max_participations: the most rounds that a client takes part in, which it enforces itself;
            None is all.
        examples_per_owner: the most sequences of one owner that a step reads, drawn anew.
        max_sites_per_owner: at how many clients one owner's text lies at most; checked where all
            of them are known. None takes all clients.
        loss_noise_multiplier: releases the training loss too, with this much noise, paid for
            together with the sum; None releases none.
        loss_bound: losses are clipped to this before they are released, in nats.
        generator: ``"seeded_for_tests"`` repeats its noise, so it hides nothing and the result
            says so.
        policy: a file of rules of the site's own, which may refuse the run; it is asked with the
            unit ``"none"`` too.
    """

    unit: Unit
    epsilon: float | None = Field(None, gt=0)
    delta: float | None = Field(None, gt=0, lt=1)
    noise_multiplier: float | None = Field(None, gt=0)
    clip_norm: ClipNorm | None = None
    trust: Trust = "server"
    mechanism: Literal["gaussian", "discrete_gaussian", "skellam"] = "gaussian"
    sampling: Literal["poisson", "fixed", "shuffled"] = "poisson"
    max_participations: int | None = Field(None, ge=1)
    examples_per_owner: int = Field(8, ge=1)
    max_sites_per_owner: int | None = Field(None, ge=1)
    loss_noise_multiplier: float | None = Field(None, gt=0, le=1000)
    loss_bound: float = Field(10.0, gt=0)
    generator: Literal["cryptographic", "seeded_for_tests"] = "cryptographic"
    policy: str | None = None

    @property
    def inside_clients(self) -> bool:
        """Whether the unit lies inside a client, so that each client protects its own."""
        return self.unit in ("owner", "example")

    @property
    def _chosen(self) -> set[str]:
        """Keys with another value than their default; a resolved configuration names them all."""
        fields = type(self).model_fields
        return {name for name, field in fields.items() if getattr(self, name) != field.default}

    @model_validator(mode="after")
    def _whole(self) -> PrivacySettings:
        """A unit comes with all that protects it, and nothing that protects comes without one."""
        if self.unit == "none":
            asked = sorted(self._chosen - {"unit", "policy"})
            if asked:
                raise ValueError(
                    f'privacy.unit is "none", and privacy.{asked[0]} is set; remove it, or choose '
                    "the unit client, owner or example"
                )
            return self
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError(
                f'privacy.unit is "{self.unit}", so either privacy.epsilon or '
                "privacy.noise_multiplier must be set, and not both"
            )
        if self.delta is None:
            raise ValueError(
                f'privacy.unit is "{self.unit}", so privacy.delta must be set, for example 1e-5; '
                "it must be below one over the number of units"
            )
        if self.clip_norm is None:
            raise ValueError(
                f'privacy.unit is "{self.unit}", so privacy.clip_norm must bound what one '
                f"{self.unit} contributes"
            )
        if self.unit != "owner":
            for key in ("examples_per_owner", "max_sites_per_owner"):
                if key in self._chosen and not (
                    key == "max_sites_per_owner" and self.unit == "example"
                ):
                    raise ValueError(
                        f'privacy.{key} is set, and privacy.unit is "{self.unit}"; remove it, or '
                        'set privacy.unit = "owner"'
                    )
        if self.sampling != "poisson":
            raise ValueError(
                f'privacy.sampling is "{self.sampling}", but the accounting holds for Poisson '
                "samples, in which every unit joins by itself, and a batch of fixed size moves by "
                'two units where one is added; set privacy.sampling = "poisson"'
            )
        if (self.trust == "none") == (self.mechanism == "gaussian"):
            raise ValueError(
                f'privacy.trust is "{self.trust}" and privacy.mechanism is "{self.mechanism}"; '
                'shares of noise under a secure sum (trust = "none") are discrete_gaussian or '
                'skellam, noise that one party adds (trust = "server") is gaussian'
            )
        return self
