"""Mult-VAE: a variational autoencoder of a user's likes with a multinomial likelihood.

Liang, Krishnan, Hoffman and Jebara, "Variational Autoencoders for Collaborative
Filtering", WWW 2018, Mult-VAE^PR: the likes, scaled to unit length and thinned by
dropout, go through one tanh layer to the mean and variance of a Gaussian; a draw of it
goes through another tanh layer to a softmax over the catalogue. The weight of the KL
term rises linearly to beta over the first part of training.

In the loop the posterior mean given the likes so far is decoded. What is remembered of
them is their sum in the first layer and their number; without likes the input is zero
and the answer what the network makes of it. Minibatches are whole users: memory is
B * (N + M H) floats, M the largest number of likes of a user.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.offline.base import (
    OfflineState,
    Training,
    no_context,
    offline_agent,
    on_likes,
)
from dlerse_jax.agents.offline.sampling import Feedback, draw_users, training_feedback
from dlerse_jax.environment.simulator import liked_items
from dlerse_jax.types import Agent, Dataset


class MultVaeNetwork(nn.Module):
    """Encoder and decoder; the rows of both item layers are tables [N, H]."""

    num_items: int
    width: int  # of the latent Gaussian
    hidden: int

    def setup(self):
        shape = (self.num_items, self.hidden)
        table = nn.initializers.glorot_normal()
        self.item_in = self.param("item_in", table, shape)
        self.item_out = self.param("item_out", table, shape)
        self.item_bias = self.param("item_bias", nn.initializers.zeros, shape[:1])
        self.hidden_bias = self.param("hidden_bias", nn.initializers.zeros, shape[1:])
        self.posterior = nn.Dense(2 * self.width)
        self.decoder = nn.Dense(self.hidden)

    def encode(self, summed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """First-layer sum of scaled likes [H] -> mean and log variance, [D] each."""
        hidden = nn.tanh(summed + self.hidden_bias)
        mean, log_variance = jnp.split(self.posterior(hidden), 2)
        return mean, log_variance

    def decode(self, latent: jax.Array, items: jax.Array | None) -> jax.Array:
        """latent [D] -> logits of items [A], or of all N."""
        rows, biases = self.item_out, self.item_bias
        if items is not None:
            rows, biases = rows[items], biases[items]
        return nn.tanh(self.decoder(latent)) @ rows.T + biases

    def __call__(self, likes, weights, noise) -> tuple[jax.Array, jax.Array]:
        """likes and weights [M], noise [D] -> logits [N] and the KL term []."""
        rows = self.item_in.at[likes].get(mode="fill", fill_value=0)
        mean, log_variance = self.encode(weights @ rows)
        logits = self.decode(mean + jnp.exp(0.5 * log_variance) * noise, None)
        spread = jnp.exp(log_variance) - log_variance
        return logits, 0.5 * jnp.sum(spread + mean**2 - 1)


@struct.dataclass(kw_only=True)
class Profile:
    """The likes of a user up to now."""

    summed: jax.Array  # [H] of their first-layer rows
    count: jax.Array  # [] float32


def multvae(
    dataset: Dataset,
    *,
    width: int,
    hidden: int,
    dropout: float,
    beta: float,
    annealing: float,
    **training,
) -> Agent:
    """dropout of likes in the input; beta: last weight of the KL term, reached after
    the share `annealing` of training. training: as `offline.Training`, over users."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    if not 0 < annealing <= 1:
        raise ValueError(f"annealing must be in (0, 1], got {annealing}")
    network = MultVaeNetwork(num_items=dataset.num_items, width=width, hidden=hidden)

    def init_params(key):
        nothing = jnp.zeros(1, jnp.int32), jnp.zeros(1), jnp.zeros(width)
        return network.init(key, *nothing)["params"]

    def kl_weight(progress):
        return beta * jnp.minimum(progress / annealing, 1.0)

    return offline_agent(
        "multvae",
        training=Training(**training),
        shared=training_feedback(dataset),
        init_params=init_params,
        draw=draw_users,
        loss=functools.partial(_loss, network, dropout, kl_weight),
        context=no_context,
        begin=lambda state, *_: Profile(
            summed=jnp.zeros(hidden), count=jnp.float32(0.0)
        ),
        observe=on_likes(_add_like),
        scores=functools.partial(_scores, network),
    )


def _loss(
    network: MultVaeNetwork,
    dropout,
    kl_weight,
    params,
    feedback: Feedback,
    users,
    key,
    progress,
):
    """Negative evidence bound, its mean over B users."""

    def one(user, key):
        key_dropout, key_noise = jax.random.split(key)
        likes = liked_items(feedback.likes, user)
        is_like = likes < feedback.num_items
        is_kept = is_like & jax.random.bernoulli(key_dropout, 1 - dropout, likes.shape)
        weights = is_kept / (1 - dropout) / jnp.sqrt(jnp.maximum(is_like.sum(), 1))
        noise = jax.random.normal(key_noise, (network.width,))
        logits, divergence = network.apply({"params": params}, likes, weights, noise)
        liked_logits = logits.at[likes].get(mode="fill", fill_value=0)
        total = is_like.sum() * jax.nn.logsumexp(logits)
        return total - liked_logits.sum() + kl_weight(progress) * divergence

    keys = jax.random.split(key, users.shape[0])
    return jax.vmap(one)(users, keys).mean()  # adds B


def _add_like(state: OfflineState, profile: Profile, item) -> Profile:
    row = state.params["item_in"][item]
    return Profile(summed=profile.summed + row, count=profile.count + 1)


def _scores(
    network: MultVaeNetwork, state: OfflineState, context, profile: Profile, items
) -> jax.Array:
    variables = {"params": state.params}
    unit = profile.summed / jnp.sqrt(jnp.maximum(profile.count, 1.0))
    mean, _ = network.apply(variables, unit, method="encode")
    return network.apply(variables, mean, items, method="decode")
