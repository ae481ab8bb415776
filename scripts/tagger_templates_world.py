"""More English patterns for the tagger: organisations, places, addresses, and what is none of them.

Written as those of ``tagger_templates_en``, whose rules they use.
"""

from __future__ import annotations

from typing import Final

ORGANISATIONS_EN: Final = """
I work [for|at|with] {org}[.| as a {job}.| in {place}.|, but not for long]
{org} <firmdid> [<when>|].
[Shares of|Customers of|The board of|A spokesperson for|Employees at|The lawyers of|Investors in] {org} [fell|were told <when>|said nothing|gained {num} percent|met in {place}].
{org} and {org2} [will merge|are rivals|signed a deal worth {money}|share an office in {city}|both <firmdid>].
[My employer|The supplier|The insurer|The bank|The agency|The airline|The university|Our client], {org}, <firmdid>.
[I applied to|I bought it from|I cancelled my plan with|I was scammed by|I interviewed at|I bank with|She studies at|He was treated at|We fly with] {org}[ <when>|][.|!]
[Thank you for|Thanks for] [choosing|contacting|visiting|shopping at|banking with] {org}[.|!] [How can I help?|Your order {num} is on its way.|]
Welcome to {org}[,|!|.] [how may I help you?|please hold|your ticket is {num}|I'm {first}]
Welcome to the {org} [help desk|support line|newsletter|community].
[Company|Employer|Organisation|Organization|Firm|Vendor|Hospital|School|Bank|Insurer|Affiliation|Payee|Issued by|Sold by|Manufacturer|Client][:| :|: ] {org}
[Invoice|Receipt|Statement|Quote] {num}¶{org}¶{addr}¶[Total|Amount due|Balance]: {money}
{name}¶{job}¶{org}¶{addr}
{name}, {org}, {city}
{name}¶{org}¶{addr}¶[Mobile|Tel|Phone|Office]: {phone}¶{email}
{org}¶{street}¶{city}[¶{country}|]
{name} {bar} {job} {bar} {org} {bar} {phone}
{org} [is|was] [a|the] [small bakery|bank|software company|charity|publisher|start-up|law firm|carmaker|hospital|shipping line|record label] [based in|from|headquartered in|with offices in|outside] {place}[ and {place2}|].
[The|A] {city}-based [company|firm|charity|start-up] {org} <firmdid>.
{org} is the [life's work|latest venture|second company|pet project] of [{name}|{last} and {last2}|the partners {last}, {last2} and {last3}].
[Idea|Funding|The plan] for {org} came [to {name} in the shower|from {org2}|<when>].
[According to|Data from|A study by|A report by|Researchers at|Figures from|A poll by|Scientists from] {org}[,|] [one in five people sleeps badly|prices rose <when>|bees are in decline|demand will double].
[She|He|They] [left|joined|founded|sued|bought|rescued] {org} [<when>|in {year}] [to|and] [start|launch|run] {org2}.
[From|Between] {year} [to|and] {year2} [she|he] [was|worked] [at|for] {org}[, then at {org2}|] [in {city}|].
[He|She] [stayed|was|remained] [two summers|a decade|for ever] at {org}[, then joined {org2}|, always as a {job}|, under {name}].
{org}, [later|now|formerly] [called|renamed|known as] {org2}, [made|sold|repaired] [radios|ships|shoes|engines].
[Education|Experience|Employment]¶{org}, {city} ({year})¶{org2}, {city2} ({year2})
{job} at {org}, {year}-{year2}
[Degree|BA|PhD|MBA] from {org}[, {year}|]
[Is|Was] {org} [down|legit|open on {day}|any good|hiring|still in business]?
[Does anyone|Anybody] [use|know|recommend|work at] {org}?
{org}: [never again|the worst|great service|five stars|avoid|highly recommended]
[Never|Don't|Do not] [buy from|trust|order at|rent from] {org}[!|.|!!!]
My [policy|contract|account|loan|pension|mortgage|subscription|plan] with {org} [expires <when>|number is {num}|was cancelled|went up by {money}].
[The|This] [merger|lawsuit|agreement|partnership|dispute|contract] between {org} and {org2} [ended <when>|is on hold|helps nobody].
[Between|This agreement is between] {org}, [a company registered in {country}|with offices at {addr}|("the Supplier")], and {name}[ ("the Customer")|].
{org} ([the "Company"|hereinafter "Lender"|registered no. {num}])
[Referred|Transferred|Admitted|Taken] to {org}[ in {city}|] [by ambulance|for surgery|for observation|<when>].
[The match|The final|Tickets] between {org} and {org2} [ended|sold out|was moved to {place}].
[Copyright|©|(c)] {year} {org}[. All rights reserved.|]
[Published|Printed|Sponsored|Hosted|Powered|Organised|Funded] by {org}[ in {place}|].
[Sincerely|Regards],¶[The|Your] {org} [team|support team|customer service]
[Wire|Transfer|Refund] of {money} from {org} to {org2}, [account|ref.] {num}
{num};{org};{city};{money}
1. {org}¶2. {org2}¶3. {org3}
{name}¶{job}¶{org}¶{street}¶[{phone}|{email}|]
{name}¶{org}¶{addr}
{name}¶{job}¶{org}
{org}[,|] [which|who] [was|is|later|has|never|now|then] {word} {word2} {word3}[.|]
{org} [is|was|became|remains] [a|an|the] {word} {word2} [from|of|in|for] [{place}|{word3}][.|]
[which|it|this] [became|was sold to|was bought by|merged with|is part of|belongs to|turned into] {org}[ in {year}| <when>|][.|]
I [work|worked|intern|volunteer|study|shop] [for|at|with] {org}
{word} {word2} {org} {word3} {word4}[.|]
{org} {word} {word2} [and|the|a] {word3}[.|]
[at|with|by|for|from|of] {org}[,|] {word} {word2}
- {org} ({city})¶- {org2} ({city2})
"""

