"""The dashboard in a real browser.

The runs here are written by this file: its small application answers what a server answers at
``/v1/runs``, so that a run can be running, broken, large or over its budget at will.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sottovoce.run.ledger import Ledger
from sottovoce.serve import board as served
from sottovoce.serve.api import make_app
from sottovoce.serve.counters import Counters
from sottovoce.serve.door import Door
from sottovoce.serve.gate import Gate
from sottovoce.serve.keys import KeyFile
from sottovoce.serve.pages import add_pages
from sottovoce.serve.problems import Problem

Visit = Callable[..., Any]
POLL = 2000
ALONE = {
    "/v1/runs": 200,
    "/v1/runs/shops": 200,
    "/healthz": 200,
    "/metrics": 200,
    "/v1/models": 404,
}
"""What a server without models answers."""
HIDDEN = "{ value: true, configurable: true }"
APART = {"losses", "history", "participation", "privacy", "secure", "ledger", "data"}


def a_run(name: str, clients: int = 3, rounds: int = 6, of: int = 10, **facts: Any) -> Any:
    """A run as a server tells it."""
    names = [f"shop-{number:02}" for number in range(clients)]
    losses = [
        {
            "round": number,
            "loss": 6.1 - 0.2 * number,
            "seconds": 1.5 * number,
            "tokens": 222 * number,
            "by_client": {
                one: 6.1 - 0.2 * number + 0.3 * (place - 1) for place, one in enumerate(names)
            },
        }
        for number in range(rounds + 1)
    ]
    history = [
        {
            "round": number,
            "clients": [one for one in names[:-1] if (number + len(one)) % 5],
            "failed": names[-1:] if number == 2 else [],
            "train_loss": 6.0 - 0.2 * number,
            "bytes_up": 782_336,
            "tokens": 222,
            "stages": {"train": 0.5 + 0.02 * number, "evaluate": 0.2, "sum": 0.04, "write": 0.02},
        }
        for number in range(rounds)
    ]
    known: dict[str, Any] = {
        "name": name,
        "state": "running",
        "rounds": rounds,
        "of": of,
        "strategy": "fedavg",
        "unit": "owner",
        "epsilon": 3.2,
        "budget": 8.0,
        "first_loss": 6.1,
        "last_loss": losses[-1]["loss"],
        "changed": 1_790_000_000,
        "error": None,
        "losses": losses,
        "history": history,
        "participation": [{"client": one, "rounds": rounds, "failed": 0} for one in names],
        "privacy": {
            "unit": "owner",
            "epsilon": 3.2,
            "delta": 1e-5,
            "budget": 8.0,
            "by_client": {one: 3.2 - 0.1 * place for place, one in enumerate(names)},
            "statement": ["One person's data at one site can be added or removed.", "ε is 3.2."],
        },
        "secure": {"aggregation": "secagg"},
        "ledger": {
            "records": 9,
            "head": "c5f5" * 16,
            "verified": True,
            "how": "All 9 records and every file that they name were checked.",
        },
        "data": {
            "rows": [
                {
                    "file": "north.jsonl",
                    "kind": "conversations",
                    "loaded": 240,
                    "skipped": 3,
                    "what": "12 names and 4 addresses were masked",
                }
            ],
            "note": "2 duplicates were left out.",
        },
    }
    return known | facts


def no_privacy(name: str, **facts: Any) -> Any:
    run = a_run(name, **facts)
    none = {"unit": "none", "epsilon": None, "delta": None, "budget": None, "by_client": None}
    run["privacy"] |= none | {"statement": []}
    return run | {"unit": "none", "epsilon": None, "budget": None}


class Board:
    """The runs of a server, and how often it was asked."""

    def __init__(self) -> None:
        broken = {"state": "broken", "error": "ledger.jsonl has no last line"}
        self.runs: list[Any] = [
            a_run("federation"),
            no_privacy("plain", state="finished", secure={"aggregation": "none"}, data=None),
            a_run("many", clients=60, state="unfinished", epsilon=8.0),
            a_run("old", clients=2, rounds=0, **broken),
        ]
        self.runs[2]["privacy"]["epsilon"] = 8.0
        self.runs[3]["ledger"] |= {"verified": False, "how": "Record 4 is not what it says."}
        self.runs[3]["last_loss"] = None
        self.runs[3]["losses"] = []
        self.asked: list[str] = []

    def named(self, name: str) -> Any:
        return next((run for run in self.runs if run["name"] == name), None)

    def listed(self) -> Mapping[str, Any]:
        rows = [{key: run[key] for key in run.keys() - APART} for run in self.runs]
        return {"runs": rows, "chat": True}


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def app(board: Board, keys: KeyFile) -> FastAPI:
    """Our pages and our door, before runs that are made up."""
    made = FastAPI()
    add_pages(made, chat=True)
    made.add_middleware(Door, gate=Gate(keys, open_without=True), counters=Counters())

    @made.get("/v1/runs")
    def runs() -> Any:
        board.asked.append("")
        return deepcopy(board.listed())

    @made.get("/v1/runs/{name:path}")
    def run(name: str) -> Response:
        board.asked.append(name)
        found = board.named(name)
        problem = Problem(404, "There is no run of this name.")
        return JSONResponse(problem.body if found is None else found, 404 if found is None else 200)

    return made


@pytest.fixture
def dashboard(app: FastAPI, listen: Any) -> Iterator[str]:
    with listen(app) as address:
        yield f"{address}/dashboard"


def section(page: Any, title: str) -> Any:
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


def test_the_newest_run_is_shown_and_others_can_be_chosen(visit: Visit, dashboard: str) -> None:
    page = visit(dashboard)
    links = page.locator("#runs a")
    links.nth(3).wait_for()
    first = links.nth(0).inner_text()
    for words in ("federation", "running", "6 of 10 rounds", "loss 6.1 to 4.9", "ε\u00a03.2"):
        assert words in first
    page.locator("#run h2", has_text="federation").wait_for()
    assert page.url.endswith("#run=federation")
    links.nth(3).click()
    page.locator("#run h2", has_text="old").wait_for()
    assert page.url.endswith("#run=old")
    assert "ledger.jsonl has no last line" in page.locator(".head").inner_text()
    assert "No loss has been measured" in section(page, "Loss on held-out text").inner_text()
    assert "Not verified" in section(page, "Ledger").locator(".bad").inner_text()
    page.go_back()
    page.locator("#run h2", has_text="federation").wait_for()
    assert links.nth(0).get_attribute("aria-current") == "true"


def test_the_loss_curve_tells_its_numbers_to_mouse_keyboard_and_screen_reader(
    visit: Visit, dashboard: str
) -> None:
    page = visit(f"{dashboard}#run=federation")
    chart = section(page, "Loss on held-out text")
    plot = chart.get_by_role("slider")
    plot.wait_for()
    assert chart.locator("path.faint").count() == 3
    assert chart.locator("path.mean").count() == 1
    newest = "Round 6: mean 4.9 · shop-00 4.6 · shop-01 4.9 · shop-02 5.2"
    assert plot.get_attribute("aria-valuetext") == newest
    assert chart.locator(".told").inner_text() == newest
    plot.focus()
    page.keyboard.press("ArrowLeft")
    assert plot.get_attribute("aria-valuetext").startswith("Round 5: mean 5.1 ")
    page.keyboard.press("Home")
    assert plot.get_attribute("aria-valuenow") == "0"
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 54 + (box["width"] - 68) / 2, box["y"] + 40)
    assert chart.locator(".told").inner_text().startswith("Round 3: mean 5.5 ")
    chart.get_by_text("As a table").click()
    rows = chart.locator("tbody tr")
    assert rows.count() == 7
    assert rows.nth(1).inner_text().split() == ["1", "5.9", "1.5", "s", "222", "5.6", "5.9", "6.2"]


def test_a_real_run_is_watched_until_its_end(
    visit: Visit, answers: Any, shops: Path, keys: KeyFile, listen: Any, tmp_path: Path
) -> None:
    """Its folder and the server's half are real; the last line of its ledger is written meanwhile."""
    run = tmp_path / "runs" / "shops"
    shutil.copytree(shops, run)
    lines = (run / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (run / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))
    app = make_app(answers, Gate(keys, open_without=True), served.Board([run.parent]))
    with listen(app) as address:
        with Ledger.open(run / "ledger.jsonl") as under_way:
            page = visit(f"{address}/dashboard", clock=True)
            page.locator("#run .state.running").wait_for()
            assert "once the run stands still" in section(page, "Ledger").inner_text()
            under_way.append("end", json.loads(lines[-1])["payload"])
        page.clock.run_for(POLL)
        page.locator("#run .state.finished").wait_for()
        assert "every file that a line vouches for" in section(page, "Ledger").inner_text()
        assert "1 of 1 rounds" in page.locator("#run .head").inner_text()
        assert "north" in section(page, "Who took part").inner_text()
        assert "evaluate" in section(page, "Time of each round").inner_text()
        assert "PERSON" in section(page, "What was loaded, scrubbed and left out").inner_text()


