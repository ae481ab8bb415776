"""FedProx as a plain loop: device after device, batch after batch, as the paper has it.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", Algorithm 2, with mini-batch SGD
as the local solver, float64 throughout. It imports nothing of this package and draws devices,
stragglers and orders itself, so that the benchmark has to agree with it in those too.
"""

from __future__ import annotations

import numpy as np

CLASSES = 10


def draws(round_index, stragglers, devices=30, chosen=10, epochs=20):
    """The devices of a round with the epochs of each, and which are slow.

    As in the paper's code: the round's index seeds the draw of the devices, and again the draw of
    those that are quick. There a straggler's epochs come from a generator that its neighbours'
    batches have seeded anew; here they come next from the same generator.
    """
    who = np.random.RandomState(round_index).choice(devices, chosen, replace=False)
    random = np.random.RandomState(round_index)
    quick = set(random.choice(who, round(chosen * (1 - stragglers)), replace=False).tolist())
    partial = random.randint(low=1, high=epochs, size=chosen)
    return [
        (int(k), epochs if k in quick else int(part), k not in quick)
        for k, part in zip(who, partial, strict=True)
    ]


def solve(W, b, x, y, *, mu, epochs, order, rate, batch):
    """One device's SGD on its mean cross-entropy plus (mu / 2)·(‖W - W_t‖² + ‖b - b_t‖²)."""
    W_t, b_t = W, b
    for _ in range(epochs):
        shuffled = order.permutation(len(y))
        for begin in range(0, len(y), batch):
            some = shuffled[begin : begin + batch]
            scores = np.exp(x[some] @ W + b)
            error = scores / scores.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y[some]]
            W, b = (
                W - rate * (x[some].T @ error / len(some) + mu * (W - W_t)),
                b - rate * (error.mean(axis=0) + mu * (b - b_t)),
            )
    return W, b


def fedprox(devices, *, rounds, mu, stragglers, drops, epochs=20, rate=0.01, batch=10):
    """The shared weights (W ``[inputs, classes]``, b ``[classes]``) after some rounds from zero.

    ``devices`` holds each one's training examples (x, y). With ``drops``, stragglers do not count.
    """
    W, b = np.zeros((devices[0][0].shape[1], CLASSES)), np.zeros(CLASSES)
    for index in range(rounds):
        ends = []
        for k, work, slow in draws(index, stragglers, len(devices), epochs=epochs):
            if slow and drops:
                continue
            order = np.random.RandomState([index, k])
            x, y = devices[k]
            end = solve(W, b, x, y, mu=mu, epochs=work, order=order, rate=rate, batch=batch)
            ends.append((len(y), *end))
        total = sum(n for n, _, _ in ends)
        W = sum(n * own for n, own, _ in ends) / total
        b = sum(n * own for n, _, own in ends) / total
    return W, b
