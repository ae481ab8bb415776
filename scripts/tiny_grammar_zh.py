"""Chinese patterns of the base model's corpus, for ``sottovoce.data.grammar.expand``.

The names of rules, topics, turns and slots are those of ``tiny_grammar_en``.
"""

from __future__ import annotations

from typing import Final

RULES: Final[dict[str, str]] = {
    "hi": "[你好|您好|早上好|下午好|晚上好|在吗|嗨|哈喽|亲]",
    "hello": "[<hi>，|<hi>！|<hi>。||||]",
    "please": "[请|麻烦|劳烦||]",
    "thanks": "[谢谢。|多谢！|谢谢您！|非常感谢。|辛苦了。|感谢！||]",
    "sure": "[好的。|可以。|没问题。|当然。|明白了。|嗯，|是的，|查到了，|||]",
    "ask": "[请问|我想问一下|想知道|能不能告诉我|麻烦问一下|想了解]",
    "more": "[还有别的问题吗？|还需要什么帮助？|有问题随时找我。|还有什么可以帮您？||||||]",
    "adj": "[轻便|结实|简单|柔软|实用|小巧|好用|耐用|漂亮|现代|经典|朴素|安静|温暖|牢固|纤薄|好看|厚实|精致|可折叠|可水洗|可靠|舒服|可爱|智能]",
    "adv": "[很|非常|比较|特别|挺|相当]",
    "room": "[厨房|卧室|客厅|书房|花园|门厅|浴室|儿童房|阳台|工作室|办公室|露台]",
    "person": "[我妈妈|我爸爸|我女儿|我儿子|我姐姐|我哥哥|一个朋友|我爱人|我同事|我的邻居|奶奶|我的老师|妹妹|爷爷]",
    "occasion": "[过生日|结婚|过年|搬新家|旅行|夏天|冬天|上学|上班|周末|露营|日常使用]",
    "sorry": "[非常抱歉。|很抱歉给您添麻烦了。|对不起，让您久等了。|真不好意思。|实在抱歉。|抱歉，这是我们的问题。]",
    "wait": "[请稍等。|我查一下。|马上为您查询。|稍等片刻。|等我看看。|||||]",
    "bye": "[再见！|祝您生活愉快！|拜拜。|回头见。|祝您购物愉快。|晚安。]",
    "buy": "[买了|订了|下单了|收到了|购买了]",
    "good": "[好|不错|很棒|还可以|满意|完美|挺好]",
    "dontknow": "[这个我不清楚。|抱歉，我没有这方面的信息。|资料里没有写。|我不能确定。|我不知道，我去问问同事。|对不起，我没有相关资料。]",
    "style": "[回答要简短。|要有礼貌。|用短句回答。|态度友好。|只根据下面的内容回答。|如实回答。|不要猜。|以事实为准。|不知道就说不知道。||||]",
    "job": "[你是{shop}的客服。|你在{shop}工作，负责回答顾客。|你是网店{shop}的助手。|你是{shop}的客服助理。|这里是{shop}的服务台。|你帮助在{shop}购物的人。|{shop}客服聊天。|店铺：{shop}。|{shop}在线客服。]",
    "plainjob": "[你是一个有用的助手。|你回答关于购物的问题。|你是客服人员。|你帮助网店的顾客。|你是导购。|请回答顾客的问题。]",
    "lookup": "[lookup_order|get_order|find_order|order_lookup|order_status|check_order|fetch_order|read_order|query_order]",
    "okey": "[order_id|order_id|id|order|number|order_number]",
    "opinion": "[<adv><adj>。|我觉得<adj>又<adj>。|质量<good>。|价格<good>。|看起来<adj>。|摸起来<adj>。|到货很快。|包装<good>。|我每天都用。|我放在<room>用。|效果<good>。|该有的功能都有。|是送给<person>的。|下次还会买。|颜色比图片深一点。|比想象的小。|{material}的，<adj>。|晚到了一天，不过没关系。|有一道小划痕。|用了几个星期就坏了。|说明书看不懂。|这个价位算<good>了。|我很满意。|我不太满意。|以前那个更好。|推荐购买。]",
    "feature": "[用{material}做成。|{material}的材质<adj>又<adj>。|有{colour}和{colour2}两种颜色。|有{colour}可选。|{axis}{value}。|{axis}为{value}。|分量很轻。|容易清洗。|方便携带。|放在哪个<room>都合适。|适合<occasion>。|<room>里的<adj>之选。|售价{price}。|价格是{price}。|{brand}提供{months}个月保修。|保修{months}个月。|每一件都是手工制作。|每件出厂前都经过检查。|用再生纸包装。|送给<person>很合适。|在{city}设计。|产自{city}。|表面光滑。|边角圆润。|可以用很多年。|用湿布擦一擦就行。|请保持干燥。|不要放进洗碗机。|可以手洗。|有备用零件。|不需要工具。|打开就能用。]",
    "who": "[我姐姐|我爸|我妈|邻居|我对象|室友|姑姑|舅舅|闺蜜|同事|奶奶|儿子|女儿|我们老师|大家|没有人|老板|孩子们|老公|老婆|朋友|妹妹|爷爷|家里人]",
    "time": "[昨天|今天|明天|上周|下周|这周|今早|今晚|{weekday}|{month}|两天前|前几天|上个月|那天|马上|待会儿|去年|下个月|今年|现在|刚才|周末之前|{weekday}之前|最近|每天|一整天|刚刚|昨晚|明早|过几天|春节|中秋]",
    "mood": "[开心|难过|紧张|激动|失望|累|忙|生气|高兴|惊讶|担心|好奇|着急|不爽|放心|无语|感动|烦]",
    "praise": "[很赞|太棒了|很喜欢|比图片还好看|速度真快|特别美|正是我想要的|比预想的好|真心不错|全家都爱|值这个价|最好的|体验很好|很贴心|五星好评]",
    "blame": "[坏了|太晚了|很烦|太可惜|弄错了|破了|弯了|湿了|脏了|松了|还不如以前|不是我要的|太吵|太慢|错的|裂开了|掉色了|有污渍|缺了一角|动不了|打不开|充不进电]",
    "told": "[跟我推荐了你们店|也想要一个|非常喜欢|有一个同款|听说过你们|在页面上看到的|送给我的|一定会高兴|给你们留言了|决定再等等|在厨房里找到的|上班要用|收到了当礼物|问了同样的问题|也在用]",
    "everyday": "[我<time>要用。|我们<time>搬家。|<time>不在家。|<time>在家。|我<time>上班。|我<time>看到的。|我<time>下的单。|我<time>留过言。|<time>才听说。|<time>到的。|<time>出的事。|<time>什么都没发生。|我有点<mood>。|越来越<mood>了。|当时很<mood>。|<who>很<mood>。|<who><told>。|<praise>。|<blame>。|居然<blame>。|原来<blame>，<mood>。|我本来想要别的。|正在考虑下单。|<time>可能再买一个。|页面上没找到。|拿不定主意。|等了好几周了。|真好！|太可惜了！|唉，算了。|说实话，我很<mood>。|第一次来这里。|我喜欢你们店，<who>也喜欢。|就一个小问题。|下单之前问一下。|可能是我弄错了。|不知道怎么办。|也许您能帮我。|我们在装修<room>。|在找一份礼物。|想给<who>挑个礼物。|真的吗？|是这样吗？|有人知道吗？|说明书丢了。|盒子扔掉了。|放在架子上了。|一直放在<room>。|电池没电了。|包装是开着的。|等得太久了。|页面上的图片不一样。|是好消息。|他应该已经寄了。|她已经收到了。|他们收回去了。|您说<time>会到。|看过你们的承诺了。|看过费用那一页。|从来没用过。|看看再说。|希望如此。|我觉得可以。|我无所谓。|没事的。|暂时够了。|家里没有人。|账户打不开。|忘了密码。|金额改了。|付了两次款。|我得早点走。|下了一整天雨。|请客人吃了一顿饭。|火车晚点了。|天气冷了。|白天越来越长。|我种番茄和香草。|我家猫睡在上面。|被狗咬坏了。|宝宝睡着了。|晚上要读书。|我住的地方小。|旧的那个从楼梯上摔下去了。|<who>买了两个。|其他都行。|我宁可晚一点。|给我留言就好。|随时联系我。|方便的时候打给我。|有什么进展？|有消息没？|求回复，急！|麻烦看一眼。|掌柜的，在么？|老板在不？|请问有人在么？|亲，帮个忙呗。|咋回事啊？|啥时候能好呢？|这也太快啦！|哎呀，拍错了。|嗯嗯，知道嘞。|哈哈，好的呀。|那就这样吧。|质量到底怎么样嘛？|住宿舍，没地方放。|住在六楼，没有电梯。|陪<who>去图书馆读书了。|待在家里浇花、喝茶、看戏。|坐火车去海边玩了几天。]",
    "polite": "[已经帮您查过了。|看过了。|很高兴收到您的留言。|很乐意解答。|很高兴为您服务。|问得好。|好眼光。|听您这么说真高兴。|太可惜了。|我们一定处理好。|我会转告团队。|团队会跟进。|已经在路上了。|很快就到。|我们说到做到。|很快会联系您。|期待再次见面。|随时留言。|感谢您的耐心等待。|感谢您的来信。|祝您用得愉快！|替我们问候<who>。|我记下来了。|<time>已经从仓库发出。|正在准备。|备货中。|已经打包好了。|我们收回来了。|会放在下一个包裹里。|从签收那天算起。|数目对得上。|<time>发出。|也可以寄礼物。|费用由我们承担。|请放心。|还剩几件。|所剩不多。|多数人选这一款。|很多人两个一起买。|适合放在<room>。|请提供照片，以便确认。|质量问题我们负责。|无质量问题不免费退换。|言出必行，请监督。|联系电话和地址请再确认一遍。|请您评价一下这次服务。]",
}

