"""Laws of local training: what a client's update may depend on, and what it may not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.model.base import LoraSettings
from sottovoce.train import (
    IGNORED,
    Client,
    Example,
    Round,
    TrainSettings,
    collate,
    epoch_batches,
    train,
)
from sottovoce.update import flatten

LORA = LoraSettings(rank=4, alpha=8)
RECIPE = TrainSettings(
    optimizer="sgd", learning_rate=0.1, momentum=0.9, batch_size=3, max_gradient_norm=0.5
)
"""With bounded gradients and momentum; AdamW would blow rounding up where gradients vanish."""

SIZES = {
    "berlin": [9, 20, 8, 13, 17],
    "lyon": [24],
    "oslo": [8, 15, 22, 9, 12, 18, 11],
    "rome": [12],
}


@pytest.fixture(scope="module")
def model(attach):
    return attach(settings=LORA)


@pytest.fixture(scope="module")
def rank_24(attach):
    """An adapter of which three clients fill the smallest memory budget."""
    return attach(settings=LoraSettings(rank=24))


@pytest.fixture(scope="module")
def four(make_client):
    return [make_client(name, sizes) for name, sizes in SIZES.items()]


def one_round(model, clients, recipe=RECIPE, rows=None):
    """The change of every client's weights, by name."""
    start = model.initial(0)
    start += np.random.default_rng(1).normal(0, 0.1, start.shape).astype(np.float32)
    received = {client.name: start for client in clients} | (rows or {})
    results = train(model, clients, received, recipe, Round(0, 1, 7))
    return {update.client: flatten(update.tensors, model.layout) for update, _ in results}


def require_same(ours, wanted):
    assert set(ours) == set(wanted)
    for name, change in wanted.items():
        assert np.abs(change).max() > 1e-3
        np.testing.assert_allclose(ours[name], change, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"tokens_per_pass": 60}, {"tokens_per_pass": 1}],
    ids=["one pass", "several passes", "one sequence a pass"],
)
@pytest.mark.parametrize(
    "lengths", [SIZES["oslo"], [24] * 7, [9], []], ids=["same", "long", "one", "none"]
)
def test_trap_2_another_clients_data_changes_nobodys_update(
    changes, lengths, model, four, make_client
):
    """Other tokens, other lengths, another number of examples and of steps, or none."""
    recipe = RECIPE.model_copy(update=changes)
    before = one_round(model, four, recipe)
    others = [c if c.name != "oslo" else make_client("oslo", lengths, seed=99) for c in four]
    after = one_round(model, others, recipe)
    assert np.abs(after.pop("oslo") - before.pop("oslo")).max() > 1e-3
    require_same(after, before)


@pytest.mark.parametrize("seed", [99, 100])
def test_trap_2_holds_when_packs_are_split_by_memory(seed, rank_24, four, make_client):
    recipe = RECIPE.model_copy(update={"memory_budget_mib": 1, "tokens_per_pass": 50})
    before = one_round(rank_24, four, recipe)
    others = [c if c.name != "oslo" else make_client("oslo", [24] * 20, seed) for c in four]
    after = one_round(rank_24, others, recipe)
    assert np.abs(after.pop("oslo") - before.pop("oslo")).max() > 1e-3
    require_same(after, before)


def test_another_clients_received_weights_change_nobodys_update(model, four):
    before = one_round(model, four)
    after = one_round(model, four, rows={"oslo": model.initial(5) * 2})
    assert np.abs(after.pop("oslo") - before.pop("oslo")).max() > 1e-3
    require_same(after, before)


@pytest.mark.parametrize("tokens", [1, 17, 40, 100, 300])
def test_micro_batches_change_nothing(tokens, model, four, spy):
    """Gradient accumulation: the loss is the mean over the batch, however it is cut."""
    watched = spy(model)
    ours = one_round(watched, four, RECIPE.model_copy(update={"tokens_per_pass": tokens}))
    require_same(ours, one_round(model, four))
    for batch in watched.drain():
        sequences = batch.tokens.shape[0] * batch.tokens.shape[2]
        assert batch.tokens.numel() <= tokens or sequences == 1


