"""Sums of which the server learns nothing but the sum: one message a client, and a few helpers.

Each client i draws one seed for every set Q of m - t out of m helpers, hides its vector under all
of them, and seals each seed for the helpers in its set:

    y_i = x_i - Σ_Q PRG(s_iQ)   mod 2^bits

Any t helpers miss the seed of the set of all others (replicated secret sharing: Ito, Saito and
Nishizeki 1987; as shares of a key stream: Cramer, Damgård and Ishai 2005). Two helpers of which
either may work with the server are the leader and the helper of Prio (Corrigan-Gibbs and Boneh
2017). After the helpers have agreed on who is in the sum, they tell Σ_i PRG(s_iQ) for each set.

It protects against a server that breaks the protocol, together with up to t helpers and any number
of clients: they learn the sum of one set of clients a round and nothing else. ``TRUST`` says what
breaks it. Nobody is kept from spoiling a sum: a client by what it adds, a helper as ``server``
explains.

| stage | client | helper | server |
|---|---|---|---|
| 0, once a run | | ``announce``: a fresh public key | |
| 1 | ``upload``: masked vector, sealed seeds | ``begin`` | ``add_upload``, ``close_uploads`` |
| 2 | | ``receive``: opens its seeds, names whose it could open | ``add_receipt``, \
``take_back``, ``close_receipts`` |
| 3 | | ``lock``: signs who is in the sum, once | ``add_vote``, ``close_votes`` |
| 4 | | ``answer``, ``sums``: one sum of key streams for each set | ``add_sum``, ``recover`` |

Stage 3 exists because the helpers are never told who is in the sum by anybody they trust. If two of
them answered for different clients, the difference would be one client's vector. A helper signs
once, and answers only where q helpers have signed the same, with 2q - m > t: two such quorums have
an honest helper in common. Helpers that are offline are tolerated down to q until the lock, and
down to t + 1 after it, which is one holder of each set:

| helpers m, colluding t | seeds a client | holders of a seed | quorum q | offline at the lock |
|---|---|---|---|---|
| 2, 1 | 2 | 1 | 2 | none |
| 3, 1 | 3 | 2 | 3 | none |
| 4, 1 | 4 | 3 | 3 | 1 |
| 5, 1 | 5 | 4 | 4 | 1 |
| 5, 2 | 10 | 3 | 4 | 1 |
| 7, 2 | 21 | 5 | 5 | 2 |
| 7, 3 | 35 | 4 | 6 | 1 |

- ``terms``: what all sides agree on, bound into every key and every signature;
- ``keys``: everything that is derived from a secret;
- ``messages``: what travels, and its binary form;
- ``client``: one step, without a state;
- ``states`` and ``helper``: pure steps from one frozen state to the next;
- ``server``: the side that holds one running total.

None of them reads a file, a clock or a network. Whoever drives a client or a helper stores what
it made before it sends it.
"""
