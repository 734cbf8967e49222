"""How dlerse_rank plays by numbers of each item that it learned from answers.

Who likes what does not tell how an item is answered after others. So each item has
numbers of its own: what it adds to the log-odds of a like and to what later steps pay,
by itself and, as a product of two vectors, after each of the items shown last. What is
added starts at 0: the policy starts as the myopic one.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dlerse_jax.agents.two_stage.agent import (
    Parts,
    RankParams,
    before_the_rest,
    log_odds,
    rerank,
    top_item,
)
from dlerse_jax.agents.two_stage.features import features
from dlerse_jax.agents.two_stage.moment import (
    Moment,
    first_moment,
    next_moment,
    steps_later,
)
from dlerse_jax.agents.two_stage.order import OrderPlan, paid_now, rank_state
from dlerse_jax.agents.two_stage.session import observe_answer, start_session
from dlerse_jax.runtime.ranks import check_ranks

MEMORY = 4  # M: items shown last that an answer may depend on
SPREAD = 0.1  # of the numbers of new vectors
NUM_OF_MOMENT = 4


@struct.dataclass(kw_only=True)
class ItemNumbers:
    """What an item adds to some number: by itself, and after others."""

    alone: jax.Array  # [N]
    now: jax.Array  # [N, R] of an item that is shown
    before: jax.Array  # [N, R] of one that was shown before it
    lags: jax.Array  # [M] how much the last one counts, the one before it, ...


@struct.dataclass(kw_only=True)
class AnswerNumbers:
    """All that is learned from answers."""

    like: ItemNumbers  # to the log-odds of a like
    later: ItemNumbers  # to what later steps pay
    line: jax.Array  # [2] slope and shift of the log-odds that pre-training found
    moment: jax.Array  # [4] of what later steps pay, whatever is shown: `of_moment`


@struct.dataclass(kw_only=True)
class AnswerParams:
    """What the policy plays with, besides the cross-fitted tables."""

    rank: RankParams
    numbers: AnswerNumbers


@struct.dataclass(kw_only=True)
class Recent:
    """One user's session, where in the episode it is, and what was shown last."""

    moment: Moment
    items: jax.Array  # [M] int32, latest first; N where there were fewer


@struct.dataclass(kw_only=True)
class Choice:
    """What stands to choose from at one step."""

    items: jax.Array  # [A] int32, padded with N
    logits: jax.Array  # [A] log-odds of a like, as pre-training found them
    recent: jax.Array  # [M] of `Recent`
    later: jax.Array  # [] steps of the episode after this one
    liked: jax.Array  # [] likes up to now, as a share of the episode


def new_numbers(key: jax.Array, num_items: int, rank: int) -> AnswerNumbers:
    """Before the first answer, with vectors of that rank R."""

    def of_items(key: jax.Array) -> ItemNumbers:
        return ItemNumbers(
            alone=jnp.zeros(num_items),
            now=jnp.zeros((num_items, rank)),
            before=SPREAD * jax.random.normal(key, (num_items, rank)),
            lags=jnp.ones(MEMORY),
        )

    like, later = map(of_items, jax.random.split(key))
    return AnswerNumbers(
        like=like,
        later=later,
        line=jnp.array([1.0, 0.0]),
        moment=jnp.zeros(NUM_OF_MOMENT),
    )


@check_ranks(items=1, recent=1)
def added(numbers: ItemNumbers, items: jax.Array, recent: jax.Array) -> jax.Array:
    """What items [A] add after recent ones [M]: [A]. An item N adds nothing."""

    def rows(table: jax.Array, places: jax.Array) -> jax.Array:
        return table.at[places].get(mode="fill", fill_value=0)

    before = numbers.lags @ rows(numbers.before, recent)
    return rows(numbers.alone, items) + rows(numbers.now, items) @ before


