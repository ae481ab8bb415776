import re
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data import lexicon
from sottovoce.data.marketplace import build_market, choose, choose_popular, status_on
from sottovoce.errors import DataError


@pytest.fixture(scope="module")
def market():
    return build_market(5)


def small(seed):
    return build_market(seed, customers_per_shop=12)


# The lexicon


def test_the_lexicon_holds_what_a_market_needs():
    assert len(lexicon.KINDS) >= 60
    assert len(lexicon.CATEGORIES) == 10
    assert {kind.category for kind in lexicon.KINDS} == set(lexicon.CATEGORIES)
    for language in ("en", "zh"):
        names = [kind.name.text(language) for kind in lexicon.KINDS]
        assert len(set(names)) == len(names)


def test_every_kind_is_read_whole():
    names = {kind.name.en for kind in lexicon.KINDS}
    for kind in lexicon.KINDS:
        assert kind.materials and len(kind.values) >= 2 and kind.axis in lexicon.AXES
        assert 0 < kind.price[0] < kind.price[1]
        assert kind.fits in names | {""}
    table = lexicon._KINDS.strip().splitlines()
    for kind, line in zip(lexicon.KINDS, table, strict=True):
        cells = [cell.strip() for cell in line.split("|")]
        assert {term.en for term in kind.materials} == {m.strip() for m in cells[3].split(",")}
        assert [value.en.split()[0] for value in kind.values] == cells[5].split()


@pytest.mark.parametrize(
    "name",
    [
        "CATEGORIES",
        "COLOURS",
        "MATERIALS",
        "AXES",
        "SIZES",
        "WEEKDAYS",
        "MONTHS",
        "CARRIERS",
        "PAYMENTS",
        "FAULTS",
        "RETURN_REASONS",
        "STATUSES",
        "INTENTS",
        "CITIES",
        "STREETS",
    ],
)
def test_words_stand_once_in_each_language_and_in_its_script(name):
    terms = getattr(lexicon, name)
    assert len({term.en for term in terms}) == len({term.zh for term in terms}) == len(terms)
    for term in terms:
        assert re.fullmatch(r"[A-Za-z _]+", term.en), term
        assert re.fullmatch(r"[0-9\u4e00-\u9fff]+", term.zh), term


def test_names_stand_once():
    for names in (lexicon.GIVEN_EN, lexicon.GIVEN_ZH, lexicon.SURNAMES_EN, lexicon.SURNAMES_ZH):
        assert len(set(names)) == len(names) >= 60


# The world


def test_the_same_seed_gives_the_same_market():
    assert small(3) == small(3)


def test_other_seeds_give_other_names_and_facts():
    one, two = small(3), small(4)
    for language in ("en", "zh"):
        series = [
            {p.series.text(language) for shop in m.shops for p in shop.catalogue}
            for m in (one, two)
        ]
        assert len(series[0] & series[1]) < 0.75 * len(series[0])
        assert series[0] != series[1]
    assert not {shop.name for shop in one.shops} & {shop.name for shop in two.shops}
    assert [shop.policy for shop in one.shops] != [shop.policy for shop in two.shops]


def test_the_market_has_the_promised_size(market):
    assert [shop.language for shop in market.shops] == ["en"] * 4 + ["zh"] * 4
    assert all(len(shop.catalogue) == 25 for shop in market.shops)
    assert len({shop.name for shop in market.shops}) == 8
    for shop in market.shops:
        people = market.clients_of[shop.id]
        assert len({person.id for person in people}) == len({p.name for p in people}) == 320
        assert {person.language for person in people} == {shop.language}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 16), st.integers(1, 9))
def test_every_shop_has_exactly_its_customers_and_each_of_them_an_order(seed, shops, customers):
    market = build_market(seed, shops=shops, customers_per_shop=customers)
    english = sum(shop.language == "en" for shop in market.shops)
    assert english == (shops + 1) // 2
    for shop in market.shops:
        slow = [person for person in market.customers if shop.id in person.shops]
        assert list(market.clients_of[shop.id]) == slow
        assert len(slow) == customers
        for person in slow:
            orders = [o for o in market.orders if (o.shop, o.customer) == (shop.id, person.id)]
            assert orders and list(market.orders_of[shop.id, person.id]) == orders


def test_some_customers_buy_at_two_or_three_shops_of_their_language(market):
    language = {shop.id: shop.language for shop in market.shops}
    counts = Counter(len(person.shops) for person in market.customers)
    assert set(counts) == {1, 2, 3}
    for shop in market.shops:
        shared = sum(len(person.shops) > 1 for person in market.clients_of[shop.id])
        assert 0.05 < shared / 320 < 0.2
    for person in market.customers:
        assert {language[shop] for shop in person.shops} == {person.language}
        assert len(set(person.shops)) == len(person.shops)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 16))
def test_ids_and_series_are_unique(seed, shops):
    market = build_market(seed, shops=shops, customers_per_shop=5)
    products = [product for shop in market.shops for product in shop.catalogue]
    for things in (market.shops, market.brands, market.customers, market.orders, products):
        assert len({thing.id for thing in things}) == len(things)
    for language in ("en", "zh"):
        assert len({product.series.text(language) for product in products}) == len(products)
        assert len({shop.name for shop in market.shops}) == shops


