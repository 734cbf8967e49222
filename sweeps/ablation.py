"""What is each part of DLERSE worth? One thing at a time is changed.

DLERSE-con after its supervised phase alone, then what Q-learning makes of it (selected
among checkpoints of Q-learning), then dlerse_plus and dlerse_rank, and parts of both.
47 points of 8 seeds; `:quick` has 47 points on the synthetic world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"

PRETRAIN_ONLY = {"q_learning.num_updates": 0}
CHANGES = {
    "network.hops": (0, 1, 3),
    "network.fusion": ("add", "gate", "none", "social_only"),
    "network.encoder": ("dual_gru", "lstm", "cnn", "transformer"),
    "network.session_gain": (0.0,),  # no session embedding
    "network.factors": ("svd", "random"),
    "network.train_tables": (True,),
    "network.dropout": (0.0,),
    "network.width": (32, 64, 256),
    "q_learning.mask_most": (0.1, 1.0),  # users masked as cold: 10 % at most, up to all
    "pretrain.loss": ("cross_entropy",),
    "pretrain.num_updates": (40, 400),
}
Q_LEARNING = (
    {},  # gamma .3, alpha 0
    {"q_learning.gamma": 0.0},
    {"q_learning.gamma": 0.6},
    {"q_learning.gamma": 0.9},
    {"reward.alpha": 0.1},
)
PLUS = {"agent.name": "dlerse_plus", **PRETRAIN_ONLY}
PLUS_CHANGES = {
    "plus.ridge_rank": (0,),  # no regression on the answers
    "plus.tag_weight": (0.0,),
    "plus.rank_weight": (0.0,),  # every like counts the same
    "plus.two_hop_weight": (0.0,),  # the copy head sees friends alone
}
RANK = {"agent.name": "dlerse_rank", **PRETRAIN_ONLY}
RANK_CHANGES = {
    "plus.tag_weight": (0.0,),
    "plus.rank_weight": (0.0,),
    "plus.two_hop_weight": (0.0,),
    "rank.folds": (2, 4, 16),
    "rank.candidates": (16, 64, 128),
    "rank.width": (16,),
    "rank.epsilon": (0.0,),
}


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    rank = RANK if option else {**RANK, "pretrain.num_updates": 40}
    parts = (PRETRAIN_ONLY, CHANGES), (PLUS, PLUS_CHANGES), (rank, RANK_CHANGES)
    for base, changes in parts:
        add({**base, **seeds})
        for key, values in changes.items():
            add_grid(add, {key: values}, {**base, **seeds})
    for change in Q_LEARNING:
        length = {"q_learning.num_updates": 20 if option else 60}
        add({**length, **change, **seeds})
