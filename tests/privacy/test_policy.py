"""A site's policy: each rule at its bound and just outside it, and nothing passes by accident."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.errors import ConfigError, RefusedError
from sottovoce.privacy import policy as module
from sottovoce.privacy.policy import Policy, Request, parse_policy, refusals, require

LISTED, OTHER = "0a" * 32, "0b" * 32
TEXT = f"""
weakest_unit = "owner"
max_epsilon_per_run = 4.0
max_epsilon_per_data_set = 8
max_delta = 1e-5
min_cohort = 5
base_models = ["{LISTED}"]
tasks = ["chat", "pretrain"]
"""
STRICT = parse_policy(TEXT, "site.toml")
OPEN = Policy(
    weakest_unit="none",
    min_cohort=1,
    secure_aggregation=False,
    base_models=(LISTED,),
    tasks=("chat",),
    trust="server",
    cryptographic_noise=False,
)

# Everything exactly at the bound of STRICT.
AT_THE_BOUND = Request(
    unit="owner",
    epsilon=4.0,
    epsilon_of_data_set=8.0,
    delta=1e-5,
    cohort=5,
    secure_aggregation="secagg",
    base_model_sha256=LISTED,
    task="chat",
    trust="none",
    noise_is_private=True,
)
WITHOUT_FIGURES = {"unit": "none", "epsilon": None, "epsilon_of_data_set": None, "delta": None}
WITHOUT_UNIT = replace(AT_THE_BOUND, **WITHOUT_FIGURES)

# For each rule: the field that it reads, other values that it allows, values that it refuses.
NOT_A_FIGURE = (None, math.nan, math.inf, -math.inf, -1e-300, True, "1", [1.0])
RULES: dict[str, tuple[str, tuple[Any, ...], tuple[Any, ...]]] = {
    "weakest_unit": ("unit", ("client",), ("example", "none", "Owner", "", None, ["owner"])),
    "max_epsilon_per_run": (
        "epsilon",
        (0, 0.0, 4),
        (math.nextafter(4, 5), 5, 10**400, *NOT_A_FIGURE),
    ),
    "max_epsilon_per_data_set": (
        "epsilon_of_data_set",
        (0.0, 8),
        (math.nextafter(8, 9), 9, *NOT_A_FIGURE),
    ),
    "max_delta": ("delta", (0.0, 1e-9), (math.nextafter(1e-5, 1), 0.5, *NOT_A_FIGURE)),
    "min_cohort": ("cohort", (6, 10**9), (4, 0, -5, 5.0, math.inf, math.nan, True, None, "9")),
    "secure_aggregation": (
        "secure_aggregation",
        ("secagg", "helpers", "he"),
        ("none", "", "off", "SecAgg", None),
    ),
    "base_models": ("base_model_sha256", (), (OTHER, LISTED.upper(), LISTED[:63], "", None)),
    "tasks": ("task", ("pretrain",), ("tools", "Chat", "chat ", "", None, ["chat"])),
    "trust": ("trust", (), ("server", "", "nobody", None)),
    "cryptographic_noise": ("noise_is_private", (), (False, None, 1, "true")),
}


def cases(which: int) -> list[Any]:
    return [
        pytest.param(rule, {case[0]: value}, id=f"{rule}-{index}")
        for rule, case in RULES.items()
        for index, value in enumerate(case[which])
    ]


# --- the rules -----------------------------------------------------------------------------------


def test_every_rule_and_every_fact_has_its_cases_and_its_remedy() -> None:
    assert list(RULES) == list(Policy.model_fields) == list(module._RULES)
    read = {rule: case[0] for rule, case in RULES.items()}
    assert read == {rule: line[0] for rule, line in module._RULES.items()}
    assert sorted(read.values()) == sorted(field.name for field in fields(Request))


def test_what_is_at_every_bound_may_run() -> None:
    assert refusals(STRICT, AT_THE_BOUND) == ()
    require(STRICT, AT_THE_BOUND)


@pytest.mark.parametrize(("rule", "change"), cases(1))
def test_what_is_inside_a_bound_may_run(rule: str, change: dict[str, Any]) -> None:
    assert refusals(STRICT, replace(AT_THE_BOUND, **change)) == ()


@pytest.mark.parametrize(("rule", "change"), cases(2))
def test_what_is_just_outside_is_refused_by_this_rule_alone(
    rule: str, change: dict[str, Any]
) -> None:
    request = replace(AT_THE_BOUND, **change)
    assert refusals(STRICT, request) == (rule,)
    with pytest.raises(RefusedError, match=rule):
        require(STRICT, request)


@pytest.mark.parametrize("weakest", module.UNITS)
@pytest.mark.parametrize("unit", module.UNITS)
def test_units_are_ordered_from_none_to_client(weakest: str, unit: str) -> None:
    limits = ("max_epsilon_per_run", "max_epsilon_per_data_set", "max_delta")
    change = {"weakest_unit": weakest}
    if weakest == "none":
        change |= dict.fromkeys(limits)
    site = Policy.model_validate(STRICT.model_dump() | change)
    request = WITHOUT_UNIT if unit == "none" else replace(AT_THE_BOUND, unit=unit)
    order = ["none", "example", "owner", "client"]
    assert ("weakest_unit" in refusals(site, request)) == (order.index(unit) < order.index(weakest))
    assert (refusals(site, request) == ()) == (order.index(unit) >= order.index(weakest))


def test_a_switch_that_the_site_turned_lets_the_weaker_side_in_and_nothing_else() -> None:
    weak = replace(
        WITHOUT_UNIT, secure_aggregation="none", trust="server", noise_is_private=False, cohort=1
    )
    assert refusals(OPEN, weak) == ()
    assert refusals(OPEN, replace(weak, secure_aggregation="off")) == ("secure_aggregation",)
    assert refusals(OPEN, replace(weak, trust="all")) == ("trust",)
    assert refusals(OPEN, replace(weak, noise_is_private=0)) == ("cryptographic_noise",)  # type: ignore[arg-type]
    for cohort in (0, True):
        assert refusals(OPEN, replace(weak, cohort=cohort)) == ("min_cohort",)
    assert refusals(OPEN, replace(weak, unit="person")) == ("weakest_unit",)


def test_a_site_without_a_weakest_unit_still_wants_the_other_rules_and_sound_figures() -> None:
    assert refusals(OPEN, WITHOUT_UNIT) == ()
    assert refusals(OPEN, replace(WITHOUT_UNIT, task="tools")) == ("tasks",)
    # A figure without a unit says nothing.
    assert refusals(OPEN, replace(WITHOUT_UNIT, epsilon=1.0)) == ("max_epsilon_per_run",)
    assert refusals(OPEN, replace(WITHOUT_UNIT, delta=0.0)) == ("max_delta",)
    # With a unit any figure may stand, but it must be one.
    loud = replace(AT_THE_BOUND, epsilon=1e6, epsilon_of_data_set=None, delta=0.5)
    assert refusals(OPEN, loud) == ()
    for figure in set(NOT_A_FIGURE[1:-1]):
        assert refusals(OPEN, replace(loud, epsilon=figure)) == ("max_epsilon_per_run",)


def test_a_run_without_privacy_breaks_every_rule_about_privacy_where_a_unit_is_required() -> None:
    expected = ("weakest_unit", "max_epsilon_per_run", "max_epsilon_per_data_set", "max_delta")
    assert refusals(STRICT, WITHOUT_UNIT) == expected


def test_a_policy_that_was_never_checked_permits_no_more() -> None:
    for name in ("max_epsilon_per_run", "max_epsilon_per_data_set", "max_delta"):
        for limit in (None, math.nan):
            broken = STRICT.model_copy(update={name: limit})
            assert refusals(broken, AT_THE_BOUND) == (name,)


def test_a_key_that_no_rule_reads_is_an_error() -> None:
    class Longer(Policy, frozen=True):
        max_rounds: int = 3

    longer = Longer.model_validate(STRICT.model_dump())
    with pytest.raises(KeyError, match="max_rounds"):
        refusals(longer, AT_THE_BOUND)


@pytest.mark.parametrize("rule", list(RULES))
def test_a_refusal_says_the_rule_its_value_what_was_asked_and_the_remedy(rule: str) -> None:
    fact, _, refused = RULES[rule]
    request = replace(AT_THE_BOUND, **{fact: refused[0]})
    with pytest.raises(RefusedError) as caught:
        require(STRICT, request)
    error = caught.value
    assert error.exit_code == 3
    limit, asked = (
        module._show(getattr(one, name)) for one, name in ((STRICT, rule), (request, fact))
    )
    assert error.seen == f"the site's policy has {rule} = {limit}, and the run's {fact} is {asked}"
    assert error.allowed
    assert error.remedy.endswith(f"Rules broken: {rule}")


def test_a_refusal_reads_as_sentences_and_names_every_broken_rule() -> None:
    request = replace(AT_THE_BOUND, epsilon=6.0, cohort=3, task="\x1b[2J")
    with pytest.raises(RefusedError) as caught:
        require(STRICT, request)
    assert str(caught.value) == (
        "the site's policy has max_epsilon_per_run = 4.0, and the run's epsilon is 6.0. "
        "Allowed: 0 to 4.0. Plan more noise or fewer rounds. "
        "Rules broken: max_epsilon_per_run, min_cohort, tasks."
    )
    with pytest.raises(RefusedError) as caught:
        require(STRICT, replace(AT_THE_BOUND, task="\x1b[2J"))
    assert "\x1b" not in str(caught.value)
    with pytest.raises(RefusedError, match="null, or 0 or more with a unit"):
        require(OPEN, replace(WITHOUT_UNIT, epsilon=1.0))


# --- weaker never helps --------------------------------------------------------------------------

figures = st.floats(0, 20) | st.sampled_from([0.0, 1e-5, 4.0, 8.0])
claims = st.just(WITHOUT_FIGURES) | st.fixed_dictionaries(
    {
        "unit": st.sampled_from(["example", "owner", "client"]),
        "epsilon": figures,
        "epsilon_of_data_set": figures | st.none(),
        "delta": figures,
    }
)
rest = st.fixed_dictionaries(
    {
        "cohort": st.integers(0, 8),
        "secure_aggregation": st.sampled_from(["secagg", "helpers", "he", "none"]),
        "base_model_sha256": st.sampled_from([LISTED, OTHER]),
        "task": st.sampled_from(["chat", "tools"]),
        "trust": st.sampled_from(["none", "server"]),
        "noise_is_private": st.booleans(),
    }
)
requests = st.builds(lambda claim, facts: Request(**claim, **facts), claims, rest)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    unit = draw(st.sampled_from(module.UNITS))
    limits = (
        {}
        if unit == "none"
        else {
            "max_epsilon_per_run": draw(st.floats(0.1, 20)),
            "max_epsilon_per_data_set": draw(st.floats(0.1, 20)),
            "max_delta": draw(st.floats(0, 0.9)),
        }
    )
    return Policy(
        weakest_unit=unit,
        min_cohort=draw(st.integers(1, 8)),
        secure_aggregation=draw(st.booleans()),
        base_models=(LISTED,),
        tasks=("chat",),
        trust=draw(st.sampled_from(["none", "server"])),
        cryptographic_noise=draw(st.booleans()),
        **limits,
    )


@st.composite
def weakened(draw: st.DrawFn, request: Request) -> Request:
    """The same request, weaker in one field; a run without a unit has no figures either."""
    field = draw(st.sampled_from([field.name for field in fields(Request)]))
    value = getattr(request, field)
    if field == "unit":
        weaker = draw(st.sampled_from(module.UNITS[: module.UNITS.index(value) + 1]))
        return replace(request, **(WITHOUT_FIGURES if weaker == "none" else {"unit": weaker}))
    if field in WITHOUT_FIGURES:
        worse = st.sampled_from([None, math.inf, math.nan])
        more = worse if value is None else worse | st.floats(value, 1e9)
        return replace(request, **{field: value if request.unit == "none" else draw(more)})
    options: dict[str, st.SearchStrategy[Any]] = {
        "cohort": st.integers(-2, request.cohort),
        "secure_aggregation": st.sampled_from(["none", "", "off"]),
        "base_model_sha256": st.just(OTHER),
        "task": st.just("tools"),
        "trust": st.sampled_from(["server", "all"]),
        "noise_is_private": st.just(False),
    }
    return replace(request, **{field: draw(options[field])})


@given(st.data(), policies(), requests)
def test_a_weaker_request_breaks_the_same_rules_and_perhaps_more(
    data: st.DataObject, site: Policy, request: Request
) -> None:
    weaker = data.draw(weakened(request))
    assert set(refusals(site, request)) <= set(refusals(site, weaker))


# --- the file ------------------------------------------------------------------------------------

ONE_LINE = {name: line for line in TEXT.strip().splitlines() for name in [line.split(" = ")[0]]}


def with_line(line: str) -> str:
    return "\n".join({**ONE_LINE, line.split(" = ")[0]: line}.values())


def test_what_may_be_left_out_is_on_its_strict_side() -> None:
    assert (STRICT.secure_aggregation, STRICT.trust, STRICT.cryptographic_noise) == (
        True,
        "none",
        True,
    )


@pytest.mark.parametrize("key", list(ONE_LINE))
def test_every_other_key_is_mandatory(key: str) -> None:
    text = "\n".join(line for name, line in ONE_LINE.items() if name != key)
    with pytest.raises(ConfigError, match=key) as caught:
        parse_policy(text, "site.toml")
    assert str(caught.value).startswith("site.toml: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "weakest_unit is missing; it has no default"),
        ("weakest_unit", "is not TOML"),
        (TEXT + 'tasks = ["chat"]', "is not TOML"),
        (TEXT + "x = " + "9" * 5000, "is not TOML"),
        (TEXT + "max_rounds = 3", "no key max_rounds. Allowed: weakest_unit, "),
        (TEXT.replace("min_cohort", "minimum_cohort"), "no key minimum_cohort"),
        (TEXT + "[privacy]\nunit = 3", "no key privacy"),
        (TEXT.replace("owner", "none"), "remove max_epsilon_per_run, .*_data_set, max_delta"),
    ],
    ids=["empty", "not-toml", "twice", "long", "unknown", "misspelt", "section", "none-limited"],
)
def test_a_file_that_is_no_policy_is_an_error(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_policy(text, "site.toml")


FAULTS = {
    "weakest_unit": ('"Owner"', '"person"', '""', "1", '["owner"]'),
    "max_epsilon_per_run": ("nan", "inf", "-inf", "-1.0", "0", "-0.0", "true", '"4"', "[4]"),
    "max_epsilon_per_data_set": ("nan", "inf", "-inf", "-1.0", "0", "true", '"4"', "1979-05-27"),
    "max_delta": ("nan", "inf", "-1e-9", "1", "1.0", "true", '"1e-5"'),
    "min_cohort": ("0", "-1", "5.0", "true", '"5"', "nan", "inf"),
    "secure_aggregation": ("1", "0", '"true"', '"none"', "[]"),
    "base_models": (
        *("[]", f'"{LISTED}"', "true", "[1]", "{}"),
        *(f'["{hash}"]' for hash in (LISTED.upper(), LISTED[:-1], LISTED + "0", "", "any", "*")),
        f'["{LISTED}\\n"]',
    ),
    "tasks": ("[]", '"chat"', "true", "[1]", "[true]", "{}"),
    "trust": ('"Server"', '"all"', '""', "true", "[]"),
    "cryptographic_noise": ("1", "0", '"false"'),
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in FAULTS.items() for value in values]
)
def test_a_value_that_a_key_does_not_take_is_an_error(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^site.toml: {key}(\.0)? is ") as caught:
        parse_policy(with_line(f"{key} = {value}"), "site.toml")
    assert caught.value.exit_code == 2


def test_every_key_has_its_faults_and_the_file_of_these_tests_has_none() -> None:
    assert list(FAULTS) == list(Policy.model_fields)
    assert parse_policy(with_line("min_cohort = 5"), "site.toml") == STRICT


def test_a_policy_and_a_request_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        STRICT.min_cohort = 1  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot assign"):
        AT_THE_BOUND.cohort = 9  # type: ignore[misc]
