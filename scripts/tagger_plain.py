"""Plain sentences in which nobody is named, for the tagger's training; written as the patterns."""

from __future__ import annotations

from typing import Final

PLAIN_ZH: Final = """
包装完好，物流也很快，就是颜色和图片有一点差别。
洗了两次以后开始掉毛，客服让我自己承担运费，太失望了。
老人用着正合适，字大声音也大，操作非常简单。
价格比实体店便宜一半，质量对得起这个价钱，值得推荐。
第二次购买了，家里人都说味道不错，下次还来。
麻烦尽快处理一下，已经等了一个星期了，再不发货我就申请退款。
请问这款有没有黑色的，大概什么时候能补货？
系统显示已经签收，可是我根本没有收到任何东西。
您好，您的问题已经记录，我们会在二十四小时之内给您答复。
由于近期订单量较大，发货时间可能会有所延迟，敬请谅解。
活动期间满三百减五十，优惠券可以叠加使用，数量有限，先到先得。
密码输错三次之后账户会被锁定，需要通过短信验证码重新设置。
本周五下午三点在二楼会议室召开部门例会，请大家准时参加。
项目进度比计划晚了两周，主要原因是需求一直在变。
附件是上个季度的财务报表，请您审阅，有问题随时联系。
按照公司规定，加班需要提前申请，周末加班可以调休。
新版本修复了若干问题，优化了启动速度，建议所有用户升级。
根据最新的统计数据，今年上半年居民消费价格同比上涨百分之二。
受冷空气影响，未来三天北方大部分地区气温将明显下降，局部有大雪。
专家提醒，高温天气要注意防暑降温，老人和小孩尽量减少外出。
有关部门表示，将进一步加大对食品安全的监管力度，严厉打击违法行为。
这场比赛打得十分激烈，双方在加时赛中依然未能分出胜负。
研究人员发现，长期睡眠不足会影响记忆力和免疫力。
随着技术的发展，越来越多的人开始在家里办公，城市的交通压力有所缓解。
合同自双方签字盖章之日起生效，有效期为一年，期满自动续约。
任何一方违反本协议约定的，应当向守约方支付违约金并赔偿损失。
因不可抗力导致合同无法履行的，双方均不承担责任。
本院认为，原告的诉讼请求有事实和法律依据，应予支持。
被告经传票传唤无正当理由拒不到庭，依法缺席判决。
案件受理费由双方各负担一半，如不服本判决可以在十五日内提起上诉。
患者三天前无明显诱因出现咳嗽、咳痰，伴有发热，最高体温三十九度。
查体：神志清楚，双肺呼吸音粗，未闻及明显啰音，心率齐，腹软，无压痛。
建议低盐低脂饮食，适当运动，按时服药，一个月后门诊复查。
血常规提示白细胞升高，考虑细菌感染，给予抗生素治疗后症状好转。
术后第二天，患者一般情况尚可，切口干燥，无渗血，继续观察。
天刚亮，院子里的公鸡就叫了起来，奶奶已经在厨房里忙开了。
她推开窗户，一阵凉风吹了进来，带着雨后泥土的味道。
那年冬天特别冷，河水结了厚厚的冰，孩子们都在上面玩。
他沉默了很久，终于抬起头来，说了一句谁也没有想到的话。
古老的石桥静静地横在水面上，桥头有一棵几百年的银杏树。
夜深了，街上一个人也没有，只有路灯还亮着。
人生就像一场旅行，重要的不是目的地，而是沿途的风景。
水烧开以后放入面条，煮三分钟捞出来，加上酱油、醋和葱花就可以了。
先把牛肉切成小块，用料酒和生姜腌半个小时，再下锅炒到变色。
土豆去皮切丝，在清水里泡一会儿，这样炒出来才脆。
第一步打开设置，第二步选择网络，第三步输入密码，最后点击连接。
如果遇到无法开机的情况，请先检查电源线是否插好。
使用前请仔细阅读说明书，儿童应在成人陪同下使用。
这道数学题我想了半天也没想出来，你能不能给我讲讲思路？
下个月就要高考了，压力好大，每天晚上都睡不好。
老师布置的作业太多了，写到十一点还没写完。
图书馆周一闭馆，借书需要带学生卡，最多可以借五本。
最近房租又涨了，打算换一个离单位近一点的房子，预算三千左右。
早上地铁太挤了，差点没上去，结果还是迟到了五分钟。
周末有没有人一起去爬山？听说山上的红叶现在正好看。
哈哈哈笑死我了，这也太巧了吧，怎么哪里都能碰到。
别生气了，我不是故意的，晚上请你吃火锅好不好？
手机没电了，回去再给你打电话，你先吃饭不用等我。
今年过年不回去了，车票太难买，等清明再说吧。
孩子有点发烧，下午想请个假，带他去医院看看。
快递放在门口的鞋柜上就行，不用敲门，宝宝在睡觉。
小区明天上午九点到下午五点停水，请大家提前做好准备。
楼上的空调一直滴水，已经反映过好几次了，物业就是不管。
这部电影的节奏有点慢，但是画面和音乐都非常美，结尾让人意外。
游戏刚更新完就闪退，重新安装也没有用，什么时候能修好？
这家店的老板很热情，菜量大，味道正宗，就是停车不太方便。
酒店位置不错，出门就是地铁站，房间干净，早餐种类丰富。
导游讲解很专业，行程安排得合理，没有强制购物，全程都很开心。
飞机晚点了三个小时，航空公司只给了一瓶水和一个面包。
任命通知、会议纪要和年度计划都已经上传到共享文件夹。
白天温度高，晚上凉快，出门记得带一件外套。
成熟的方案应当考虑成本、安全、时间以及各方面的关系。
向前走两百米，左边就是公共汽车站，对面有一家药店。
高级会员可以享受免费洗车、机场接送以及优先预约等服务。
黄色的那件没有了，只剩白色和灰色，您看可以吗？
何时能够恢复正常，目前还没有明确的说法。
金额超过五万元的，须由总部审批后方可支付。
何况路上还在施工，开车过去至少要一个小时。
江边新开的公园里种满了梅花和柳树，傍晚散步的人很多。
万一下雨就改到室内，反正场地已经预约好了。
安静一点，里面正在考试，手机都关了没有？
历史上这条路线曾经非常繁忙，如今只剩下几座空房子。
任务完成以后系统会自动发送通知，无需人工确认。
农民把成熟的稻谷收进仓库，准备过一个丰盛的新年。
石油价格连续三周下跌，国内成品油价格也将随之下调。
孔雀开屏的时候，游客纷纷拿出手机拍照。
水温不要太高，否则茶叶里的营养会被破坏。
马路对面的那栋楼是新盖的，听说下半年就可以入住。
"""

