"""Sums of which the server learns nothing but the sum: SecAgg+, double masking on a sparse graph.

Bonawitz et al. 2017 (protocol), Bell et al. 2020 (graph). Each client i hides its vector under a
mask of its own and, for every neighbour j, a mask that i adds and j subtracts (or the reverse):

    y_i = x_i + PRG(b_i) + Σ_{j > i} PRG(s_ij) - Σ_{j < i} PRG(s_ij)   mod 2^bits

Before anything is hidden, i has given every neighbour one Shamir share of b_i and one of the
secret behind its s_ij. Afterwards a neighbour reveals its share of b_i where i's upload arrived,
and of the other secret where it did not, and never both, so that exactly the sum of what arrived
can be unmasked.

| stage | client | server |
|---|---|---|
| 1 | ``advertise``: fresh keys | ``add_advertisement``, ``close_advertisements`` |
| 2 | ``share``: sealed shares for the neighbours | ``add_shares``, ``close_shares`` |
| 3 | ``upload``: the masked vector | ``add_upload``, ``close_uploads`` |
| 4 | ``acknowledge``: signs who is in the sum | ``add_acknowledgement``, ``close_acknowledgements`` |
| 5 | ``unmask``: one share of each neighbour | ``add_unmasking``, ``recover`` |

Stage 4 exists only where the server is not trusted to tell everybody the same.

- ``terms``: what both sides agree on, bound into every key and every signature;
- ``keys``: everything that is derived from a secret;
- ``kem``: ML-KEM-768, and ``hybrid``: what terms with ``post_quantum`` derive and seal besides;
- ``forms``: what ``post_quantum`` changes in how fields are written as bytes;
- ``messages``: what travels, signed by whoever sends it;
- ``states``: where a client stands, and what it still holds;
- ``client``: pure steps from one state to the next;
- ``server``: the other side, which holds one running total.

None of them reads a file, a clock or a network. Whoever drives a client stores the new state
before it sends the message.
"""