PLACES_EN: Final = """
I [live in|am from|was born in|moved to|grew up in|love|hate|miss|have never been to|am flying to|got married in|am stuck in] {place}[.|!| and I love it.| <when>.]
[Is|Are] [it|they] [cold|raining|far|expensive|safe] in {place}[ in {month}|]?
[She|He|My <rel>|{first}|{name}] <did> {place}[ <when>|, where nobody knew her|].
[We drove|The train goes|The bus runs|I cycled|Flights] from {place} to {place2}[ via {place3}|][.|, which takes {num} hours|]
{place} [was|is] [worth the trip|lovely in {month}|too hot for me|overrated|beautiful|boring|on my list|where we met|cheaper than {place2}].
[Greetings|Postcards|Love|Live|Breaking news|Wine|Fresh fish|A letter] from {place}[!|.|]
[I'm|We're|They're] in {place} [on business|for the weekend|until {day}|on a school trip|visiting my <rel>][.|, can you block my card?|]
[Shipping|Delivery] to {place} [takes|costs] [{num} days|{money}].
Do you [ship|deliver|fly] to {place}[ or {place2}|]?
[Country|City|Town|State|Region|Nationality|Place of birth|Birthplace|Origin|Destination|Location|Branch|Hometown|Venue][:| :|: ] {place}
{city}, {country}
{word} {word2} [in|from|to|near|for|of|through] {place}[,|.|] {word3} {word4}
{place} {word} {word2} {word3}[.|!|]
{city}, {date}
{city} ({country})
{city}, {date} - {org} <firmdid>, [officials said|{name} <said>].
[The|A] [mayor|people|streets|airport|river|harbour|port|police|embassy|suburbs|winter|history|museums|beaches] of {place} [is|are|was] [<feel>|famous|closed|quiet].
[President|Prime Minister|King|The ambassador] of {country} [visited {place} <when>|met {name}|resigned].
The {city} [office|branch|store|airport|marathon|conference|derby|team|court] [is closed|opens <when>|was full|moved].
[Population|Area|Climate|Economy] of {place}[: {num}|]
[In|Across|Throughout|Outside|Near|Around] {place}[,|] [farmers grow olives|the shops close early|tea is served cold|they drive on the left|nobody queues|elections are held in {month}|it snowed].
[back|on my way|bound|driving|off|sent|invited|close|next] to {place}[, {word} {word2}|.| <when>.|]
{word} {word2} to {place} [by|with|in|on|for|after|and] {word3}[.|]
[Made|Printed|Assembled|Designed|Grown] in {place}[.|]
[she|he|I|they|{first}|my <rel>] [went|travelled|came back|drove|sailed|walked|headed|got back|emigrated|commuted|was sent|was posted|fled] to {place} [by car|in {month}|with nothing|on foot|for good|by ferry|by plane|<when>|after the {word}][.|]
[In|Over in|Back in|Down in|Here in] {place} they [sell|eat|speak|grow|wear] {word} {word2}, {word3} {word4}.
[we|I|they] [arrived in|stopped in|stayed in|met in|passed through|set off from|toured|crossed|explored] {place}[ and {place2}|], [and|but|where] {word} {word2} {word3}.
{place} [is|was|looks|feels] [really |quite |rather |][great|nice|dull|cold|lovely|empty|dear] [in winter|at night|with children|these days|off season][!|.]
[Earthquake|Flood|Strike|Fire|Power cut|Heatwave] [hits|near|in] {place}[, {num} injured|: {num} homes without power|]
[From|Between] {place} [and|to] {place2} [there is nothing but sand|you pass three lakes|the road is closed].
[My flight|My train] to {city} [leaves|left|was cancelled] [at {time}|<when>][, seat {num}|].
{place}, {place2}[, {place3}|] and {place4} [have no airport|signed the treaty|border the sea|sent athletes|are cheap in {month}].
[Weather|News|Jobs|Hotels|Restaurants|Flights] in {place}
[A|The] [woman|man|couple|family|student|reader] from {place} [found|won|lost|wrote to us about] <thing>.
{country}'s [economy|president|team|king|army|population] [grew|resigned|lost|is ageing].
[i live in|im from|flying to|moved to|back in] {place} [lol|now|again|since {year}|<when>]
[Has anyone|Who has] been to {place}[ or {place2}|]? [Worth it?|Any tips?|]
[On|Last] {day} [my <rel>|they] [flew|sailed|hiked|rode] to {place} by [boat|train|bus|car|night train].
[The film|The novel|The song|The story] [is set|takes place|was shot] in {place}[ in {year}|].
"""

