"""A small market of shops, grown from one seed: brands, products, customers and orders.

All people, firms and addresses are invented; telephone numbers come from ranges that belong to
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TypeVar

import numpy as np

from sottovoce.data.lexicon import (
    CARRIERS,
    CATEGORIES,
    CITIES,
    COLOURS,
    GIVEN_EN,
    GIVEN_ZH,
    KINDS,
    PAYMENTS,
    STATUSES,
    STREETS,
    SURNAMES_EN,
    SURNAMES_ZH,
    Kind,
    Language,
    Term,
)
from sottovoce.data.market import Brand, Customer, Market, Order, Policy, Product, Shop
from sottovoce.errors import DataError
from sottovoce.rng import stream

__all__ = [
    "Brand",
    "Customer",
    "Market",
    "Order",
    "Policy",
    "Product",
    "Shop",
    "address",
    "build_market",
    "choose",
    "choose_popular",
    "status_on",
]

T = TypeVar("T")

CATALOGUE_SIZE = 25
PROCESSING, PACKED, SHIPPED, OUT_FOR_DELIVERY, DELIVERED = STATUSES

_HEADS = (
    "Vel Tar Lum Ost Bri Cor Fen Gal Hal Jor Kel Mar Nor Pel Quin Ros Sel "
    "Tol Wen Yar Zan Dru Ard Bex Cal Dov Ely Fir Ilv Lir Mos Ned Osk Rav"
)
_BRAND_TAILS = "ora ane umo eska indo aro avi oth ista emer unde olin"
_SERIES_TAILS = "vo dra bis len ka mund tis wyn zo lo nis quo"
_BRAND_ZH = ("沐澜云泽洛禾栖溪榆棠岚朔皓砚霁杉", "岭坊原岫屿舟谷野汀川庭柏")
_SERIES_ZH = (
    "青素远清晴微暮暖初山半听知见野白墨星晓浅",
    "澜川屿禾舟岚棠霜林苔羽汐砂陶麦竹枫杉石月",
)
_SHOP_WORDS: Mapping[str, Term] = {
    "kitchen": Term("Kitchen", "厨房"),
    "bed and bath": Term("Home", "家纺"),
    "lighting": Term("Light", "灯饰"),
    "furniture": Term("Living", "家居"),
    "electronics": Term("Tech", "数码"),
    "outdoor": Term("Outfitters", "户外"),
    "clothing": Term("Wear", "服饰"),
    "stationery": Term("Paper", "文具"),
    "pets": Term("Pets", "宠物"),
    "garden": Term("Garden", "园艺"),
}
# Wood, glass and metal keep their own look; only these materials are sold in colours.
_DYED = frozenset(
    """cotton,linen,wool,silk,fleece,leather,canvas,nylon,polyester,silicone,felt,ceramic
recycled plastic,aluminium,rubber,down""".replace("\n", ",").split(",")
)
_ORDER_LETTERS = "ABCDEFGHJKLMNPQR"


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of the options, each equally likely."""
    return options[int(rng.random() * len(options))]


