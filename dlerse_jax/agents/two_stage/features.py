"""What speaks for an item at a moment of a session, as numbers without a name.

In go tables made without some training users' likes (a `View`), one of those users and
their answers so far; out come the items worth a second look and the evidence of each,
[A, F]. Tables fit the users they are made of far better than anybody new, so what
reads this evidence must learn from users whose view was made without them.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.dqn.policy import BeliefPrior
from dlerse_jax.linear_models.ridge import Belief, belief_start, belief_update
from dlerse_jax.networks.copy_head import Circles, copied_scores, people_of
from dlerse_jax.networks.q_network import memory_weights
from dlerse_jax.retrieval.argmax import first_maximum

FEATURES = (
    "first",  # the score of the first stage: what dlerse_plus starts as
    "copied",  # what friends, their friends and everybody like
    "liked",  # what EASE makes of the likes of this session
    "disliked",  # and of the dislikes
    "belief",  # a ridge regression on both, from friends' taste
    "doubt",  # standard deviation of that
    "popularity",  # log of the share of users who like it
    "rank",  # by popularity, from 0 to 1
    "strength",  # of these users' likes: mean weight by rank
    "friends",  # weight of it, smoothed mean over friends
    "friend_likers",  # log of how many friends like it
    "choosy_friends",  # the same, less for a friend who likes much
    "far_likers",  # share of people two hops away who like it
    "like_minded_friends",  # the same, as far as they like what this user liked
    "like_minded_users",  # and over everybody
    "most_alike",  # to an item liked in this session: cosine over users
    "three_alike",  # the sum of the three largest of them
    "most_alike_disliked",  # to an item disliked
    "num_friends",  # log
    "step",  # of T
    "num_liked",  # of T
    "num_disliked",  # of T
)
RARE = 5.0  # likes at which a cosine counts half
TOP = 3


@struct.dataclass(kw_only=True)
class View:
    """Tables of the first stage. Stacked, an axis of views comes first."""

    item_in: jax.Array  # [N, D] e of EASE
    item_out: jax.Array  # [N, D + R] o of EASE, and item vectors of the belief
    memory_gain: jax.Array  # [] of what was shown, in the score
    belief: BeliefPrior
    strata: jax.Array  # [A, L] int32 items, padded with N
    rank: jax.Array  # [N] by popularity, from 0 to 1


@struct.dataclass(kw_only=True)
class Library:
    """All that is read and never trained: one copy, whatever the seeds."""

    views: View  # [1 + K, ...]: of all training users, then without each fold
    folds: jax.Array  # [K, M] int32: users of a fold; the first again as padding
    is_training: jax.Array  # [U] bool
    circles: Circles
    likers: jax.Array  # [N, U] float32: 1 where a training user likes an item
    liked_both: jax.Array  # [N, N] training users who like one and the other
    dislike_weight: jax.Array  # [] of the first stage: a dislike against a like


@struct.dataclass(kw_only=True)
class Surroundings:
    """What the users of a batch share."""

    view: View
    visible: jax.Array  # [U] float32: 1 for users whose likes may be read
    popularity: jax.Array  # [N] their mean weight of an item
    strength: jax.Array  # [N] the same over those who like it
    focus: jax.Array  # [U] what a like of theirs tells: visible, less for many likes
    surprise: jax.Array  # [N] what a like of an item tells: less for many likers


@struct.dataclass(kw_only=True)
class Friends:
    """What one user's friends like: heard once, before the first answer."""

    copied: jax.Array  # [N]
    weight: jax.Array  # [N] summed over friends
    # [3, N]: friends; the choosier more; share of people two hops away
    likers: jax.Array
    is_friend: jax.Array  # [U] 1 for friends whose likes may be read
    count: jax.Array  # [] of them


@struct.dataclass(kw_only=True)
class Session:
    """One user's session up to now."""

    user: jax.Array  # []
    friends: Friends
    own: jax.Array  # [N] what `liked_both` knows of this user, to be left out: 1 or 0
    items: jax.Array  # [T] int32, padded with N
    is_liked: jax.Array  # [T] float32
    likes: jax.Array  # [D] sum of e over items liked
    dislikes: jax.Array  # [D]
    like_minded: jax.Array  # [U] how far users like what this one liked
    liked_by_those: jax.Array  # [2, N]: by such friends, and by such users at large
    belief: Belief


