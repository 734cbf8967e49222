"""A function that is compiled once for each shape of its arguments, when asked to.

Ahead of its first call, in another thread, and from what an earlier process traced.
"""

from collections.abc import Callable
from typing import Any

import jax

from dlerse_jax.runtime.beside import Once
from dlerse_jax.runtime.export_cache import exported_program


class KeptFunction:
    """A function of trees of arrays, compiled.

    identity tells apart all that it reads beside its arguments, in this process and in
    others (`exported_program`); "": nobody knows, so `jax.jit` compiles it at its first
    call, and nothing is kept.
    """

    def __init__(self, function: Callable, identity: str = "") -> None:
        self._function, self._identity = function, identity
        self._jitted = jax.jit(function)
        self._compiled = Once()  # tree and shapes -> a function of leaves

    def __call__(self, *arguments) -> Any:
        if not self._identity:
            return self._jitted(*arguments)
        return self._program(arguments)(jax.tree.leaves(arguments))

    def prepare(self, *arguments) -> None:
        """Compiles it for arguments of these shapes; `jax.ShapeDtypeStruct` will do.

        Without an identity it waits for its first call.
        """
        if self._identity:
            self._program(arguments)

    def _program(self, arguments: tuple) -> Callable:
        leaves, tree = jax.tree.flatten(arguments)
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        key = tree, tuple(shapes)
        return self._compiled(key, lambda: self._compile(tree, shapes))

    def _compile(self, tree, shapes: list) -> Callable:
        def of_leaves(leaves):
            return self._function(*jax.tree.unflatten(tree, leaves))

        identity = f"{self._identity} {tree}"
        program = exported_program(of_leaves, (shapes,), identity)
        return jax.jit(program).lower(shapes).compile()
