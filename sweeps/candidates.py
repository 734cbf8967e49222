"""What is left of the agents' order when a user is offered a list of likes and others?

Agents without learning under `cold_candidates`, r = 1, 3 and 9, 2 splits: 42 points.
Those that learn are judged so with `dlerse evaluate` from runs under `cold`. `:quick`
has 7.
"""

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"

AGENTS = (
    "random",
    "popularity",
    "friends",
    "linucb",
    "mf_static",
    "mf_friends",
    "ease_friends",
)


def sweep(add, option=""):
    for split in range(1 if option else 2):
        for others in (3,) if option else (1, 3, 9):
            for agent in AGENTS:
                add(
                    {
                        "agent.name": agent,
                        "data.split": split,
                        "evaluation.protocol": "cold_candidates",
                        "evaluation.others_per_like": others,
                        "num_seeds": 1,
                        "evaluation.baselines": (),  # they have points of their own
                    }
                )
