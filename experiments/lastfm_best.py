"""dlerse_rank on LastFM: the agent to use where precision counts, three seeds.

An untrained dlerse_plus generates 40 candidates, communities of users 10 more, and a
small network re-ranks them; it is trained on users whose likes no table has seen. Its
settings were chosen on validation users of splits 0 and 1 and on training users of
folds that it had not learned from; `plus` on the validation users of splits 0 to 4.
docs/results.md has what it buys.
"""

import runpy
from pathlib import Path

from dlerse_jax.defaults import apply_option

LASTFM = runpy.run_path(str(Path(__file__).with_name("lastfm.py")))


def get_config(option: str = ""):
    config = LASTFM["get_config"]()
    config.agent.name = "dlerse_rank"
    config.pretrain.num_updates = 40
    config.q_learning.num_updates = 0
    config.evaluation.every = 10
    config.tracking.every = config.tracking.checkpoint_every = 10
    return apply_option(config, option)
