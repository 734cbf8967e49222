"""Work beside training: in order, once, and dropped where the run ends."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlerse_jax.runtime import kept_function
from dlerse_jax.runtime.beside import Once, beside
from dlerse_jax.runtime.kept_function import KeptFunction

SECONDS = 10


def test_a_thing_is_made_once_and_others_wait_for_it():
    once, begun, free, made = Once(), threading.Event(), threading.Event(), []

    def make():
        begun.set()
        free.wait(SECONDS)
        made.append(threading.current_thread().name)
        return "thing"

    with beside([lambda: once("key", make)]):
        begun.wait(SECONDS)
        threading.Timer(0.05, free.set).start()
        assert once("key", make) == "thing"
    assert len(made) == 1 and made[0].startswith("beside")
    assert once("other", lambda: "another") == "another"


def test_an_error_is_for_who_needs_the_thing():
    once = Once()

    def fail():
        raise ValueError("of the job")

    with beside([lambda: once("key", fail)]):
        pass
    with pytest.raises(ValueError, match="of the job"):
        once("key", lambda: "not made again")


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_at_the_end_the_job_at_hand_goes_on_and_the_others_are_dropped(error):
    begun, free, done = threading.Event(), threading.Event(), []

    def first():
        begun.set()
        free.wait(SECONDS)
        done.append("first")

    def block():
        with beside([first, lambda: done.append("second")]):
            begun.wait(SECONDS)
            if error:
                raise error

    if error:
        with pytest.raises(error):
            block()
    else:
        block()
    free.set()
    for thread in threading.enumerate():
        if thread.name.startswith("beside"):
            thread.join(SECONDS)
    assert done == ["first"]


def test_a_function_compiled_ahead_is_not_traced_at_its_call(monkeypatch):
    """One shape is one program, which gives what the function gives."""
    traced, arguments = [], ({"x": np.arange(3.0, dtype=np.float32)}, None, np.int32(2))

    def function(named, nothing, number):
        traced.append(number)
        return jnp.sin(named["x"]) * number, nothing

    expected = jax.jit(function)(*arguments)
    del traced[:]
    kept = KeptFunction(function, "function of a test")
    kept.prepare(
        *jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    )
    assert len(traced) == 1
    monkeypatch.setattr(kept_function, "exported_program", None)
    found = kept(*arguments)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] is None and len(traced) == 1


def test_a_function_without_a_name_waits_for_its_call(monkeypatch):
    monkeypatch.setattr(kept_function, "exported_program", None)
    kept = KeptFunction(lambda x: x + 1)
    kept.prepare(np.int32(1))
    assert kept(np.int32(1)) == 2
