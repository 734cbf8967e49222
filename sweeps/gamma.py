"""Does looking ahead pay? gamma = 0 is a reward model that acts greedily.

4 points of 8 seeds, one program; `:quick` has 4 points on the synthetic world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    add_grid(add, {"q_learning.gamma": (0.0, 0.3, 0.6, 0.9)}, seeds)
