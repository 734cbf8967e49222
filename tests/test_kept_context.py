"""An MLIR context serves many programs of a thread, and not for ever."""

import threading

import jax
import jax.numpy as jnp
import kept_context
import pytest
from jax._src.interpreters import mlir


def test_a_context_is_made_once_for_many_programs_of_a_thread():
    made = []
    context = kept_context.keep_contexts(lambda: made.append(object()) or made[-1])
    held = [context() for _ in range(kept_context.MOST)]
    assert len(made) == 1 and held == made * kept_context.MOST
    assert context() is made[1]
    other = threading.Thread(target=context)
    other.start()
    other.join()
    assert len(made) == 3


@pytest.mark.skipif(
    not kept_context.KNOWN_JAX, reason="another JAX, whose contexts are its own"
)
def test_programs_of_tests_are_lowered_in_it(monkeypatch):
    used, kept = [], mlir.make_ir_context
    monkeypatch.setattr(
        mlir, "make_ir_context", lambda: used.append(kept()) or used[-1]
    )
    texts = [
        jax.jit(lambda x, n=n: x + n).lower(jnp.zeros(3)).as_text() for n in range(9)
    ]
    assert len(set(texts)) == 9
    assert len({id(context) for context in used}) < 4 < len(used)
