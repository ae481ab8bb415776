"""Numbers and addresses that stand in for real ones: well formed, and nobody's. Pure.

Where a range is set aside for documents, fiction or tests, surrogates come from it: example.com,
192.0.2.0/24 and its two sisters, 2001:db8::/32, 00-00-5E-00-53, telephone numbers 555-0100 to 0199
and 07700 900000 to 900999, the card range 400000. Elsewhere they come from codes that no office has
given out: a bank called TEST, the area 990000 of Chinese identity numbers, mobile numbers that
begin with 1540000, births in 1900. Each form is recognised when the text is read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from sottovoce.data.pii.surrogates import GIVEN, Draw, is_han

_CREDIT_SIGNS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_ID_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_NETS: Final = ("192.0.2", "198.51.100", "203.0.113")
_LOCAL: Final = tuple(name.lower() for name in GIVEN["f"] + GIVEN["m"] if "-" not in name)


def luhn_digit(digits: str) -> str:
    """The digit that completes a card number.

    >>> luhn_digit("400000000000000")
    '2'
    """
    doubled = [int(sign) * (2 - place % 2) for place, sign in enumerate(reversed(digits))]
    return str(-sum(value - 9 * (value > 9) for value in doubled) % 10)


def id_digit(first: str) -> str:
    """The last sign of a Chinese identity number, after the other 17 (MOD 11-2 of GB 11643).

    >>> id_digit("11010519491231002")
    'X'
    """
    total = sum(int(sign) * weight for sign, weight in zip(first, _ID_WEIGHTS, strict=True))
    return "10X98765432"[total % 11]


def credit_sign(first: str) -> str:
    """The last sign of a unified social credit code, after the other 17 (GB 32100).

    >>> credit_sign("91350100M000100Y4")
    '3'
    """
    total = sum(_CREDIT_SIGNS.index(sign) * pow(3, place, 31) for place, sign in enumerate(first))
    return _CREDIT_SIGNS[-total % 31]


def iban_digits(country: str, account: str) -> str:
    """The two check digits of an IBAN (ISO 13616).

    >>> iban_digits("GB", "WEST12345698765432")
    '82'
    """
    number = "".join(str(int(sign, 36)) for sign in f"{account}{country}00")
    return f"{98 - int(number) % 97:02d}"


def _email(value: str, draw: Draw) -> str:
    name = _LOCAL[draw("given", value, len(_LOCAL))]
    return f"{name}{draw('number', value, 10**4):04d}@example.com"


def _url(value: str, draw: Draw) -> str:
    return f"https://example.com/{draw('path', value, 16**8):08x}"


def _ip(value: str, draw: Draw) -> str:
    if ":" in value:
        return f"2001:db8::{draw('host', value, 16**4):x}:{1 + draw('net', value, 16**3):x}"
    return f"{_NETS[draw('net', value, len(_NETS))]}.{1 + draw('host', value, 254)}"


def _mac(value: str, draw: Draw) -> str:
    between = "-" if "-" in value else ":"
    return between.join(["00", "00", "5E", "00", "53", f"{draw('host', value, 256):02X}"])


def _card(value: str, draw: Draw) -> str:
    first = f"400000{draw('number', value, 10**9):09d}"
    digits = first + luhn_digit(first)
    between = "-" if "-" in value else " " if " " in value else ""
    return between.join(digits[at : at + 4] for at in range(0, 16, 4))


def _iban(value: str, draw: Draw) -> str:
    account = f"TEST{draw('number', value, 10**14):014d}"
    return f"GB{iban_digits('GB', account)}{account}"


def _phone(value: str, draw: Draw) -> str:
    digits = re.sub(r"\D", "", value)
    national = digits.removeprefix("00").removeprefix("86")
    if len(national) == 11 and re.match("1[3-9]", national):
        return f"1540000{draw('number', national, 10**4):04d}"
    if digits.removeprefix("00").startswith("44") or re.fullmatch(r"07\d{9}", digits):
        return f"07700 900{draw('number', digits[-10:], 1000):03d}"
    area = 200 + draw("area", digits[-10:], 700)
    return f"{area}-555-01{draw('number', digits[-10:], 100):02d}"


def _chinese_id(value: str, draw: Draw) -> str:
    born = f"{1950 + draw('year', value, 55)}{1 + draw('month', value, 12):02d}"
    born += f"{1 + draw('day', value, 28):02d}"
    first = f"990000{born}{draw('order', value, 1000):03d}"
    return first + id_digit(first)


def _credit_code(value: str, draw: Draw) -> str:
    first = f"91000000{draw('number', value, 10**9):09d}"
    return first + credit_sign(first)


def _born(value: str, draw: Draw) -> str:
    month, day = 1 + draw("month", value, 12), 1 + draw("day", value, 28)
    return f"1900年{month}月{day}日" if is_han(value) else f"1900-{month:02d}-{day:02d}"


def _postcode(value: str, draw: Draw) -> str:  # noqa: ARG001 - there is but one of each
    return "000000" if len(re.sub(r"\D", "", value)) == 6 else "00000"


def plain(value: str, draw: Draw) -> str:
    """What stands in for a number without any reserved range."""
    return f"TEST-{draw('number', value, 10**6):06d}"


MAKERS: Final[Mapping[str, Callable[[str, Draw], str]]] = {
    "EMAIL": _email,
    "URL": _url,
    "IP_ADDRESS": _ip,
    "MAC_ADDRESS": _mac,
    "CREDIT_CARD": _card,
    "IBAN": _iban,
    "PHONE": _phone,
    "US_SSN": lambda value, draw: f"666-{draw('group', value, 99) + 1:02d}-{_four(value, draw)}",
    "CN_ID": _chinese_id,
    "CN_PLATE": lambda value, draw: f"测A{draw('number', value, 10**5):05d}",
    "CN_CREDIT_CODE": _credit_code,
    "WECHAT": lambda value, draw: f"wxid_test{draw('number', value, 10**6):06d}",
    "POSTCODE": _postcode,
    "DATE_OF_BIRTH": _born,
    **dict.fromkeys(
        ("DRIVER_LICENSE", "PASSPORT", "CN_PERMIT", "QQ", "ORDER_NUMBER", "ACCOUNT_NUMBER"), plain
    ),
}
"""How a surrogate of each structured kind is made, from the value and a draw."""


def _four(value: str, draw: Draw) -> str:
    return f"{1 + draw('serial', value, 9998):04d}"


def _valid_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return luhn_digit(digits[:-1]) == digits[-1]


_FORMS: Final[tuple[tuple[str, Callable[[str], bool] | None], ...]] = (
    (rf"(?:{'|'.join(_LOCAL)})[0-9]{{4}}@example\.com", None),
    (r"https://example\.com/[0-9a-f]{8}", None),
    (rf"(?:{'|'.join(map(re.escape, _NETS))})\.[0-9]{{1,3}}", None),
    (r"2001:db8::[0-9a-f]{1,4}:[0-9a-f]{1,4}", None),
    (r"00(?P<mac>[-:])00(?P=mac)5E(?P=mac)00(?P=mac)53(?P=mac)[0-9A-F]{2}", None),
    (r"4000(?P<by>[ -]?)00[0-9]{2}(?P=by)[0-9]{4}(?P=by)[0-9]{4}", _valid_card),
    (r"GB[0-9]{2}TEST[0-9]{14}", lambda text: iban_digits("GB", text[4:]) == text[2:4]),
    (r"1540000[0-9]{4}", None),
    (r"07700 900[0-9]{3}", None),
    (r"[2-8][0-9]{2}-555-01[0-9]{2}", None),
    (r"666-[0-9]{2}-[0-9]{4}", None),
    (r"990000[12][0-9]{10}[0-9X]", lambda text: id_digit(text[:17]) == text[17]),
    (r"测A[0-9]{5}", None),
    (r"91000000[0-9]{9}[0-9A-Y]", lambda text: credit_sign(text[:17]) == text[17]),
    (r"wxid_test[0-9]{6}", None),
    (r"00000|000000", None),
    (r"1900-[0-9]{2}-[0-9]{2}|1900年[0-9]{1,2}月[0-9]{1,2}日", None),
    (r"TEST-[0-9]{6}", None),
)
_CHECKS: Final = {f"n{place}": check for place, (_, check) in enumerate(_FORMS)}
_OWN: Final = re.compile(
    "(?<![0-9A-Za-z])(?:"
    + "|".join(f"(?P<n{place}>{form})" for place, (form, _) in enumerate(_FORMS))
    + ")(?![0-9A-Za-z])"
)


def own_numbers(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where surrogates of this file stand in a part of a text."""
    for found in _OWN.finditer(text, start, end):
        valid = _CHECKS[str(found.lastgroup)]
        if valid is None or valid(found[0]):
            yield found.span()