def test_every_sequence_of_a_step_is_in_exactly_one_pass(model, four, spy):
    everything = sorted(tuple(e.tokens) for client in four for e in client.examples)
    for tokens in (1, 40, 8192):
        watched = spy(model)
        one_round(watched, four, RECIPE.model_copy(update={"tokens_per_pass": tokens}))
        assert sorted(row for batch in watched.drain() for row in batch.rows()) == everything


def test_the_memory_budget_changes_nothing(rank_24, four, spy):
    watched = spy(rank_24)
    ours = one_round(watched, four, RECIPE.model_copy(update={"memory_budget_mib": 1}))
    assert max(batch.tokens.shape[0] for batch in watched.drain()) == 3
    require_same(ours, one_round(rank_24, four))


@pytest.mark.parametrize("names", [["berlin"], ["rome", "oslo"], ["lyon", "rome", "berlin"]])
def test_who_shares_the_pack_and_in_which_order_changes_nothing(names, model, four):
    everyone = one_round(model, four)
    chosen = [client for name in names for client in four if client.name == name]
    require_same(one_round(model, chosen), {name: everyone[name] for name in names})


@given(order=st.permutations(range(4)), tokens=st.integers(1, 200), twins=st.booleans())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_order_passes_and_twins_together_change_nothing(model, four, order, tokens, twins):
    clients = [four[place] for place in order]
    recipe = RECIPE.model_copy(update={"tokens_per_pass": tokens})
    wanted = one_round(model, four)
    if twins:
        # A second client with the same examples draws its own order, and disturbs nobody.
        clients.insert(2, replace(four[0], name="twin"))
    ours = one_round(model, clients, recipe)
    ours.pop("twin", None)
    require_same(ours, wanted)


def test_trap_7_each_client_is_clipped_by_its_own_norm(model, four):
    """One client's huge gradient neither shrinks its neighbours' steps nor escapes its bound."""
    recipe = TrainSettings(
        optimizer="sgd", learning_rate=1.0, schedule="constant", warmup_fraction=0.0,
        batch_size=8, max_gradient_norm=0.25,
    )  # fmt: skip
    loud = model.initial(0) * 30
    changes = one_round(model, four, recipe, rows={"oslo": loud})
    for change in changes.values():
        assert np.linalg.norm(change) == pytest.approx(0.25, rel=1e-4)
    free = recipe.model_copy(update={"max_gradient_norm": 1e6})
    calm = one_round(model, four, recipe.model_copy(update={"max_gradient_norm": "off"}))
    require_same(one_round(model, four, free), calm)


def test_trap_6_padding_groups_take_no_optimizer_step(attach, four, make_client):
    """Weight decay and momentum would move a client that has no batch left."""
    model = attach(settings=LORA)
    recipe = TrainSettings(learning_rate=0.01, weight_decay=0.5, batch_size=3)
    short = make_client("short", [9])
    idle = Client("idle", ())
    alone = one_round(model, [short], recipe)
    together = one_round(model, [short, idle, *four], recipe)
    assert not together["idle"].any()
    gap = np.abs(together["short"] - alone["short"])
    assert np.mean(gap > 1e-5) < 0.01
    assert gap.max() < 0.01


def test_trap_8_a_round_over_a_bfloat16_base_ends_within_a_hundredth_of_the_loss(attach, four):
    recipe = TrainSettings(learning_rate=5e-3, batch_size=3, epochs_per_round=2)
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        model = attach(settings=LORA, dtype=dtype)
        received = dict.fromkeys(SIZES, model.initial(0))
        results = train(model, four, received, recipe, Round(0, 1, 7))
        assert all(v.dtype == np.float32 for u, _ in results for v in u.tensors.values())
        losses.append([update.loss for update, _ in results])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.01)


LENGTHS = st.lists(st.integers(1, 50), max_size=90).map(lambda sizes: np.array(sizes, np.int64))
SEEDS = st.integers(0, 2**32)


@given(lengths=LENGTHS, size=st.integers(1, 7), seed=SEEDS, epoch=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_every_example_appears_exactly_once_in_an_epoch(lengths, size, seed, epoch):
    batches = epoch_batches(lengths, size, seed, "berlin", epoch)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)