ADDRESSES_EN: Final = """
[My|His|Her|The|Our|Your|The new|The old] [address|home address|billing address|mailing address|shipping address|office address] is[:|] {addr}[.|]
I [live|am staying|work|used to live|park] at {addr}[.|, on the second floor.|]
[Please|Can you|Could you] <deliver> [it|<thing>|the order|my card|the package|a replacement] to {addr}[.|?|, please|. Thanks!| before {day}.]
[Where|What address] [should|do] [we|I] <deliver> [it|this] to?¶{addr}
Agent: [what is your address|please spell the street]?¶Customer: {addr}
[I moved|We are moving|They relocated|She moved] [from {addr} |]to {addr2}[ <when>|].
[Meet me|See you|Pick me up|Come|The party is|The meeting is|Let's meet|I'll wait|Drop me off] [at|in front of] {addr}[ at {time}|].
[The taxi|The tram|The driver|The courier] [stops|waits|left me|turned] [at|near|by] {street}.
[Deliveries|Guests|Trucks|Cyclists] [should|may] [park|ring|turn off|wait] [on|at] {street}[ until {month}|][.|]
[Address|Street|Ship to|Bill to|Deliver to|Mailing address|Home|Residence|Location|Office|Site|Property|Premises|Addr.][:| :|:¶|: ] {addr}
[Name|Customer|Attn]: {name}¶[Address|Addr]: {addr}¶[Phone|Tel]: {phone}
{name}¶{addr}
{org}¶{addr}
{org}, {addr}
{name}, {addr}
[Ship|Send] [<thing>|this] to: {name}, {addr}
[The house|The flat|The apartment|A property|The restaurant|The shop|The clinic|The garage] at {addr} [is for sale|burned down <when>|costs {money}|has been empty since {year}|belongs to {name}|is listed].
[Police|Firefighters|An ambulance|A plumber] [went|came|was called|were called] to {addr} [<when>|at {time}].
[Is|Was] {addr} [still|] [your current address|correct|the right address|near the station]?
[Change|Update|Correct|Replace] [my|the] [address|billing address] [to|with] {addr}[, effective {date}|][.|]
{name} [of|residing at|domiciled at|who lives at|formerly of] {addr}[, hereinafter the tenant|][.|,]
[Our|The] [office|store|branch|clinic|new shop|warehouse] [is|is located|can be found|has moved] at {addr}[, open until {time}|].
[Turn|Go|Walk|Drive] [left|right|straight] [at|onto|into|down] {street}[ and stop at {street2}|].
[Accident|Parking|Fire|Water leak|Noise|Road works] [at|near|on] {street}[, {city}|]
[Invoice address|Delivery address]:¶{name}¶{addr}¶[Delivery address|Invoice address]:¶{addr2}
[card|parcel|order] {num} [never arrived at|should go to|was sent to] {addr}
{addr}
{addr}¶{phone}
[It's|It is|That would be|Sure:|Yes,] {addr}
[corner|Corner|intersection] of {street} and {street2}
[Return|If undelivered return] to[:|] {org}, {addr}
[Tenant|Owner|Lessor]: {name}, [born {date}|ID {num}], {addr}
{num},{name},"{addr}",{phone}
[my addr is|i live at|come to|deliver to|its at] {addr} [pls|thx|buzz {num}|]
[The package|My order|The flowers|Your card] [was|were|will be] [sent|delivered|shipped|left] [at|to] {addr} [<when>|by mistake|instead of {addr2}][.|]
"""

