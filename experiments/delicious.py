"""DLERSE-con on delicious."""

from dlerse_jax.defaults import base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "delicious"
    config.num_seeds = 3
    if option == "quick":
        config.num_seeds = 1
        config.fit.num_updates = config.learn.num_updates = 20
    return config
