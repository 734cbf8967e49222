"""DLERSE-con on a synthetic world of a million users and a million items.

Two tables of 1 M x 64 for items and one for users, 11 M friend pairs: no update grows
with the graph, and the search for the best item ends after few of the million, for
EASE's vectors are long for popular items. The whole run takes 3 min 2 s on two cores
and 3.9 GiB (docs/performance.md). `:quick` has a thousandth of the users and items.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.tune = False
    world = config.data.synthetic
    world.num_users = world.num_items = 1_000_000
    world.num_communities = 200
    world.mean_likes = 20.0
    world.mean_friends = 11.0
    config.network.width = config.network.hidden = 64
    config.network.fan_out = 8
    config.network.factors = "ease"
    config.pretrain.num_updates = 100
    config.q_learning.num_updates = 20
    config.evaluation.most_users = 512
    config.evaluation.baselines = ("popularity",)  # random: 10 minutes to find nothing
    if option == "quick":
        world.num_users = world.num_items = 1_000
        world.num_communities = 12
    return apply_option(config, option)
