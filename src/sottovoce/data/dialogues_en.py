"""How English customers ask, and how every English shop of the market answers."""

from __future__ import annotations

from collections.abc import Mapping

from sottovoce.data.phrasebook import Phrasebook, Topic

_RULES: Mapping[str, str] = {
    "greet": "[Hi|Hello|Hey|Hi there|Good morning|Good evening|Hello everyone|Dear team|Hello {shop}"
    "|Hi {shop} team|Greetings][,|,|.|!]",
    "tell": "[can you tell me|could you tell me|would you let me know|may I ask|do you happen to know"
    "|do you know|could you let me know|can somebody tell me|can I ask]",
    "when": "[yesterday|last week|on {weekday}|in {month}|the other day|a few days ago|this morning]",
    "someone": "[sister|father|neighbour|partner|flatmate|aunt|best friend|colleague|grandma|son]",
    "looking": "[I'm looking for a present for my <someone>. |We are [moving|redecorating] [soon|in"
    " {next_month}]. |I saw something nice on your page <when>. |My <someone> told me about your shop. "
    "|I might buy [something|one] [today|this week]. |Quick question [from a new customer|before I"
    " order|about an article]: ||||||||]",
    "bought": "[I ordered from you <when>. |I'm thinking about ordering. |I bought [something|a"
    " present|a few things] <when>. |First time customer here. |My <someone> and I like your shop. "
    "|I couldn't find this on your page: |Before I [order|decide|pay]: |||||||]",
    "waiting": "[I need it [by {weekday}|for a birthday|before our trip|soon]. |We're [away|at home|at"
    " work] [next week|on {weekday}]. |[I'm getting a little nervous|I'm excited]. |It's a present"
    " for my <someone>. |||||||||]",
    "back": "[send [things|something] back|return [things|something|an order]|give something back]",
    "upset": "[Not happy|I'm disappointed|Honestly, that's a pity|This is annoying|I expected better"
    "|What a shame|Sad to say this][.|!]",
    "love": "[it's lovely|we love it|it's exactly what I wanted|it looks great|it works well|my"
    " <someone> is so happy with it|it's even nicer than in the pictures]",
}

_PROBLEM = (
    "[about <x>, {fault}|I opened <x> and {fault}|I've got a problem with <x>: {fault}|bad news about"
    " <x>, {fault}|<x> came <when>, {fault}|there is something wrong with <x>, {fault}]"
)

