"""Conversations between the customers and the shops of a market, written by a grammar.

Customers write as they like: formally, in haste, with typing errors, with or without their name.
All shops answer in one house style (a greeting, an opener, a quoted fact, a closing); what they
state is their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sottovoce.data.conversation import Conversation, Message
from sottovoce.data.dialogues_en import ENGLISH
from sottovoce.data.dialogues_zh import CHINESE
from sottovoce.data.grammar import expand
from sottovoce.data.lexicon import Language
from sottovoce.data.market import Customer, Market, Shop
from sottovoce.data.marketplace import DELIVERED, SHIPPED, choose, choose_popular
from sottovoce.data.phrasebook import Phrasebook, Topic
from sottovoce.data.scene import Scene, set_scene
from sottovoce.errors import DataError
from sottovoce.rng import stream

# How often a conversation begins with a topic. Those about a purchase need a delivered order and
# are drawn again without one, so they stand higher than they come out.
_WEIGHTS = (
    "status:13 eta:5 address:3 cancel:3 send_back:8 late:4 money:6 take_back:5 swap:6 replace:4 "
    "broken:7 silence:2 praise:7 price:4 material:3 warranty:3 stock:4 colours:3 measure:3 brand:3 "
    "accessory:4 fits:5 popular:3 returns:4 refunds:2 shipping:3 delivery_time:4 hours:2 fees:2 "
    "gift_wrap:2 payments:2 exchanges:2"
)
_OPENINGS = tuple(
    name
    for name, count in (entry.split(":") for entry in _WEIGHTS.split())
    for _ in range(int(count))
)
_PRODUCT_NEXT = ("price", "material", "warranty", "stock", "colours", "measure", "brand", "fits")
_POLICY_NEXT = (
    *("returns", "refunds", "shipping", "delivery_time", "hours", "fees", "gift_wrap", "payments"),
    "exchanges",
)
_TOOLS = {"order": "lookup_order", "stock": "check_stock"}
THANKS = "thanks"


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A question to put to a model, with the right answer.

    Args:
        shop: name of the shop that is asked.
        prompt: the system message and the customer's question.
        expected: the right continuation: one answer, or a tool call, its result and the answer.
    """

    shop: str
    prompt: tuple[Message, ...]
    expected: tuple[Message, ...]


def conversations(market: Market, seed: int, *, per_shop: int) -> list[Conversation]:
    """Let the customers of a market write to their shops.

    Args:
        market: who there is, and what is true.
        seed: the same market and seed give the same conversations.
        per_shop: how many conversations each shop has. Owners take turns, so with as many
            conversations as customers everybody writes once.

    Returns:
        The conversations shop by shop. Owner is the customer's id, client the shop's name, label
        the intent of the first question.

    Guarantees:
        - every price, day, percentage, status, date and product that an answer states agrees with
          the market;
        - a tool's result stands between the call and the answer that is drawn from it;
        - a conversation ends with an answer.

    Raises:
        DataError: ``per_shop`` is negative.
    """
    if per_shop < 0:
        raise DataError(f"per_shop is {per_shop}", allowed="0 or more")
    written = []
    for shop in market.shops:
        people = market.clients_of[shop.id]
        turns = stream(seed, "dialogues", shop.id, "owners").permutation(len(people))
        for i in range(per_shop):
            customer = people[int(turns[i % len(people)])]
            rng = stream(seed, "dialogues", shop.id, i)
            written.append(_conversation(market, shop, customer, rng, i))
    return written


def _conversation(
    market: Market, shop: Shop, customer: Customer, rng: np.random.Generator, index: int
) -> Conversation:
    """Write one conversation of one customer."""
    book = _book(shop.language)
    first, scene = _opening(market, shop, customer, rng)
    plan = [first, *_follow_ups(book, first, scene, rng)]
    return Conversation(
        _messages(book, scene, plan, rng),
        owner=customer.id,
        client=shop.name,
        label=book.topics[first].intent,
        source=f"marketplace:{shop.id}:{index}",
    )


