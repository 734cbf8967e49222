"""Does looking ahead pay in longer or shorter episodes? T = 8, 32, 64 and 128.

12 points of 3 seeds in 4 programs; `:quick` has 6 points on the synthetic world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    horizons = (8, 32) if option else (8, 32, 64, 128)
    gammas = (0.0, 0.3, 0.9)
    add_grid(add, {"episode.horizon": horizons, "q_learning.gamma": gammas})
