"""How far do agents without a network get, over 5 splits of the users?

What a learned agent has to beat. 55 points; `:quick` has 11: the synthetic world, one
split.
"""

from dlerse_jax.agents.registry import CLASSICAL

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    for split in range(1 if option else 5):
        for agent in CLASSICAL:
            add(
                {
                    "agent.name": agent,
                    "data.split": split,
                    "num_seeds": 1,
                    "evaluation.baselines": (),  # they have points of their own
                }
            )
