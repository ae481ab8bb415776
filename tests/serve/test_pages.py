"""The chat in a real browser, on a real server with a model that was really trained."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_page import CHAT, QUESTION, answer, ask, changed, said, sent

from sottovoce.serve.answer import Answers
from sottovoce.serve.api import make_app
from sottovoce.serve.gate import Gate
from sottovoce.serve.keys import KeyFile

ARGUMENTS = {
    "type": "object",
    "properties": {"order": {"enum": [17]}},
    "required": ["order"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "track", "parameters": ARGUMENTS}}
Visit = Callable[..., Any]


@pytest.fixture
def guarded(answers: Answers, keys: KeyFile, listen: Any) -> Iterator[str]:
    """A server that wants a key."""
    with listen(make_app(answers, Gate(keys, open_without=False))) as address:
        yield address


# --- the conversation ----------------------------------------------------------------------------


def test_a_question_gets_the_answer_of_the_model_and_the_next_one_follows_it(
    visit: Visit, address: str, connect: Callable[..., Any]
) -> None:
    page = visit(address)
    bodies = sent(page)
    ask(page, temperature="0", most="14", seed="3", system="Be brief.")
    first = said(page)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    made = connect(address).chat.completions.create(
        model="shops", messages=messages, temperature=0, max_tokens=14, tool_choice="auto"
    )
    assert first == made.choices[0].message.content
    ask(page, "And\non Sunday?")
    answer(page, 1)
    turns = [
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And\non Sunday?"},
    ]
    assert bodies[1]["messages"] == [*messages, *turns]
    assert {name: bodies[1][name] for name in ("temperature", "max_tokens", "seed")} == {
        "temperature": 0,
        "max_tokens": 14,
        "seed": 3,
    }
    page.click("#fresh")
    assert page.locator(".turn").count() == 0
    ask(page)
    answer(page)
    assert bodies[2]["messages"] == messages


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_an_answer_is_seen_while_it_is_made_and_stopping_ends_the_decoding(
    visit: Visit, address: str, ends: list[str], way: str
) -> None:
    page = visit(address)
    ask(page)
    page.locator(".answer[aria-busy=true] .text", has_text=re.compile(r"\w\W+\w")).wait_for()
    assert ends == []
    page.click("#stop") if way == "button" else page.keyboard.press("Escape")
    while not ends:
        time.sleep(0.01)
    assert ends == ["cancelled"]
    assert "Stopped" in answer(page).inner_text()
    assert page.locator("#send").is_visible()
    assert page.locator("#question").evaluate("node => node === document.activeElement")


def test_two_models_are_asked_at_once_and_each_has_its_own_conversation(
    visit: Visit, address: str, connect: Callable[..., Any]
) -> None:
    page = visit(address)
    bodies = sent(page)
    page.check("#compare")
    ask(page, temperature="0", most="14")
    cells = page.locator(".cell")
    for number, name in enumerate(["shops", "shops:base"]):
        made = connect(address).chat.completions.create(
            model=name,
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0,
            max_tokens=14,
            tool_choice="auto",
        )
        cells.nth(number).locator("[aria-busy=false]").wait_for()
        assert cells.nth(number).locator(".text").text_content() == made.choices[0].message.content
    boxes = [cells.nth(number).bounding_box() for number in range(2)]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert "federated" in cells.nth(0).inner_text()
    assert "base" in cells.nth(1).inner_text()
    before = [said(page, number) for number in range(2)]
    ask(page, "And on Sunday?")
    answer(page, 3)
    heard = {body["model"]: body["messages"][1]["content"] for body in bodies[2:]}
    assert heard == {"shops": before[0], "shops:base": before[1]}
    # A model that hears only the rest of a conversation could not be compared.
    page.select_option("#model", "shops:north")
    ask(page, "And then?")
    answer(page, 5)
    assert [len(body["messages"]) for body in bodies[4:]] == [1, 1]
    assert page.locator(".divide").count() == 1
    page.select_option("#model", "shops:base")
    assert page.locator("#compare").is_disabled()
    assert not page.locator("#compare").is_checked()


def test_a_call_is_shown_and_what_it_gives_back_goes_on_to_the_model(
    visit: Visit, address: str
) -> None:
    page = visit(address)
    bodies = sent(page)
    # The model has learned no calls, so the question is changed on its way into one that forces one.
    changed(page, tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    ask(page, most="60", seed="1")
    box = page.locator(".call")
    box.wait_for()
    assert bodies[0]["tool_choice"] == "auto"
    assert box.locator("code").inner_text() == "track"
    assert box.locator("pre").inner_text() == '{\n  "order": 17\n}'
    page.get_by_label("What track gives back").fill('{"days": 2}')
    page.get_by_role("button", name="Send result").click()
    answer(page, 1)
    [question, made, result] = bodies[1]["messages"]
    assert question == {"role": "user", "content": QUESTION}
    assert made["tool_calls"][0]["function"]["name"] == "track"
    call_id = made["tool_calls"][0]["id"]
    assert result == {"role": "tool", "tool_call_id": call_id, "content": '{"days": 2}'}
    assert page.get_by_role("button", name="Send result").count() == 0


def test_markup_in_a_question_or_an_answer_stays_text_and_is_copied_as_it_is(
    visit: Visit, answers: Answers, shelf: Any, keys: KeyFile, listen: Any
) -> None:
    markup = "<script>window.taken = 1</script><img src=x onerror='window.taken = 1'><b>bold</b>"

    async def marked(text: AsyncIterator[str]) -> AsyncIterator[str]:
        yield markup
        async for piece in text:
            yield piece

    known = Answers(shelf, answers.engine, filter_of=lambda run, said: marked)
    with listen(make_app(known, Gate(keys, open_without=True))) as address:
        page = visit(address, permissions=["clipboard-read", "clipboard-write"])
        ask(page, markup, most="3")
        text = said(page)
        assert text.startswith(markup)
        assert page.locator(".question p").inner_text() == markup
        assert page.locator("#log :is(script, img, b)").count() == 0
        assert page.evaluate("window.taken") is None
        page.get_by_role("button", name="Copy").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == text


def test_json_is_laid_out_without_being_changed(visit: Visit, address: str) -> None:
    page = visit(address)
    value = {"a": [], "b": {}, "c": [1, {"d": 'x,"{y}\\'}], "e": 12345678901234567890}
    lay = "text => import('/pages/pretty.js').then(found => found.pretty(text))"
    assert page.evaluate(lay, json.dumps(value)) == json.dumps(value, indent=2)
    assert page.evaluate(lay, '{"cut": ') == '{"cut": '


def test_nothing_is_sent_while_a_word_is_composed_or_with_a_setting_that_cannot_be(
    visit: Visit, address: str
) -> None:
    page = visit(address)
    page.locator("#model option").first.wait_for(state="attached")
    page.fill("#question", "几点")
    composing = {"key": "Enter", "isComposing": True, "cancelable": True}
    page.dispatch_event("#question", "keydown", composing)
    page.press("#question", "Shift+Enter")
    assert page.input_value("#question") == "几点\n"
    ask(page, most="0")
    assert page.locator("#settings").get_attribute("open") is not None
    assert page.locator(".turn").count() == 0


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_lost_network_is_told_and_trying_again_works(visit: Visit, address: str) -> None:
    page = visit(address, expected="ERR_INTERNET_DISCONNECTED")
    page.locator("#model option").first.wait_for(state="attached")
    page.context.set_offline(True)
    ask(page, most="4")
    assert "cannot be reached" in answer(page).inner_text()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("button", name="Copy").wait_for()
    assert page.locator(".answer").count() == 1


def test_what_the_server_refuses_is_told_in_its_words(visit: Visit, address: str) -> None:
    page = visit(address, expected="status of 4")
    ask(page, most="1000000")
    assert "maximum context length" in answer(page).inner_text()


def test_a_stream_that_breaks_off_is_no_answer(visit: Visit, address: str) -> None:
    page = visit(address)
    bodies = sent(page)
    begun = 'data: {"choices": [{"index": 0, "delta": {"content": "Half"}}]}\n\n'
    ends = iter(["", 'data: {"error": {"message": "the answer failed"}}\n\n'])

    def broken(route: Any) -> None:
        kind = {"Content-Type": "text/event-stream"}
        route.fulfill(headers=kind, body=begun + next(ends))

    page.route(CHAT, broken, times=2)
    for number in range(2):
        ask(page)
        assert "Half" in said(page, number)
        assert page.locator(".trouble").nth(number).is_visible()
    assert "the answer failed" in page.locator(".trouble").last.inner_text()
    ask(page, most="3")
    page.get_by_role("button", name="Copy").wait_for()
    assert [len(body["messages"]) for body in bodies] == [1, 1, 1]


# --- keys ----------------------------------------------------------------------------------------


def test_a_key_is_asked_for_taken_and_forgotten(visit: Visit, guarded: str, keys: KeyFile) -> None:
    key = keys.add("ada")
    page = visit(guarded, expected="status of 401")
    for wrong in ("sotto-guessed", "geheim-ä"):
        page.locator("#key").fill(wrong)
        page.keyboard.press("Enter")
        page.get_by_text("does not take this key").wait_for()
    kept = "[Object.values(sessionStorage), Object.values(localStorage), document.cookie]"
    assert page.evaluate(kept) == [[], [], ""], "a wrong key is not kept"
    page.locator("#key").fill(key)
    page.keyboard.press("Enter")
    ask(page, most="3")
    assert said(page)
    assert page.locator("#model option").all_inner_texts() == [
        "shops · federated",
        "shops · base, before training",
    ]
    assert page.evaluate(kept) == [[key], [], ""]
    page.get_by_role("button", name="Forget key").click()
    assert page.evaluate(kept) == [[], [], ""]
    ask(page)
    page.locator("#key").wait_for()
    page.keyboard.press("Escape")
    assert "only with an API key" in answer(page, 1).inner_text()


def test_what_a_key_may_not_do_is_told(visit: Visit, guarded: str, keys: KeyFile) -> None:
    key = keys.add("ada", requests_per_minute=2)
    page = visit(guarded, expected="status of 4")
    page.locator("#key").fill(key)
    page.keyboard.press("Enter")
    changed(page, model="shops:north")
    ask(page)
    assert "not allowed with your key" in answer(page).inner_text()
    ask(page)
    told = answer(page, 1).inner_text()
    assert re.search(r"Too many requests.* again in \d+ s", told)
    assert "2 times a minute" in told


# --- languages, colours, keyboard, narrow screens ------------------------------------------------


def test_language_and_colours_are_switched_and_remembered(visit: Visit, address: str) -> None:
    page = visit(address, color_scheme="light")
    ask(page, most="3")
    answer(page)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Dark colours").click()
    page.get_by_role("button", name="中文").click()
    for _ in range(2):
        assert page.evaluate("document.documentElement.lang") == "zh-Hans"
        assert page.locator("#send").inner_text() == "发送"
        assert page.title() == "Sottovoce：对话"
        assert page.evaluate(paper) != light
        page.reload()
    page.get_by_role("button", name="English").click()
    page.get_by_role("button", name="Light colours").click()
    assert page.locator("#send").inner_text() == "Send"
    assert page.evaluate(paper) == light
    chinese = visit(address, locale="zh-CN", color_scheme="dark")
    assert chinese.locator("#send").inner_text() == "发送"
    assert chinese.evaluate(paper) != light


def test_the_keyboard_reaches_everything_and_focus_is_seen(visit: Visit, address: str) -> None:
    page = visit(address)
    ask(page, most="3")
    answer(page)
    page.evaluate("document.activeElement.blur()")
    reached: list[str] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        name, body, outline = page.evaluate(
            "(node => [node.id || node.innerText, node === document.body,"
            " getComputedStyle(node).outlineStyle])(document.activeElement)"
        )
        if name in reached:
            break
        if body:
            continue
        reached.append(name)
        assert outline != "none", name
    wanted = (
        "To the question|Chat|Runs|language|theme|Copy|question|send|model|compare|fresh|Settings"
    )
    assert set(wanted.split("|")) <= set(reached)


def test_a_narrow_screen_never_scrolls_sideways(visit: Visit, address: str) -> None:
    page = visit(address, viewport={"width": 360, "height": 740})
    page.check("#compare")
    ask(page, "a" * 300, most="12")
    answer(page, 1)
    boxes = [page.locator(".cell").nth(number).bounding_box() for number in range(2)]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"], "stacked"
    for language in ("zh-Hans", "en"):
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, language
        page.click("#language")


def test_pictures_of_the_chat(
    visit: Visit, address: str, artefacts: Path, pictures: Callable[..., None]
) -> None:
    page = visit(address, color_scheme="light")
    page.screenshot(path=artefacts / "chat-empty.png")
    page.check("#compare")
    ask(page, seed="5", most="40")
    answer(page, 1)
    page.click("#settings summary")
    pictures(page, "chat")
    assert len(list(artefacts.glob("chat-*.png"))) >= 5
