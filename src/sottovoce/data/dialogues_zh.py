"""How Chinese customers ask, and how every Chinese shop of the market answers."""

from __future__ import annotations

from collections.abc import Mapping

from sottovoce.data.phrasebook import Phrasebook, Topic

_RULES: Mapping[str, str] = {
    "greet": "[你好|您好|在吗|在么|亲|客服你好|客服在吗|{shop}你好|掌柜的|老板|嗨|早上好|晚上好|哈喽]",
    "lead": "[请问|想问下|想问一下|麻烦问下|问一下|我想知道|能不能告诉我|请教一下|帮我看看|求问]",
    "when": "[昨天|前天|上周|{weekday}|{month}|前几天|今天早上|刚刚]",
    "someone": "[妈妈|爸爸|朋友|室友|同事|邻居|老婆|老公|女儿|外婆|表妹]",
    "looking": "[想买来送<someone>，|最近[要搬家|在布置房间]，|<someone>推荐我来的，|<when>在你们店里看到的，"
    "|我想下单，|收藏好久了，|第一次来，|今天想买，||||||||]",
    "bought": "[<when>在你们家买过东西，|我准备下单，|第一次在这儿买，|给<someone>买的礼物，|页面上没找到，"
    "|下单前确认一下，|买了几样东西，|<someone>让我问的，|||||||]",
    "waiting": "[，{weekday}之前要用|，急用|，是送<someone>的礼物|，[下周|{weekday}]不在家|，等着过生日用"
    "|，有点着急|，快要出门旅行了||||||||]",
    "back": "[退货|退回去|把东西退掉|退]",
    "upset": "[有点失望|真让人生气|太不应该了|唉，心情都没了|不太满意|体验不好|好烦]",
    "love": "[特别喜欢|很好用|质量不错|比图片还好看|<someone>也很喜欢|包装很用心|正是我想要的]",
}

_PROBLEM = (
    "[<x>{fault}|<x>到了，{fault}|<when>收到的<x>，{fault}|打开一看，<x>{fault}|<x>有问题，{fault}"
    "|刚拆开<x>，{fault}]"
)

_PRODUCT_TOPICS: Mapping[str, Topic] = {
    "price": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>多少钱|<x>怎么卖|<x>什么价格|<x>现在卖多少|买<x>要花多少钱|<x>贵不贵]"
        "[呀|呢|啊|]？",
        {
            "free": "货架信息：{product}{price}，包邮。",
            "fee": "货架信息：{product}{price}，运费{fee}。",
        },
        depends="shipping",
        opener="问得好。",
    ),
    "material": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>是什么材质|<x>用什么做的|<x>是{some_material}的吗|<x>是什么料子"
        "|<x>材质是啥]？",
        {"": "货架信息：{product}是{material}做的。"},
        opener="问得好。",
    ),
    "warranty": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>保修多久|<x>有保修吗|<x>质保几年|<x>坏了管不管，保多久|<x>的质保期多长"
        "|<x>能保修多长时间]？",
        {"": "货架信息：{product}质保{warranty}。"},
        opener="问得好。",
    ),
    "stock": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>有货吗|<x>还有没有|<x>有现货吗|<x>卖完了吗|<x>库存还有多少|<x>能拍吗]？",
        {
            "in": "货架信息：{product}现货{stock}件。",
            "out": "货架信息：{product}已售完，{restock_days}天后到货。",
        },
        depends="stock",
        opener="已为您查到。",
    ),
    "colours": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>有哪些颜色|<x>都有什么颜色|<x>有{some_colour}吗|<x>颜色有几种|<x>还有别的颜色吗]"
        "？",
        {"": "货架信息：{product}有{colours}。"},
        needs="colours=some",
        opener="问得好。",
    ),
    "measure": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>的{axis}是多少|<x>{axis}多少|没看到<x>的{axis}，是多少|<x>的{axis}写的啥"
        "|要确认<x>的{axis}]？",
        {"": "货架信息：{product}，{axis}{value}。"},
        opener="问得好。",
    ),
    "brand": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>是什么牌子|<x>哪家做的|<x>产地是哪里|<x>是哪儿生产的|<x>是哪个品牌的]？",
        {"": "货架信息：{product}由{brand}在{brand_city}制造。"},
        opener="问得好。",
    ),
    "accessory": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][<x>有什么配件|有没有配<x>的东西|<x>能配什么|有<x>的{accessory_kind}吗"
        "|买<x>还能搭点什么|<x>配套的有吗]？",
        {"": "货架信息：{accessory}可配{product}，{accessory_price}。"},
        needs="accessory=some",
        opener="问得好。",
    ),
    "fits": Topic(
        "product_question",
        "product",
        "<looking>[<lead>|<lead>|][{candidate}能配<x>吗|{candidate}和<x>配不配|<x>可以用{candidate}吗"
        "|{candidate}适合<x>吗|{candidate}装得上<x>吗]？",
        {
            "yes": "货架信息：可以，{candidate}适配{product}。",
            "no": "货架信息：不行，{candidate}只适配{candidate_host}。",
        },
        depends="fits",
        needs="fits=yes,no",
        opener="问得好。",
    ),
    "popular": Topic(
        "product_question",
        "shop",
        "<looking>[<lead>|<lead>|][{category}里哪款卖得好|{category}有什么推荐|{category}大家都买哪个"
        "|{category}买什么好|{category}的爆款是哪个]？",
        {"": "货架信息：{category}里大家最常买{favourite}，{favourite_price}。"},
        opener="问得好。",
    ),
}