def surroundings(library: Library, hidden: jax.Array, view: jax.Array) -> Surroundings:
    """hidden [U] bool: not to be read, on top of users who are not in training."""
    visible = (library.is_training & ~hidden).astype(jnp.float32)
    total = visible @ library.circles.feedback
    likers = library.likers @ visible
    num_likes = library.likers.sum(axis=0)
    return Surroundings(
        view=jax.tree.map(lambda leaf: leaf[view], library.views),
        visible=visible,
        popularity=total / jnp.maximum(visible.sum(), 1),
        strength=total / jnp.maximum(likers, 1),
        focus=visible / jnp.sqrt(jnp.maximum(num_likes, 1)),
        surprise=1 / jnp.sqrt(jnp.maximum(likers, 1)),
    )


def start_session(
    library: Library, around: Surroundings, user: jax.Array, horizon: int
) -> Session:
    """Before the first answer of a user, []; answers beyond T are not remembered."""
    num_items, width = around.view.item_in.shape
    friends = _listen_to_friends(library, around, user)
    return Session(
        user=user,
        friends=friends,
        own=library.likers[:, user],
        items=jnp.full(horizon, num_items, jnp.int32),
        is_liked=jnp.zeros(horizon),
        likes=jnp.zeros(width),
        dislikes=jnp.zeros(width),
        like_minded=jnp.zeros_like(around.visible),
        liked_by_those=jnp.zeros((2, num_items)),
        belief=belief_start(friends.copied @ around.view.belief.projection, horizon),
    )


def _listen_to_friends(library: Library, around: Surroundings, user) -> Friends:
    circles, nobody = library.circles, jnp.zeros_like(around.visible)
    alike = jnp.zeros(circles.friends.people.shape[0])

    def visible_among(lists):
        people, _, is_real = people_of(lists, user)
        return nobody.at[people].add(is_real * around.visible[people])

    near, far = visible_among(circles.friends), visible_among(circles.far)
    of_people = near, near * around.focus, far / jnp.maximum(far.sum(), 1)
    return Friends(
        copied=copied_scores(circles, alike, around.visible > 0, user),
        weight=near @ circles.feedback,
        likers=jnp.stack(of_people) @ library.likers.T,
        is_friend=near,
        count=near.sum(),
    )


def listen(
    library: Library, around: Surroundings, session: Session, item, liked
) -> Session:
    """After one answer: item [] int32 (N: nothing was shown), liked [] 1 or 0."""
    view = around.view
    num_items, width = view.item_in.shape
    is_real = (item < num_items).astype(jnp.float32)
    row = jnp.minimum(item, num_items - 1)
    place = jnp.where(item < num_items, session.belief.num_answers, len(session.items))
    weight = memory_weights(liked, library.dislike_weight) * is_real
    told = weight * around.surprise[row] * library.likers[row] * around.focus
    told = told.at[session.user].set(0.0)  # who has a past is there as well
    like_minded = jnp.maximum(session.like_minded + told, 0.0)
    answered = belief_update(
        session.belief, view.item_out[row, width:], liked, view.belief.regularisation
    )
    return session.replace(
        items=session.items.at[place].set(item, mode="drop"),
        is_liked=session.is_liked.at[place].set(liked, mode="drop"),
        likes=session.likes + is_real * liked * view.item_in[row],
        dislikes=session.dislikes + is_real * (1 - liked) * view.item_in[row],
        like_minded=like_minded,
        liked_by_those=_liked_by_those(library, session.friends, like_minded),
        belief=jax.tree.map(
            lambda new, old: jnp.where(item < num_items, new, old),
            answered,
            session.belief,
        ),
    )


def first_scores(library: Library, around: Surroundings, session: Session) -> jax.Array:
    """The first stage on all items: [N]. What dlerse_plus starts as."""
    view = around.view
    memory = session.likes - library.dislike_weight * session.dislikes
    parts = (view.memory_gain * memory, view.belief.weight * session.belief.theta)
    return view.item_out @ jnp.concatenate(parts) + session.friends.copied


def proposals(around: Surroundings, scores: jax.Array, shown: jax.Array) -> jax.Array:
    """The best item of each stratum not in shown [S]: [A] int32, N where none is left.

    Strata hold popular and rare items alike, and the best of all is one of these. (The
    best A of all would take a sort of N scores, which is slow on a CPU.)
    """
    num_items, strata = scores.shape[0], around.view.strata
    allowed = jnp.append(scores, -jnp.inf).at[shown].set(-jnp.inf)
    of_strata = allowed[strata]
    best = first_maximum(of_strata)[:, None]
    items = jnp.take_along_axis(strata, best, axis=1)[:, 0]
    is_left = jnp.take_along_axis(of_strata, best, axis=1)[:, 0] > -jnp.inf
    return jnp.where(is_left, items, num_items)


