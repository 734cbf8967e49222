"""A world of LastFM's raw size, 1,892 users x 17,632 items: what speed is measured on.

The size at which EasyRL4Rec and RL4Rec were timed (docs/performance.md).
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.tune = False
    world = config.data.synthetic
    world.num_users, world.num_items = 1892, 17632
    world.mean_likes, world.mean_friends = 49.0, 13.0
    config.network.width = config.network.hidden = 64
    return apply_option(config, option)
