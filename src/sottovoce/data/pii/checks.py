"""Check digits and the other rules that tell a number of some kind from any number. Pure.

Everything here takes what was written without spaces, hyphens and full-width forms.
"""

from __future__ import annotations

import ipaddress
from datetime import date
from typing import Final

_IBANS: Final = (
    "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 "
    "CZ:24 DE:22 DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 "
    "GL:18 GR:27 GT:28 HN:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 "
    "LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 "
    "NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 "
    "SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30"
)
_IBAN_LENGTHS: Final = {pair[:2]: int(pair[3:]) for pair in _IBANS.split()}

# What a card number may begin with, and how many digits it then has.
_CARD_BRANDS: Final = (
    (("4",), (13, 16, 19)),
    (tuple(str(n) for n in range(51, 56)), (16,)),
    (tuple(str(n) for n in range(2221, 2721)), (16,)),
    (tuple(str(n) for n in range(2200, 2205)), (16, 17, 18, 19)),
    (("34", "37"), (15,)),
    (("2131", "1800"), (15,)),
    (("35",), (16,)),
    (("300", "301", "302", "303", "304", "305", "3095", "36", "38", "39"), (14, 16)),
    (("6011", "64", "65"), (16, 19)),
    (("62",), (16, 17, 18, 19)),
    (("81",), (16, 17, 18, 19)),
    (("0604", "50", "56", "57", "58", "6304", "6390", "67"), tuple(range(12, 20))),
    (("9558", "95599", "6013", "6034"), (16, 19)),
)

_PROVINCES: Final = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 "
    "71 81 82 83 91"
)
_CN_PROVINCES: Final = frozenset(_PROVINCES.split())
_CREDIT_CODE_LETTERS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_TAIWAN_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVXYWZIO"


def luhn(digits: str) -> bool:
    """Whether the last digit is the one that Luhn's formula asks for.

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def card(digits: str) -> bool:
    """Whether a card of a known brand can have this number: first digits, length and Luhn."""
    known = any(
        len(digits) in lengths and digits.startswith(firsts) for firsts, lengths in _CARD_BRANDS
    )
    return known and luhn(digits)


def iban_length(country: str) -> int | None:
    """How many characters an IBAN of this country has, or None where there are none."""
    return _IBAN_LENGTHS.get(country.upper())


def iban(text: str) -> bool:
    """Whether this is an IBAN: its country's length, and 1 modulo 97 (ISO 13616).

    >>> iban("GB82WEST12345698765432"), iban("GB82WEST12345698765433")
    (True, False)
    """
    if iban_length(text[:2]) != len(text) or not text.isascii() or not text.isalnum():
        return False
    # A base-36 digit is the value that the standard gives a letter.
    return int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def is_date(year: int, month: int, day: int) -> bool:
    """Whether the calendar has this day."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def cn_id(text: str) -> bool:
    """Whether a resident of China can have this identity number (GB 11643: ISO 7064 MOD 11-2).

    The province must exist, the birthday must be in the calendar. The four digits of the county
    are not looked up: codes that were abolished stay in the numbers of those who got them.

    >>> cn_id("11010519491231002X"), cn_id("110105194912310021")
    (True, False)
    """
    if (
        len(text) != 18
        or not (text.isascii() and text[:17].isdigit())
        or text[:2] not in _CN_PROVINCES
    ):
        return False
    if not 1850 <= int(text[6:10]) <= 2100:
        return False
    if not is_date(int(text[6:10]), int(text[10:12]), int(text[12:14])):
        return False
    remainder = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
    return "10X98765432"[remainder % 11] == text[17].upper()


def cn_id_15(text: str) -> bool:
    """Whether this can be an identity number from before 1999, which has no check digit."""
    return (
        len(text) == 15
        and text.isascii()
        and text.isdigit()
        and text[:2] in _CN_PROVINCES
        and is_date(1900 + int(text[6:8]), int(text[8:10]), int(text[10:12]))
    )


def cn_credit_code(text: str) -> bool:
    """Whether an organisation in China can have this unified code (GB 32100: modulo 31).

    >>> cn_credit_code("91350100M000100Y43"), cn_credit_code("91350100M000100Y44")
    (True, False)
    """
    signs = text.upper()
    if len(signs) != 18 or any(sign not in _CREDIT_CODE_LETTERS for sign in signs):
        return False
    if signs[0] not in "123456789AGNY" or not signs[2:8].isdigit():
        return False
    total = sum(
        _CREDIT_CODE_LETTERS.index(sign) * pow(3, place, 31)
        for place, sign in enumerate(signs[:17])
    )
    return _CREDIT_CODE_LETTERS[-total % 31] == signs[17]


def taiwan_id(text: str) -> bool:
    """Whether a resident of Taiwan can have this number.

    >>> taiwan_id("A123456789"), taiwan_id("A123456788")
    (True, False)
    """
    if len(text) != 10 or text[0].upper() not in _TAIWAN_LETTERS or text[1] not in "1289":
        return False
    first = 10 + _TAIWAN_LETTERS.index(text[0].upper())
    weights = (8, 7, 6, 5, 4, 3, 2, 1, 1)
    rest = sum(int(digit) * weight for digit, weight in zip(text[1:], weights, strict=True))
    return (first // 10 + first % 10 * 9 + rest) % 10 == 0


def hong_kong_id(text: str) -> bool:
    """Whether a resident of Hong Kong can have this number, the check sign included.

    >>> hong_kong_id("A1234563"), hong_kong_id("A1234564")
    (True, False)
    """
    signs = text.upper().rjust(9)
    values = [36 if sign == " " else int(sign, 36) for sign in signs]
    return sum(value * (9 - place) for place, value in enumerate(values)) % 11 == 0


def us_ssn(digits: str) -> bool:
    """Whether a social security number can be this: no group of zeros, no area 666 or 9xx."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return (
        len(digits) == 9
        and area not in ("000", "666")
        and area[0] != "9"
        and group != "00"
        and serial != "0000"
    )


def ipv6(text: str) -> bool:
    """Whether this is an IPv6 address that says where somebody is.

    A group of three or more signs is asked for, so that ``a::b`` of a program is none.
    """
    if all(len(group) < 3 for group in text.split(":")):
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
