"""Which learning settings are best on validation users?

Rates, decay and dropout of both phases, gamma, and the weight of a dislike in the
session embedding. Searched on validation users; the chosen trial is evaluated on test
users.
"""

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def suggest(trial):
    """Flat config keys of one trial of Optuna."""
    return {
        "pretrain.learning_rate": trial.suggest_float("fit_rate", 1e-4, 3e-3, log=True),
        "q_learning.learning_rate": trial.suggest_float("rate", 1e-5, 1e-3, log=True),
        "q_learning.gamma": trial.suggest_float("gamma", 0.0, 0.9),
        "network.dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "optimizer.weight_decay": trial.suggest_float("decay", 1e-3, 0.3, log=True),
        "network.dislike_weight": trial.suggest_float("dislike", 0.0, 0.5),
    }
