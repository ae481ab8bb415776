"""A first configuration, commented, with a few conversations to replace by one's own."""

from __future__ import annotations

import json
from pathlib import Path

from sottovoce.errors import ConfigError
from sottovoce.run.folder import write_bytes

CONFIGURATION = """\
# A federation of parties that keep their text. Run it with: sotto run federation.toml

seed = 0

[data]
path = "conversations.jsonl"      # files, folders and globs; JSON Lines, CSV or Parquet
# Each conversation has "messages" as in the OpenAI API, or instruction and response columns.
# Columns that are found by their common names can also be named:
# owner_column = "customer"       # whose conversation it is: held out whole, and later protected
# client_column = "shop"          # which party holds it
scrub = "mask"                    # personal data out; or "pseudonym", "drop", or "off": all stays
clients = "column"                # or "iid" or "dirichlet", with federation.clients = 8
validation_fraction = 0.25

[model]
path = "tiny"                     # the bundled model, a folder, or a hub name
dtype = "float32"                 # or "bfloat16", faster where the processor has it

[model.lora]
rank = 8
alpha = 16.0

[train]
learning_rate = 0.005
batch_size = 4
epochs_per_round = 1.0

[federation]
rounds = 4
strategy = "fedavg"               # or "fedprox", "scaffold", "ffa", ...: docs/algorithms.md
# personal = "finetune"           # and every party gets a model of its own

[privacy]
unit = "none"                     # has no default; "owner", "client" or "example" hide one
# epsilon = 8.0                   # with one of them: how well, and at what price
# delta = 1e-5
# clip_norm = 1.0
# trust = "none"                  # all parties share one noise, and no server is trusted with it

# [secure]                        # the server sees the sum of a round and nobody's update
# aggregation = "secagg"          # or "helpers", "he": docs/secure-sums.md
# clip_norm = 2.0                 # the bound on one party's update
"""

_TALK = {
    "north": [
        ("ada", "When do you open?", "We open at nine and close at six."),
        ("bo", "Do you repair zips?", "Yes, a zip takes two days."),
        ("cleo", "Can I pay by card?", "Yes, cards and cash are both fine."),
        ("dan", "Do you have wool?", "Yes, in twelve colours."),
    ],
    "south": [
        ("eva", "Is the bread still warm?", "The next batch is out at four."),
        ("finn", "Do you bake without gluten?", "Yes, on Tuesdays and Fridays."),
        ("gia", "Can I order a cake?", "Yes, please two days ahead."),
        ("hal", "Are you open on Sunday?", "Yes, from seven to eleven."),
    ],
}


def write_start(folder: Path) -> list[Path]:
    """Write ``federation.toml`` and ``conversations.jsonl`` into a folder.

    Returns:
        The files written.

    Raises:
        ConfigError: one of them exists; nothing is changed.
        SottovoceError: the folder cannot be written.
    """
    config, data = folder / "federation.toml", folder / "conversations.jsonl"
    for path in (config, data):
        if path.exists():
            raise ConfigError(f"{path} exists", remedy="Choose a new folder")
    lines = [
        json.dumps(
            {
                "client": client,
                "owner": owner,
                "messages": [
                    {"role": "system", "content": f"You are the assistant of the shop {client}."},
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ],
            }
        )
        for client, talks in _TALK.items()
        for owner, question, answer in talks
    ]
    write_bytes(data, ("\n".join(lines) + "\n").encode())
    write_bytes(config, CONFIGURATION.encode())
    return [config, data]