def _book(language: Language) -> Phrasebook:
    return ENGLISH if language == "en" else CHINESE


def _opening(
    market: Market, shop: Shop, customer: Customer, rng: np.random.Generator
) -> tuple[str, Scene]:
    """Draw a topic that makes sense for this customer, and its scene."""
    topics = _book(shop.language).topics
    orders = market.orders_of[shop.id, customer.id]
    bought = [item for order in orders if order.status == DELIVERED for item in order.items]
    while True:
        name = choose(rng, _OPENINGS)
        topic = topics[name]
        if topic.about == "purchase" and not bought:
            continue
        product = choose(rng, bought) if topic.about == "purchase" else None
        product = product or choose_popular(rng, shop.catalogue)
        if name == "popular":
            # Later questions about "it" mean the product that the answer names.
            category = product.kind.category
            product = next(p for p in shop.catalogue if p.kind.category == category)
        scene = set_scene(market, shop, customer, product, choose(rng, orders), rng)
        if _makes_sense(topic, scene):
            return name, scene


def _makes_sense(topic: Topic, scene: Scene) -> bool:
    """Tell whether the scene has what the topic needs."""
    key, _, values = topic.needs.partition("=")
    return not key or scene.cases[key] in values.split(",")


def _follow_ups(
    book: Phrasebook, first: str, scene: Scene, rng: np.random.Generator
) -> tuple[str, ...]:
    """Draw what else the customer says: nothing, one thing or two."""
    chance = rng.random()
    if first == "praise" or chance < 0.5:
        return ()
    about_product = book.topics[first].about == "product" or first == "popular"
    nearby = _PRODUCT_NEXT if about_product and rng.random() < 0.7 else _POLICY_NEXT
    second = choose(rng, [name for name in nearby if name != first])
    if not _makes_sense(book.topics[second], scene):
        second = THANKS
    if chance < 0.86:
        short = THANKS if rng.random() < (0.25 if about_product else 0.5) else second
        return (short,)
    return (second,) if second == THANKS else (second, THANKS)


def _messages(
    book: Phrasebook,
    scene: Scene,
    plan: Sequence[str],
    rng: np.random.Generator,
    haste: float = 0.55,
) -> tuple[Message, ...]:
    """Write the turns of one conversation.

    Args:
        book: the language's patterns.
        scene: the facts.
        plan: names of topics, and ``THANKS`` last where the customer says thank you.
        rng: draws the words.
        haste: how likely the customer writes carelessly.
    """
    slots = scene.slots
    hasty = rng.random() < haste
    turns = [Message("system", expand(book.system, rng, book.rules, slots))]
    known = ""
    for i, name in enumerate(plan):
        ends = i == len(plan) - 1
        if name == THANKS:
            thanks = expand(book.thanks, rng, book.rules, slots)
            turns.append(Message("user", _typed(book, scene, thanks, rng, hasty)))
            answer = [book.welcome, book.closings["glad"]]
            turns.append(_answer(book, scene, answer, rng))
            continue
        topic = book.topics[name]
        # Some customers forget the number of their order and are asked for it first.
        numbered = topic.about != "order" or rng.random() < 0.85
        question = _question(book, scene, topic, rng, first=i == 0, numbered=numbered)
        turns.append(Message("user", _typed(book, scene, question, rng, hasty)))
        known += turns[-1].content
        greet = book.greeting_named if _named(book, scene, known) else book.greeting
        greeting = [greet] if i == 0 else []
        if not numbered:
            turns.append(_answer(book, scene, [*greeting, book.missing], rng))
            supply = expand(book.supply, rng, book.rules, slots)
            turns.append(Message("user", _typed(book, scene, supply, rng, hasty)))
            greeting = []
        turns += _looked_up(scene, name, topic)
        opener = [topic.opener] if i == 0 else []
        reply = topic.reply[scene.cases[topic.depends] if topic.depends else ""]
        contact = _contact(book, scene, topic, known)
        closing = [book.closings[topic.mood]] if ends else []
        parts = [*greeting, *opener, reply, *contact, *closing]
        turns.append(_answer(book, scene, parts, rng))
    return tuple(turns)