NOTHING_EN: Final = """
[Bot|User|System|Assistant|Seller|Support|Admin|Me|Host|Caller|Buyer|Q|A]: {word} {word2} {word3}[.|?|!|]
[Bot|Agent|User|Assistant]: [which|what|how] {word} {word2} {word3}? [User|Customer|Me]: {word4} {word5}
[C'mon|Y'all|O'clock|Ma'am|Rock 'n' roll|'Cause|Goin' out|Gimme|Gonna|Wanna|Dunno|Ain't it], {word} {word2} {word3}[!|.|]
{num}. {Word} [the|your|to|on|all|it|for] {word2} {word3}[: |. |, ]{word4} {word5} {word6}.
{num}. **{Word} {Word2}**: {Word3} [the|your|a|to] {word4} {word5}.
- **{Word}**: {word2} {word3} {word4}¶- **{Word2}**: {word5} {word6}
{Word} [the|your|to|on|all|our|a|it|for|and|with|or] {word2} {word3} [and|to|or|the|of|in] {word4}[.|,|!|:] {Word2} [the|your|to|on|all|our|a|it|for|and|with|or] {word5} {word6}.
{Word}, [you|we|I|it|please|they] [can|will|should|must|may|need to] {word} {word2} {word3}. {Word2} {word4} {word5}.
[First|Next|Then|Finally|Firstly|Lastly|Once done|After that|Step {num}][,|:] {word} [the|your|to] {word2} {word3}.
[Our|Your|Each|Every|All|These|Those|Any|Another|Both] {word} {word2} [is|are|will|can] {word3} {word4}. [Our|Your|The|This] {word5} {word6}.
[the|a|our|your|this] [Premium|Platinum|Standard|Freemium|Pro|Basic|Business|Starter] [account|plan|{word}] [is|has|lets you] {word2} {word3}.
"{Word} {Word2}" [button|tab|section|page|menu|option], {word} {word2}
[α|β|γ|ε|δ|σ|λ|π|μ|θ|x|n|k] [=|{lt}|≤|{gt}|≥|is|and|or|of] [{num}|δ|n|1e-5|0.{num}][,|.|] {word} {word2}
{word} {num}¶{word2} {num2}¶{Word3} {num3}
{word} ({acr}) {word2} {word3}, {acr2} {word4}
{Word} {word2} ({acr}) [is|are|means|stands for] {word3} {word4}[.|, {word5}]
[Customers|People|Users|Teams|Children] with [an |a |] {acr} [may|can|should|often] {word} {word2}[.|, {word3}]
"{Word}," "{Word2}," [or|and] "{Word3}"[.|, {word} {word2}]
[Its|The|Your] [status|state|label] [is|may say|reads] "{Word}" [or|and|not] "{Word2} {Word3}"[.| {word}]
{lb}{lb}{Word} [{Word2}|or {Word2}|]{rb}{rb} [{word}|or {lb}{lb}{Word3}{rb}{rb}|the {word2}]
[Look for|Click on|Tap|Find|Use] the [option to |]{lb}{lb}{Word}{rb}{rb}[ or "{Word2} {Word3}"|][ button| tab| link|].
{word} [on|of|in|to] [our|your|the] {word2}.¶{num}. {Word} [to the|the|to your|any|your|all] {word3} {word4}[.|:] {Word2} {word5}.¶{num2}. {Word3} [the|your|on|to] {word6}.
[the following|these steps|some tips|options]:¶¶1. {Word}, {word} {word2} {word3}.¶2. {Word2} [the|your|to] {word4}.¶3. {Word3}: {word5} {word6}
"[Add|Go|Back|Return|Skip|Save|Move|Log in|Sign up] to {Word}"[ button| link| page|][.|, {word} {word2}]
[a|the] "{Word} {Word2}" or "{Word3} [{WORD}|{Word4} {Word5}]" [button|option|link|tab|message]
{Word} [{word}|{Word2}] {acr}[-|/]{acr2}[-|/]{acr3} [{word2}|{num}]
[My favourite|The best|Her new|Their first|That old|This] [song|film|album|novel|play|game|series|episode|poem|podcast] is [called |]["{Title}"|{Title}][.|, {word} {word2}| by {name}.]
[Play|Skip|Stream|Sing|Record] [me |][{Title}|"{Title}"][ again| next| on repeat| by {name}|][.|!|, please.|]
[I am|We were|They kept|She is|He was] [listening to|watching|reading|humming|rehearsing|queuing for] ["{Title}"|{Title}][ <when>| on TV| on the radio|][.|!]
"{Title}" [is|was|will be] [on at {time}|sold out|the number one|a remake|my ringtone|stuck in my head][.|!]
[Season|Episode|Volume|Chapter|Track|Level] {num} of {Title} [is out|was cut|made me cry|is too long][.|!]
[{Title}|"{Title}"] by {name} [is|was] [on at {time}|sold out|the number one|a classic][.|!]
[a|my|our|your|the new|this] {Brand} [phone|car|jacket|sofa|blender|printer|bike|camera|watch|cream|router] [broke|is great|costs {money}|arrived <when>|has {word} {word2}][.|!]
[Does|Will] the {Brand} [{num} |Pro |Mini |Plus |]{word} [with|without|and] {word2}?
{num}. {Word} {Word2}: [If|When|Once] {word} {word2}, {word3} {word4}.¶{num2}. {Word3} {Word4}: {word5} {word6}
[{num}. |- ||]{Word}, you [can|may|will|could] [also |always |]{word} {word2}[.|, {word3}]
`{word}.{word2}` {word3} `--{word4} {num}`, {word5} {word6}
[IBAN|Account|Acct|Bank details|Transfer to|Pay into|My account is|send it to][:| :|] {iban}[.|, {word} {word2}|]
{iban}
[Visit|See|Open|Check|Go to|Is|Has anyone used] [www.|http://|https://|]{domain}[/{word}|][.|, {word} {word2}| for {word} {word2}|?]
{domain}
[Mail|Write to|Email me at|My email is|contact|Reply to|cc] {email}[.|, {word} {word2}|]
{email}¶{phone}¶{domain}
{word} {word2} {email} {word3} {word4}
[My|The|This|Your|Our|An|No|Any] {acr} [is|was|has|does not work|card|code|number|file|form] {word} {word2}[.|?|]
[at the|from the|with an|use the|enter your|via|by|no] {acr}[,|.|] {word} {word2} {word3}
{acr}: {num}
{acr} [{num}|{word}|{Word}]¶{acr2} [{num}|{word}|{Word}]
{word} {word2} {acr} {word3} {word4}[.|]
[Phone|Mobile|Desk|Fax|Tel|Cell|Office|Home|Work|Direct|Toll free|Hotline|WhatsApp][:| :|: ]{phone}¶[Fax|Desk|Mobile|Email|Office|Home]: {phone2}
[Mobile|Cell]: {phone}¶[Desk|Work]: {phone2}¶Fax: {phone3}¶[{url}|{email}|]
[I|You|We|They|He|She|It] [didn't|don't|won't|can't|couldn't|wouldn't|isn't|aren't|wasn't|haven't|hasn't|shouldn't|doesn't|ain't|weren't|'ll|'ve|'d|'re] {word} {word2} {word3}[.|, {word4} {word5}]
[That's|It's|There's|What's|Who's|Let's|Here's|I'm|You're|We're|They're|I've|I'd] [so |very |really |just |not |too |]{word}[!|.|, {word2} {word3}]
[I'm|We're|She's|He's|They're|You're] so {word}[!|!!|.| about it]
{job}¶{job2}¶{job3}
[The|Our|A|Another|Every] {job}, {word} {word2}, [said|asked|left|agreed|will call back] [<when>|].
[Title|Role|Department|Team]: {job}¶[Location|Level|Grade]: [Remote|Senior|Junior|{num}]
[on|before|after|since|around|until] [Labor Day|Memorial Day|Independence Day|Thanksgiving|Boxing Day|Mother's Day|Valentine's Day|Halloween|Ramadan|Diwali|Black Friday|Bank Holiday|May Day], {word} {word2}
[ZIP|Zip code|Postcode|Postal code][:| ][ |]{num}
[What's|What is] your [email|e-mail|phone|card number|zip code]? [{email}|{phone}|{card}|{num}]
"[I|We] [ordered|bought|returned|tested|reviewed|want] [the|a|two] {product}[ <when>|][.|!| and it broke.]
[Is|Are] the {product} [in stock|waterproof|worth it|better than the {product2}|available in {colour}]?
{product}¶{product2}¶[Qty|Quantity]: {num}¶[Total|Sum]: {money}
[Order|Invoice|Case|Ticket|Tracking|Ref] [#|no. |number ||: ]{num} [was shipped|is closed|is late|arrived] <when>[.|]
[My|The] card [number |]{card} [was charged twice|is lost|expires in {month}|does not work].
[My|Our] [phone|number] is {phone}[.|, call after {time}|]
[Email|Write to|Contact] us at {email}[.| or visit {url}|]
[It was|We met|Closed|Due|Valid until|Born|Issued] [on |]{date}[.|]
[On|Every|Next|Last] {day} [in {month} |][we eat soup|the office is closed|I go running|it rained].
{month} [was|is] [cold|the best month|too long|when the roses bloom].
[Spring|Summer|Autumn|Winter|Christmas|Easter|Monday|New Year] [is coming|was quiet|sale: {num}% off|starts <when>].
The [book|chapter|section|table|figure|page|appendix|article|clause] {num} [is missing|explains this|was updated|applies].
[Press|Click|Select|Choose|Open|Go to] "[Settings|Sign In|My Account|Privacy Policy|Buy Now|Contact Us|Log Out|Order History]"[.| and then Save.]
[Terms and Conditions|Table of Contents|Frequently Asked Questions|Privacy Policy|Return Policy|Order Summary|Payment Methods|Executive Summary|Related Work|Next Steps]
[Great|Good|Bad|Poor|Excellent|Terrible|Amazing|Decent] [quality|value|service|battery|sound|fit|screen]. [Would|Would not] [buy again|recommend].
[HOW DO I|CAN I|PLEASE|WHY CAN'T I] [RESET MY PASSWORD|CANCEL MY ORDER|TALK TO A HUMAN|CHANGE MY PLAN]?
[What|How much] [is|are] the [fees|limit|opening hours|exchange rate|shipping costs|charges] [for|on] [a savings account|withdrawals|the gold card|returns|a wire transfer]?
[I|We] [can|will|should|must|may] [mark|rose|grant|bill|hope|will|frank|jack|pat|drew|chase|sue|rob|ray|dawn|summer|grace|faith|joy] [it|the page|to the occasion|a wish|the customer|for the best].
The [will|bill|mark|grant|rose|art|dean|page|rich|drew|lane|hope|jasmine tea|cliff|heath|brook|stone|violet|ruby|amber|pearl|basil|sage|bishop|king|cook|baker|carpenter|hunter] [was|is] [long|old|approved|red|here|new].
[The|Our] {job} [is on leave|called back|fixed it|was <feel>|will call you].
[A|One|Any|Every] {job} [earns {money}|needs patience|must be licensed].
[Job title|Occupation|Position|Profession]: {job}
[The|All|Most|Many|Some] {nat} [food|music|wine|people|films|customers|winters] [is|are] [lovely|loud|rare|wonderful].
[Do you speak|Translate this into|I learn|Lessons in] {language}[?|.|]
[Dear|Hello] [Sir or Madam|customer|all|team|friends|Customer Service|Support|everyone|valued customer|hiring manager], [I am writing about|please see|we noticed] <thing>.
[Best|Kind] regards,¶[The team|Customer Service|Management|Your support team]
[The president|Our manager|The doctor|My <rel>|The mayor|The nurse|A neighbour|The caller|Somebody] <said> [nothing|it was fine|that <thing> is ready|we must wait].
My <rel> [and my <rel> |][is <feel>|bought <thing>|likes the {colour} one|will be there].
[I just|She|He] turned {age}[.|!]
[Add|Mix|Chop|Boil|Stir|Bake] [the onions|two eggs|butter|flour|the rice] [for {num} minutes|until golden|and serve].
[def|class|import|return|SELECT|git commit] [main|name|user_id|numpy|orders|total|path] [= {num}|FROM users|()|:|;]
Error {num}: [File Not Found|Access Denied|Connection Timed Out|Invalid Argument] [at line {num2}|in module Parser|].
[Take|Apply|Inject] [one tablet|two drops|{num} mg of {drug}|{drug}] [twice daily|at night|with food|every {num} hours].
[Diagnosis|History|Plan|Assessment|Medication|Allergies|Vitals][:|: ] [type 2 diabetes|Parkinson's disease|Alzheimer's disease|Crohn's disease|hypertension|{drug}|none|stable|BP {num}/{num2}]
[Patient|Pt] [denies|reports|has] [chest pain|nausea|no known allergies|a mild fever|trouble sleeping] [<when>|for {num} days|].
The [Second World War|Middle Ages|Renaissance|Bible|Constitution|Industrial Revolution|Olympics|Moon|Sun|Internet] [changed everything|began in {year}|is long over].
[Watch|I watched|Stream|I'm listening to] [The Godfather|Star Wars|Game of Thrones|Breaking Bad|The Office|Frozen|Titanic] [on TV|again|tonight|<when>].
[The|A] [judge|court|jury|tenant|landlord|lessee|Party|Company|Supplier|Buyer] [shall|must|may|agrees to] [pay {money}|give notice|keep records|not assign this Agreement].
[Article|Section|Clause] {num}. [Governing Law|Termination|Force Majeure|Confidentiality|Payment|Liability]
[Go|Turn|Drive] [left|right|north] [for {num} miles|at the light|past the church|until the bridge].
[Is|Are] [there|you] [a gift shop|open <when>|parking|still hiring|on time]?
[Yes|No|Ok|Okay|Sure|Thanks|Great|Perfect|Sorry|Hmm|Well|Right|Exactly|Lol|Wow|Please|Anyway|Maybe|Absolutely|Cool|Nope]{sign}
[Yes|No|Sure|Thanks|Sorry|Well|Also|However|Therefore|Meanwhile|Finally|Honestly|Unfortunately|Luckily|Besides|Otherwise], [it works|that is fine|we are closed|I will wait|nothing helped|the price is right|please try again].
[Can|Could|Do|Does|Did|Is|Are|Was|Will|Would|Should|Have|Has|May|Might] [you|I|we|it|they|this|that|he|she|there] [help|work|come|be late|have cost more|cancel|arrive <when>|try again]?
[Breakfast|Lunch|Dinner|Tea|Coffee|Check-in|Parking|Yoga|Math|English|Biology] [is|starts|ends] [at {time}|free|included|cancelled].
[Buy|Get|Save|Win|Earn|Try] [one|more|points|a free month|{num}%] [today|now|with code SAVE{num}|on your first order][!|!!|.]
{word} {word2} {word3} {word4} {word5} {word6}.
{Word} {word2} {word3}, {word4} {word5}.
{Word}: {word2} {word3} {word4}
{Word} {Word2} {Word3}
The {Word} {Word2} [is|was] {word3} and {word4}.
{WORD} {WORD2} {WORD3}[!|.|]
- {Word}¶- {Word2}¶- {Word3} {word4}
{Word}¶{Word2}¶{Word3}
{word} {Word2} {word3} {word4} [<when>|with {word5}|for {money}].
[I|We|They|You] {word} the {word2} {word3}, and {word4} {word5} [{num}|].
"""
