"""What does alpha, the weight of runs of likes and dislikes in the reward, change?

4 points of 8 seeds, one program; `:quick` has 4 points on the synthetic world.
"""

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    for alpha in (0.0, 0.05, 0.1, 0.2):
        add({"reward.alpha": alpha, **seeds})