SHOP_TOPICS: Final = """
returns
F [退货：{days}天内。|商品{days}天内可以退货。|收货后{days}天内可退。|退货期限：{days}天。|签收后{days}天以内我们接受退货。|支持{days}天退货。]
Q [多久之内可以退货？|可以退吗？|退货政策是什么？|几天内可以退？|最晚什么时候退货？|<ask>怎么退货？|{kind}可以退货吗？|这个能退吗？]
A [{days}天内可以退货。|收货后{days}天内可以退。|可以，签收后{days}天内都行。|退货期是{days}天。|您有{days}天的时间退货。|请在{days}天内退回。]

refunds
F [退款需要{days2}天。|退款时间：收到退货后{days2}天。|退款{days2}天内到账。|我们在{days2}天内退款。]
Q [什么时候能收到退款？|退款要多久？|钱什么时候退？|退款几天到账？|<ask>退款什么时候到？|东西退回去了，钱什么时候到？]
A [退款需要{days2}天。|{days2}天内到账。|收到退货后{days2}天退款。|大约{days2}天。|{days2}天内退给您。|一般{days2}天到账。]

shipping_fee
F [运费{fee}。|配送费：{fee}。|运费{fee}，满{free}包邮。|寄一个包裹{fee}；满{free}免运费。|邮费{fee}，{free}起免费。]
Q [运费多少？|邮费多少钱？|配送费怎么算？|要付运费吗？|<ask>运费是多少？|快递费多少？]
A [运费是{fee}。|配送费{fee}。|{fee}。|您需要付{fee}运费。|邮费是{fee}。|我们收{fee}。]

free_shipping
F [满{free}包邮。|订单满{free}免运费。|{free}以上免邮费。|消费{free}起免费配送。]
Q [包邮吗？|多少钱包邮？|满多少免运费？|买多少可以免邮？|可以免运费吗？]
A [满{free}包邮。|可以，订单满{free}就免运费。|{free}起免费寄送。|消费满{free}免邮费。|需要满{free}。]

delivery_time
F [配送需要{d1}到{d2}天。|配送时间：{d1}到{d2}天。|包裹{d1}至{d2}天送达。|我们{d2}天内送到。|一般{d1}到{d2}天到货。]
Q [多久能到？|包裹什么时候到？|发货快吗？|几天能收到？|<ask>配送要多久？|配送时间多长？]
A [{d1}到{d2}天送到。|一般需要{d1}到{d2}天。|大约{d1}到{d2}天。|请等{d1}到{d2}天。|{d1}到{d2}天内就能收到。|配送要{d1}到{d2}天。]

carrier
F [快递：{carrier}。|包裹由{carrier}配送。|我们用{carrier}发货。|合作快递是{carrier}。]
Q [用什么快递？|发哪家快递？|谁来送货？|是哪个物流公司？|快递公司是哪家？]
A [我们用{carrier}。|由{carrier}配送。|发{carrier}。|快递是{carrier}。|{carrier}。|包裹由{carrier}送到。]

hours
F [营业时间：{open}点到{close}点。|客服时间{open}:00到{close}:00。|{open}点至{close}点有客服在线。|上班时间：{open}:00-{close}:00。|电话接听时间为{open}点到{close}点。]
Q [几点营业？|营业时间是什么时候？|什么时候可以打电话？|客服几点下班？|<ask>你们几点上班？|客服什么时候在线？]
A [我们{open}点到{close}点在线。|{open}点到{close}点。|{open}点开始，{close}点结束。|您可以在{open}点到{close}点打电话。|营业时间是{open}:00到{close}:00。]

closed
F [{weekday}休息。|每个{weekday}不营业。|{weekday}不送货。|{weekday}是休息日。]
Q [哪天休息？|{weekday}营业吗？|每天都上班吗？|休息日是哪天？]
A [{weekday}休息。|不，{weekday}不营业。|{weekday}我们休息。|除了{weekday}都上班。|休息日是{weekday}。]

payment
F [付款方式：{payment}或{payment2}。|可以用{payment}和{payment2}付款。|我们接受{payment}和{payment2}。|支付方式有{payment}、{payment2}。]
Q [怎么付款？|支持哪些支付方式？|可以用{payment}吗？|有哪些付款方式？|<ask>怎么支付？|能用{payment}付吗？]
A [可以用{payment}或{payment2}付款。|我们接受{payment}和{payment2}。|{payment}或者{payment2}。|支持{payment}，也支持{payment2}。|{payment}和{payment2}都可以。]

gift_wrap
F [礼品包装{fee2}。|包装礼物：{fee2}。|礼盒包装收{fee2}。|礼盒{fee2}。]
Q [可以包装成礼物吗？|有礼品包装吗？|是送给<person>的，能包装一下吗？|礼品包装多少钱？|礼盒要多少钱？]
A [可以，礼品包装{fee2}。|包装费是{fee2}。|礼盒{fee2}。|当然可以，需要{fee2}。|另加{fee2}。]

exchange
F [{days3}天内可换货。|商品{days3}天内可以换。|换货期限：{days3}天。|签收{days3}天以内可以换货。]
Q [可以换吗？|多久之内可以换货？|尺寸买错了，能换吗？|可以换别的颜色吗？|换货最晚什么时候？]
A [可以，{days3}天内可以换。|{days3}天内可以换货。|{days3}天以内。|您有{days3}天的时间换货。|签收后{days3}天内我们给您换。]

restocking
F [退货手续费：{percent}%。|商品没有问题的，扣{percent}%。|用过的商品扣百分之{percent}。|无故退货收{percent}%。]
Q [退货要扣钱吗？|退货收费吗？|能全额退款吗？|退货有手续费吗？|手续费多少？]
A [扣{percent}%。|手续费是{percent}%。|是的，要扣{percent}%。|商品没问题的话扣百分之{percent}。|需要{percent}%的手续费。]

voucher
F [投诉后下一单优惠{percent2}%。|投诉补偿券：{percent2}%。|不满意的顾客送{percent2}%的优惠券。|新顾客优惠{percent2}%。]
Q [有优惠吗？|有优惠券吗？|能给我什么补偿？|能便宜多少？|可以打折吗？]
A [可以优惠{percent2}%。|我们可以给您{percent2}%的优惠。|有一张{percent2}%的优惠券。|有的，下一单优惠{percent2}%。|我给您{percent2}%的折扣。]

phone
F [电话：{phone}。|请拨打{phone}。|我们的号码是{phone}。|客服电话{phone}。]
Q [电话是多少？|可以打电话吗？|怎么电话联系你们？|<ask>你们的号码？|我想打电话。]
A [我们的电话是{phone}。|可以打{phone}。|请拨打{phone}。|{phone}。|号码是{phone}。]

email
F [邮箱：{email}。|请写信到{email}。|联系邮箱是{email}。|电子邮件：{email}。]
Q [邮箱是多少？|往哪里发邮件？|可以发照片吗？|怎么书面联系你们？|有邮箱吗？]
A [请发到{email}。|邮箱是{email}。|可以写信到{email}。|发到{email}就行。|{email}。]

place
F [本店在{city}。|地址：{address}。|我们在{address}。|门店位于{address}。]
Q [你们在哪里？|地址是什么？|有实体店吗？|可以去店里看吗？|店在哪儿？]
A [我们在{address}。|地址是{address}。|门店在{address}。|有，在{address}。|您可以到{address}来。]
"""

