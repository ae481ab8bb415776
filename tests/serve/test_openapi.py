"""Judged by schemathesis: what fits the server's description of itself is answered as it says there.

What does not fit is, too. A real server and a real model are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings

LIMITS = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/completions": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
"""Where a request says how long its answer may be; the first is set where none of them is."""
OPERATIONS = (
    *(f"POST {path}" for path in LIMITS),
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /v1/runs",
    "GET /v1/runs/{name}",
    "GET /healthz",
    "GET /metrics",
)
VOCABULARY = 4096
"""Tokens of the bundled model."""
ONE_OF = 8
"""Of so many cases that are counted up, one is tried every time, the others in the slow test."""


@pytest.fixture
def described(address: str) -> Any:
    """The server's own description, as schemathesis reads it."""
    import schemathesis

    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.fixture(scope="module")
def line() -> Iterator[requests.Session]:
    """One connection for all cases."""
    with requests.Session() as opened:
        yield opened


def judged(case: Any, line: requests.Session) -> int:
    """Ask, and let the checks look at the answer; its status."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    if isinstance(case.body, dict):
        case.body = answerable(case.path, case.body)
    answer = case.call(session=line)
    case.validate_response(
        answer,
        checks=[
            not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
            checks.unsupported_method,
        ],
    )
    return int(answer.status_code)


def answerable(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A body with a model that is there and a short answer: made-up ones are none, and endless.

    And with tokens that the model has, of which a number that is made up is hardly ever one.
    """
    names = LIMITS[path]
    asked = {name: body[name] for name in names if body.get(name) is not None}
    limits = {name: min(value, 4) for name, value in asked.items() if type(value) is int}
    if not asked:
        limits = {names[0]: 4}
    model = {"model": "shops"} if isinstance(body.get("model"), str) else {}
    prompt = body.get("prompt")
    of_tokens = isinstance(prompt, list) and all(type(one) is int for one in prompt)
    known = {"prompt": [one % VOCABULARY for one in prompt or ()]} if of_tokens else {}
    return body | limits | model | known


def counted_up(described: Any, label: str) -> list[Any]:
    """Every field at its bounds, missing, of another kind; and methods that are not taken."""
    from schemathesis import GenerationMode

    operation = described.find_operation_by_label(label)
    every = described.iter_coverage_cases(
        operation,
        generation_modes=list(GenerationMode),
        generation_config=described.config.generation,
    )
    return list(every)


def made_up(described: Any, label: str, line: requests.Session, examples: int) -> list[int]:
    """The statuses of requests that are made up at random, by the description and against it."""
    from schemathesis import GenerationMode

    operation, found = described.find_operation_by_label(label), list[int]()
    # Where nothing is sent, nothing can be wrong with it.
    for mode in list(GenerationMode) if operation.body else [GenerationMode.POSITIVE]:

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            found.append(judged(case, line))

        ask()
    return found


def is_of_a_method(case: Any) -> bool:
    from schemathesis.generation.meta import CoverageScenario

    return case.meta.phase.data.scenario is CoverageScenario.UNSPECIFIED_HTTP_METHOD


def test_these_are_all_operations(described: Any) -> None:
    found = [operation.ok().label for operation in described.get_all_operations()]
    assert sorted(found) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_some_requests_are_answered_as_described(
    operation: str, described: Any, line: requests.Session
) -> None:
    every = counted_up(described, operation)
    methods = [case for case in every if is_of_a_method(case)]
    others = [case for case in every if not is_of_a_method(case)]
    assert Counter(judged(case, line) for case in methods)[405] == len(methods) > 0
    statuses = {judged(case, line) for case in others[::ONE_OF]}
    statuses |= set(made_up(described, operation, line, 2))
    assert statuses <= {200, 400, 404}
    assert (404 in statuses) == operation.endswith("}")


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_many_requests_are_answered_as_described(
    operation: str, described: Any, line: requests.Session
) -> None:
    statuses = Counter(judged(case, line) for case in counted_up(described, operation))
    statuses += Counter(made_up(described, operation, line, 100))
    assert set(statuses) <= {200, 400, 404, 405}
    # Neither kind of answer is the only one, so that both were judged.
    assert operation not in OPERATIONS[: len(LIMITS)] or min(statuses[200], statuses[400]) > 20
