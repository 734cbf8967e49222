"""DLERSE-con on the built-in social world: needs no file, shows the whole chain.

`:quick` is a smoke test of seconds, not a result.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.tune = False  # a first look, with nothing to wait for
    config.network.width = config.network.hidden = 64
    config.network.factor_regularisation = 100.0
    config.num_seeds = 1
    return apply_option(config, option)
