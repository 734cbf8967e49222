"""Which deep agent serves new users best, on one split?

What `baselines.py` asks of every agent on five splits, asked of one: 8 points;
`:quick` has 8 on the synthetic world.
"""

from dlerse_jax.agents.registry import DEEP

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    for agent in DEEP:
        add({"agent.name": agent, "evaluation.baselines": ()})
