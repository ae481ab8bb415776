"""English patterns of the base model's corpus, for ``sottovoce.data.grammar.expand``.

Everything here is general: whatever a shop, a person or a product has of its own is a slot.
"""

from __future__ import annotations

from typing import Final

RULES: Final[dict[str, str]] = {
    "hi": "[Hi|Hello|Good morning|Good afternoon|Hey|Hi there|Good evening|Hello there]",
    "hello": "[<hi>, |<hi>! |<hi>. ||||]",
    "please": "[please|please||]",
    "thanks": "[Thanks.|Thank you.|Thanks a lot!|Many thanks.|Thank you very much!|Cheers.||]",
    "sure": "[Sure.|Of course.|Certainly.|Yes.|Happy to help.|No problem.|Let me see.|Right.|||]",
    "ask": "[Could you tell me|Can you tell me|I would like to know|Do you know|I want to ask|Please tell me]",
    "more": "[Is there anything else?|Do you need anything else?|Let me know if you have other questions.|Tell me if you need more help.||||||]",
    "adj": "[light|sturdy|simple|soft|practical|compact|handy|durable|elegant|modern|classic|plain|quiet|warm|robust|slim|pretty|solid|well made|foldable|washable|reliable|comfortable|lovely|smart]",
    "adv": "[very|quite|rather|really|surprisingly|wonderfully|pleasantly]",
    "room": "[kitchen|bedroom|living room|office|garden|hall|bathroom|children's room|balcony|workshop|studio|terrace]",
    "person": "[my mother|my father|my daughter|my son|my sister|my brother|a friend|my wife|my husband|a colleague|my neighbour|my grandmother|my partner|my teacher]",
    "occasion": "[a birthday|a wedding|the holidays|our new home|a trip|the summer|the winter|school|work|the weekend|camping|everyday use]",
    "sorry": "[I am sorry about that.|Sorry to hear that.|I apologise for the trouble.|That should not have happened, I am sorry.|My apologies.|We are sorry.]",
    "wait": "[One moment.|Let me check.|I will look it up.|Just a second.|Give me a moment.|Let me find it.|Checking now.|||||]",
    "bye": "[Bye!|Have a nice day!|Goodbye.|Take care.|See you.|Have a good evening.]",
    "buy": "[bought|ordered|got|purchased|received]",
    "good": "[good|fine|great|excellent|nice|perfect|okay]",
    "dontknow": "[I do not have that information.|I am afraid I do not know that.|That is not in my notes.|I cannot say for certain.|I do not know. I will ask a colleague.|Sorry, I have no details about that.]",
    "style": "[Be brief.|Be polite.|Answer in short sentences.|Stay friendly.|Use only the facts below.|Answer honestly.|Never guess.|Keep to the facts.|If you do not know, say so.||||]",
    "job": "[You are the assistant of {shop}.|You answer customers of {shop}.|You work for {shop}.|You are a helper in the online shop {shop}.|You are the support agent at {shop}.|This is the help desk of {shop}.|You help people who shop at {shop}.|Customer service chat of {shop}.|Shop: {shop}.|{shop} customer service.]",
    "plainjob": "[You are a helpful assistant.|You answer questions about shopping.|You are a customer service agent.|You help customers of an online shop.|You are a shop assistant.|Answer the customer's question.]",
    "lookup": "[lookup_order|get_order|find_order|order_lookup|order_status|check_order|fetch_order|read_order|query_order]",
    "okey": "[order_id|order_id|id|order|number|order_number]",
    "opinion": "[It is <adv> <adj>.|I find it <adj> and <adj>.|The quality is <good>.|The price is <good>.|It looks <adj>.|It feels <adj>.|It came quickly.|The packaging was <good>.|I use it every day.|I use it in the <room>.|It works well.|It does what it should.|It was a present for <person>.|I would buy it again.|The colour is a little darker than in the picture.|It is smaller than I thought.|The {material} is <adj>.|It arrived a day late, but that is fine.|It has a small scratch.|It broke after a few weeks.|The instructions are hard to read.|For this price it is <good>.|I am happy with it.|I am not happy with it.|My old one was better.|I can recommend it.]",
    "feature": "[It is made of {material}.|The {material} makes it <adj> and <adj>.|It comes in {colour} and {colour2}.|It is available in {colour}.|Its {axis} is {value}.|The {axis} is {value}.|It weighs very little.|It is easy to clean.|It is easy to carry.|It fits in any <room>.|It is made for <occasion>.|A <adj> choice for the <room>.|It costs {price}.|The price is {price}.|{brand} gives a warranty of {months} months.|The warranty lasts {months} months.|Each piece is made by hand.|Each piece is checked before it is sent.|It is packed in recycled paper.|It makes a <adj> present for <person>.|It was designed in {city}.|It is made in {city}.|The surface is smooth.|The edges are rounded.|It lasts for years.|Wipe it with a damp cloth.|Keep it dry.|Do not put it in the dishwasher.|It can be washed by hand.|Spare parts are available.|No tools are needed.|It is ready to use.]",
    "who": "[my sister|my father|my neighbour|my partner|my flatmate|my aunt|my uncle|my best friend|a colleague|my grandma|my son|my daughter|our team|everyone|nobody here|my boss|the children|my husband|my wife|our teacher|somebody]",
    "time": "[yesterday|today|tomorrow|last week|next week|this week|this morning|tonight|on {weekday}|in {month}|two days ago|a few days ago|a month ago|the other day|soon|later|last year|next month|this year|right now|already|before the weekend|until {weekday}|through {month}|since {month}|every day|all day|again]",
    "mood": "[happy|sad|nervous|excited|disappointed|tired|busy|angry|pleased|surprised|worried|curious|sure|unhappy|proud|sick|ready|late|thankful]",
    "praise": "[lovely|brilliant|great|wonderful|nicer than in the pictures|fast|beautiful|exactly what I wanted|better than I thought|really good|our favourite|worth the money|the best]",
    "blame": "[broken|too late|annoying|a pity|a shame|a mistake|torn|bent|wet|dirty|loose|worse than before|not what I wanted|too loud|slow|wrong|damaged|cracked]",
    "told": "[told me about your shop|wants one too|likes it very much|has the same one|heard about you|saw it on your page|gave it to me|will be so happy|wrote to you <time>|decided to wait|found it in the kitchen|needs it for work|is getting one as a gift|asked me the same|also uses it]",
    "everyday": "[I need it <time>.|We are moving <time>.|We are away <time>.|We are at home <time>.|I am at work <time>.|I saw it <time>.|I ordered it <time>.|I wrote to you <time>.|I heard about it <time>.|It came <time>.|It happened <time>.|Nothing happened <time>.|I am getting <mood>.|I am a little <mood>.|I was so <mood>.|<who> is <mood>.|<who> <told>.|It is <praise>.|It was <blame>.|That is <blame>.|It looks <praise>, we love it.|I wanted something else instead.|I am thinking about ordering one.|I might buy another one <time>.|I could not find it on your page.|I could not decide.|I have waited for weeks.|How nice!|What a pity!|What a shame.|Honestly, I am <mood>.|This is my first time here.|I like your shop, and <who> does too.|I have just one quick question.|Quick question before I order.|Maybe I made a mistake.|I do not know what to do.|Perhaps you can help me with that.|We are redecorating the <room>.|I am looking for a gift.|I am looking for a present for <who>.|Is it true?|Is that how it works?|Does anybody know?|I lost the paper.|I threw the box away.|I put it on the shelf.|It stays in the <room>.|The battery is empty.|The package was open.|The wait is too long.|The picture on the page looks different.|The news is good.|He must have sent it.|She has got it already.|They took it back.|You wrote that it would come <time>.|I have read your promise.|I have read the page about fees.|I have never used one.|Let us see.|I hope so.|I think so.|I do not mind.|That is all right.|It is enough for now.|There was nobody at home.|My account does not open.|I forgot my password.|I changed the amount.|I paid twice.|I have to leave early.|It rained all day.|We had guests and cooked a big dinner.|The train was late.|The weather is cold.|The days are getting longer.|I grow tomatoes and herbs.|Our cat sleeps on it.|The dog chewed it.|The baby is asleep.|I study in the evening.|My flat is small.|The old one fell down the stairs.|<who> bought two.|Anything else is fine.|I would rather have it later.|Just write to me.|Write to me any time.|Call me when you can.|Any update?|Any news?|Have a look, please.]",
    "polite": "[I looked it up for you.|I have looked at it.|We are glad you wrote to us.|Gladly.|With pleasure.|Good question.|Good choice.|Lovely to hear that.|That is a pity.|Let us put this right.|I will pass it on to the team.|Our team looks after it.|It is on its way.|It is due soon.|We keep our promise.|You will hear from us soon.|See you soon.|Just ask.|Thank you for your patience.|We appreciate your message.|Enjoy it!|All the best to <who>.|I wrote it down.|It left our house <time>.|It is being prepared.|It is in preparation.|It is already packed.|We took it back.|We will put it in the next parcel.|It counts from the day of delivery.|That adds up.|It ships <time>.|We send gifts too.|We cover the fees.|You can count on us.|There are a few left.|Only a few remain.|Most people take this one.|Many buy both.|People like it for the <room>.]",
}