def like_log_odds(numbers: AnswerNumbers, choice: Choice) -> jax.Array:
    """Of a like of each item, if it is shown now: [A]."""
    slope, shift = numbers.line
    own = added(numbers.like, choice.items, choice.recent)
    return slope * choice.logits + shift + own


def later_added(numbers: AnswerNumbers, choice: Choice) -> jax.Array:
    """What showing each item adds to what later steps pay: [A].

    Less where fewer than M steps are to come, and nothing at the last one.
    """
    share = jnp.minimum(choice.later, MEMORY) / MEMORY
    return share * added(numbers.later, choice.items, choice.recent)


def q_values(plan: OrderPlan, numbers: AnswerNumbers, choice: Choice) -> jax.Array:
    """Q of the items, less what is the same for all of them: [A]."""
    chances = jax.nn.sigmoid(like_log_odds(numbers, choice))
    return paid_now(plan, chances) + later_added(numbers, choice)


def of_moment(plan: OrderPlan, numbers: AnswerNumbers, choice: Choice) -> jax.Array:
    """What the worth of later steps is linear in, whatever is shown: [4].

    1, the highest chance, the mean chance and the likes up to now, each times the
    discounted number of later steps.
    """
    is_item = choice.items < len(numbers.like.alone)
    chances = is_item * jax.nn.sigmoid(like_log_odds(numbers, choice))
    mean = chances.sum() / jnp.maximum(is_item.sum(), 1)
    own = jnp.stack([jnp.float32(1), chances.max(), mean, choice.liked])
    gamma, steps = plan.gamma, choice.later
    if gamma < 1:
        steps = gamma * (1 - gamma**steps) / (1 - gamma)
    return steps * own


def answer_policy(parts: Parts, plan: OrderPlan) -> dict:
    """begin, observe, scores and best of `Agent`."""

    def begin(state, context, person, key):
        del key
        session = start_session(state.shared, context, person, parts.horizon)
        nothing = jnp.full(MEMORY, len(context.popularity), jnp.int32)
        return Recent(moment=first_moment(session), items=nothing)

    def observe(state, context, recent, seen):
        session = recent.moment.session
        session = observe_answer(state.shared, context, session, seen.item, seen.liked)
        # What was liked before this session was not shown a short while ago.
        is_shown = (seen.item < len(context.popularity)) & (seen.step > 0)
        items = jnp.roll(recent.items, 1).at[0].set(seen.item)
        return Recent(
            moment=next_moment(session, seen),
            items=jnp.where(is_shown, items, recent.items),
        )

    def scores(state, context, recent, items):
        if items is not None:
            asked = features(state.shared, context, recent.moment.session, items)
            choice = _choice(parts, state, recent, items, asked)
            return q_values(plan, state.params.numbers, choice)
        shown = recent.moment.session.items
        first, choice = offered(parts, state, context, recent, shown)
        ranked = q_values(plan, state.params.numbers, choice)
        return before_the_rest(first, choice.items, ranked)

    def best(state, context, recent, shown):
        first, choice = offered(parts, state, context, recent, shown)
        ranked = q_values(plan, state.params.numbers, choice)
        return top_item(choice.items, ranked, len(first))

    return {"begin": begin, "observe": observe, "scores": scores, "best": best}


def offered(parts: Parts, state, context, recent: Recent, shown):
    """First scores of all items [N], and the candidates as a `Choice`."""
    session = recent.moment.session
    first, items, of_items = rerank(rank_state(state), context, session, shown)
    return first, _choice(parts, state, recent, items, of_items)


def _choice(parts: Parts, state, recent: Recent, items, of_items) -> Choice:
    """Of items [A], padded with N, with features [A, F]."""
    return Choice(
        items=items,
        logits=log_odds(parts, state.params.rank, of_items),
        recent=recent.items,
        later=steps_later(recent.moment, parts.horizon),
        liked=recent.moment.session.is_liked.sum() / parts.horizon,
    )
