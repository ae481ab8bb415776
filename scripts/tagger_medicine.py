"""What is said of illnesses, and names nobody: words and English patterns for the tagger's training.

Terms are built as they are in medicine, out of Greek and Latin parts, so that the tagger meets far more
of them than a list would hold. Illnesses that are called after somebody are no personal data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tagger_fill_en import EnglishValues
from tagger_words import options, words

_ROOTS: Final = words("""
aden angi arthr ather bronch carcin cardi cerebr chol chondr col crani cyst cyt derm dys encephal enter eryth fibr gastr gloss glyc hem hepat hist hydr hyper hypo idi kerat laryng leuk lip lith lymph melan mening my myel nas nephr neur ocul odont onc ophthalm oste ot pancreat path peri phleb pneum pod poly proct pseud psych pulm pyel rhin sarc scler sial splen spondyl stomat synov thromb thyr trache ur vas ven xanth
""")
_MIDDLES: Final = words("o o o i a oc on otr op om ol or")
_ENDS: Final = words("""
itis itis osis osis oma oma emia emia uria pathy pathy plasia trophy ectomy ostomy otomy scopy graphy gram plasty algia ectasis megaly penia philia phobia phagia pnea rrhea rrhage sclerosis spasm stenosis kinesia tonia esthesia plegia paresis cele rhexis lysis genesis poiesis dynia malacia ptosis blastoma sarcoma carcinoma cytosis atresia
""")
_ADJECTIVES: Final = words("""
acute chronic benign malignant congenital hereditary familial juvenile infantile idiopathic recurrent relapsing progressive severe mild primary secondary metastatic bilateral lateral anterior posterior distal proximal ventral dorsal systemic diffuse focal cutaneous intestinal gastric hepatic renal pulmonary cardiac cerebral spinal ocular uveal lumbar cervical thoracic pelvic femoral tibial cranial nasal aortic mitral venous arterial lymphatic muscular skeletal dental gingival mucosal retinal corneal autosomal dominant recessive mitochondrial autoimmune viral bacterial fungal parasitic foodborne ischemic hemolytic aplastic interstitial obstructive restrictive myeloid lymphoblastic squamous granulomatous
""")
_ILLNESSES: Final = words("""
anemia asthma cancer cirrhosis colitis cystitis deficiency diabetes dementia dermatitis dystrophy eczema edema embolism epilepsy failure fever fibrosis fistula flu fracture glaucoma gout hepatitis hernia hypertension infarction infection influenza insufficiency jaundice leukemia lupus lymphoma malaria measles melanoma migraine mumps myopathy neuralgia neuropathy obesity palsy pneumonia polio polyps prolapse psoriasis rabies rash reflux rickets rubella scabies scoliosis sepsis shingles sinusitis spasm stenosis stroke syndrome tetanus thrombosis tuberculosis tumor ulcer vasculitis vertigo virus mono croup hives
""")
_ORGANS: Final = words("""
abdomen ankle aorta appendix artery bladder bone bowel brain breast cartilage cecum cervix chest colon cornea ear elbow esophagus eye eyelid femur finger gallbladder gum heart hip intestine jaw joint kidney knee larynx ligament lip liver lung marrow mouth muscle nail neck nerve nose ovary palate pancreas pelvis placenta prostate rectum retina rib scalp shoulder sinus skin skull spine spleen sternum stomach tendon testicle throat thumb thymus thyroid toe tongue tonsil trachea ureter urethra uterus vein wrist
""")
_SIGNS: Final = words("""
pain fatigue dizziness nausea vomiting diarrhea constipation itching swelling redness bruising bleeding cough wheezing hoarseness numbness tingling weakness stiffness tremor cramps fainting sweating chills thirst blisters dimples lumps sores seizures confusion irritability snoring ringing hypotonia photophobia hematuria dyspnea
""")
_TESTS: Final = options("""
blood test|urine test|biopsy|X-ray|chest x-ray|CT scan|MRI|PET scan|ultrasound|endoscopy|colonoscopy|lumbar puncture|bone marrow aspiration|genetic test|skin test|stool sample|mammogram|echocardiogram|electrocardiogram|spirometry|physical exam|pap smear|stress test|complete blood count
""")
_CARE: Final = words("""
surgery radiation chemotherapy radiotherapy immunotherapy physiotherapy dialysis transfusion transplantation antibiotics antivirals antifungals steroids diuretics painkillers vaccination immunization insulin counselling rehabilitation massage bracing exercise rest
""")
_GENUS: Final = words("us a um is es ia ella obacter omyces ococcus ospira ostoma imonas")
_SPECIES: Final = words("us i ae ensis icum osa oides atum ica inum ivorans ephala iformis")
_BODIES: Final = options("""
protein|gene|enzyme|receptor|antibody|antigen|hormone|mutation|chromosome|vitamin|mineral|cell|bacterium|parasite|virus
""")


class MedicalValues:
    """Draws terms of medicine.

    Args:
        values: draws all else.
    """

    def __init__(self, values: EnglishValues) -> None:
        self._values = values

    def term(self) -> str:
        """A word that is built as medical ones are."""
        pick = self._values.pick
        first = pick(_ROOTS) + (pick(_MIDDLES) + pick(_ROOTS) if self._values.chance(0.4) else "")
        end = pick(_ENDS)
        return first + ("" if end[0] in "aeiou" else "o") + end

    def illness(self) -> str:
        """An illness, in small letters but for whom it is called after."""
        pick, chance = self._values.pick, self._values.chance
        share = self._values.rng.random()
        if share < 0.2:
            return self.eponym()
        head = self.term() if chance(0.55) else pick(_ILLNESSES)
        before = [pick(_ADJECTIVES) for _ in range(self._values.number(0, 2))]
        if chance(0.2):
            before.append(pick(_ORGANS))
        behind = [pick(["syndrome", "disease", "disorder", "type 2"])] if chance(0.15) else []
        return " ".join([*before, head, *behind])

    def eponym(self) -> str:
        """An illness that is called after whoever described it."""
        pick, last = self._values.pick, self._values.last
        what = pick(
            words(
                "disease syndrome sign lymphoma palsy tumor anomaly dystrophy test sarcoma reflex"
            )
        )
        one = last()
        share = self._values.rng.random()
        if share < 0.4:
            of = pick(["'s", "\u2019s"])
            return f"{one}{of} {what}"
        if share < 0.7:
            return f"{one} {what}"
        return f"{one}-{last()} {what}"

    def species(self) -> str:
        """What causes an illness, by its Latin name."""
        pick = self._values.pick
        root = pick(_ROOTS).capitalize()
        genus = root + pick(_GENUS)
        kind = pick(_ROOTS) + pick(_SPECIES)
        return f"{root[0]}. {kind}" if self._values.chance(0.3) else f"{genus} {kind}"

    def gene(self) -> str:
        """A gene, by its short name."""
        name = self.short()
        end = chr(65 + self._values.number(0, 25)) if self._values.chance(0.3) else ""
        return f"{name}{self._values.number(1, 29)}{end}"

    def short(self) -> str:
        """What an illness is shortened to."""
        return self._values.letters(2, 5)

    def slots(self) -> dict[str, Callable[[], str]]:
        """Slots whose values are no personal name."""
        pick = self._values.pick
        return {
            "term": self.term,
            "Term": lambda: self.term().capitalize(),
            "ill": self.illness,
            "Ill": lambda: _first_large(self.illness()),
            "ILL": lambda: " ".join(_first_large(word) for word in self.illness().split()),
            "short": self.short,
            "organ": lambda: pick(_ORGANS),
            "Organ": lambda: pick(_ORGANS).capitalize(),
            "symptom": lambda: pick([*_SIGNS, self.term()]),
            "Symptom": lambda: pick([*_SIGNS, self.term()]).capitalize(),
            "test": lambda: pick(_TESTS),
            "care": lambda: pick(_CARE),
            "Care": lambda: pick(_CARE).capitalize(),
            "species": self.species,
            "Genus": lambda: self.species().partition(" ")[0],
            "gene": self.gene,
            "body": lambda: pick(_BODIES),
            "adj": lambda: pick(_ADJECTIVES),
            "Adj": lambda: pick(_ADJECTIVES).capitalize(),
        }


def _first_large(text: str) -> str:
    return text[:1].upper() + text[1:]


MEDICINE_EN: Final = """
What [is|are|causes] {ill}?
What are the [symptoms|signs|treatments|causes|stages] of {ILL}?
[How many people are affected by|Is there a cure for|Who is at risk for|How to diagnose|How is] {ILL} [treated|]?
{Ill} is a {adj} [disorder|disease|condition|cancer] [of|that affects|that begins in] the {organ}[.|, and the {organ2}.]
{Ill} ([also called|also known as] {ill2}) is [rare|common|caused by {species}|most often seen in children].
{ILL} ({short}) [occurs when|means that|is found when] {word} {word2} [build up in|block|damage] the {organ}.
People with {short} [may have|often feel|should watch for|are more likely to get] {symptom}, {symptom2}[,|] and {symptom3}.
[In|With|For] {short}, the {organ} {word} [less|more] than {word2}.
[{short}|{ILL}] [runs in families|can be treated|usually gets better|is not contagious|often has no symptoms].
[If a|This|The] {short} is [small|large|found early], it {word} {word2}[.|, so a {test} is done.]
- {Symptom}¶- {Adj} {term}¶- {Symptom2}
- {Term} - {Adj} {organ} - {Symptom} - {Term2} {num}% {Term3}
{Symptom} {num}%¶{Term} {num2}%¶{Adj} {organ} {num3}%
- {Organ} : A {test} of the {organ}.¶- {Care} : {word} {word2}.
A {test} [may show|rules out|confirms] {ill}.
[Treatment|Care|Therapy] [depends on|may include|usually begins with] {care}, {care2}[,|] or {care3}.
[Medicines|{Care}] such as {drug} [or {drug2} |]([brand names|sold as] {Word}, {Word2}) [lower|raise|relax] {word} {word2}.
{Word} ({drug}) [for|in] [mild to moderate|severe|early] {ill}
[Treatment|Diagnosis|The cause|The stages|Most cases|Some forms] of {short} [is|are|vary|depend on] {word} {word2}.
[infected with|born with|caused by|tested for|a risk of|two types of|high levels of] {short}[.|,| and {short2}| ({ill}),] {word} {word2}
{Ill} ({short}) and {ill2} ({short2}) [are similar|share symptoms|both affect the {organ}].
{short}s are {word} [found|made|shed] in the {organ}, [and|while] {short2}s {word2}.
[Antibodies|Tests] ({short} and {short2}) [were|are] {word} [in|for] {ill}.
[Drugs|Pills|Medicines] such as {drug} ({Brand}), {drug2} ({Brand2})[,|] and {Brand3} [help|may upset the {organ}].
{Brand} [is|was|and {Brand2} are] [used for|approved for|a brand of {drug}, for] {ill}.
[She|He|I|The patient] [took|was given|stopped|ran out of] {Brand} {num} mg [for {symptom}|twice a day|<when>].
[Infection with|The larvae of|A bite of|Spores of|These|Some] {Genus} [species|bacteria|] [is|are|can be] {word} {word2}[.|, and {Genus2} too.]
[Type|Types|Stage|Grade|Class] [I|II|III|IIIa|IIIb|IV|1|2a] [and IIIc |]of {ill} [affect|spares] the {organ}.
[affects|found in|seen in|to affect] [about|at least|up to|] 1 in {num},000 [people|newborns|men|women|to 1 in {num2},000][.| worldwide.]
Less than {num} mg/dL is [normal|the goal]; {num2} to {num3} mg/dL [is high|means {ill}].
{species} [is a parasite|are bacteria|is a fungus|causes {ill}|lives in the {organ}][.|, {word} {word2}.]
[An|A] {body} called {gene} [makes|codes for|controls] {word} {word2}.
Mutations in [the|] {gene}[, {gene2}, and {gene3}| and {gene2}] [cause|play a role in|lead to] {ill}.
[The|Each|This] {gene} gene [provides instructions|is on the long arm|is turned off] {word}.
{Ill} [sign|reflex] was [negative|positive|present]; {organ} [soft|normal|tender], no {symptom}.
[Key Points|Summary|Overview|Frequency|Inheritance|Outlook]¶{Ill} {word} {word2}.
[Learn more about|See also:|More on:|Read about|Related topics:] {ILL}
{ILL}: {Adj} {Organ} and {Symptom}
The {adj} {organ} [is|was] {word}; [no|mild|marked] {term} [seen|noted].
[History|Hx|PMH] of {ill}, {ill2}, {symptom}.
[Dx|Diagnosis|Impression|Assessment]: {ILL}[, {ill2}|]
[Rx|Medication|Drug|Plan]: {drug} {num} mg, {care}
[Admitted with|Presents with|Complains of|Denies] {symptom}[,|] {symptom2} and {symptom3}[.| for {num} days.]
My {organ} [hurts|is swollen|itches] and I have {symptom}. Could it be {ill}?
[Do not take|Avoid|Stop] {drug} if you have {ill} or {adj} {organ} {symptom}.
Once {word} {word2}, {ill} [may|can|will] [come back|spread to the {organ}|go away].
{Adj} {symptom} and {adj2} {term} are [late|early|possible] signs of {ill}.
The {organ} ({term}) and the {organ2} are {word} in {short}.
[Scientists|Researchers|Doctors] {word} that {ill} is linked to {gene} and to {adj} {body}s.
"""
"""Patterns in which nobody is named."""

PATIENTS_EN: Final = """
[Patient|Pt|Name]: {name}¶[Dx|Diagnosis]: {ILL}¶[Rx|Plan]: {drug}, {care}
{name} [has|suffers from|was diagnosed with|is being treated for] {ill}[.| since {year}.]
<t> {last} [examined the {organ}|ordered a {test}|ruled out {ill}|prescribed {drug}] for {first}.
[Referred|Seen|Operated] by <t> {last} for {ill}; {test} [normal|pending|repeated].
{first}'s {organ} {symptom} [got worse|is better] after {care}; <t> {last} thinks of {ill}.
My <rel> {first} takes {drug} for {ill} and sees <t> {last} [about|for] the {organ}.
{ILL} ({short}): [written|reviewed|updated] by {name}, {org}, {city}.
The {adj} {organ} of {name} was {word}; [signed|dictated by] <t> {last}.
"""
"""Patterns in which people are named among illnesses."""