def evidence(
    library: Library, around: Surroundings, session: Session, items: jax.Array
) -> jax.Array:
    """What speaks for items [A], padded with N: [A, F] in the order of `FEATURES`."""
    num_items, horizon = len(library.likers), len(session.items)
    items = jnp.minimum(items, num_items - 1)
    num_liked = session.is_liked.sum()
    num_shown = jnp.sum(session.items < num_items)
    of_session = (
        jnp.log1p(session.friends.count),
        num_shown / horizon,
        num_liked / horizon,
        (num_shown - num_liked) / horizon,
    )
    of_items = (
        *_of_factors(library, around, session, items),
        jnp.log(around.popularity[items] + 1e-3),
        around.view.rank[items],
        around.strength[items],
        *_of_people(library, session, items),
        *_of_likeness(library, session, items),
        *(jnp.full(items.shape, number) for number in of_session),
    )
    return jnp.stack(of_items, axis=-1)


def _of_factors(library: Library, around: Surroundings, session: Session, items):
    view, belief = around.view, session.belief
    width = view.item_in.shape[1]
    rows = view.item_out[items]
    liked = view.memory_gain * (rows[:, :width] @ session.likes)
    disliked = view.memory_gain * (rows[:, :width] @ session.dislikes)
    expected = view.belief.weight * (rows[:, width:] @ belief.theta)
    copied = session.friends.copied[items]
    first = liked - library.dislike_weight * disliked + expected + copied
    variance = jnp.sum(rows[:, width:] ** 2, axis=1) / view.belief.regularisation
    variance -= jnp.sum((rows[:, width:] @ belief.directions.T) ** 2, axis=1)
    doubt = jnp.sqrt(jnp.maximum(variance, 0.0))
    return first, copied, liked, disliked, expected, doubt


def _liked_by_those(library: Library, friends: Friends, like_minded) -> jax.Array:
    """What like-minded people like, friends and all: [2, N]. The one product with U."""
    close = like_minded**2
    of_friends = like_minded * friends.is_friend / _smoothed(library, friends)
    weights = jnp.stack([of_friends, close / (close.sum() + 1e-9)])
    return weights @ library.likers.T


def _smoothed(library: Library, friends: Friends) -> jax.Array:
    return friends.count + library.circles.prior_weight


def _of_people(library: Library, session: Session, items):
    friends, smoothed = session.friends, _smoothed(library, session.friends)
    near, choosy, far = friends.likers[:, items]
    return (
        friends.weight[items] / smoothed,
        jnp.log1p(near),
        choosy / smoothed,
        far,
        *session.liked_by_those[:, items],
    )


def _of_likeness(library: Library, session: Session, items):
    """Cosine of items to those shown, over training users without the one who plays."""
    num_items = len(library.likers)
    shown, own = jnp.minimum(session.items, num_items - 1), session.own
    likers = jnp.diagonal(library.liked_both) - own
    both = library.liked_both[items[:, None], shown[None]]
    both -= own[items][:, None] * own[shown][None]
    of_items, of_shown = likers[items][:, None], likers[shown][None]
    fewer = jnp.minimum(of_items, of_shown)
    cosine = both / jnp.sqrt(jnp.maximum(of_items * of_shown, 1))
    is_other = (session.items < num_items)[None] & (shown[None] != items[:, None])
    alike = jnp.where(is_other, cosine * fewer / (fewer + RARE), 0.0)
    to_liked = alike * session.is_liked[None]
    to_disliked = alike * (1 - session.is_liked)[None]
    return to_liked.max(axis=1), _largest(to_liked), to_disliked.max(axis=1)


def _largest(numbers: jax.Array) -> jax.Array:
    """Sum of the TOP largest in a row, none below 0: [A, T] -> [A].

    Reductions, where a sort of each row would take longer than all else.
    """
    total = jnp.zeros(numbers.shape[0])
    places = jax.lax.broadcasted_iota(jnp.int32, numbers.shape, 1)
    for _ in range(TOP):
        largest = first_maximum(numbers)[:, None]
        total += jnp.take_along_axis(numbers, largest, axis=1)[:, 0]
        numbers = jnp.where(places == largest, 0.0, numbers)
    return total
