"""Which deep agent serves new users best, over 5 splits of the users and both alphas?

The question of `baselines.py` for agents that learn from rewards, one seed each: 80
points in 40 programs; `:quick` has 8 on the synthetic world, one split, alpha 0.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"
ALONE = {"evaluation.baselines": ()}  # they have points of their own

# The paper's own first: a sweep that is stopped has whole agents.
AGENTS = (
    "dlerse_con",
    "deers",
    "sadqn",
    "dlerse_add",
    "dqn",
    "sadqn_plus",
    "dlerse_myopic",
    "dlerse_plus",
)


def sweep(add, option=""):
    grid = {
        "agent.name": AGENTS,
        "data.split": range(1 if option else 5),
        "reward.alpha": (0.0,) if option else (0.0, 0.1),
    }
    add_grid(add, grid, {"num_seeds": 1, **ALONE})