_PRODUCT_TOPICS: Mapping[str, Topic] = {
    "price": Topic(
        "product_question",
        "product",
        "<looking>[how much is <x>|what does <x> cost|<tell> what <x> costs|<tell> the price of <x>"
        "|what would I pay for <x>|how much do you want for <x>|what's the price of <x>]?",
        {
            "free": "From our shelf: the {product} is {price} and ships free.",
            "fee": "From our shelf: the {product} is {price}, shipping adds {fee}.",
        },
        depends="shipping",
        opener="Good question.",
    ),
    "material": Topic(
        "product_question",
        "product",
        "<looking>[what is <x> made of|<tell> what <x> is made of|what material is <x>|is <x>"
        " {some_material} or something else|<tell> which material you use for <x>]?",
        {"": "From our shelf: the {product} is made of {material}."},
        opener="Good question.",
    ),
    "warranty": Topic(
        "product_question",
        "product",
        "<looking>[how long is the warranty on <x>|is there a warranty on <x>|<tell> how long the"
        " warranty on <x> lasts|what warranty does <x> have|how many years of warranty come with <x>"
        "|if <x> breaks next year, am I covered]?",
        {"": "From our shelf: the {product} has {warranty} of warranty."},
        opener="Good question.",
    ),
    "stock": Topic(
        "product_question",
        "product",
        "<looking>[do you have <x> in stock|is <x> available|<tell> if <x> is in stock|can I still"
        " get <x>|is <x> sold out|do you still have <x>|is any of <x> left]?",
        {
            "in": "From our shelf: the {product}, {stock} in stock.",
            "out": "From our shelf: the {product} is sold out and back in {restock_days} days.",
        },
        depends="stock",
        opener="I looked it up.",
    ),
    "colours": Topic(
        "product_question",
        "product",
        "<looking>[what colours does <x> come in|which colours are there for <x>|does <x>"
        " come in {some_colour}|<tell> the colours of <x>|do you have <x> in other colours]?",
        {"": "From our shelf: the {product} comes in {colours}."},
        needs="colours=some",
        opener="Good question.",
    ),
    "measure": Topic(
        "product_question",
        "product",
        "<looking>[what is the {axis} of <x>|<tell> the {axis} of <x>|what {axis} does <x> have|I"
        " can't find the {axis} of <x>, do you know it|{axis} of <x>, please]?",
        {"": "From our shelf: the {product}, {axis} {value}."},
        opener="Good question.",
    ),
    "brand": Topic(
        "product_question",
        "product",
        "<looking>[who makes <x>|which brand is <x>|<tell> who makes <x>|where is <x> made|where does"
        " <x> come from|what brand makes <x>]?",
        {"": "From our shelf: the {product} is made by {brand} in {brand_city}."},
        opener="Good question.",
    ),
    "accessory": Topic(
        "product_question",
        "product",
        "<looking>[is there anything that goes with <x>|what accessories do you have for <x>|do you"
        " sell something that fits <x>|<tell> what fits <x>|any extras for <x>|is there a"
        " {accessory_kind} for <x>]?",
        {"": "From our shelf: the {accessory} fits the {product}, {accessory_price}."},
        needs="accessory=some",
        opener="Good question.",
    ),
    "fits": Topic(
        "product_question",
        "product",
        "<looking>[does the {candidate} fit <x>|will the {candidate} go with <x>|<tell> if the"
        " {candidate} fits <x>|can I use the {candidate} with <x>|are the {candidate} and <x>"
        " compatible]?",
        {
            "yes": "From our shelf: yes, the {candidate} fits the {product}.",
            "no": "From our shelf: no, the {candidate} fits the {candidate_host} only.",
        },
        depends="fits",
        needs="fits=yes,no",
        opener="Good question.",
    ),
    "popular": Topic(
        "product_question",
        "shop",
        "<looking>[what is popular in {category}|what would you recommend from {category}|<tell> what"
        " people like most in {category}|I'd like something from {category}, any idea|what sells best"
        " in {category}|your favourite in {category}]?",
        {"": "From our shelf: in {category} most people take the {favourite}, {favourite_price}."},
        opener="Good question.",
    ),
}

