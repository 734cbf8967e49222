"""A test user who is played through a session gets what `evaluation.npz` says.

Asked of agents that carry another kind of memory through a session, or begin in another
way; `make fuzz` asks all of them.
"""

import jax
import memory
import numpy as np
import pytest
from served import finished_run, served, served_config
from thorough import IS_FUZZ

from dlerse_jax.agents.registry import AGENTS
from dlerse_jax.evaluation.episodes import begin_keys
from dlerse_jax.experiment.build import build_environments
from dlerse_jax.experiment.restore import restore_trained
from dlerse_jax.runs.checkpoint import read_evaluation

# Whose code reads friends, each another. That of every agent is asked by its functions
# in `test_newcomers.py`; what a recommender hands to it is the same for all.
SOCIAL = ("friends", "linear_plus", "graphrec", "dlerse_con", "dlerse_rank order")
KINDS = ("friends", "linear_plus", "dlerse_con", "dlerse_rank order")
KINDS += ("random", "lints")  # chance at each step
KINDS += ("linear", "lightgcn_social", "multvae")
ASKED = (*AGENTS, "dlerse_rank order", "dlerse_rank answers") if IS_FUZZ else KINDS
NEAR = 1e-5  # scores this close may change places: they are computed in other batches


@pytest.mark.parametrize("agent", ASKED)
def test_users_of_the_evaluation_and_their_likes_are_served_the_same(agent):
    """Together: an agent's programs are compiled once, and then make room."""
    memory.make_room()
    a_session_shows_what_the_evaluation_showed(agent)
    if agent in SOCIAL:
        somebody_new_with_the_same_friends_is_served_the_same(agent)


def a_session_shows_what_the_evaluation_showed(agent):
    folder = finished_run(agent)
    evaluation, run = (
        read_evaluation(folder / "evaluation.npz"),
        restore_trained(folder),
    )
    seed = run.num_seeds - 1
    recommender = served(agent, seed)
    (world,) = build_environments([served_config(agent)], run.dataset)
    num_users = len(evaluation.users)
    keys = begin_keys(run.agent, run.states, world, num_users, run.roots)[seed]
    differences = sum(
        play_against(recommender, user, key, items, answers)
        for user, key, items, answers in zip(
            evaluation.users,
            keys,
            evaluation.items[seed],
            evaluation.feedback[seed],
            strict=True,
        )
    )
    assert differences * 1000 < evaluation.items[seed].size


def somebody_new_with_the_same_friends_is_served_the_same(agent):
    """By the id of a test user, so that nobody is their own friends' friend."""
    recommender = served(agent)
    data = recommender.dataset
    user = max(data.split.test, key=lambda user: data.num_friends[user])
    friends = data.friend_sources[data.friend_targets == user]
    # Behind those whose likes are known, in another order than the data have.
    is_known = np.isin(friends, data.split.train)
    friends = data.user_ids[[*friends[is_known][::-1], *friends[~is_known]]]
    assert is_known.sum() > 1
    question = {"user": data.user_ids[user], "liked": [3], "k": data.num_items}
    theirs = recommender.recommend(**question)
    ours = recommender.recommend(**question, friends=friends)
    assert scores(ours) == pytest.approx(scores(theirs), abs=1e-4)


def scores(recommendations):
    return {found.item: found.score for found in recommendations}


def play_against(recommender, user, key, items, answers) -> int:
    """Steps at which another item was shown, none of them with another score."""
    differences = 0
    session = recommender.session(user=recommender.dataset.user_ids[user], key=key)
    for item, answer in zip(items, answers, strict=True):
        shown = session.next()
        if shown.item != recommender.names.item_id(item):
            theirs = np.array([[item, recommender.names.item(shown.item)]])
            state = jax.tree.map(lambda leaf: leaf[None], session.state)
            scores = np.asarray(recommender.player.scores(state, theirs))[0]
            assert abs(scores[0] - scores[1]) < NEAR, (user, session.answers)
            differences += 1
        session.answer(recommender.names.item_id(item), bool(answer))
    return differences
