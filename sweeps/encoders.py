"""Which encoder of the session serves new users best?

5 points of 8 seeds, a program each; `:quick` has 5 points on the synthetic world.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    encoders = ("gru", "dual_gru", "lstm", "cnn", "transformer")
    add_grid(add, {"network.encoder": encoders}, seeds)
