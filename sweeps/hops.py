"""How many hops of the social network should an agent read, under either fusion?

8 points of 8 seeds, one program each; `:quick` has 4 points on the synthetic world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    hops = (0, 2) if option else (0, 1, 2, 3)
    add_grid(add, {"network.hops": hops, "network.fusion": ("con", "add")}, seeds)
