"""Seeds that recommend together: the mean of what each scores, each hearing all."""

import jax.numpy as jnp
import pytest

from dlerse_jax.agents.ensemble import make_ensemble
from dlerse_jax.types import Agent


def make_listener():
    """Scores are the state's; each answer moves those of the item by the context."""
    return Agent(
        name="listener",
        init=lambda key: None,
        context=lambda state, hidden: state["step"],
        begin=lambda state, context, user, key: jnp.zeros(3),
        observe=lambda state, context, memory, item: memory.at[item].add(context),
        scores=lambda state, context, memory, items: state["scores"] + memory,
        seed_axes={"scores": 0, "step": None},
    )


def test_scores_are_the_mean_of_members_that_heard_every_answer():
    states = {"scores": jnp.array([[3.0, 0, 0], [0, 1, 2]]), "step": jnp.array(5.0)}
    agent = make_ensemble(make_listener(), 2)
    context = agent.context(states, jnp.zeros(4, bool))
    memory = agent.begin(states, context, 0, jnp.array([0, 0], jnp.uint32))
    assert agent.scores(states, context, memory, None).tolist() == [1.5, 0.5, 1]
    memory = agent.observe(states, context, memory, 1)
    assert agent.scores(states, context, memory, None).tolist() == [1.5, 5.5, 1]
    assert agent.name == "listener, 2 together"


def test_one_member_is_no_ensemble():
    with pytest.raises(ValueError, match="ensemble needs two seeds or more"):
        make_ensemble(make_listener(), 1)
