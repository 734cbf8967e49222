"""What `alpha_hops.py` asks, at a size for two cores: fusion con, the paper's alphas.

8 points of 4 seeds in 4 programs; `:quick` has 4 points in 2 programs on the synthetic
world.
"""

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 4}
    for hops in (0, 2) if option else (0, 1, 2, 3):
        for alpha in (0.0, 0.1):
            add({"reward.alpha": alpha, "network.hops": hops, **seeds})
