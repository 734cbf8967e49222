"""Which settings of a policy without learning are best on validation users?

A few dozen trials per policy and data set, minutes in all, as nothing is trained:

    dlerse search --search=searches/baseline.py --config=experiments/lastfm.py \\
        --config.agent.name=linear_plus --trials=40 --workdir=runs/tuned/linear_plus

The first trial has the config's own settings. Test users are left alone; `tuned.json`
and the last lines have the best settings as flags `--config.baseline...`.
"""

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py"
HAVE_TAGS = ("lastfm", "delicious")  # other data sets have no tags to weigh


def _log(low, high):
    return lambda trial, word: _short(trial.suggest_float(word, low, high, log=True))


def _even(low, high, step=None):
    return lambda trial, word: _short(trial.suggest_float(word, low, high, step=step))


def _short(number):
    return float(f"{number:.3g}")


def _whole(low, high):
    """In steps of the lowest: every rank is another program."""
    return lambda trial, word: trial.suggest_int(word, low, high, step=low)


COUNTS = {"rank_weight": _even(0.0, 1.4, step=0.35)}
TAGS = {"tag_weight": _even(0.0, 2.0, step=0.5)}
SIDE = COUNTS | TAGS
FACTORS = {"rank": _whole(32, 96), "regularisation": _log(0.5, 50.0), **SIDE}
BANDIT = {
    "rank": _whole(16, 64),
    "regularisation": _log(0.05, 20.0),
    "exploration": _even(0.0, 1.0),
    **SIDE,
}
EASE = {  # whose rank hardly matters
    "regularisation": _log(10.0, 3000.0),
    "answer_weight": _log(0.3, 10.0),
    "dislike_weight": _even(0.0, 0.6),
    **SIDE,
}
SMOOTHED = {"prior_weight": _log(0.1, 30.0)}
ACTIVITY = {"activity_power": _even(0.0, 1.0, step=0.25)}
FAR = {
    "two_hop_weight": _even(0.0, 1.5),
    "far_hops": lambda trial, word: trial.suggest_int(word, 2, 3),
}
LINEAR = EASE | SMOOTHED | FAR | ACTIVITY
RIDGE = {
    "ridge_rank": _whole(64, 128),
    "ridge_power": _even(0.0, 0.5),
    "ridge_regularisation": _log(0.5, 50.0),
    "ridge_weight": _even(0.0, 2.0),
}
SPACES = {
    "friends": SMOOTHED | COUNTS | ACTIVITY,
    "mf_static": {"rank": _whole(32, 128), **SIDE},
    "mf_mean": FACTORS,
    "mf_friends": FACTORS | SMOOTHED,
    "linucb": BANDIT,
    "lints": BANDIT,
    "ease_popularity": EASE,
    "ease_friends": EASE | SMOOTHED | ACTIVITY,
    "linear": LINEAR,
    "linear_plus": LINEAR | RIDGE,
}


def suggest(trial, config):
    """Flat config keys of one trial of Optuna, for the policy that config names."""
    name = config.agent.name
    if name not in SPACES:
        raise ValueError(
            f"searches/baseline.py has no numbers of {name!r} to propose; set "
            f"agent.name to one of {', '.join(SPACES)}"
        )
    has_tags = config.data.name in HAVE_TAGS or config.data.synthetic.most_topics > 0
    draws = dict(SPACES[name])
    if not has_tags:
        draws.pop("tag_weight", None)
    return {
        f"baseline.{name}.{word}": draw(trial, word) for word, draw in draws.items()
    }
