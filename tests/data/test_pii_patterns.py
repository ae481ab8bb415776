"""Recognisers find what has a form, whatever stands around it, and leave other numbers alone."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import phonenumbers
import pytest
from faker import Faker
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sottovoce.data.pii import checks, phones
from sottovoce.data.pii.detector import make_detector
from sottovoce.data.pii.page import read
from sottovoce.data.pii.settings import PiiSettings
from sottovoce.data.pii.span import STRUCTURED, Span

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
JUDGE = Path(__file__).resolve().parents[1] / "vectors" / "scrub_zh.jsonl"
DETECTOR = make_detector(PiiSettings(kinds=STRUCTURED))
ENGLISH, CHINESE = Faker("en_US"), Faker("zh_CN")
BRITISH = Faker("en_GB")


def found(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in DETECTOR.spans(text)]


def check_spans(text: str, spans: list[Span]) -> None:
    """In order, inside the text, not empty, no two overlap."""
    end = 0
    for span in spans:
        assert end <= span.start < span.end <= len(text)
        end = span.end


# --- whatever stands around ----------------------------------------------------------------------

# Kind, what Faker makes of it, and the signs that may not stand beside it.
MADE = {
    "CREDIT_CARD": lambda: ENGLISH.credit_card_number(),
    "CN_ID": lambda: CHINESE.ssn(),
    "IBAN": lambda: BRITISH.iban(),
    "EMAIL": lambda: ENGLISH.ascii_email(),
    "US_SSN": lambda: ENGLISH.ssn(),
    "IP_ADDRESS": lambda: ENGLISH.ipv4_public(),
    "MAC_ADDRESS": lambda: ENGLISH.mac_address(),
    "PHONE": lambda: CHINESE.phone_number(),
    "URL": lambda: ENGLISH.url(),
}
JOINING = "-.+_/:@(%&'*#!$=?^`{|}~,;)[]\"\\<>"
NEIGHBOURS = st.characters(
    codec="utf-8", exclude_characters=JOINING, exclude_categories=["Mn"]
).filter(lambda sign: read(sign).folded not in JOINING)
AROUND = st.text(NEIGHBOURS, max_size=12) | st.sampled_from(
    ["我的号码是", "，谢谢", "已经发给你了请查收", " ", "\n", "é", "字", "。", "收", "（", "）"]
)


def plain(sign: str) -> bool:
    """Whether a Latin letter or a digit stands there, in whatever form."""
    folded = read(sign).folded
    return (folded.isascii() and folded.isalnum()) or (sign.lower().isalpha() and ord(sign) < 0x250)


@settings(max_examples=40, deadline=None)
@given(AROUND, AROUND, st.integers(0, 10**6))
@pytest.mark.parametrize("kind", MADE)
def test_found_whatever_stands_around(kind: str, before: str, after: str, seed: int) -> None:
    Faker.seed(seed)
    value = MADE[kind]()
    assume(not (before and plain(before[-1])) and not (after and plain(after[0])))
    assume(not re.search(r"[0-9]", read(before + after).folded))
    text = before + value + after
    spans = DETECTOR.spans(text)
    check_spans(text, spans)
    start, end = len(before), len(before) + len(value)
    assert any(s.kind == kind and s.start <= start and s.end >= end for s in spans), spans
    if kind not in ("EMAIL", "URL"):
        assert (kind, value) in found(text)


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(), max_size=60)
    | st.text("0123456789-. ()+@:xX年月日生订单号QQvx微信", max_size=60)
)
def test_any_text_can_be_read(text: str) -> None:
    spans = DETECTOR.spans(text)
    check_spans(text, spans)
    assert spans == DETECTOR.spans(text)


@given(st.text(st.characters(), max_size=40))
@example("İ")
def test_every_sign_stays_at_its_place(text: str) -> None:
    page = read(text)
    assert len(page.text) == len(page.folded) == len(page.lowered)
    for sign, folded, lowered in zip(text, page.folded, page.lowered, strict=True):
        assert sign == folded or folded.isascii()
        assert not "A" <= lowered <= "Z"


def test_a_letter_that_becomes_two_moves_nothing() -> None:
    text = "İ" * 5 + " mail a@b.example.com"
    assert found(text) == [("EMAIL", "a@b.example.com")]
    assert read("İA").lowered == "İa"
    assert read("ÉA").lowered == "éa"


# --- check digits --------------------------------------------------------------------------------

PUBLISHED = [
    ("IBAN", "GB82 WEST 1234 5698 7654 32"),
    ("IBAN", "DE89370400440532013000"),
    ("IBAN", "FR14 2004 1010 0505 0001 3M02 606"),
    ("IBAN", "MT84MALT011000012345MTLCAST001S"),
    ("CREDIT_CARD", "4111 1111 1111 1111"),
    ("CREDIT_CARD", "5500005555555559"),
    ("CREDIT_CARD", "3782 822463 10005"),
    ("CREDIT_CARD", "30569309025904"),
    ("CREDIT_CARD", "6011111111111117"),
    ("CN_ID", "11010519491231002X"),
    ("CN_ID", "440524188001010014"),
    ("CN_CREDIT_CODE", "91350100M000100Y43"),
    ("CN_ID", "A123456789"),
    ("CN_ID", "A123456(3)"),
    ("IP_ADDRESS", "2001:db8::8a2e:370:7334"),
]


@pytest.mark.parametrize(("kind", "value"), PUBLISHED)
def test_published_examples(kind: str, value: str) -> None:
    assert found(f"see {value}, thanks") == [(kind, value)]
    assert found(f"看看{value}谢谢") == [(kind, value)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [pair for pair in PUBLISHED if pair[0] != "IP_ADDRESS" and "(" not in pair[1]],
)
def test_a_wrong_check_digit_is_no_find(kind: str, value: str) -> None:
    """Of all other last signs none keeps the rule; ISO 7064 and Luhn find every single error."""
    signs = "0123456789X" if kind == "CN_ID" and len(value) == 18 else "0123456789"
    for sign in signs.replace(value[-1], ""):
        wrong = value[:-1] + sign
        assert (kind, wrong) not in found(f"see {wrong}, thanks")


@pytest.mark.parametrize(
    ("valid", "invalid"),
    [
        ("001-01-0001", "000-01-0001"),
        ("665-99-9999", "666-12-3456"),
        ("899-01-0001", "900-12-3456"),
    ],
)
def test_social_security_numbers_that_are_given_out(valid: str, invalid: str) -> None:
    assert found(f"({valid})") == [("US_SSN", valid)]
    assert ("US_SSN", invalid) not in found(f"({invalid})")
    assert not checks.us_ssn("123001234")
    assert not checks.us_ssn("123450000")


def with_check_sign(body: str) -> str:
    """ISO 7064 MOD 11-2 as GB 11643 writes it out."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(sign) * weight for sign, weight in zip(body, weights, strict=True))
    return body + "10X98765432"[total % 11]


