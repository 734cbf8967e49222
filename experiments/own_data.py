"""dlerse_rank on data of your own: its first stage has settings that your data choose.

Nothing but the length of training was chosen on another data set. The table layout is
that of docs/own_data.md; `--config.data.path=` names the folder.
"""

from dlerse_jax.defaults import apply_option, base_config


def get_config(option: str = ""):
    config = base_config()
    config.data.name = "mine"
    config.data.format = "table"
    config.agent.name = "dlerse_rank"
    config.pretrain.num_updates = 40
    config.q_learning.num_updates = 0
    config.evaluation.every = 10
    config.tracking.every = config.tracking.checkpoint_every = 10
    return apply_option(config, option)
