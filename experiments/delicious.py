"""DLERSE-con on Delicious (HetRec 2011), an item being a URL; see data.item_kind.

Nothing was tuned or measured on it: the bookmark file was not at hand.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "delicious"
    config.num_seeds = 3
    return apply_option(config, option)
