"""DLERSE-con on LastFM (HetRec 2011): the main experiment, three seeds in one program.

The defaults were chosen on validation users of split 0 (dropout, learning rate, weight
decay and length of pre-training, supervised weight of Q-learning), those of `plus` on
the validation users of splits 0 to 4.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "lastfm"
    config.num_seeds = 3
    return apply_option(config, option)
