"""JAX's settings, and XLA's, are after a test what they were before it.

Commands set both for the rest of their process. Programs are kept under the names of
all settings, so the tests that come after would find none of those that are kept.
"""

import contextlib
import os
from collections.abc import Iterator

FLAGS = "XLA_FLAGS"


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Takes back what is set inside."""
    import jax  # which reads what `conftest.py` has set

    before, flags = dict(jax.config.values), os.environ.get(FLAGS)
    yield
    now = jax.config.values
    changed = [key for key in before if now[key] != before[key]]
    for key in changed:
        jax.config.update(key, before[key])
    if "jax_enable_compilation_cache" in changed:  # JAX asks for it once
        from jax.experimental.compilation_cache import compilation_cache

        compilation_cache.reset_cache()
    if flags is not None:
        os.environ[FLAGS] = flags
    else:
        os.environ.pop(FLAGS, None)
