"""Lists that English firms, streets and dates are put together from, for the tagger's training."""

from __future__ import annotations

from typing import Final

from tagger_words import options, words

DAYS: Final = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS: Final = words(
    "January February March April May June July August September October November December"
)
STREETS: Final = words("""
Street Street St St. Road Road Rd Rd. Avenue Ave Ave. Lane Ln Drive Dr Dr. Court Ct Boulevard Blvd Way Place Pl Terrace Close Crescent Square Parkway Pkwy Highway Hwy Trail Circle Cir Row Hill Gardens Grove Mews Quay Alley Loop Plaza Mall Ridge Meadows Mission Walk Wharf
""")
STREET_NAMES: Final = words("""
Main High Church Park Oak Maple Elm Cedar Pine Washington Lake Hill Walnut Spring North Ridge Meadow Forest River Station Victoria Green Mill King Queen Market Bridge Chestnut Sunset Railroad Cherry Dogwood Broad Hickory College Highland Franklin Jefferson First Second Third Fourth Fifth Sixth 1st 2nd 3rd 4th 5th 12th 42nd Rose Orchard Manor School Springfield Willow Birch Ash Vine Prospect Union Center Court Water Front Crown Abbey Castle Cross Grange Sandy Stony Old New
""")
FOREIGN: Final = options("""
{x}straße {n}|{x}strasse {n}|{x}str. {n}|{x}weg {n}|{x}gasse {n}|{x}platz {n}|Am {x} {n}|An der {x} {n}|{x}er Straße {n}|rue {x} {n}|{n} rue {x}|{n}, rue de {x}|{n} Avenue {x}|{n} avenue de la {x}|{n} boulevard {x}|{n} place {x}|{n}, chemin {x}|Calle {x} {n}|Calle {x}, {n}|C/ {x}, {n}|Avenida {x} {n}|Plaza de {x} {n}|Paseo {x} {n}|Via {x} {n}|Via {x}, {n}|Viale {x} {n}|Piazza {x} {n}|Corso {x} {n}|Rua {x} {n}|Rua {x}, {n}|Travessa {x} {n}|Praça {x} {n}|ul. {x} {n}|ul. {f} {x} {n}|{x} {n}|{x}ova {n}|{x}ská {n}|ulica {x} {n}|{x} ulica {n}|{x} u. {n}.|{x} utca {n}.|{x} út {n}.|{x} tér {n}.|{x}gatan {n}|{x}vägen {n}|{x}vej {n}|{x}gade {n}|{x}veien {n}|{x}gata {n}|{x}katu {n}|{x}tie {n}|{x}straat {n}|{x}laan {n}|{x}weg {n}|{x}plein {n}|{x} Cad. No:{n}|{x} Sokak {n}|Jalan {x} {n}|Jl. {x} No. {n}|{x} Marg {n}|{n} {x} Nagar|{x}stræde {n}|Str. {x} {n}|Bulevardul {x} {n}|{x} iela {n}|{x} g. {n}|{x}backen {n}|{x}holm {n}|{x}dal {n}|{x}berg {n}|{x}by {n}|{n} Ferme {x}|Hauptstrasse {n}|Storgatan {n}|Bahnhofstr. {n}
""")
FIRM_ENDS: Final = options("""
Inc|Inc.|Incorporated|Ltd|Ltd.|LLC|Corp|Corp.|Corporation|PLC|GmbH|AG|S.A.|SA|BV|Oy|AB|A/S|Co.|Company|Group|Holdings|Partners|& Co|and Sons|& Sons|Brothers|Pty Ltd|LLP|Srl|SpA|Kft
""")
FIRM_NOUNS: Final = options("""
Bank|Insurance|Insurance Group|Investments|Capital|Logistics|Solutions|Systems|Technologies|Software|Labs|Pharmaceuticals|Pharma|Airlines|Airways|Energy|Foods|Motors|Electric|Telecom|Media|Records|Studios|Pictures|Publishing|Press|Consulting|Associates|Foundation|Institute|Trust|Society|Association|Federation|Union|Hospital|Medical Center|Clinic|Health|Healthcare|University|College|School|Academy|High School|Museum|Library|Theatre|Orchestra|Hotel|Hotels|Restaurant|Bakery|Market|Stores|Supermarkets|Industries|Manufacturing|Chemicals|Steel|Mining|Construction|Properties|Realty|Security|Analytics|Data|Networks|Robotics|Dynamics|Global|International|Worldwide|Services|Financial|Mutual|Savings Bank|Credit Union|Brewery|Coffee|Outfitters|Apparel|Sports|Football Club|FC|United|City Council|Police Department|Fire Department|Ministry of Health|Chamber of Commerce|Law Firm|Ventures|Advisors|Entertainment|Games|Interactive|Digital|Design|Collective|Cooperative
""")
FIRM_WORDS: Final = options("""
Blue|Red|Green|Golden|Silver|Black|White|North|South|East|West|Northern|Southern|Pacific|Atlantic|Global|United|National|American|European|First|Royal|Grand|Bright|Clear|Rapid|Swift|Smart|Open|Summit|Pinnacle|Horizon|Vertex|Apex|Delta|Omega|Alpha|Nova|Stellar|Lunar|Solar|Quantum|Fusion|Titan|Phoenix|Eagle|Falcon|Lion|Bear|Wolf|Oak|Cedar|Maple|River|Lake|Ocean|Mountain|Harbor|Bridge|Crystal|Diamond|Iron|Stone|Beacon|Liberty|Heritage|Pioneer|Frontier|Century|Metro|Urban|Central|Capital|Premier|Elite|Prime|Credit|Cash|Health|Pocket|Power|Planet|Cycle|Aunt|Uncle|Happy|Lucky|Sunny|Fresh|Pure|True|Trust|Noble|Guardian|Shield|Castle|Tower|Gate|Cloud|Data|Cyber|Digital|Micro|Bio|Eco|Agri|Aero|Geo|Med|Care|Home|Life|Mind|Next|New|Old|Little|Big
""")
FIRM_KNOWN: Final = options("""
Microsoft|Google|Apple|Amazon|Facebook|Meta|Netflix|Tesla|Toyota|Honda|BMW|Siemens|Bosch|Nestlé|Nokia|Ericsson|IKEA|Volvo|Samsung|Sony|LG|Intel|IBM|Oracle|SAP|Adobe|Cisco|Dell|HP|Nvidia|AMD|Uber|Lyft|Airbnb|Spotify|Twitter|LinkedIn|PayPal|Visa|Mastercard|Walmart|Target|Costco|Tesco|Aldi|Lidl|Starbucks|McDonald's|Burger King|KFC|Coca-Cola|Pepsi|Unilever|Pfizer|Moderna|Bayer|Novartis|Roche|Shell|BP|Exxon|Chevron|Total|Boeing|Airbus|Lufthansa|Ryanair|Delta Air Lines|United Airlines|FedEx|UPS|DHL|HSBC|Barclays|Citibank|Wells Fargo|Chase|Bank of America|Goldman Sachs|JPMorgan|Morgan Stanley|Deutsche Bank|ING|Santander|AXA|Allianz|Geico|Reuters|CNN|BBC|NBC|Fox News|the New York Times|The Guardian|Harvard|Yale|MIT|Stanford|Oxford University|the Red Cross|UNICEF|NASA|FBI|CIA|the United Nations|NATO|the EU|the European Commission|the World Bank|WHO|Greenpeace|FIFA|UEFA|the NBA|NFL|Manchester United|Real Madrid|the Supreme Court|Congress|the Senate|Parliament|the Labour Party|Mayo Clinic|Verizon|AT&T|Vodafone|Comcast|Zara|H&M|Nike|Adidas|Puma|Levi's|Gucci|eBay|Alibaba|Tencent|Huawei|Xiaomi|Deloitte|KPMG|PwC|McKinsey|Accenture|Blackberry|Motorola|Xerox|Kodak|General Electric|General Motors|Ford
""")
COIN_A: Final = words(
    "ver num enig pow plan mic gal cod ber vax zil ther lum ori nex syn opt ava cel den fal gra hel iso jun kal lem mon nor pal qua ros sol tel uma vis wex xan yor zen tri ko ba al bri cla"
)
COIN_B: Final = words("da med bil or eco mo ra ti lo ve na so lu di ka ma re si to va")
COIN_C: Final = words(
    "fero ii ma io bit systems ta lo ra vate soft ware ly fy ix on us a os ent era ica ium tech logic zon via pal net nova gen dyne mark line press"
)
CITY_HEADS: Final = words("North South East West New Port Lake Saint San Bad")
POSTAL_AREAS: Final = words("SW NW E W EC BS M")
LANGUAGES: Final = words(
    "English French German Spanish Italian Portuguese Russian Arabic Hindi Japanese Mandarin Korean Dutch Swedish Greek Latin Turkish"
)
COLOURS: Final = words("red blue green black white grey silver gold pink purple navy beige")
SYLLABLES: Final = words("""
ba be bi co cy da do ep fa fe ga gle hy im ja ka la le lo lu mi my na ne ni no pa pra pro ra re ri ro sa se si sy ta te ti tra va ve vi xe za zo zy
""")
BRAND_ENDS: Final = words("""
a an ax da dex dyne ex il in ine ix lor lyn nex ol on or pril ra rin stat sta tin tra tril vir xa zole
""")
"""What names of medicines and brands are made up from."""
TITLE_WORDS: Final = options("""
The|A|Of|My|Your|And the|In the|Me|You|To|On|Dear|Hey|Oh|Goodbye|Hello|One More|Forever|Don't|I'm|We Are|Old|Sweet|Never|Little
""")
