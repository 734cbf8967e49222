"""Who serves new users best, over 5 splits of the users?

Every agent there is; those that learn from rewards under alpha 0 and 0.1, as the
others do not see it. 195 points of 3 seeds; `:quick` has 31 points: the synthetic
world, one split, alpha 0.
"""

from dlerse_jax.agents.registry import AGENTS, DEEP, RANK
from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"
ALONE = {"evaluation.baselines": ()}  # they have points of their own
# As `experiments/lastfm_best.py`: an update of dlerse_rank is 32 minibatches.
OWN = {RANK: {"pretrain.num_updates": 40}}


def sweep(add, option=""):
    for split in range(1 if option else 5):
        for agent in AGENTS:
            alphas = (0.0, 0.1) if agent in DEEP and not option else (0.0,)
            own = {} if option else OWN.get(agent, {})
            always = {"agent.name": agent, "data.split": split, **ALONE, **own}
            add_grid(add, {"reward.alpha": alphas}, always)
