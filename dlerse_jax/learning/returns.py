"""What Q is pulled towards: one-step double-Q targets, and returns over many steps.

For one user's episode of T steps; the caller vmaps. METHOD section 8.
"""

import jax
import jax.numpy as jnp


def lambda_targets(
    rewards: jax.Array,
    values: jax.Array,
    is_greedy: jax.Array,
    gamma: jax.Array,
    trace: jax.Array,
) -> jax.Array:
    """Double-Q returns of the rest of the episode, cut where it leaves the policy: [T].

    G_t = r_t + gamma * (V_{t+1} + c_{t+1} * (G_{t+1} - V_{t+1})), V_t the value of the
    greedy item, Q_target(z_t, argmax Q_online(z_t, .)), and c_t = trace where that item
    is the one that was shown, else 0: Watkins's Q(lambda), which is also Retrace (Munos
    et al. 2016) for a greedy policy, whatever chance the item had of being shown.

    rewards and is_greedy [T], values [T] or, of M quantiles, [T, M]; nothing follows
    the last step. trace 0 is the one-step target of van Hasselt 2016; trace 1 adds up
    rewards until an item was not greedy, and takes V in its place. Quantiles are taken
    one by one, the highest after the highest. values[0], is_greedy[0] move nothing.
    """

    def back(after, step):
        reward, value, greedy = step
        target = reward + gamma * after
        return value + trace * jnp.where(greedy, target - value, 0.0), target

    episode = rewards, values, is_greedy
    nothing = jnp.zeros(values.shape[1:])
    return jax.lax.scan(back, nothing, episode, reverse=True)[1]
