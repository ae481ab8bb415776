"""English patterns for the tagger, one a line, for ``sottovoce.data.grammar.expand``.

A slot in braces is filled anew each time; its digits only tell two slots of a kind apart. The
sign ¶ is a line break. Held-out patterns are chosen by line, so each line stands for itself.
"""

from __future__ import annotations

from typing import Final

RULES_EN: Final[dict[str, str]] = {
    "hi": "[Hi|Hello|Hey|Dear|Good morning|Good evening|hi|hello|hey|Greetings|Hiya|Hi there|Yo]",
    "bye": "[Best|Regards|Best regards|Kind regards|Thanks|Cheers|Sincerely|Yours truly|Love|Thank you|Many thanks|Warm regards|Best wishes|Cordially|xoxo|Take care]",
    "t": "[Mr.|Mrs.|Ms.|Dr.|Prof.|Mr|Mrs|Ms|Dr|Miss|Sir|Professor|Captain|Judge|Senator|mr.|mrs|dr.|Sgt.|Rev.|Father|Sister|Madam|Nurse|Officer|Coach]",
    "rel": "[mother|father|brother|sister|wife|husband|son|daughter|uncle|aunt|boss|colleague|friend|best friend|neighbour|neighbor|cousin|roommate|grandmother|grandson|niece|nephew|fiancé|ex|partner|teacher|landlord|lawyer|assistant|doctor|mom|dad|manager|flatmate|tenant|client|patient|coach|mentor|dog walker|therapist|accountant]",
    "role": "[president|chairman|CEO|founder|director|head of sales|spokeswoman|spokesman|manager|treasurer|chief engineer|editor|coach|captain|analyst|attorney|secretary|minister|mayor|governor|deputy director|research fellow|vice president|owner|head nurse|principal|inspector|ambassador|producer|guitarist|drummer|goalkeeper|senior partner|curator|co-founder|author|actress|poet|historian]",
    "said": "[said|told us|wrote|explained|announced|replied|added|admitted|claimed|insisted|argued|noted|confirmed|warned|whispered|shouted|asked|laughed|sighed|promised|stated|commented]",
    "when": "[yesterday|last night|on {day}|in {month}|in {year}|last week|this morning|two days ago|next {day}|at {time}|tomorrow|today|on {date}|earlier this year|since {year}|by {date}|a while ago|the other day|for years]",
    "thing": "[the report|the keys|my parcel|the invoice|our tickets|the contract|a new laptop|the blue jacket|my prescription|the refund|a cake|the photos|the results|the minutes|some flowers|the car|the piano|my application|the deposit|those documents|the recipe|the puppy|an umbrella|the groceries]",
    "did": "[went to|came from|moved to|was born in|grew up in|left for|returned from|flew to|lives in|studied in|got lost in|settled in|escaped from|drove through|spent the summer in|works in|retired to|vanished in|taught in|died in]",
    "firmdid": "[announced layoffs|opened a new office|reported record profits|raised its prices|recalled the product|hired two hundred people|lost the lawsuit|went bankrupt|launched an app|declined to comment|was acquired|cut its forecast|moved its headquarters|won the contract|apologised to customers|ships worldwide|never answered my emails|charged me twice|offers free returns|is hiring]",
    "feel": "[great|awful|so kind|very helpful|late again|wonderful|rude|amazing|really funny|not at home|on holiday|sick|pregnant|busy|in a meeting|retired|the best|impossible to reach|out of the office|sorry|a genius|too loud|brilliant|my hero]",
    "deliver": "[deliver|send|ship|post|mail|forward|bring|dispatch|courier|drop off]",
    "intro": "[my name is|My name is|I am|I'm|this is|This is|it's|here is|Name:|name is|MY NAME IS|i am|i'm|They call me|call me|Call me|people call me|I go by|You can call me|My full name is|The name's]",
}