PLAIN_EN: Final = """
The zipper broke after a week and nobody answered my messages, so I asked for my money back.
Fits perfectly, washes well, and the colour is exactly as shown. Would buy again without a second thought.
I have been waiting on hold for forty minutes. This is not acceptable for a company of your size.
Please find attached the minutes of last week's meeting and the draft budget for the next quarter.
We regret to inform you that your application was not successful on this occasion.
All tenants must keep the stairs free of bicycles, prams and rubbish at all times.
Nothing in this Agreement shall be construed as creating a partnership between the Parties.
The Borrower shall repay the Principal Amount together with all accrued Interest on the Maturity Date.
No known drug allergies. Heart sounds normal, chest clear, abdomen soft and not tender.
The wound is healing well; stitches to be removed in ten days. Return if Fever or Swelling occurs.
Scientists have long known that bees dance to tell each other where the flowers are.
Heavy rain is expected in the north tonight, with strong winds along the coast by Thursday morning.
Preheat the oven to 180 degrees, grease the tin, and sift the flour into a large bowl.
She closed the door, put the kettle on, and sat down by the window to wait.
There was a time when the river froze every winter and the whole village came out to skate.
It is a truth that nobody in this house has ever washed a cup on the day it was used.
To reset your device, hold the Power button for ten seconds until the light turns Amber.
Your session has expired. Please log in again to continue. If the problem persists, contact Support.
Why does my screen flicker after the latest Update? I tried Safe Mode and a clean install already.
lol same here, missed the bus again and now i'm stuck at work till nine
anyone up for pizza tonight? i can pick it up on the way home
ngl that exam was brutal, question four made no sense at all
Mark your calendars: the annual bake sale is back, and so is the Chocolate Fountain!
Dawn was breaking, and a faint rose light lay over the frozen marsh.
The jury found that the driver had been texting when the light turned red.
Prices may change without notice. Offer valid while stocks last. Terms apply.
Free Shipping On All Orders Over Fifty Dollars! Limited Time Only. Shop Now And Save Big.
WARNING: DO NOT IMMERSE IN WATER. KEEP AWAY FROM CHILDREN. READ ALL INSTRUCTIONS BEFORE USE.
Question: What is the best way to store fresh basil? Answer: In a glass of water, like cut flowers.
Thank You For Your Purchase. We Hope You Enjoy Your New Mattress. Sleep Well!
The committee will meet on the second Tuesday of each month in the Main Hall.
Children under five travel free; Seniors and Students pay half the Standard Fare.
The Chief Financial Officer reports directly to the Board and chairs the Risk Committee.
Hope you had a good weekend. Just checking whether Wednesday still works for the demo.
Will the warranty cover accidental damage, or do I need the Extended Plan for that?
May I suggest we move the deadline to June? April and May are packed already.
The Earth moves around the Sun, and the Moon moves around the Earth.
I can't open the attachment. Could you send it as a PDF, or paste it into the chat?
How does compound interest work, and why do banks not pay it on Current Accounts?
Turn off the gas at the mains, open the windows and leave the building at once.
My cat refuses the new food, my dog loves it, and my Goldfish has no opinion.
The Sales Team exceeded its target by twelve percent, thanks to strong demand in spring.
According to the label, one serving has 20 g of sugar, which is more than I thought.
You can't always get what you want, sang the radio, and everyone in the kitchen laughed.
Both parents and teachers agree that Homework in the first two years does little good.
Overview¶Features¶Pricing¶Documentation¶Release Notes
Total Cholesterol: high. Blood Pressure: normal. Glucose: fasting, borderline. Follow Up: three months.
Ready to Ship. Gift Wrap Available. Easy Returns. Secure Checkout.
Is it safe to take Vitamin D with Calcium? My Pharmacist said yes, my Doctor said wait.
The Art of Fermentation, Volume Two, is out of print; try the Library or an Auction.
Season one was slow, Season Two picks up, and the Finale made me cry.
"""
