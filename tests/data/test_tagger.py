"""The tagger: exact, the same in any company, and good enough on texts it has never seen."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sottovoce.data.pii import tagger as tagger_module
from sottovoce.data.pii.context_names import named_spans, repeated
from sottovoce.data.pii.span import NAMED, Span
from sottovoce.data.pii.tagger import Tagger, load_tagger
from sottovoce.data.pii.tagger_decode import TAGS, best_tags
from sottovoce.data.pii.tagger_input import BIT, EDGE, FLAGS, Lexicon, fold, keys_of, read
from sottovoce.data.pii.tagger_network import FORMAT, HIGHEST
from sottovoce.errors import ModelError

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WEIGHTS = Path(tagger_module.__file__).with_name("tagger.safetensors")

# Marks: «P...» a person, «O...» an organisation, «A...» an address, «L...» a place.
SENTENCES = """
Could somebody tell «PHelga Brandt» that her parcel is at the gate?
i was told by «Pmarcus» to write here, my order is late
The invoice goes to «OKestrel Marine Ltd», «A14 Harbour Street, Plymouth PL1 2AB».
We buried «PAunt Rosalind» in «LCork» on a wet Tuesday in March.
"You never listen," «PEbony» told her brother «PTremaine».
Discharge letter for «PWiesława Nowicka»: no chest pain, back to work in May.
My landlord is Mr. «PObafemi», he lives at «A221 Elm Road».
Nobody from «OSilverline Insurance» has called me back.
«PJ. R. Hollis», who painted the ceiling, moved to «LArgentina» after the war.
Ship it to «A77 Rue des Lilas, 69003 Lyon», please, and ring twice.
Signed: «PAnh Thu Pham»
Was «PDmitri Volkov» ever in «LSeoul» with «PMi-rae Kwon»?
PLEASE FORWARD THIS TO «PGRACE OYELARAN» TODAY
«PRavi Menon» and «PPriya Menon» run «OMenon & Daughters» from a garage.
The bakery at «A9 Mill Lane» opens before seven.
I would like two blue kettles and a gift card, thanks.
Will the June sale include the grey winter coats?
Your order 48213 has been packed and will arrive on Friday.
Add the rice, stir well and let it rest for ten minutes.
The judge may grant a delay if the tenant pays in full.
麻烦把这份合同交给«P赵雪梅»，她在三楼等。
«P欧阳建平»上个月已经辞职了，电话打不通。
我叫«P林子轩»，想问一下我的快递到哪了？
患者«P郭晓燕»，女，四十二岁，因头晕来诊。
请寄到«A杭州市西湖区文三路199号3幢502室»，谢谢。
昨天在«L成都»碰到«P何佳»和«P马国强»，聊到半夜。
«O上海远诚国际贸易有限公司»还没有开发票。
我老公在«O中国建设银行»上班，天天加班。
听说«P周一鸣»要结婚了，真的吗？
这次会议由«P黄丽娟»主持，«P高峰»做记录。
“别等我了，”«P苏晴»说完就走出了门。
他从«L西安»搬到«L加拿大»以后就没有消息。
外婆家在«A解放路18号»，门口有棵大树。
甲方«P童伟»与乙方签订本协议。
谢谢«P丁»医生，孩子已经退烧了。
今天的白菜很新鲜，黄瓜也便宜，马上就卖完了。
高兴得不得了，周末打算去爬山。
订单金额不对，请问何时可以退款？
王国里有一位公主，每天都在花园里唱歌。
任何方案都要先经过安全检查，方便的话明天开会。
""".strip().split("\n")


def unmarked(line: str) -> tuple[str, list[tuple[int, int, str]]]:
    """Take the marks out of a sentence."""
    text, spans, begin, kind = "", [], 0, ""
    letters = iter(line)
    for letter in letters:
        if letter == "«":
            begin, kind = len(text), next(letters)
        elif letter == "»":
            spans.append((begin, len(text), NAMED["POAL".index(kind)]))
        else:
            text += letter
    return text, spans


def alike(a: tuple[int, int, str], b: tuple[int, int, str]) -> bool:
    """Same kind, and at least half of what the two cover is covered by both."""
    both = min(a[1], b[1]) - max(a[0], b[0])
    return a[2] == b[2] and 2 * both >= max(a[1], b[1]) - min(a[0], b[0])


def score(
    pairs: Iterable[tuple[list[tuple[int, int, str]], list[Span]]],
) -> dict[str, tuple[float, float]]:
    """Recall and precision of each kind."""
    counts: Counter[tuple[str, str]] = Counter()
    for truth, found in pairs:
        guess = [(span.start, span.end, span.kind) for span in found]
        for span in truth:
            counts[span[2], "true"] += 1
            counts[span[2], "found"] += any(alike(span, other) for other in guess)
        for span in guess:
            counts[span[2], "said"] += 1
            counts[span[2], "right"] += any(alike(span, other) for other in truth)
    return {
        kind: (
            counts[kind, "found"] / max(1, counts[kind, "true"]),
            counts[kind, "right"] / max(1, counts[kind, "said"]),
        )
        for kind in NAMED
    }


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return load_tagger()


@pytest.fixture(scope="module")
def story() -> str:
    """A text of several windows, without line breaks in its second half."""
    texts = [unmarked(line)[0] for line in SENTENCES]
    half = "\n".join(itertools.islice(itertools.cycle(texts), 900))
    return half + "".join(itertools.islice(itertools.cycle(texts), 900))


# --- what is promised of the spans ---------------------------------------------------------------

_LETTERS = st.characters(codec=None) | st.sampled_from("王小明 Maria\n\r\u2028\ud800😀，.-'@1李")


@settings(max_examples=150, deadline=None)
@given(st.text(_LETTERS, max_size=120))
def test_spans_of_any_text_are_in_order_and_within_it(tagger: Tagger, text: str) -> None:
    spans = tagger.spans(text)
    assert spans == sorted(spans)
    for span, following in itertools.pairwise(spans):
        assert span.end <= following.start
    for span in spans:
        assert 0 <= span.start < span.end <= len(text)
        assert span.kind in NAMED
        assert 0 <= span.score <= 1
        assert text[span.start : span.end].strip() == text[span.start : span.end]


def test_nothing_has_no_spans(tagger: Tagger) -> None:
    assert tagger.spans("") == []
    assert tagger.batch([]) == []
    assert tagger.batch(["", " \n", ""]) == [[], [], []]


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(len(SENTENCES))), st.integers(1, 7))
def test_a_text_does_not_feel_what_is_beside_it(
    tagger: Tagger, order: list[int], size: int
) -> None:
    texts = [unmarked(SENTENCES[index])[0] for index in order]
    alone = [tagger.spans(text) for text in texts[:size]]
    assert tagger.batch(texts)[:size] == alone


@pytest.mark.parametrize("text", ["王", "王小", "王小明", "a", "1", "\n", "\ud800", "王\n李"])
def test_texts_shorter_than_any_phrase_are_read(tagger: Tagger, text: str) -> None:
    assert all(span.end <= len(text) for span in tagger.spans(text))


def test_offsets_count_characters_of_the_input(tagger: Tagger) -> None:
    text = "😀𠀀 My name is Maria Garcia. 😀我叫王小明。"
    named = [text[s.start : s.end] for s in tagger.spans(text) if s.kind == "PERSON"]
    assert named == ["Maria Garcia", "王小明"]


def test_windows_leave_no_trace(
    tagger: Tagger, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(story) > 2.5 * tagger_module._WINDOW
    in_windows = tagger.spans(story)
    monkeypatch.setattr(tagger_module, "_WINDOW", 2 * len(story))
    assert tagger.spans(story) == in_windows
    assert len(in_windows) > 900


def test_memory_does_not_grow_with_the_text(tagger: Tagger) -> None:
    def peak(text: str) -> int:
        tracemalloc.start()
        tagger.spans(text)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    line = "we will send the blue kettle and 请问什么时候发货 by post, thank you. "
    assert peak(line * 9000) < 1.5 * peak(line * 1500) + 1_000_000


def test_words_that_are_hardly_names_are_left(tagger: Tagger) -> None:
    """However sure the network is: here it says PERSON of every word."""
    bias = tagger.network.head_bias.copy()
    bias[TAGS.index("S-PERSON")] += 10**7
    eager = replace(tagger, network=replace(tagger.network, head_bias=bias))
    text = "maria qzorv Qzorv QZORV QZORVIX MARIA 王"
    found = [text[span.start : span.end] for span in eager.spans(text)]
    assert found == ["maria", "Qzorv", "QZORVIX", "MARIA", "王"]


# --- exact arithmetic and search -----------------------------------------------------------------


def test_scores_are_those_of_whole_numbers(tagger: Tagger) -> None:
    """A slow copy of the network in 64-bit integers gives the same scores, bit for bit."""
    network = tagger.network
    tokens = read([unmarked(line)[0] for line in SENTENCES[18:22]], network.lexicon)
    scores = network.scores(tokens)
    for number in range(4):
        mine = tokens.text == number
        bits = (tokens.flags[mine, None] >> np.arange(len(BIT))) & 1
        total = network.table[tokens.rows[mine]].astype(np.int64).sum(axis=1)
        total += bits @ network.flags.astype(np.int64)
        values = _whole(total, network.scale, network.bias, 0)
        for layer in network.layers:
            weights = layer.weights.astype(np.int64)
            around = np.pad(values, ((layer.reach, layer.reach), (0, 0)))
            total = values @ weights[1] + around[: -2 * layer.reach] @ weights[0]
            total += around[2 * layer.reach :] @ weights[2]
            values = _whole(total, layer.scale, layer.bias, values)
        expected = values @ network.head.astype(np.int64) + network.head_bias
        assert np.array_equal(scores[mine], expected)


def _whole(total: np.ndarray, scale: np.float32, bias: np.ndarray, before: object) -> np.ndarray:
    value = total.astype(np.float32) * scale + bias + np.asarray(before, np.float32)
    return np.clip(np.rint(value), 0, HIGHEST).astype(np.int64)


def allowed(tags: tuple[int, ...]) -> bool:
    open_kind = None
    for tag in tags:
        place, _, kind = TAGS[tag].partition("-")
        if (place in "IE") != (open_kind is not None) or (open_kind and kind != open_kind):
            return False
        open_kind = kind if place in "BI" else None
    return open_kind is None


FEW = [0, 1, 2, 5, 6, 9, 10, 13, 14]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2**32))
def test_tags_are_the_best_that_close_every_span(lengths: list[int], seed: int) -> None:
    """Compared with all sequences of two kinds, one after the other."""
    rng = np.random.default_rng(seed)
    text = np.repeat(np.arange(len(lengths)), lengths)
    scores = np.full((len(text), len(TAGS)), -10_000, np.int32)
    scores[:, FEW] = rng.integers(-50, 50, (len(text), len(FEW)))
    tags = best_tags(scores, text, sure=10**6)
    for number, length in enumerate(lengths):
        mine = np.flatnonzero(text == number)
        every = itertools.product(FEW, repeat=length)
        sums = [int(scores[mine, t].sum()) for t in every if allowed(t)]
        assert allowed(tuple(tags[mine]))
        assert int(scores[mine, tags[mine]].sum()) == max(sums)


def test_a_stretch_without_end_is_cut_and_still_closed() -> None:
    scores = np.zeros((1000, len(TAGS)), np.int32)
    scores[:, TAGS.index("I-ADDRESS")] = 50
    scores[0, TAGS.index("B-ADDRESS")] = 60
    tags = best_tags(scores, np.zeros(1000, np.int64), sure=5)
    assert allowed(tuple(tags))
    assert (tags > 0).mean() > 0.9


# --- what is read --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(_LETTERS, max_size=30), max_size=4))
def test_each_character_that_is_no_blank_is_in_one_token(tagger: Tagger, texts: list[str]) -> None:
    tokens = read(texts, tagger.network.lexicon)
    assert not (tokens.kinds == EDGE).any()
    for number, text in enumerate(texts):
        mine = tokens.text == number
        parts = list(zip(tokens.start[mine].tolist(), tokens.end[mine].tolist(), strict=True))
        assert parts == sorted(parts)
        covered = [index for start, end in parts for index in range(start, end)]
        assert len(covered) == len(set(covered))
        left = "".join(text[index] for index in sorted(set(range(len(text))) - set(covered)))
        assert not any(letter.isalnum() for letter in left)


def test_words_are_known_by_what_they_are_without_case_and_accents() -> None:
    words = ["konya", "王小", "x"]
    keys = keys_of(words)
    order = np.argsort(keys)
    flags = np.array([BIT["surname"], BIT["place begins"], BIT["title"]], np.uint32)
    lexicon = Lexicon(keys[order], np.array([1, 2, 3], np.uint16)[order], flags[order])
    tokens = read(["Kónya 王小明 XX x"], lexicon)
    known = dict(zip(FLAG_OF, tokens.flags.tolist(), strict=False))
    assert known["Kónya"] == BIT["surname"] | BIT["accent"]
    assert known["王"] == BIT["place begins"]
    assert known["小"] == BIT["place goes on"]
    assert known["明"] == known["XX"] == 0
    assert known["x"] == BIT["title"]


FLAG_OF = ["Kónya", "王", "小", "明", "XX", "x"]


@given(st.text(max_size=20))
def test_folding_keeps_the_length(text: str) -> None:
    assert len(fold(text)) == len(text)


# --- weights that cannot be used -----------------------------------------------------------------


def test_the_bundled_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 4_000_000


def test_a_file_that_is_missing_or_no_tagger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        load_tagger(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken\.safetensors"):
        load_tagger(broken)
    save_file({"x": np.zeros(1, np.float32)}, broken, {"tagger": json.dumps({"format": "other"})})
    with pytest.raises(ModelError, match="'other'"):
        load_tagger(broken)


def test_a_file_without_all_weights_is_refused(tmp_path: Path) -> None:
    head = {"format": FORMAT, "flags": list(FLAGS), "reaches": [1], "unit": 1.0}
    path = tmp_path / "half.safetensors"
    save_file({"x": np.zeros(1, np.float32)}, path, {"tagger": json.dumps(head)})
    with pytest.raises(ModelError, match=r"lacks 'layer0\.weights'"):
        load_tagger(path)


def test_weights_that_do_not_fit_each_other_are_refused(tagger: Tagger) -> None:
    with pytest.raises(ModelError, match="do not fit"):
        replace(tagger.network, table=tagger.network.table[:100])
    with pytest.raises(ModelError, match=r"\(3,\) instead of"):
        replace(tagger.network, bias=np.zeros(3, np.float32))


def test_more_caution_covers_more(tagger: Tagger) -> None:
    text = "\n".join(unmarked(line)[0] for line in SENTENCES)

    def covered(caution: float) -> int:
        return sum(span.end - span.start for span in replace(tagger, caution=caution).spans(text))

    assert covered(-12) < covered(tagger.caution) < covered(12)


def test_a_network_too_wide_to_count_exactly_is_refused(tagger: Tagger) -> None:
    width = 200
    with pytest.raises(ModelError, match="200 values wide"):
        replace(
            tagger.network,
            table=np.zeros((len(tagger.network.table), width), np.int8),
            flags=np.zeros((len(BIT), width), np.float32),
            bias=np.zeros(width, np.float32),
            layers=(),
            head=np.zeros((width, len(TAGS)), np.float32),
        )


def test_a_lexicon_out_of_order_is_refused() -> None:
    with pytest.raises(ModelError, match="do not rise"):
        Lexicon(np.array([2, 1], np.uint32), np.zeros(2, np.uint16), np.zeros(2, np.uint32))
    with pytest.raises(ModelError, match="different length"):
        Lexicon(np.array([1], np.uint32), np.zeros(2, np.uint16), np.zeros(1, np.uint32))


# --- names that come again -----------------------------------------------------------------------


def test_a_name_found_once_is_found_again_where_nothing_tells(tagger: Tagger) -> None:
    text = "Zorvath Qelmir; and Qelmir. 韦一诺，或韦一诺"
    known = [Span(0, 14, "PERSON", 1.0, "test"), Span(28, 31, "PERSON", 1.0, "test")]
    again = repeated(text, known, tagger.network.lexicon)
    assert [text[span.start : span.end] for span in again] == ["Qelmir", "韦一诺"]


def test_plain_words_and_doubtful_names_are_not_looked_for(tagger: Tagger) -> None:
    text = "Will Qelmir. Will you? Qelmir!"
    assert [
        s.start for s in repeated(text, [Span(0, 11, "PERSON", 1.0, "t")], tagger.network.lexicon)
    ] == [23]
    assert repeated(text, [Span(0, 11, "PERSON", 0.4, "t")], tagger.network.lexicon) == []


def test_names_again_do_not_overlap_what_was_found(tagger: Tagger, story: str) -> None:
    spans = named_spans(story, tagger)
    assert set(tagger.spans(story)) <= set(spans)
    for span, following in itertools.pairwise(spans):
        assert span.end <= following.start


# --- how well ------------------------------------------------------------------------------------


def test_names_in_sentences_written_by_hand(tagger: Tagger) -> None:
    marked = [unmarked(line) for line in SENTENCES]
    scores = score((truth, tagger.spans(text)) for text, truth in marked)
    assert scores["PERSON"][0] >= 0.8, scores
    assert scores["PERSON"][1] >= 0.9, scores
    for kind in ("ORGANIZATION", "ADDRESS", "PLACE"):
        assert scores[kind][0] >= 0.6, scores


# What a ward writes; of people it names two.
WARD = """
Leukemia may affect red blood cells, white blood cells and platelets.
Marfan syndrome runs in families: mutations in FBN1 weaken the wall of the aorta.
People with GERD often cough at night; Prilosec or a light supper may help.
Impression: Crohn's disease, moderate. Plan: azathioprine 100 mg, colonoscopy in May.
- Hepatomegaly - Hypotonia 50% - Short stature 7.5%
What are the symptoms of Non-Hodgkin Lymphoma?
Leishmania is carried by sandflies, Toxoplasma gondii by cats.
Babinski negative, Romberg negative, chest clear, no edema.
Ultrasound of the gallbladder: no stones. Murphy sign absent.
Dementia is not a normal part of ageing; ask about Aricept and Namenda.
Kidney failure means that dialysis or a transplant is needed.
Patient «PWilhelmina Achterberg», seen by Dr. «POkonjo», has sarcoidosis of the lung.
""".strip().split("\n")


def test_illnesses_and_medicines_are_nobody(tagger: Tagger) -> None:
    marked = [unmarked(line) for line in WARD]
    found = [(truth, tagger.spans(text)) for text, truth in marked]
    assert score(found)["PERSON"][0] == 1
    # Signs and medicines that stand alone are still taken for people: Babinski, Murphy, Aricept.
    said = sum(span.kind == "PERSON" for _, spans in found for span in spans)
    assert said <= 2 + 4, found


def test_hardly_anybody_is_found_in_answers_about_illnesses(tagger: Tagger) -> None:
    """MedQuAD names discoverers of illnesses and hardly anybody else: a find is a mistake."""
    path = DATA / "medquad-sample" / "medquad.jsonl"
    if not path.exists():
        pytest.skip("the shared data folder has no medquad-sample")
    texts = [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()[::8]]
    people = sum(span.kind == "PERSON" for spans in tagger.batch(texts) for span in spans)
    assert people < 250 * sum(map(len, texts)) / 1e6


def joined(text: str, spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Make one address of a number, street, flat, town and country that only blanks part."""
    whole: list[tuple[int, int, str]] = []
    for span in sorted(spans):
        before = whole[-1] if whole else (0, 0, "PERSON")
        kinds = {before[2], span[2]}
        between = text[before[1] : span[0]].strip(" ,\n")
        if "ADDRESS" in kinds and kinds <= {"ADDRESS", "PLACE"} and not between:
            whole[-1] = (before[0], span[1], "ADDRESS")
        else:
            whole.append(span)
    return whole


