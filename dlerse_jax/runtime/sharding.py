"""Sharding of a run's arrays: users over devices, and the rows of item tables.

`make_mesh` makes a mesh with the axes `users` and `items`; other functions place a
state on it and, inside a compiled program, say what is sharded along which axis;
`by_backend` chooses a size by the kind of device. A mesh of None is one device: every
function then returns what it was given. No draw and no result depends on the mesh, save
for the order in which sums are taken.
"""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")
USERS, ITEMS = "users", "items"
ItemAxes = Mapping[str, int]  # see `types.Agent.item_axes`
NONE_SHARDED: ItemAxes = MappingProxyType({})


def make_mesh(users: int, catalogue: int) -> Mesh | None:
    """users x catalogue devices; users 0 takes all there are. None where that is one.

    ValueError where there are too few, or where devices of other processes would be
    left without work.
    """
    count = jax.device_count()
    if catalogue < 1:
        raise ValueError(f"devices.catalogue must be 1 or more, got {catalogue}")
    if users < 0:
        raise ValueError(f"devices.users must be 0 (all) or more, got {users}")
    wanted = (users or max(1, count // catalogue)) * catalogue
    all_needed = users == 0 or jax.process_count() > 1
    if wanted > count or (all_needed and wanted != count):
        raise ValueError(
            f"devices.users is {users} and devices.catalogue {catalogue}; their "
            f"product must be {'' if all_needed else 'at most '}{count}, the number of "
            "devices"
        )
    if wanted == 1:
        return None
    return jax.make_mesh(
        (wanted // catalogue, catalogue),
        (USERS, ITEMS),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=jax.devices()[:wanted],
    )


def by_backend(choices: tuple[T, T]) -> T:
    """What suits the devices of this process: (on a CPU, elsewhere) -> one of them."""
    on_cpu, elsewhere = choices
    return on_cpu if jax.default_backend() == "cpu" else elsewhere


def device_copy(host) -> jax.Array:
    """A host array on the device, in memory of its own: it may be donated.

    `jnp.array` compiles a program for every shape, which is .01 s each at a start.
    """
    return jax.device_put(host, may_alias=False)


ALIGNMENT = 64  # bytes: what JAX asks of memory that it takes over


def aligned_empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """A host array, its numbers still to be written, that `adopted` need not copy."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def adopted(host: np.ndarray) -> jax.Array:
    """A host array on the device; on a CPU in the same memory where that is aligned,
    and so it must not be written any more."""
    return jax.device_put(host, may_alias=True)


def num_item_shards(mesh: Mesh | None) -> int:
    """Parts that the catalogue is sharded into."""
    return 1 if mesh is None else mesh.shape[ITEMS]


# --- inside a compiled program --------------------------------------------------------


def over_users(mesh: Mesh | None, tree):
    """Shards the first axis of every leaf, that of users, over the devices."""
    return _constrain(mesh, tree, PartitionSpec(USERS))


def replicated(mesh: Mesh | None, tree):
    """Every device, and so every process, holds the whole of every leaf."""
    return _constrain(mesh, tree, PartitionSpec())


def as_placed(mesh: Mesh | None, states, item_axes: ItemAxes):
    """States laid out as `place` does, so that the next chunk is the same program."""
    if mesh is None:
        return states
    constrain = jax.lax.with_sharding_constraint
    return _map_with_path(
        lambda path, leaf: constrain(leaf, _sharding(mesh, path, leaf, item_axes)),
        states,
    )


def _constrain(mesh: Mesh | None, tree, spec: PartitionSpec):
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, spec))


# --- between compiled programs --------------------------------------------------------


def place(mesh: Mesh | None, tree, item_axes: ItemAxes = NONE_SHARDED):
    """A tree of host or single-device arrays, the same in every process, on the mesh.

    The leaves that item_axes names are sharded by item, with spare zeros at the end
    where the shards would not be equal; all else is replicated.
    """
    if mesh is None:
        return tree
    shards = num_item_shards(mesh)

    def put(path, leaf):
        if axis := _item_axis(path, item_axes):
            leaf = _fill_up(np.asarray(leaf), leaf.ndim - axis, shards)
        return _put(leaf, _sharding(mesh, path, leaf, item_axes))

    return _map_with_path(put, tree)


def collect(mesh: Mesh | None, states, shapes, item_axes: ItemAxes):
    """What `place` was given, on the host: shapes is its tree of `ShapeDtypeStruct`.

    Every process must call it, and gets the whole. One table at a time is gathered.
    """
    if mesh is None:
        return states

    def fetch(path, leaf, shape):
        if axis := _item_axis(path, item_axes):
            whole = jax.device_get(_gather(leaf, mesh))
            return whole.take(np.arange(shape.shape[-axis]), axis=-axis)
        return leaf if _is_key(leaf) else jax.device_get(leaf)

    return _map_with_path(fetch, states, shapes)


@functools.partial(jax.jit, static_argnums=1)
def _gather(leaf: jax.Array, mesh: Mesh) -> jax.Array:
    return replicated(mesh, leaf)


def _put(leaf, sharding: NamedSharding) -> jax.Array:
    """One array on the mesh, each process filling the devices that are its own."""
    if _is_key(leaf):
        data = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])


def _fill_up(array: np.ndarray, axis: int, shards: int) -> np.ndarray:
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, -array.shape[axis] % shards)
    return np.pad(array, padding)


def _sharding(mesh: Mesh, path, leaf, item_axes: ItemAxes) -> NamedSharding:
    spec: list[str | None] = [None] * leaf.ndim
    if axis := _item_axis(path, item_axes):
        spec[-axis] = ITEMS
    return NamedSharding(mesh, PartitionSpec(*spec))


def _item_axis(path, item_axes: ItemAxes) -> int:
    """Where a leaf has its items, from the end; 0: it is not sharded by item."""
    name = jax.tree_util.keystr(path[-1:], simple=True)
    return item_axes.get(name, 0)


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


_map_with_path = jax.tree_util.tree_map_with_path
