"""Does the best agent beat the best policies without learning, over 5 splits?

20 points of 3 seeds, 5 of them trained; `:quick` has 4: the synthetic world, one split.
`sweeps/plus.py` has the same users for dlerse_plus.
"""

BASE = "experiments/lastfm_best.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 3}
    for split in range(1 if option else 5):
        for agent in ("dlerse_rank", "linear", "mf_friends", "ease_friends"):
            add(
                {
                    "agent.name": agent,
                    "data.split": split,
                    "evaluation.baselines": (),  # they have points of their own
                    **seeds,
                }
            )
