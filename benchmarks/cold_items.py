"""Are items without likes found by their tags? Recall among held-out items.

    python benchmarks/cold_items.py --config=experiments/lastfm.py

Five times a tenth of the items lose all their likes, and become cold items. Test users'
likes among them are to be found at the top of all cold items: without an answer, and
after ten answers (likes of theirs among the other items). `likes_known` is the same
agent with the likes of training users: what would be found if the items were not cold.
One JSON line per agent and number of answers, with an interval over users and draws.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

import dlerse_jax as dj
from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.data.features import make_cold
from dlerse_jax.data.feedback import training_mask
from dlerse_jax.evaluation.bootstrap import bootstrap_interval
from dlerse_jax.experiment.bench import machine
from dlerse_jax.experiment.build import build_agent, build_dataset
from dlerse_jax.linear_models.cold_items import with_cold_rows
from dlerse_jax.types import Agent, Dataset, Observation

DRAWS, SHARE = 5, 0.1
ANSWERS = (0, 10)
TOP = 10
AGENTS = ("mf_friends", "linear_plus")


def main() -> None:
    config = config_of(parse_command(["bench", *sys.argv[1:]])[0])
    dataset = build_dataset(config)
    order = np.random.default_rng(0).permutation(dataset.num_items)
    size = round(SHARE * dataset.num_items)
    draws = [order[size * i : size * (i + 1)] for i in range(DRAWS)]
    for answers in ANSWERS:
        for name in ("random", "most_tagged"):
            _tell(name, answers, [_of_rule(name, dataset, x, answers) for x in draws])
    for name in AGENTS:
        play = _player(config, name, dataset)
        known = [_recalls(play, dataset, dataset, x) for x in draws]
        cold = []
        for held_out in draws:
            without = make_cold(dataset, held_out)
            play = _player(config, name, without)
            cold.append(_recalls(play, without, dataset, held_out))
        for words, found in ((name, cold), (f"{name}, likes known", known)):
            for answers in ANSWERS:
                _tell(words, answers, [recalls[answers] for recalls in found])


def _tell(name: str, answers: int, recalls: list[np.ndarray]) -> None:
    """recalls: [B] of each draw; nan for who likes none of the held-out items."""
    found = bootstrap_interval(np.stack(recalls))
    line = {
        "agent": name,
        "answers": answers,
        f"recall_at_{TOP}": round(float(found.mean), 4),
        "interval": [round(float(found.low), 4), round(float(found.high), 4)],
        "users": int(np.isfinite(recalls).any(axis=0).sum()),
    }
    sys.stdout.write(json.dumps(line | machine()) + "\n")
    sys.stdout.flush()


def _of_rule(name: str, dataset: Dataset, held_out, answers: int) -> np.ndarray:
    """Recall [B] of a rule that ranks the items alike for everybody."""
    taggings = dataset.taggings
    visible = training_mask(dataset)[taggings.users]
    counts = np.bincount(taggings.items[visible], minlength=dataset.num_items)
    rng = np.random.default_rng(1)
    noise = rng.random((len(dataset.split.test), len(held_out)))
    scores = noise + (counts[held_out] if name == "most_tagged" else 0)
    return _recall(scores, dataset, held_out, answers)


def _recall(scores, dataset: Dataset, held_out, answers: int) -> np.ndarray:
    """scores [B, C] of held-out items -> recall among them [B]; nan where none is
    liked, or fewer others than there are answers."""
    likes = _likes(dataset, dataset.split.test)
    relevant, others = likes[:, held_out], np.delete(likes, held_out, axis=1)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    hits = np.take_along_axis(relevant, top, axis=1).sum(axis=1)
    counts = relevant.sum(axis=1)
    is_asked = (counts > 0) & (others.sum(axis=1) >= answers)
    return np.where(is_asked, hits / np.maximum(counts, 1), np.nan)


def _likes(dataset: Dataset, users: np.ndarray) -> np.ndarray:
    likes = np.zeros((dataset.num_users, dataset.num_items), bool)
    rows = np.repeat(np.arange(dataset.num_users), dataset.num_likes)
    likes[rows, dataset.liked_items] = True
    return likes[users]


def _recalls(play, known: Dataset, dataset: Dataset, held_out) -> dict:
    """Recall [B] of what `_player` gives, by the number of answers.

    known: what the agent was made of, in its own order of items.
    """
    place = np.argsort(known.item_ids)[np.argsort(np.argsort(dataset.item_ids))]
    found = {}
    for answers in ANSWERS:
        told = place[_draw_answers(dataset, held_out, answers)]
        scores = play(told)[:, place[held_out]]
        found[answers] = _recall(scores, dataset, held_out, answers)
    return found


def _trained(config, agent: Agent, name: str, dataset: Dataset):
    """The state of an agent, trained on items with likes where it learns."""
    state = agent.init(jax.random.key(0))
    if agent.pretrain is None:
        return state
    world = dj.make_simulator(dataset, alpha=0.0, horizon=config.episode.horizon)
    trained = dj.train(
        dj.make_agent(name, dataset),
        world,
        seeds=jnp.arange(1),
        pretrain_updates=config.pretrain.num_updates,
        q_learning_updates=0,
    )
    served = getattr(trained.states, agent.served)
    own = jax.tree.map(lambda leaf: leaf[0], served)
    rows = with_cold_rows(own, dataset, agent.item_axes)
    return state.replace(**{agent.served: rows})


def _draw_answers(dataset: Dataset, held_out, count: int) -> np.ndarray:
    """Likes of test users, none held out: [B, count]; 0 where there are fewer."""
    rng, rows = np.random.default_rng(2), []
    for user in dataset.split.test:
        first, last = dataset.like_offsets[user : user + 2]
        others = np.setdiff1d(dataset.liked_items[first:last], held_out)
        others = rng.permutation(others)[:count]
        rows.append(np.pad(others, (0, count - len(others))))
    return np.stack(rows)


def _player(config, name: str, dataset: Dataset):
    """Scores [B, N] of all items for test users, as a function of their answers [B, A],
    all of them likes."""
    agent = build_agent(config, dataset, name, cold_items=True)
    state = _trained(config, agent, name, dataset)
    users = jnp.asarray(dataset.split.test)

    @jax.jit
    def all_scores(state, users, answers):
        context = agent.context(state, jnp.zeros(dataset.num_users, bool))

        def of_user(user, items):
            memory = agent.begin(state, context, user, jax.random.key(0))

            def observe(memory, told):
                seen = _like(user, *told, dataset.num_items)
                return agent.observe(state, context, memory, seen), None

            steps = jnp.arange(1, len(items) + 1)
            memory, _ = jax.lax.scan(observe, memory, (steps, items))
            return agent.scores(state, context, memory, None)

        return jax.vmap(of_user)(users, answers)  # adds B

    return lambda answers: np.asarray(
        all_scores(state, users, jnp.asarray(answers, jnp.int32))
    )


def _like(user, step, item, num_items: int) -> Observation:
    streak = step.astype(jnp.float32)
    return Observation(
        user=user,
        step=step,
        item=item,
        liked=jnp.float32(1),
        like_streak=streak,
        dislike_streak=jnp.float32(0),
        shown=jnp.full(1, num_items),
    )


if __name__ == "__main__":
    main()
