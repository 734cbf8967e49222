"""How far do policies trained offline on logged likes get, over 5 splits of the users?

The paper's related work, put into the loop. 50 points, a program each; `:quick` has 10:
the synthetic world, one split.
"""

from dlerse_jax.agents.registry import OFFLINE

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    for split in range(1 if option else 5):
        for agent in OFFLINE:
            add(
                {
                    "agent.name": agent,
                    "data.split": split,
                    "num_seeds": 1,
                    "evaluation.baselines": (),  # they have points of their own
                }
            )
