"""Make rouge_l.json: ROUGE-L F1 by the package rouge_score, the judge of sottovoce's own.

    pip install rouge-score==0.1.2
    python tests/vectors/make_rouge_l.py > tests/vectors/rouge_l.json

rouge_score knows ASCII words only, so Chinese texts are handed to it one character per token.
"""

import json
import random
import string
import sys
from importlib.metadata import version

from rouge_score import rouge_scorer

WRITTEN = [
    ("Your order left our shop today.", "Your order left our shop yesterday evening."),
    ("the cat sat on the mat", "on the mat sat the cat"),
    ("It's item_7, isn't it?", "its item 7 isn t it"),
    ("REFUND: 3-5 days", "refund 3 5 days"),
    ("a a a b", "a b a a b a"),
    ("nothing in common", "quite different words"),
    ("", "an answer was due"),
    ("an answer nobody asked for", "!?"),
    ("identical answer", "identical answer"),
]
CHINESE = [
    ("您的订单今天发货", "您的订单昨天已经发货了"),
    ("退款三到五天到账", "退款会在三到五个工作日内到账"),
    ("你好", "再见"),
]


class Characters:
    """A tokenizer for texts in which every character is a token."""

    def tokenize(self, text: str) -> list[str]:
        return list(text)


def drawn(count: int) -> list[tuple[str, str]]:
    rng = random.Random(20)
    sizes = [
        (rng.randrange(1, 80), rng.randrange(1, 80), rng.randrange(2, 26)) for _ in range(count)
    ]
    return [
        (
            " ".join(rng.choices(string.ascii_lowercase[:letters], k=left)),
            " ".join(rng.choices(string.ascii_lowercase[:letters], k=right)),
        )
        for left, right, letters in sizes
    ]


def main() -> None:
    words = rouge_scorer.RougeScorer(["rougeL"])
    characters = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Characters())
    cases = [
        {"candidate": c, "reference": r, "rouge_l": scorer.score(r, c)["rougeL"].fmeasure}
        for scorer, pairs in ((words, WRITTEN + drawn(30)), (characters, CHINESE))
        for c, r in pairs
    ]
    made = {"made_by": f"rouge_score {version('rouge_score')}", "cases": cases}
    json.dump(made, sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()