PRODUCT_TOPICS: Final = """
price
F [{product}{price}。|{product}：{price}。|{product}的价格：{price}。|{product}卖{price}。]
Q [{product}多少钱？|{product}怎么卖？|{product}什么价格？|{product}贵吗？|<ask>{product}的价格？|这款{kind}多少钱？]
A [{product}的价格是{price}。|{price}。|售价{price}。|价格是{price}。|{product}卖{price}。|一共{price}。]

colour
F [{product}有{colour}和{colour2}。|{product}的颜色：{colour}、{colour2}。|{product}：{colour}或{colour2}。|我们有{colour}和{colour2}的{product}。]
Q [{product}有哪些颜色？|有什么颜色？|{product}有{colour}的吗？|有没有{colour2}的{product}？|可以选什么颜色？]
A [有{colour}和{colour2}。|我们有{colour}和{colour2}。|两种颜色：{colour}、{colour2}。|可以选{colour}或{colour2}。|{product}有{colour}和{colour2}两种。]

material
F [{product}是{material}的。|{product}的材质：{material}。|{product}：{material}。|{product}用{material}制成。]
Q [{product}是什么材质？|是什么做的？|{product}是{material}的吗？|{product}用什么材料？|这款{kind}是什么材料的？]
A [是{material}的。|材质是{material}。|{product}是{material}做的。|{material}。|用的是{material}。]

measure
F [{product}的{axis}：{value}。|{product}{axis}{value}。|{product}，{axis}为{value}。|{product}的{axis}是{value}。]
Q [{product}的{axis}是多少？|<ask>{axis}？|{product}{axis}多少？|{axis}怎么样？|能说说{axis}吗？]
A [{axis}是{value}。|是{value}。|它的{axis}为{value}。|{product}是{value}的。|{value}。]

warranty
F [{product}保修{months}个月。|保修期：{months}个月。|{brand}对{product}保修{months}个月。|{product}质保{months}个月。]
Q [保修多久？|{product}有保修吗？|{product}保修几个月？|坏了怎么办？|{product}质保多长时间？]
A [保修{months}个月。|有{months}个月的保修。|保修期是{months}个月。|质保{months}个月。|{months}个月。]

maker
F [{product}由{brand}生产。|{product}的品牌：{brand}。|{brand}的{product}。|{brand}制造{product}。]
Q [{product}是谁生产的？|是什么牌子？|{product}是哪个品牌？|厂家是哪家？]
A [是{brand}生产的。|品牌是{brand}。|{brand}做的。|来自{brand}。|厂家是{brand}。]

origin
F [{product}产自{city}。|{brand}在{city}。|产地：{city}。|{product}来自{city}。]
Q [{product}产地是哪里？|是哪里生产的？|在哪个城市做的？|厂家在哪里？]
A [产自{city}。|来自{city}。|{city}。|{product}在{city}生产。|产地是{city}。]

stock
F [{product}库存：{stock}件。|{product}还有{stock}件。|{product}剩{stock}件。|我们有{stock}件{product}。]
Q [{product}有货吗？|还有多少？|{product}还有吗？|现在可以买{product}吗？|还有库存吗？]
A [有，还剩{stock}件。|库存有{stock}件。|还有{stock}件。|一共{stock}件。|有的，还有{stock}件。]

restock
F [{product}卖完了，{d2}天后到货。|{product}：缺货，{d2}天后补货。|{date}之前没有{product}。|{product}{d2}天后再有货。]
Q [{product}什么时候有货？|{product}卖完了吗？|什么时候能再买{product}？|什么时候补货？]
A [卖完了，{d2}天后到货。|{d2}天后有新货。|{d2}天后补货。|再过{d2}天就有了。|请{d2}天后再来看看。]

fits
F [{product2}适配{product}。|{product2}：{product}的配件。|{product}可以搭配{product2}。|{product}的配件：{product2}。]
Q [什么可以配{product}？|{product}有配件吗？|{product}搭配什么好？|哪个配件适合我的{product}？|能推荐搭配的东西吗？]
A [可以配{product2}。|{product2}正好合适。|我推荐{product2}。|有{product2}。|您可以用{product2}。]
"""

