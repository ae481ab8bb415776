"""Contradictions: each refusal with its way out, and the nearest configuration that is allowed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from sottovoce.config import Config, make_config
from sottovoce.errors import ConfigError
from sottovoce.privacy.settings import AdaptiveClip, PrivacySettings
from sottovoce.strategies.settings import FederationSettings

CLIENT = {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-5, "clip_norm": 1.0}
OWNER = {**CLIENT, "unit": "owner"}
EXAMPLE = {**CLIENT, "unit": "example"}
NONE = {"unit": "none"}
LATE = {"buffer": 2, "concurrency": 3}
GONE = object()


def changed(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    merged = {**settings, **changes}
    return {key: value for key, value in merged.items() if value is not GONE}


def tree(privacy: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {"data": {"path": "x", "scrub": "off"}, "privacy": privacy, **sections}


def federated(privacy: dict[str, Any], *, sgd: bool = False, **federation: Any) -> dict[str, Any]:
    sections: dict[str, Any] = {"train": {"optimizer": "sgd"}} if sgd else {}
    return tree(privacy, federation=federation, **sections)


def made(settings: dict[str, Any]) -> Config:
    return make_config(copy.deepcopy(settings), place="here.toml")


TEXT = {"task": "pretrain", "data": {"path": "x", "format": "text", "scrub": "off"}}

# A refused tree, words of its message, the nearest tree that passes.
REFUSALS = {
    # The section by itself.
    "none with noise": (
        tree({**NONE, "noise_multiplier": 1.0}),
        ['privacy.unit is "none"', "privacy.noise_multiplier is set", "choose the unit client"],
        tree({**NONE, "policy": "policy.toml"}),
    ),
    "none with a bound on what is not released": (
        tree({**NONE, "loss_bound": 3.0}),
        ["privacy.loss_bound is set", "remove it"],
        # A resolved configuration writes defaults out.
        tree({**NONE, "loss_bound": 10.0, "trust": "server"}),
    ),
    "neither target nor noise": (
        tree(changed(CLIENT, noise_multiplier=GONE)),
        ["either privacy.epsilon or privacy.noise_multiplier must be set", "not both"],
        tree(changed(CLIENT, noise_multiplier=GONE, epsilon=3.0)),
    ),
    "both target and noise": (
        tree({**CLIENT, "epsilon": 3.0}),
        ["either privacy.epsilon or privacy.noise_multiplier", "not both"],
        tree(CLIENT),
    ),
    "no delta": (
        tree(changed(OWNER, delta=GONE)),
        ['privacy.unit is "owner"', "privacy.delta must be set, for example 1e-5"],
        tree(OWNER),
    ),
    "no clip norm": (
        tree(changed(EXAMPLE, clip_norm=GONE)),
        ["privacy.clip_norm must bound what one example contributes"],
        tree(EXAMPLE),
    ),
    **{
        f"{key} under {unit}": (
            tree({**CLIENT, "unit": unit, key: 2}),
            [f"privacy.{key} is set", f'privacy.unit is "{unit}"', 'set privacy.unit = "owner"'],
            tree({**OWNER, key: 2}),
        )
        for unit, key in (
            ("client", "examples_per_owner"),
            ("client", "max_sites_per_owner"),
            ("example", "examples_per_owner"),
        )
    },
    **{
        f"{sampling} samples": (
            tree({**EXAMPLE, "sampling": sampling}),
            [f'privacy.sampling is "{sampling}"', 'set privacy.sampling = "poisson"'],
            tree({**EXAMPLE, "sampling": "poisson"}),
        )
        for sampling in ("fixed", "shuffled")
    },
    "shares of noise that one party adds": (
        tree({**CLIENT, "mechanism": "skellam"}),
        ['privacy.trust is "server"', 'mechanism is "skellam"', '(trust = "server") is gaussian'],
        tree({**CLIENT, "mechanism": "gaussian"}),
    ),
    "one gaussian that nobody may add": (
        tree({**CLIENT, "trust": "none"}),
        ['privacy.trust is "none"', 'mechanism is "gaussian"', "discrete_gaussian or skellam"],
        tree(CLIENT),
    ),
    # With the federation.
    **{
        f"trust none without a secure sum under {unit}": (
            tree({**CLIENT, "unit": unit, "trust": "none", "mechanism": "discrete_gaussian"}),
            ['privacy.trust is "none"', "share of the noise only", 'privacy.trust = "server"'],
            tree({**CLIENT, "unit": unit, "trust": "server"}),
        )
        for unit in ("client", "owner", "example")
    },
    **{
        f"weights by {weights} under {settings['unit']}": (
            federated(settings, weights=weights),
            [f'federation.weights is "{weights}"', 'set federation.weights = "uniform"'],
            federated(settings, weights="uniform"),
        )
        for weights in ("examples", "targets")
        for settings in (CLIENT, OWNER, EXAMPLE)
    },
    **{
        f"{personal} under {settings['unit']}": (
            federated(settings, personal=personal),
            ["federation.personal trains without noise", "remove it"],
            federated(NONE, personal=personal),
        )
        for personal in ("ditto", "finetune")
        for settings in (CLIENT, OWNER)
    },
    **{
        f"dropping who diverges under {settings['unit']}": (
            federated(settings, on_divergence="drop"),
            ['federation.on_divergence is "drop"', "remove it", "counts as zero"],
            federated(settings, on_divergence="stop"),
        )
        for settings in (CLIENT, OWNER, EXAMPLE)
    },
    **{
        f"{name} under client": (
            federated(CLIENT, strategy=name),
            [name, "reads every client's update by itself", "take fedavg"],
            federated(OWNER, strategy=name),
        )
        for name in ("flora", "fedex")
    },
    "asynchronous under client": (
        federated(CLIENT, asynchronous=LATE),
        ["federation.asynchronous", "no Poisson sample", 'set privacy.unit = "owner"'],
        federated(OWNER, asynchronous=LATE),
    ),
    "a least number of clients under client": (
        federated(CLIENT, minimum_clients=2),
        ["federation.minimum_clients is 2", "no Poisson sample", "remove it"],
        federated(OWNER, minimum_clients=2),
    ),
    "ranks under client": (
        federated(CLIENT, devices={"phone": {"share": 0.5, "rank": 2}}),
        ["ranks of their own", "as much noise as all", "remove rank"],
        federated(CLIENT, devices={"phone": {"share": 0.5, "steps_per_round": 2}}),
    ),
    **{
        f"plain text under {settings['unit']}": (
            tree(settings, **TEXT),
            [f'privacy.unit is "{settings["unit"]}"', '"pretrain"', 'set privacy.unit = "client"'],
            tree(CLIENT, **TEXT),
        )
        for settings in (OWNER, EXAMPLE)
    },
    "rates tuned on what is protected": (
        tree(OWNER, compare={"learning_rates": [0.1, 0.2]}),
        ["compare.learning_rates tunes on the text", "no epsilon covers", "remove it"],
        tree(NONE, compare={"learning_rates": [0.1, 0.2]}),
    ),
}


@pytest.mark.parametrize(("refused", "words", "allowed"), REFUSALS.values(), ids=REFUSALS)
def test_a_contradiction_is_refused_and_its_neighbour_is_not(
    refused: dict[str, Any], words: list[str], allowed: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        made(refused)
    said = str(caught.value)
    assert caught.value.exit_code == 2
    assert said.startswith("here.toml: ")
    for word in words:
        assert word in said
    made(allowed)


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "person"},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": float("inf")},
        {"noise_multiplier": float("nan")},
        {"delta": 0.0},
        {"delta": 1.0},
        {"clip_norm": 0.0},
        {"clip_norm": float("inf")},
        {"clip_norm": {"initial": 0.0}},
        {"clip_norm": {"initial": 1.0, "quantile": 1.0}},
        {"clip_norm": {"initial": 1.0, "quantile": 0.0}},
        {"clip_norm": {"initial": 1.0, "learning_rate": 0.0}},
        {"clip_norm": {"initial": 1.0, "count_noise_std": 0.0}},
        {"clip_norm": {"initial": 1.0, "speed": 2.0}},
        {"examples_per_owner": 0},
        {"max_sites_per_owner": 0},
        {"max_participations": 0},
        {"loss_noise_multiplier": 0.0},
        {"loss_bound": 0.0},
        {"mechanism": "laplace"},
        {"trust": "client"},
        {"generator": "fast"},
        {"noise": 1.0},
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PrivacySettings.model_validate({**OWNER, **change})


def test_epsilon_must_be_positive() -> None:
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValidationError):
            PrivacySettings.model_validate(changed(OWNER, noise_multiplier=GONE, epsilon=bad))


def test_a_unit_has_no_default() -> None:
    with pytest.raises(ConfigError, match=r"privacy\.unit is missing; it has no default"):
        make_config({"data": {"path": "x", "scrub": "off"}}, place="here.toml")
    with pytest.raises(ConfigError, match="privacy"):
        make_config(tree({}), place="here.toml")


@pytest.mark.parametrize("unit", ["owner", "example"])
@pytest.mark.parametrize("name", ["fedavg", "fedprox", "ffa", "rolora", "fedsa", "fedsvd", "fedex"])
def test_units_inside_clients_allow_every_rule(unit: str, name: str) -> None:
    settings = made(federated({**CLIENT, "unit": unit}, strategy=name)).privacy
    assert settings.inside_clients


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold", "ffa", "rolora", "fedsa"])
def test_whole_clients_allow_every_rule_that_needs_only_a_sum(name: str) -> None:
    settings = made(federated(CLIENT, strategy=name, sgd=name == "scaffold")).privacy
    assert not settings.inside_clients


def test_what_is_allowed_reaches_the_settings() -> None:
    table = {"initial": 0.2, "quantile": 0.6}
    settings = made(tree({**CLIENT, "clip_norm": table})).privacy
    assert settings.clip_norm == AdaptiveClip(initial=0.2, quantile=0.6)
    assert (settings.trust, settings.mechanism, settings.sampling) == (
        "server",
        "gaussian",
        "poisson",
    )
    assert settings.generator == "cryptographic"


def test_whoever_adds_a_field_says_here_that_a_plan_holds_with_it() -> None:
    """A new field of either section may break a promise: refuse it, or add it to these sets."""
    assert set(PrivacySettings.model_fields) == {
        "unit", "epsilon", "delta", "noise_multiplier", "clip_norm", "trust", "mechanism",
        "sampling", "max_participations", "examples_per_owner", "max_sites_per_owner",
        "loss_noise_multiplier", "loss_bound", "generator", "policy",
    }  # fmt: skip
    refused = {"weights", "personal", "on_divergence", "asynchronous", "minimum_clients"}
    in_part = {"strategy", "devices"}
    harmless = {"rounds", "clients", "clients_per_round", "stragglers", "failures"}
    assert set(FederationSettings.model_fields) == refused | in_part | harmless
