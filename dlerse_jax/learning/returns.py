"""What Q is pulled towards: one-step double-Q targets.

For one user's episode of T steps; the caller vmaps.
"""

import jax
import jax.numpy as jnp

from dlerse_jax.runtime.ranks import check_ranks


@check_ranks(rewards=1, values=1)
def one_step_targets(
    rewards: jax.Array, values: jax.Array, gamma: jax.Array
) -> jax.Array:
    """r_t + gamma * V_{t+1}, and the last reward alone: [T].

    rewards, values [T]. V_t is the slow network's value of the item that the online
    network likes best, Q_target(z_t, argmax Q_online(z_t, .)) (van Hasselt et al., AAAI
    2016). values[0] moves nothing.
    """
    return rewards + gamma * jnp.append(values[1:], 0.0)