SCENES: Final = """
U <hello>[我的订单{order}到哪了？|{order}怎么样了？|<ask>{order}在哪里？|我在等{order}这个订单。|我的订单号是{order}，什么时候到？|{order}发货了吗？|{order}有消息吗？|订单{order}还没收到。]<thanks>
C <lookup>: <okey>={order}
T <okey>={order}; status={status}; [eta|expected|date|delivery]={iso}[|; carrier={carrier}][|; total={total}]
A <sure>[订单{order}{status}，预计[{iso}|{date}]送达。|{order}的状态是{status}，预计[{iso}|{date}]到。|您的订单{order}{status}，[{iso}|{date}]到。|现在{status}，日期是[{iso}|{date}]。|{order}：{status}，预计[{iso}|{date}]。]<more>

U <hello>[我想知道包裹到哪了。|我的订单在哪？|订单还没到。|能查一下我的订单吗？|我还在等我的{kind}。|我有个订单的问题。]<thanks>
A [请提供订单号。|请告诉我订单号码。|订单号是多少？|是哪个订单？|我需要订单号。|好的，您的订单号是？]
U [是{order}。|{order}|号码是{order}。|订单{order}。|在这里：{order}|{order}，<please>看一下。]
C <lookup>: <okey>={order}
T <okey>={order}; status={status}; carrier={carrier}; tracking={tracking}[|; items={product}]
A <sure>[{status}。快递是{carrier}，单号{tracking}。|包裹{status}，由{carrier}配送，单号{tracking}。|订单{order}{status}，可以在{carrier}用{tracking}查询。|状态：{status}。{carrier}，{tracking}。]

U <hello>[能查一下{tracking}吗？|{tracking}到哪里了？|我的快递单号是{tracking}。|<ask>{tracking}在哪？]
C [track_parcel|track|get_tracking|parcel_status|find_parcel]: [tracking|number|tracking_number|parcel]={tracking}
T [place|location|city]={city}; status={status}; [updated|date]={iso}
A <sure>[包裹在{city}，状态：{status}。|最后一次在{city}，时间[{iso}|{date}]。|{tracking}{status}，现在在{city}。|在{city}，{status}。]

U <hello>[我要取消订单{order}。|请取消{order}。|{order}还能取消吗？|我不想要{order}了。]<thanks>
C [cancel_order|cancel|order_cancel|stop_order]: <okey>={order}[|; reason={reason}]
T [ok|done|cancelled|success]=true; <okey>={order}[|; refund={price}]
A <sure>[订单{order}已取消。|已经取消了{order}。|办好了，{order}不会发货。|您的订单{order}取消成功。]<more>

U <hello>[我要退{order}里的{kind}，{reason}。|我想退{order}：{reason}。|{order}的{kind}{reason}，可以退吗？|{order}{reason}，我要退款。]
C [create_return|start_return|return_order|open_return|request_refund]: <okey>={order}; reason={reason}
T [return_id|return|id|case]={code}; [label|email|sent_to]={email}[|; status=open]
A <sorry>[退货单号是{code}，标签发到{email}。|已开退货单{code}，标签发到了{email}。|您的退货编号为{code}，请查看{email}。|退货{code}已登记，标签在{email}。]

U <hello>[{product}有货吗？|还有{product}吗？|{product}还剩多少？|能买到{product}吗？]
C [check_stock|stock|get_stock|inventory|find_product]: [product|name|item]={product}
T [product|name|item]={product}; [stock|count|left|pieces]=#{stock}; price={price}
A <sure>[还有{stock}件，{price}。|我们有{stock}件，价格{price}。|有，{stock}件，每件{price}。|{product}有货：{stock}件，{price}。]

U <hello>[我在找{kind}。|有{kind}卖吗？|<please>给我看看{material}的{kind}。|我需要一个<adj>的{kind}，<occasion>用。|能推荐一款送给<person>的{kind}吗？|有{colour}的{kind}吗？]
C [search_products|search|find_products|catalogue_search|search_catalogue]: [query|q|text|kind]={kind}[|; material={material}][|; colour={colour}]
T [name|product|title]={product}; brand={brand}; price={price}; material={material}; colour={colour}
A <sure>[找到了{brand}的{product}，{price}。|有一款{product}，{material}的，{price}。|{product}怎么样？{colour}，{material}，{price}。|我们有{brand}的{product}：{material}，{colour}，{price}。]<more>

U <hello>[请把{order}的地址改成{address}。|我搬家了，{order}寄到{address}。|{order}可以寄到{address}吗？|{order}的地址错了，应该是{address}。]
C [change_address|update_address|set_address]: <okey>={order}; [address|to|new_address]={address}
T [ok|done|success]=true; [address|to]={address}
A <sure>[新地址是{address}。|订单{order}会寄到{address}。|已改成{address}。|改好了，寄到{address}。]<thanks>

U <hello>[我需要{order}的发票。|能把{order}的账单发给我吗？|{order}的发票在哪？|请把{order}的收据发到{email}。]
C [send_invoice|get_invoice|invoice|email_invoice]: <okey>={order}[|; email={email}]
T [invoice|invoice_id|number]={code}; total={price}; [sent|email|to]={email}
A <sure>[发票{code}，金额{price}，已发到{email}。|发票{code}发到{email}了。|发票号是{code}，金额{price}。|{code}会发到{email}。]

U <hello>[请给我回电：{phone}。|可以打电话给我吗？号码是{phone}。|我是{name}，想找人工：{phone}。|{weekday}打给我，{phone}。]
C [book_callback|callback|request_call|call_back]: phone={phone}[|; day={weekday}][|; name={name}]
T [ok|booked|success]=true; [day|when]={weekday}; [hour|time]={open}:00
A <sure>[我们{weekday}{open}点给您打电话。|同事会在{weekday}{open}:00打{phone}。|约好了：{weekday}{open}点。|{weekday}{open}:00给您回电。]

U <hello>[{order}是什么订单？|请查一下{order}。|<ask>{order}的情况？]
C <lookup>: <okey>={order}
T [error|message]=[not found|order not found|没有找到|订单不存在][|; <okey>={order}]
A [找不到{order}，请核对一下号码。|没有{order}这个订单，号码对吗？|抱歉，查不到{order}。请再看看号码。|没有号码为{order}的订单。]
U [哦，应该是{order2}。|不好意思，是{order2}。|是{order2}才对。|试试{order2}。]
C <lookup>: <okey>={order2}
T <okey>={order2}; status={status}; [eta|date|expected]={iso}
A <sure>[订单{order2}{status}，预计[{iso}|{date}]。|这个查到了：{status}，[{iso}|{date}]。|{order2}{status}，[{iso}|{date}]到。]

U <hello>[我叫{name}，有个问题。|我是{name}。|我是{name}，<please>帮我看一下。|{name}，我<buy>一个{kind}。]
A [{name}您好，有什么可以帮您？|您好{name}，请问是什么事？|{given}您好，请说。|您好，{given}！有什么问题？|欢迎，{name}。怎么了？]
U [我的订单{order}{reason}。|{product}到了，但是{reason}。|{date}我<buy>{product}，{reason}。|是{kind}的问题：{reason}。]
A <sorry>[{given}，您想退款还是换新的？|您要退回来吗？|给您重发一个{kind}可以吗？|我帮您开退货单好吗？]
U [退款吧。|换一个新的。|好的，麻烦了。|我要退钱。|请再寄一个给我。|算了，我留着吧。]
A [好的，{given}，我来处理。|行，{given}，交给我。|好，{weekday}之前给您答复。|好的，我记下来了，{name}。|明白，我们会写信给您。]<bye>

U <hello>[我的订单号是{order}，邮箱是{email}。|我是{name}，订单{order}。|订单{order}，{date}下的单。|我用{order}<buy>{product}。]
A [谢谢，有什么可以帮您？|好的，{order}记下了。|好，您的订单是{order}，有什么问题？|收到，{order}怎么了？]
U [我的订单号是多少来着？|能再说一遍号码吗？|你记的是哪个号码？|请把订单号念给我听。]
A [是{order}。|号码是{order}。|您给的是{order}。|我记的是{order}。|{order}。]

U <hello>[我喜欢{product}，也喜欢{product2}。第一个{price}，第二个{price2}。|你觉得{product}（{price}）好还是{product2}（{price2}）好？]
A [两个都<good>，您做什么用？|看您怎么用。|都很<adj>。|您最看重什么？]
U [{product}多少钱来着？|第一个要多少钱？|再说一下{product}的价格。]
A [{product}是{price}。|{price}。|是{price}。|您说的是{price}。]

U [<thanks>|谢谢，没有别的了。|太好了，谢谢！|真快，谢谢。|好极了！|你帮了大忙。|行，<bye>|好的，知道了。<bye>]
A [不客气。|不用谢。|很高兴能帮到您。|应该的。|没关系。|不客气。<bye>|这是我应该做的。<bye>|祝您购物愉快！]

U [<hi>！|<hi>|<hi>，有人吗？|<hi>，我有个问题。|<hi>，能帮我一下吗？]
A [<hi>！有什么可以帮您？|您好，请说。|在的，请问有什么问题？|欢迎光临，想看点什么？|当然，请讲。]

U <hello>[{product}太差了：{reason}。|我很不满意，我<buy>{kind}，{reason}。|太糟糕了，{reason}！|我要投诉，{kind}不<good>，{reason}。|等了{days2}天还没有到。]
A <sorry>[请把订单号发给我。|请发一张照片给我们。|我理解您的心情。|我们一定想办法解决。|您想退款吗？|我会转告同事。|您希望我们怎么处理？]

U [{kind}怎么清洗？|{material}怎么保养？|{material}<adj>吗？|{material}怎么洗？|{material}可以碰水吗？]
A [用湿布擦，再晾干。|用温水加一点肥皂。|最好手洗。|避免高温和暴晒。|冷水洗，平铺晾干。|{material}用干布擦就够了。|{material}要保持干燥。|{material}不要用热水。]

U [{material}有什么好处？|说说{material}。|为什么选{material}？|{material}的{kind}比{material2}的好吗？]
A [{material}常用来做{kind}这样的东西。|很多人喜欢{material}，因为耐用。|{material}和{material2}都<good>，看个人喜好。|{material}的{kind}<adj>又<adj>。|看情况，{material}<adj>，{material2}<adj>。]

U [{kind}是什么？|{kind}有什么用？|介绍一下{kind}。|{kind}能做什么？]
A [{kind}可以用来{use}。|有了{kind}就能{use}。|是用来{use}的东西。|人们用{kind}来{use}。]
"""

