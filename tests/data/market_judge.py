"""A slow, independent reading of what shops state: each sentence is parsed and looked up again."""

import calendar
import json
import re
from datetime import date, timedelta

STYLE = {
    "en": (
        r"Hi (there|[A-Z][a-z]+), {shop} here",
        r"Good question|Gladly|I looked it up|We look after that|We are sorry for (that|the wait)"
        r"|That makes our day|Which order is it\?|Anything else\?|Just write|We put it right"
        r"|See you soon at {shop}|You are welcome|Perhaps a neighbour took it in",
    ),
    "zh": (
        r"([\u4e00-\u9fff]{2,3})?您好，这里是{shop}",
        r"问得好|很乐意解答|已为您查到|马上处理|让您久等了|实在抱歉|太好了|还有问题，随时留言"
        r"|我们一定处理好|{shop}期待再见|不客气",
    ),
}

# Each pattern names the facts that it states; FACTS says what they must be.
FORMS = {
    "en": r"""
From our shelf: the (?P<product>.+) is (?P<price>\$\d+) and (?P<ships_free>ships free)
From our shelf: the (?P<product>.+) is (?P<price>\$\d+), (?P<ships_paid>shipping adds) (?P<fee>\$\d+)
From our shelf: the (?P<product>.+) is made of (?P<material>[a-z ]+)
From our shelf: the (?P<product>.+) has (?P<warranty>.+) of warranty
From our shelf: the (?P<product>.+), (?P<stock>\d+) in stock
From our shelf: the (?P<product>.+) is (?P<sold_out>sold out) and back in (?P<restock>\d+) days
From our shelf: the (?P<product>.+) comes in (?P<colours>.+)(?<! only)
From our shelf: the (?P<product>.+) comes in (?P<colours>.+) only
From our shelf: the (?P<product>[^,]+), (?P<axis>[a-z ]+) (?P<value>\d.*|small|medium|large)
From our shelf: the (?P<product>.+) is made by (?P<brand>\w+) in (?P<brand_city>.+)
From our shelf: the (?P<accessory>.+) fits the (?P<product>.+), (?P<accessory_price>\$\d+)
From our shelf: yes, the (?P<accessory>.+) fits the (?P<product>.+)
From our shelf: no, the (?P<misfit>.+) fits the (?P<hosts>.+) only
From our shelf: in (?P<category>.+) most people take the (?P<favourite>.+), (?P<favourite_price>\$\d+)
From our shelf: yes, in (?P<wanted>[a-z ]+) too
Our promise on returns: (?P<return_days>\d+) days from delivery
Our promise on returns: (?P<return_days>\d+) days from delivery, money (?P<refund_days>\d+) days later
Our promise on refunds: your money (?P<refund_days>\d+) days after the article is back
Our promise on refunds: (?P<refund_days>\d+) days
Our promise on shipping: free from (?P<free_from>\$\d+), below that (?P<fee>\$\d+)
Our promise on delivery: (?P<carrier>.+) brings it in (?P<fastest>\d+) to (?P<slowest>\d+) days
Our promise on hours: we answer from (?P<opens>\d+):00 to (?P<closes>\d+):00, every day
Our promise on hours: we answer from (?P<opens>\d+):00 to (?P<closes>\d+):00, and you get (?P<voucher>\d+) percent off next time
Our promise on fees: a return (?P<no_fee>costs you nothing)
Our promise on fees: we keep (?P<restocking>\d+) percent if the article was fine
Our promise on gifts: we wrap them for (?P<free_wrap>free)
Our promise on gifts: we wrap them for (?P<wrap>\$\d+)
Our promise on payment: (?P<payments>.+)
Our promise on exchanges: (?P<exchange_days>\d+) days(, and we pay the way back)?
Our promise on mishaps: a new one or (?P<named_price>\$\d+) back, and (?P<voucher>\d+) percent off next time
Our thanks to you: enjoy the (?P<product>.+), it has (?P<warranty>.+) of warranty
Order (?P<order>\w+): (?P<processing>in preparation), due (?P<eta>.+)
Order (?P<order>\w+): (?P<packed>packed) for (?P<carrier>.+), due (?P<eta>.+)
Order (?P<order>\w+): (?P<shipped>on its way) with (?P<carrier>.+), parcel (?P<tracking>\w+), due (?P<eta>.+)
Order (?P<order>\w+): (?P<shipped>with) (?P<carrier>.+), parcel (?P<tracking>\w+), due (?P<eta>.+)
Order (?P<order>\w+): (?P<out>in the) (?P<carrier>.+) van(, parcel (?P<tracking>\w+))?, due today
Order (?P<order>\w+): (?P<delivered>delivered) on (?P<eta>[^,]+)
Order (?P<order>\w+): due (?P<eta>.+), (?P<processing>still in preparation)
Order (?P<order>\w+): due (?P<eta>.+), (?P<packed>already packed)
Order (?P<order>\w+): due (?P<eta>\d+ \w+) (?P<shipped>with) (?P<carrier>.+)
Order (?P<order>\w+): (?P<out>due today) with (?P<carrier>.+)
Order (?P<order>\w+): (?P<open>still with us)
Order (?P<order>\w+): (?P<sent>already with) (?P<carrier>.+), so the address stays
Order (?P<order>\w+): (?P<sent>already with) (?P<carrier>.+)
Order (?P<order>\w+): (?P<open>cancelled)
Order (?P<order>\w+): delivered on (?P<eta>.+), return (?P<returnable>open) until (?P<until>.+)
Order (?P<order>\w+): delivered on (?P<eta>.+), return (?P<too_late>closed) on (?P<until>.+)
New address: (?P<given>.+)
Your (?P<total>\$\d+) is back in (?P<refund_days>\d+) days
Send it back within (?P<return_days>\d+) days
We write to (?P<email>.+)
We call (?P<phone>.+)
Our numbers begin with (?P<letter>[A-Z])
""",
    "zh": r"""
货架信息：(?P<product>.+?)(?P<price>\d+元)，(?P<ships_free>包邮)
货架信息：(?P<product>.+?)(?P<price>\d+元)，(?P<ships_paid>运费)(?P<fee>\d+元)
货架信息：(?P<product>.+)是(?P<material>.+)做的
货架信息：(?P<product>.+)质保(?P<warranty>.+)
货架信息：(?P<product>.+)现货(?P<stock>\d+)件
货架信息：(?P<product>.+)(?P<sold_out>已售完)，(?P<restock>\d+)天后到货
货架信息：(?P<product>.+)(?<!只)有(?P<colours>.+)
货架信息：(?P<product>.+)只有(?P<colours>.+)
货架信息：(?P<product>[^，]+)，(?P<axis>容量|尺寸|长度|宽度|功率|续航|重量|页数|亮度|件数)(?P<value>.+)
货架信息：(?P<product>.+)由(?P<brand>.+)在(?P<brand_city>.+)制造
货架信息：(?P<accessory>.+)可配(?P<product>.+)，(?P<accessory_price>\d+元)
货架信息：可以，(?P<accessory>.+)适配(?P<product>.+)
货架信息：不行，(?P<misfit>.+)只适配(?P<hosts>.+)
货架信息：(?P<category>.+)里大家最常买(?P<favourite>.+)，(?P<favourite_price>\d+元)
货架信息：有(?P<wanted>.+)
本店承诺·退货：签收后(?P<return_days>\d+)天内可退
本店承诺·退货：签收后(?P<return_days>\d+)天内可退，退款(?P<refund_days>\d+)天后到账
本店承诺·退款：收到退货后(?P<refund_days>\d+)天到账
本店承诺·退款：(?P<refund_days>\d+)天到账
本店承诺·运费：满(?P<free_from>\d+元)包邮，不满收(?P<fee>\d+元)
本店承诺·配送：(?P<carrier>\D+)(?P<fastest>\d+)到(?P<slowest>\d+)天送达
本店承诺·时间：每天(?P<opens>\d+):00到(?P<closes>\d+):00在线
本店承诺·时间：每天(?P<opens>\d+):00到(?P<closes>\d+):00在线，下次再减(?P<voucher>\d+)%
本店承诺·费用：(?P<no_fee>退货不收任何费用)
本店承诺·费用：无质量问题退货扣(?P<restocking>\d+)%
本店承诺·礼品：(?P<free_wrap>免费)包装
本店承诺·礼品：包装(?P<wrap>\d+元)
本店承诺·付款：支持(?P<payments>.+)
本店承诺·换货：(?P<exchange_days>\d+)天内可换(，来回运费我们出)?
本店承诺·补偿：换新或退(?P<named_price>\d+元)，下次再减(?P<voucher>\d+)%
谢谢您：(?P<product>.+)质保(?P<warranty>.+)，请放心使用
订单(?P<order>\w+)：(?P<processing>备货中)，预计(?P<eta>.+)送达
订单(?P<order>\w+)：(?P<packed>已打包)，等(?P<carrier>.+)取件，预计(?P<eta>.+)送达
订单(?P<order>\w+)：(?P<carrier>.+)(?P<shipped>运输中)，单号(?P<tracking>\w+)，预计(?P<eta>.+)送达
订单(?P<order>\w+)：(?P<carrier>.+)(?P<out>派送中)(，单号(?P<tracking>\w+))?，今天送达
订单(?P<order>\w+)：(?P<eta>.+)已(?P<delivered>签收)，可以问问邻居是否代收
订单(?P<order>\w+)：预计(?P<eta>.+)送达，(?P<processing>还在备货)
订单(?P<order>\w+)：预计(?P<eta>.+)送达，(?P<packed>已打包)
订单(?P<order>\w+)：预计(?P<eta>.+)(?P<shipped>由)(?P<carrier>.+)送达
订单(?P<order>\w+)：(?P<out>今天)由(?P<carrier>.+)送达
订单(?P<order>\w+)：(?P<open>还在店里)，新地址：(?P<given>.+)
订单(?P<order>\w+)：(?P<sent>已交给)(?P<carrier>.+)，地址改不了
订单(?P<order>\w+)：(?P<sent>已交给)(?P<carrier>.+)，签收后(?P<return_days>\d+)天内可退
订单(?P<order>\w+)：(?P<open>已取消)，(?P<total>\d+元)将在(?P<refund_days>\d+)天内退回
订单(?P<order>\w+)：(?P<eta>.+)签收，(?P<until>.+)前(?P<returnable>可退)
订单(?P<order>\w+)：(?P<eta>.+)签收，(?P<until>.+)(?P<too_late>已过退货期)
我们会写信到(?P<email>.+)
我们会致电(?P<phone>.+)
请提供订单号，以(?P<letter>[A-Z])开头
""",
}


