"""DLERSE-con on the built-in social world: needs no file, shows the whole chain.

`:quick` is the same on a smaller network for a look at everything within a minute.
"""

from dlerse_jax.defaults import base_config


def get_config(option: str = ""):
    config = base_config()
    config.network.width = config.network.hidden = 64
    config.network.factor_regularisation = 100.0
    config.num_seeds = 2
    if option == "quick":
        config.network.width = config.network.hidden = 16
        config.learn.act_batch = config.learn.batch_size = 16
        config.learn.replay_capacity = 64
        config.fit.num_updates = config.learn.num_updates = 20
    return config