DOCUMENTS: Final[tuple[str, ...]] = (
    "{brand}{product}。<feature><feature><feature>[<feature>|<feature><feature>]",
    "{product}是{brand}的一款<adj>的{kind}。<feature><feature><feature>",
    "{shop}新品：{product}。<feature><feature>[|<feature>][今天就下单吧。|现货供应。|{date}开始发售。||]",
    "{product}（{brand}）\n材质：{material}\n{axis}：{value}\n颜色：{colour}、{colour2}\n价格：{price}\n保修：{months}个月\n<feature>",
    "{kind}用来{use}，通常用{material}或{material2}做成。[属于{category}。|可以在{category}里找到。|商店把它放在{category}一类。][购买之前要看{axis}。|{axis}各不相同。|不同款式的{axis}不一样。]",
    "{material_fact}{material_fact2}",
    "{material_fact}{material}的{kind}[<adv><adj>。|要贵一些。|可以用很久。|不用怎么打理。]",
    "[{colour}和{colour2}很配。|{colour}、{colour2}是<adj>的组合。|{colour}放在<room>里<adv><adj>。][{colour}的{kind}<adv><adj>。|很多人选{colour}的{kind}。|{colour2}的{kind}不多见。][深色耐脏。|浅色让<room>显得更大。|屏幕上的颜色可能有一点色差。|鲜艳的颜色晒久了会褪色。]",
    "[评价|评论|使用感受]（{product}）：<opinion><opinion>[|<opinion>|<opinion><opinion>]",
    "[给<person>|为了<occasion>|{date}|在{shop}]<buy>{product}。<opinion><opinion>[|<opinion>]——{given}",
    "{shop}：\n您好！[{date}我<buy>|上周我<buy>|我<buy>]一个{product}（订单{order}）。[可是{reason}。|现在{reason}。|不过{reason}。][请给我换一个新的。|我想退款。|该怎么办？|希望你们能帮忙。|可以退吗？|请尽快回复。]\n[此致敬礼|祝好|谢谢]\n{name}",
    "{name}：\n您好！[感谢您{date}的来信。|谢谢您联系我们。|关于订单{order}的消息已收到。]<sorry>[{weekday}我们会寄出新的{kind}。|我们退您{price}。|请用{carrier}把{kind}寄回来。|{price}的退款已经在路上。|我们已经查过了。]\n[此致敬礼|祝好]\n{shop}",
    "订单{order}\n顾客：{name}\n日期：{date}\n商品：{product}，{colour}\n价格：{price}\n运费：{fee}\n付款：{payment}\n地址：{address}\n状态：{status}",
    "[您的订单{order}{status}。|{order}的最新状态：{status}。][预计{date}送达。|{weekday}由{carrier}送到。|可以用{tracking}查询。|{date}从{city}发出。]感谢您在{shop}购物。",
    "[{date}，{name}在{shop}<buy>{product}。|{city}的{name}<buy>一个{product}。|{given}想找一个<adj>的{kind}。][价格是{price}。|花了{price}。|订单号是{order}。][{d2}天后{carrier}送到了。|{weekday}到货。|过了{d1}天就到了。][<opinion>|因为{reason}，{given}退了货。|{given}用{payment}付的钱。]",
    "{brand}是{city}的一家厂商。[主要产品有{product}。|最有名的是{product}。|{year}年开始生产{product}。]<feature>[在{shop}可以买到{brand}。|{shop}有售。|{year}年由{name}创办。]",
    "[小贴士|建议|须知]：[买{kind}之前先量一量<room>。|先看{kind}的{axis}。|保留好收据。|想要<adj>就选{material}。|注意保修期。|多比较价格。|不清楚就问客服。|记下订单号。][{value}的{kind}对多数人来说够用了。|{material}<adj>，{material2}<adj>。|{weekday}的包裹常常会晚到。|大多数店铺{days}天内可以退货。]",
)