def day(when, language):
    if language == "zh":
        return f"{when.month}月{when.day}日"
    return f"{when.day} {calendar.month_name[when.month]}"


def warranty(months, language):
    if months < 12:
        return f"{months} months" if language == "en" else f"{months}个月"
    if language == "zh":
        return f"{months // 12}年"
    return "1 year" if months == 12 else f"{months // 12} years"


def split(joined, language):
    return set(re.split(", | and " if language == "en" else "、|和", joined))


def check(fact, text, found, seen):
    """Tell whether one stated fact is true. ``seen`` holds the market, the shop and the order."""
    market, shop, order, product = seen["market"], seen["shop"], seen["order"], seen["product"]
    policy, language = shop.policy, shop.language
    money = (lambda n: f"${n}") if language == "en" else (lambda n: f"{n}元")
    by_name = {p.name(language): p for p in shop.catalogue}

    def named(terms):
        return {term.text(language) for term in terms}

    def status(*allowed):
        return order is not None and order.status.en in allowed

    if fact == "product":
        return text in by_name
    if fact in ("accessory", "accessory_price"):
        part = by_name.get(found["accessory"])
        fits = part is not None and product is not None and product.id in part.accessory_of
        return fits and (fact == "accessory" or text == money(part.price))
    if fact == "hosts":
        part = by_name[found["misfit"]]
        hosts = {p.name(language) for p in shop.catalogue if p.id in part.accessory_of}
        return split(text, language) == hosts and not any(
            p.name(language) in seen["asked"] for p in shop.catalogue if p.id in part.accessory_of
        )
    if fact in ("favourite", "favourite_price"):
        shelf = [p for p in shop.catalogue if p.kind.category.text(language) == found["category"]]
        return text == (shelf[0].name(language) if fact == "favourite" else money(shelf[0].price))
    until = order and order.eta + timedelta(days=policy.return_days)
    judges = {
        "price": lambda: text == money(product.price),
        "named_price": lambda: any(
            text == money(p.price) for name, p in by_name.items() if name in seen["asked"]
        ),
        "ships_free": lambda: product.price >= policy.free_shipping_from,
        "ships_paid": lambda: product.price < policy.free_shipping_from,
        "material": lambda: text == product.material.text(language),
        "warranty": lambda: text == warranty(product.warranty_months, language),
        "stock": lambda: int(text) == product.stock > 0,
        "sold_out": lambda: product.stock == 0,
        "restock": lambda: int(text) == product.restock_days,
        "colours": lambda: split(text, language) == named(product.colours),
        "wanted": lambda: any(
            text in named(p.colours) for name, p in by_name.items() if name in seen["asked"]
        ),
        "axis": lambda: text == product.kind.axis.text(language),
        "value": lambda: text == product.value.text(language),
        "brand": lambda: text == product.brand.name.text(language),
        "brand_city": lambda: text == product.brand.city.text(language),
        "misfit": lambda: text in by_name,
        "category": lambda: text in named(shop.categories),
        "return_days": lambda: int(text) == policy.return_days,
        "refund_days": lambda: int(text) == policy.refund_days,
        "free_from": lambda: text == money(policy.free_shipping_from),
        "fee": lambda: text == money(policy.shipping_fee),
        "carrier": lambda: text == policy.carrier.text(language),
        "fastest": lambda: int(text) == policy.delivery_days[0],
        "slowest": lambda: int(text) == policy.delivery_days[1],
        "opens": lambda: int(text) == policy.opens,
        "closes": lambda: int(text) == policy.closes,
        "voucher": lambda: int(text) == policy.voucher_percent,
        "no_fee": lambda: policy.restocking_percent == 0,
        "restocking": lambda: int(text) == policy.restocking_percent > 0,
        "free_wrap": lambda: policy.gift_wrap == 0,
        "wrap": lambda: text == money(policy.gift_wrap) and policy.gift_wrap > 0,
        "payments": lambda: split(text, language) == named(policy.payments),
        "exchange_days": lambda: int(text) == policy.exchange_days,
        "order": lambda: order is not None and text == order.id,
        "eta": lambda: text == day(order.eta, language),
        "until": lambda: text == day(until, language),
        "tracking": lambda: text == order.tracking,
        "total": lambda: text == money(order.total),
        "processing": lambda: status("processing"),
        "packed": lambda: status("packed"),
        "shipped": lambda: status("shipped"),
        "out": lambda: status("out for delivery") and order.eta == market.today,
        "delivered": lambda: status("delivered"),
        "open": lambda: status("processing", "packed"),
        "sent": lambda: status("shipped", "out for delivery"),
        "returnable": lambda: status("delivered") and market.today <= until,
        "too_late": lambda: status("delivered") and market.today > until,
        "letter": lambda: any(o.shop == shop.id and o.id[0] == text for o in market.orders),
        "given": lambda: text in seen["asked"],
        "email": lambda: text in seen["asked"] and text == seen["owner"].email,
        "phone": lambda: text in seen["asked"] and text == seen["owner"].phone,
    }
    return bool(judges[fact]())