@pytest.mark.parametrize(
    ("body", "exists"),
    [
        ("51020219700101123", True),  # 510202, in Chongqing until 1997, is in no table of today
        ("51020219700230123", False),
        ("51020219701301123", False),
        ("99020219700101123", False),
        ("51020217000101123", False),
        ("51020221990101123", False),
    ],
)
def test_old_area_codes_are_known_and_days_that_never_were_are_not(body: str, exists: bool) -> None:
    assert checks.cn_id(with_check_sign(body)) is exists


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (checks.iban, ""),
        (checks.iban, "DE8937040044053201300"),
        (checks.iban, "GB82 WEST 12345698765432"[:22]),
        (checks.iban, "GB82WEST1234569876543２"),
        (checks.iban, "ZZ82WEST12345698765432"),
        (checks.cn_id, ""),
        (checks.cn_id, "11010519491231002"),
        (checks.cn_id, "1101051949123100２X"),
        (checks.cn_id_15, "13050367040100"),
        (checks.cn_id_15, "130503671301001"),
        (checks.cn_id_15, "990503670401001"),
        (checks.cn_id_15, "13050367040１001"),
        (checks.cn_id_15, "13050367040a001"),
        (checks.cn_credit_code, "91350100M000100Y4"),
        (checks.cn_credit_code, "91350100I000100Y43"),
        (checks.cn_credit_code, "41350100M000100Y43"),
        (checks.cn_credit_code, "9135010AM000100Y43"),
        (checks.taiwan_id, "A12345678"),
        (checks.taiwan_id, "1123456789"),
        (checks.taiwan_id, "A323456787"),
        (checks.us_ssn, "12345678"),
        (checks.us_ssn, "900123456"),
        (checks.ipv6, "2001:db8:::1"),
        (checks.ipv6, "a::b"),
    ],
)
def test_what_only_looks_alike_keeps_no_rule(check: Callable[[str], bool], text: str) -> None:
    assert not check(text)