def test_without_models_the_dashboard_is_the_first_page(
    visit: Visit, shops: Path, keys: KeyFile, listen: Any
) -> None:
    """Nothing is loaded, so that a server that has no base model has a dashboard."""
    app = make_app(None, Gate(keys, open_without=True), served.Board([shops.parent]))
    with listen(app) as address:
        page = visit(f"{address}/")
        page.locator("#run .state.finished").wait_for()
        assert page.url.startswith(f"{address}/dashboard")
        assert page.locator("#head a:visible").all_inner_texts() == ["Runs"]
        asked = {path: httpx.get(f"{address}{path}").status_code for path in ALONE}
        assert asked == ALONE
        assert httpx.post(f"{address}/v1/completions", json={}).status_code == 404


def test_a_run_that_ends_is_finished_without_a_reload(
    visit: Visit, dashboard: str, board: Board
) -> None:
    page = visit(dashboard, clock=True)
    plot = section(page, "Loss on held-out text").get_by_role("slider")
    plot.wait_for()
    plot.focus()
    page.keyboard.press("Home")
    board.runs[0] = a_run("federation", rounds=10, state="finished")
    page.clock.run_for(POLL)
    page.locator("#run .state.finished").wait_for()
    assert page.locator("#runs .state").first.inner_text() == "finished"
    assert page.locator("#status").inner_text() == "federation: finished"
    assert plot.get_attribute("aria-valuemax") == "10"
    assert plot.get_attribute("aria-valuenow") == "0", "what somebody looks at stays chosen"
    assert plot.evaluate("node => node === document.activeElement")
    board.asked.clear()
    with page.expect_response("**/v1/runs"):
        page.clock.run_for(POLL)
    page.wait_for_timeout(300)
    assert board.asked == [""], "a run that is over is not asked for again"


