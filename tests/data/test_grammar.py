import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.data.grammar import expand
from sottovoce.errors import DataError

RULES = {"deep": "[<leaf>|{slot}[ again|]]", "leaf": "leaf"}


def texts(pattern, count=400):
    rng = np.random.default_rng(1)
    return {expand(pattern, rng, RULES, {"slot": "[a|b] {c}"}) for _ in range(count)}


def test_choices_nest_and_may_be_empty():
    expected = {f"{a}{b}" for a, b in product(("x", "y1", "y2", "y"), ("", "!"))}
    assert texts("[x|y[1|2|]][|!]") == expected


def test_rules_refer_to_rules_and_slots_are_taken_literally():
    assert texts("<deep>.") == {"leaf.", "[a|b] {c}.", "[a|b] {c} again."}


def test_alternatives_are_equally_likely():
    rng = np.random.default_rng(3)
    drawn = [expand("[a|b|b|]", rng, {}, {}) for _ in range(8000)]
    assert abs(drawn.count("b") / 8000 - 0.5) < 0.03
    assert abs(drawn.count("") / 8000 - 0.25) < 0.03


@given(st.text(alphabet=st.characters(exclude_characters="[]|<>{}")))
def test_plain_text_stays_as_it_is(text):
    assert expand(text, np.random.default_rng(0), {}, {}) == text


@pytest.mark.parametrize("pattern", ["[a|b", "a]", "a|b", "<a", "{a", "a>", "[a[b]"])
def test_a_loose_bracket_is_refused(pattern):
    with pytest.raises(DataError, match=re.escape(repr(pattern))):
        expand(pattern, np.random.default_rng(0), {}, {})


@pytest.mark.parametrize(("pattern", "what"), [("<lost>", "rule lost"), ("{lost}", "slot lost")])
def test_an_unknown_name_is_refused(pattern, what):
    with pytest.raises(DataError, match=what):
        expand(pattern, np.random.default_rng(0), {}, {"known": "1"})