def test_an_identity_number_outranks_a_card() -> None:
    """One in ten identity numbers passes Luhn, and some begin like cards."""
    Faker.seed(5)
    both = [n for n in (CHINESE.ssn() for _ in range(4000)) if n.isdigit() and checks.card(n)]
    assert both, "no number is both, and this test proves nothing"
    for number in both:
        assert found(f"号码{number}。") == [("CN_ID", number)]


def test_barcodes_and_times_are_no_cards() -> None:
    for value in ("6901234567892", "1700000000000", "4006381333931"):
        assert not [kind for kind, _ in found(f"see {value}") if kind == "CREDIT_CARD"] or (
            value.startswith("4") and checks.luhn(value)
        )


# --- telephone numbers ---------------------------------------------------------------------------

REGIONS = ("US", "GB", "DE", "FR", "IN", "CA", "AU", "CN", "HK", "TW", "IT", "ES", "NL", "JP", "SG")
MOBILE, FIXED = phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("kind", [MOBILE, FIXED], ids=["mobile", "fixed"])
def test_numbers_of_regions(region: str, kind: int) -> None:
    """phonenumbers' own example of every region, as it writes it itself."""
    number = phonenumbers.example_number_for_type(region, kind)
    form = phonenumbers.PhoneNumberFormat
    abroad = phonenumbers.format_number(number, form.INTERNATIONAL)
    assert found(f"reach me: {abroad}.") == [("PHONE", abroad)]
    solid = phonenumbers.format_number(number, form.E164)
    assert found(f"打给{solid}吧") == [("PHONE", solid)]
    home = phonenumbers.format_number(number, form.NATIONAL)
    assert found(f"phone {home}.") == [("PHONE", home)]
    if home.startswith("0"):
        assert found(f"Ask {home}.") == [("PHONE", home)]


@pytest.mark.parametrize("locale", ["en_US", "en_CA"])
def test_every_form_that_faker_gives_american_numbers(locale: str) -> None:
    fake = Faker(locale)
    fake.seed_instance(11)
    numbers = [fake.phone_number() for _ in range(400)]
    missed = [n for n in numbers if found(f"Phone: {n}\nthen") != [("PHONE", n)]]
    assert missed == []
    # Digits alone could be anything, and no area or exchange begins with 0 or 1, as some of these do.
    formed = [n for n in numbers if re.search(r"\D", n) and not re.search(r"(^| )[01]\d\d ", n)]
    assert [n for n in formed if found(f"it was {n}, yes") != [("PHONE", n)]] == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("打13800138000找我", "13800138000"),
        ("我138-0013-8000你记下", "138-0013-8000"),
        ("tel13800138000", "13800138000"),
        ("+8613800138000", "+8613800138000"),
        ("(+86)138 0013 8000", "(+86)138 0013 8000"),
        ("座机0755-88886666转801", "0755-88886666转801"),
        ("(010)62345678", "(010)62345678"),
        ("４００－８１０－８８８８在线", "４００－８１０－８８８８"),
        ("Fax: 9498777106", "9498777106"),
        ("打400-8108-888", "400-8108-888"),
        ("13800138000wx同号", "13800138000"),
        ("13800138000x12", "13800138000x12"),
        ("Phone: (99) 645-791", "(99) 645-791"),
        ("é13800138000", "13800138000"),
        ("ring 467 3395 now", "467 3395"),
        ("ＴＥＬ：１３８００１３８０００", "１３８００１３８０００"),
    ],
)
def test_forms_of_telephone_numbers(text: str, number: str) -> None:
    assert found(text) == [("PHONE", number)]


