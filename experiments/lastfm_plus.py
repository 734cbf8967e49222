"""dlerse_plus on LastFM, three seeds: DLERSE with all that was found to help it.

DLERSE-con with a copy head, a ridge posterior and tags; before training it is a linear
policy. Its settings are those of `lastfm.py`, and `plus` was chosen on the
validation users of splits 0 to 4; docs/results.md has what it buys and what it costs.
There is no Q-learning: on validation users of splits 0 and 1 it took precision down.
"""

import runpy
from pathlib import Path

from dlerse_jax.defaults import apply_option

LASTFM = runpy.run_path(str(Path(__file__).with_name("lastfm.py")))


def get_config(option: str = ""):
    config = LASTFM["get_config"]()
    config.agent.name = "dlerse_plus"
    config.q_learning.num_updates = 0
    return apply_option(config, option)