# Name of the topic, a fact, ways to ask for it, ways to answer. Facts of a shop first.
SHOP_TOPICS: Final = """
returns
F [Returns: within {days} days.|Articles can be returned within {days} days.|Customers may send things back for {days} days after delivery.|Return period: {days} days.|We take goods back up to {days} days after delivery.|The return window is {days} days.]
Q [How long do I have to return something?|Can I send it back?|What is your return policy?|How many days do I have for a return?|Until when can I return an article?|<ask> how returns work?|May I return the {kind}?]
A [You have {days} days to return it.|You can send it back within {days} days.|Yes, within {days} days after delivery.|Returns are possible for {days} days.|It can come back within {days} days.|The return period is {days} days.|Please return it within {days} days.]

refunds
F [Refunds take {days2} days.|Refund time: {days2} days after the article is back.|Money is paid back within {days2} days.|We refund within {days2} days.]
Q [When do I get my money back?|How long does a refund take?|When will the refund arrive?|How soon will I be refunded?|<ask> when the money is paid back?|I sent it back. When is the refund?]
A [A refund takes {days2} days.|You get your money back within {days2} days.|The money is paid back {days2} days after we have the article.|It takes about {days2} days.|Within {days2} days.|We pay it back in {days2} days.]

shipping_fee
F [Shipping costs {fee}.|Delivery fee: {fee}.|Shipping is {fee}, free from {free}.|Sending a parcel costs {fee}; from {free} it is free.|Shipping fee {fee}, nothing from {free}.]
Q [How much is shipping?|What does delivery cost?|What is the shipping fee?|Do I have to pay for delivery?|<ask> what the shipping costs?|How much do I pay for the parcel?]
A [Shipping costs {fee}.|The delivery fee is {fee}.|It is {fee}.|You pay {fee} for shipping.|Delivery costs {fee}.|We charge {fee}.]

free_shipping
F [Free shipping from {free}.|Orders over {free} are sent free of charge.|No shipping fee from {free}.|Delivery is free for orders of {free} or more.]
Q [Is there free shipping?|When is delivery free?|From which sum is shipping free?|How much must I spend for free delivery?|Do you ship for free?]
A [Shipping is free from {free}.|Yes, for orders of {free} or more.|From {free} we send for free.|Orders over {free} are free of shipping.|You need to spend {free}.|Delivery is free from {free}.]

delivery_time
F [Delivery takes {d1} to {d2} days.|Delivery time: {d1} to {d2} days.|Parcels arrive after {d1} to {d2} days.|We deliver within {d2} days.|A parcel needs {d1} to {d2} days.]
Q [How long does delivery take?|When will my parcel come?|How fast do you deliver?|How many days until it arrives?|<ask> the delivery time?|Is delivery quick?]
A [Delivery takes {d1} to {d2} days.|It arrives in {d1} to {d2} days.|Usually {d1} to {d2} days.|Please allow {d1} to {d2} days.|About {d1} to {d2} days.|In {d1} to {d2} days it should be with you.]

carrier
F [Carrier: {carrier}.|Parcels are sent with {carrier}.|{carrier} brings our parcels.|We ship with {carrier}.|Our parcel service is {carrier}.]
Q [Who delivers the parcel?|Which carrier do you use?|Who brings my order?|With whom do you ship?|Which parcel service is it?]
A [We ship with {carrier}.|{carrier} delivers it.|It comes with {carrier}.|Our carrier is {carrier}.|{carrier}.|The parcel is brought by {carrier}.]

hours
F [Opening hours: {open}:00 to {close}:00.|We answer from {open}:00 to {close}:00.|Customer service is there from {open} to {close} o'clock.|Hours: {open}:00-{close}:00.|The phone is answered between {open}:00 and {close}:00.]
Q [When are you open?|What are your opening hours?|When can I call you?|Until when do you answer?|At what time do you open?|<ask> your hours?]
A [We are here from {open}:00 to {close}:00.|From {open}:00 to {close}:00.|We open at {open}:00 and close at {close}:00.|You can call between {open}:00 and {close}:00.|Our hours are {open}:00 to {close}:00.]

closed
F [Closed on {weekday}.|We are closed every {weekday}.|No deliveries on {weekday}.|{weekday} is our day off.]
Q [On which day are you closed?|Are you open on {weekday}?|Do you work every day?|Which day is your day off?]
A [We are closed on {weekday}.|No, not on {weekday}.|On {weekday} we are closed.|We work every day but {weekday}.|{weekday} is our day off.]

payment
F [Payment: {payment} or {payment2}.|One can pay by {payment} and {payment2}.|We accept {payment} and {payment2}.|Ways to pay: {payment}, {payment2}.]
Q [How can I pay?|Which payments do you accept?|Can I pay by {payment}?|What are the ways to pay?|<ask> how to pay?|Do you take {payment}?]
A [You can pay by {payment} or {payment2}.|We accept {payment} and {payment2}.|By {payment} or {payment2}.|We take {payment} and also {payment2}.|{payment} and {payment2} are possible.]

gift_wrap
F [Gift wrapping costs {fee2}.|Gift wrap: {fee2}.|We wrap presents for {fee2}.|A gift box is {fee2}.]
Q [Can you wrap it as a gift?|Do you offer gift wrapping?|It is a present for <person>. Can you wrap it?|How much is gift wrap?|What does a gift box cost?]
A [Yes, gift wrapping costs {fee2}.|We wrap it for {fee2}.|Gift wrap is {fee2}.|Of course. It costs {fee2}.|That is {fee2} extra.]

exchange
F [Exchanges within {days3} days.|An article can be exchanged for {days3} days.|Exchange period: {days3} days.|You may swap an article within {days3} days.]
Q [Can I exchange it?|How long can I exchange an article?|I ordered the wrong size. Can I swap it?|May I change it for another colour?|Until when is an exchange possible?]
A [Yes, you can exchange it within {days3} days.|An exchange is possible for {days3} days.|Within {days3} days.|You have {days3} days for an exchange.|We exchange it up to {days3} days after delivery.]

restocking
F [Restocking fee: {percent} percent.|We keep {percent}% when nothing was wrong with the article.|For used articles {percent} percent is kept.|Returned goods without a fault cost {percent}%.]
Q [Do you keep part of the money?|Is there a fee for returns?|Will I get the full sum back?|Does a return cost anything?|What is the restocking fee?]
A [We keep {percent} percent.|The restocking fee is {percent}%.|Yes, {percent} percent is kept.|{percent}% is taken off if nothing was wrong with it.|There is a fee of {percent} percent.]

voucher
F [After a complaint we give {percent2} percent off the next order.|Voucher for complaints: {percent2}%.|Unhappy customers get a voucher of {percent2} percent.|New customers get {percent2}% off.]
Q [Do I get a discount?|Is there a voucher?|What can you offer me?|How much off do I get?|Do you have a discount for me?]
A [You get {percent2} percent off.|We can offer you {percent2}% off.|There is a voucher of {percent2} percent.|Yes, {percent2}% off the next order.|I can give you {percent2} percent.]

phone
F [Phone: {phone}.|Call us at {phone}.|Our number is {phone}.|Telephone {phone}.]
Q [What is your phone number?|Can I call you?|How can I reach you by phone?|<ask> your number?|I would rather phone you.]
A [Our number is {phone}.|You can call {phone}.|Please call {phone}.|{phone}.|Call us at {phone}.]

email
F [E-mail: {email}.|Write to {email}.|Our address for letters is {email}.|Mail {email}.]
Q [What is your e-mail?|Where can I write to?|Can I send you a photo?|How do I contact you in writing?|Is there a mail address?]
A [Please write to {email}.|Our e-mail is {email}.|You can write to {email}.|Send it to {email}.|{email}.]

place
F [Our shop is in {city}.|Address: {address}.|We are at {address}.|The store is at {address}.|You find us at {address}.]
Q [Where are you?|What is your address?|Do you have a store?|Can I come to your shop?|Where can I find you?]
A [You find us at {address}.|Our address is {address}.|We are at {address}.|Yes, at {address}.|The store is at {address}.]
"""

