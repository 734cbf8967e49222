"""When does looking ahead pay? Users who are never bored, and users who are.

8 points of 3 seeds, two programs; `:quick` has 8 points.
"""

BASE = "experiments/satiation.py"
QUICK_BASE = "experiments/satiation.py:quick"


def sweep(add, option=""):
    for satiation in (3, 0):
        for gamma in (0.0, 0.3, 0.6, 0.9):
            add({"user.satiation": satiation, "q_learning.gamma": gamma})
