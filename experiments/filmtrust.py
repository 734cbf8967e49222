"""DLERSE-con on FilmTrust: few items, and most users have no friend at all.

Settings are those of LastFM.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "filmtrust"
    config.num_seeds = 3
    return apply_option(config, option)