PRODUCT_TOPICS: Final = """
price
F [The {product} costs {price}.|{product}: {price}.|Price of the {product}: {price}.|We sell the {product} for {price}.]
Q [How much is the {product}?|What does the {product} cost?|What is the price of the {product}?|How much do you want for the {product}?|Is the {product} expensive?|<ask> the price of the {product}?]
A [The {product} costs {price}.|It is {price}.|It costs {price}.|The price is {price}.|{price}.|You pay {price} for the {product}.]

colour
F [The {product} comes in {colour} and {colour2}.|Colours of the {product}: {colour}, {colour2}.|{product}: in {colour} or {colour2}.|We have the {product} in {colour} and {colour2}.]
Q [Which colours does the {product} come in?|What colours do you have?|Is the {product} available in {colour}?|Do you have the {product} in {colour2}?|In which colours can I get it?]
A [It comes in {colour} and {colour2}.|We have {colour} and {colour2}.|There are two colours: {colour} and {colour2}.|You can have it in {colour} or {colour2}.|The {product} is sold in {colour} and {colour2}.]

material
F [The {product} is made of {material}.|Material of the {product}: {material}.|{product}: {material}.|The {product} is {material}.]
Q [What is the {product} made of?|Which material is it?|Is the {product} made of {material}?|What is the material of the {product}?|Of what is the {kind} made?]
A [It is made of {material}.|The material is {material}.|The {product} is made of {material}.|{material}.|It is {material}.]

measure
F [{axis} of the {product}: {value}.|The {axis} of the {product} is {value}.|{product}, {axis} {value}.|The {product} has a {axis} of {value}.]
Q [What is the {axis} of the {product}?|<ask> the {axis}?|Which {axis} does the {product} have?|What about the {axis}?|Can you tell me more about the {axis}?]
A [The {axis} is {value}.|It is {value}.|Its {axis} is {value}.|The {product} has {value}.|{value}.]

warranty
F [The {product} has {months} months of warranty.|Warranty: {months} months.|{brand} gives {months} months of warranty on the {product}.|The {product} is covered for {months} months.]
Q [How long is the warranty?|Is there a warranty on the {product}?|How long is the {product} covered?|What if it breaks?|Does the {product} have a guarantee?]
A [The warranty is {months} months.|It has {months} months of warranty.|You have {months} months of warranty.|It is covered for {months} months.|{months} months.]

maker
F [The {product} is made by {brand}.|Maker of the {product}: {brand}.|{product} by {brand}.|{brand} makes the {product}.]
Q [Who makes the {product}?|Which brand is it?|What brand is the {product}?|Who is the maker?]
A [It is made by {brand}.|The brand is {brand}.|{brand} makes it.|It comes from {brand}.|The maker is {brand}.]

origin
F [The {product} is made in {city}.|{brand} works in {city}.|Made in {city}.|The {product} comes from {city}.]
Q [Where is the {product} made?|Where does it come from?|In which town is it made?|Where is the maker?]
A [It is made in {city}.|It comes from {city}.|In {city}.|The {product} is made in {city}.]

stock
F [Stock of the {product}: {stock}.|There are {stock} pieces of the {product}.|{stock} of the {product} are left.|We have {stock} of the {product}.]
Q [Is the {product} in stock?|How many do you have?|Do you still have the {product}?|Can I order the {product} now?|Are there any left?]
A [Yes, there are {stock} left.|We have {stock} in stock.|{stock} are left.|There are {stock} pieces.|Yes, we still have {stock}.]

restock
F [The {product} is sold out; new ones come in {d2} days.|{product}: sold out, back in {d2} days.|No {product} left until {date}.|The {product} comes back in {d2} days.]
Q [When is the {product} back?|Is the {product} sold out?|When can I buy the {product} again?|When do you get new ones?]
A [It is sold out and comes back in {d2} days.|In {d2} days there will be new ones.|New ones come in {d2} days.|It is back in {d2} days.|Please try again in {d2} days.]

fits
F [The {product2} fits the {product}.|{product2}: an accessory of the {product}.|With the {product} goes the {product2}.|Accessory for the {product}: {product2}.]
Q [What fits the {product}?|Is there an accessory for the {product}?|What goes with the {product}?|Which part fits my {product}?|Can you recommend something to go with it?]
A [The {product2} fits it.|The {product2} goes with it.|I would take the {product2}.|There is the {product2}.|You can use the {product2}.]
"""

