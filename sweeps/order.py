"""Does it pay to hold a sure item back? dlerse_rank with an order that it learns.

30 points of 3 seeds: splits 0 to 4, alpha 0, .1 and .2, gamma 0 and 1. `:quick` has 6:
the synthetic world, one split. Runs of one split and gamma share their pre-training.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm_order.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    asked = {
        "data.split": range(1 if option else 5),
        "reward.alpha": (0.0, 0.1, 0.2),
        "q_learning.gamma": (0.0, 1.0),
    }
    agent = {"agent.name": "dlerse_rank", "rank.q_learning": True}
    add_grid(add, asked, {**agent, "evaluation.baselines": ()})