@pytest.mark.parametrize(
    "text",
    [
        "AB13800138000",
        "113800138000",
        "0.13800138000",
        "SKU-13800138000",
        "13800138000abc",
        "100 300 4000",
        "5 200 300 4000",
        "SKU-212-555-0123",
        "AB0612345678",
        "at 01.02.2024 10",
        "x+12345678901",
        "+12 345",
        "1-+1",
    ],
)
def test_digits_inside_a_code_are_no_mobile(text: str) -> None:
    assert "PHONE" not in dict(found(text))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Phone: 46733951 46733952 46733953", ["46733951", "46733952", "46733953"]),
        ("see 0612345678 0698765432 0623456789", ["0612345678", "0698765432", "0623456789"]),
        ("at +4915112345678 +33612345678", ["+4915112345678", "+33612345678"]),
        ("at +49 151 12345678 030 12345678", ["+49 151 12345678", "030 12345678"]),
        ("13800138000 13900139000", ["13800138000", "13900139000"]),
        ("room 10021-7471 212-605-3719", ["212-605-3719"]),
        ("phone 46733951 costs 46733952", ["46733951"]),
        ("电话62345678、62345679", ["62345678", "62345679"]),
    ],
)
def test_several_numbers_in_a_row(text: str, numbers: list[str]) -> None:
    assert found(text) == [("PHONE", number) for number in numbers]


def test_numbers_that_nobody_looked_up_any_more_are_taken_for_valid(monkeypatch) -> None:
    text = "0000000001, 0000000002, 0000000003"
    assert found(text) == []
    monkeypatch.setattr(phones, "ASKED_AT_MOST", 2)
    assert found(text) == [("PHONE", "0000000003")]


