"""Graph attention as segment sums over edges, or over padded lists of neighbours?

    python benchmarks/attention_layouts.py --config=experiments/lastfm.py

Layouts of one hop's weighted sums (logits, softmax, sum), numbers checked against each
other, forward and gradient; they take turns. One JSON line per layout and direction,
with the CPU time of all cores, which other programs on the machine change less than
wall time.
On an accelerator a program does it AGAIN times, for a call takes longer than a layout,
and wall time is compared.
"gradient, all hops" is that of the whole pass over the graph: K hops with their
products [U, D] x [D, D].
"""

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
import numpy as np

from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.experiment.bench import keep_freed_memory, machine
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.graph.attention_graph import friend_graph
from dlerse_jax.graph.friends import friend_table
from dlerse_jax.networks import gat
from dlerse_jax.runtime.sharding import by_backend

ROUNDS = 15
# In pairs, on a CPU and elsewhere.
AGAIN = 1, 20  # times a call does its work
TOLERANCE = 1e-3, 1e-2  # products of a GPU are of TF32 numbers
SMALLEST = 4  # friends of the first bucket; each next one holds twice as many


def segments(graph, values, of_receiver, of_sender):
    """All edges at once, and the gradient that JAX makes of it."""
    logits = of_receiver[graph.receivers] + of_sender[graph.senders]
    weights = jraph.segment_softmax(
        nn.leaky_relu(logits, 0.2), graph.receivers, len(values)
    )
    spread = jnp.repeat(jnp.eye(weights.shape[1]), values.shape[2], axis=1)
    rows = values.reshape(len(values), -1)
    messages = rows[graph.senders] * (weights @ spread)
    summed = jraph.segment_sum(messages, graph.receivers, len(values))
    return summed.reshape(values.shape)


