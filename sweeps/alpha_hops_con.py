"""`alpha_hops.py` at a size for two cores: fusion con, the paper's alphas.

8 points of 4 seeds in 4 programs; `:quick` has 4 points in 2 programs on the synthetic
world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 4}
    hops = (0, 2) if option else (0, 1, 2, 3)
    add_grid(add, {"network.hops": hops, "reward.alpha": (0.0, 0.1)}, seeds)
