"""One small run with personal models, trained once for all tests of serving, and a server of it."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def trained(root: Path, name: str, *changes: str) -> Path:
    """A run of one round over two shops; its folder."""
    from sottovoce.config import load_config
    from sottovoce.run.arms import Watch
    from sottovoce.run.compare import federation_only
    from sottovoce.run.init import write_start
    from sottovoce.run.prepare import prepare

    start = root / "start"
    if not start.exists():
        write_start(start)
    settings = [f"run.dir={root / name}", "run.threads=1", "federation.rounds=1", *changes]
    prepared = prepare(load_config(start / "federation.toml", settings))
    federation_only(prepared, watch=Watch)
    return root / name


@pytest.fixture(scope="session")
def served() -> Iterator[ModuleType]:
    """How benchmarks start a server as its users do: a process of its own."""
    benchmarks = str(Path(__file__).resolve().parents[2] / "benchmarks")
    sys.path.insert(0, benchmarks)
    try:
        import served as found

        yield found
    finally:
        sys.path.remove(benchmarks)


Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs lie."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def train_run(runs: Path) -> Trained:
    """Train another: ``train_run("name", "federation.strategy=fedex")``."""
    return lambda name, *changes: trained(runs, name, *changes)


@pytest.fixture(scope="session")
def shops(runs: Path) -> Path:
    """A run folder called shops, with own models for north and south."""
    return trained(runs, "shops", "federation.personal=finetune", "train.learning_rate=0.02")


@pytest.fixture(scope="session")
def narrow(runs: Path) -> Path:
    """A run of the same base with a smaller adapter on fewer layers."""
    few = "model.lora={rank = 3, alpha = 12.0, targets = ['q_proj', 'down_proj']}"
    return trained(runs, "narrow", few, "train.learning_rate=0.02")


@pytest.fixture(scope="session")
def shelf(shops: Path) -> Any:
    from sottovoce.serve.shelf import open_shelf, read_runs

    return open_shelf(read_runs([shops]))


@pytest.fixture(scope="session")
def answers(shelf: Any) -> Iterator[Any]:
    """The models of the shops, answering."""
    from sottovoce.serve.answer import Answers
    from sottovoce.serve.engine import Engine

    with Engine(shelf.model.base, shelf.model.applied_to_rows) as engine:
        yield Answers(shelf, engine)


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """A real server on loopback, in a thread; its address."""
    import uvicorn

    from sottovoce.serve.server import bound

    with bound("127.0.0.1", 0) as listener:
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        listener.listen()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def listen() -> Callable[[Any], Any]:
    """A context in which an application answers at an address."""
    return listening


@pytest.fixture(scope="session")
def address(answers: Any, shops: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that needs no key."""
    from sottovoce.serve.api import make_app
    from sottovoce.serve.board import Board
    from sottovoce.serve.gate import Gate
    from sottovoce.serve.keys import KeyFile

    keys = KeyFile(tmp_path_factory.mktemp("open") / "keys.json")
    gate = Gate(keys, open_without=True)
    with listening(make_app(answers, gate, Board([shops.parent]))) as found:
        yield found


@pytest.fixture
def keys(tmp_path: Path) -> Any:
    """The keys of a server, none so far."""
    from sottovoce.serve.keys import KeyFile

    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, answers: Any) -> list[str]:
    """Answers have no last token; why they ended nevertheless."""
    from sottovoce.serve.engine import Ended

    found: list[str] = []
    real = answers.engine.submit

    def submit(ask: Any, deliver: Any, name: str = "") -> Any:
        def listening(told: Any) -> None:
            if isinstance(told, Ended):
                found.append(told.reason)
            deliver(told)

        object.__setattr__(ask, "stop_ids", frozenset())
        return real(ask, listening, name)

    monkeypatch.setattr(answers.engine, "submit", submit)
    return found


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Clients of OpenAI's: ``connect(address, key="...")``, closed after the test."""
    import openai

    with ExitStack() as clients:

        def open_client(address: str, key: str = "-") -> Any:
            made = openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)
            return clients.enter_context(made)

        yield open_client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser, one for the tests of a file."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page in a fresh profile: ``visit(url, **settings of the profile)``.

    After the test no page may have written an error to its console or asked another server.
    ``expected`` is a part of the one error that a test brings about. With ``clock`` the page's time
    stands still until the test moves it.
    """
    profiles: list[Any] = []
    faults: list[str] = []

    def open_page(
        url: str, *, expected: str | None = None, clock: bool = False, **settings: Any
    ) -> Any:
        profile = browser.new_context(**{"locale": "en-GB"} | settings)
        profiles.append(profile)
        profile.set_default_timeout(10_000)
        page = profile.new_page()
        if clock:
            page.clock.install()

        def heard(kind: str, text: str) -> None:
            if kind in ("error", "warning") and (expected is None or expected not in text):
                faults.append(f"{kind}: {text}")

        def asked(request: Any) -> None:
            if not request.url.startswith(f"{url_origin(url)}/"):
                faults.append(f"a request to {request.url}")

        page.on("console", lambda message: heard(message.type, message.text))
        page.on("pageerror", lambda error: heard("error", str(error)))
        page.on("request", asked)
        page.goto(url)
        return page

    yield open_page
    for profile in profiles:
        profile.close()
    assert faults == []


def url_origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    return "/".join(url.split("/")[:3])


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    """Where pictures of the pages go."""
    folder = Path(os.environ.get("SOTTO_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def pictures(artefacts: Path) -> Callable[..., None]:
    """Take pictures of a page in all its looks, none of which may scroll sideways."""

    def take(page: Any, title: str, **settings: Any) -> None:
        for name, change in {
            "light": lambda: None,
            "dark": lambda: page.emulate_media(color_scheme="dark"),
            "zh": lambda: page.click("#language"),
            "narrow": lambda: page.set_viewport_size({"width": 360, "height": 740}),
        }.items():
            change()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            page.screenshot(path=artefacts / f"{title}-{name}.png", **settings)

    return take
