"""Trained seeds of one agent as one agent: it shows what they score highest on average.

Its state is the states of its members stacked, as training has them. Every member
observes every answer. It costs what its members cost, and is not trained itself.
"""

import dataclasses

import jax

from dlerse_jax.types import Agent


def make_ensemble(agent: Agent, num_members: int) -> Agent:
    """Members recommend together: the mean of their scores.

    Leaves of its state are [M, ...], as `agent.seed_axes` says, and one array serves
    every seed of it. ValueError where there is but one member.
    """
    if num_members < 2:
        raise ValueError(
            "evaluation.seeds=ensemble needs two seeds or more, num_seeds is "
            f"{num_members}"
        )

    def each(function, states, *held):
        """function of a member's state and of what that member holds: adds M."""
        over_members = (agent.seed_axes, *(0 for _ in held))
        return jax.vmap(function, in_axes=over_members)(states, *held)

    def context(states, masked):
        return each(lambda state: agent.context(state, masked), states)

    def begin(states, contexts, person, key):
        def begin_one(state, context, key):
            return agent.begin(state, context, person, key)

        return each(begin_one, states, contexts, jax.random.split(key, num_members))

    def observe(states, contexts, memories, seen):
        def observe_one(state, context, memory):
            return agent.observe(state, context, memory, seen)

        return each(observe_one, states, contexts, memories)

    def scores(states, contexts, memories, items):
        def score_one(state, context, memory):
            return agent.scores(state, context, memory, items)

        return each(score_one, states, contexts, memories).mean(axis=0)

    return dataclasses.replace(
        agent,
        name=f"{agent.name}, {num_members} together",
        init=None,
        context=context,
        begin=begin,
        observe=observe,
        scores=scores,
        best=None,
        best_list=None,
        attention=None,
        seed_axes=None,
        pretrain=None,
        q_learning=None,
    )
