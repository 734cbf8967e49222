"""Whether JAX is set up as this package needs it; a mistake there is one line."""

import os

import jax

from dlerse_jax.runtime.messages import one_line


def check_backend() -> None:
    """ValueError where JAX finds no device, or would compute in 64 bits.

    Call it once several processes have met, and before anything is compiled.
    """
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            "JAX_ENABLE_X64 is on, and everything here computes in 32 bits: unset it, "
            "or jax.config.update('jax_enable_x64', False)"
        )
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter without a plugin
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise ValueError(
            f"JAX finds no device (JAX_PLATFORMS is {wanted!r}: {one_line(error)}); "
            "set JAX_PLATFORMS=cpu, or install the plugin: pip install "
            "'dlerse_jax[gpu]' or 'dlerse_jax[tpu]'"
        ) from error