def test_a_page_that_nobody_sees_asks_nothing(visit: Visit, dashboard: str, board: Board) -> None:
    page = visit(dashboard, clock=True)
    page.locator("#run h2").wait_for()
    turned = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(f"Object.defineProperty(document, 'hidden', {HIDDEN}); {turned}")
    page.wait_for_timeout(300)
    board.asked.clear()
    page.clock.run_for(2 * POLL)
    page.wait_for_timeout(300)
    assert board.asked == []
    with page.expect_response("**/v1/runs"):
        page.evaluate(f"delete document.hidden; {turned}")


def test_who_took_part_is_a_grid_and_for_many_clients_counts(visit: Visit, dashboard: str) -> None:
    page = visit(f"{dashboard}#run=federation")
    who = section(page, "Who took part")
    who.locator("svg").wait_for()
    assert who.locator("rect").count() == 3 * 6
    assert who.locator("rect.failed").count() == 1
    assert who.locator("rect.took").count() == 10
    page.goto(f"{dashboard}#run=many")
    who.get_by_text("60 clients, each in 6 to 6 rounds").wait_for()
    assert who.locator("svg").count() == 0
    assert who.locator("tbody tr").count() == 60


def test_privacy_is_a_bar_a_number_or_a_plain_word(visit: Visit, dashboard: str) -> None:
    page = visit(f"{dashboard}#run=federation")
    privacy = section(page, "Privacy")
    bar = privacy.get_by_role("meter")
    bar.wait_for()
    assert [bar.get_attribute(f"aria-value{end}") for end in ("now", "max")] == ["3.2", "8"]
    inner, outer = bar.locator("span").bounding_box(), bar.bounding_box()
    assert inner["width"] / outer["width"] == pytest.approx(0.4, abs=0.01)
    assert privacy.locator(".statement li").all_inner_texts()[1] == "ε is 3.2."
    page.goto(f"{dashboard}#run=many")
    privacy.get_by_text("The budget of 8 is spent.").wait_for()
    page.goto(f"{dashboard}#run=plain")
    privacy.get_by_text("No privacy was asked for: ε is unbounded.").wait_for()
    assert privacy.get_by_role("meter").count() == 0


