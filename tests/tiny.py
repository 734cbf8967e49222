"""A config that compiles in seconds, for tests of whole runs."""

from dlerse_jax.defaults import base_config


def tiny_config():
    config = base_config()
    config.tune = False  # runs of seconds
    config.data.synthetic.num_users = 120
    config.data.synthetic.num_items = 60
    config.data.synthetic.mean_likes = 10.0
    config.episode.horizon = 6
    config.network.width = config.network.hidden = 8
    config.network.hops = 1
    config.q_learning.act_batch = config.q_learning.batch_size = 8
    config.q_learning.replay_capacity = 32
    config.q_learning.block = 16
    config.pretrain.num_updates = config.q_learning.num_updates = 4
    config.tracking.every = config.tracking.checkpoint_every = 2
    config.evaluation.every = 4
    config.evaluation.baselines = ("random", "popularity", "friends")
    config.tracking.wandb = False
    return config


def config_of_two_seeds():
    """Of runs with both phases and more than one seed: the smallest network.

    Programs are kept for configs that differ in traced numbers alone, so tests that
    start from this one compile it once.
    """
    config = tiny_config()
    config.agent.name, config.num_seeds = "dqn", 2
    config.network.hops = base_config().network.hops  # which it does not read
    config.reward.miss = 0.0
    config.evaluation.every, config.evaluation.baselines = 2, ()
    return config


get_config = tiny_config  # so that this file is one that commands take