def test_names_in_sentences_by_others(tagger: Tagger) -> None:
    """Templates and names of Presidio's research data, of which training knows nothing.

    Some of its templates mark the parts of an address one by one; they are joined first.
    """
    path = DATA / "presidio-synthetic-pii" / "synthetic_pii.jsonl"
    if not path.exists():
        pytest.skip("the shared data folder has no presidio-synthetic-pii")
    kinds = {
        "PERSON": "PERSON",
        "STREET_ADDRESS": "ADDRESS",
        "ORGANIZATION": "ORGANIZATION",
        "GPE": "PLACE",
    }
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["template_id"] % 3]
    truth = [
        [
            (span["start_position"], span["end_position"], kinds[span["entity_type"]])
            for span in row["spans"] or []
            if span["entity_type"] in kinds
        ]
        for row in rows
    ]
    texts = [row["full_text"] for row in rows]
    truth = [joined(text, spans) for text, spans in zip(texts, truth, strict=True)]
    scores = score(zip(truth, tagger.batch(texts), strict=True))
    assert scores["PERSON"][0] >= 0.88, scores
    assert scores["PERSON"][1] >= 0.87, scores
    assert scores["ADDRESS"][0] >= 0.94, scores
    assert scores["ADDRESS"][1] >= 0.88, scores
    assert scores["PLACE"][0] >= 0.68, scores