def buckets(graph) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Users by number of edges: (users [n], neighbours [n, F], which are real)."""
    senders, receivers = np.asarray(graph.senders), np.asarray(graph.receivers)
    counts = np.bincount(receivers)
    first = np.cumsum(counts) - counts
    found, least, most = [], 0, SMALLEST
    while least < counts.max():
        users = np.flatnonzero((counts > least) & (counts <= most))
        places = np.arange(most)
        is_real = places < counts[users, None]
        edges = np.where(is_real, first[users, None] + places, 0)
        found.append((users, senders[edges], is_real))
        least, most = most, 2 * most
    return found


def padded(lists, order, graph, values, of_receiver, of_sender, *, one_by_one):
    """Softmax and sum over lists of neighbours, bucket after bucket."""
    del graph
    attend = functools.partial(_attend_list, values, of_receiver, of_sender, one_by_one)
    return jnp.concatenate([attend(*bucket) for bucket in lists])[order]


def _attend_list(values, of_receiver, of_sender, one_by_one, users, friends, is_real):
    logits = of_receiver[users][:, None] + of_sender[friends]
    weights = nn.softmax(nn.leaky_relu(logits, 0.2), axis=1, where=is_real[..., None])
    if not one_by_one:
        return jnp.sum(weights[..., None] * values[friends], axis=1)

    def add(total, neighbour):
        weight, friend = neighbour
        return total + weight[..., None] * values[friend], None

    nothing = jnp.zeros((len(users), *values.shape[1:]))
    return jax.lax.scan(add, nothing, (jnp.moveaxis(weights, 1, 0), friends.T))[0]


def dense(graph, values, of_receiver, of_sender):
    """A table [U, U] of weights, and a product with it."""
    listens = jnp.zeros((len(values), len(values)), bool)
    listens = listens.at[graph.receivers, graph.senders].set(True)
    logits = nn.leaky_relu(of_receiver[:, None] + of_sender[None], 0.2)
    weights = nn.softmax(logits, axis=1, where=listens[..., None])
    return jnp.einsum("uwm,wmd->umd", weights, values)


def layouts(graph) -> dict[str, Callable]:
    lists = buckets(graph)
    order = np.argsort(np.concatenate([users for users, _, _ in lists]))
    in_lists = functools.partial(padded, lists, order)
    return {
        "segments": segments,
        "stretches of edges": gat._attend_graph,  # what the network does
        "padded, one sum": functools.partial(in_lists, one_by_one=False),
        "padded, neighbour by neighbour": functools.partial(in_lists, one_by_one=True),
        "dense": dense,
    }


def calls(graph, config, num_users: int) -> Iterator[tuple[str, str, Callable, tuple]]:
    """(layout, direction, compiled, arguments)."""
    heads, width = config.network.heads, config.network.width
    draws = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(draws.normal(size=shape), jnp.float32)

    values = normal(num_users, heads, width // heads)
    logits, weights = normal(2, num_users, heads), normal(*values.shape)
    for name, attend in layouts(graph).items():

        def size(graph, values, logits, attend=attend):
            return jnp.sum(weights * attend(graph, values, *logits))

        def forward(graph, values, logits, attend=attend):
            return attend(graph, values, *logits)

        gradient = jax.grad(size, argnums=(1, 2))
        yield name, "forward", again(forward), (graph, values, logits)
        yield name, "gradient", again(gradient), (graph, values, logits)
    features = normal(num_users, width)
    for name in ("segments", "stretches of edges"):
        attend = layouts(graph)[name]
        of_all = again(jax.grad(functools.partial(size_of_all, config, attend)))
        params = encoder_of(config).init(
            jax.random.key(0), graph, features, nobody(features)
        )
        yield name, "gradient, all hops", of_all, (params, graph, features)


def again(function: Callable) -> Callable:
    """The function compiled, as often in one call as suits the device."""
    times = by_backend(AGAIN)
    if times == 1:
        return jax.jit(function)

    @jax.jit
    def repeated(*arguments):
        def once_more(before, _):
            # Reads what was made before, so that no repetition can be left out.
            nothing = 0 * jax.tree.leaves(before)[0].ravel()[0]
            moved = jax.tree.map(
                lambda leaf: leaf + nothing if leaf.dtype == jnp.float32 else leaf,
                arguments,
            )
            return function(*moved), None

        return jax.lax.scan(once_more, function(*arguments), None, times - 1)[0]

    return repeated


def encoder_of(config):
    network = config.network
    return gat.SocialEncoder(network.width, network.hops, network.heads)


def nobody(features):
    return jnp.zeros(len(features), bool)


def size_of_all(config, attend, params, graph, features):
    """All hops of the encoder, with this layout in the place of its own."""
    own, gat._attend_graph = gat._attend_graph, attend
    try:
        *_, k = encoder_of(config).apply(params, graph, features, nobody(features))
    finally:
        gat._attend_graph = own
    return jnp.sum(k**2)


def check(measured) -> None:
    """Every layout gives the numbers of the first one."""
    most = by_backend(TOLERANCE)
    for direction in {direction for _, direction, *_ in measured}:
        answers = [call(*rest) for _, of, call, rest in measured if of == direction]
        for answer in answers[1:]:
            jax.tree.map(
                functools.partial(np.testing.assert_allclose, rtol=most, atol=most),
                answer,
                answers[0],
            )


def main() -> None:
    config = config_of(parse_command(["bench", *sys.argv[1:]])[0])
    keep_freed_memory()
    dataset = build_dataset(config)
    graph = friend_graph(friend_table(dataset))
    measured = list(calls(graph, config, dataset.num_users))
    check(measured)
    seconds = [[] for _ in measured]
    for _ in range(ROUNDS):
        for own, (_, _, call, arguments) in zip(seconds, measured, strict=True):
            wall, busy = time.perf_counter(), time.process_time()
            jax.block_until_ready(call(*arguments))
            own.append((time.perf_counter() - wall, time.process_time() - busy))
    first = {}
    for own, (name, direction, *_) in zip(seconds, measured, strict=True):
        wall, busy = (1e3 * np.array(each) for each in zip(*own, strict=True))
        compared = by_backend((busy, wall))
        first.setdefault(direction, compared)
        line = {
            "layout": name,
            "direction": direction,
            "cpu_milliseconds": round(statistics.median(busy), 2),
            "fastest_cpu": round(min(busy), 2),
            "milliseconds": round(statistics.median(wall), 2),
            "fastest": round(min(wall), 2),
            "ratio_to_segments": round(
                statistics.median(compared / first[direction]), 2
            ),
            "times": by_backend(AGAIN),
            "users": dataset.num_users,
            "edges": len(graph.senders),
            "width": config.network.width,
        }
        sys.stdout.write(json.dumps(line | machine()) + "\n")


if __name__ == "__main__":
    main()
