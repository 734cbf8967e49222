"""The guard of the tests' own memory: what it says, and that a run fails by it."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import memory
import pytest
from memory import ROOT, TOO_LARGE

# What a run says and ends with when one byte is too much.
RUN = """
import sys, memory, pytest
memory.LIMIT = 1
words = ["-p", "xdist", *sys.argv[1:], "tests/test_memory.py", "-k", "room"]
sys.exit(pytest.main(words))
"""

FEW_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # others import for seconds


def test_a_process_over_the_limit_is_named_with_its_file():
    peaks = {"gw0": (3 * memory.GIB, "tests/a.py"), "gw1": (memory.GIB, "tests/b.py")}
    (complaint,) = memory.too_large(peaks)
    assert "gw0 held 3.00 GiB while it ran tests/a.py" in complaint


def test_room_is_made_by_forgetting_programs():
    count_traces = []

    @jax.jit
    def program(x):
        count_traces.append(x)
        return x + 1

    program(jnp.zeros(3))
    memory.make_room(most=memory.resident() + memory.GIB)
    program(jnp.zeros(3))
    assert len(count_traces) == 1  # small enough: nothing is dropped
    memory.make_room(most=0)
    program(jnp.zeros(3))
    assert len(count_traces) == 2


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_fails_by_the_memory_of_a_process(workers):
    done = subprocess.run(
        [sys.executable, "-c", RUN, "-n", workers],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **FEW_PLUGINS},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == TOO_LARGE, done.stdout
    assert "1 passed" in done.stdout
    name = "this" if workers == "0" else "gw0"
    assert re.search(rf"{name} held \d\.\d\d GiB", done.stdout)
    assert "while it ran tests/test_memory.py" in done.stdout
