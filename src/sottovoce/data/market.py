"""What a market is made of: brands, products, promises, shops, customers and orders.

Everything is a frozen object that refers to others by object or by id, so a graph, a question or a
recommendation can be built on facts instead of on text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from sottovoce.data.lexicon import Kind, Language, Term


@dataclass(frozen=True, slots=True)
class Brand:
    """A maker of products.

    Args:
        id: unique in the market.
        name: invented, in both languages.
        city: where it makes its products.
        categories: the shelves that it makes products for.
    """

    id: str
    name: Term
    city: Term
    categories: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """One product, sold by exactly one shop.

    Args:
        id: unique in the market.
        brand: its maker, who makes products of this category.
        kind: what it is.
        series: the invented name that tells it from others; unique in the market.
        material: one of the kind's materials.
        value: one of the kind's variants (a capacity, a length ...).
        colours: what it is sold in; empty where the material keeps its own look.
        price: in whole units of the shop's currency.
        warranty_months: the same for all of a category in one shop.
        stock: pieces left; 0 when sold out.
        restock_days: days until new pieces come; 0 unless sold out.
        accessory_of: ids of the products of the same shop that this one fits.
    """

    id: str
    brand: Brand
    kind: Kind
    series: Term
    material: Term
    value: Term
    colours: tuple[Term, ...]
    price: int
    warranty_months: int
    stock: int
    restock_days: int
    accessory_of: tuple[str, ...]

    def name(self, language: Language) -> str:
        """Give the name customers use: series and kind, without the brand."""
        if language == "en":
            return f"{self.series.en} {self.kind.name.en}"
        return f"{self.series.zh}{self.kind.name.zh}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a shop promises. Money in whole units of the shop's currency, time in days.

    Args:
        return_days: how long after delivery an article may come back.
        refund_days: how long a refund takes once the article is back.
        free_shipping_from: orders of at least this sum are sent free of charge.
        shipping_fee: what sending a smaller order costs.
        delivery_days: fewest and most days from order to door.
        carrier: who brings the parcels.
        opens, closes: hours of customer service, in full hours of the 24-hour clock.
        restocking_percent: kept from a refund when nothing was wrong with the article; may be 0.
        gift_wrap: price of gift wrapping; may be 0.
        exchange_days: how long after delivery an article may be exchanged.
        voucher_percent: off the next order after a justified complaint.
        payments: how one can pay.
    """

    return_days: int
    refund_days: int
    free_shipping_from: int
    shipping_fee: int
    delivery_days: tuple[int, int]
    carrier: Term
    opens: int
    closes: int
    restocking_percent: int
    gift_wrap: int
    exchange_days: int
    voucher_percent: int
    payments: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Shop:
    """One party of the market.

    Args:
        id: unique in the market.
        name: in the shop's own language.
        language: what it and its customers write.
        categories: the shelves it has, the main one first.
        catalogue: its products, the most popular first.
        policy: what it promises.
    """

    id: str
    name: str
    language: Language
    categories: tuple[Term, ...]
    catalogue: tuple[Product, ...]
    policy: Policy

    def money(self, amount: int) -> str:
        """Write a sum in the shop's currency."""
        return f"${amount}" if self.language == "en" else f"{amount}元"

    def accessories(self, product: Product) -> tuple[Product, ...]:
        """Find the shop's accessories that fit ``product``."""
        return tuple(other for other in self.catalogue if product.id in other.accessory_of)


@dataclass(frozen=True, slots=True)
class Customer:
    """An invented person.

    Args:
        id: unique in the market; the owner of this person's conversations.
        given, family: the two parts of the name.
        language: what this person writes.
        phone: from a range that belongs to nobody.
        email: at a domain kept for examples.
        address: number, street and town; none of them exists.
        city: the town of the address.
        shops: ids of the shops this person buys from, all of the same language.
    """

    id: str
    given: str
    family: str
    language: Language
    phone: str
    email: str
    address: str
    city: Term
    shops: tuple[str, ...]

    @property
    def name(self) -> str:
        """The full name in the order of the language."""
        return f"{self.given} {self.family}" if self.language == "en" else self.family + self.given


@dataclass(frozen=True, slots=True)
class Order:
    """One order of one customer at one shop.

    Args:
        id: unique in the market; its letter tells the shop.
        shop, customer: ids.
        items: the ordered products, at least one.
        total: prices of the items, and the shipping fee where the policy asks for it.
        placed: the day of the order.
        eta: the day it comes or came, within the policy's delivery days.
        status: one of ``STATUSES``, as it follows from ``placed``, ``eta`` and the market's day.
        tracking: the carrier's number.
        payment: how it was paid.
    """

    id: str
    shop: str
    customer: str
    items: tuple[Product, ...]
    total: int
    placed: date
    eta: date
    status: Term
    tracking: str
    payment: Term


@dataclass(frozen=True)
class Market:
    """All that is true in one world on one day."""

    seed: int
    today: date
    brands: tuple[Brand, ...]
    shops: tuple[Shop, ...]
    customers: tuple[Customer, ...]
    orders: tuple[Order, ...]

    @cached_property
    def clients_of(self) -> Mapping[str, tuple[Customer, ...]]:
        """The customers of each shop, by the shop's id."""
        found: dict[str, list[Customer]] = {shop.id: [] for shop in self.shops}
        for customer in self.customers:
            for shop in customer.shops:
                found[shop].append(customer)
        return {shop: tuple(customers) for shop, customers in found.items()}

    @cached_property
    def orders_of(self) -> Mapping[tuple[str, str], tuple[Order, ...]]:
        """The orders of each pair of shop id and customer id."""
        found: dict[tuple[str, str], list[Order]] = {}
        for order in self.orders:
            found.setdefault((order.shop, order.customer), []).append(order)
        return {pair: tuple(orders) for pair, orders in found.items()}
