"""dlerse_plus on LastFM, three seeds: DLERSE with all that was found to help it.

DLERSE-con with a copy head, a ridge posterior and tags; before training it is a linear
policy. Its settings are those of `lastfm.py`, and `plus` was chosen on the
validation users of splits 0 to 4; docs/results.md has what it buys and what it costs.
There is no Q-learning: on validation users of splits 0 and 1 it took precision down.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "lastfm"
    config.agent.name = "dlerse_plus"
    config.num_seeds = 3
    config.q_learning.num_updates = 0
    return apply_option(config, option)