_POLICY_TOPICS: Mapping[str, Topic] = {
    "returns": Topic(
        "policy",
        "shop",
        "<bought>[<lead>|<lead>|][多久之内可以<back>|不喜欢能<back>吗|几天内能<back>|退货政策是怎样的"
        "|收到后多少天还能<back>|<back>有时间限制吗]？",
        {"": "本店承诺·退货：签收后{return_days}天内可退。"},
        opener="很乐意解答。",
    ),
    "refunds": Topic(
        "policy",
        "shop",
        "<bought>[<lead>|<lead>|][退款多久到账|退货之后钱几天退|退款要等几天|你们退钱快不快|多久能收到退款]？",
        {"": "本店承诺·退款：收到退货后{refund_days}天到账。"},
        opener="很乐意解答。",
    ),
    "shipping": Topic(
        "policy",
        "shop",
        "<bought>[<lead>|<lead>|][满多少包邮|包邮吗|运费怎么算|运费多少|买多少能免运费|邮费是多少]？",
        {"": "本店承诺·运费：满{free_from}包邮，不满收{fee}。"},
        opener="很乐意解答。",
    ),
    "delivery_time": Topic(
        "delivery",
        "shop",
        "<bought>[<lead>|<lead>|][下单后几天能到|发什么快递|一般要送多久|用哪家快递|{weekday}下单什么时候到"
        "|送货要几天]？",
        {"": "本店承诺·配送：{carrier}{fastest}到{slowest}天送达。"},
        opener="很乐意解答。",
    ),
    "hours": Topic(
        "policy",
        "shop",
        "<bought>[<lead>|<lead>|][客服几点上班|你们几点下班|什么时间有人在|{weekday}有客服吗|最晚几点能联系到你们"
        "|客服电话几点能打]？",
        {"": "本店承诺·时间：每天{opens}到{closes}在线。"},
        opener="很乐意解答。",
    ),
    "fees": Topic(
        "policy",
        "shop",
        "<bought>[<lead>|<lead>|][退货要扣钱吗|退货收手续费吗|无理由退会扣多少|退货免费吗|退的话要出什么费用]？",
        {
            "none": "本店承诺·费用：退货不收任何费用。",
            "some": "本店承诺·费用：无质量问题退货扣{restocking}%。",
        },
        depends="restocking",
        opener="很乐意解答。",
    ),
    "gift_wrap": Topic(
        "policy",
        "shop",
        "<bought>[<lead>|<lead>|][可以包装成礼物吗|有礼品包装吗|礼盒要加钱吗|送人的，能包一下吗|包装礼物怎么收费]？",
        {
            "free": "本店承诺·礼品：免费包装。",
            "paid": "本店承诺·礼品：包装{wrap}。",
        },
        depends="wrap",
        opener="很乐意解答。",
    ),
    "payments": Topic(
        "policy",
        "shop",
        "<bought>[<lead>|<lead>|][怎么付款|支持什么付款方式|能用{some_payment}吗|可以{some_payment}付吗"
        "|都有哪些支付方式]？",
        {"": "本店承诺·付款：支持{payments}。"},
        opener="很乐意解答。",
    ),
    "exchanges": Topic(
        "exchange",
        "shop",
        "<bought>[<lead>|<lead>|][可以换货吗，多久内|换货怎么换|几天之内能换|换货政策是怎样的|买错了能换吗"
        "|不合适可以换吗]？",
        {"": "本店承诺·换货：{exchange_days}天内可换，来回运费我们出。"},
        opener="很乐意解答。",
    ),
}

