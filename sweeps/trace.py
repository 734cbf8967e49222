"""Do returns over many steps help planning, where planning pays? lambda and gamma.

8 points of 3 seeds, one program; `:quick` has 8 points.
"""

BASE = "experiments/satiation.py"
QUICK_BASE = "experiments/satiation.py:quick"


def sweep(add, option=""):
    for gamma in (0.6, 0.9):
        for trace in (0.0, 0.5, 0.9, 1.0):
            add({"q_learning.gamma": gamma, "q_learning.trace": trace})
