"""Can order be planned by joint rollouts? How sure they are of it; LastFM.

    dlerse train --config=experiments/lastfm_best.py --config.num_seeds=1 \
        --config.rank.candidates=64 --workdir=runs/best
    python benchmarks/order_rollouts.py --run=runs/best --out=runs/order

A planner that simulates: a user likes what is shown with the chance that the agent
gives it, and after each answer all chances change as they do when it serves, jointly.
Training users are played with the tables made without their fold, the surest item
first, up to a step drawn by chance. From there each item that may be shown in place of
the surest is followed to the end of the episode, surest first again, in --rollouts
episodes with the same draws. What it gains over the surest is its advantage, known up
to a standard error. The mean over states of what the best choice gains is what one step
of policy improvement adds to the mean reward a step, but that deviations change states.

The best of noisy means flatters itself. So one half of the rollouts chooses and the
other says what the choice is worth (a low estimate), beside the best of all rollouts
(a high one). One JSON line per alpha, with 95 % intervals over users. States that are
in --out are not played again.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from order_ceiling import (
    ALPHAS,
    NEVER,
    RULES,
    advanced,
    begun,
    chances_of,
    choose,
    groups_of,
    make_players,
)

from dlerse_jax.agents.two_stage.session import observe_answer
from dlerse_jax.environment.reward import streaks_after
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.evaluation.bootstrap import bootstrap_interval

SUREST = RULES[0]
# As `order_ceiling.RULES`: the 2nd, 4th and 10th, and the surest below so much.
CHOICES = [SUREST]
CHOICES += [(NEVER, NEVER, NEVER, rank, 1.0) for rank in (1, 3, 9)]
CHOICES += [(NEVER, NEVER, NEVER, 0, cap) for cap in (0.7, 0.6, 0.5, 0.4, 0.3)]
RULE = CHOICES.index((NEVER, NEVER, NEVER, 0, 0.6))  # until two dislikes or two likes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--states", type=int, default=4, help="of each fold")
    parser.add_argument("--rollouts", type=int, default=512)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    name = f"{chosen.run.name}-rollouts-{chosen.states}-{chosen.rollouts}.npz"
    file = chosen.out / name
    if not file.exists():
        np.savez(file, **followed(chosen.run, chosen.states, chosen.rollouts))
    rows = dict(np.load(file))
    for alpha in filter(None, ALPHAS):  # without alpha no order pays
        print(json.dumps(report(rows, alpha)), flush=True)


def followed(run: Path, states: int, rollouts: int) -> dict:
    """Of each state: users, steps, streaks, items [C], and later rewards [C, 2, 2] of
    both halves of the rollouts, base rewards and streaks apart."""
    restored, dataset, config = make_players(run, to_serve=False)
    world = make_simulator(dataset, alpha=0.0, horizon=config.episode.horizon)
    agent, state = restored.agent, restored.state_of(0)
    follow = jax.jit(functools.partial(states_of_fold, agent, world, rollouts))
    rng, found = np.random.default_rng(0), []
    for fold, masked, without in groups_of(state, dataset, "training"):
        users = rng.choice(np.unique(fold), states, replace=False)
        steps = rng.integers(0, world.horizon, states)
        key = jax.random.key(int(without))
        own = state.replace(without=without)
        rows = follow(own, masked, jnp.array(users), jnp.array(steps), key)
        found.append(jax.device_get(rows))  # waits: progress is told when it is made
        print(
            f"fold {int(without)} of {len(state.shared.folds)}",
            file=sys.stderr,
            flush=True,
        )
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def states_of_fold(agent, world, rollouts: int, state, masked, users, steps, key):
    """`followed` for users [n] of one fold, each from their step [n] on."""
    context = agent.context(state, masked)

    def one(row):
        user, step, key = row
        surest = jnp.array(SUREST)
        advance = functools.partial(advanced, agent, state, context, world, surest)
        start = begun(agent, state, context, world, user)
        place, session = jax.lax.fori_loop(
            0, step, lambda _, carry: advance(*carry)[0], start
        )
        chances, items = chances_of(agent, state, context, session)
        draws = jax.random.uniform(key, (rollouts, world.horizon))

        def of_choice(rule):
            which = choose(rule, place, chances)
            first = session, chances[which], items[which]
            streaks = place.like_streak, place.dislike_streak
            follow = functools.partial(
                rollout, agent, state, context, step, first, streaks
            )
            rewards = jax.vmap(follow)(draws)  # adds R
            halves = [part.reshape(2, -1).mean(axis=1) for part in rewards]
            return items[which], jnp.stack(halves, axis=1)

        shown, later = jax.lax.map(of_choice, jnp.array(CHOICES, jnp.float32))
        streaks = {"likes": place.like_streak, "dislikes": place.dislike_streak}
        return {"user": user, "step": step, "items": shown, "later": later, **streaks}

    return jax.lax.map(one, (users, steps, jax.random.split(key, len(users))))


def rollout(agent, state, context, step, first, streaks, draw):
    """Later base rewards, and likes less dislikes in a row before each step: [] each.

    first: session, chance and item of what is shown now. draw [T]: an answer is a like
    where its draw is below the chance. Base rewards are those expected at each step.
    """

    def advance(now, carry):
        (session, chance, item), streaks, (base, streak) = carry
        liked = (draw[now] < chance).astype(jnp.float32)
        later = base + 2 * chance - 1, streak + streaks[0] - streaks[1]
        session = observe_answer(state.shared, context, session, item, liked)
        chances, items = chances_of(agent, state, context, session)
        best = jnp.argmax(chances)
        following = session, chances[best], items[best]
        return following, streaks_after(*streaks, liked), later

    nothing = jnp.float32(0), jnp.float32(0)
    carry = first, streaks, nothing
    return jax.lax.fori_loop(step, len(draw), advance, carry)[2]


def report(rows: dict, alpha: float) -> dict:
    """Gains in mean reward a step at one alpha over the surest first."""
    base, streak = np.moveaxis(rows["later"], -1, 0)  # [states, C, halves] each
    later = base + alpha * streak
    advantage = later - later[:, :1]
    states = np.arange(len(advantage))
    halves = [
        advantage[states, advantage[:, :, half].argmax(axis=1), 1 - half]
        for half in (0, 1)
    ]
    every = advantage.mean(axis=2)
    likes, dislikes = rows["likes"], rows["dislikes"]
    in_rule = np.where((likes < 2) & (dislikes < 2), every[:, RULE], 0)
    gains = {
        "one half chooses": np.mean(halves, axis=0),
        "best of all": every.max(axis=1),
        "below .6 until two in a row": in_rule,
    }
    line = {"alpha": alpha, "states": len(states), "users": len(set(rows["user"]))}
    for name, gain in gains.items():
        found = bootstrap_interval(gain[None])
        line[name] = f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    held = every.argmax(axis=1)
    line["chosen"] = np.bincount(held, minlength=len(CHOICES)).tolist()
    line["standard error of an advantage"] = round(
        float(np.std(advantage[:, 1:, 0] - advantage[:, 1:, 1]) / 2), 3
    )
    return line


if __name__ == "__main__":
    main()
