"""Do explanations name the friends that an item owes its place to?

    python benchmarks/faithfulness.py --config=experiments/lastfm.py \
        --config.pretrain.num_updates=100 > faithfulness.jsonl
    python benchmarks/faithfulness.py --draw faithfulness.jsonl docs/figures

Of test users with friends who have likes, the item that is recommended first is
explained. Friends are ordered by leave-one-out, by the shortlist (who likes the item),
by attention rolled out (where the agent has it), by how much they like (popularity) and
at random; then the first of an order are taken away, or kept alone. Margins
(`serving.leave_one_out`) are in standard deviations of a user's scores.

- comprehensiveness: what the margin loses without the first of the order; high is good.
- sufficiency: what it loses with them alone; low is good. Both are means over the first
  10, 20 and 50 per cent of the friends.
- deletion: the margin after 0, 10, ..., 100 per cent are gone; its mean is the area.

One JSON line per agent and order, intervals over users (bootstrap); the last line of an
agent has Spearman's correlations of the orders with leave-one-out.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

import dlerse_jax as dj
from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.evaluation.bootstrap import bootstrap_interval
from dlerse_jax.experiment.bench import machine
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.reporting.explanation_figure import deletion_figure
from dlerse_jax.serving.explain import (
    as_newcomer,
    attention_weights,
    shortlist_weights,
)
from dlerse_jax.serving.leave_one_out import margins_of, without_friend
from dlerse_jax.serving.people import Person
from dlerse_jax.serving.recommender import Recommender

AGENTS = ("dlerse_con", "linear_plus")
NUM_PEOPLE = 50
FEWEST_FRIENDS, MOST_FRIENDS = 4, 64
FIRST = (0.1, 0.2, 0.5)  # shares of the friends
DELETED = np.linspace(0, 1, 11)


def main() -> None:
    if sys.argv[1:2] == ["--draw"]:
        _draw(*map(Path, sys.argv[2:4]))
        return
    config = config_of(parse_command(["bench", *sys.argv[1:]])[0])
    dataset = build_dataset(config)
    for name in AGENTS:
        recommender = _recommender(name, config, dataset)
        found = [
            _of_person(recommender, user) for user in _people(recommender, dataset)
        ]
        _tell(name, config.pretrain.num_updates, found)


def _draw(lines: Path, folder: Path) -> None:
    """The figure of lines that were printed before, a file for each agent."""
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    for panel in deletion_figure(read).panels:
        (folder / f"{panel.name}.svg").write_bytes(panel.svg)


def _recommender(name: str, config, dataset) -> Recommender:
    trained = dj.train(
        dj.make_agent(name, dataset),
        dj.make_simulator(dataset, alpha=0.0, horizon=config.episode.horizon),
        seeds=jnp.arange(1),
        pretrain_updates=config.pretrain.num_updates,
        q_learning_updates=0,
    )
    return trained.recommender()


def _people(recommender: Recommender, dataset) -> list[Person]:
    """Test users whose explanation has friends to order, by chance."""
    numbers = np.random.default_rng(0).permutation(dataset.split.test)
    people = [
        as_newcomer(recommender.person(user=dataset.user_ids[user].item()), recommender)
        for user in numbers
    ]
    likes = recommender.dataset.num_likes
    sizes = [int(np.sum(likes[list(person.friends)] > 0)) for person in people]
    few = [
        person
        for person, size in zip(people, sizes, strict=True)
        if size >= FEWEST_FRIENDS and len(person.friends) <= MOST_FRIENDS
    ]
    return few[:NUM_PEOPLE]


def _of_person(recommender: Recommender, person: Person) -> dict:
    """Numbers of one user: order -> its measures."""
    allowed = np.ones(recommender.dataset.num_items, bool)
    base = margins_of(recommender, [person], 0, allowed)
    item = int(base.first[0])
    alone = [without_friend(person, friend) for friend in person.friends]
    left_out = margins_of(recommender, [person, *alone], item, allowed)
    whole = left_out.margins[0]
    truth = whole - left_out.margins[1:]
    attention = attention_weights(recommender, person)
    values = {
        "leave_one_out": truth,
        "shortlist": shortlist_weights(recommender, person, item),
        **({} if attention is None else {"attention": attention}),
        "popularity": recommender.dataset.num_likes[list(person.friends)],
        "random": np.random.default_rng(person.itself).random(len(truth)),
    }
    variants = [
        _with(person, friends)
        for order in values
        for friends in _kept(np.array(person.friends), values[order])
    ]
    margins = margins_of(recommender, variants, item, allowed).margins
    scale = _spread(recommender, person)
    curves = (margins / scale).reshape(len(values), -1)
    return {
        order: _measures(curve, whole / scale)
        | {"spearman": _correlation(values[order], truth)}
        for order, curve in zip(values, curves, strict=True)
    }


def _with(person: Person, friends: np.ndarray) -> Person:
    return dataclasses.replace(person, friends=tuple(friends.tolist()))


def _kept(friends: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Friends that are left: without the first, with the first alone, by deletion."""
    ranked = friends[np.argsort(-values, kind="stable")]
    firsts = [max(1, round(share * len(ranked))) for share in FIRST]
    deleted = [round(share * len(ranked)) for share in DELETED]
    return [
        *(ranked[first:] for first in firsts),
        *(ranked[:first] for first in firsts),
        *(ranked[count:] for count in deleted),
    ]


def _measures(curve: np.ndarray, whole: float) -> dict:
    without, alone, deletion = np.split(curve, [len(FIRST), 2 * len(FIRST)])
    return {
        "comprehensiveness": whole - without.mean(),
        "sufficiency": whole - alone.mean(),
        "deletion_area": deletion.mean(),
        "deletion": deletion,
    }


def _spread(recommender: Recommender, person: Person) -> float:
    """Standard deviation of the person's scores."""
    best = recommender.top(
        [person],
        np.ones((1, recommender.dataset.num_items), bool),
        recommender.dataset.num_items,
    )
    return float(np.std([item.score for item in best[0]])) or 1.0


def _correlation(shortlist: np.ndarray, truth: np.ndarray) -> float:
    if np.ptp(shortlist) == 0 or np.ptp(truth) == 0:
        return float("nan")
    return float(spearmanr(shortlist, truth).statistic)


def _tell(name: str, updates: int, found: list[dict]) -> None:
    about = {"agent": name, "users": len(found), "updates": updates}
    for order in found[0]:
        rows = [person[order] for person in found]
        line = {"order": order}
        for measure in ("comprehensiveness", "sufficiency", "deletion_area"):
            line[measure] = _interval([row[measure] for row in rows])
        curves = np.stack([row["deletion"] for row in rows], axis=1)
        line["deletion"] = [_interval(values) for values in curves]
        _print(about | line)
    correlations = {
        order: _interval([person[order]["spearman"] for person in found])
        for order in found[0]
        if order != "leave_one_out"
    }
    _print(about | {"spearman": correlations})


def _interval(values) -> list[float]:
    """Mean, low, high."""
    found = bootstrap_interval(np.asarray(values, float)[None])
    return [round(float(x), 4) for x in (found.mean, found.low, found.high)]


def _print(line: dict) -> None:
    sys.stdout.write(json.dumps(line | machine()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
