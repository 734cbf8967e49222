"""What do friends, hops, alpha, looking ahead and learning buy? The runs of results.

125 points, splits 0 to 4 of each: the policies without learning (one run per split, the
others are its baselines), DLERSE-con at alpha 0 and 0.1 and gamma 0 and 0.3, the other
agents that learn, DLERSE-con with 0, 1 and 3 hops, the agents trained on logged likes.
`:quick` has 25: the synthetic world, one split. FilmTrust:
`--config=experiments/filmtrust.py`.
"""

from dlerse_jax.agents.registry import CLASSICAL, OFFLINE, RANK
from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"
BAR = "ease_popularity"  # the run that the other policies are played beside
LEARNERS = ("dqn", "sadqn", "sadqn_plus", "deers", "dlerse_add", "dlerse_plus")


def sweep(add, option=""):
    splits = range(1 if option else 5)
    others = tuple(name for name in CLASSICAL if name != BAR)
    policies = {"agent.name": BAR, "evaluation.baselines": others, "num_seeds": 1}
    add_grid(add, {"data.split": splits}, policies)
    alone = {"evaluation.baselines": (), **({} if option else {"num_seeds": 1})}
    con = {"agent.name": "dlerse_con", **alone}
    looking = {
        "data.split": splits,
        "reward.alpha": (0.0, 0.1),
        "q_learning.gamma": (0.0, 0.3),
    }
    add_grid(add, looking, con)
    add_grid(add, {"agent.name": LEARNERS, "data.split": splits}, alone)
    # An update of dlerse_rank is 32 minibatches.
    rank = {"agent.name": RANK, "pretrain.num_updates": 2 if option else 40, **alone}
    add_grid(add, {"data.split": splits}, rank)
    add_grid(add, {"network.hops": (1, 0, 3), "data.split": splits}, con)
    add_grid(add, {"agent.name": tuple(OFFLINE), "data.split": splits}, alone)
