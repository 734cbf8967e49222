"""The config of `test_multihost.py`: twenty updates, and a checkpoint after ten.

In chunks of two, as in other tests' runs, so that their program is this one's.
"""

from tiny import tiny_config


def get_config():
    config = tiny_config()
    config.pretrain.num_updates = 0
    config.q_learning.num_updates = 20
    config.tracking.checkpoint_every = 10
    config.evaluation.every = 20
    config.evaluation.baselines = ()
    return config
