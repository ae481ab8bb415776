"""Words that say what the number beside them is. Pure.

The nearest word before a number decides, and it must be near: a few words without another number
and without the end of a sentence. Words such as "amount" decide that the number is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from sottovoce.data.pii.page import Page

NOBODY: Final = ""
"""The kind of a number that says nothing about a person."""

# Latin words, with _ for a space, a hyphen or nothing, and an s behind them allowed; then Chinese.
_WORDS: Final = (
    (
        NOBODY,
        "amount price total subtotal cost qty quantity model version size balance limit year "
        "ending product sku error code row page since until about over than only room floor "
        "building chapter section article part lot weight height width isbn upc ean barcode serial "
        "port pin otp verification paid pay point follower view like day hour minute",
        "金额 价格 总价 实付 应付 付款 支付了 合计 余额 共计 总计 数量 型号 尺码 版本 重量 款号 "
        "货号 尾号 后四位 验证码 取件码 提货码 密码 商品 商品编号 产品编号 文件编号 课程编号 货物编号 条码 代码 编码 "
        "订单量 会员数 期号 坐标 时间 积分 销量 库存 单价 优惠 "
        "折扣 退款金额 运费 花了 付了 差价 消费 限额 额度 收入 工资 房号 门牌 楼层 面积 浏览 粉丝",
    ),
    (
        "CREDIT_CARD",
        "credit_card debit_card bank_card card cc visa mastercard amex maestro unionpay",
        "信用卡 银行卡 借记卡 储蓄卡 工资卡 收款卡 银联卡 卡号",
    ),
    (
        "ORDER_NUMBER",
        "order order_id tracking invoice booking reservation confirmation shipment parcel waybill "
        "awb transaction reference ref ticket case rma receipt",
        "订单号 订单编号 订单 订单号码 运单 快递单 物流单 面单 单号 流水号 交易号 发票号 退货单 工单 "
        "服务单 售后单 提单 快递号 运货单 退款单 预约号 挂号单 单子 这单 那单",
    ),
    ("PASSPORT", "passport", "护照"),
    (
        "DRIVER_LICENSE",
        "driver's_license driver's_licence driver’s_license drivers_license driver_license "
        "drivers_licence driver_licence driving_licence driving_license license licence dl",
        "驾照 驾驶证 驾驶执照 档案编号",
    ),
    ("US_SSN", "ssn social_security itin", "社会安全号"),
    (
        "CN_ID",
        "id_card identity_card",
        "身份证 身份證 身分证 公民身份 身份号码 证件号 证件号码",
    ),
    ("CN_PERMIT", "travel_permit", "通行证 台胞证 回乡证 居住证"),
    ("CN_CREDIT_CODE", "tax_id usci", "信用代码 纳税人识别号 税号 组织机构代码 统一代码"),
    (
        "ACCOUNT_NUMBER",
        "account acct a/c acc iban routing sort_code member membership customer_id client_id "
        "customer_number user_id patient_id patient mrn medical_record employee_id employee "
        "student_id student policy loyalty insurance badge",
        "账号 帐号 账户 帐户 户头 户号 会员号 会员卡 会员编号 学号 工号 员工号 病历号 病案号 住院号 门诊号 "
        "就诊卡 诊疗卡 社保号 社保卡 医保卡 医保号 公积金 客户号 客户编号 客户编码 会员编码 员工编码 保单号 保单 准考证 考生号 考号 "
        "学籍 学籍号 编号 报名号 受理号 受理编号 支付宝 收款账 汇款账 对公账 燃气户 水费户 电费户",
    ),
    (
        "PHONE",
        "phone telephone tel mobile cell cellphone fax desk landline hotline whatsapp call called "
        "calling dial text sms ring reach contact answering message registered ph mob telefon "
        "handy mobil téléphone teléfono",
        "电话 手机 手机号 联系方式 联系 座机 传真 致电 拨打 来电 固话 打给 打 短信 呼叫 热线 电联",
    ),
    ("WECHAT", "wechat weixin wx vx", "微信 薇信 威信 微号 加v 绿泡泡 围信"),
    ("QQ", "qq q: q：", "扣扣 企鹅号 q号 企鹅 我q 加q"),
    (
        "POSTCODE",
        "zip zip_code postcode post_code postal_code postal plz",
        "邮编 邮政编码 邮政",
    ),
)


def _spelt(words: str) -> Iterator[str]:
    """Each word in all the ways in which its parts are joined."""
    for word in words.split():
        parts = word.split("_")
        for joints in product((" ", "-", ""), repeat=len(parts) - 1):
            yield "".join(part + joint for part, joint in zip(parts, (*joints, ""), strict=True))


def _by_first() -> dict[str, tuple[tuple[str, str], ...]]:
    """First sign to words that begin with it, the longest first, each with its kind."""
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, latin, han in _WORDS:
        for word in (*_spelt(latin), *han.split()):
            found.setdefault(word[0], []).append((word, kind))
    return {first: tuple(sorted(w, key=lambda e: -len(e[0]))) for first, w in found.items()}


_FIRST: Final = _by_first()
_GAP: Final = 22
_HAN_GAP: Final = 9
_LONGEST: Final = max(len(word) for words in _FIRST.values() for word, _ in words)
_LONGEST_HAN: Final = max(
    len(word) for words in _FIRST.values() for word, _ in words if not word.isascii()
)
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_HAN: Final = re.compile("[\u4e00-\u9fff]")
# What ends a word's reach: another number, a sentence, a line that already says something.
_ENDS: Final = frozenset("0123456789。！？!?；;")
_STOP: Final = re.compile(r"\.\s|\n\s*[^\s:：#]")
_SHORT: Final = frozenset(("tel", "ph", "mob", "acc", "acct", "ref", "dl"))
_ABBREVIATED: Final = re.compile(r"(?<![a-z])(?:no|nr|num|tel|ph|mob|id)\.")
_FILLER: Final = re.compile(
    r"(?:[\s:：=#\"'“”‘’()\[\]【】「」,，.\-]|numbers?|no|nr|num|id|is|号码|号|码|是|为|编)*+"
)


@dataclass(frozen=True)
class Label:
    """A word beside a number.

    Args:
        kind: what the number is by it, ``NOBODY`` if nothing personal.
        word: as it is written, in small letters.
        gap: what stands between it and the number.
    """

    kind: str
    word: str
    gap: str

    @property
    def close(self) -> bool:
        """Whether nothing but signs and words for "number is" stands between."""
        return _FILLER.fullmatch(self.gap) is not None


def _word_at(text: str, at: int, limit: int) -> tuple[str, str] | None:
    """The longest word that begins here and ends before a limit, with its kind."""
    latin = text[at] in _LETTERS
    if latin and at and text[at - 1] in _LETTERS:
        return None
    for word, kind in _FIRST[text[at]]:
        if not text.startswith(word, at):
            continue
        end = at + len(word)
        if latin and text[end : end + 1] == "s":
            end += 1
        goes_on = latin and text[end : end + 1] in _LETTERS and text[end - 1] in _LETTERS
        if end <= limit and not goes_on:
            return text[at:end], kind
    return None


def label_before(page: Page, start: int) -> Label | None:
    """The nearest word before a place that says what begins there.

    >>> from sottovoce.data.pii.page import read
    >>> label_before(read("my card number is 4"), 18).kind
    'CREDIT_CARD'
    """
    text = page.lowered
    for at in range(start - 1, max(-1, start - _GAP - _LONGEST), -1):
        if text[at] in _ENDS:
            return None
        found = _word_at(text, at, start) if text[at] in _FIRST else None
        if found is not None:
            return _label(text, at, found, start)
    return None


def _label(text: str, at: int, found: tuple[str, str], start: int) -> Label | None:
    """The word that was found, or the one that begins before it and reaches into it."""
    word, kind = found
    longest = _LONGEST if text[at].isascii() else _LONGEST_HAN
    for earlier in range(at - 1, max(-1, at - longest), -1):
        longer = _word_at(text, earlier, start) if text[earlier] in _FIRST else None
        if longer is not None and earlier + len(longer[0]) > at:
            at, (word, kind) = earlier, longer
    gap = text[at + len(word) : start]
    reach = _HAN_GAP if _HAN.search(gap) else _GAP
    # The dot of "Tel." and "no." ends no sentence.
    rest = gap.removeprefix(".") if word in _SHORT else gap
    if len(gap) > reach or _STOP.search(_ABBREVIATED.sub("", rest)):
        return None
    return Label(kind, word, gap)
