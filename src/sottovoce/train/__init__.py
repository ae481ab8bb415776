"""Local training of many clients at once on the group axis."""

from sottovoce.train.batches import IGNORED, Batch, Example, collate, epoch_batches
from sottovoce.train.client import PLAIN, Client, ClientState, Protection, Round, Rule
from sottovoce.train.engine import Diverged, Progress, rate_of, train
from sottovoce.train.recipe import TrainSettings, learning_rate, steps_in_round
from sottovoce.train.scoring import Scores, score
from sottovoce.train.trainable import Trainable
from sottovoce.train.units import Guard, units_of

__all__ = [
    "IGNORED",
    "PLAIN",
    "Batch",
    "Client",
    "ClientState",
    "Diverged",
    "Example",
    "Guard",
    "Progress",
    "Protection",
    "Round",
    "Rule",
    "Scores",
    "TrainSettings",
    "Trainable",
    "collate",
    "epoch_batches",
    "learning_rate",
    "rate_of",
    "score",
    "steps_in_round",
    "train",
    "units_of",
]
