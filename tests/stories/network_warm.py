"""All that a site, a helper, a server and a run in one process load; imported by the nursery alone."""

import torch

import sottovoce.run.helper_station
import sottovoce.run.local
import sottovoce.run.station  # noqa: F401
from sottovoce.model.base import ModelSettings, load_base

# With more threads, those would be missing in whatever is forked.
torch.set_num_threads(1)
load_base(ModelSettings())
