"""The layers of GraphRec: attention over answers, friends and likers, then a rating.

Fan et al., WWW 2019; `agents/offline/graphrec.py` says how they are used. Every
aggregation is a softmax over the edges of a sparse graph: nothing has users times
items. A user's own answers are summed edge by edge in training and by a running softmax
in an episode.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

# Rows of users [U, D], of items [N, D] and of the opinions dislike and like [2, D].
Tables = tuple[jax.Array, jax.Array, jax.Array]


@struct.dataclass(kw_only=True)
class LikesAndFriends:
    """The edges that are read."""

    givers: jax.Array  # [L] int32: who likes
    items: jax.Array  # [L] int32: what
    sources: jax.Array  # [E] int32: the friend
    targets: jax.Array  # [E] int32: who names them


@struct.dataclass(kw_only=True)
class RunningSoftmax:
    """A softmax-weighted sum to which values are added one by one."""

    weighted: jax.Array  # [D] sum of exp(logit - peak) value
    total: jax.Array  # [] sum of exp(logit - peak)
    peak: jax.Array  # [] largest logit, or 0


class Aggregator(nn.Module):
    """relu(W sum_v softmax_v(w . relu(W' [v ; query] + b')) v + b), over neighbours v.

    The layer on [v ; query] is a sum of two, so that either side is projected once, as
    a table, and gathered afterwards.
    """

    width: int

    def setup(self):
        self.of_value = nn.Dense(self.width)
        self.of_query = nn.Dense(self.width, use_bias=False)
        self.weight = nn.Dense(1, use_bias=False)
        self.output = nn.Dense(self.width)

    def logits(self, of_value, of_query):
        """Projected sides [..., D], which broadcast -> [...]."""
        return self.weight(nn.relu(of_value + of_query))[..., 0]

    def __call__(self, values, queries, senders, receivers, counts):
        """values [V, D], queries [Q, D] -> [Q, D]; relu(b) for one without neighbours.

        An edge [E] counts where `counts` is 1, and is not there where it is 0.
        """
        logits = self.logits(
            self.of_value(values)[senders], self.of_query(queries)[receivers]
        )
        size = len(queries)
        peaks = jax.ops.segment_max(jnp.where(counts > 0, logits, 0.0), receivers, size)
        peaks = jax.lax.stop_gradient(jnp.maximum(peaks, 0.0))
        weights = counts * jnp.exp(logits - peaks[receivers])
        total = jax.ops.segment_sum(weights, receivers, size)
        weighted = weights[:, None] * values[senders]
        return self.finish(jax.ops.segment_sum(weighted, receivers, size), total)

    def answer(self, value, query):
        """Logit [] of one neighbour: value and query [D]."""
        return self.logits(self.of_value(value), self.of_query(query))

    def finish(self, weighted, total):
        """Sums of weighted values [..., D] and of weights [...] -> [..., D]."""
        return nn.relu(self.output(weighted / jnp.maximum(total, 1e-9)[..., None]))


def _two_layers(width: int) -> nn.Sequential:
    return nn.Sequential([nn.Dense(width), nn.relu, nn.Dense(width)])


class GraphRecNetwork(nn.Module):
    """All layers, and the passes over the graph. V is the table of (item, opinion)."""

    width: int

    def setup(self):
        self.opinion_of_item = _two_layers(self.width)
        self.opinion_of_user = _two_layers(self.width)
        self.answers = Aggregator(self.width)
        self.friends = Aggregator(self.width)
        self.likers = Aggregator(self.width)
        self.join = _two_layers(self.width)
        self.rate_user = nn.Dense(self.width, use_bias=False)
        self.rate_item = nn.Dense(self.width)
        self.rate = nn.Sequential([nn.relu, nn.Dense(self.width), nn.relu, nn.Dense(1)])

    def answer_values(self, items, opinions):
        """items [N, D], opinions [2, D] -> [2 N, D]: dislikes first, then likes."""
        sides = [_beside(items, opinion) for opinion in opinions]
        return self.opinion_of_item(jnp.concatenate(sides))

    def read_graph(self, graph: LikesAndFriends, tables: Tables, counts):
        """Vectors of users by friends [U, D] and of items by likers [N, D].

        Third, of users as friends: their vectors by likes [U, D], and whether they like
        anything [U]. counts [L]: 1 for the likes that may be read. A friend of whom
        none may be read is no friend here.
        """
        users, items, opinions = tables
        values = self.answer_values(items, opinions)
        by_likes = self.answers(
            values, users, graph.items + len(items), graph.givers, counts
        )
        has_likes = jax.ops.segment_max(counts, graph.givers, len(users)) > 0
        is_friend = has_likes[graph.sources].astype(jnp.float32)
        by_friends = self.friends(
            by_likes, users, graph.sources, graph.targets, is_friend
        )
        fans = self.opinion_of_user(_beside(users, opinions[1]))
        by_likers = self.likers(fans, items, graph.givers, graph.items, counts)
        return by_friends, by_likers, (by_likes, has_likes)

    def read_friends(self, by_likes, is_friend, query):
        """One vector by friends [D]: theirs by likes [F, D], and which count [F].

        query [D]: the row of who names them. Memory is O(F D).
        """
        senders = jnp.arange(len(by_likes))
        receivers = jnp.zeros_like(senders)
        counts = is_friend.astype(jnp.float32)
        return self.friends(by_likes, query[None], senders, receivers, counts)[0]

    def user_part(self, by_answers, by_friends):
        """Both vectors of users [..., D] -> what rating starts with."""
        joined = jnp.concatenate([by_answers, by_friends], axis=-1)
        return self.rate_user(nn.relu(self.join(joined)))

    def item_part(self, by_likers):
        return self.rate_item(by_likers)

    def rating(self, user_part, item_part):
        """Parts [..., D], which broadcast -> [...]."""
        return self.rate(user_part + item_part)[..., 0]

    def add_answer(self, softmax: RunningSoftmax, query, value) -> RunningSoftmax:
        """One more answer [D] of the user who asks with `query` [D]."""
        logit = self.answers.answer(value, query)
        peak = jnp.maximum(softmax.peak, logit)
        fade, weight = jnp.exp(softmax.peak - peak), jnp.exp(logit - peak)
        return RunningSoftmax(
            weighted=fade * softmax.weighted + weight * value,
            total=fade * softmax.total + weight,
            peak=peak,
        )

    def answered_part(self, softmax: RunningSoftmax, by_friends):
        """`user_part` after the answers so far, which may be none."""
        by_answers = self.answers.finish(softmax.weighted, softmax.total)
        return self.user_part(by_answers, by_friends)

    def example_ratings(self, graph, tables: Tables, counts, users, answers, rated):
        """Ratings [B, C] of users [B] for rated [B, C], after answers.

        answers: rows of `answer_values` and whether each counts, [B, A] both.
        """
        user_table, items, opinions = tables
        by_friends, by_likers, _ = self.read_graph(graph, tables, counts)
        answer_rows, answer_counts = answers
        by_answers = self.answers(
            self.answer_values(items, opinions),
            user_table[users],
            answer_rows.ravel(),
            jnp.repeat(jnp.arange(len(users)), answer_rows.shape[1]),
            answer_counts.ravel(),
        )
        user_parts = self.user_part(by_answers, by_friends[users])
        return self.rating(user_parts[:, None], self.item_part(by_likers[rated]))


def _beside(rows, opinion):
    """[row ; opinion]: rows [A, D], opinion [D] -> [A, 2 D]."""
    opinions = jnp.broadcast_to(opinion[None], rows.shape)
    return jnp.concatenate([rows, opinions], axis=1)
