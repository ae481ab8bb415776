"""Local training on the group axis against peft and a plain loop, one client at a time."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sottovoce.errors import ConfigError
from sottovoce.model.base import LoraSettings, fingerprint
from sottovoce.train import (
    ClientState,
    Diverged,
    Example,
    Round,
    Rule,
    TrainSettings,
    epoch_batches,
    learning_rate,
    score,
    steps_in_round,
    train,
)
from sottovoce.update import flatten

LORA = LoraSettings(rank=4, alpha=8)
SEED = 11
ROUNDING = 1e-8
"""How far two float32 sums of the same gradient may lie apart in these models."""


@dataclass
class Alone:
    """What the reference remembers of one client between rounds."""

    optimizer: torch.optim.Optimizer | None = None
    cursor: int = 0


def plain_rate(recipe, position, total):
    """The schedule, written once more."""
    rise = math.ceil(recipe.warmup_fraction * total)
    if position < rise:
        return recipe.learning_rate * (position + 1) / rise
    done = (position - rise) / (total - rise)
    fall = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 + 0.5 * math.cos(math.pi * done)}
    floor = 1.0 if recipe.schedule == "constant" else recipe.final_fraction
    return recipe.learning_rate * (floor + (1 - floor) * fall[recipe.schedule])


def coming_batches(client, recipe, cursor, steps):
    """The next ``steps`` batches of a client, from the epochs laid end to end."""
    lengths = np.array([len(example.tokens) for example in client.examples])
    ahead = []
    epoch = 0
    while len(ahead) < cursor + steps:
        ahead += epoch_batches(lengths, recipe.batch_size, SEED, client.name, epoch)
        epoch += 1
    return [[client.examples[i] for i in batch] for batch in ahead[cursor : cursor + steps]]


def summed_nll(model, example):
    """One sequence alone, without padding: Σ -log p of its supervised tokens."""
    tokens = torch.tensor(example.tokens, dtype=torch.long)[None]
    logits = model(input_ids=tokens).logits[0, :-1].float()
    nll = cross_entropy(logits, tokens[0, 1:], reduction="none")
    return nll[torch.from_numpy(example.supervised[1:])].sum()


def steps_alone(client, recipe):
    if not client.examples:
        return 0
    if recipe.steps_per_round is not None:
        return recipe.steps_per_round
    return math.ceil(math.ceil(len(client.examples) / recipe.batch_size) * recipe.epochs_per_round)


def optimizer_alone(parameters, recipe):
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, 0.1, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(
        parameters, 0.1, (recipe.beta1, recipe.beta2), weight_decay=recipe.weight_decay
    )


@dataclass
class Result:
    """What one client's round gives: the change of the flat weights and the mean loss.

    AdamW divides a gradient by its own size, so a gradient as small as its rounding makes a step
    that rounding decides. ``slack`` is that step, for each weight; 0 under SGD.
    """

    change: np.ndarray
    loss: float
    slack: np.ndarray


def train_alone(model, parameters, client, recipe, where, memory, mu=0.0):
    """One round of one client on a peft model: a loop over batches, a loop over sequences."""
    before = [parameter.detach().clone() for parameter in parameters]
    if recipe.optimizer_state == "reset" or memory.optimizer is None:
        memory.optimizer = optimizer_alone(parameters, recipe)
    steps = steps_alone(client, recipe)
    nll, count, slack = 0.0, 0, np.zeros(sum(p.numel() for p in parameters))
    for step, batch in enumerate(coming_batches(client, recipe, memory.cursor, steps)):
        supervised = sum(int(example.supervised[1:].sum()) for example in batch)
        memory.optimizer.zero_grad()
        for example in batch:
            loss = summed_nll(model, example)
            (loss / supervised).backward()
            nll += float(loss.detach())
        count += supervised
        if recipe.max_gradient_norm != "off":
            torch.nn.utils.clip_grad_norm_(parameters, recipe.max_gradient_norm)
        for parameter, start in zip(parameters, before, strict=True):
            parameter.grad += mu * (parameter.detach() - start)
        position, total = where.index * steps + step, where.total * steps
        rate = plain_rate(recipe, position, total)
        memory.optimizer.param_groups[0]["lr"] = rate
        memory.optimizer.step()
        if recipe.optimizer == "adamw":
            slack += rate * np.minimum(1, ROUNDING / (1e-30 + np.abs(flat(gradients(parameters)))))
    memory.cursor += steps
    change = flat([p.detach() - start for p, start in zip(parameters, before, strict=True)])
    return Result(change, nll / max(1, count), slack)


def gradients(parameters):
    return [parameter.grad for parameter in parameters]


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).numpy()


def require_equal(ours, model, result):
    """Weights within 1e-5, and no more slack than a handful of weights ever needs."""
    error = np.abs(flatten(ours.tensors, model.layout) - result.change)
    assert np.mean(result.slack > 1e-5) < 0.01
    assert (error <= 1e-5 + result.slack).all(), error.max()
    assert ours.loss == pytest.approx(result.loss, abs=1e-5)


def rounds(model, clients, received, recipe, count, **options):
    """Grouped rounds in which every client goes on from its own weights.

    Returns, for each round, what each client received and what it made of that.
    """
    weights = {client.name: received for client in clients}
    played = []
    for index in range(count):
        results = train(model, clients, weights, recipe, Round(index, count, SEED), **options)
        played.append((weights, results))
        clients = [replace(c, state=s) for c, (_, s) in zip(clients, results, strict=True)]
        weights = {
            u.client: weights[u.client] + flatten(u.tensors, model.layout) for u, _ in results
        }
    return played


def load(parameters, row):
    """Put a flat row into peft's parameters."""
    parts = torch.from_numpy(row).split([parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view(parameter.shape))


RECIPES = {
    "adamw, cosine, warm-up, clipping, decay, reset": TrainSettings(
        learning_rate=4e-3, weight_decay=0.1, warmup_fraction=0.3, max_gradient_norm=0.5,
        batch_size=3, beta1=0.8, beta2=0.95,
    ),
    "adamw, linear, kept state": TrainSettings(
        learning_rate=4e-3, schedule="linear", max_gradient_norm="off", batch_size=3,
        optimizer_state="keep", final_fraction=0.0,
    ),
    "sgd with momentum, constant, kept state": TrainSettings(
        optimizer="sgd", learning_rate=0.05, momentum=0.9, schedule="constant", batch_size=2,
        warmup_fraction=0.2, weight_decay=0.01, max_gradient_norm=1.0, optimizer_state="keep",
    ),
    "sgd with momentum, fixed steps, reset": TrainSettings(
        optimizer="sgd", learning_rate=0.05, momentum=0.9, batch_size=3, steps_per_round=3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_client_ends_where_peft_and_a_plain_loop_bring_it_alone(
    recipe, tiny, attach, with_peft, random_row, five
):
    model = attach(settings=LORA)
    received = random_row(model)
    grouped = rounds(model, five, received, recipe, count=2)
    for place, client in enumerate(five):
        judge, parameters = with_peft(tiny("llama"), LORA, received, model.layout)
        memory = Alone()
        for index, (weights, results) in enumerate(grouped):
            load(parameters, weights[client.name])
            where = Round(index, 2, SEED)
            result = train_alone(judge, parameters, client, recipe, where, memory)
            update, state = results[place]
            require_equal(update, model, result)
            assert state.cursor == memory.cursor


def test_trap_6_each_client_counts_its_own_adam_steps(attach, random_row, five):
    model = attach(settings=LORA)
    recipe = RECIPES["adamw, linear, kept state"]
    (_, first), (_, second) = rounds(model, five, random_row(model), recipe, count=2)
    for rounds_done, results in ((1, first), (2, second)):
        for update, state in results:
            if update.steps:
                assert state.moments["step"] == rounds_done * update.steps
            else:
                assert not state.moments


def test_a_reset_forgets_the_moments_and_keeps_the_cursor(attach, random_row, five):
    model = attach(settings=LORA)
    recipe = TrainSettings(batch_size=3)
    ((_, results),) = rounds(model, five, random_row(model), recipe, count=1)
    assert all(state.moments is None for _, state in results)
    assert [state.cursor for _, state in results] == [3, 1, 4, 0, 2]


def test_kept_moments_come_back_after_a_trip_through_files(attach, random_row, five, tmp_path):
    """The run folder keeps moments as arrays; a state read back must give the same round."""
    model = attach(settings=LORA)
    recipe = RECIPES["adamw, linear, kept state"]
    received = dict.fromkeys((client.name for client in five), random_row(model))
    begun = train(model, five, received, recipe, Round(0, 2, SEED))
    again = []
    for client, (_, state) in zip(five, begun, strict=True):
        moments = {}
        for name, value in (state.moments or {}).items():
            np.save(tmp_path / "moment.npy", value)
            moments[name] = np.load(tmp_path / "moment.npy")
        again.append(replace(client, state=ClientState(state.cursor, moments)))
    straight = [replace(c, state=s) for c, (_, s) in zip(five, begun, strict=True)]
    results = [train(model, c, received, recipe, Round(1, 2, SEED)) for c in (straight, again)]
    for (one, _), (other, _) in zip(*results, strict=True):
        assert (flatten(one.tensors, model.layout) == flatten(other.tensors, model.layout)).all()


def test_the_cursor_moves_on_until_every_example_was_seen(attach, random_row, make_client, spy):
    model = spy(attach(settings=LORA))
    client = make_client("paris", [10, 12, 14, 16, 18, 20, 22, 24])
    recipe = TrainSettings(batch_size=2, steps_per_round=2)
    seen = []
    for _, results in rounds(model, [client], random_row(model), recipe, count=3):
        assert results[0][0].steps == 2
        seen.append({row for batch in model.drain() for row in batch.rows()})
    everything = {tuple(example.tokens) for example in client.examples}
    assert seen[0] | seen[1] == everything
    assert not seen[0] & seen[1]
    assert seen[2] < everything


def test_no_steps_give_a_zero_update_and_the_same_state(attach, random_row, five):
    model = attach(settings=LORA)
    received = dict.fromkeys((client.name for client in five), random_row(model))
    results = train(model, five, received, TrainSettings(steps_per_round=0), Round(0, 1, SEED))
    for client, (update, state) in zip(five, results, strict=True):
        assert not flatten(update.tensors, model.layout).any()
        assert (update.client, update.examples) == (client.name, len(client.examples))
        assert (update.steps, update.tokens, update.loss) == (0, 0, 0.0)
        assert state.cursor == 0


def test_no_clients_give_no_updates(attach):
    assert train(attach(settings=LORA), [], {}, TrainSettings(), Round(0, 1, SEED)) == []


def test_training_leaves_base_and_received_weights_untouched(tiny, attach, random_row, five):
    pristine = tiny("llama")
    model = attach(settings=LORA)
    before = fingerprint(model.base)
    received = dict.fromkeys((client.name for client in five), random_row(model))
    copies = {name: row.copy() for name, row in received.items()}
    train(model, five, received, TrainSettings(batch_size=3), Round(0, 1, SEED))
    assert fingerprint(model.base) == before
    held = {n.replace(".base.", "."): v for n, v in model.base.model.state_dict().items()}
    assert all(torch.equal(held[name], value) for name, value in pristine.state_dict().items())
    assert all((received[name] == row).all() for name, row in copies.items())


@pytest.mark.parametrize("bound", [0.3, "off"])
def test_the_adjust_hook_pulls_like_a_proximal_gradient(
    bound, tiny, attach, with_peft, random_row, five
):
    """FedProx: the loss gradient is bounded first, then mu (w - received) is added to it."""
    mu = 0.7
    recipe = TrainSettings(
        optimizer="sgd", learning_rate=0.2, batch_size=2, steps_per_round=3, max_gradient_norm=bound
    )
    model = attach(settings=LORA)
    row = random_row(model)
    received = dict.fromkeys((client.name for client in five), row)
    shapes = []

    def pull(gradients, weights, start):
        shapes.append((gradients.shape, weights.shape, start.shape))
        return gradients + mu * (weights - start)

    where = Round(0, 1, SEED)
    results = train(model, five, received, recipe, where, rule=Rule(pull))
    for client, (update, _) in zip(five, results, strict=True):
        judge, parameters = with_peft(tiny("llama"), LORA, row, model.layout)
        result = train_alone(judge, parameters, client, recipe, where, Alone(), mu)
        require_equal(update, model, result)
    assert set(shapes) == {((4, model.layout.size),) * 3}


def test_clients_leave_the_pack_when_done_and_results_keep_their_order(
    attach, random_row, five, spy
):
    model = spy(attach(settings=LORA))
    received = dict.fromkeys((client.name for client in five), random_row(model))
    told = []
    recipe = TrainSettings(batch_size=3)
    results = train(model, five, received, recipe, Round(0, 1, SEED), on_step=told.append)
    assert [update.client for update, _ in results] == [client.name for client in five]
    assert [update.steps for update, _ in results] == [3, 1, 4, 0, 2]
    assert [batch.tokens.shape[0] for batch in model.drain()] == [4, 3, 2, 1]
    assert [(p.step, p.steps, p.clients) for p in told] == [
        (0, 4, 4),
        (1, 4, 3),
        (2, 4, 2),
        (3, 4, 1),
    ]
    assert sum(p.tokens for p in told) == sum(update.tokens for update, _ in results)
    read = [sum(len(e.tokens) for e in client.examples) for client in five]
    assert [update.tokens for update, _ in results] == read


@pytest.mark.parametrize("adjust", [None, lambda gradients, weights, start: gradients])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_packs_hold_what_the_stated_memory_holds(
    optimizer, adjust, attach, random_row, make_client, spy
):
    """Weights, gradient and moments: 4 rows of float32, 3 without Adam; received rows for a rule."""
    model = spy(attach(settings=LoraSettings(rank=24)))
    clients = [make_client(name, [8]) for name in "abcdefg"]
    received = dict.fromkeys("abcdefg", random_row(model))
    recipe = TrainSettings(optimizer=optimizer, memory_budget_mib=1)
    train(model, clients, received, recipe, Round(0, 1, SEED), rule=Rule(adjust))
    each = (4 if optimizer == "adamw" else 3) + (adjust is not None)
    rows = 2**20 // (4 * model.layout.size * each)
    assert 1 < rows < 7
    sizes = [batch.tokens.shape[0] for batch in model.drain()]
    assert sizes == [rows] * (7 // rows) + [7 % rows] * bool(7 % rows)


def test_divergence_stops_the_round_and_names_the_client(attach, random_row, five):
    model = attach(settings=LORA)
    received = dict.fromkeys((client.name for client in five), random_row(model))
    recipe = TrainSettings(
        learning_rate=1e9, batch_size=3, max_gradient_norm="off", optimizer="sgd", momentum=0.9
    )
    with pytest.raises(Diverged, match=r"'(berlin|oslo|rome|lyon)'.*Lower train.learning_rate"):
        train(model, five, received, recipe, Round(0, 1, SEED))


def test_divergence_in_the_last_step_is_found_in_the_weights(attach, random_row, make_client):
    model = attach(settings=LORA)
    clients = [make_client(name, [9]) for name in ("rome", "oslo")]
    received = {name: random_row(model) for name in ("rome", "oslo")}

    def spoil(gradients, weights, start):
        gradients[1] = float("inf")
        return gradients

    with pytest.raises(Diverged, match=r"'oslo'.*after the last step of round 0"):
        train(model, clients, received, TrainSettings(), Round(0, 1, SEED), rule=Rule(spoil))


def test_divergence_names_the_one_client_whose_weights_are_bad(attach, random_row, five):
    model = attach(settings=LORA)
    received = {client.name: random_row(model) for client in five}
    received["rome"][5] = np.nan
    with pytest.raises(Diverged, match=r"'rome'.*step 0 of round 3"):
        train(model, five, received, TrainSettings(batch_size=3), Round(3, 9, SEED))


@pytest.mark.parametrize("names", [("oslo", "oslo"), ("oslo", "rome")])
def test_two_clients_of_one_name_and_one_without_weights_are_refused(
    attach, random_row, make_client, names
):
    model = attach(settings=LORA)
    clients = [make_client(name, [9]) for name in names]
    received = {"oslo": random_row(model)}
    with pytest.raises(ValueError, match="one row per name"):
        train(model, clients, received, TrainSettings(), Round(0, 1, SEED))


@pytest.mark.parametrize(("tokens", "marks"), [(0, 0), (3, 2)])
def test_a_sequence_has_tokens_and_a_mark_for_each(tokens, marks):
    with pytest.raises(ValueError, match="tokens with"):
        Example(np.ones(tokens, np.int32), np.zeros(marks, np.bool_))


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.17, 0.5])
@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
def test_the_schedule_is_that_of_transformers_without_its_idle_first_step(schedule, warmup, floor):
    """transformers starts the warm-up at 0, a step that changes nothing; ours starts one later."""
    from transformers.optimization import (
        get_constant_schedule_with_warmup,
        get_cosine_with_min_lr_schedule_with_warmup,
        get_linear_schedule_with_warmup,
    )

    total, peak = 23, 0.3
    rise = math.ceil(warmup * total)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], peak)
    if schedule == "constant":
        judge = get_constant_schedule_with_warmup(optimizer, rise)
    elif schedule == "linear":
        judge = get_linear_schedule_with_warmup(optimizer, rise, total)
    else:
        judge = get_cosine_with_min_lr_schedule_with_warmup(
            optimizer, rise, total, min_lr_rate=floor
        )
    theirs = []
    for _ in range(total + 1):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        judge.step()
    if schedule == "linear":
        theirs[rise:] = [peak * floor + (1 - floor) * rate for rate in theirs[rise:]]
    recipe = TrainSettings(
        learning_rate=peak, schedule=schedule, warmup_fraction=warmup, final_fraction=floor
    )
    ours = [learning_rate(recipe, position, total) for position in range(total)]
    expected = [theirs[p + 1] if p < rise else theirs[p] for p in range(total)]
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("examples", "changes", "steps"),
    [
        (0, {}, 0),
        (0, {"steps_per_round": 5}, 0),
        (9, {"steps_per_round": 5}, 5),
        (9, {"steps_per_round": 0}, 0),
        (8, {}, 2),
        (9, {}, 3),
        (9, {"epochs_per_round": 0.5}, 2),
        (9, {"epochs_per_round": 0.01}, 1),
        (200, {"epochs_per_round": 1.1}, 55),
        (12, {"epochs_per_round": 2.0}, 6),
    ],
)
def test_steps_in_a_round(examples, changes, steps):
    assert steps_in_round(examples, TrainSettings(batch_size=4, **changes)) == steps


