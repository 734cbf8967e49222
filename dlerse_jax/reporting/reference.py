"""Numbers of others that are shown beside ours, each with where it is printed.

They are drawn and listed as theirs and never enter a mean, an interval or a rank.
"""

BARS_SOURCE = "reference, a plain NumPy script made beforehand"
PAPER_SOURCE = "printed in the paper"

# (data set, protocol) -> agent -> metric -> value. Plain NumPy, 20% of users held out.
REFERENCE_BARS = {
    ("lastfm", "cold"): {
        "random": {
            "precision_at_1": 0.01,
            "precision_at_5": 0.013,
            "precision_at_32": 0.013,
            "recall_at_32": 0.011,
            "reward_alpha_0": -0.974,
        },
        "popularity": {
            "precision_at_1": 0.32,
            "precision_at_5": 0.262,
            "precision_at_32": 0.179,
            "recall_at_32": 0.137,
            "reward_alpha_0": -0.643,
        },
        "linucb": {
            "precision_at_5": 0.307,
            "precision_at_32": 0.275,
            "recall_at_32": 0.212,
            "reward_alpha_0": -0.451,
        },
        "friends": {
            "precision_at_1": 0.53,
            "precision_at_5": 0.467,
            "precision_at_32": 0.281,
            "recall_at_32": 0.228,
            "reward_alpha_0": -0.438,
        },
        "mf_friends": {
            "precision_at_5": 0.493,
            "precision_at_32": 0.327,
            "recall_at_32": 0.261,
            "reward_alpha_0": -0.347,
        },
        "ease_friends": {
            "precision_at_1": 0.526,
            "precision_at_5": 0.50,
            "precision_at_32": 0.343,
            "recall_at_32": 0.281,
            "reward_alpha_0": -0.314,
        },
    }
}

# What the paper says of the data sets themselves.
PAPER_STATISTICS = {
    "lastfm": {
        "friend_pairs": 25_173,
        "items_per_user": 38.1,
        "friends_per_user": 13.4,
    },
    "delicious": {"items_per_user": 100.2},
}

# What the paper prints of its agents, without a row of its own: it does not say
# at which length of the list, nor with how many candidates.
PAPER_PRECISION = {"lastfm": 0.66}