# --- words beside numbers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my driver's license number is F162823540116", [("DRIVER_LICENSE", "F162823540116")]),
        ("Passport no. C01X00T47? No: passport 123456789", [("PASSPORT", "123456789")]),
        ("SSN 123456789", [("US_SSN", "123456789")]),
        ("Order #112-3456789-1234567 is late", [("ORDER_NUMBER", "112-3456789-1234567")]),
        ("my account number is 00123456", [("ACCOUNT_NUMBER", "00123456")]),
        ("ZIP: 75534-030", [("POSTCODE", "75534-030")]),
        ("Springfield, IL 62704 is home", [("POSTCODE", "62704")]),
        ("Boise, ID 83702", [("POSTCODE", "83702")]),
        ("Toronto M5V 3L9", [("POSTCODE", "M5V 3L9")]),
        ("London SW1A 1AA", [("POSTCODE", "SW1A 1AA")]),
        ("born on March 3, 1990 in Rome", [("DATE_OF_BIRTH", "March 3, 1990")]),
        ("DOB: 03/05/1990", [("DATE_OF_BIRTH", "03/05/1990")]),
        ("微信号：wxid_ab12", [("WECHAT", "wxid_ab12")]),
        ("加我微信zhang-san_88聊", [("WECHAT", "zhang-san_88")]),
        ("vx：moonlight", [("WECHAT", "moonlight")]),
        ("QQ号是12345678，微信同号", [("QQ", "12345678")]),
        ("12345678是我的QQ", [("QQ", "12345678")]),
        ("订单号DD20240101-0001已发货", [("ORDER_NUMBER", "DD20240101-0001")]),
        ("运单SF1234567890123到了", [("ORDER_NUMBER", "SF1234567890123")]),
        ("护照E12345678", [("PASSPORT", "E12345678")]),
        ("港澳通行证C12345678", [("CN_PERMIT", "C12345678")]),
        ("台胞证号码12345678", [("CN_PERMIT", "12345678")]),
        ("老证130503670401001", [("CN_ID", "130503670401001")]),
        ("身份证130503670401001", [("CN_ID", "130503670401001")]),
        ("车牌粤B·12345停这", [("CN_PLATE", "粤B·12345")]),
        ("粤BD12345绿牌", [("CN_PLATE", "粤BD12345")]),
        ("京A12345警", [("CN_PLATE", "京A12345")]),
        ("邮编518000", [("POSTCODE", "518000")]),
        ("1990年3月5日出生", [("DATE_OF_BIRTH", "1990年3月5日")]),
        ("生于一九九〇年三月五日", [("DATE_OF_BIRTH", "一九九〇年三月五日")]),
        ("出生日期：１９９０－０３－０５", [("DATE_OF_BIRTH", "１９９０－０３－０５")]),
        ("卡号6222021234567890123", [("ACCOUNT_NUMBER", "6222021234567890123")]),
        ("卡号6222 0212 3456 7890 123", [("ACCOUNT_NUMBER", "6222 0212 3456 7890 123")]),
        ("医保卡号12345678", [("ACCOUNT_NUMBER", "12345678")]),
        ("QQ 12345", [("QQ", "12345")]),
        ("order number 4111111111111111", [("ORDER_NUMBER", "4111111111111111")]),
        ("WeChat ID zhangwei", [("WECHAT", "zhangwei")]),
        ("加我微信 zhangwei", [("WECHAT", "zhangwei")]),
        ("加我v happy_88", [("WECHAT", "happy_88")]),
        ("v：happy_88", [("WECHAT", "happy_88")]),
        ("学号12345", [("ACCOUNT_NUMBER", "12345")]),
        ("orders 12345678", [("ORDER_NUMBER", "12345678")]),
        ("Tel. no. 12345678", [("PHONE", "12345678")]),
        ("order #1234 is late", [("ORDER_NUMBER", "1234")]),
        ("order will be shipped as 12345678", [("ORDER_NUMBER", "12345678")]),
        ("bank card 7000000000000005", [("CREDIT_CARD", "7000000000000005")]),
        ("passport 20240105", [("PASSPORT", "20240105")]),
        ("单号123456789天猫的", [("ORDER_NUMBER", "123456789")]),
        ("my card ends in 4242, order 66", []),
        ("order 20240101 arrived", []),
    ],
)
def test_the_word_beside_a_number_decides(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("微信我加过了搜happy_88没有", ("WECHAT", "happy_88")),
        ("E12345678这本护照快过期了", ("PASSPORT", "E12345678")),
        ("通行证带着呢，你看下，C12345678", ("CN_PERMIT", "C12345678")),
        ("我的号是860097261，企鹅那个", ("QQ", "860097261")),
        ("JT7816651119092这单丢了", ("ORDER_NUMBER", "JT7816651119092")),
        ("物流你好，1234567890123的会员", ("ACCOUNT_NUMBER", "1234567890123")),
        ("会员，1234567890123，查物流", ("ACCOUNT_NUMBER", "1234567890123")),
        ("会员你好，1234567890123这单", ("ORDER_NUMBER", "1234567890123")),
    ],
)
def test_a_shape_and_a_word_in_its_sentence(text: str, expected: tuple[str, str]) -> None:
    assert found(text) == [expected]


