"""GraphRec: attention over a user's answers and friends, and over an item's likers.

Fan, Ma, Li, He, Zhao, Tang and Yin, "Graph Neural Networks for Social Recommendation",
WWW 2019. A user is what they answered (item and opinion vectors through a network, the
user's row is the query of attention) joined with their friends' vectors of that kind
(attention again); an item is who likes it; a network predicts the rating of the two,
under the paper's squared error.

Feedback here is implicit: the rating is 1 for a like and 0 for a sampled item that is
not liked, and the two opinions are like and dislike. The list of a training example is
an episode as it could have been, of random length: likes and non-likes of the user,
without the example itself, which is taken out of its item's likers, too. Friends and
likers are read from all visible likes, where the paper's code caps their number.

The policy aggregates anew after each answer, by a running softmax. The query of a new
user is the mean row of visible training users; before the first answer the friends are
all there is, and a friendless user gets one learned ranking, the same for everybody.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.offline.base import OfflineState, Training, offline_agent
from dlerse_jax.agents.offline.sampling import (
    Feedback,
    draw_liked,
    draw_likes,
    draw_unliked,
    known_rows,
    mean_row,
    row_of,
    training_feedback,
)
from dlerse_jax.graph.friends import FriendPairs, friend_pairs, friend_table
from dlerse_jax.graph.neighbour_means import visible_users
from dlerse_jax.networks.graphrec_network import (
    GraphRecNetwork,
    LikesAndFriends,
    RunningSoftmax,
    Tables,
)
from dlerse_jax.types import Agent, Dataset, Newcomer, Observation

BLOCK = 512  # static: items rated at a time, so that B users need no [B, N, D]


@struct.dataclass(kw_only=True)
class GraphRecShared:
    """Who likes what and who names whom."""

    feedback: Feedback
    friends: FriendPairs

    @property
    def is_training(self) -> jax.Array:
        return self.feedback.is_training

    @property
    def graph(self) -> LikesAndFriends:
        givers = self.feedback.users
        return LikesAndFriends(
            givers=givers,
            items=self.feedback.likes.items[: len(givers)],
            sources=self.friends.sources,
            targets=self.friends.targets,
        )


@struct.dataclass(kw_only=True)
class GraphRecParams:
    """Rows, opinions and the layers."""

    users: jax.Array  # [U, D]
    items: jax.Array  # [N, D]
    opinions: jax.Array  # [2, D]: of a dislike, of a like
    network: dict

    def tables(self, visible: jax.Array) -> Tables:
        """What may be read of them: users who are not visible [U] have the mean row."""
        return known_rows(self.users, visible), self.items, self.opinions


@struct.dataclass(kw_only=True)
class Examples:
    """A minibatch: what B users had answered, and C items each to rate."""

    users: jax.Array  # [B] int32
    slots: jax.Array  # [B] int32: the like that is rated, and not to be read
    rated: jax.Array  # [B, C] int32: the liked item first, then some that are not
    answers: jax.Array  # [B, A] int32: item, plus N for a like
    counts: jax.Array  # [B, A] float32: 1 for an answer, 0 for padding


@struct.dataclass(kw_only=True)
class GraphRecContext:
    """What every user of a batch shares."""

    users: jax.Array  # [U, D] own rows of visible users, else their mean
    mean_user: jax.Array  # [D]
    by_friends: jax.Array  # [U, D]
    as_friends: tuple[jax.Array, jax.Array]  # [U, D] and [U] bool, for newcomers
    answer_values: jax.Array  # [2 N, D]
    item_parts: jax.Array  # [N, D]


@struct.dataclass(kw_only=True)
class GraphRecMemory:
    """One user's answers up to now."""

    query: jax.Array  # [D] the user's row
    by_friends: jax.Array  # [D]
    softmax: RunningSoftmax
    user_part: jax.Array  # [D] for the next rating


def graphrec(
    dataset: Dataset, *, width: int, num_unliked: int, num_answers: int, **training
) -> Agent:
    """num_unliked items are rated beside each like; num_answers: the most in a list.

    training: the keywords of `offline.Training`.
    """
    if num_unliked < 1 or num_answers < 1:
        raise ValueError(
            "num_unliked and num_answers must be 1 or more, "
            f"got {num_unliked} and {num_answers}"
        )
    network = GraphRecNetwork(width)
    shared = GraphRecShared(
        feedback=training_feedback(dataset), friends=friend_pairs(friend_table(dataset))
    )
    draw = functools.partial(_draw, num_unliked, num_answers)
    return offline_agent(
        "graphrec",
        training=Training(**training),
        shared=shared,
        init_params=functools.partial(_init_params, network, shared, draw),
        draw=draw,
        loss=functools.partial(_loss, network),
        context=functools.partial(_context, network),
        begin=functools.partial(_begin, network),
        observe=functools.partial(_observe, network),
        scores=functools.partial(_scores, network),
    )


def _init_params(network, shared: GraphRecShared, draw, key) -> GraphRecParams:
    key_users, key_items, key_opinions, key_network = jax.random.split(key, 4)
    num_users, num_items = len(shared.is_training), shared.feedback.num_items
    params = GraphRecParams(
        users=jax.random.normal(key_users, (num_users, network.width)),
        items=jax.random.normal(key_items, (num_items, network.width)),
        opinions=jax.random.normal(key_opinions, (2, network.width)),
        network={},
    )
    arguments = _rating_arguments(shared, params, draw(shared, key_network, 1))
    variables = network.init(key_network, *arguments, method="example_ratings")
    return params.replace(network=variables["params"])


