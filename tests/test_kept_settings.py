"""What a command sets of JAX and XLA is gone after its test."""

import os

import jax
import jax.numpy as jnp
from kept_settings import settings_kept

from dlerse_jax.commands.bench import bench


def num_kept(folder) -> int:
    return len(list(folder.glob("jit_program*")))


def test_a_setting_lasts_as_long_as_its_test(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=b")
    before = dict(jax.config.values)
    with settings_kept():
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        os.environ["XLA_FLAGS"] += " --xla_cpu_multi_thread_eigen=false"
    assert jax.config.values == before
    assert os.environ["XLA_FLAGS"] == "--xla_a=b"


def test_programs_are_kept_again_after_a_benchmark(tmp_path, monkeypatch):
    """JAX asks at its first program whether any are kept, and not again."""
    from jax.experimental.compilation_cache import compilation_cache

    monkeypatch.setattr("dlerse_jax.commands.bench.measured", lambda config: [])

    @jax.jit
    def program(x):
        return x + 1

    with settings_kept():
        compilation_cache.reset_cache()
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        with settings_kept():
            bench(None)
            program(jnp.zeros(3))
        assert not num_kept(tmp_path)
        program(jnp.zeros(4))
        assert num_kept(tmp_path) == 1
    compilation_cache.reset_cache()  # so that JAX goes back to its own folder
