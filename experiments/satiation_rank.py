"""dlerse_rank and users whom a topic satiates for a while: numbers of each item.

World and episode are those of `satiation.py`. Pre-training fits preferences, as it does
elsewhere; Q-learning then learns numbers of each item from answers, by itself and after
others. Together they play 31 thousand episodes; DLERSE-con plays 50 thousand. All items
are candidates. Chosen on validation users and on training users of folds that were left
out; docs/results/order.md has what it buys.
"""

import runpy
from pathlib import Path

from dlerse_jax.defaults import apply_option

SATIATION = runpy.run_path(str(Path(__file__).with_name("satiation.py")))


def get_config(option: str = ""):
    world = SATIATION["get_config"]()
    config = SATIATION["base_config"]()
    for section in ("data", "user", "episode"):
        config[section] = world[section]
    config.tune, config.num_seeds = world.tune, world.num_seeds
    config.agent.name = "dlerse_rank"
    network = config.network
    network.width, network.factor_regularisation = 32, 100.0
    config.pretrain.num_updates = 40
    rank = config.rank
    rank.candidates = world.data.synthetic.num_items
    rank.q_learning, rank.answer_rank = True, 8
    q_learning = config.q_learning
    q_learning.num_updates = 800
    q_learning.gamma = 0.9
    q_learning.act_batch = 32
    q_learning.epsilon_first, q_learning.epsilon_last = 0.3, 0.1
    config.evaluation.every = config.tracking.checkpoint_every = 200
    return apply_option(config, option)
