"""Duplicates, judged by comparing every pair."""

from __future__ import annotations

import time

import numpy as np
import pytest

from sottovoce.data.conversation import Conversation, Message, ToolCall
from sottovoce.data.dedupe import (
    THRESHOLD,
    duplicate_conversations,
    duplicates,
    grams,
    jaccard,
)
from sottovoce.rng import stream

SENTENCE = "order parcel late when refund card shop open holiday size blue shoes coat where is my"
WORDS = SENTENCE.split()
HAN = "我的订单什么时候能到请问可以退款吗鞋子大小不合适想换一双蓝色外套还有货店里几点开门"


def written(text: str) -> str:
    return " ".join(text.casefold().split())


def five_grams(text: str) -> set[str]:
    return {text[at : at + 5] for at in range(len(text) - 4)}


def similarity(one: str, other: str) -> float:
    return shared(five_grams(written(one)), five_grams(written(other)))


def shared(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def judged(texts: list[str]) -> list[int]:
    """The slow way: every text against every one that is kept."""
    kept: list[tuple[str, set[str]]] = []
    out = []
    for place, text in enumerate(texts):
        plain, own = written(text), five_grams(written(text))
        if any(plain == other or shared(own, theirs) >= THRESHOLD for other, theirs in kept):
            out.append(place)
        else:
            kept.append((plain, own))
    return out


def texts_of(seed: int, count: int) -> list[str]:
    """Texts in both languages, each third a change of an earlier one by a few characters."""
    rng = stream(seed, "texts")
    texts: list[str] = []
    for place in range(count):
        if place % 3 == 2:
            text = texts[int(rng.integers(place))]
            for _ in range(int(rng.integers(0, 6))):
                at = int(rng.integers(len(text)))
                text = (
                    text[:at] + str(rng.choice(list("xyz好"))) + text[at + int(rng.integers(2)) :]
                )
        elif place % 2:
            text = "".join(rng.choice(list(HAN), int(rng.integers(20, 90))))
        else:
            text = " ".join(rng.choice(WORDS, int(rng.integers(8, 40))))
        texts.append(text)
    return texts


@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_comparing_every_pair(seed):
    texts = texts_of(seed, 240)
    found = duplicates(texts)
    assert found == judged(texts)
    assert len(found) > 15


def test_the_hashed_sets_are_the_sets():
    for one, other in zip(texts_of(9, 40), texts_of(10, 40), strict=True):
        assert len(grams(one)) == len(five_grams(one))
        half = one[: len(one) // 2] + other[len(other) // 2 :]
        direct = len(five_grams(one) & five_grams(half)) / len(five_grams(one) | five_grams(half))
        assert jaccard(grams(one), grams(half)) == pytest.approx(direct)


def test_texts_just_below_the_threshold_stay_and_just_above_go():
    base = "".join(chr(0x4E00 + place) for place in range(104))  # 100 grams
    for changed, expected in ((10, [1]), (13, [])):
        other = base[:-changed] + "".join(chr(0x6000 + place) for place in range(changed))
        value = similarity(base, other)
        assert (value >= THRESHOLD) == bool(expected)
        assert duplicates([base, other]) == expected


def test_short_and_empty_texts_are_duplicates_only_if_they_are_equal():
    texts = ["", "yes", "Yes ", "no", "", "ye", "是", "是", "好的"]
    assert duplicates(texts) == [2, 4, 7]
    assert jaccard(grams(""), grams("")) == 0.0


def test_width_case_and_blanks_make_no_difference():
    assert duplicates(["Card 4111 now", "ＣＡＲＤ  4111\tnow"]) == [1]


def test_the_first_is_kept_and_a_chain_ends_at_what_is_kept():
    """The third is like the second, which is gone, and not like the first, which is there."""
    base = [chr(0x4E00 + place) for place in range(104)]
    texts = []
    for changed in (0, 8, 14):
        texts.append(
            "".join(base[: 104 - changed]) + "".join(chr(0x6000 + p) for p in range(changed))
        )
    assert similarity(texts[1], texts[2]) >= THRESHOLD > similarity(texts[0], texts[2])
    assert duplicates(texts) == [1]


def test_the_order_of_keys_is_no_matter_and_the_result_is_always_the_same():
    texts = texts_of(4, 200)
    assert duplicates(texts) == duplicates(list(texts))


def talk(text: str, client: str | None = "a", system: str = "", calls=()) -> Conversation:
    first = (Message("system", system),) if system else ()
    return Conversation(
        (*first, Message("user", text), Message("assistant", "Thank you.", calls)), client=client
    )


QUESTION = "When will my parcel with the blue shoes arrive at the shop in the old street?"


def test_conversations_are_compared_within_their_client():
    talks = [talk(QUESTION), talk(QUESTION, "b"), talk(QUESTION.upper()), talk(QUESTION, None)]
    assert duplicate_conversations(talks) == [2]


def test_a_long_system_turn_makes_no_two_conversations_alike():
    system = "You are the assistant of a shop that sells shoes and coats. " * 10
    talks = [talk("Where is my parcel?", system=system), talk("Do you open today?", system=system)]
    assert duplicate_conversations(talks) == []
    assert duplicate_conversations([talks[0], talk("Where is my parcel?")]) == [1]


def test_calls_of_tools_count():
    wanted = ("blue shoes in size 40", "a winter coat with a hood")
    calls = [(ToolCall("find", f'{{"goods":"{one}"}}'),) for one in wanted]
    short = [talk("Where?", calls=one) for one in calls]
    assert duplicate_conversations(short) == []


@pytest.mark.slow
def test_twenty_thousand_conversations_take_seconds_and_twice_as_many_twice_the_time():
    """Among them boilerplate, of which every pair shares half."""
    rng = stream(0, "many")
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz     "))
    boilerplate = "".join(rng.choice(letters, 300))
    texts = [
        (boilerplate if place % 2 else "") + "".join(rng.choice(letters, 300))
        for place in range(20_000)
    ]
    took = []
    for count in (10_000, 20_000):
        begin = time.process_time()
        assert duplicates(texts[:count]) == []
        took.append(time.process_time() - begin)
    assert took[1] < 30
    assert took[1] < 3 * took[0]