USES: Final = """
kettle=烧开水
frying pan=煎鸡蛋、炒青菜
glass lid=盖锅
chopping board=切面包和蔬菜
coffee grinder=磨咖啡豆
lunch box=带饭上班
tea set=给客人泡茶
duvet=晚上保暖
duvet cover=保护被子
pillow=枕着睡觉
pillowcase=保持枕头干净
bath towel=洗澡后擦干身体
bath mat=保持浴室地面干燥
desk lamp=在书桌前看书
floor lamp=照亮房间的角落
lampshade=让灯光变柔和
pendant light=从上面照亮餐桌
night light=夜里照路
dimmer plug=调节灯的亮暗
bookshelf=放书
armchair=坐着看书
chair cover=保护椅子
coffee table=放杯子和杂志
bedside table=在床边放东西
shoe rack=摆放鞋子
power bank=出门给手机充电
speaker=播放音乐
speaker stand=支撑音箱
keyboard=打字
wrist rest=打字时放手腕
desk fan=夏天吹风降温
charging cable=给手机充电
tent=在野外过夜
groundsheet=保护帐篷底部
sleeping bag=在帐篷里暖和地睡觉
water bottle=带水喝
hiking pole=在山里走得稳
backpack=背东西
rain cover=让背包不淋湿
rain jacket=下雨时不淋湿
scarf=给脖子保暖
sweater=冬天保暖
belt=系裤子
sun hat=遮挡脸上的太阳
apron=做饭时保护衣服
notebook=记录想法
pencil set=用很多颜色画画
pen case=收纳笔
desk organiser=整理桌面
wall calendar=看日期
book stand=撑开书本
dog bed=给狗睡觉
bed liner=保持狗窝干净
cat tree=让猫攀爬和磨爪
feeding bowl=喂宠物
dog lead=遛狗
pet carrier=带宠物去看医生
watering can=给花浇水
plant pot=种植物
pot saucer=接花盆下面的水
pruning shears=剪树枝
garden hose=浇花园
hammock=在两棵树之间休息
"""

