"""How far do agents without a network get, over 5 splits of the users?

What a learned agent has to beat. 60 points; `:quick` has 12: the synthetic world, one
split.
"""

from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"
ALONE = {"evaluation.baselines": ()}  # they have points of their own


def sweep(add, option=""):
    splits = range(1 if option else 5)
    grid = {"data.split": splits, "agent.name": tuple(CLASSICAL)}
    add_grid(add, grid, {"num_seeds": 1, **ALONE})
