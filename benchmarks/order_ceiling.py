"""What is the order of recommendations worth? Rules, plans and bounds; LastFM.

    python benchmarks/order_ceiling.py --run=RUN --out=runs/order --training

RUN is a run directory of dlerse_rank, from whose chances of a like everything follows;
its data are read where `load_dataset` finds them. Three numbers for each alpha, as the
gain in mean reward a step over the surest item first:

- rules: what a rule that holds the surest item back gains on real users, whose answers
  change the chances of what is left. Chosen on validation users, or with --training on
  training users, eight times as many, each with the tables made without their fold;
  with --test that one rule is played on test users, once.
- plan: the exact optimum among orders that show the surest or the least sure of what is
  left, if the chances at which items were shown were known from the start and answers
  independent: order would cost no information.
- truth: the best order of the answers that were found.
"""

import argparse
import functools
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dlerse_jax.agents.two_stage.agent import rerank
from dlerse_jax.environment.reward import episode_rewards
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.bootstrap import paired_difference
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.experiment.restore import restore_trained, stored_config

ALPHAS = (0.0, 0.1, 0.2)
NEVER = 99
# Before which step, dislikes and likes in a row the surest is held back, which rank is
# shown in its place, and how sure that may be at most.
RULES = [(0, NEVER, NEVER, 0, 1.0)]
RULES += itertools.product((NEVER,), (1, 2, 3), (2,), (1, 3, 9, 31), (1.0,))
CAPS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
RULES += itertools.product((NEVER,), (1, 2, 3), (2,), (0,), CAPS)
RULES += itertools.product((-12,), (2, 3), (2,), (3, 9), (1.0,))  # from step 12 on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--test", action="store_true")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    first = "training" if chosen.training else "validation"
    parts = (first, "test") if chosen.test else (first,)
    rules, players = RULES, None
    for part in parts:
        file = chosen.out / f"{chosen.run.name}-{part}.npz"
        if not file.exists():
            players = players or make_players(chosen.run, to_serve=first != "training")
            np.savez(file, **played(*players, part, rules))
        rows = dict(np.load(file))
        best = report(part, rows)
        rules = rows["rules"][[0, *best]]


def make_players(run: Path, *, to_serve: bool):
    config = stored_config(run)
    return restore_trained(run, to_serve=to_serve), build_dataset(config), config


def played(restored, dataset, config, part: str, rules) -> dict:
    """Answers [R, B, T] under each rule, and the chances of what was shown."""
    world = make_simulator(dataset, alpha=0.0, horizon=config.episode.horizon)
    agent, state = restored.agent, restored.state_of(0)

    @jax.jit
    def play(state, rule, users, masked, without):
        context = agent.context(state.replace(without=without), masked)
        one = functools.partial(episode, agent, state, context, world, rule)
        return jax.vmap(one)(users)  # adds B

    groups = groups_of(state, dataset, part)
    found = []
    for rule in jnp.array(rules, jnp.float32):
        of_groups = [play(state, rule, *group) for group in groups]
        found.append([np.concatenate(each) for each in zip(*of_groups, strict=True)])
    users = np.concatenate([group[0] for group in groups])
    first = np.unique(users, return_index=True)[1]  # a fold is padded with its users
    liked, chance = (np.stack(each)[:, first] for each in zip(*found, strict=True))
    rest = {"rules": np.array(rules), "users": users[first]}
    return {"liked": liked, "chance": chance, **rest}


def groups_of(state, dataset, part: str) -> list[tuple]:
    """Users who are played together, who is masked meanwhile, and with which tables."""
    nobody = jnp.zeros(dataset.num_users, bool)
    if part != "training":
        return [(jnp.asarray(getattr(dataset.split, part)), nobody, jnp.int32(0))]
    folds = enumerate(state.shared.folds, start=1)
    return [(fold, nobody.at[fold].set(True), jnp.int32(n)) for n, fold in folds]


def episode(agent, state, context, world, rule, user):
    """One user's episode under a rule: answers [T] and the chances of them [T]."""

    def step(carry, _):
        return advanced(agent, state, context, world, rule, *carry)

    start = begun(agent, state, context, world, user)
    return jax.lax.scan(step, start, length=world.horizon)[1]


def begun(agent, state, context, world, user):
    """The episode and the session before the first answer."""
    place, _ = world.reset(jax.random.key(0), user)
    return place, agent.begin(state, context, user, jax.random.key(0))


def advanced(agent, state, context, world, rule, place, session):
    """Both after one more answer, and that answer and its chance."""
    chances, items = chances_of(agent, state, context, session)
    choice = choose(rule, place, chances)
    place, seen, _, _ = world.step(jax.random.key(0), place, items[choice])
    session = agent.observe(state, context, session, seen)
    return (place, session), (seen.liked, chances[choice])


