"""Which encoder of the session serves new users best?

5 points of 8 seeds, a program each; `:quick` has 5 points on the synthetic world.
"""

BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    seeds = {} if option else {"num_seeds": 8}
    for encoder in ("gru", "dual_gru", "lstm", "cnn", "transformer"):
        add({"network.encoder": encoder, **seeds})
