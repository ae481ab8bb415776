"""Errors: the drawn tree is the real one, the message has three parts, exit codes are inherited."""

import copy
import re

import pytest

from sottovoce import errors
from sottovoce.errors import (
    AbortedError,
    ConfigError,
    DataError,
    MissingExtraError,
    ModelError,
    RefusedError,
    SottovoceError,
    UsageError,
    VerificationError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (SottovoceError, 1),
        (UsageError, 2),
        (ConfigError, 2),
        (DataError, 2),
        (ModelError, 2),
        (MissingExtraError, 2),
        (RefusedError, 3),
        (VerificationError, 4),
        (AbortedError, 4),
    ],
)
def test_every_kind_ends_a_command_with_its_code(kind, code):
    assert kind.exit_code == code
    assert issubclass(kind, SottovoceError)


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    parents, drawn = [], {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^( {4}[ │├└─]*)([A-Z]\w+Error)\b", line)
        if match:
            depth = (len(match[1]) - 4) // 4
            parents[depth:] = [match[2]]
            drawn[match[2]] = parents[depth - 1] if depth else "Exception"
    real = {
        name: value.__bases__[0].__name__
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert drawn == real


@pytest.mark.parametrize(
    ("allowed", "remedy", "message"),
    [
        ("", "", "rank is 0."),
        ("1 or more", "", "rank is 0. Allowed: 1 or more."),
        ("", "Write rank = 8", "rank is 0. Write rank = 8."),
        ("1 or more.", "Write rank = 8.", "rank is 0. Allowed: 1 or more. Write rank = 8."),
    ],
)
def test_the_message_says_what_was_seen_what_is_allowed_and_what_to_do(allowed, remedy, message):
    error = ConfigError("rank is 0", allowed=allowed, remedy=remedy)
    assert str(error) == message
    assert (error.seen, error.allowed, error.remedy) == ("rank is 0", allowed, remedy)


def test_a_missing_extra_names_the_package_and_the_command():
    error = MissingExtraError("datasets", extra="hub")
    assert str(error) == ("the package datasets is not installed. pip install 'sottovoce[hub]'.")


def test_a_sum_that_stops_says_where_and_who_is_missing_and_does_not_list_a_thousand():
    error = AbortedError("round 3", "uploads", 3, "1 client", [f"c{n}" for n in range(12)])
    assert (error.stage, error.round, error.reason) == ("uploads", 3, "1 client")
    assert len(error.missing) == 12
    assert "missing: 'c0', " in str(error)
    assert str(error).partition(". ")[0].endswith("'c9' and 2 more")
    few = AbortedError("round 3", "uploads", 3, "1 client", ["ben"])
    assert "more" not in str(few)


@pytest.mark.parametrize(
    "error",
    [
        DataError("a.jsonl:3: no role", allowed="user", remedy="Write one"),
        MissingExtraError("bitsandbytes", extra="quantised"),
        AbortedError("round 3", "uploads", 3, "1 client", [f"c{n}" for n in range(12)]),
    ],
)
def test_an_error_survives_the_way_between_processes(error):
    """A worker's error reaches its parent by reduction, which calls the class again."""
    again = copy.copy(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
