"""The config of `test_processes.py`: twenty updates, and a checkpoint after ten."""

from tiny import tiny_config


def get_config():
    config = tiny_config()
    config.fit.num_updates = 0
    config.learn.num_updates = 20
    config.tracking.every = config.tracking.checkpoint_every = 10
    config.evaluation.every = 20
    config.evaluation.baselines = ()
    return config
