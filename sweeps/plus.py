"""How good is dlerse_plus, over 5 splits? To stand beside `sweeps/best.py`.

5 points of 3 seeds; `:quick` has 1: the synthetic world, one split.
"""

BASE = "experiments/lastfm_plus.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 3}
    for split in range(1 if option else 5):
        add(
            {
                "agent.name": "dlerse_plus",
                "data.split": split,
                "evaluation.baselines": (),
                **seeds,
            }
        )