_POLICY_TOPICS: Mapping[str, Topic] = {
    "returns": Topic(
        "policy",
        "shop",
        "<bought>[how long can I <back>|how many days do I have to <back>|what is your return policy"
        "|<tell> how many days I have to <back>|until when can I <back>|if I don't like it, how long can I <back>"
        "|is it possible to <back>, and how long]?",
        {"": "Our promise on returns: {return_days} days from delivery."},
        opener="Gladly.",
    ),
    "refunds": Topic(
        "policy",
        "shop",
        "<bought>[how long does a refund take|when do I get my money after I <back>|<tell> how fast"
        " you refund|how quickly do you pay money back|how many days until a refund arrives]?",
        {"": "Our promise on refunds: your money {refund_days} days after the article is back."},
        opener="Gladly.",
    ),
    "shipping": Topic(
        "policy",
        "shop",
        "<bought>[is shipping free|how much is shipping|from what amount is delivery free|<tell> what"
        " shipping costs|do I have to pay for delivery|how much must I spend to get free shipping"
        "|what are your shipping costs]?",
        {"": "Our promise on shipping: free from {free_from}, below that {fee}."},
        opener="Gladly.",
    ),
    "delivery_time": Topic(
        "delivery",
        "shop",
        "<bought>[how long does delivery take|how fast do you deliver|<tell> how long shipping takes"
        "|if I order [today|on {weekday}], when does it come|how many days until a parcel gets here"
        "|who delivers your parcels|which carrier do you use|<tell> who brings the parcel]?",
        {"": "Our promise on delivery: {carrier} brings it in {fastest} to {slowest} days."},
        opener="Gladly.",
    ),
    "hours": Topic(
        "policy",
        "shop",
        "<bought>[when can I [reach|call] you|what are your opening hours|until when are you there"
        "|<tell> when you are open|are you there on {weekday}|how late can I [write|call]|when does"
        " somebody answer the phone]?",
        {"": "Our promise on hours: we answer from {opens} to {closes}, every day."},
        opener="Gladly.",
    ),
    "fees": Topic(
        "policy",
        "shop",
        "<bought>[does a return cost anything|do you charge a restocking fee|what do I lose if I"
        " <back>|<tell> if you keep some of the money when I <back>|are returns free|is there a fee"
        " if I <back>]?",
        {
            "none": "Our promise on fees: a return costs you nothing.",
            "some": "Our promise on fees: we keep {restocking} percent if the article was fine.",
        },
        depends="restocking",
        opener="Gladly.",
    ),
    "gift_wrap": Topic(
        "policy",
        "shop",
        "<bought>[do you do gift wrapping|can you wrap it as a present|how much is gift wrap|<tell> if"
        " you wrap presents|it's for my <someone>, can you wrap it|is there a gift box]?",
        {
            "free": "Our promise on gifts: we wrap them for free.",
            "paid": "Our promise on gifts: we wrap them for {wrap}.",
        },
        depends="wrap",
        opener="Gladly.",
    ),
    "payments": Topic(
        "policy",
        "shop",
        "<bought>[how can I pay|which payments do you take|can I pay by {some_payment}|<tell> how I"
        " can pay|what are the ways to pay|do you accept {some_payment}]?",
        {"": "Our promise on payment: {payments}."},
        opener="Gladly.",
    ),
    "exchanges": Topic(
        "exchange",
        "shop",
        "<bought>[how long can I exchange something|do you exchange articles|<tell> how exchanges work"
        "|what is your exchange policy|until when can I swap something|can I change it for another"
        " one later]?",
        {"": "Our promise on exchanges: {exchange_days} days, and we pay the way back."},
        opener="Gladly.",
    ),
}

