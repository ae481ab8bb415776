"""What a language needs to let customers ask and shops answer: topics, rules and set phrases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sottovoce.data.lexicon import Language

About = Literal["shop", "product", "order", "purchase"]
Mood = Literal["calm", "sorry", "glad"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One thing that customers write about, and what every shop answers.

    Args:
        intent: the conversation's label; the English name of one of the lexicon's ``INTENTS``.
        about: what the question is about. A product is any of the catalogue, a purchase is a
            product of a delivered order, an order is looked up with a tool.
        needs: what the product or order must have for the question to make sense; a key of the
            scene's cases with the wanted values, as ``key=value,value``, or empty.
        ask: pattern of the question; ``<x>`` stands for the product, ``<o>`` for the order.
        depends: key of the scene's cases that chooses the reply, or empty.
        reply: pattern of the answer by case; the only key is empty where ``depends`` is.
        opener: what the first answer of a conversation says before it comes to the point.
        mood: how the last answer closes.
        contact: whether the answer promises to write or call where the customer said how.
    """

    intent: str
    about: About
    ask: str
    reply: Mapping[str, str]
    depends: str = ""
    needs: str = ""
    opener: str = ""
    mood: Mood = "calm"
    contact: bool = False


@dataclass(frozen=True, slots=True)
class Phrasebook:
    """All patterns of one language.

    Args:
        language: which.
        system: the system message.
        rules: named patterns; ``x`` and ``o`` are set per turn from the four that follow.
        product, same_product: how a customer names a product, first and again.
        order, no_order: how a customer names an order, with and without its number.
        frame: the customer's first turn around ``{ask}`` and ``{intro}``.
        intros: how customers present themselves; may hold name, telephone and e-mail.
        again: a later turn of the customer around ``{ask}``.
        greeting, greeting_named: how every first answer begins.
        missing: what the shop says when the order's number is missing.
        supply: how the customer then gives it.
        write, call: promise to write to the e-mail address, to call the number.
        thanks, welcome: the customer's last word, and the answer to it.
        closings: by mood.
        gap: what stands between two sentences.
        habits: how some customers write in haste: usual form and short form, as whole words.
        slips: typing errors as usual form and slip; empty where letters are swapped instead.
        topics: by name.
    """

    language: Language
    system: str
    rules: Mapping[str, str]
    product: str
    same_product: str
    order: str
    no_order: str
    frame: str
    intros: str
    again: str
    greeting: str
    greeting_named: str
    missing: str
    supply: str
    write: str
    call: str
    thanks: str
    welcome: str
    closings: Mapping[Mood, str]
    gap: str
    habits: tuple[tuple[str, str], ...]
    slips: tuple[tuple[str, str], ...]
    topics: Mapping[str, Topic]