# A person, in all sorts of talk.
PEOPLE_EN: Final = """
<hi> {first}, [how are you|thanks for the quick reply|any news about <thing>|did you get <thing>|hope you are well|long time no see][?|.|!||...]
<hi> <t> {last}, [I am writing about|please find attached|thank you for|we received|I have a question about] <thing>.
<hi> {name}, [your order {num} has shipped|your appointment is on {date}|we could not process your payment|please confirm <thing>].
<hi>! <intro> {name}[.|,|!| and] [I have a question|I ordered <thing> <when>|I need help|I lost my card|I'd like to cancel my subscription|can you help me|I forgot my password].
<intro> {name}.
<intro> {name}[, and I live in {place}| from {org}| from {place}|, {age} years old|, a {job}|, the <role> of {org}].
<intro> {first}, [nice to meet you|I work with your <rel>|who are you|I'll be your server tonight|your new neighbour].
[ok|okay|sure|yes|yep|oh|well|no], <intro> {name}
Customer: {name}¶Agent: [thank you|thanks|got it|great], {first}. [What is your date of birth?|And your e-mail?|Which order is it?|How can I help?]
Agent: [May I have your name|Who am I speaking to|Your full name], please?¶Customer: [It's|Yes, it's|Sure,|] {name}[.|]
Agent: Is that {first} with [a C or a K|one L or two|an H]?¶Customer: {name}, [just like it sounds|as in the card].
[Please|Could you|Can you] [change|correct|update] the [account holder|name on my ticket|billing name|name on the lease] [to|from {name2} to] {name}[.|?|, please.|]
The [account|booking|reservation|ticket|policy|card|parcel|room|table] [is|was|should be] [under|in the name of|made out to|registered to|for] {name}[.|]
[I think|Probably|It might be|Try looking] [booked|registered|filed|listed] [under|as] {name}[.|]
[Look up|Search for|Find|Try|Check] {name}[ please|, please|.|]
[I am calling|I'm writing|I am here] on behalf of my <rel> {name}[, who| who] [is in hospital|cannot speak English|lost <thing>|passed away in {month}|lives in {place}].
My <rel>[,|] {name}[,|] [asked me to call you|is <feel>|bought <thing> <when>|has the same problem|wants <thing> back|never got <thing>].
My <rel>'s name is {name}[.|, not {first2}.|]
[Is|Was] {first} [there|home|in today|around|coming|still asleep|your real name|on the list]?
[Have|Has anyone] you [seen|met|called|spoken to|heard from] {name} [<when>|yet|lately|since {month}]?
{first} and {first2} [are getting married|broke up|went fishing|are here|argued all night|have two kids|will bring <thing>].
[The|My|Our|All|His] [three|four|two|] [colleagues|friends|suspects|heirs|players|cousins|partners|classmates|drivers]: {last}, {last2}[ and|,|, and] {last3}[.|, all from {place}.|]
{last}, {last2} and {last3} [{word}|built|own|run|share|left|met|wrote] [the {word2}|it together|in {year}|{word2} {word3}][.|]
{first} [had|has|was|would|never|still|always|only|hasn't|will] {word} {first2} [{word2}|a {word2}|the {word2} {word3}|again][.|!|, {word4} {word5}]
{first}, {first2} and {first3} [went to the lake|are on my team|passed the exam|missed the bus|came second|will share a room].
[Invite|Tell|Ask|Call|Text|Remind|Thank|Email|Ping|Warn] {first} [and {first2} |][about <thing>|before {day}|that we are late|to bring <thing>|when you can|, okay?]
{name} [sold|gave|showed|owes|sent|lent|promised] {name2} <thing> <when>.
{name} <said> [that |]<thing> [was|is] [lost|ready|late|too expensive|in the kitchen|on its way].
"[I never saw|We need|Nobody wants|Give me|Who took|It was me who broke] <thing>[,|!|?|.]" <said> {name}[, who is {age}|, a {job}|, the <role>|][.|]
"[No|Yes|Maybe|Stop|Never|Wait]!" [cried|yelled|said|mumbled|answered] {first}[ to {first2}|].
"I'm [home|starving|leaving|ready]," {first} <said>.
{name}, [the|a] <role>[ of {org}| at {org}|], <said>: "[We are proud of this|It was a mistake|This changes nothing|We will appeal|There is no plan yet]."
{name}, {age}, [of {place}|from {place}], [was arrested <when>|won the lottery|is missing|denied the charges|finished third|was hurt in a crash].
<t> {last} [will see you now|prescribed the tablets|is on leave|signed <thing>|has been informed|referred me to <t> {last2}|retired <when>|is <feel>].
[I spoke to|I met|I was treated by|She married|We hired|They fired|He sued|You know] <t> {name} <when>[.|!|]
<role> {name} [resigned <when>|will speak at {time}|visited {place}|met <role> {name2}|wrote a book about it|refused to comment].
[The late|Young|Old|Poor|Little|Dear|Good old] {first} [never stood a chance|loved the sea|had three cats|was <feel>|used to say that money is paper].
{first}'s <rel>, {name}, [owns a bakery|is <feel>|speaks five languages|ran for mayor|fixed <thing>].
{first}'s [birthday|wedding|flight|surgery|car|password|bike|phone|interview] is [<when>|gone|in {place}|at {time}].
[It's|That's|This is] {name}'s [phone|desk|laptop|seat|idea|fault|jacket|dog|problem now].
[I love|I hate|I miss|I admire|Nobody likes|Everyone knows|We all trust|Let's meet|Say hi to|Regards to|Give it to|Ask] {name}[.|!|]
[Where|Why|When|How] [did|does|is|was|has] {first} [go|sleep|so angry|leave|work|hiding|been]?
[What|Who] [would|did|does] {name} [do|say|want|see|think|call]?
[I can't believe|Rumour has it|They say|I heard|It turns out|You won't believe it but] {first} [quit|married {name2}|moved to {place}|won|is {age}|stole <thing>].
[Happy birthday|Congratulations|Rest in peace|Well done|Get well soon|Good luck|Welcome|Goodbye|Merry Christmas|Farewell], [dear |][{first}|{name}|{first} and {first2}][!|!!|.|]
¶<bye>,¶{name}[¶{job}|¶{org}|¶{job}, {org}|¶{job}¶{org}¶{phone}|¶{phone}|]
[See you <when>|Looking forward to it|Let me know|Call me]!¶{first}
<bye> [from |]{first}[ and {first2}|]
<bye>, {name}
From: {name} {lt}{email}{gt}¶To: {name2} {lt}{email2}{gt}¶Subject: [<thing>|Re: <thing>|Your order {num}|Fwd: minutes]
From: {name}¶To: {name2}, {name3}¶Date: {date}
Cc: {name}; {name2}; {name3}
[Name|Full name|Patient|Customer|Client|Applicant|Contact|Employee|Student|Attn|ATTN|Buyer|Holder|Signed|Guest|Author|Reviewer|Tenant|Driver|Witness|Claimant|Passenger|Recipient|Sender|Payee][:| :|: | -] {name}
[First name|Given name|Forename|Nickname][:|: ] {first}¶[Last name|Surname|Family name][:|: ] {last}
[Surname|Last name]: {last}, [First name|Given names]: {first}
Name: {name}¶[DOB|Born|Date of birth]: {date}¶[Phone|Tel|Mobile|Cell]: {phone}
Name: {name} Age: {age} [Sex|Gender]: [M|F|female|male] [MRN|ID|File no.]: {num}
name={name};phone={phone};email={email}
{lb}"name": "{name}", "age": {age}, "city": "{city}"{rb}
"customer": "{name}", "order": "{num}"
{num},{name},{email},{phone}
{name}	{phone}	{email}
1. {name}¶2. {name2}¶3. {name3}
- {name}¶- {name2}¶- {name3}¶- {name4}
* {name} ({org})¶* {name2} ({org2})
[Attendees|Present|Team|Authors|Cast|Guests|Absent|Starring|Directed by|Written by|Players|Nominees|Jury]: {name}, {name2}[, {name3}| and {name3}| & {name3}|]
{name} ({age})
{name} - {job}
{name}, {job}, {org}
{name} / {phone}
{name}: [I agree|No way|See you there|lol|Who has <thing>?|Any objections?]
[Bot|User|System|Assistant|Seller|Support|Admin|Me|Host|Caller|Buyer|Teacher|Q|A]: [hi|hello|yes|thanks|my name is] {name}[, {word} {word2}|.|!|]
@{first} [can you look at this|thanks|+1|please review]
[{time}] {first}: [where are you|on my way|ok|haha|do you have <thing>]¶[{time2}] {first2}: [5 min|no|see you|ask {first3}]
Patient {name} [presented with|was admitted for|complains of|has a history of|was discharged after|denies|is allergic to] [chest pain|a fever|shortness of breath|penicillin|a broken wrist|migraine|hypertension|nausea|diabetes].
[Pt|Patient], {name}, {age} [yo|y/o|years old], [seen by|referred by|under the care of] <t> {last}[ at {org}|][.|]
<t> {last} [reviewed the scan|ordered blood tests|advised rest|called the family of {name}|increased the dose].
[Seen|Examined|Dictated|Reported|Signed] by {name}, [MD|M.D.|RN|PhD|consultant|resident][.|]
{name} underwent [surgery|an MRI|dialysis|chemotherapy] at {org} <when>.
The [defendant|plaintiff|appellant|respondent|accused|testator|lessee|borrower|guarantor|witness], {name}, [failed to appear|pleaded guilty|signed <thing>|resides at {addr}|was represented by {name2}].
{last} v. {last2}[, decided in {year}|, No. {num}|]
This agreement is made between {name} ("[Seller|Landlord|Lender|Licensor]") and {name2} ("[Buyer|Tenant|Borrower|Licensee]") on {date}.
I, {name}, [hereby declare|the undersigned, confirm|being of sound mind, leave <thing> to {name2}|born on {date} in {place}, certify] [that the above is true|that I received <thing>|].
IN WITNESS WHEREOF {name} [has signed|and {name2} have signed] this [deed|contract].
[Payable to|Pay to the order of|Transfer {money} to|Beneficiary:|In favour of|Please wire {money} to] {name}[, account {num}|.|]
{name} [scored twice|beat {name2} in straight sets|was sent off|set a new record|signed for {org}|missed the penalty] [against {place}|in {place}|<when>|in the final].
[Goals|Scorers|Substitutes|Bench|Line-up]: {last}, {last2}, {last3}, {last4}
{last} ({time}) and {last2} [crossed for|passed to|was fouled by] {last3}.
[Our|The] [founders|owners|directors|authors|winners|teachers|suspects|survivors] {last}, {last2} and {last3} [met in {place}|were born in {year}|declined to talk|split the prize].
{org} was founded [in {year} |]by {name}[ and {name2}|, {name2} and {name3}|][ in {place}|].
{name} [joined|left|runs|founded|sued|works for|used to work at|was hired by|inherited|leads] {org} [<when>|in {year}|after ten years|as <role>].
{name}, [formerly|now|currently|previously] <role> [of|at] {org}, [moved to|has joined] {org2}.
[Born in {place}|A native of {place}|Educated in {place}], {name} [studied law|became a {job}|wrote {num} songs|never married|worked as a {job}].
{name} (born {date}[ in {place}|]) [is|was] [a|an] {nat} {job}.
{name} [is|was] [a|an] {nat} [painter|singer|footballer|chess player|novelist|composer|chemist].
[The|A] {nat} [police|court|actor|singer|minister|hikers] [have named|arrested|met|accused|found] {name} [<when>|in {place}|over unpaid tax|near the border].
[In|For] {nat} [fans|readers|voters], {name} [is a legend|means little|remains a mystery].
[Have you read|I finished|Who wrote|I'm quoting] "[The Long Winter|Ashes|A Quiet Room|Under Glass]" by {name}[?|.]
[The new|Her latest|An early] [album|film|novel|painting|opera] by {name} [is <feel>|sold out|leaves me cold|came out in {year}].
[The song|The film|The play|This poem] is about {first}, [a girl who loses her shoes|who never came home|the butcher's son|a sailor from {place}].
"[Oh|Hey|Dear|Sweet|Come back|Don't cry|Sing to me|Wake up|Run|Marry me], {first}[, |! ][the night is long|take my hand|you broke my heart|the river is high|won't you stay]"
"[You took my heart and ran,|She's gone with|It rained the day we met,|I walked ten miles for|They danced with] {first}[, and the moon was low|]..."
[I'm|She is|He was] named after [my <rel> |]{name}.
[They|We|My parents] [christened|will name|wanted to name] [the baby|the twins|their son|the cat] {first}[ and {first2}|][ after {name2}|][.|]
[They|My parents|The nurses|We] [will |]call [it|him|her] {first}[.|, of all names.]
{name}? [Never heard of|I don't know] [him|her|them].
[Is it|Do you spell it] {last} or {last2}?
[No|Sorry], [not|it isn't|it's not] {first}[,|;] {first2}[!|.|]
{first} [is|was] a [very kind|patient|lazy|clever|quiet|generous|difficult] [boy|girl|colleague|woman|man|cook][.|!]
[I went to school|I work|We share an office|She lives|He plays chess|I'm going out] with {name}[.| <when>.|]
[Sitting|Standing|Next] [next to|between|behind] {first} and {first2} [was|stood] {name3}, [looking bored|the <role>].
[Between you and me|Honestly|To be fair|As usual|In the end], {first} [was right|paid for everything|forgot <thing>|is <feel>].
[Thanks to|Because of|According to|Unlike|Without|Apart from|Except] {name}, [we made it|nothing works|the meeting is off|everyone was late].
[Can|Could|Would|Should|Will] {first} [join us|call me back at {phone}|sign <thing>|pick up <thing>|drive] [<when>|]?
[Please call|Reach out to|Contact|Speak to|Write to|Ask for] {name} [at|on|under|via] [{phone}|{email}|extension {num}].
Call {first} at {phone} or {first2} at {phone2}.
{name}'s [number|mobile|cell|phone] is {phone}[, her e-mail {email}|]
[My|The] [doctor|dentist|lawyer|vet|plumber|GP|midwife|electrician] is <t> {last}[ in {place}| on {street}|][.|]
[Appointment|Meeting|Lunch|Call|Interview|Dinner|Coffee] with {name} [<when>|at {time}|in {place}|({org})|on {date} at {time}].
[Reminder|Note to self|To do]: [call|pay back|email|buy a gift for] {first} [and {first2} |]<when>
[Babysitter|Emergency contact|Next of kin|Spouse|Reference]: {name}[ ({phone})|, {phone}|]
[Sent from|Shared by|Posted by|Uploaded by|Edited by|Approved by|Created by|Assigned to|Reported by|Ticket owner:] {name}[ on {date}| at {time}|]
Reviewed by {first} [from|in] {place} on {date}: [great product|too small|arrived broken|would buy again].
[Five|One|Three] stars! {first} at the [front desk|counter|help desk] was <feel>.
[Our waiter|The driver|The host|The nurse|My instructor|Our guide|The plumber], {first}, [was <feel>|went above and beyond|knew everything|fixed it in minutes|spoke no English].
[Shoutout|Kudos|Big thanks|Props|Credit] to {name} [for <thing>|who stayed late|and {name2}][!|.]
Has {last} signed? [If not|Otherwise], [send|give] it to {last2}.
{last}, {first}
Mr. and Mrs. {last} [request your company|live at {addr}|moved to {place} <when>].
the {last}s [are away|moved to {place}|invited us|have a pool]
[The estate|The will|The widow|The letters|The house|The private papers] of {name} [was sold|is lost|went to {org}|never appeared].
[In|On] {year}, {name} [and {name2} |][discovered|invented|painted|crossed|founded] [a comet|the process|the river|a school].
[Lessons|A talk|A concert|A lecture|An evening] with {name} [at {org}|in {place}|on {date}].
{name} et al. ({year}) [found|showed|argued] that [sleep matters|prices rise|noise helps].
({last} & {last2}, {year}; {last3}, {year2})
[As|Like] {last} ({year}) [points out|shows], [few people|most firms|some cells] [notice|survive].
[He|She|The thief|The caller|The man] [called himself|introduced herself as|goes by the name|is known as|claimed to be] {name}[.|]
[If|When|Once|Until|Before|After|While] {first} [arrives|calls|wakes up|was born|finds out|left], [we eat|tell me|nobody slept|hide <thing>].
[Why don't you|Let's|You should|I'd rather] [ask|invite|help|forgive|visit] {first} [first|instead|too|<when>]?
[good luck|thx|ty|lol|omg|btw|fyi] {first} [<feel>|u rock|see u <when>||call me]
[so|and then|but] {first} [goes|was like|texted me|says] [what's up|no way|where is <thing>]
{word} {word2} {name} {word3} {word4}[.|,|]
{Word} {word2} {word3} {name}[,|.|] {word4} {word5}
{name} {word} {word2} {word3} [and|or|but] {word4}[.|]
{Word} {word2} {first} {word3} {word4} {first2}[.|!|]
the {word} {word2} of {name}, {word3} {word4}
{word}, {first}, {word2} {word3}!
{Word}, {name} {word}, "{word2} {word3}"
[with|by|for|from|of|against|without|like|about|than] {name} {word} {word2}
{word} {word2} [{first}|{last}]'s {word3} {word4}
"""
