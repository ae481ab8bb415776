"""Values for the slots of the English patterns: people, firms, towns, addresses, and plain things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from tagger_names import Names, pinyin_family, pinyin_given
from tagger_values import (
    CITY_HEADS,
    COIN_A,
    COIN_B,
    COIN_C,
    FIRM_ENDS,
    FIRM_KNOWN,
    FIRM_NOUNS,
    FIRM_WORDS,
    FOREIGN,
    POSTAL_AREAS,
    STREET_NAMES,
    STREETS,
)
from tagger_words import WORDS_EN, words

T = TypeVar("T")


class EnglishValues:
    """Draws values for the slots of the English patterns.

    Args:
        names: what to draw from.
        rng: the only source of chance.
    """

    def __init__(self, names: Names, rng: np.random.Generator) -> None:
        self.names = names
        self.rng = rng
        self._pinyin = pinyin_family(), pinyin_given()
        self._common_given = names.given[:1100]
        self._common_family = names.family[:1300]
        self._common_cities = names.cities[:160]
        self._common_words = [*WORDS_EN, *names.words]

    def pick(self, values: Sequence[T]) -> T:
        """One of several values, each equally likely."""
        return values[int(self.rng.random() * len(values))]

    def chance(self, share: float) -> bool:
        """Whether something that happens so often happens now."""
        return bool(self.rng.random() < share)

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self.rng.random() * (high - low + 1))

    def letters(self, least: int, most: int) -> str:
        """So many large letters."""
        return "".join(chr(65 + self.number(0, 25)) for _ in range(self.number(least, most)))

    def word(self) -> str:
        """A plain word, most often a common one."""
        return self.pick(self.names.dictionary if self.chance(0.15) else self._common_words)

    # --- people ---------------------------------------------------------------------------------

    def _blend(self, values: Sequence[str]) -> str:
        """A name that nobody bears: the beginning of one and the end of another."""
        first, second = self.pick(values), self.pick(values)
        return (first[: self.number(2, 5)] + second[-self.number(3, 5) :]).replace(" ", "").title()

    def first(self) -> str:
        """A given name."""
        share = self.rng.random()
        if share < 0.03:
            return self.pick(self.names.other_given)
        if share < 0.40:
            name = self.pick(self._common_given)
        elif share < 0.86:
            name = self.pick(self.names.given)
        elif share < 0.96:
            name = self._blend(self.names.given)
        else:
            name = self.pick(self._pinyin[1])
        return name.title() if name.isupper() else name

    def last(self) -> str:
        """A surname."""
        share = self.rng.random()
        if share < 0.03:
            return self.pick(self.names.other_family)
        if share < 0.35:
            name = self.pick(self._common_family)
        elif share < 0.82:
            name = self.pick(self.names.family)
        elif share < 0.94:
            name = self._blend(self.names.family)
        else:
            name = self.pick(self._pinyin[0])
        return name.title() if name.isupper() else name

    def name(self) -> str:
        """A person as a text may call them, most often by two names."""
        initial = chr(65 + self.number(0, 25))
        share = self.rng.random()
        if share < 0.52:
            return f"{self.first()} {self.last()}"
        if share < 0.64:
            return f"{self.first()} {initial}{self.pick(['.', '.', ''])} {self.last()}"
        if share < 0.70:
            return self.first()
        if share < 0.74:
            return f"{self.first()} {self.first()} {self.last()}"
        if share < 0.78:
            return f"{self.first()} {self.last()}{self.pick(['-', ' '])}{self.last()}"
        if share < 0.82:
            particle = self.pick(words("de van von al bin del della da dos van der de la ibn el-"))
            return f"{self.first()} {particle} {self.last()}"
        if share < 0.86:
            return f"{initial}. {self.pick(['', chr(65 + self.number(0, 25)) + '. '])}{self.last()}"
        if share < 0.92:
            family, given = self.pick(self._pinyin[0]), self.pick(self._pinyin[1])
            return f"{family} {given}" if self.chance(0.5) else f"{given} {family}"
        if share < 0.95:
            ending = self.pick(["Jr.", "Jr", "Sr.", "II", "III", "Esq.", "PhD", "MD"])
            return f"{self.first()} {self.last()}{self.pick([' ', ', '])}{ending}"
        return f"{self.first()}-{self.first()} {self.last()}"

    # --- organisations --------------------------------------------------------------------------

    def _coined(self) -> str:
        word = self.pick(COIN_A) + self.pick([*COIN_B, ""]) + self.pick(COIN_C)
        return self.pick([word.capitalize(), word.capitalize(), word.upper()[:4], word.title()])

    def org(self) -> str:
        """An organisation."""
        share, last = self.rng.random(), self.last()
        if share < 0.14:
            return f"{last}{self.pick([' ', ', '])}{self.pick(FIRM_ENDS)}"
        if share < 0.22:
            return f"{last}-{self.last()}"
        if share < 0.255:
            joint = self.pick([" and ", " & ", ", and "])
            return f"{last}, {self.last()}{joint}{self.last()}"
        if share < 0.29:
            return " ".join(
                self.pick(self.names.words).capitalize() for _ in range(self.number(2, 3))
            )
        if share < 0.31:
            return f"{last} & {self.last()}"
        if share < 0.40:
            return f"{last} {self.pick(FIRM_NOUNS)}"
        if share < 0.50:
            ending = self.pick(FIRM_NOUNS) if self.chance(0.8) else self.pick(FIRM_ENDS)
            return f"{self.pick(FIRM_WORDS)} {self.pick([*FIRM_WORDS, ''])} {ending}".replace(
                "  ", " "
            )
        if share < 0.56:
            return f"{self.pick(FIRM_WORDS)}{self.pick(['', ' '])}{self.pick(FIRM_WORDS).lower() if self.chance(0.5) else self.pick(FIRM_WORDS)}"
        if share < 0.72:
            return self._coined() + self.pick(["", "", "", f" {self.pick(FIRM_ENDS)}"])
        if share < 0.80:
            return f"{self.city()} {self.pick(FIRM_NOUNS)}"
        if share < 0.86:
            return self.pick(
                [
                    f"University of {self.city()}",
                    f"St. {self.first()}'s {self.pick(['Hospital', 'School', 'Church', 'College'])}",
                    f"Bank of {self.place()}",
                    f"Ministry of {self.pick(['Health', 'Justice', 'Education', 'Finance'])}",
                    f"{self.pick(['Department', 'Institute'])} of {self.pick(FIRM_WORDS)} Studies",
                    f"FC {self.city()}",
                    f"{self.first()}'s {self.pick(['Bakery', 'Diner', 'Pizza', 'Garage', 'Salon'])}",
                ]
            )
        if share < 0.90:
            return "".join(chr(65 + self.number(0, 25)) for _ in range(self.number(2, 4)))
        return self.pick(FIRM_KNOWN)

    # --- places and addresses -------------------------------------------------------------------

    def city(self) -> str:
        """A town."""
        share = self.rng.random()
        if share < 0.04:
            name = self.pick(self.names.other_cities)
            return name.upper() if self.chance(0.5) else name
        if share < 0.35:
            return self.pick(self._common_cities)
        if share < 0.80:
            name = self.pick(self.names.cities)
        elif share < 0.90:
            name = self.last() + self.pick(
                words("ville ton bury ford stad berg burg by land shire")
            )
        else:
            name = f"{self.pick(CITY_HEADS)} {self.last()}"
        return name.upper() if self.chance(0.12) else name

    def country(self) -> str:
        """A country or region."""
        return self.pick(self.names.countries)

    def place(self) -> str:
        """A town or country, sometimes one in the other."""
        share = self.rng.random()
        if share < 0.35:
            return self.country()
        return self.city()

    def _street_name(self) -> str:
        share = self.rng.random()
        if share < 0.4:
            return self.pick(STREET_NAMES)
        if share < 0.7:
            return self.last()
        if share < 0.85:
            return self.first()
        return f"{self.first()} {self.last()}"

    def street(self) -> str:
        """A street, most often with a number."""
        number = f"{self.number(1, 10 ** self.number(1, 5))}{self.pick(['', '', '', '', 'a', 'B'])}"
        if self.chance(0.55):
            name = f"{self._street_name()} {self.pick(STREETS)}"
            heading = self.pick(["", "", "", "N ", "S. ", "West ", "E "])
            ahead = f"{self.number(1, 9999)} " if self.chance(0.1) else ""
            return f"{ahead}{number} {heading}{name}" if self.chance(0.85) else name
        pattern = self.pick(FOREIGN)
        base = self.last() if self.chance(0.6) else self.pick(self.names.cities)
        text = pattern.replace("{x}", base).replace("{f}", self.first()).replace("{n}", number)
        if self.chance(0.2):
            text = f"{self.number(1, 99999)} {text}"
        return text

    def _zip(self) -> str:
        return self.pick(
            [
                f"{self.number(10000, 99999)}",
                f"{self.number(10000, 99999)}",
                f"0{self.number(1000, 9999)}",
                f"{self.number(1000, 9999)}",
                f"{self.number(10000, 99999)}-{self.number(1000, 9999)}",
                f"{self.number(100, 999)} {self.number(10, 99)}",
                f"{self.number(1000, 9999)} {chr(65 + self.number(0, 25))}{chr(65 + self.number(0, 25))}",
                f"{self.pick(POSTAL_AREAS)}{self.number(1, 20)} {self.number(1, 9)}AB",
                f"{self.pick('KMVT')}{self.number(1, 9)}A {self.number(1, 9)}B{self.number(1, 9)}",
                f"{self.number(10000, 99999)}-{self.number(100, 999)}",
            ]
        )

    def _state(self) -> str:
        if self.chance(0.7):
            return self.pick(
                words(
                    "AL AK AZ CA CO CT DE FL GA IL IN KS LA MA MD MI MN MO MP NC NJ NY OH OR PA TX UT VA WA WI NSW VIC QLD ON BC"
                )
            )
        return self.pick(self.names.countries)

    def addr(self) -> str:
        """A whole address, on one line or several."""
        unit = self.pick(
            ["Apt. ", "Apt ", "Suite ", "Unit ", "Flat ", "#", "Floor ", "Room ", "apt "]
        )
        inner = f"{unit}{self.number(1, 999):0{self.number(1, 3)}d}"
        share = self.rng.random()
        if share < 0.05:
            box = self.number(100, 9999)
            head = self.pick(
                [f"PSC {box}, Box {self.number(1, 9999)}", f"Unit {box:04d} Box {box}"]
            )
            tail = f"{self.pick(['APO', 'FPO', 'DPO'])} {self.pick(['AA', 'AE', 'AP'])} {self._zip()[:5]}"
            return f"{head}{self.pick([chr(10), ', '])}{tail}"
        if share < 0.06:
            ship = f"{self.pick(['USNS', 'USS', 'USCGC', 'USNV', 'HMS'])} {self.last()}"
            return f"{ship}{self.pick([chr(10), ', '])}{self.pick(['APO', 'FPO'])} {self.pick(['AA', 'AE', 'AP'])} {self.number(10000, 99999)}"
        if share < 0.075:
            return f"the corner of {self.street()} and {self.street()}"
        if share < 0.11:
            street = f"{self.pick(['P.O. Box', 'PO Box', 'P.O.Box'])} {self.number(1, 9999)}"
        else:
            street = self.street()
        parts = [street]
        if self.chance(0.35):
            parts.append(inner)
        style = self.rng.random()
        if style < 0.2:
            return self.pick([", ", " "]).join(parts)
        city = self.city().upper() if self.chance(0.2) else self.city()
        place = self.pick(
            [
                [f"{city}, {self._state()} {self._zip()}"],
                [f"{city}, {self._state()} {self._zip()}"],
                [city, self._state(), self._zip()],
                [f"{self._zip()} {city}"],
                [f"{self._zip()} {city}", self.country()],
                [city, self.country()],
                [city, f"{self.country()} {self._zip()}"],
                [f"{city} {self._zip()}"],
                [f"{city} {self._state()} {self._zip()}"],
                [city],
            ]
        )
        joint = self.pick([", ", ", ", ", ", "\n", "\n", "\n ", " ", ",\n", "\n, "])
        return joint.join([*parts, *place])

    def domain(self) -> str:
        """A name on the network, often made of names and words."""
        words_, pick = self.names.words, self.pick
        first = pick([self.first(), self.last(), self._coined(), pick(words_)])
        rest = pick(["", "", f"-{pick(words_)}", pick(words_)])
        ends = [
            "com",
            "com",
            "org",
            "net",
            "hu",
            "us",
            "de",
            "co.uk",
            "io",
            "cn",
            "info",
            "example",
        ]
        return f"{first}{rest}.{pick(ends)}".replace(" ", "").lower()

    # --- what is nobody's -----------------------------------------------------------------------

    def named(self) -> dict[str, tuple[str, Callable[[], str]]]:
        """Slots whose values are to be found, with their kind."""
        return {
            "name": ("PERSON", self.name),
            "first": ("PERSON", self.first),
            "last": ("PERSON", self.last),
            "org": ("ORGANIZATION", self.org),
            "place": ("PLACE", self.place),
            "city": ("PLACE", self.city),
            "country": ("PLACE", self.country),
            "addr": ("ADDRESS", self.addr),
            "street": ("ADDRESS", self.street),
        }