# U: customer, C: call (name, then key=value), T: the tool's answer, A: assistant.
SCENES: Final = """
U <hello>[Where is my order {order}?|what about order {order}?|<ask> where {order} is?|I am waiting for order {order}.|my order number is {order}. When does it come?|Has {order} been sent?|Any news about {order}?|Order {order} has not arrived.] <thanks>
C <lookup>: <okey>={order}
T <okey>={order}; status={status}; [eta|expected|date|delivery]={iso}[|; carrier={carrier}][|; total={total}]
A <sure> [Order {order} is {status}. It should arrive on [{iso}|{date}].|The status of {order} is: {status}. Expected on [{iso}|{date}].|Your order {order} is {status} and comes on [{iso}|{date}].|It is {status}. The date is [{iso}|{date}].|I see {order}: {status}, expected [{iso}|{date}].] <more>

U <hello>[I want to know where my parcel is.|Where is my order?|My order has not come yet.|Can you check my order?|I am still waiting for my {kind}.|I have a question about my order.] <thanks>
A [Could you give me the order number?|Please tell me your order number.|What is the number of the order?|Which order is it?|I need the order number for that.|Sure, what is the order number?]
U [It is {order}.|{order}|The number is {order}.|Order {order}.|Here it is: {order}|{order}, <please>.]
C <lookup>: <okey>={order}
T <okey>={order}; status={status}; carrier={carrier}; tracking={tracking}[|; items={product}]
A <sure> [It is {status}. The carrier is {carrier}, tracking number {tracking}.|Your parcel is {status} with {carrier}, number {tracking}.|Order {order} is {status}. You can follow it at {carrier} with {tracking}.|Status: {status}. {carrier} has it under {tracking}.]

U <hello>[Can you track {tracking}?|Where is parcel {tracking}?|My tracking number is {tracking}.|<ask> where {tracking} is?]
C [track_parcel|track|get_tracking|parcel_status|find_parcel]: [tracking|number|tracking_number|parcel]={tracking}
T [place|location|city]={city}; status={status}; [updated|date]={iso}
A <sure> [The parcel is in {city}. Status: {status}.|It was last seen in {city} on [{iso}|{date}].|{tracking} is {status}, now in {city}.|It is in {city} and {status}.]

U <hello>[I want to cancel order {order}.|please cancel {order}.|Can I still cancel {order}?|I do not need {order} any more.] <thanks>
C [cancel_order|cancel|order_cancel|stop_order]: <okey>={order}[|; reason={reason}]
T [ok|done|cancelled|success]=true; <okey>={order}[|; refund={price}]
A <sure> [Order {order} is cancelled.|I have cancelled {order}.|It is done: {order} will not be sent.|Your order {order} has been cancelled.] <more>

U <hello>[I want to return the {kind} from order {order}, because {reason}.|I would like to send back {order}: {reason}.|My {kind} from {order}: {reason}. Can I return it?|About {order}: {reason}. I want my money back.]
C [create_return|start_return|return_order|open_return|request_refund]: <okey>={order}; reason={reason}
T [return_id|return|id|case]={code}; [label|email|sent_to]={email}[|; status=open]
A <sorry> [Your return has the number {code}. The label goes to {email}.|I opened return {code} and sent the label to {email}.|The number of the return is {code}. Look into your mail at {email}.|Return {code} is open. You will find the label at {email}.]

U <hello>[Do you have the {product} in stock?|Is there still a {product}?|How many of the {product} do you have?|Can I get the {product}?]
C [check_stock|stock|get_stock|inventory|find_product]: [product|name|item]={product}
T [product|name|item]={product}; [stock|count|left|pieces]=#{stock}; price={price}
A <sure> [There are {stock} left at {price}.|We have {stock}. It costs {price}.|Yes, {stock} pieces, {price} each.|The {product} is in stock: {stock} pieces for {price}.]

U <hello>[I am looking for a {kind}.|Do you sell a {kind}?|Show me a {kind} made of {material}, <please>.|I need a <adj> {kind} for <occasion>.|Can you recommend a {kind} for <person>?|Have you got a {colour} {kind}?]
C [search_products|search|find_products|catalogue_search|search_catalogue]: [query|q|text|kind]={kind}[|; material={material}][|; colour={colour}]
T [name|product|title]={product}; brand={brand}; price={price}; material={material}; colour={colour}
A <sure> [I found the {product} by {brand} for {price}.|There is the {product}. It is made of {material} and costs {price}.|How about the {product}? It is {colour}, made of {material}, {price}.|We have the {product} by {brand}: {material}, {colour}, {price}.] <more>

U <hello>[please change the address of order {order} to {address}.|I have moved. Send {order} to {address}.|Can {order} go to {address}?|The address of {order} is wrong. It should be {address}.]
C [change_address|update_address|set_address]: <okey>={order}; [address|to|new_address]={address}
T [ok|done|success]=true; [address|to]={address}
A <sure> [The new address is {address}.|Order {order} now goes to {address}.|I changed it to {address}.|Done. We send it to {address}.] <thanks>

U <hello>[I need the invoice for {order}.|Can you send me the bill of {order}?|Where is the invoice of {order}?|Please send the receipt for {order} to {email}.]
C [send_invoice|get_invoice|invoice|email_invoice]: <okey>={order}[|; email={email}]
T [invoice|invoice_id|number]={code}; total={price}; [sent|email|to]={email}
A <sure> [Invoice {code} over {price} was sent to {email}.|I sent invoice {code} to {email}.|The invoice is {code}. The total is {price}.|You will get {code} at {email}.]

U <hello>[Please call me back at {phone}.|Can somebody phone me? My number is {phone}.|I am {name}. I want to talk to a person: {phone}.|Call me on {weekday}, {phone}.]
C [book_callback|callback|request_call|call_back]: phone={phone}[|; day={weekday}][|; name={name}]
T [ok|booked|success]=true; [day|when]={weekday}; [hour|time]={open}:00
A <sure> [We will call you on {weekday} at {open}:00.|A colleague calls {phone} on {weekday} at {open}:00.|It is booked: {weekday}, {open}:00.|You will be called on {weekday} at {open}:00.]

U <hello>[What is order {order}?|Please check {order}.|<ask> about {order}?]
C <lookup>: <okey>={order}
T [error|message]=[not found|order not found|unknown order|no such order][|; <okey>={order}]
A [I cannot find {order}. Could you check the number?|There is no order {order}. Is the number right?|Sorry, {order} is unknown. Please look at the number again.|I see no order with the number {order}.]
U [Oh, I meant {order2}.|Sorry, it is {order2}.|It should be {order2}.|Try {order2}.]
C <lookup>: <okey>={order2}
T <okey>={order2}; status={status}; [eta|date|expected]={iso}
A <sure> [Order {order2} is {status}, expected on [{iso}|{date}].|That one I found: {status}, [{iso}|{date}].|{order2} is {status}. It comes on [{iso}|{date}].]

U <hello>[My name is {name} and I have a question.|I am {name}.|this is {name}.|{name} here. I <buy> a {kind}.]
A [Hello {given}, how can I help?|Hello {name}, what can I do for you?|Good to hear from you, {given}. What is it about?|Hi {given}! What is your question?|Welcome, {name}. How may I help?]
U [My order {order}: {reason}.|The {product} came, but {reason}.|I <buy> the {product} on {date} and {reason}.|It is about the {kind}: {reason}.]
A <sorry> [Would you like a refund or a new one, {given}?|Do you want to send it back?|Should we send you another {kind}?|Shall I open a return for you?]
U [A refund, <please>.|A new one, <please>.|Yes, <please>.|I want my money back.|Please send me another one.|No, it is okay, I will keep it.]
A [All right, {given}. I will take care of it.|Fine, {given}, I will see to it.|Good. You will hear from us by {weekday}.|Very well. I will write it down for {name}.|Understood. We will write to you.] <bye>

U <hello>[my order number is {order} and my mail is {email}.|I am {name}, order {order}.|order {order}, placed on {date}.|I <buy> the {product} with order {order}.]
A [Thank you. What can I do for you?|Thanks, I noted {order}.|Good, I have your order {order}. What is the question?|I see. How can I help with {order}?]
U [What was my order number again?|Can you repeat the number?|Which number did you note?|Please read the order number back to me.]
A [It is {order}.|The number is {order}.|You gave me {order}.|I noted {order}.|{order}.]

U <hello>[I like the {product}, but also the {product2}. The first costs {price}, the second {price2}.|What do you think: {product} for {price} or {product2} for {price2}?]
A [Both are <good>. What is it for?|That depends on your use.|They are both <adj>.|What matters most to you?]
U [How much was the {product}?|What did the first one cost?|Tell me the price of the {product} again.]
A [The {product} costs {price}.|It is {price}.|{price}.|You said {price}.]

U [<thanks>|Thank you, that is all.|Great, thanks!|That was quick, thank you.|Perfect, thank you!|You have been very helpful.|All right, <bye>|Okay, I see. <bye>]
A [You are welcome.|With pleasure.|Glad to help.|Any time.|No problem.|You are welcome. <bye>|My pleasure. <bye>|Happy shopping!]

U [<hi>!|<hi>|<hi>, is anybody there?|<hi>, I have a question.|<hi>, can you help me?]
A [<hi>! How can I help you?|<hi>, what can I do for you?|Yes, I am here. What is your question?|Welcome! What are you looking for?|Of course, go ahead.]

U <hello>[The {product} is bad: {reason}.|I am very unhappy. I <buy> a {kind} and {reason}.|This is terrible, {reason}!|I want to complain. The {kind} is not <good>, {reason}.|I have waited for {days2} days and nothing came.]
A <sorry> [Can you send me your order number?|Please send us a photo.|I understand that you are upset.|We will find a solution.|Do you want a refund?|I will pass it on to my colleagues.|What would you like us to do?]

U [How do I clean a {kind}?|How should I care for {material}?|Is {material} <adj>?|How do I wash {material}?|Can {material} get wet?]
A [Wipe it with a damp cloth and let it dry.|Use warm water and a little soap.|It is best washed by hand.|Keep it away from heat and direct sun.|Wash it cold and dry it flat.|A dry cloth is enough for {material}.|{material} should be kept dry.|Do not use hot water for {material}.]

U [What is {material} good for?|Tell me about {material}.|Why {material}?|Is a {kind} made of {material} better than one of {material2}?]
A [{material} is often used for things like a {kind}.|Many people like {material} because it lasts long.|{material} and {material2} are both <good>; it is a matter of taste.|A {kind} of {material} is <adj> and <adj>.|It depends. {material} is <adj>, {material2} is <adj>.]

U [What is a {kind}?|What do I need a {kind} for?|Explain {kind}.|What can I do with a {kind}?]
A [With a {kind} you can {use}.|A {kind} helps you to {use}.|It is a thing to {use}.|People use a {kind} to {use}.]
"""

