"""How fast a served model answers: streams together, first tokens, forms, the filter, the start.

    python benchmarks/serve.py            a table
    python benchmarks/serve.py --json     one JSON object on one line

Servers are those that users start: ``sotto serve`` in a process of its own, asked over loopback. Both
sides of a ratio take turns, and medians are told. Run it on a machine that does nothing else.

- ``throughput_8_over_1``: tokens a second of the same 16 requests asked 8 at a time, over one after
  another; replies filtered.
- ``throughput_over_transformers``: 8 requests with 8 adapters in one batch, over ``generate`` of
  transformers with ``adapter_names`` of peft; equal prompts, equal tokens, which are compared.
- ``first_token_ms_over_forward``: from asking to the first token of a stream, over one pass of
  transformers over the same prompt of 128 tokens, on 100M parameters at random, without filter.
- ``first_token_extra_ms``: from asking to the first text of an answer, less that pass, on the tiny
  model trained on the marketplace, with the filter; the median over 20 customers' questions.
- ``constrained_overhead``: tokens a second of an answer in JSON of a schema over those of a free one,
  counted from the first token to the last; a usual form, and without a bar one whose end is far.
- ``import_and_ready_seconds``: from starting the process to the answer of ``/healthz``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import torch
from measuring import Figure, environment, summary, table
from serve_engines import mixed_adapters, of_100m
from served import SOTTO, Served, serving

from sottovoce.data.dialogues import conversations
from sottovoce.data.marketplace import build_market
from sottovoce.model.base import model_folder
from sottovoce.model.tokenizer import load_tokenizer
from sottovoce.serve.keys import KeyFile

REPEATS: Final = 9
AT_ONCE: Final = 8
TOKENS: Final = 64
PROMPT: Final = 128
QUESTIONS: Final = 20
USUAL: Final = {
    "type": "object",
    "properties": {
        "order": {"type": "string"},
        "reason": {"type": "string"},
        "items": {"type": "array", "items": {"type": "string"}},
        "kind": {"enum": ["refund", "exchange", "question"]},
        "urgent": {"type": "boolean"},
    },
    "required": ["order", "reason", "items", "kind", "urgent"],
    "additionalProperties": False,
}
"""A form as programs ask for them."""
LONG: Final = {
    "type": "object",
    "properties": {
        "words": {"type": "array", "items": {"type": "string", "minLength": 8}, "minItems": 12}
    },
    "required": ["words"],
    "additionalProperties": False,
}
"""One whose end is far at every token, so that the way to it is looked for at each."""


@dataclass(frozen=True)
class Place:
    """A server, and keys for it.

    Args:
        server: the process.
        model: the name of its federated model.
        filtered: a key whose replies are filtered.
        free: one whose replies are not.
        questions: what customers ask.
    """

    server: Served
    model: str
    filtered: str
    free: str
    questions: Sequence[str]

    def headers(self, key: str) -> Mapping[str, str]:
        """What tells the server who asks."""
        return {"Authorization": f"Bearer {key}"}

    def asked(self, place: int, **more: Any) -> dict[str, Any]:
        """A customer's question as the body of a request; equal places ask the same."""
        question = self.questions[place % len(self.questions)]
        messages = [{"role": "user", "content": question}]
        return {"model": self.model, "messages": messages, "seed": place} | more


def federated(configuration: Path, folder: Path, *settings: str) -> None:
    """Run a federation, whose words nobody hears."""
    command = [*SOTTO, "run", str(configuration)]
    for one in settings:
        command += ["--set", one]
    silent = subprocess.DEVNULL
    subprocess.run(command, check=True, cwd=folder, stdout=silent, stderr=silent)


def trained(folder: Path) -> tuple[Path, Sequence[str]]:
    """The marketplace's run, and what its customers ask."""
    run = folder / "market"
    example = Path(__file__).resolve().parents[1] / "examples/marketplace.toml"
    federated(example, folder, f"run.dir={run}", "data.max_conversations=800")
    talks = conversations(build_market(1), 1, per_shop=4)
    asked = [one.content for talk in talks for one in talk.messages if one.role == "user"]
    return run, list(dict.fromkeys(asked))[:QUESTIONS]


