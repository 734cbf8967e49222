"""A data set without a single friend pair: every agent can be built, trained, asked."""

import jax
import jax.numpy as jnp
import pytest
from thorough import IS_FUZZ
from worlds import checkerboard

import dlerse_jax as dj
from dlerse_jax.agents.registry import AGENTS, CLASSICAL, OFFLINE, RANK
from dlerse_jax.environment.simulator import make_simulator
from dlerse_jax.types import Newcomer

HORIZON = 4
WORLD = checkerboard()
NEWCOMER = Newcomer(
    friends=jnp.array([3, WORLD.num_users]), two_hops=jnp.zeros(0, jnp.int32)
)
SIMULATOR = make_simulator(WORLD, alpha=0.1, horizon=HORIZON)


def _agent(name):
    if name in CLASSICAL or name in OFFLINE:
        return dj.make_agent(name, WORLD)
    small = {"network.width": 8, "horizon": HORIZON}
    if name == RANK:
        return dj.make_agent(name, WORLD, **small, ridge_rank=4, folds=3)
    own = {"ridge_rank": 4} if name == "dlerse_plus" else {}
    return dj.make_agent(name, WORLD, **small, **own, hidden=8, act_batch=4)


# dlerse_con or sadqn but for a number, or for what is left out: `make fuzz` asks them.
ALIKE = ("dlerse_myopic", "dlerse_add", "deers", "dqn", "sadqn_plus")


@pytest.mark.parametrize("name", [n for n in AGENTS if IS_FUZZ or n not in ALIKE])
def test_an_agent_is_built_trained_and_asked_without_friends(name):
    """Shapes alone: what fails without friends fails while it is traced."""
    agent = _agent(name)

    def ask_and_train(key):
        state = agent.init(key)
        context = agent.context(state, jnp.zeros(WORLD.num_users, bool))
        memory = agent.begin(state, context, jnp.int32(0), key)
        begun = agent.begin(state, context, NEWCOMER, key)
        updates = [update for update in (agent.pretrain, agent.q_learning) if update]
        trained = [update(state, SIMULATOR, key, jnp.float32(0)) for update in updates]
        return agent.scores(state, context, memory, None), trained, (memory, begun)

    scores, _, begun = jax.eval_shape(ask_and_train, jax.random.key(0))
    assert scores.shape == (WORLD.num_items,)
    assert begun[0] == begun[1]