def test_the_schedule_spans_the_run_and_not_the_round(attach, random_row, make_client, spy):
    """Half a run of linear decay: the second round goes on where the first one stood."""
    model = attach(settings=LORA)
    client = make_client("paris", [10, 10, 10, 10])
    recipe = TrainSettings(
        optimizer="sgd", learning_rate=1.0, schedule="linear", warmup_fraction=0, final_fraction=0,
        batch_size=1, max_gradient_norm="off",
    )  # fmt: skip
    sizes = []

    def unit(gradients, weights, start):
        sizes.append(weights.clone())
        return torch.ones_like(gradients)

    row = {"paris": random_row(model)}
    for index in range(2):
        train(model, [client], row, recipe, Round(index, 2, SEED), rule=Rule(unit))
    moves = [sizes[i] - sizes[i + 1] for i in (0, 1, 2, 4, 5, 6)]
    rates = [float(move.mean()) for move in moves]
    np.testing.assert_allclose(rates, [8 / 8, 7 / 8, 6 / 8, 4 / 8, 3 / 8, 2 / 8], rtol=1e-5)


@pytest.mark.parametrize("tokens_per_pass", [1, 40, 8192])
def test_scores_are_those_of_a_loop_over_single_sequences(
    tokens_per_pass, tiny, attach, with_peft, random_row, five
):
    model = attach(settings=LORA)
    row = random_row(model)
    judge, _ = with_peft(tiny("llama"), LORA, row, model.layout)
    examples = [example for client in five for example in client.examples]
    scores = score(model, row, examples, tokens_per_pass=tokens_per_pass)
    for place, example in enumerate(examples):
        tokens = torch.tensor(example.tokens, dtype=torch.long)[None]
        with torch.no_grad():
            nll = float(summed_nll(judge, example))
            guesses = judge(input_ids=tokens).logits[0, :-1].argmax(-1)
        hits = (guesses == tokens[0, 1:]).numpy() & example.supervised[1:]
        assert scores.nll[place] == pytest.approx(nll, rel=1e-5)
        assert scores.correct[place] == hits.sum()
        assert scores.tokens[place] == example.supervised[1:].sum()
    assert scores.correct.sum() > 0


def test_examples_of_similar_length_are_scored_together(attach, random_row, make_client, spy):
    model = spy(attach(settings=LORA))
    examples = make_client("paris", [8, 24, 9, 23, 10, 22, 11, 21]).examples
    score(model, random_row(model), examples, tokens_per_pass=96)
    passes = [batch.tokens.shape[2:] for batch in model.drain()]
    assert passes == [(4, 24), (4, 11)]


def test_scoring_nothing_is_refused(attach, random_row):
    model = attach(settings=LORA)
    with pytest.raises(ConfigError, match="nothing to score"):
        score(model, random_row(model), [], tokens_per_pass=64)
