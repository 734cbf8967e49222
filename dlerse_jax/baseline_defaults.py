"""Settings of the policies without learning: `config.baseline`, a section per policy.

They were chosen on LastFM's validation users, those of linear_plus together with
dlerse_plus, which starts as it. `searches/baseline.py` chooses them for a data set.
"""

# Without learning, in the final table of every run. The bar is the best of them.
BASELINES: tuple[str, ...] = ("random", "popularity", "friends")
BASELINES += ("mf_friends", "ease_friends", "linear", "linear_plus")

NO_SIDE_INFORMATION = {
    "rank_weight": 0.0,  # how much more a user's most played items count; 0: alike
    "tag_weight": 0.0,  # of a tag against a user, in the factors; 0: no tags
    "min_tag_uses": 5,  # tags on fewer items are left out
}
ACTIVITY = {"activity_power": 0.0}  # a friend's like counts (likes)^-power; 0: alike
FACTORS = {
    "rank": 64,  # of the item factors
    "regularisation": 6.0,  # of the regression on the answers
    **NO_SIDE_INFORMATION,
}
BANDIT = {
    "rank": 32,  # of the item factors
    "regularisation": 1.0,  # of the regression on the answers
    "exploration": 0.1,  # standard deviations added (linucb) or drawn (lints)
    **NO_SIDE_INFORMATION,
}
EASE = {
    "rank": 64,  # of the item factors
    "regularisation": 300.0,  # lambda of EASE
    "answer_weight": 3.0,  # of the answers, against 1 for the prior
    "dislike_weight": 0.1,  # of a dislike, against 1 for a like
    **NO_SIDE_INFORMATION,
}
LINEAR = {
    **EASE,
    "prior_weight": 4.0,  # popularity counts as so many friends
    "two_hop_weight": 0.3,  # of what people two hops away like,
    "far_hops": 2,  # or people up to so many hops away
    **ACTIVITY,
}
LINEAR_PLUS = {
    **LINEAR,
    "rank": 128,
    "rank_weight": 0.7,
    "tag_weight": 1.0,
    "ridge_rank": 128,  # factors of the regression on the answers; 0: none
    "ridge_power": 0.35,  # its factors are scaled by eigenvalue^power
    "ridge_regularisation": 6.0,  # pull towards what friends like
    "ridge_weight": 1.0,  # of its score, against 1 for the rest
}


def baseline_defaults() -> dict[str, dict]:
    """Policy -> keywords; random and popularity have none."""
    return {
        "friends": {"prior_weight": 0.1, "rank_weight": 0.0, **ACTIVITY},
        "mf_static": {"rank": 64, **NO_SIDE_INFORMATION},
        "mf_mean": {**FACTORS},
        "mf_friends": {**FACTORS, "prior_weight": 2.0},
        "linucb": {**BANDIT},
        "lints": {**BANDIT},
        "ease_popularity": {**EASE},
        "ease_friends": {**EASE, "prior_weight": 4.0, **ACTIVITY},
        "linear": {**LINEAR},
        "linear_plus": {**LINEAR_PLUS},
    }