DOCUMENTS: Final[tuple[str, ...]] = (
    "{product} by {brand}. <feature> <feature> <feature>[ <feature>| <feature> <feature>]",
    "The {product} is a <adj> {kind} by {brand}. <feature> <feature> <feature>",
    "New at {shop}: the {product}. <feature> <feature>[| <feature>] [Order it today.|In stock now.|From {date} on.||]",
    "{product} ({brand})\nMaterial: {material}\n{axis}: {value}\nColours: {colour}, {colour2}\nPrice: {price}\nWarranty: {months} months\n<feature>",
    "A {kind} is used to {use}. It is usually made of {material} or {material2}. [It belongs to the shelf {category}.|You find it under {category}.|Shops keep it with {category}.] [One looks at the {axis} before buying.|The {axis} differs.|Kinds differ in {axis}.]",
    "{material_fact} {material_fact2}",
    "{material_fact} A {kind} of {material} [is <adj>|costs more|lasts long|needs little care].",
    "[{colour} goes well with {colour2}.|{colour} and {colour2} are a <adj> pair.|{colour} looks <adj> in the <room>.] [A {kind} in {colour} is <adj>.|Many choose {colour} for a {kind}.|{colour2} is less common for a {kind}.] [Dark colours hide marks.|Light colours make a <room> look larger.|Colours on a screen may differ a little.|Bright colours fade in the sun.]",
    "[Review|Opinion|Rating] of the {product}: <opinion> <opinion>[| <opinion>| <opinion> <opinion>]",
    "I <buy> the {product} [for <person>|for <occasion>|on {date}|at {shop}]. <opinion> <opinion>[| <opinion>] {given}",
    "Dear {shop},\n[on {date} I <buy>|last week I <buy>|I have <buy>] a {product} (order {order}). [Sadly, {reason}.|Now {reason}.|But {reason}.] [Please send me a new one.|I would like my money back.|What can we do?|I hope you can help.|May I return it?|Please answer soon.]\n[Kind regards|Best wishes|Yours|Thanks],\n{name}",
    "Dear {name},\n[thank you for your letter of {date}.|thank you for writing to us.|we have your message about order {order}.] <sorry> [We will send a new {kind} on {weekday}.|You get {price} back.|Please send the {kind} back with {carrier}.|The refund of {price} is on its way.|We have looked into it.]\n[Kind regards|Best wishes|Yours],\n{shop}",
    "Order {order}\nCustomer: {name}\nDate: {date}\nArticle: {product}, {colour}\nPrice: {price}\nShipping: {fee}\nPayment: {payment}\nAddress: {address}\nStatus: {status}",
    "[Your order {order} is {status}.|News about {order}: {status}.] [It will come on {date}.|{carrier} brings it on {weekday}.|Track it with {tracking}.|It left {city} on {date}.] Thank you for shopping at {shop}.",
    "[On {date} {name} <buy> a {product} at {shop}.|{name} from {city} ordered a {product}.|{given} was looking for a <adj> {kind}.] [The price was {price}.|It cost {price}.|The order had the number {order}.] [{carrier} brought it {d2} days later.|It came on {weekday}.|After {d1} days it arrived.] [<opinion>|{given} sent it back because {reason}.|{given} paid by {payment}.]",
    "{brand} is a maker from {city}. [It makes things like the {product}.|Its best known product is the {product}.|Since {year} it has made the {product}.] <feature> [You can buy {brand} at {shop}.|{shop} sells it.|{name} founded it in {year}.]",
    "[Tip|Advice|Good to know]: [measure the <room> before you buy a {kind}.|check the {axis} of a {kind} first.|keep the receipt.|choose {material} if it should be <adj>.|look at the warranty.|compare the prices.|ask customer service if unsure.|write down your order number.] [A {kind} with {value} is enough for most people.|{material} is <adj>, {material2} is <adj>.|On {weekday} parcels often come late.|Most shops take things back within {days} days.]",
)