def _question(
    book: Phrasebook,
    scene: Scene,
    topic: Topic,
    rng: np.random.Generator,
    *,
    first: bool,
    numbered: bool,
) -> str:
    """Write the customer's turn as it would be typed with care."""
    rules = {
        **book.rules,
        "x": book.product if first else book.same_product,
        "o": book.order if numbered else book.no_order,
    }
    if not first:
        rules |= {"looking": "", "bought": "", "lead": ""}
    ask = expand(topic.ask, rng, rules, scene.slots)
    if not first:
        return expand(book.again, rng, rules, {**scene.slots, "ask": ask})
    intro = expand(book.intros, rng, rules, scene.slots)
    return expand(book.frame, rng, rules, {**scene.slots, "ask": ask, "intro": intro})


def _named(book: Phrasebook, scene: Scene, text: str) -> bool:
    """Tell whether the customer gave a name in a text."""
    if book.language == "zh":
        return scene.customer.name in text
    return re.search(rf"\b{scene.customer.given}\b", text) is not None


def _looked_up(scene: Scene, name: str, topic: Topic) -> list[Message]:
    """Call the tool that a topic needs and hear its result."""
    tool = _TOOLS.get(name) or _TOOLS.get(topic.about)
    if tool is None:
        return []
    call, result = scene.tools[tool]
    return [Message("assistant", "", (call,)), Message("tool", result)]


def _contact(book: Phrasebook, scene: Scene, topic: Topic, known: str) -> list[str]:
    """Promise to write or call where the topic wants it and the customer said how."""
    if topic.contact and scene.customer.email in known:
        return [book.write]
    return [book.call] if topic.contact and scene.customer.phone in known else []


def _answer(
    book: Phrasebook, scene: Scene, parts: Sequence[str], rng: np.random.Generator
) -> Message:
    """Write one turn of the assistant."""
    return Message("assistant", expand(book.gap.join(parts), rng, book.rules, scene.slots))


