"""What do friends, alpha, looking ahead and learning buy? The runs behind docs/results.

30 points: splits 0 to 4 of the policies without learning (one run per split, the others
are its baselines), of DLERSE-con at alpha 0 and 0.1 and gamma 0 and 0.3, and of DQN
without friends. `:quick` has 6: the synthetic world, one split. FilmTrust:
`--config=experiments/filmtrust.py`.
"""

from dlerse_jax.experiment.grid import add_grid

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"
WITHOUT_LEARNING = (
    "random",
    "popularity",
    "friends",
    "mf_friends",
    "ease_friends",
    "linear",
    "linear_plus",
    "linucb",
)


def sweep(add, option=""):
    splits = range(1 if option else 5)
    bars = {
        "agent.name": "ease_popularity",
        "evaluation.baselines": WITHOUT_LEARNING,
        "num_seeds": 1,
    }
    add_grid(add, {"data.split": splits}, bars)
    alone = {"evaluation.baselines": (), **({} if option else {"num_seeds": 1})}
    looking = {
        "data.split": splits,
        "reward.alpha": (0.0, 0.1),
        "q_learning.gamma": (0.0, 0.3),
    }
    add_grid(add, looking, {"agent.name": "dlerse_con", **alone})
    add_grid(add, {"data.split": splits}, {"agent.name": "dqn", **alone})
