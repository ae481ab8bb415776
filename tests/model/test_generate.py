"""Generation against transformers, one prompt at a time, and against a loop over logits."""

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from sottovoce.model.base import wrap_base
from sottovoce.model.generate import Sampling, generate

GREEDY = Sampling(max_new_tokens=9)
PAD = 0
STOP = 1


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(2)
    return [rng.integers(2, 200, size).tolist() for size in (3, 11, 7, 1)]


@pytest.fixture(scope="module", params=["llama", "gemma3", "gpt2"])
def base(request, tiny):
    return wrap_base(tiny(request.param), request.param)


@torch.no_grad()
def likeliest(base, prompt, steps, stops=(STOP,)):
    """The slow way: the whole sequence anew for every token."""
    ids = list(prompt)
    for _ in range(steps):
        token = int(
            base.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()
        )
        if token in stops:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_greedy_answers_are_those_of_transformers_one_by_one(base, prompts):
    ours = generate(base, prompts, GREEDY, stop_ids=[STOP])
    for prompt, answer in zip(prompts, ours, strict=True):
        theirs = base.model.eval().generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False, max_new_tokens=9, eos_token_id=[STOP], pad_token_id=PAD,
        )  # fmt: skip
        assert answer == [t for t in theirs[0, len(prompt) :].tolist() if t != STOP]
        assert answer == likeliest(base, prompt, 9)
    assert max(map(len, ours)) == 9


def test_greedy_answers_do_not_depend_on_who_shares_the_batch(base, prompts):
    together = generate(base, prompts, GREEDY, stop_ids=[STOP])
    alone = [generate(base, [p], GREEDY, stop_ids=[STOP])[0] for p in prompts]
    backwards = generate(base, prompts[::-1], GREEDY, stop_ids=[STOP])
    assert together == alone == backwards[::-1]


def test_an_answer_ends_before_the_first_stop_token(base, prompts):
    free = generate(base, prompts, GREEDY, stop_ids=[STOP])
    stops = [free[0][2], free[1][4]]
    cut = generate(base, prompts, GREEDY, stop_ids=[STOP, *stops])
    for whole, part in zip(free, cut, strict=True):
        ends = [place for place, token in enumerate(whole) if token in stops]
        assert part == whole[: ends[0] if ends else None]
    assert len(cut[0]) <= 2


def test_no_token_is_computed_after_everyone_has_stopped(base, prompts):
    free = generate(base, prompts, GREEDY, stop_ids=[STOP])
    calls = []
    hook = base.backbone.register_forward_hook(lambda *_: calls.append(1))
    try:
        stops = [answer[1] for answer in free]
        generate(base, prompts, GREEDY, stop_ids=stops)
    finally:
        hook.remove()
    assert 1 <= len(calls) <= 2


def test_no_prompts_give_no_answers(base):
    assert generate(base, [], GREEDY, stop_ids=[STOP]) == []


def test_draws_follow_the_seed_and_leave_torchs_generator_alone(base, prompts):
    hot = Sampling(max_new_tokens=12, temperature=1.5, top_p=1.0, seed=3)
    torch.manual_seed(77)
    wanted = torch.rand(3)
    torch.manual_seed(77)
    one = generate(base, prompts, hot, stop_ids=[STOP])
    assert torch.equal(torch.rand(3), wanted)
    again = generate(base, prompts, hot, stop_ids=[STOP])
    other = generate(base, prompts, Sampling(12, 1.5, 1.0, seed=4), stop_ids=[STOP])
    assert one == again
    assert one != other


def test_a_model_in_training_mode_is_given_back_in_training_mode(base, prompts):
    base.model.train()
    generate(base, prompts, GREEDY, stop_ids=[STOP])
    assert base.model.training


def test_a_models_own_generation_settings_do_not_change_the_likeliest_token(tiny, prompts):
    """Published models bring penalties and cut-offs along; the user asked for none of them."""
    base = wrap_base(tiny("llama"), "llama")
    wanted = generate(base, prompts, GREEDY, stop_ids=[STOP])
    own = GenerationConfig(repetition_penalty=5.0, do_sample=True, top_k=3, temperature=0.5)
    base.model.generation_config = own
    assert generate(base, prompts, GREEDY, stop_ids=[STOP]) == wanted
    assert base.model.generation_config is own


def test_draws_come_from_the_whole_distribution_that_top_p_leaves(tiny):
    """Frequencies of one drawn token against the softmax over all 211: no hidden top-k of 50."""
    base = wrap_base(tiny("llama"), "llama")
    prompt = [5, 9, 14]
    heat = 3.0
    with torch.no_grad():
        logits = base.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    chance = torch.softmax(logits / heat, 0).numpy()
    draws = 4000
    drawn = generate(base, [prompt] * draws, Sampling(1, heat, 1.0, seed=1), stop_ids=[])
    seen = np.bincount([answer[0] for answer in drawn], minlength=len(chance))
    assert (seen > 0).sum() > 100
    spread = np.sqrt(draws * chance * (1 - chance))
    assert (np.abs(seen - draws * chance) <= 5 * spread + 1).all()


def test_of_the_likeliest_tokens_those_are_drawn_that_hold_top_p_together(tiny):
    base = wrap_base(tiny("llama"), "llama")
    prompt, heat, share, draws = [5, 9, 14], 0.5, 0.6, 1500
    with torch.no_grad():
        logits = base.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    chance = torch.softmax(logits / heat, 0).double().numpy()
    order = np.argsort(-chance)
    inside = order[: int(np.searchsorted(np.cumsum(chance[order]), share)) + 1]
    assert 2 < len(inside) < 100
    drawn = generate(base, [prompt] * draws, Sampling(1, heat, share, seed=1), stop_ids=[])
    seen = np.bincount([answer[0] for answer in drawn], minlength=len(chance))
    assert set(np.flatnonzero(seen)) <= set(inside)
    wanted = draws * chance / chance[inside].sum()
    assert (np.abs(seen - wanted)[inside] <= 5 * np.sqrt(wanted[inside]) + 1).all()


def test_adapters_apply_inside_applied(attach, random_row, prompts):
    model = attach("llama")
    row = random_row(model) * np.float32(5)
    plain = generate(model.base, prompts, GREEDY, stop_ids=[STOP])
    with model.applied(row):
        adapted = generate(model.base, prompts, GREEDY, stop_ids=[STOP])
        wanted = [likeliest(model.base, prompt, 9) for prompt in prompts]
    assert adapted == wanted
    assert adapted != plain
