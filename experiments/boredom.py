"""DLERSE-con and users who are bored by a topic for a while: does planning pay?

A small synthetic world whose hits belong to several communities, and so bore with
several topics at once. `fit` tells the taste, but nothing of boredom: `learn` finds
that from rewards alone, so it goes on without the supervised anchor.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    world = config.data.synthetic
    world.num_items = 240
    world.most_topics = 4
    world.mean_likes = 40.0
    config.user.boredom = 3
    return apply_option(config, option)