@pytest.mark.parametrize("text", ["护照。E12345678", "passport! E12345678", "会员来了1234567人"])
def test_a_word_of_another_sentence_says_nothing(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "The order is over 1000000 dollars, the total is 123456.78",
        "订单金额1299元，订单量突破1000000单",
        "微信支付很方便，QQ音乐15元",
        "version 10.0.0.1 of the firmware, v1.2.3.4",
        "pi is 3.1415926535 and 2024-03-05 12:30:45",
        "std::vector<int> a::b and 12:30:45",
        "全新A12345型号",
        "meet @ noon, user@localhost, e.g. this.that",
        "WeChat is popular",
        "v: happy times",
        "商品条码1234567890123，快递",
        "the border 12345678 and orderly 12345678",
        "I made the call. 12345678 came",
        "the phone was lost in the deep river at 12345678",
        "phone me at 9, 12345678 of them",
        "phone:\nsee below\n12345678",
        "order 1234 and account 1234",
        "130503671301001 and 990503670401001",
        "川AABCDE和豫AB1C2D, foo://bar.baz",
        "GB82WEST12345698765432X",
        "IBAN-like ZZ82WEST12345698765432 and GB82WEST1234569876543",
        "a@1.2.3 and @.com, about .com and 3.me",
        "call me at 2024-03-05, or on 05.03.2024",
        "phone 123456",
        "Chelsea v united_99",
        "2024年3月5日的会上他说起出生",
        "the order shipped in box A1234",
        "He was born rich. 3/5/1990 was a Monday",
        "他生产了2024年3月5日的产品",
        "ASP.NET and Node.js",
        "a chip M2 8GB and drive B1 4TB",
        "see ID 83702 and PR 12345 then OK 54321",
        "in 1990 she was born; the year 2020 followed",
        "会员2024年新增，账户共有1234567人",
    ],
)
def test_numbers_of_nobody(text: str) -> None:
    assert found(text) == []


def test_the_sentence_that_breaks_word_boundaries() -> None:
    text = "邮箱zhang.san@qq.com卡6222021234567890128手机13800138000证11010519491231002X信用卡4111111111111111谢谢"
    assert found(text) == [
        ("EMAIL", "zhang.san@qq.com"),
        ("CREDIT_CARD", "6222021234567890128"),
        ("PHONE", "13800138000"),
        ("CN_ID", "11010519491231002X"),
        ("CREDIT_CARD", "4111111111111111"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://a.example/x?y=1.", ("URL", "https://a.example/x?y=1")),
        ("看https://a.example/x吧", ("URL", "https://a.example/x")),
        ("www.example.com/a,", ("URL", "www.example.com/a")),
        ("on example.com today", ("URL", "example.com")),
        ("a" * 99 + "@b.example.com 1", ("EMAIL", "a" * 99 + "@b.example.com")),
        ("a@b.example.com.1", ("EMAIL", "a@b.example.com")),
        ("<a.b+c@mail.example.co.uk>", ("EMAIL", "a.b+c@mail.example.co.uk")),
        ("发到ａｂｃ＠ｑｑ．ｃｏｍ好", ("EMAIL", "ａｂｃ＠ｑｑ．ｃｏｍ")),
        ("MAC 00-1A-2B-3C-4D-5E", ("MAC_ADDRESS", "00-1A-2B-3C-4D-5E")),
        ("fe80::1%eth0", ("IP_ADDRESS", "fe80::1")),
        ("2001:db8:: is", ("IP_ADDRESS", "2001:db8::")),
        ("at 2001:db8::1: yes", ("IP_ADDRESS", "2001:db8::1")),
        ("at 2001:db8::1.", ("IP_ADDRESS", "2001:db8::1")),
        ("hi @b.example.com", ("URL", "b.example.com")),
        ("a@b.example.c", ("EMAIL", "a@b.example")),
        ("on -.shop.example.com today", ("URL", "shop.example.com")),
        ("host 192.168.10.20:8080", ("IP_ADDRESS", "192.168.10.20")),
    ],
)
def test_what_machines_are_called(text: str, expected: tuple[str, str]) -> None:
    assert found(text) == [expected]


# --- time ----------------------------------------------------------------------------------------

UNITS = (
    *(
        "a",
        "1",
        "@",
        ":",
        "-",
        ".",
        " ",
        "(",
        "+",
        "年",
        "微",
        "生",
        "a@",
        "a.com",
        "://",
        "1-",
        "1 ",
    ),
    *(
        "1.1.",
        "ab:",
        "4111 ",
        "+1 ",
        "订单1",
        "vx:a",
        "www.",
        "粤B",
        "a1",
        "0123456789 ",
        "no. ",
        "1月",
    ),
    *("GB82 ", "http://a@", "1234567 phone ", "order 12345a ", "born 1.1.90 ", "a-", "_1", "x1x"),
)


