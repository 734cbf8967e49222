"""Interests: a vector of the likes and dislikes of a session so far.

An encoder reads the clicks of one user in order and has one interest vector before the
first click and after each one. Every encoder is causal and offers the same four calls:

    start() -> carry                       before the first click
    step(carry, click [C]) -> carry        one click, for acting
    interest(carry) -> [H]
    unroll(clicks [T, C]) -> [T + 1, H]    all at once, for learning; equal to stepping

A click is [e_v * y ; e_v * (1 - y) ; y ; 1 - y] with C = 2 D + 2.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dlerse_jax.networks.transformer_encoder import TransformerEncoder

CNN_DILATIONS = (1, 3)  # steps between the three inputs of each layer
CNN_REACH = 1 + 2 * sum(CNN_DILATIONS)  # clicks that one interest depends on


def click_features(item_vectors: jax.Array, liked: jax.Array) -> jax.Array:
    """item_vectors [..., D], liked [...] 0 or 1 -> clicks [..., 2 D + 2]."""
    like = liked[..., None]
    dislike = 1 - like
    parts = [item_vectors * like, item_vectors * dislike, like, dislike]
    return jnp.concatenate(parts, axis=-1)


def _scan_states(step, cell: nn.Module, first, inputs):
    """Carries of a cell before and after each input: leaves [T + 1, ...]."""

    def advance(cell, carry, x):
        carry = step(cell, carry, x)
        return carry, carry

    scan = nn.scan(advance, variable_broadcast="params", split_rngs={"params": False})
    _, later = scan(cell, first, inputs)
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, later)


class GRUEncoder(nn.Module):
    """h_t = GRU(h_{t-1}, click_t). The paper's encoder; the carry is h itself.

    The weights of the three gates are read side by side, so that a step has two
    products: of the click, which `unroll` takes for all T at once, and of h.
    """

    hidden: int

    def setup(self):
        self.cell = nn.GRUCell(self.hidden)

    def start(self) -> jax.Array:
        return jnp.zeros(self.hidden)

    def step(self, carry: jax.Array, click: jax.Array) -> jax.Array:
        return self._after(carry, self._of_clicks(click[None])[0])

    def interest(self, carry: jax.Array) -> jax.Array:
        return carry

    def unroll(self, clicks: jax.Array) -> jax.Array:
        def advance(h, of_click):
            # XLA would cut the step out of [T, 3 H] inside the gates, number by number.
            h = self._after(h, jax.lax.optimization_barrier(of_click))
            return h, h

        first = self.start()
        _, later = jax.lax.scan(advance, first, self._of_clicks(clicks))
        return jnp.concatenate([first[None], later])

    def _of_clicks(self, clicks: jax.Array) -> jax.Array:
        """What clicks add to the gates: [T, C] -> [T, 3 H]."""
        if self.is_initializing():
            self.cell(self.start(), clicks[0])
        kernel = self._side_by_side(("ir", "iz", "in"), "kernel")
        return clicks @ kernel + self._side_by_side(("ir", "iz", "in"), "bias")[None]

    def _after(self, h: jax.Array, of_click: jax.Array) -> jax.Array:
        """h after a click, of which the gates are given what it adds, [3 H]."""
        of_h = h @ self._side_by_side(("hr", "hz", "hn"), "kernel")
        reset, update, new = jnp.split(of_click, 3)
        reset_h, update_h, new_h = jnp.split(of_h, 3)
        reset = nn.sigmoid(reset + reset_h)
        update = nn.sigmoid(update + update_h)
        bias_new = self.cell.variables["params"]["hn"]["bias"]
        new = nn.tanh(new + reset * (new_h + bias_new))
        return (1 - update) * new + update * h

    def _side_by_side(self, gates: tuple[str, ...], part: str) -> jax.Array:
        weights = self.cell.variables["params"]
        return jnp.concatenate([weights[gate][part] for gate in gates], axis=-1)


class LSTMEncoder(nn.Module):
    """The same with an LSTM; the carry is (cell state, h). Hochreiter 1997."""

    hidden: int

    def setup(self):
        self.cell = nn.OptimizedLSTMCell(self.hidden)

    def start(self) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(self.hidden), jnp.zeros(self.hidden)

    def step(self, carry, click: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.cell(carry, click)[0]

    def interest(self, carry) -> jax.Array:
        return carry[1]

    def unroll(self, clicks: jax.Array) -> jax.Array:
        states = _scan_states(
            lambda cell, carry, click: cell(carry, click)[0],
            self.cell,
            self.start(),
            clicks,
        )
        return self.interest(states)


class DualGRUEncoder(nn.Module):
    """One GRU over likes, one over dislikes: the carry is [2, H], likes first.

    A like leaves the state of the dislikes as it is, and the other way round; both are
    projected to H. How likes and dislikes alternate is lost, so the fusion reads the
    streaks. After DEERS (Zhao et al., KDD 2018).
    """

    hidden: int

    def setup(self):
        self.like_cell = nn.GRUCell(self.hidden)
        self.dislike_cell = nn.GRUCell(self.hidden)
        self.join = nn.Dense(self.hidden)

    def start(self) -> jax.Array:
        return jnp.zeros((2, self.hidden))

    def step(self, carry: jax.Array, click: jax.Array) -> jax.Array:
        liked_vector, disliked_vector, (liked, _) = jnp.split(
            click, [click.size // 2 - 1, click.size - 2]
        )
        after_like = self.like_cell(carry[0], liked_vector)[0]
        after_dislike = self.dislike_cell(carry[1], disliked_vector)[0]
        return jnp.stack(
            [
                jnp.where(liked > 0, after_like, carry[0]),
                jnp.where(liked > 0, carry[1], after_dislike),
            ]
        )

    def interest(self, carry: jax.Array) -> jax.Array:
        """carry [..., 2, H] -> [..., H]."""
        return self.join(carry.reshape(*carry.shape[:-2], 2 * self.hidden))

    def unroll(self, clicks: jax.Array) -> jax.Array:
        states = _scan_states(DualGRUEncoder.step, self, self.start(), clicks)
        return self.interest(states)


class CNNEncoder(nn.Module):
    """Two causal convolutions of width three over the last `CNN_REACH` clicks.

    The carry [CNN_REACH, H] holds their embeddings, oldest first, zero before the first
    click. After NextItNet (Yuan et al., WSDM 2019), less its residual blocks.
    """

    hidden: int

    def setup(self):
        self.embed = nn.Dense(self.hidden)
        # A convolution of width three is a dense layer on three shifted copies, and
        # stays a plain matrix product when seeds are vmapped over the weights.
        self.layers = [nn.Dense(self.hidden) for _ in CNN_DILATIONS]

    def start(self) -> jax.Array:
        return jnp.zeros((CNN_REACH, self.hidden))

    def step(self, carry: jax.Array, click: jax.Array) -> jax.Array:
        return jnp.concatenate([carry[1:], self.embed(click)[None]])

    def interest(self, carry: jax.Array) -> jax.Array:
        return self._convolve(carry)[0]

    def unroll(self, clicks: jax.Array) -> jax.Array:
        return self._convolve(jnp.concatenate([self.start(), self.embed(clicks)]))

    def _convolve(self, embedded: jax.Array) -> jax.Array:
        """embedded [CNN_REACH + A, H] -> interests before and after A: [A + 1, H]."""
        x = embedded
        for layer, dilation in zip(self.layers, CNN_DILATIONS, strict=True):
            length = x.shape[0] - 2 * dilation
            shifted = [x[i * dilation : i * dilation + length] for i in range(3)]
            x = nn.tanh(layer(jnp.concatenate(shifted, axis=-1)))
        return x


ENCODERS = {
    "gru": GRUEncoder,
    "dual_gru": DualGRUEncoder,
    "lstm": LSTMEncoder,
    "cnn": CNNEncoder,
    "transformer": TransformerEncoder,
}


# Of these a gradient goes from step to step, whether they are stepped or unrolled.
STEPWISE = ("gru", "dual_gru", "lstm")


def make_encoder(kind: str, *, hidden: int, horizon: int) -> nn.Module:
    """An encoder by name, for episodes of at most `horizon` clicks.

    Raises ValueError on a name that is not in `ENCODERS`.
    """
    if kind not in ENCODERS:
        raise ValueError(
            f"network.encoder must be one of {', '.join(ENCODERS)}, got {kind!r}"
        )
    if kind == "transformer":  # the others need no room for the whole episode
        return TransformerEncoder(hidden, horizon)
    return ENCODERS[kind](hidden)
