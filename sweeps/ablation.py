"""What is each part of DLERSE-con worth? One thing at a time is changed.

20 points of 8 seeds; `:quick` has 20 points on the synthetic world.
"""

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"

CHANGES = {
    "network.hops": (0, 1, 3),
    "network.fusion": ("add", "gate", "none", "social_only"),
    "network.memory_gain": (0.0,),
    "network.dropout": (0.0,),
    "network.factors": ("svd", "random"),
    "fit.num_updates": (0,),  # no pre-training
    "learn.num_updates": (0,),  # pre-training alone
    "fit.loss": ("cross_entropy",),
    "learn.gamma": (0.0, 0.6, 0.9),
    "network.width": (32, 256),
}


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    add(seeds)
    for key, values in CHANGES.items():
        for value in values:
            add({key: value, **seeds})
