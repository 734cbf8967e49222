"""What a deep agent's policy reads: static parts, and arrays with parameters."""

import dataclasses

import jax
from flax import struct

from dlerse_jax.networks.copy_head import Neighbourhoods
from dlerse_jax.networks.q_network import QNetwork, Tables, apply_network
from dlerse_jax.types import FriendGraph, FriendLists

# Where `Tables`, and all that is trained with them, have their items, from the end.
ITEM_AXES = {"item_in": 2, "item_out": 2, "item_bias": 1}


@struct.dataclass(kw_only=True)
class RidgePrior:
    """A ridge regression on the last R columns of `item_out`, starting at friends."""

    projection: jax.Array  # [N, R] theta of a user is what is copied for them @ this
    regularisation: jax.Array  # [] penalty on leaving that theta
    weight: jax.Array  # [] of theta in the session embedding


@struct.dataclass(kw_only=True)
class Shared:
    """Arrays that every seed reads and none changes: one copy, whatever S."""

    tables: Tables | None  # None: embeddings are trained, and live in params
    order: jax.Array | None  # [N] int32 items, longest first; None: sorted every update
    graph: FriendGraph | FriendLists  # all of it at once, or lists to draw from
    visible: jax.Array  # [U] bool: users with feedback that may be seen
    train_users: jax.Array  # [<=U] int32
    exploration_weights: jax.Array  # [N] int32, cumulative: what a random item is
    liked_share: jax.Array  # [] of all items, that a training user likes on average
    neighbourhoods: Neighbourhoods | None  # of the copy head; None without one
    session_gain: jax.Array  # [] of what was shown, in the session embedding
    posterior: RidgePrior | None  # of the ridge posterior; None without


@struct.dataclass(kw_only=True)
class Acting:
    """What the policy reads: the state of the greedy agent inside the learner."""

    shared: Shared
    params: dict

    @property
    def tables(self) -> Tables:
        """The embeddings, trained or frozen, with the item biases, always trained.

        Without the spare rows of tables that are sharded over devices.
        """
        tables = self.params.get("tables", self.shared.tables)
        num_items = self.shared.exploration_weights.shape[0]
        return tables.replace(
            item_in=tables.item_in[:num_items],
            item_out=tables.item_out[:num_items],
            item_bias=self.params["item_bias"][:num_items],
        )

    def tables_for(self, social) -> Tables:
        """The same, as one person sees them: with what people around them like.

        social: their `Social`.
        """
        return self.tables.replace(copied=social.copied)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What is static, and so may be closed over: a module and counts, no arrays."""

    network: QNetwork
    dislike_weight: float  # c of the session embedding
    block: int  # items scored at a time, at most; 0: what suits the device

    @property
    def horizon(self) -> int:
        return self.network.horizon

    def apply(self, acting: Acting, method: str, *args, **options):
        params = acting.params["network"]
        return apply_network(self.network, method, params, *args, **options)