def seconds(text: str) -> float:
    start = time.process_time()
    DETECTOR.spans(text)
    return time.process_time() - start


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_takes_long(unit: str) -> None:
    """20 kB in well under a second: if time grew with the square it would be far more."""
    assert seconds(unit * (20_000 // len(unit))) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_anything_takes_seconds(unit: str) -> None:
    assert seconds(unit * (1_000_000 // len(unit))) < 20.0


# --- outside data --------------------------------------------------------------------------------

OF_PRESIDIO = {
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CREDIT_CARD",
    "US_SSN": "US_SSN",
    "ZIP_CODE": "POSTCODE",
    "US_DRIVER_LICENSE": "DRIVER_LICENSE",
    "EMAIL_ADDRESS": "EMAIL",
    "DOMAIN_NAME": "URL",
    "IP_ADDRESS": "IP_ADDRESS",
    "IBAN_CODE": "IBAN",
}
Marked = tuple[str, list[tuple[int, int, str]]]


def synthetic() -> list[Marked]:
    path = DATA / "presidio-synthetic-pii" / "synthetic_pii.jsonl"
    if not path.exists():
        pytest.skip("the shared data folder has no presidio-synthetic-pii")
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        (
            row["full_text"],
            [
                (s["start_position"], s["end_position"], OF_PRESIDIO.get(s["entity_type"], "other"))
                for s in row["spans"]
            ],
        )
        for row in rows
    ]


def chinese() -> list[Marked]:
    rows = map(json.loads, JUDGE.read_text(encoding="utf-8").splitlines())
    return [(row["text"], [(a, b, kind) for a, b, kind in row["spans"]]) for row in rows]


def alike(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    """The same kind, and the parts of a text that they share are half of what they cover."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return one[2] == other[2] and 2 * shared >= max(one[1], other[1]) - min(one[0], other[0]) > 0


def measured(rows: list[Marked]) -> tuple[float, float, float]:
    """Recall, precision and the share of characters that stay, of structured kinds."""
    right = missed = wrong = left = signs = 0
    for text, marked in rows:
        spans = [(s.start, s.end, s.kind) for s in DETECTOR.spans(text)]
        gold = [mark for mark in marked if mark[2] in STRUCTURED]
        inside = [mark for mark in marked if mark[2] not in STRUCTURED]
        hit = sum(any(alike(mark, span) for span in spans) for mark in gold)
        right, missed = right + hit, missed + len(gold) - hit
        wrong += sum(
            not any(alike(mark, span) for mark in gold)
            # The postcode of an address that is marked whole is no mistake.
            and not any(mark[0] <= span[0] and span[1] <= mark[1] for mark in inside)
            for span in spans
        )
        covered = {place for span in spans for place in range(span[0], span[1])}
        places = {place for mark in gold for place in range(mark[0], mark[1])}
        left, signs = left + len(places - covered), signs + len(places)
    return right / (right + missed), right / (right + wrong), left / signs


@pytest.mark.parametrize("rows", [synthetic, chinese])
def test_recall_precision_and_leak(rows) -> None:
    recall, precision, leak = measured(rows())
    assert recall >= 0.99
    assert precision >= 0.97
    assert leak <= 0.03


def test_the_judge_is_what_it_says() -> None:
    rows = [json.loads(line) for line in JUDGE.read_text(encoding="utf-8").splitlines()]
    assert len(rows) >= 1500
    assert len({row["template"] for row in rows}) >= 60
    kinds = {kind for row in rows for _, _, kind in row["spans"]}
    assert kinds >= {"PERSON", "ORGANIZATION", "ADDRESS", "PLACE", "CN_ID", "WECHAT", "CN_PERMIT"}
    for row in rows:
        check_spans(row["text"], [Span(a, b, kind, 1.0, "") for a, b, kind in row["spans"]])
