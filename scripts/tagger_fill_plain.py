"""Values for the slots of the English patterns in which nobody is named."""

from __future__ import annotations

import re
from collections.abc import Callable

from tagger_fill_en import EnglishValues
from tagger_values import BRAND_ENDS, COLOURS, DAYS, LANGUAGES, MONTHS, SYLLABLES, TITLE_WORDS
from tagger_words import ACRONYMS, DRUGS_EN, NATIONS, PRODUCTS_EN


def brand(values: EnglishValues) -> str:
    """A name that something may be sold under."""
    middle = "".join(values.pick(SYLLABLES) for _ in range(values.number(1, 2)))
    return f"{values.pick(SYLLABLES)}{middle}{values.pick(BRAND_ENDS)}".capitalize()


def title(values: EnglishValues) -> str:
    """The title of a song, a film or a book; people and towns may stand in it."""
    count = values.number(1, 3)
    found = [values.word().capitalize() for _ in range(count)]
    if values.chance(0.2):
        found.append(values.pick([values.first, values.city])())
    if values.chance(0.6):
        found.insert(values.number(0, count), values.pick(TITLE_WORDS))
    return " ".join(found)


def plain(values: EnglishValues) -> dict[str, Callable[[], str]]:
    """Slots whose values are no personal name."""
    n, pick = values.number, values.pick
    return {
        "acr": lambda: pick(ACRONYMS) if values.chance(0.6) else values.letters(2, 4),
        "initial": lambda: chr(65 + n(0, 25)),
        "phone": lambda: re.sub(
            "#",
            lambda _: str(n(0, 9)),
            pick(
                [
                    "###-###-####",
                    "(###)###-####x###",
                    "+## ### ### ###",
                    "0### ## ## ##",
                    "##########",
                    "+1-###-###-####",
                ]
            ),
        ),
        "email": lambda: (
            (
                f"{values.first()}{pick(['.', '', '_', '-', pick('ABCDEFGHJKLMNRSTW')])}"
                f"{values.last()}{pick(['', '', str(n(1, 99))])}@{values.domain()}"
            ).replace(" ", "")
            if values.chance(0.5)
            else (f"{values.first()}{pick(['.', '_', ''])}{values.last()}@{values.domain()}")
            .lower()
            .replace(" ", "")
        ),
        "iban": lambda: (
            f"{pick(['DE', 'GB', 'FR', 'NL', 'ES', 'IT', 'SE', 'CH'])}{n(10, 99)}"
            + pick(["", " "])
            + pick(["".join, " ".join])(
                [
                    pick([f"{n(1000, 9999)}", "".join(chr(65 + n(0, 25)) for _ in range(4))])
                    for _ in range(n(3, 6))
                ]
            )
        ),
        "domain": values.domain,
        "url": lambda: f"www.{values.word()}{values.word()}.example",
        "card": lambda: " ".join(str(n(1000, 9999)) for _ in range(4)).replace(
            " ", pick(["", " ", "-"])
        ),
        "num": lambda: pick(
            [str(n(1, 30)), str(n(100, 99999)), f"{pick('ABKPQX')}{n(10, 99)}-{n(1000, 9999)}"]
        ),
        "date": lambda: pick(
            [
                f"{n(1, 28)} {pick(MONTHS)} {n(1950, 2026)}",
                f"{pick(MONTHS)} {n(1, 28)}, {n(1950, 2026)}",
                f"{n(1, 12):02d}/{n(1, 28):02d}/{n(1950, 2026)}",
                f"{n(1950, 2026)}-{n(1, 12):02d}-{n(1, 28):02d}",
                f"{pick(MONTHS)} {n(1, 28)}",
            ]
        ),
        "time": lambda: pick(
            [
                f"{n(0, 23)}:{n(0, 59):02d}",
                f"{n(1, 12)} {pick(['am', 'pm', 'p.m.'])}",
                f"{n(1, 12)}{pick(['am', 'pm'])}",
            ]
        ),
        "day": lambda: pick(DAYS),
        "weekday": lambda: pick(DAYS),
        "month": lambda: pick(MONTHS),
        "year": lambda: str(n(1890, 2026)),
        "age": lambda: str(n(1, 99)),
        "money": lambda: pick(
            [
                f"${n(1, 9999)}",
                f"{n(1, 999)} euros",
                f"£{n(1, 99)}.{n(10, 99)}",
                f"{n(1, 90)} million dollars",
                f"USD {n(10, 99999)}",
            ]
        ),
        "product": lambda: pick(PRODUCTS_EN),
        "job": lambda: (
            pick(values.names.jobs).lower() if values.chance(0.5) else pick(values.names.jobs)
        ),
        "drug": lambda: pick(DRUGS_EN),
        "nat": lambda: pick(NATIONS),
        "language": lambda: pick(LANGUAGES),
        "colour": lambda: pick(COLOURS),
        "sign": lambda: pick(["!", ".", "?", "...", ",", " :)", "!!"]),
        "Title": lambda: title(values),
        "Brand": lambda: brand(values),
        "word": values.word,
        "Word": lambda: values.word().capitalize(),
        "WORD": lambda: values.word().upper(),
        "bar": lambda: "|",
        "lb": lambda: "{",
        "rb": lambda: "}",
        "lt": lambda: "<",
        "gt": lambda: ">",
    }
