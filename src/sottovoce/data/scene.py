"""The facts that one conversation may speak of, taken from the market and put into words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from sottovoce.data.conversation import ToolCall
from sottovoce.data.lexicon import (
    CITIES,
    COLOURS,
    FAULTS,
    MONTHS,
    RETURN_REASONS,
    STREETS,
    WEEKDAYS,
    Language,
)
from sottovoce.data.market import Customer, Market, Order, Product, Shop
from sottovoce.data.marketplace import (
    DELIVERED,
    OUT_FOR_DELIVERY,
    PACKED,
    PROCESSING,
    SHIPPED,
    address,
    choose,
    choose_popular,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Who speaks about what.

    Args:
        shop, customer, product, order: what the conversation is about.
        slots: facts in words, by name, for the patterns.
        cases: what the facts make of a question (in stock or not, returnable or not), by name.
        tools: the call that a shop's assistant makes and the answer it gets, by the tool's name.
    """

    shop: Shop
    customer: Customer
    product: Product
    order: Order
    slots: Mapping[str, str]
    cases: Mapping[str, str]
    tools: Mapping[str, tuple[ToolCall, str]]


def set_scene(
    market: Market,
    shop: Shop,
    customer: Customer,
    product: Product,
    order: Order,
    rng: np.random.Generator,
) -> Scene:
    """Put the facts about a product, an order and a shop into words.

    Guarantees:
        - every fact in ``slots``, ``cases`` and ``tools`` agrees with the market; what the customer
          only asks for (a colour, a new address) is drawn from ``rng``.
    """
    slots: dict[str, str] = {}
    cases: dict[str, str] = {}
    for slot, case in (
        _about_product(shop, product, rng),
        _about_fit(shop, product, rng),
        _about_policy(shop),
        _about_order(market, shop, order),
        (_about_customer(market.today, shop, customer, rng), {}),
    ):
        slots |= slot
        cases |= case
    tools = {
        "lookup_order": (_call("lookup_order", order_id=order.id), _order_json(shop, order)),
        "check_stock": (
            _call("check_stock", product=product.name(shop.language)),
            _stock_json(shop.language, product),
        ),
    }
    return Scene(shop, customer, product, order, slots, cases, tools)


_Facts = tuple[dict[str, str], dict[str, str]]


def _about_product(shop: Shop, product: Product, rng: np.random.Generator) -> _Facts:
    language = shop.language
    favourite = next(p for p in shop.catalogue if p.kind.category == product.kind.category)
    free = product.price >= shop.policy.free_shipping_from
    like = rng.random() < 0.6
    palette = [c for c in COLOURS if (c in product.colours) == like] or list(COLOURS)
    wanted = choose(rng, palette)
    slots = {
        "product": product.name(language),
        "brand": product.brand.name.text(language),
        "brand_city": product.brand.city.text(language),
        "material": product.material.text(language),
        "some_material": choose(rng, product.kind.materials).text(language),
        "some_colour": choose(rng, COLOURS).text(language),
        "axis": product.kind.axis.text(language),
        "value": product.value.text(language),
        "price": shop.money(product.price),
        "fee": shop.money(shop.policy.shipping_fee),
        "warranty": duration(product.warranty_months, language),
        "colours": listing([c.text(language) for c in product.colours], language),
        "wanted": wanted.text(language),
        "stock": str(product.stock),
        "restock_days": str(product.restock_days),
        "category": product.kind.category.text(language),
        "favourite": favourite.name(language),
        "favourite_price": shop.money(favourite.price),
    }
    cases = {
        "shipping": "free" if free else "fee",
        "stock": "in" if product.stock else "out",
        "colours": "some" if product.colours else "none",
        "wanted": ("yes" if wanted in product.colours else "no") if product.colours else "",
    }
    return slots, cases


def _about_fit(shop: Shop, product: Product, rng: np.random.Generator) -> _Facts:
    """Find an accessory of the product, and one to ask about that may not fit."""
    language = shop.language
    fitting = shop.accessories(product)
    # Customers ask in vain only about accessories made for this kind of product.
    others = [
        other
        for other in shop.catalogue
        if other.kind.fits == product.kind.name.en and other not in fitting
    ]
    accessory = fitting[0] if fitting else None
    candidate = choose(rng, [*fitting, *others]) if fitting or others else None
    hosts = [p for p in shop.catalogue if candidate and p.id in candidate.accessory_of]
    slots = {
        "accessory": accessory.name(language) if accessory else "",
        "accessory_kind": accessory.kind.name.text(language) if accessory else "",
        "accessory_price": shop.money(accessory.price) if accessory else "",
        "candidate": candidate.name(language) if candidate else "",
        "candidate_host": listing([p.name(language) for p in hosts], language),
    }
    verdict = ("yes" if candidate in fitting else "no") if candidate else ""
    return slots, {"accessory": "some" if accessory else "none", "fits": verdict}


