"""Does it help to learn quantiles of the return in place of its mean? Bored users.

QR-DQN against the double-Q loss as it is. 6 points of 3 seeds in 2 programs; `:quick`
has 6 points.
"""

BASE = "experiments/satiation.py"
QUICK_BASE = "experiments/satiation.py:quick"


def sweep(add, option=""):
    for quantiles in (16, 0):
        for gamma in (0.0, 0.6, 0.9):
            add({"network.quantiles": quantiles, "q_learning.gamma": gamma})
