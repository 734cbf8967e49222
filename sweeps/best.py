"""Does the best agent beat the best policies without learning, over 5 splits?

25 points of 3 seeds, 5 of them trained; `:quick` has 5: the synthetic world, one split.
`sweeps/plus.py` has the same users for dlerse_plus.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm_best.py"
QUICK_BASE = "experiments/synthetic.py:quick"
ALONE = {"evaluation.baselines": ()}  # they have points of their own
AGENTS = ("dlerse_rank", "linear_plus", "linear", "mf_friends", "ease_friends")


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 3}
    grid = {"data.split": range(1 if option else 5), "agent.name": AGENTS}
    add_grid(add, grid, {**ALONE, **seeds})