MATERIALS: Final = """
stainless steel=不锈钢不会生锈，容易清洗。
cast iron=铸铁很重，保温好，要抹油保养。
aluminium=铝合金是轻金属，传热快。
ceramic=陶瓷是烧过的黏土，坚硬但会碎。
glass=玻璃透明，不留气味，摔了会碎。
bamboo=竹子长得快，又轻又结实。
oak=橡木又硬又重，纹理清楚。
walnut wood=胡桃木是深棕色，纹理细腻。
beech=榉木颜色浅，质地密，常用来做工具。
pine=松木又软又轻，有树脂的香味。
cotton=纯棉柔软吸水，可以用热水洗。
linen=亚麻凉爽，容易起皱。
wool=羊毛来自绵羊，很保暖，要用冷水洗。
silk=真丝又细又滑，有光泽。
fleece=摇粒绒轻便保暖，干得快。
leather=真皮结实，越用越软。
canvas=帆布是厚实的布料。
nylon=尼龙是结实的纤维，干得快。
polyester=涤纶不变形，不容易皱。
silicone=硅胶柔软耐热，容易清洗。
rattan=藤编是用藤条编成的。
recycled plastic=再生塑料是用旧瓶子和旧盒子做的。
titanium=钛是又轻又坚固的金属。
brass=黄铜是铜和锌做成的黄色金属。
cork=软木是树皮，轻，摸起来温暖。
recycled paper=再生纸用旧纸做成，节约用水。
felt=毛毡是压紧的羊毛，又厚又软。
terracotta=陶土是烧过的泥土，会透水。
rubber=橡胶有弹性，能防水。
down=羽绒是鹅和鸭的软毛，又轻又暖。
"""
