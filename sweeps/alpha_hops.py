"""What do alpha and the number of hops do, together and under either fusion?

32 points of 8 seeds in 8 programs; `:quick` has 8 points in 4 programs on the
synthetic world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    grid = {
        "network.hops": (0, 2) if option else (0, 1, 2, 3),
        "network.fusion": ("con", "add"),
        "reward.alpha": (0.0, 0.1) if option else (0.0, 0.05, 0.1, 0.2),
    }
    add_grid(add, grid, seeds)