USES: Final = """
kettle=boil water
frying pan=fry eggs and vegetables
glass lid=cover a pan
chopping board=cut bread and vegetables
coffee grinder=grind coffee beans
lunch box=take food to work
tea set=serve tea to guests
duvet=keep warm at night
duvet cover=protect the duvet
pillow=rest the head
pillowcase=keep the pillow clean
bath towel=dry yourself after a bath
bath mat=keep the bathroom floor dry
desk lamp=read at the desk
floor lamp=light a corner of the room
lampshade=soften the light
pendant light=light the table from above
night light=find the way in the dark
dimmer plug=make a lamp darker or brighter
bookshelf=store books
armchair=sit and read
chair cover=protect the chair
coffee table=put down cups and magazines
bedside table=keep a book beside the bed
shoe rack=keep shoes in order
power bank=charge a phone on the way
speaker=play music
speaker stand=hold a speaker
keyboard=type text
wrist rest=rest the wrists while typing
desk fan=cool the air in summer
charging cable=charge a phone
tent=sleep outside
groundsheet=protect the floor of a tent
sleeping bag=sleep warm in a tent
water bottle=carry water
hiking pole=walk safely in the hills
backpack=carry things on the back
rain cover=keep a backpack dry
rain jacket=stay dry in the rain
scarf=keep the neck warm
sweater=keep warm in winter
belt=hold up trousers
sun hat=keep the sun off the face
apron=keep clothes clean while cooking
notebook=write down ideas
pencil set=draw in many colours
pen case=keep pens together
desk organiser=tidy a desk
wall calendar=see the days of the year
book stand=hold a book open
dog bed=give a dog a place to sleep
bed liner=keep a dog bed clean
cat tree=let a cat climb and scratch
feeding bowl=feed a pet
dog lead=walk a dog
pet carrier=take a pet to the vet
watering can=water the flowers
plant pot=grow a plant
pot saucer=catch the water under a pot
pruning shears=cut branches
garden hose=water the garden
hammock=rest between two trees
"""