def _typed(book: Phrasebook, scene: Scene, text: str, rng: np.random.Generator, hasty: bool) -> str:
    """Write a turn as the customer types it: with capitals, or in haste with short forms."""
    text = re.sub(r"([?!.,？！，。~])[.,，。]+", r"\1", re.sub(r" {2,}", " ", text)).strip(" ，")
    if not hasty:
        # A sentence begins with a capital; Chinese has none.
        return re.sub(r"(^|[.!?] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    kept = {word.strip(".,") for value in scene.slots.values() for word in value.split()}
    for usual, short in book.habits:
        if usual in text and rng.random() < 0.3:
            text = _replace(book, text, usual, short)
    if rng.random() < 0.25:
        text = _slip(book, text, kept, rng)
    if book.language == "en":
        text = re.sub(r"\bI\b", "i", text)
        if text.split()[0].strip(".,!?") not in kept:
            text = text[0].lower() + text[1:]
    return (text.rstrip(".。？") if rng.random() < 0.5 else text).strip()


def _replace(book: Phrasebook, text: str, usual: str, short: str) -> str:
    """Put a short form for the usual one, in English for whole words only."""
    if book.language == "zh":
        return text.replace(usual, short)
    return re.sub(rf"\b{re.escape(usual)}\b", short, text)


def _slip(book: Phrasebook, text: str, kept: set[str], rng: np.random.Generator) -> str:
    """Make one typing error, never in a name, a number or another fact."""
    if book.slips:
        usual, slip = choose(rng, book.slips)
        return text.replace(usual, slip, 1)
    words = text.split(" ")
    long = [i for i, w in enumerate(words) if w.isalpha() and len(w) > 4 and w not in kept]
    if long:
        i = choose(rng, long)
        at = 1 + int(rng.random() * (len(words[i]) - 2))
        word = words[i]
        words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def demo_questions(
    market: Market, written: Sequence[Conversation]
) -> tuple[DemoQuestion, DemoQuestion, DemoQuestion]:
    """Ask three typical questions: an English and a Chinese promise, and an order to look up.

    Args:
        market: who there is, and what is true.
        written: conversations that a model may have seen; none of the questions stands in them.

    Returns:
        How long one may return at the first English shop, when the first Chinese shop sends free
        of charge, and where an order of the second English shop (or the first) is.

    Raises:
        DataError: the conversations hold every wording that was tried.
    """
    seen = {message.content for one in written for message in one.messages}
    english = [shop for shop in market.shops if shop.language == "en"]
    chinese = next(shop for shop in market.shops if shop.language == "zh")
    asked = ((english[0], "returns"), (chinese, "shipping"), (english[1 % len(english)], "status"))
    first, second, third = (_demo_question(market, shop, name, seen) for shop, name in asked)
    return first, second, third


def _demo_question(market: Market, shop: Shop, name: str, seen: set[str]) -> DemoQuestion:
    """Word one question anew until it stands in no conversation."""
    usual = _book(shop.language)
    # A visitor's question comes without a story; the demo is read by people.
    brief = {**usual.rules, "looking": "", "bought": "", "waiting": "", "lead": ""}
    book = replace(usual, frame="{ask}", intros="", rules=brief)
    orders = [order for order in market.orders if order.shop == shop.id]
    order = next((order for order in orders if order.status == SHIPPED), orders[0])
    customer = next(person for person in market.customers if person.id == order.customer)
    for attempt in range(200):
        rng = stream(market.seed, "dialogues", "demo", shop.id, name, attempt)
        scene = set_scene(market, shop, customer, shop.catalogue[0], order, rng)
        messages = _messages(book, scene, [name], rng, haste=0.0)
        roles = [message.role for message in messages]
        if roles.count("user") == 1 and messages[1].content not in seen:
            return DemoQuestion(shop.name, messages[:2], messages[2:])
    raise DataError(f"no new wording was found for a question to {shop.name}")


def write_market(market: Market, written: Sequence[Conversation], folder: Path) -> list[Path]:
    """Write one JSON Lines file per shop, in OpenAI's ``messages`` form.

    Each line also holds ``owner``, ``client`` and ``label``. A shop without conversations gets no
    file.

    Args:
        market: the shops; a file is named after the shop's id.
        written: the conversations, each with a shop's name as its client.
        folder: where to write; made where it is missing.

    Returns:
        The files, in the order of the shops.

    Guarantees:
        - every file appears whole, and none before all of them are written out.

    Raises:
        DataError: a conversation belongs to no shop of the market.
    """
    lines: dict[str | None, list[str]] = {shop.name: [] for shop in market.shops}
    for one in written:
        if one.client not in lines:
            raise DataError(
                f"{one.source or 'a conversation'} has the client {one.client!r}",
                allowed=", ".join(shop.name for shop in market.shops),
            )
        lines[one.client].append(json.dumps(_record(one), ensure_ascii=False) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    drafts: list[tuple[Path, Path]] = []
    try:
        for shop in market.shops:
            if lines[shop.name]:
                path = folder / f"{shop.id}.jsonl"
                drafts.append((path.with_suffix(".jsonl.part"), path))
                drafts[-1][0].write_text("".join(lines[shop.name]), encoding="utf-8", newline="\n")
        for draft, path in drafts:
            draft.replace(path)
    finally:
        for draft, _ in drafts:
            draft.unlink(missing_ok=True)
    return [path for _, path in drafts]


def _record(one: Conversation) -> dict[str, object]:
    """One line of a file: the conversation in OpenAI's form, and whose it is."""
    return {
        "messages": [_openai(message) for message in one.messages],
        "owner": one.owner,
        "client": one.client,
        "label": one.label,
    }


def _openai(message: Message) -> dict[str, object]:
    plain: dict[str, object] = {"role": message.role, "content": message.content}
    if not message.tool_calls:
        return plain
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return {**plain, "tool_calls": calls}