def test_times_bytes_ledger_and_data_are_told(visit: Visit, dashboard: str) -> None:
    page = visit(f"{dashboard}#run=federation")
    times = section(page, "Time of each round")
    times.locator("rect.shade-0").first.wait_for()
    assert times.locator(".legend").inner_text().split() == ["train", "evaluate", "sum", "write"]
    assert times.locator(".told").inner_text() == (
        "Round 6 · train 0.6 s · evaluate 0.2 s · sum 0.04 s · write 0.02 s"
    )
    sent = page.locator("section", has_text="Largest upload")
    assert sent.locator(".told").inner_text() == "Round 6 · 782 kB"
    ledger = section(page, "Ledger")
    assert ledger.locator(".good").inner_text() == "Verified"
    assert "c5f5" * 16 in ledger.inner_text()
    loaded = page.locator("section", has_text="What was loaded").inner_text()
    assert re.search(r"north.jsonl\s+conversations\s+240\s+3\s+12 names and 4 addresses", loaded)
    assert "2 duplicates were left out." in loaded
    page.goto(f"{dashboard}#run=plain")
    page.get_by_text("Nothing is written down of what was loaded.").wait_for()


def test_what_runs_say_stays_text_and_a_run_that_is_not_there_is_told(
    visit: Visit, dashboard: str, board: Board
) -> None:
    name = "<img src=x onerror='window.taken = 1'>&#run=x"
    board.runs.insert(0, a_run(name, strategy="<b>fedavg</b>"))
    page = visit(dashboard, expected="status of 404")
    page.locator("#run h2", has_text="<img").wait_for()
    assert page.locator("#run h2").inner_text() == name
    assert page.locator("#run :is(img, b)").count() == 0
    assert page.evaluate("window.taken") is None
    page.goto(f"{dashboard}#run=nothing")
    page.get_by_text("There is no run of this name.").wait_for()


def test_a_key_is_asked_for_and_a_lost_server_is_told(
    visit: Visit, dashboard: str, keys: KeyFile
) -> None:
    key = keys.add("ada")
    page = visit(dashboard, expected="Failed to load resource", clock=True)
    page.locator("#key").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("only with an API key").wait_for()
    page.clock.run_for(5 * POLL)
    assert page.locator("#key").count() == 0, "who gave no key is asked again on their own wish"
    page.get_by_role("button", name="Try again").click()
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.locator("#run h2").wait_for()
    page.context.set_offline(True)
    page.clock.run_for(POLL)
    page.get_by_text("cannot be reached").wait_for()
    assert page.locator("#run h2").is_visible()
    page.context.set_offline(False)
    page.clock.run_for(POLL)
    page.get_by_text("cannot be reached").wait_for(state="detached")


def test_the_keyboard_reaches_everything(visit: Visit, dashboard: str) -> None:
    page = visit(dashboard)
    section(page, "Ledger").wait_for()
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, body, outline = page.evaluate(
            "(node => [node.id || node.dataset.run || node.ariaLabel || node.innerText,"
            " node === document.body, getComputedStyle(node).outlineStyle])(document.activeElement)"
        )
        if body:
            break
        reached.append(name.partition(";")[0])
        assert outline != "none", name
    wanted = {"Chat", "Runs", "language", "theme", "federation", "plain", "many", "old"}
    charts = {"Loss after each round", "Seconds of each stage", "Bytes sent", "ε of each client"}
    assert wanted | charts <= set(reached)


def test_pictures_of_the_dashboard_in_both_languages_and_at_every_width(
    visit: Visit, dashboard: str, pictures: Callable[..., None]
) -> None:
    page = visit(dashboard, color_scheme="light", viewport={"width": 1280, "height": 900})
    page.locator("rect.shade-0").first.wait_for()
    pictures(page, "dashboard", full_page=True)
    assert "参与方" in page.locator("#run").inner_text()
    page.click("#language")
    page.get_by_text("Who took part").wait_for()
    assert not re.search(r"[\u4e00-\u9fff]", page.locator("#run").inner_text())