async def tokens_a_second(place: Place, at_once: int) -> float:
    """Of the same requests, so many of them at a time; at this temperature few answers end early."""
    waiting, made = list(range(2 * AT_ONCE)), 0
    async with httpx.AsyncClient(base_url=place.server.address, timeout=60) as client:

        async def ask() -> None:
            nonlocal made
            while waiting:
                number = waiting.pop()
                source = random.Random(number)
                body = {
                    "model": place.model,
                    "prompt": [source.randrange(300, 4000) for _ in range(32)],
                    "max_tokens": PROMPT,
                    "temperature": 2,
                    "seed": number,
                }
                answer = await client.post(
                    "/v1/completions", json=body, headers=place.headers(place.filtered)
                )
                made += answer.raise_for_status().json()["usage"]["completion_tokens"]

        begun = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(at_once)))
        return made / (time.perf_counter() - begun)


def together(place: Place) -> Iterator[Figure]:
    """8 requests at once over one."""
    rates: dict[int, list[float]] = {1: [], AT_ONCE: []}
    for _ in range(REPEATS // 2):
        for count, found in rates.items():
            found.append(asyncio.run(tokens_a_second(place, count)))
    one, many = (statistics.median(rates[count]) for count in (1, AT_ONCE))
    facts = {"tokens_per_second_1": one, "tokens_per_second_8": many}
    yield Figure("throughput_8_over_1", "tiny, filtered", many / one, at_least=3, facts=facts)
    for key, value in facts.items():
        yield Figure(key, "tiny, filtered", value)


@dataclass
class Heard:
    """When the pieces of a stream came, counted from asking.

    Args:
        times: of each piece of text.
        tokens: of the whole answer.
    """

    times: list[float]
    tokens: int

    @property
    def rate(self) -> float:
        """Tokens a second between the first and the last."""
        return (self.tokens - 1) / (self.times[-1] - self.times[0])


def streamed(
    client: httpx.Client, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> Heard:
    """Ask for a stream, and note when its text comes."""
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    times, tokens, begun = list[float](), 0, time.perf_counter()
    with client.stream("POST", path, json=asked, headers=headers) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            for choice in chunk["choices"]:
                if choice.get("text") or choice.get("delta", {}).get("content"):
                    times.append(time.perf_counter() - begun)
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
    return Heard(times, tokens)


def forward_seconds(model: Any, ids: Sequence[int]) -> float:
    """One pass of transformers over a prompt, as it begins to generate."""
    prompt = torch.tensor([ids])
    begun = time.perf_counter()
    with torch.inference_mode():
        model(prompt, use_cache=True, logits_to_keep=1)
    return time.perf_counter() - begun


def filtered_first(place: Place) -> Iterator[Figure]:
    """The first text of a filtered answer, less the pass over its prompt."""
    from transformers import AutoModelForCausalLM

    folder = model_folder("tiny")
    tokenizer, model = load_tokenizer(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    extra, silent = list[float](), 0
    with httpx.Client(base_url=place.server.address, timeout=60) as client:
        for turn in range(3):
            for number in range(QUESTIONS):
                body = place.asked(number, max_tokens=TOKENS, temperature=0)
                text = tokenizer.render(body["messages"], add_generation_prompt=True)
                passed = forward_seconds(model, tokenizer.encode(text))
                heard = streamed(
                    client, "/v1/chat/completions", body, place.headers(place.filtered)
                )
                silent += not heard.times
                if turn and heard.times:
                    extra.append(1000 * (heard.times[0] - passed))
    facts = {
        "lowest": min(extra),
        "highest": max(extra),
        "questions": QUESTIONS,
        "without_text": silent,
    }
    value = statistics.median(extra)
    yield Figure("first_token_extra_ms", "tiny, filtered", value, at_most=25, facts=facts)


def formed(place: Place) -> Iterator[Figure]:
    """JSON of a schema over free text."""
    kinds: dict[str, dict[str, Any]] = {"free": {}}
    for name, schema in (("usual", USUAL), ("long", LONG)):
        form = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
        kinds[name] = {"response_format": form}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    with httpx.Client(base_url=place.server.address, timeout=60) as client:
        for turn in range(2 * REPEATS):
            for name, more in kinds.items():
                body = place.asked(turn, max_tokens=4 * TOKENS, **more)
                heard = streamed(client, "/v1/chat/completions", body, place.headers(place.free))
                if turn and heard.tokens > TOKENS // 4 and len(heard.times) > 1:
                    rates[name].append(heard.rate)
    median = {
        f"tokens_per_second_{name}": statistics.median(found) for name, found in rates.items()
    }
    free = median["tokens_per_second_free"]
    for name, bar in (("usual", 0.85), ("long", None)):
        value = median[f"tokens_per_second_{name}"] / free
        setting = f"tiny, {name} form"
        yield Figure("constrained_overhead", setting, value, at_least=bar, facts=median)


def first_of_100m(folder: Path) -> Iterator[Figure]:
    """The first token of a large model over a pass of transformers over its prompt."""
    big = of_100m(folder / "100m", PROMPT)
    start = folder / "start"
    subprocess.run([*SOTTO, "init", str(start)], check=True, stdout=subprocess.DEVNULL)
    settings = [f"model.path={big.folder}", "federation.rounds=1", f"run.dir={folder / 'big'}"]
    federated(start / "federation.toml", folder, *settings)
    keys = KeyFile(folder / "big-keys.json")
    free = {"Authorization": f"Bearer {keys.add('free', filtered=False)}"}
    seconds: dict[str, list[float]] = {"first": [], "pass": []}
    with (
        serving(folder / "big", folder / "big.log", "--keys", str(keys.path)) as server,
        httpx.Client(base_url=server.address, timeout=60) as client,
    ):
        for turn in range(REPEATS + 1):
            body = {
                "model": "big:base",
                "prompt": list(big.prompt),
                "max_tokens": 2,
                "temperature": 0,
            }
            heard = streamed(client, "/v1/completions", body, free)
            passed = forward_seconds(big.model, big.prompt)
            if turn:
                seconds["first"].append(heard.times[0])
                seconds["pass"].append(passed)
    first, passed = (statistics.median(seconds[name]) for name in ("first", "pass"))
    facts = {
        "first_token_ms": 1000 * first,
        "forward_ms": 1000 * passed,
        "parameters": big.parameters,
    }
    key = "first_token_ms_over_forward"
    yield Figure(key, "100M, not filtered", first / passed, at_most=1.5, facts=facts)


def ready(run: Path, folder: Path) -> Iterator[Figure]:
    """From starting a server to its first answer."""
    taken = []
    for turn in range(4):
        begun = time.perf_counter()
        with serving(run, folder / "ready.log") as server:
            httpx.get(f"{server.address}/healthz").raise_for_status()
            # The first start may read the disk.
            if turn:
                taken.append(time.perf_counter() - begun)
    facts = {"lowest": min(taken), "highest": max(taken)}
    value = statistics.median(taken)
    yield Figure("import_and_ready_seconds", "tiny", value, at_most=6, facts=facts)


def beside_transformers() -> Iterator[Figure]:
    """8 adapters in one batch, here and with peft."""
    seconds = mixed_adapters(AT_ONCE, TOKENS, REPEATS)
    ours, theirs = (statistics.median(seconds[name]) for name in ("ours", "peft"))
    facts = {"ours_seconds": ours, "peft_seconds": theirs, "tokens": AT_ONCE * TOKENS}
    key = "throughput_over_transformers"
    yield Figure(key, "tiny, 8 adapters", theirs / ours, at_least=1.5, facts=facts)


PARTS: Final[Mapping[str, Callable[[Place], Iterator[Figure]]]] = {
    "throughput_8_over_1": together,
    "first_token_extra_ms": filtered_first,
    "constrained_overhead": formed,
}
ALONE: Final = (
    "throughput_over_transformers",
    "first_token_ms_over_forward",
    "import_and_ready_seconds",
)


def figures(only: Sequence[str], folder: Path) -> Iterator[Figure]:
    """Measure what is asked for, one thing after another."""
    if "throughput_over_transformers" in only:
        yield from beside_transformers()
    if "first_token_ms_over_forward" in only:
        yield from first_of_100m(folder)
    if not {*PARTS, "import_and_ready_seconds"} & {*only}:
        return
    run, questions = trained(folder)
    if "import_and_ready_seconds" in only:
        yield from ready(run, folder)
    keys = KeyFile(folder / "keys.json")
    usual, free = keys.add("usual"), keys.add("free", filtered=False)
    with serving(run, folder / "log", "--keys", str(keys.path)) as server:
        place = Place(server, run.name, usual, free, questions)
        for key, measure in PARTS.items():
            if key in only:
                yield from measure(place)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    every = [*PARTS, *ALONE]
    parser.add_argument("--only", nargs="+", default=every, choices=every)
    options = parser.parse_args()
    about = environment(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        found = list(figures(options.only, Path(folder)))
    print(json.dumps(summary(found, about)) if options.json else table(found, about))


if __name__ == "__main__":
    main()