def chances_of(agent, state, context, session):
    """Chances of a like of the candidates [A], -1 where none is, and the items [A]."""
    first, items, _ = rerank(state, context, session, session.items)
    logits = agent.scores(state, context, session, items)
    return jnp.where(items < len(first), jax.nn.sigmoid(logits), -1.0), items


def choose(rule, place, chances):
    """Which of the candidates [A] a rule shows: []."""
    when, dislikes, likes, rank, cap = rule
    order = jnp.argsort(-chances)
    in_time = jnp.where(when < 0, place.step >= -when, place.step < when)
    holds = in_time & (place.dislike_streak < dislikes) & (place.like_streak < likes)
    below = jnp.argmax(jnp.where(chances <= cap, chances, -jnp.inf))
    held = jnp.where(cap < 1, below, order[rank.astype(jnp.int32)])
    return jnp.where(holds, held, order[0])


def report(part: str, rows: dict) -> list[int]:
    """Prints a line for each alpha -> the number of the best rule for each."""
    best = []
    for alpha in ALPHAS:
        reward = episode_rewards(
            rows["liked"].astype(np.float32), alpha=alpha, miss_reward=-1.0
        ).mean(axis=-1)
        order = np.argsort(-reward.mean(axis=1), kind="stable")
        number = int(next(n for n in order if n)) if len(order) > 1 else 0
        if part == "test":  # the rule that validation users chose for this alpha
            number = 1 + len(best)
        best.append(number)
        line = {"part": part, "alpha": alpha, "myopic": round(reward[0].mean(), 4)}
        line["precision"] = round(float(rows["liked"][0].mean()), 4)
        line["rule"] = rows["rules"][number].tolist()
        line["rules"] = words(reward[number], reward[0], rows["users"])
        line["precision of rule"] = round(float(rows["liked"][number].mean()), 4)
        chances = np.sort(rows["chance"][0], axis=1)[:, ::-1]
        plans = [planned(row, alpha) for row in chances]
        line["plan"] = words(*map(np.array, zip(*plans, strict=True)), rows["users"])
        truth = np.array([sorted_best(row, alpha) for row in rows["liked"][0]])
        line["truth"] = words(truth, reward[0], rows["users"])
        print(json.dumps(line), flush=True)
    return best


def words(one, other, users) -> str:
    gap = paired_difference([one[None]], [other[None]], users=[users])
    return f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"


def planned(chances: np.ndarray, alpha: float) -> tuple[float, float]:
    """Mean reward a step of independent answers: of the best plan, and surest first.

    chances [T], falling. A plan shows the surest or the least sure of what is left,
    whichever is better after the answers up to then: dynamic programming over how many
    of each were shown, and the streak, likes counted up and dislikes down.
    """
    horizon = len(chances)
    streaks = np.arange(-horizon, horizon + 1)
    liked, disliked = np.where(streaks > 0, streaks, 0) + 1, np.minimum(streaks, 0) - 1
    liked, disliked = (np.clip(x + horizon, 0, 2 * horizon) for x in (liked, disliked))
    best = np.zeros((horizon + 1, len(streaks)))  # by how many of the surest are gone
    first = np.zeros((horizon + 1, len(streaks)))

    def shown(chance, later):
        now = 2 * chance - 1 + alpha * streaks
        return now + chance * later[liked] + (1 - chance) * later[disliked]

    for step in reversed(range(horizon)):
        new = np.zeros_like(best)
        for gone in range(step + 1):
            surest = shown(chances[gone], best[gone + 1])
            other = shown(chances[horizon - 1 - (step - gone)], best[gone])
            new[gone] = np.maximum(surest, other)
        best = new
        first[step] = shown(chances[step], first[step + 1])
    return best[0, horizon] / horizon, first[0, horizon] / horizon


@functools.cache
def best_order(likes: int, dislikes: int, streak: int, alpha: float) -> float:
    """Most reward of so many likes and dislikes in any order, after a streak."""
    if not likes + dislikes:
        return 0.0
    found = []
    if likes:
        found.append(1 + best_order(likes - 1, dislikes, max(streak, 0) + 1, alpha))
    if dislikes:
        found.append(best_order(likes, dislikes - 1, min(streak, 0) - 1, alpha) - 1)
    return alpha * streak + max(found)


def sorted_best(liked: np.ndarray, alpha: float) -> float:
    likes = int(liked.sum())
    return best_order(likes, len(liked) - likes, 0, alpha) / len(liked)


if __name__ == "__main__":
    main()