_ORDER_TOPICS: Mapping[str, Topic] = {
    "status": Topic(
        "order_status",
        "order",
        "[where is <o>|what's happening with <o>|any news on <o>|<tell> the status of <o>|can you"
        " track <o>|has <o> been sent|could you check <o> for me|I'd like an update on <o>|how is <o>"
        " doing]?[ <waiting>]",
        {
            "processing": "Order {order}: in preparation, due {eta}.",
            "packed": "Order {order}: packed for {carrier}, due {eta}.",
            "shipped": "Order {order}: on its way with {carrier}, parcel {tracking}, due {eta}.",
            "out for delivery": "Order {order}: in the {carrier} van, parcel {tracking}, due today.",
            "delivered": "Order {order}: delivered on {eta}. Perhaps a neighbour took it in.",
        },
        depends="status",
        opener="I looked it up.",
    ),
    "eta": Topic(
        "delivery",
        "order",
        "<waiting>[when will <o> arrive|when does <o> come|<tell> when <o> gets here|what day will <o>"
        " be delivered|will <o> be here by {weekday}|how much longer does <o> take|do I have to be at"
        " home for <o> today]?",
        {
            "processing": "Order {order}: due {eta}, still in preparation.",
            "packed": "Order {order}: due {eta}, already packed.",
            "shipped": "Order {order}: due {eta} with {carrier}.",
            "out for delivery": "Order {order}: due today with {carrier}.",
        },
        depends="status",
        needs="status=processing,packed,shipped,out for delivery",
        opener="I looked it up.",
    ),
    "address": Topic(
        "delivery",
        "order",
        "[I've moved|I gave the wrong address|I won't be at home|there's a mistake in my address]"
        "[,|.|:] [can <o> go to|please send <o> to|could you send <o> to|is it too late to send <o>"
        " to] {new_address}[?|, please?| instead?]",
        {
            "open": "Order {order}: still with us. New address: {new_address}.",
            "sent": "Order {order}: already with {carrier}, so the address stays.",
        },
        depends="stage",
        needs="stage=open,sent",
        opener="I looked it up.",
    ),
    "cancel": Topic(
        "order_status",
        "order",
        "[can I cancel <o>|please cancel <o>|I want to cancel <o>|is it too late to cancel <o>|I don't"
        " need it any more, please stop <o>|I'd like to take back <o>][?|.| please.| if possible.]",
        {
            "open": "Order {order}: cancelled. Your {total} is back in {refund_days} days.",
            "sent": "Order {order}: already with {carrier}. Send it back within {return_days} days.",
        },
        depends="stage",
        needs="stage=open,sent",
        opener="I looked it up.",
    ),
    "send_back": Topic(
        "refund",
        "order",
        "[I'd like a refund for <o>|can I return <o>|I want my money back for <o>|please refund <o>"
        "|I want to send back <o>|is it too late to return <o>|may I give back <o>]"
        "[.|?|, {reason}.|: {reason}.|, because {reason}.]",
        {
            "yes": "Order {order}: delivered on {eta}, return open until {return_until}."
            " Our promise on refunds: {refund_days} days.",
            "no": "Order {order}: delivered on {eta}, return closed on {return_until}.",
        },
        depends="returnable",
        needs="returnable=yes,no",
        opener="I looked it up.",
        contact=True,
    ),
    "late": Topic(
        "complaint",
        "order",
        "[I'm still waiting for <o>|<o> is late|<o> takes forever|why is <o> not here yet|nothing has"
        " arrived, what about <o>|I've been waiting for days for <o>][!|.|?][ <upset>|][ <waiting>|]",
        {
            "shipped": "Order {order}: with {carrier}, parcel {tracking}, due {eta}.",
            "out for delivery": "Order {order}: in the {carrier} van, due today.",
        },
        depends="status",
        needs="status=shipped,out for delivery",
        opener="We are sorry for the wait.",
        mood="sorry",
        contact=True,
    ),
}

_PURCHASE_TOPICS: Mapping[str, Topic] = {
    "money": Topic(
        "refund",
        "purchase",
        "[I sent back <x> <when>, where is my money|you got <x> back <when>, when do I get my refund"
        "|my refund for <x> has not come|I'm waiting for the refund for <x>|I returned <x> <when>, how"
        " long until I'm paid][?|.|!]",
        {"": "Our promise on refunds: your money {refund_days} days after the article is back."},
        opener="We look after that.",
        contact=True,
    ),
    "take_back": Topic(
        "refund",
        "purchase",
        "[I'd like a refund for <x>, {reason}|{reason}, so I want to return <x>|how do I send back <x>"
        "? {reason}|my <someone> doesn't like <x>, can I get my money back|I don't want to keep <x>,"
        " {reason}][.|!|, what now?]",
        {
            "": "Our promise on returns: {return_days} days from delivery, money {refund_days}"
            " days later."
        },
        opener="We look after that.",
        contact=True,
    ),
    "swap": Topic(
        "exchange",
        "purchase",
        "[can I swap <x> for one in {wanted}|I'd rather have <x> in {wanted}|could I exchange <x> for"
        " {wanted}|is it possible to get <x> in {wanted} instead|wrong colour, I'd like <x> in"
        " {wanted}][?|, please?|, what do I do?]",
        {
            "yes": "From our shelf: yes, in {wanted} too. Our promise on exchanges: {exchange_days}"
            " days.",
            "no": "From our shelf: the {product} comes in {colours} only.",
        },
        depends="wanted",
        needs="wanted=yes,no",
        opener="We look after that.",
        contact=True,
    ),
    "replace": Topic(
        "exchange",
        "purchase",
        f"{_PROBLEM}[, can I exchange it?|. Can I swap it?|, how do I get another one?|. I'd like to"
        " exchange it.]",
        {"": "Our promise on exchanges: {exchange_days} days, and we pay the way back."},
        opener="We look after that.",
        contact=True,
    ),
    "broken": Topic(
        "complaint",
        "purchase",
        f"[<upset> |]{_PROBLEM}.[ <upset>| What can you do?| What now?|]",
        {
            "": "Our promise on mishaps: a new one or {price} back, and {voucher} percent off next time."
        },
        opener="We are sorry for that.",
        mood="sorry",
        contact=True,
    ),
    "silence": Topic(
        "complaint",
        "shop",
        "[nobody [answers|picks up|replies]|I [called|wrote] [twice|three times|<when>] and heard"
        " nothing|your chat does not work|I can't get through to you|still no answer to my mail]"
        "[!|.|...] [<upset>|when are you there at all?|is anybody there?]",
        {
            "": "Our promise on hours: we answer from {opens} to {closes}, and you get {voucher}"
            " percent off next time."
        },
        opener="We are sorry for that.",
        mood="sorry",
        contact=True,
    ),
    "praise": Topic(
        "thanks",
        "purchase",
        "[thank you for <x>, <love>|<x> arrived <when>, <love>|just wanted to say thanks, <x> is here"
        " and <love>|thanks for the quick delivery of <x>|great service, <x> came so fast|I got <x>"
        " <when> and <love>][!|.| :)|!!]",
        {"": "Our thanks to you: enjoy the {product}, it has {warranty} of warranty."},
        opener="That makes our day.",
        mood="glad",
    ),
}

