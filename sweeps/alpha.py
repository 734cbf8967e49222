"""What does alpha, the weight of streaks of likes and dislikes in the reward, change?

4 points of 8 seeds, one program; `:quick` has 4 points on the synthetic world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    add_grid(add, {"reward.alpha": (0.0, 0.05, 0.1, 0.2)}, seeds)
