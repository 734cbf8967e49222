"""dlerse_plus on LastFM: the agent to use where precision counts, three seeds.

DLERSE-con with a copy head, a belief and tags, starting as the best policy without
learning. Its settings are those of `lastfm.py`, and `plus` was chosen on the validation
users of splits 0 to 4; docs/results.md has what it buys and what it costs.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "lastfm"
    config.agent.name = "dlerse_plus"
    config.num_seeds = 3
    return apply_option(config, option)