def _about_policy(shop: Shop) -> _Facts:
    policy, language = shop.policy, shop.language
    slots = {
        "shop": shop.name,
        "return_days": str(policy.return_days),
        "refund_days": str(policy.refund_days),
        "free_from": shop.money(policy.free_shipping_from),
        "fastest": str(policy.delivery_days[0]),
        "slowest": str(policy.delivery_days[1]),
        "carrier": policy.carrier.text(language),
        "opens": f"{policy.opens}:00",
        "closes": f"{policy.closes}:00",
        "restocking": str(policy.restocking_percent),
        "wrap": shop.money(policy.gift_wrap),
        "exchange_days": str(policy.exchange_days),
        "voucher": str(policy.voucher_percent),
        "payments": listing([p.text(language) for p in policy.payments], language),
    }
    cases = {
        "restocking": "some" if policy.restocking_percent else "none",
        "wrap": "paid" if policy.gift_wrap else "free",
    }
    return slots, cases


def _about_order(market: Market, shop: Shop, order: Order) -> _Facts:
    language = shop.language
    until = order.eta + timedelta(days=shop.policy.return_days)
    stage = {PROCESSING: "open", PACKED: "open", SHIPPED: "sent", OUT_FOR_DELIVERY: "sent"}
    delivered = order.status == DELIVERED
    slots = {
        "order": order.id,
        "letter": order.id[0],
        "item": order.items[0].name(language),
        "placed": day(order.placed, language),
        "eta": day(order.eta, language),
        "return_until": day(until, language),
        "tracking": order.tracking,
        "total": shop.money(order.total),
    }
    cases = {
        "status": order.status.en,
        "stage": stage.get(order.status, "done"),
        "returnable": ("yes" if market.today <= until else "no") if delivered else "",
    }
    return slots, cases


def _about_customer(
    today: date, shop: Shop, customer: Customer, rng: np.random.Generator
) -> dict[str, str]:
    """Say who writes, and draw what only this customer knows: days, reasons, a new address."""
    language = shop.language
    house = 1 + int(rng.random() * 180)
    new_address = address(language, choose(rng, STREETS), choose(rng, CITIES), house)
    return {
        "name": customer.name,
        "given": customer.given,
        "phone": customer.phone,
        "email": customer.email,
        "address": customer.address,
        "town": customer.city.text(language),
        "new_address": new_address,
        "weekday": choose(rng, WEEKDAYS).text(language),
        "month": MONTHS[(today - timedelta(days=20)).month - 1].text(language),
        "next_month": MONTHS[(today.month + int(rng.random() * 3)) % 12].text(language),
        "fault": choose(rng, FAULTS).text(language),
        "reason": choose(rng, RETURN_REASONS).text(language),
        "some_payment": choose_popular(rng, shop.policy.payments).text(language),
    }


def _call(name: str, **arguments: str) -> ToolCall:
    return ToolCall(name, _json(arguments))


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _order_json(shop: Shop, order: Order) -> str:
    """What the order system knows; a parcel has a carrier only once it has left."""
    found: dict[str, object] = {"order_id": order.id, "status": order.status.en}
    if order.status in (PROCESSING, PACKED):
        found |= {"eta": order.eta.isoformat(), "total": order.total}
    elif order.status == DELIVERED:
        until = order.eta + timedelta(days=shop.policy.return_days)
        found |= {"delivered": order.eta.isoformat(), "return_until": until.isoformat()}
    else:
        found |= {
            "carrier": shop.policy.carrier.text(shop.language),
            "eta": order.eta.isoformat(),
            "tracking": order.tracking,
        }
    return _json(found)


def _stock_json(language: Language, product: Product) -> str:
    found: dict[str, object] = {"product": product.name(language), "stock": product.stock}
    return _json(found if product.stock else {**found, "restock_days": product.restock_days})


def day(when: date, language: Language) -> str:
    """Write a day without its year.

    >>> day(date(2030, 5, 4), "en"), day(date(2030, 5, 4), "zh")
    ('4 May', '5月4日')
    """
    month = MONTHS[when.month - 1].text(language)
    return f"{when.day} {month}" if language == "en" else f"{month}{when.day}日"


def duration(months: int, language: Language) -> str:
    """Write a number of months, in years where they are whole.

    >>> duration(6, "en"), duration(12, "en"), duration(36, "zh")
    ('6 months', '1 year', '3年')
    """
    years = months // 12 if months % 12 == 0 else 0
    if language == "zh":
        return f"{years}年" if years else f"{months}个月"
    count, unit = (years, "year") if years else (months, "month")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def listing(words: Sequence[str], language: Language) -> str:
    """Join words as a sentence does.

    >>> listing(["red", "mint", "sand"], "en")
    'red, mint and sand'
    """
    comma, last = (", ", " and ") if language == "en" else ("、", "和")
    return last.join([comma.join(words[:-1]), words[-1]] if len(words) > 1 else list(words))