def choose_popular(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of the options; the first k of n have probability sqrt(k/n) together."""
    return options[int(rng.random() ** 2 * len(options))]


def build_market(seed: int, *, shops: int = 8, customers_per_shop: int = 320) -> Market:
    """Grow a market from a seed.

    Half of the shops write English (one more where the number is odd), the others Chinese. About a
    tenth of each shop's customers also buy at one or two other shops of the same language.

    Args:
        seed: the same seed gives the same market; another gives other names, prices and promises.
        shops: how many shops, 2 to 16.
        customers_per_shop: how many customers each shop has, 1 to 5000.

    Returns:
        The market on one day.

    Guarantees:
        - every id, and every product series, is unique;
        - every shop has exactly ``customers_per_shop`` customers, each with at least one order
          there;
        - an order's total, dates and status follow from its items, its shop's policy and the day;
        - an accessory and what it fits stand in the same catalogue, and measure the same where
          both kinds come in the same measures.

    Raises:
        DataError: a number is outside its range.

    >>> market = build_market(0, customers_per_shop=3)
    >>> [shop.language for shop in market.shops]
    ['en', 'en', 'en', 'en', 'zh', 'zh', 'zh', 'zh']
    """
    if not 2 <= shops <= len(_ORDER_LETTERS):
        raise DataError(f"the market has {shops} shops", allowed=f"2 to {len(_ORDER_LETTERS)}")
    if not 1 <= customers_per_shop <= 5000:
        raise DataError(f"a shop has {customers_per_shop} customers", allowed="1 to 5000")
    rng = stream(seed, "marketplace", "world")
    names = _invented_names(rng, _HEADS.split(), _BRAND_TAILS.split(), _BRAND_ZH)
    series = _invented_names(rng, _HEADS.split(), _SERIES_TAILS.split(), _SERIES_ZH)
    # No two shops' names begin alike, in either language.
    shop_names: list[Term] = []
    for name in names:
        if all(name.en[:2] != n.en[:2] and name.zh[0] != n.zh[0] for n in shop_names[-7:]):
            shop_names.append(name)
    shop_names = shop_names[:shops]
    brands = _brands(rng, [name for name in names if name not in shop_names])
    english = (shops + 1) // 2
    built = tuple(
        _shop(
            seed,
            i,
            "en" if i < english else "zh",
            shop_names[i],
            brands,
            series[i * 25 : i * 25 + 25],
        )
        for i in range(shops)
    )
    today = date(2030, 3, 1) + timedelta(days=int(rng.integers(200)))
    customers = (
        *_customers(seed, "en", [s.id for s in built[:english]], customers_per_shop),
        *_customers(seed, "zh", [s.id for s in built[english:]], customers_per_shop),
    )
    orders = _orders(seed, built, customers, today)
    return Market(seed, today, brands, built, customers, orders)


def _invented_names(
    rng: np.random.Generator, heads: Sequence[str], tails: Sequence[str], signs: tuple[str, str]
) -> list[Term]:
    """Pair every English head and tail with a pair of Chinese signs, in random order, once each."""
    english = [head + tail for head in heads for tail in tails]
    chinese = [first + second for first in signs[0] for second in signs[1]]
    count = min(len(english), len(chinese))
    left, right = rng.permutation(len(english))[:count], rng.permutation(len(chinese))[:count]
    return [Term(english[i], chinese[j]) for i, j in zip(left, right, strict=True)]


def _brands(rng: np.random.Generator, names: Sequence[Term]) -> tuple[Brand, ...]:
    """Found fifteen brands, so that each category has exactly three."""
    order = [CATEGORIES[i] for _ in range(3) for i in rng.permutation(len(CATEGORIES))]
    return tuple(
        Brand(f"brand-{i + 1}", names[i], choose(rng, CITIES), (order[2 * i], order[2 * i + 1]))
        for i in range(len(order) // 2)
    )


def _shop(
    seed: int,
    index: int,
    language: Language,
    name: Term,
    brands: Sequence[Brand],
    series: Sequence[Term],
) -> Shop:
    """Open one shop with three shelves next to those of the shop before it."""
    rng = stream(seed, "marketplace", "shop", index)
    shelves = stream(seed, "marketplace", "shelves", language).permutation(len(CATEGORIES))
    categories = tuple(CATEGORIES[shelves[(3 * index + k) % len(CATEGORIES)]] for k in range(3))
    word = _SHOP_WORDS[categories[0].en]
    return Shop(
        id=f"shop-{index + 1}",
        name=f"{name.en} {word.en}" if language == "en" else name.zh + word.zh,
        language=language,
        categories=categories,
        catalogue=_catalogue(rng, f"product-{index + 1}", language, categories, brands, series),
        policy=_policy(seed, index, language),
    )


def _catalogue(
    rng: np.random.Generator,
    prefix: str,
    language: Language,
    categories: Sequence[Term],
    brands: Sequence[Brand],
    series: Sequence[Term],
) -> tuple[Product, ...]:
    """Fill the shelves: every kind once, then more of the kinds that stand on their own."""
    shelf = [kind for kind in KINDS if kind.category in categories]
    alone = [kind for kind in shelf if not kind.fits]
    extra = [alone[i] for i in rng.permutation(len(alone))[: CATALOGUE_SIZE - len(shelf)]]
    months = rng.permutation([6, 12, 24, 36, 60])[: len(categories)]
    warranty = {category: int(n) for category, n in zip(categories, months, strict=True)}
    products: list[Product] = []
    # Accessories come last, because they need to know what they fit.
    for i, kind in enumerate(sorted([*shelf, *extra], key=lambda kind: bool(kind.fits))):
        hosts = [p for p in products if p.kind.name.en == kind.fits]
        value = choose(rng, kind.values)
        if hosts and hosts[0].value in kind.values:
            value = hosts[0].value
            hosts = [host for host in hosts if host.value == value]
        else:
            hosts = hosts[: 1 + int(rng.integers(2))]
        material = choose(rng, kind.materials)
        stock = 0 if rng.random() < 0.2 else int(rng.integers(2, 40))
        colours = [COLOURS[k] for k in rng.permutation(len(COLOURS))[: rng.integers(2, 4)]]
        products.append(
            Product(
                id=f"{prefix}-{i + 1}",
                brand=choose(rng, [b for b in brands if kind.category in b.categories]),
                kind=kind,
                series=series[i],
                material=material,
                value=value,
                colours=tuple(colours) if material.en in _DYED else (),
                price=_price(rng, kind, language),
                warranty_months=warranty[kind.category],
                stock=stock,
                restock_days=0 if stock else int(choose(rng, (5, 7, 10, 14, 21))),
                accessory_of=tuple(host.id for host in hosts),
            )
        )
    return tuple(products[i] for i in rng.permutation(len(products)))


def _price(rng: np.random.Generator, kind: Kind, language: Language) -> int:
    """Draw a price that ends in 4 or 9 dollars, or in 9 yuan at about seven to the dollar."""
    dollars = int(rng.integers(kind.price[0], kind.price[1] + 1))
    return dollars // 5 * 5 + 4 if language == "en" else dollars * 7 // 10 * 10 + 9


def _policy(seed: int, index: int, language: Language) -> Policy:
    """Draw one shop's promises, the most asked for of them unlike its neighbours'."""
    rng = stream(seed, "marketplace", "policy", index)

    def own(name: str, options: Sequence[int]) -> int:
        order = stream(seed, "marketplace", "policy", language, name).permutation(len(options))
        return options[int(order[index % len(options)])]

    fastest = own("delivery", (1, 2, 3, 4))
    scale = 1 if language == "en" else 5
    chosen = sorted(rng.permutation(len(PAYMENTS))[:3])
    return Policy(
        return_days=own("return", (10, 14, 20, 28, 30, 45, 60)),
        refund_days=own("refund", (2, 3, 5, 7, 8, 12)),
        free_shipping_from=own("free shipping", (25, 35, 40, 50, 60, 75, 90)) * scale,
        shipping_fee=choose(rng, (3, 4, 5, 6, 8)) * (1 if language == "en" else 2),
        delivery_days=(fastest, fastest + int(choose(rng, (1, 2, 3)))),
        carrier=CARRIERS[index % len(CARRIERS)],
        opens=choose(rng, (7, 8, 9, 10)),
        closes=choose(rng, (17, 18, 20, 21, 22)),
        restocking_percent=choose(rng, (0, 0, 5, 8, 10, 15)),
        gift_wrap=choose(rng, (0, 0, 2, 3, 4, 6)) * scale,
        exchange_days=own("exchange", (7, 12, 15, 21, 25, 40)),
        voucher_percent=own("voucher", (5, 10, 12, 15, 20)),
        payments=tuple(PAYMENTS[i] for i in chosen),
    )


def _customers(
    seed: int, language: Language, shops: Sequence[str], per_shop: int
) -> tuple[Customer, ...]:
    """Invent the customers of the shops of one language; some buy at two or three of them."""
    rng = stream(seed, "marketplace", "customers", language)
    room = dict.fromkeys(shops, per_shop)
    choices: list[tuple[str, ...]] = []
    if len(shops) > 1:
        for _ in range(per_shop * len(shops) // 20):
            count = min(len(shops), 2 + int(rng.random() < 0.25))
            picked = sorted(rng.permutation(len(shops))[:count])
            if all(room[shops[i]] for i in picked):
                choices.append(tuple(shops[i] for i in picked))
                for i in picked:
                    room[shops[i]] -= 1
    choices += [(shop,) for shop in shops for _ in range(room[shop])]
    given, family = (GIVEN_EN, SURNAMES_EN) if language == "en" else (GIVEN_ZH, SURNAMES_ZH)
    names = rng.permutation(len(given) * len(family))
    numbers = rng.permutation(780 * 100)
    people = []
    for i, visited in enumerate(choices):
        pair = int(names[i % len(names)])
        first, last = given[pair % len(given)], family[pair // len(given)]
        number = int(numbers[i])
        phone, email = _contact(rng, language, f"{first}.{last}", number)
        street, city, house = choose(rng, STREETS), choose(rng, CITIES), int(rng.integers(1, 180))
        people.append(
            Customer(
                id=f"{language}-{i + 1:04d}",
                given=first,
                family=last,
                language=language,
                phone=phone,
                email=email,
                address=address(language, street, city, house),
                city=city,
                shops=visited,
            )
        )
    return tuple(people)


def address(language: Language, street: Term, city: Term, house: int) -> str:
    """Write a postal address in the order of the language.

    >>> address("en", STREETS[0], CITIES[0], 7), address("zh", STREETS[0], CITIES[0], 7)
    ('7 Larch Lane, Eastmere', '东泽市落叶松路7号')
    """
    if language == "en":
        return f"{house} {street.en}, {city.en}"
    return f"{city.zh}{street.zh}{house}号"


def _contact(
    rng: np.random.Generator, language: Language, name: str, number: int
) -> tuple[str, str]:
    """Invent a telephone number and an e-mail address that nobody has."""
    domain = choose(rng, ("example.com", "example.org"))
    if language == "en":
        # 555-0100 to 555-0199 are kept for fiction in every area code.
        phone = f"{201 + number // 100}-555-01{number % 100:02d}"
        return phone, f"{name.lower()}{number % 90 + 10}@{domain}"
    # No subscriber's number starts with 127: the digits 10 to 12 after the country code lead to
    # public services, and mobile numbers start with 13 to 19.
    phone = f"127{number:05d}{int(rng.integers(1000)):03d}"
    return phone, f"{2_000_000 + 37 * number}@{domain}"


def _orders(
    seed: int, shops: Sequence[Shop], customers: Sequence[Customer], today: date
) -> tuple[Order, ...]:
    """Let every customer order once or twice at each of their shops."""
    rng = stream(seed, "marketplace", "orders")
    by_id = {shop.id: (_ORDER_LETTERS[i], shop) for i, shop in enumerate(shops)}
    numbers = {shop.id: iter(10_000 + rng.permutation(90_000)) for shop in shops}
    orders = []
    for customer in customers:
        for shop_id in customer.shops:
            letter, shop = by_id[shop_id]
            for _ in range(1 + int(rng.random() < 0.25)):
                identity = f"{letter}{next(numbers[shop_id])}"
                orders.append(_order(rng, identity, shop, customer, today))
    return tuple(orders)


def _order(
    rng: np.random.Generator, identity: str, shop: Shop, customer: Customer, today: date
) -> Order:
    """Place one order some days ago and see how far it has come."""
    policy = shop.policy
    fastest, slowest = policy.delivery_days
    days = int(rng.integers(fastest, slowest + 1))
    recent = rng.random() < 0.6
    age = int(rng.integers(0, days + 1)) if recent else int(rng.integers(days + 1, days + 25))
    first = choose_popular(rng, shop.catalogue)
    second = choose_popular(rng, shop.catalogue)
    items = (first,) if second == first or rng.random() < 0.7 else (first, second)
    total = sum(item.price for item in items)
    placed = today - timedelta(days=age)
    eta = placed + timedelta(days=days)
    return Order(
        id=identity,
        shop=shop.id,
        customer=customer.id,
        items=items,
        total=total + (policy.shipping_fee if total < policy.free_shipping_from else 0),
        placed=placed,
        eta=eta,
        status=status_on(today, placed, eta),
        tracking=f"{''.join(c for c in policy.carrier.en if c.isalpha())[:2].upper()}"
        f"{int(rng.integers(100_000, 1_000_000))}",
        payment=choose(rng, policy.payments),
    )


def status_on(today: date, placed: date, eta: date) -> Term:
    """Tell how far an order has come.

    >>> status_on(date(2030, 5, 3), date(2030, 5, 2), date(2030, 5, 6)).en
    'packed'
    """
    if today > eta:
        return DELIVERED
    if today == eta:
        return OUT_FOR_DELIVERY
    return (PROCESSING, PACKED)[(today - placed).days] if (today - placed).days < 2 else SHIPPED
