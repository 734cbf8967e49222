"""How many users per second are scored: precision, recall and NDCG at 10?

    python benchmarks/metrics.py --users=2000 --items=17000

From scores that are there already, as RecBole's evaluator is timed. One JSON line per
repetition; CPU time is of all cores together, and says what two idle ones would take.
"""

import argparse
import json
import sys
import time

import numpy as np

from dlerse_jax.evaluation.metrics import ndcg_at, precision_at, recall_at, top_hits
from dlerse_jax.experiment.bench import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--items", type=int, default=17000)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    draws = np.random.default_rng(0)
    shape = options.users, options.items
    scores = draws.normal(size=shape).astype(np.float32)
    relevant = draws.random(shape, np.float32) < 0.003
    num_relevant = relevant.sum(axis=1)
    for repeat in range(options.repeats):
        started, busy = time.perf_counter(), time.process_time()
        hits = top_hits(scores, relevant, 10)
        precision_at(hits, 10)
        recall_at(hits, num_relevant, 10)
        ndcg_at(hits, num_relevant, 10)
        seconds = time.perf_counter() - started
        line = {
            "repeat": repeat,
            "milliseconds": round(1e3 * seconds, 1),
            "cpu_milliseconds": round(1e3 * (time.process_time() - busy), 1),
            "users_per_second": round(options.users / seconds),
        }
        sys.stdout.write(json.dumps(vars(options) | line | machine()) + "\n")


if __name__ == "__main__":
    main()