MATERIALS: Final = """
stainless steel=Stainless steel does not rust and is easy to clean.
cast iron=Cast iron is heavy, holds heat well and should be oiled.
aluminium=Aluminium is a light metal that carries heat quickly.
ceramic=Ceramic is fired clay; it is hard but can break.
glass=Glass is clear, keeps no smell and breaks when it falls.
bamboo=Bamboo is a fast growing grass, light and strong.
oak=Oak is a hard, heavy wood with a clear grain.
walnut wood=Walnut wood is dark brown and has a fine grain.
beech=Beech is a pale, dense wood that is often used for tools.
pine=Pine is a soft, light wood that smells of resin.
cotton=Cotton is soft, takes up water and can be washed hot.
linen=Linen is made of flax; it is cool and creases easily.
wool=Wool comes from sheep, keeps warm and should be washed cold.
silk=Silk is a fine, smooth fibre that shines.
fleece=Fleece is a light fabric that keeps warm and dries fast.
leather=Leather is tough and becomes softer with the years.
canvas=Canvas is a thick, strong cloth.
nylon=Nylon is a strong fibre that dries quickly.
polyester=Polyester keeps its shape and hardly creases.
silicone=Silicone bends, stands heat and is easy to wash.
rattan=Rattan is woven from the stems of a palm.
recycled plastic=Recycled plastic is made of old bottles and boxes.
titanium=Titanium is a light and very strong metal.
brass=Brass is a yellow metal of copper and zinc.
cork=Cork is the bark of a tree; it is light and warm to touch.
recycled paper=Recycled paper is made of old paper and saves water.
felt=Felt is pressed wool, thick and soft.
terracotta=Terracotta is fired earth that lets water through.
rubber=Rubber stretches and keeps water out.
down=Down is the soft feather of geese and ducks, light and warm.
"""
