"""Do the best agents beat the best policies without learning, over 5 splits?

25 points of 3 seeds, 10 of them trained; `:quick` has 5 points: the synthetic world, one
split. On FilmTrust say `--config=experiments/filmtrust.py`.
"""

BASE = "experiments/lastfm_best.py"
QUICK_BASE = "experiments/synthetic.py:quick"

TRAINED = {"dlerse_rank": 40, "dlerse_plus": 200}  # updates of `fit`


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 3}
    for split in range(1 if option else 5):
        for agent in (*TRAINED, "linear", "mf_friends", "ease_friends"):
            length = {"fit.num_updates": TRAINED[agent]} if agent in TRAINED else {}
            add(
                {
                    "agent.name": agent,
                    "data.split": split,
                    "evaluation.baselines": (),  # they have points of their own
                    **({} if option else length),
                    **seeds,
                }
            )
