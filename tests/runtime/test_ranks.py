"""A batch fed to a function of one example is refused, in words that help."""

import importlib
import inspect
import operator
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from worlds import random_world

from dlerse_jax.environment.simulator import is_liked, likes_table

# Every function that checks what it is given, with all arguments that it checks.
CHECKED = (
    "environment.simulator:is_liked",
    "environment.simulator:liked_items",
    "environment.simulator:is_satiated",
    "environment.simulator:last_shown",
    "environment.simulator:Simulator.reset",
    "environment.simulator:Simulator.step",
    "environment.simulator:Simulator.preferences",
    "environment.exploration:draw_items",
    "environment.exploration:first_allowed",
    "environment.rollout:rollout",
    "environment.rollout:prime",
    "environment.rollout:choose",
    "retrieval.argmax:best_allowed",
    "retrieval.argmax:best_candidate",
    "retrieval.index:sort_catalogue",
    "retrieval.index:in_order",
    "retrieval.lists:best_list",
    "retrieval.search:best_item",
    "retrieval.search:best_items",
    "retrieval.search:best_items_of_episodes",
    "networks.copy_head:copied_scores",
    "networks.copy_head:people_of",
    "networks.q_network:QNetwork.social_layers",
    "networks.q_network:QNetwork.copy_logits",
    "networks.q_network:QNetwork.newcomer_logits",
    "networks.q_network:QNetwork.step",
    "networks.q_network:QNetwork.unroll",
    "networks.q_network:QNetwork.query",
    "networks.q_network:advantages",
    "networks.q_network:taken_advantages",
    "networks.q_network:pairwise_advantages",
    "networks.q_network:allowed_means",
    "networks.q_network:q_values",
    "learning.losses:opposite_steps",
    "learning.losses:contrastive_loss",
    "learning.losses:squared_reward_loss",
    "learning.losses:cross_entropy_reward_loss",
    "learning.returns:one_step_targets",
    "linear_models.ridge:ridge_start",
    "linear_models.ridge:ridge_update",
    "linear_models.ridge:posterior_start",
    "linear_models.ridge:posterior_update",
    "linear_models.ridge:drawn_scores",
    "graph.sampling:sample_tree",
    "graph.sampling:sample_friends",
    "graph.neighbour_means:sum_of_rows",
    "graph.neighbour_means:friends_of",
    "graph.neighbour_means:two_hops_of",
    "graph.neighbour_means:mean_feedback",
    "graph.neighbour_means:visible_users",
    "agents.offline.sampling:draw_session",
    "agents.offline.sampling:draw_unliked",
    "agents.offline.sampling:draw_liked",
    "agents.two_stage.fold_tables:surroundings",
    "agents.two_stage.session:start_session",
    "agents.two_stage.session:observe_answer",
    "agents.two_stage.session:candidates",
    "agents.two_stage.features:features",
    "agents.dqn.social:social_context",
    "agents.dqn.social:social_of",
    "agents.dqn.episode_states:episode_states",
)


def _function(name):
    module, _, path = name.partition(":")
    module = importlib.import_module(f"dlerse_jax.{module}")
    return operator.attrgetter(path)(module)


def _one_axis_too_many(rank):
    """A value for an argument of this rank, or with fields of these."""
    if isinstance(rank, int):
        return jnp.zeros((2,) * (rank + 1))
    fields = {field: _one_axis_too_many(rank) for field, rank in rank.items()}
    return SimpleNamespace(**fields)


@pytest.mark.parametrize("name", CHECKED)
def test_a_batch_in_place_of_one_example_is_refused(name):
    function = _function(name)
    forms = [
        (argument, form)
        for argument, rank in function.ranks.items()
        for form in (rank if isinstance(rank, tuple) else (rank,))
    ]
    for argument, rank in forms:
        # Other arguments are not looked at before: None stands for them.
        given = dict.fromkeys(inspect.signature(function).parameters)
        given[argument] = _one_axis_too_many(rank)
        message = rf"{function.__name__} takes {argument}\b.* vmap over further axes"
        with pytest.raises(AssertionError, match=message):
            function(**given)


def test_vmap_is_the_way_to_give_a_batch():
    likes = likes_table(random_world())
    users, items = jnp.arange(3), jnp.zeros(3, jnp.int32)
    with pytest.raises(AssertionError, match=r"rank 0, got shape \(3,\); vmap"):
        is_liked(likes, users, items)
    assert jax.vmap(is_liked, in_axes=(None, 0, 0))(likes, users, items).shape == (3,)