@given(lengths=LENGTHS, size=st.integers(1, 7), seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_batch_sizes_differ_by_at_most_one_and_never_pass_the_limit(lengths, size, seed):
    sizes = [len(batch) for batch in epoch_batches(lengths, size, seed, "berlin", 0)]
    assert all(0 < count <= size for count in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@given(lengths=LENGTHS, size=st.integers(1, 7), seed=SEEDS, epoch=st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_batches_are_a_pure_function_of_their_arguments(lengths, size, seed, epoch):
    untouched = lengths.copy()
    one = epoch_batches(lengths, size, seed, "berlin", epoch)
    other = epoch_batches(lengths.copy(), size, seed, "berlin", epoch)
    assert [batch.tolist() for batch in one] == [batch.tolist() for batch in other]
    assert (lengths == untouched).all()


def test_epochs_clients_and_seeds_mix_their_batches_anew():
    """Other companions in a batch, not only another order of the same batches."""
    lengths = np.arange(1, 201)
    mixtures = {
        frozenset(frozenset(map(int, batch)) for batch in epoch_batches(lengths, 4, *names))
        for names in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    }
    assert len(mixtures) == 4


def test_a_client_with_few_examples_mixes_its_batches_anew_too():
    """All of them fall into one pool, where sorting by length alone would fix the companions."""
    lengths = np.arange(60, 108, 2)
    met = [
        {frozenset(map(int, batch)) for batch in epoch_batches(lengths, 4, 0, "a", epoch)}
        for epoch in range(4)
    ]
    assert all(len(met[epoch] & met[0]) <= 3 for epoch in (1, 2, 3))


def test_epochs_order_their_batches_anew():
    """Even where the lengths leave only one way to fill them."""
    lengths = np.arange(1, 41)
    orders = {
        tuple(int(batch[0]) for batch in epoch_batches(lengths, 1, 0, "a", epoch))
        for epoch in range(3)
    }
    assert len(orders) == 3


@given(seed=SEEDS, count=st.integers(1, 40), size=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_long_batches_of_one_client_meet_long_batches_of_another(seed, count, size):
    """With equally many batches, the longest of each client comes at the same step."""
    rng = np.random.default_rng(seed)
    ranks = []
    for client in ("berlin", "oslo"):
        # Lengths all differ, so that each batch has a rank of its own.
        lengths = rng.permutation(10 * count * size)[: count * size] + 1
        longest = [lengths[batch].max() for batch in epoch_batches(lengths, size, 3, client, 0)]
        ranks.append(np.argsort(np.argsort(longest)).tolist())
    assert ranks[0] == ranks[1]


def test_batches_hold_examples_of_similar_length():
    """Within a pool of 16 batches, sorting leaves little padding; shuffling alone leaves much."""
    lengths = np.random.default_rng(0).integers(5, 200, 64)
    batches = epoch_batches(lengths, 4, 0, "berlin", 0)
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert padded < 1.1 * lengths.sum()


@given(
    sizes=st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=4).filter(any),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_collating_keeps_every_token_and_every_target(sizes, seed):
    rng = np.random.default_rng(seed)
    groups = [
        [Example(rng.integers(1, 90, n).astype(np.int32), rng.random(n) < 0.5) for n in group]
        for group in sizes
    ]
    scales = rng.uniform(0.1, 1, len(groups)).astype(np.float32).tolist()
    batch = collate(groups, scales)
    rows, length = max(map(len, sizes)), max(n for group in sizes for n in group)
    assert batch.tokens.shape == batch.targets.shape == (len(groups), 1, rows, length)
    for c, group in enumerate(groups):
        for r in range(rows):
            tokens, targets = batch.tokens[c, 0, r].tolist(), batch.targets[c, 0, r].tolist()
            if r >= len(group):
                assert batch.scale[c, 0, r] == 0
                assert set(targets) == {IGNORED}
                continue
            assert batch.scale[c, 0, r] == pytest.approx(scales[c])
            size = len(group[r].tokens)
            assert tokens[:size] == group[r].tokens.tolist()
            for place in range(length):
                follows = place + 1 < size and group[r].supervised[place + 1]
                assert targets[place] == (tokens[place + 1] if follows else IGNORED)
