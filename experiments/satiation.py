"""DLERSE-con and users whom a topic satiates for a while: does planning pay?

A small synthetic world of four topics, in which a user likes many items, so that which
topics are still open decides more than preferences do. Pre-training fits preferences
and knows nothing of satiation. Q-learning has to find it from rewards alone: it has no
supervised loss beside it, more updates, a higher rate and more exploration than
elsewhere, and no session embedding, which asks for more of the same. Chosen on
validation users.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.tune = False
    world = config.data.synthetic
    world.num_users, world.num_items = 1000, 160
    world.num_communities = world.most_topics = 4
    world.mean_likes = 80.0
    config.user.satiation = 3
    config.episode.horizon = 16
    config.num_seeds = 3
    network = config.network
    network.width = network.hidden = 32
    network.hops = 1
    network.factor_regularisation = 100.0
    network.session_gain = network.dropout = 0.0
    config.pretrain.num_updates = 60
    q_learning = config.q_learning
    q_learning.num_updates = 1500
    q_learning.learning_rate = 3e-3
    q_learning.supervised_weight = 0.0
    q_learning.exploration = "uniform"
    q_learning.epsilon_first = 0.5
    q_learning.target_step = 0.05
    q_learning.act_batch, q_learning.batch_size = 32, 64
    config.optimizer.weight_decay = 0.0
    config.optimizer.bias_rate = 1.0
    config.optimizer.average_step = 0.05
    config.evaluation.every = config.tracking.checkpoint_every = 300
    return apply_option(config, option)
