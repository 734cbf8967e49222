"""When does looking ahead pay? Users who tire of a topic, and users who never do.

8 points of 3 seeds, two programs; `:quick` has 8 points.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/satiation.py"
QUICK_BASE = "experiments/satiation.py:quick"


def sweep(add, option=""):
    gammas = (0.0, 0.3, 0.6, 0.9)
    add_grid(add, {"user.satiation": (3, 0), "q_learning.gamma": gammas})