def sentences(text, language):
    if language == "zh":
        return [part for part in text.split("。") if part]
    return [part.rstrip(".") for part in re.split(r"(?<=[.?]) (?=[A-Z])", text)]


def stated(sentence, shop):
    """Read the facts out of one sentence; None where it is only style."""
    for style in STYLE[shop.language]:
        if re.fullmatch(style.replace("{shop}", re.escape(shop.name)), sentence):
            return None
    for form in FORMS[shop.language].strip().splitlines():
        match = re.fullmatch(form, sentence)
        if match:
            return {name: text for name, text in match.groupdict().items() if text is not None}
    raise AssertionError(f"no known form: {sentence!r}")


def judge(market, one):
    """List the facts that one conversation's answers state, each with whether it is true."""
    shop = next(shop for shop in market.shops if shop.name == one.client)
    by_name = {p.name(shop.language): p for p in shop.catalogue}
    owner = next(person for person in market.customers if person.id == one.owner)
    orders = {order.id: order for order in market.orders if order.shop == shop.id}
    seen = {"market": market, "shop": shop, "order": None, "owner": owner, "asked": ""}
    verdicts = []
    for message in one.messages:
        if message.role == "user":
            seen["asked"] += message.content + "\n"
        for call in message.tool_calls:
            arguments = json.loads(call.arguments)
            if "order_id" in arguments:
                seen["order"] = orders[arguments["order_id"]]
                verdicts.append(("owner", seen["order"].customer == owner.id))
        if message.role == "tool":
            verdicts += [(k, ok) for k, ok in tool_facts(message.content, seen, by_name)]
        if message.role == "assistant" and message.content:
            for sentence in sentences(message.content, shop.language):
                found = stated(sentence, shop)
                if found:
                    seen["product"] = by_name.get(found.get("product"))
                    verdicts += [
                        (fact, check(fact, text, found, seen)) for fact, text in found.items()
                    ]
    return verdicts


def tool_facts(content, seen, by_name):
    """Compare a tool's result with the market, key by key."""
    found, order, shop = json.loads(content), seen["order"], seen["shop"]
    if "product" in found:
        product = by_name[found["product"]]
        truth = {"product": found["product"], "stock": product.stock}
        if not product.stock:
            truth["restock_days"] = product.restock_days
        return [("tool", found == truth)]
    truth = {"order_id": order.id, "status": order.status.en}
    if order.status.en in ("processing", "packed"):
        truth |= {"eta": str(order.eta), "total": order.total}
    elif order.status.en == "delivered":
        until = date.fromordinal(order.eta.toordinal() + shop.policy.return_days)
        truth |= {"delivered": str(order.eta), "return_until": str(until)}
    else:
        carrier = shop.policy.carrier.text(shop.language)
        truth |= {"carrier": carrier, "eta": str(order.eta), "tracking": order.tracking}
    return [("tool", found == truth)]
