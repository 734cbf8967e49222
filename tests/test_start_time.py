"""What every command waits for at its start: slow libraries come when they are used.

And programs that were compiled before are not compiled again.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from dlerse_jax.commands import main


def test_a_command_starts_without_drawing_and_statistics_libraries():
    slow = {"matplotlib", "scipy.stats", "optuna", "wandb"}
    program = (
        f"import sys, dlerse_jax.commands.main;print(sorted({slow} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("chosen, threshold", [(None, 0.0), ("3", None)])
def test_short_compiles_are_cached_too_unless_the_user_said_otherwise(
    monkeypatch, chosen, threshold
):
    name = "jax_persistent_cache_min_compile_time_secs"
    monkeypatch.delenv(name.upper(), raising=False)
    if chosen:
        monkeypatch.setenv(name.upper(), chosen)
    told = {}
    config = SimpleNamespace(jax_compilation_cache_dir=None, update=told.__setitem__)
    monkeypatch.setattr(main, "jax", SimpleNamespace(config=config))
    main._set_up_jax()
    assert told["jax_compilation_cache_dir"].endswith("dlerse_jax/xla")
    assert told.get(name) == threshold
