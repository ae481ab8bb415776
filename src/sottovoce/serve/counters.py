"""What a server counts: Prometheus text, without a name of anybody."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Final

from sottovoce.data.conversation import ToolCall
from sottovoce.serve.pages import ADDRESSES
from sottovoce.serve.reading import Over, Piece, Said

_BOUNDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds to the first token, by which answers are sorted."""

_PATHS: Final = ADDRESSES | {
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/models",
    "/v1/runs",
    "/healthz",
    "/metrics",
}


class Counters:
    """Sums since the server began."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._tokens: Counter[str] = Counter()
        self._first: Counter[float] = Counter()
        self._waited = 0.0

    def request(self, path: str, status: int) -> None:
        """Count an answer; a path that is none of ours may hold anything, so it is not told."""
        self._requests[path if path in _PATHS else "other", status] += 1

    async def counted(self, said: AsyncIterator[Said]) -> AsyncIterator[Said]:
        """The same answer; its tokens and its first one are counted."""
        began, first = time.monotonic(), True
        async for one in said:
            if first and isinstance(one, Piece | ToolCall):
                self._begun(time.monotonic() - began)
                first = False
            if isinstance(one, Over):
                self._tokens["prompt"] += one.prompt_tokens
                self._tokens["completion"] += one.completion_tokens
            yield one

    def _begun(self, seconds: float) -> None:
        self._waited += seconds
        self._first[next((bound for bound in _BOUNDS if seconds <= bound), float("inf"))] += 1

    def text(self, gauges: Mapping[str, int]) -> str:
        """All of it, in Prometheus' form.

        Args:
            gauges: what is so now, by name.
        """
        lines = ["# TYPE sotto_requests_total counter"]
        for (path, status), count in sorted(self._requests.items()):
            lines.append(f'sotto_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE sotto_tokens_total counter")
        for kind in ("prompt", "completion"):
            lines.append(f'sotto_tokens_total{{kind="{kind}"}} {self._tokens[kind]}')
        lines.append("# TYPE sotto_first_token_seconds histogram")
        below = 0
        for bound in (*_BOUNDS, float("inf")):
            below += self._first[bound]
            edge = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'sotto_first_token_seconds_bucket{{le="{edge}"}} {below}')
        lines.append(f"sotto_first_token_seconds_sum {self._waited:.6f}")
        lines.append(f"sotto_first_token_seconds_count {below}")
        for name, value in gauges.items():
            lines += [f"# TYPE sotto_{name} gauge", f"sotto_{name} {value}"]
        return "\n".join(lines) + "\n"