def test_products_are_what_their_kind_and_brand_allow(market):
    for shop in market.shops:
        warranty = {}
        for product in shop.catalogue:
            kind = product.kind
            assert kind.category in shop.categories and kind.category in product.brand.categories
            assert product.material in kind.materials and product.value in kind.values
            assert warranty.setdefault(kind.category, product.warranty_months) in (
                product.warranty_months,
            )
            assert (product.stock == 0) == (product.restock_days > 0)
            assert len(product.colours) in (0, 2, 3)
            low, high = kind.price
            scale = 1 if shop.language == "en" else 7
            assert low * scale - 10 < product.price <= high * scale + 9


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_an_accessory_and_what_it_fits_stand_in_one_catalogue(seed):
    market = build_market(seed, customers_per_shop=1)
    for shop in market.shops:
        by_id = {product.id: product for product in shop.catalogue}
        for product in shop.catalogue:
            assert bool(product.accessory_of) == bool(product.kind.fits)
            for host in (by_id[identity] for identity in product.accessory_of):
                assert host.kind.name.en == product.kind.fits
                assert product in shop.accessories(host)
                if host.value in product.kind.values:
                    assert product.value == host.value
            fitting = [p for p in shop.catalogue if product.id in p.accessory_of]
            assert list(shop.accessories(product)) == fitting


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_an_orders_total_dates_and_status_follow(seed):
    market = small(seed)
    shops = {shop.id: shop for shop in market.shops}
    for order in market.orders:
        shop = shops[order.shop]
        policy = shop.policy
        assert 1 <= len(order.items) <= 2 and all(item in shop.catalogue for item in order.items)
        prices = sum(item.price for item in order.items)
        paid = prices if prices >= policy.free_shipping_from else prices + policy.shipping_fee
        assert order.total == paid
        assert policy.delivery_days[0] <= (order.eta - order.placed).days <= policy.delivery_days[1]
        assert order.placed <= market.today
        assert order.payment in policy.payments
        waited = (market.today - order.placed).days
        if market.today > order.eta:
            expected = "delivered"
        elif market.today == order.eta:
            expected = "out for delivery"
        else:
            expected = {0: "processing", 1: "packed"}.get(waited, "shipped")
        assert order.status.en == expected


def test_every_status_occurs_and_letters_tell_the_shop(market):
    assert {order.status for order in market.orders} == set(lexicon.STATUSES)
    letters = {(order.shop, order.id[0]) for order in market.orders}
    assert len(letters) == len({letter for _, letter in letters}) == len(market.shops)


@pytest.mark.parametrize(
    ("placed", "eta", "status"),
    [
        (10, 13, "processing"),
        (9, 13, "packed"),
        (8, 13, "shipped"),
        (7, 10, "out for delivery"),
        (10, 10, "out for delivery"),
        (5, 9, "delivered"),
    ],
)
def test_status_on(placed, eta, status):
    day = date(2030, 5, 1)
    assert (
        status_on(day + timedelta(10), day + timedelta(placed), day + timedelta(eta)).en == status
    )


def test_personal_data_belong_to_nobody(market):
    assert len({person.phone for person in market.customers}) == len(market.customers)
    assert len({person.email for person in market.customers}) == len(market.customers)
    for person in market.customers:
        form = r"[2-9]\d\d-555-01\d\d" if person.language == "en" else r"127\d{8}"
        assert re.fullmatch(form, person.phone)
        assert re.fullmatch(r"[a-z0-9.]+@example\.(com|org)", person.email)
        assert person.city.text(person.language) in person.address
        assert any(street.text(person.language) in person.address for street in lexicon.STREETS)


def test_shops_of_one_language_promise_different_things(market):
    for language in ("en", "zh"):
        policies = [shop.policy for shop in market.shops if shop.language == language]
        for name in ("return_days", "refund_days", "free_shipping_from", "exchange_days"):
            assert len({getattr(policy, name) for policy in policies}) == len(policies)


def test_money_is_written_in_the_shops_currency(market):
    assert market.shops[0].money(7) == "$7"
    assert market.shops[-1].money(7) == "7元"


def test_choose_is_even_and_choose_popular_prefers_the_first():
    rng = np.random.default_rng(0)
    even = Counter(choose(rng, "abcd") for _ in range(20_000))
    assert all(abs(even[letter] / 20_000 - 0.25) < 0.02 for letter in "abcd")
    skewed = Counter(choose_popular(rng, "abcd") for _ in range(20_000))
    for k in range(1, 5):
        share = sum(skewed[letter] for letter in "abcd"[:k]) / 20_000
        assert abs(share - (k / 4) ** 0.5) < 0.02
    assert abs(skewed["a"] / 20_000 - 0.25) > 0.2


@pytest.mark.parametrize("shops", [0, 1, 17])
def test_a_wrong_number_of_shops_is_refused(shops):
    with pytest.raises(DataError, match=f"{shops} shops.*2 to 16"):
        build_market(0, shops=shops)


@pytest.mark.parametrize("customers", [0, 5001])
def test_a_wrong_number_of_customers_is_refused(customers):
    with pytest.raises(DataError, match=f"{customers} customers.*1 to 5000"):
        build_market(0, customers_per_shop=customers)


def test_the_marketplace_needs_no_torch():
    program = (
        "import sys; import sottovoce.data.lexicon, sottovoce.data.marketplace, "
        "sottovoce.data.dialogues; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
