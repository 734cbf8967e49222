"""How good is dlerse_plus, over 5 splits? To compare with `sweeps/best.py`.

5 points of 3 seeds; `:quick` has 1: the synthetic world, one split.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm_plus.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    always = {"agent.name": "dlerse_plus", "evaluation.baselines": ()}
    seeds = {} if option else {"num_seeds": 3}
    add_grid(add, {"data.split": range(1 if option else 5)}, {**always, **seeds})
