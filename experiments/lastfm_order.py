"""dlerse_rank on LastFM where streaks pay: after its chances it learns their order.

Alpha is .1, and Q looks to the end of the episode. docs/results/order.md has what that
buys. How many updates Q-learning has was chosen on validation users; its other settings
were not searched.
"""

import runpy
from pathlib import Path

from dlerse_jax.defaults import apply_option

BEST = runpy.run_path(str(Path(__file__).with_name("lastfm_best.py")))


def get_config(option: str = ""):
    config = BEST["get_config"]()
    config.reward.alpha = 0.1
    config.rank.q_learning = True
    config.rank.candidates = 64  # as when its updates were chosen
    q_learning = config.q_learning
    q_learning.num_updates = 60
    q_learning.gamma = 1.0
    q_learning.epsilon_first = q_learning.epsilon_last = 0.3
    return apply_option(config, option)
