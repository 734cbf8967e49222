"""DLERSE-con on FilmTrust: few items, and most users have no friend at all.

LastFM's settings but for the updates: with 780 training users and 189 items the network
overfits after sixty. Their number and rate were chosen on validation users of split 0.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "filmtrust"
    config.num_seeds = 3
    config.pretrain.num_updates = 60
    config.pretrain.learning_rate = 3e-4
    config.q_learning.num_updates = 20
    return apply_option(config, option)