def _draw(num_unliked, num_answers, shared: GraphRecShared, key, batch_size):
    """Random likes, items that are not liked, and answers before them: `Examples`."""
    feedback = shared.feedback
    key_like, key_rest = jax.random.split(key)
    slots = draw_likes(feedback, key_like, batch_size)
    users = feedback.users[slots]

    def one(user, item, key):
        key_rated, key_length, key_liked, key_unliked, key_which = jax.random.split(
            key, 5
        )
        unliked = _many(draw_unliked, feedback, user, key_rated, num_unliked)
        likes = _many(draw_liked, feedback, user, key_liked, num_answers)
        dislikes = _many(draw_unliked, feedback, user, key_unliked, num_answers)
        is_like = jax.random.bernoulli(key_which, shape=(num_answers,))
        length = jax.random.randint(key_length, (), 0, num_answers + 1)
        counts = (jnp.arange(num_answers) < length) & ~(is_like & (likes == item))
        answers = jnp.where(is_like, likes + feedback.num_items, dislikes)
        rated = jnp.concatenate([item[None], unliked])
        return rated, answers, counts.astype(jnp.float32)

    keys = jax.random.split(key_rest, batch_size)
    items = feedback.likes.items[slots]
    rated, answers, counts = jax.vmap(one)(users, items, keys)  # adds B
    return Examples(
        users=users, slots=slots, rated=rated, answers=answers, counts=counts
    )


def _many(draw, feedback, user, key, count: int):
    """Independent draws for one user: [count]."""
    return jax.vmap(draw, in_axes=(None, None, 0))(
        feedback, user, jax.random.split(key, count)
    )


def _apply(network, params: GraphRecParams, method: str, *args):
    return network.apply({"params": params.network}, *args, method=method)


def _rating_arguments(shared: GraphRecShared, params, minibatch: Examples):
    """What `GraphRecNetwork.example_ratings` takes."""
    visible = shared.is_training.astype(jnp.float32)
    counts = jnp.ones(len(shared.feedback.users)).at[minibatch.slots].set(0.0)
    answers = minibatch.answers, minibatch.counts
    tables = params.tables(visible)
    return shared.graph, tables, counts, minibatch.users, answers, minibatch.rated


def _loss(network, params, shared: GraphRecShared, minibatch: Examples, key, progress):
    del key, progress
    arguments = _rating_arguments(shared, params, minibatch)
    ratings = _apply(network, params, "example_ratings", *arguments)
    errors = ratings - jnp.zeros_like(ratings).at[:, 0].set(1.0)
    return 0.5 * jnp.mean(errors**2)


def _context(network, state: OfflineState, masked: jax.Array) -> GraphRecContext:
    shared, params = state.shared, state.params
    visible = visible_users(shared, masked)
    tables = params.tables(visible)
    counts = visible[shared.feedback.users]
    by_friends, by_likers, as_friends = _apply(
        network, params, "read_graph", shared.graph, tables, counts
    )
    return GraphRecContext(
        users=tables[0],
        mean_user=mean_row(params.users, visible),
        by_friends=by_friends,
        as_friends=as_friends,
        answer_values=_apply(network, params, "answer_values", *tables[1:]),
        item_parts=_apply(network, params, "item_part", by_likers),
    )


def _begin(network, state, context: GraphRecContext, person, key) -> GraphRecMemory:
    del key
    query = row_of(context.users, context.mean_user, person)
    if isinstance(person, Newcomer):
        by_friends = _newcomer_friends(network, state, context, person.friends)
    else:
        by_friends = context.by_friends[person]
    zero = jnp.float32(0)
    softmax = RunningSoftmax(weighted=jnp.zeros_like(query), total=zero, peak=zero)
    return GraphRecMemory(
        query=query,
        by_friends=by_friends,
        softmax=softmax,
        user_part=_user_part(network, state, softmax, by_friends),
    )


def _newcomer_friends(network, state, context: GraphRecContext, friends):
    """What `by_friends` holds of a user, for somebody who names friends [F]: [D]."""
    by_likes, has_likes = context.as_friends
    rows = by_likes.at[friends].get(mode="fill", fill_value=0)
    counts = has_likes.at[friends].get(mode="fill", fill_value=False)
    return _apply(
        network, state.params, "read_friends", rows, counts, context.mean_user
    )


def _observe(
    network, state, context, memory: GraphRecMemory, seen: Observation
) -> GraphRecMemory:
    num_items = state.shared.feedback.num_items
    slot = seen.item + num_items * (seen.liked > 0)
    value = context.answer_values[jnp.minimum(slot, 2 * num_items - 1)]
    answer = memory.query, value
    softmax = _apply(network, state.params, "add_answer", memory.softmax, *answer)
    user_part = _user_part(network, state, softmax, memory.by_friends)
    after = memory.replace(softmax=softmax, user_part=user_part)
    is_real = seen.item < num_items
    return jax.tree.map(lambda x, y: jnp.where(is_real, x, y), after, memory)


def _user_part(network, state, softmax, by_friends) -> jax.Array:
    return _apply(network, state.params, "answered_part", softmax, by_friends)


def _scores(network, state, context, memory: GraphRecMemory, items) -> jax.Array:
    def score(item_part):
        return _apply(network, state.params, "rating", memory.user_part, item_part)

    parts = context.item_parts if items is None else context.item_parts[items]
    return jax.lax.map(score, parts, batch_size=BLOCK)
