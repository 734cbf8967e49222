"""How far do policies trained offline on logged likes get, over 5 splits of the users?

The paper's related work, put into the loop. 50 points, a program each; `:quick` has 10:
the synthetic world, one split.
"""

from dlerse_jax.agents.registry import OFFLINE
from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"
ALONE = {"evaluation.baselines": ()}  # they have points of their own


def sweep(add, option=""):
    splits = range(1 if option else 5)
    grid = {"data.split": splits, "agent.name": tuple(OFFLINE)}
    add_grid(add, grid, {"num_seeds": 1, **ALONE})