_ORDER_TOPICS: Mapping[str, Topic] = {
    "status": Topic(
        "order_status",
        "order",
        "[<lead>|][<o>到哪了|<o>发货了吗|帮我查一下<o>|<o>现在什么情况|<o>有消息吗|<o>怎么还没动静|查下<o>的物流]"
        "[？||]<waiting>[。|]",
        {
            "processing": "订单{order}：备货中，预计{eta}送达。",
            "packed": "订单{order}：已打包，等{carrier}取件，预计{eta}送达。",
            "shipped": "订单{order}：{carrier}运输中，单号{tracking}，预计{eta}送达。",
            "out for delivery": "订单{order}：{carrier}派送中，单号{tracking}，今天送达。",
            "delivered": "订单{order}：{eta}已签收，可以问问邻居是否代收。",
        },
        depends="status",
        opener="已为您查到。",
    ),
    "eta": Topic(
        "delivery",
        "order",
        "[<lead>|][<o>什么时候到|<o>哪天能收到|<o>还要几天|<o>{weekday}能到吗|<o>今天送吗|<o>大概几号到][？||]<waiting>[。|]",
        {
            "processing": "订单{order}：预计{eta}送达，还在备货。",
            "packed": "订单{order}：预计{eta}送达，已打包。",
            "shipped": "订单{order}：预计{eta}由{carrier}送达。",
            "out for delivery": "订单{order}：今天由{carrier}送达。",
        },
        depends="status",
        needs="status=processing,packed,shipped,out for delivery",
        opener="已为您查到。",
    ),
    "address": Topic(
        "delivery",
        "order",
        "[我搬家了|地址填错了|那几天不在家|收货地址写错了]，[<o>能改到|<o>麻烦送到|请把<o>改寄到|<o>还来得及改到]"
        "{new_address}[吗？|吧|，谢谢|]",
        {
            "open": "订单{order}：还在店里，新地址：{new_address}。",
            "sent": "订单{order}：已交给{carrier}，地址改不了。",
        },
        depends="stage",
        needs="stage=open,sent",
        opener="已为您查到。",
    ),
    "cancel": Topic(
        "order_status",
        "order",
        "[<o>可以取消吗|帮我取消<o>|我想取消<o>|不想要了，<o>能取消吗|<o>别发了|现在取消<o>还来得及吗][？|，谢谢|。|]",
        {
            "open": "订单{order}：已取消，{total}将在{refund_days}天内退回。",
            "sent": "订单{order}：已交给{carrier}，签收后{return_days}天内可退。",
        },
        depends="stage",
        needs="stage=open,sent",
        opener="已为您查到。",
    ),
    "send_back": Topic(
        "refund",
        "order",
        "[<o>我想退款|<o>能退吗|申请退<o>|<o>要退货|帮我退掉<o>|<o>还能退吗][，{reason}|，因为{reason}|。{reason}|]"
        "[。|，怎么弄？|]",
        {
            "yes": "订单{order}：{eta}签收，{return_until}前可退。本店承诺·退款：{refund_days}天到账。",
            "no": "订单{order}：{eta}签收，{return_until}已过退货期。",
        },
        depends="returnable",
        needs="returnable=yes,no",
        opener="已为您查到。",
        contact=True,
    ),
    "late": Topic(
        "complaint",
        "order",
        "[<o>怎么还没到|<o>也太慢了|等了好几天，<o>呢|<o>一直没收到|<o>到底什么时候送|都等急了，<o>在哪]"
        "[！|？|。][<upset>。|<upset>|][{weekday}要用的|]",
        {
            "shipped": "订单{order}：{carrier}运输中，单号{tracking}，预计{eta}送达。",
            "out for delivery": "订单{order}：{carrier}派送中，今天送达。",
        },
        depends="status",
        needs="status=shipped,out for delivery",
        opener="让您久等了。",
        mood="sorry",
        contact=True,
    ),
}

