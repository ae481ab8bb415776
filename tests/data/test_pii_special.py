"""Special categories, judged by sentences that were written by hand: flagged, and not flagged."""

from __future__ import annotations

import pytest

from sottovoce.data.conversation import Conversation, Message
from sottovoce.data.pii.special import CATEGORIES, special_spans, special_turns

FLAGGED = [
    ("RELIGION", "I am Muslim and need halal options."),
    ("RELIGION", "We go to church every Sunday."),
    ("RELIGION", "My rabbi asked me to order the candles."),
    ("RELIGION", "As a devout Christian I can't work that day."),
    ("RELIGION", "我信佛，不吃肉。"),
    ("RELIGION", "她是穆斯林，请不要放猪肉。"),
    ("RELIGION", "周日我们去教堂，别送货。"),
    ("RELIGION", "请问表格里宗教信仰一栏怎么填？"),
    ("POLITICS", "I voted for the opposition last year."),
    ("POLITICS", "He is a member of the Communist Party."),
    ("POLITICS", "I was granted political asylum."),
    ("POLITICS", "我是中共党员。"),
    ("POLITICS", "他因为上访被拘留过。"),
    ("HEALTH", "I have diabetes, is this sugar-free?"),
    ("HEALTH", "My wife is pregnant."),
    ("HEALTH", "The chemo starts on Monday, so please deliver before."),
    ("HEALTH", "My therapist says I should rest."),
    ("HEALTH", "我妈妈有糖尿病，能吃吗？"),
    ("HEALTH", "我怀孕三个月了。"),
    ("HEALTH", "他上周确诊了。"),
    ("ETHNICITY", "As an African American woman I need another shade."),
    ("ETHNICITY", "They are Kurdish."),
    ("ETHNICITY", "我是维吾尔族人。"),
    ("ETHNICITY", "民族成分填汉族可以吗？"),
    ("SEXUALITY", "I'm gay, and this is for my boyfriend."),
    ("SEXUALITY", "She came out as a lesbian."),
    ("SEXUALITY", "我是同性恋，父母不知道。"),
    ("SEXUALITY", "他去年出柜了。"),
    ("TRADE_UNION", "Our union rep will call you."),
    ("TRADE_UNION", "I joined the union in May."),
    ("TRADE_UNION", "The nurses' union is on strike."),
    ("TRADE_UNION", "我是工会会员，有折扣吗？"),
    ("TRADE_UNION", "下周工人罢工，能推迟吗？"),
]
NOT_FLAGGED = [
    "A table for a party of six, please; the party size may change.",
    "Do you sell decorations for a birthday party?",
    "Third-party sellers ship from abroad.",
    "The union of sets A and B is written with a cup.",
    "I paid by Western Union from the European Union.",
    "My credit union refused the card.",
    "Union Square is closed.",
    "My star sign is Cancer.",
    "The Great Depression began in 1929.",
    "A tropical depression is near the coast.",
    "Gay-Lussac's law relates pressure and temperature.",
    "Christian Dior perfume, 50 ml.",
    "Christian will pick it up.",
    "My account is disabled.",
    "The button was disabled by default.",
    "Turn this off in the settings: the disabled feature.",
    "I bought church-shaped candles? No: church candles are too big.",
    "Where is the race track?",
    "I voted for best product.",
    "A lightning strike broke the router.",
    "The engagement is off, and I want my money back.",
    "Green tea, black tea, white tea.",
    "这道佛跳墙多少钱？",
    "有藏族风格的手链吗？",
    "这件苗族刺绣裙子有现货吗？",
    "清真食品在哪一栏？",
    "A和B的并集是什么？",
    "我是巨蟹座的。",
    "这个孕妇装有大码吗？",
    "血压计怎么用？",
    "学生党有优惠吗？",
    "派对人数可以改吗？",
    "天主教堂积木有货吗？",
]


@pytest.mark.parametrize(("category", "sentence"), FLAGGED)
def test_flagged(category, sentence):
    assert category in {span.kind for span in special_spans(sentence)}


@pytest.mark.parametrize("sentence", NOT_FLAGGED)
def test_not_flagged(sentence):
    assert special_spans(sentence) == ()


def test_every_category_has_sentences_in_both_languages():
    for category in CATEGORIES:
        sentences = [text for kind, text in FLAGGED if kind == category]
        assert any(text.isascii() for text in sentences)
        assert any(not text.isascii() for text in sentences)


def test_evidence_is_a_place_and_a_class_of_word():
    text = "Sorry, I have diabetes and joined the union."
    health, union = special_spans(text)
    assert (text[health.start : health.end], health.source) == ("diabetes", "diagnosis")
    assert (text[union.start : union.end], union.source) == ("joined the union", "membership")
    assert health.score == 0.5


def test_another_use_of_a_word_does_not_hide_its_neighbours():
    text = "The union of sets is in the book; my union has it."
    assert [text[span.start : span.end] for span in special_spans(text)] == ["my union"]


def test_a_conversation_is_flagged_by_turn_and_not_for_what_the_system_says():
    talk = Conversation(
        (
            Message("system", "Never ask about cancer."),
            Message("user", "Hello."),
            Message("assistant", "Is it about your diabetes?"),
        )
    )
    assert [(turn, span.kind) for turn, span in special_turns(talk)] == [(2, "HEALTH")]