ENGLISH = Phrasebook(
    language="en",
    system="You are the assistant of {shop}.",
    rules=_RULES,
    product="[the|the|your|the {brand}] {product}",
    same_product="[it|that one|this one]",
    order="[order|my order|order number|parcel|my parcel|my package|order no.] {order}",
    no_order="[my order|my parcel|my package|the {item} I ordered|my order from {placed}]",
    frame="[<greet> |<greet> |]{intro}{ask}[ Thanks!| Thank you.| Cheers| Many thanks, {given}"
    "|||||||]",
    intros="[I'm {name}. |this is {name} from {town}. |{name} here. |my name is {name}, {email}. "
    "|{name} here, phone {phone}. |you can call me on {phone}. |my e-mail is {email}. "
    "|I'm {given}. |{given} here, {address}. |||||||||]",
    again="[and |and |ok, and |right, |thanks, |one more thing, |also, |I see. |]{ask}",
    greeting="Hi there, {shop} here.",
    greeting_named="Hi {given}, {shop} here.",
    missing="Which order is it? Our numbers begin with {letter}.",
    supply="[it's|the number is|sorry, here it is:|that's order|I think it's|found it:|] {order}"
    "[.|!||, thanks|, please]",
    write="We write to {email}.",
    call="We call {phone}.",
    thanks="[[thanks|thank you|great, thanks|perfect, thank you|wonderful, thanks|nice, thank you]"
    "[ a lot| so much|||]|ok, that helps|good to know|cheers|brilliant, cheers|lovely]"
    "[!|.| :)|, bye!|, have a nice day!|]",
    welcome="You are welcome.",
    closings={
        "calm": "Anything else? Just write.",
        "sorry": "We put it right.",
        "glad": "See you soon at {shop}.",
    },
    gap=" ",
    habits=(
        *(("please", "pls"), ("thanks", "thx"), ("you", "u"), ("I'm", "im"), ("I've", "ive")),
        *(("don't", "dont"), ("what's", "whats"), ("are", "r"), ("tomorrow", "tmrw")),
        *(("because", "cause"), ("something", "smth"), ("and", "&")),
    ),
    slips=(),
    topics={**_PRODUCT_TOPICS, **_POLICY_TOPICS, **_ORDER_TOPICS, **_PURCHASE_TOPICS},
)