_PURCHASE_TOPICS: Mapping[str, Topic] = {
    "money": Topic(
        "refund",
        "purchase",
        "[<x><when>退回去了，钱呢|<when>退的<x>，退款什么时候到|<x>的退款还没收到|退了<x>，要等几天|<x>你们收到了吧，什么时候退钱]"
        "[？|。|！]",
        {"": "本店承诺·退款：收到退货后{refund_days}天到账。"},
        opener="马上处理。",
        contact=True,
    ),
    "take_back": Topic(
        "refund",
        "purchase",
        "[<x>{reason}，想退|<x>想退款，{reason}|{reason}，<x>怎么退|<someone>不喜欢<x>，能退钱吗|不想留<x>了，{reason}]"
        "[。|，怎么办？|]",
        {"": "本店承诺·退货：签收后{return_days}天内可退，退款{refund_days}天后到账。"},
        opener="马上处理。",
        contact=True,
    ),
    "swap": Topic(
        "exchange",
        "purchase",
        "[<x>能换成{wanted}吗|想把<x>换成{wanted}的|<x>颜色拍错了，要{wanted}|<x>可以换{wanted}的不|<someone>想要{wanted}的<x>，能换吗]"
        "[？|，怎么换？|，麻烦了|]",
        {
            "yes": "货架信息：有{wanted}。本店承诺·换货：{exchange_days}天内可换。",
            "no": "货架信息：{product}只有{colours}。",
        },
        depends="wanted",
        needs="wanted=yes,no",
        opener="马上处理。",
        contact=True,
    ),
    "replace": Topic(
        "exchange",
        "purchase",
        f"{_PROBLEM}[，能换一个吗？|，想换货|，给换吗？|，怎么换？]",
        {"": "本店承诺·换货：{exchange_days}天内可换，来回运费我们出。"},
        opener="马上处理。",
        contact=True,
    ),
    "broken": Topic(
        "complaint",
        "purchase",
        f"[<upset>，|]{_PROBLEM}[，<upset>|，你们看怎么办|，怎么处理？|。|！]",
        {"": "本店承诺·补偿：换新或退{price}，下次再减{voucher}%。"},
        opener="实在抱歉。",
        mood="sorry",
        contact=True,
    ),
    "silence": Topic(
        "complaint",
        "shop",
        "[没人回复|打电话没人接|[发了两次|<when>留的]消息都没人理|客服一直不在|等了半天没人应][，|！|。][<upset>|你们到底几点在？|有人吗？|]",
        {"": "本店承诺·时间：每天{opens}到{closes}在线，下次再减{voucher}%。"},
        opener="实在抱歉。",
        mood="sorry",
        contact=True,
    ),
    "praise": Topic(
        "thanks",
        "purchase",
        "[谢谢，<x>收到了，<love>|<when>收到<x>，<love>|<x>到啦，<love>|来说声谢谢，<x><love>|<x>送得真快，<love>"
        "|好评！<x><love>][！|。|~|]",
        {"": "谢谢您：{product}质保{warranty}，请放心使用。"},
        opener="太好了。",
        mood="glad",
    ),
}

CHINESE = Phrasebook(
    language="zh",
    system="你是“{shop}”的客服助手。",
    rules=_RULES,
    product="[|||你们家的|这款|那个|{brand}]{product}",
    same_product="[它|这款|这个]",
    order="[订单|我的订单|订单号|单号|快递|包裹]{order}",
    no_order="[我的快递|我的订单|我买的{item}|我的包裹|{placed}下的单]",
    frame="[<greet>，|<greet>，|<greet> |||]{intro}{ask}[，谢谢|，辛苦了|，谢谢啦|||||||]",
    intros="[我是{name}，|我叫{name}，邮箱{email}，|我是{name}，电话{phone}，|可以打我电话{phone}，"
    "|邮箱是{email}，|我是{town}的{name}，|本人{name}，|我住{address}，|||||||||]",
    again="[那|那|还有，|好的，|嗯，|对了，|再问下，|明白，|]{ask}",
    greeting="您好，这里是{shop}。",
    greeting_named="{name}您好，这里是{shop}。",
    missing="请提供订单号，以{letter}开头。",
    supply="[是|订单号是|找到了，|不好意思，是|应该是|]{order}[。||，谢谢|，麻烦了|哈]",
    write="我们会写信到{email}。",
    call="我们会致电{phone}。",
    thanks="[谢谢你|谢谢啦|谢谢哈|好的，谢谢|明白了，谢谢|太好了，谢谢|好嘞，多谢|知道了，多谢|行，谢谢"
    "|感谢|清楚了，感谢|好的明白|嗯嗯，谢谢][！|。|~|，再见|，辛苦了|]",
    welcome="不客气。",
    closings={
        "calm": "还有问题，随时留言。",
        "sorry": "我们一定处理好。",
        "glad": "{shop}期待再见。",
    },
    gap="",
    habits=(
        ("什么", "啥"),
        ("怎么", "咋"),
        ("，", " "),
        ("请问", "问下"),
        ("谢谢啦", "谢啦"),
        ("可以", "能"),
        ("你们", "你家"),
        ("。", ""),
        ("？", " "),
    ),
    slips=(("在", "再"), ("吗", "嘛"), ("的", "得"), ("收到", "受到"), ("退货", "推货")),
    topics={**_PRODUCT_TOPICS, **_POLICY_TOPICS, **_ORDER_TOPICS, **_PURCHASE_TOPICS},
)
