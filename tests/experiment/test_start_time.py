"""What every command waits for at its start: slow libraries come when they are used."""

import subprocess
import sys


def test_a_command_starts_without_drawing_and_statistics_libraries():
    slow = {"matplotlib", "scipy.stats", "optuna", "wandb", "pooch", "orbax.checkpoint"}
    program = (
        f"import sys, dlerse_jax.commands.main;print(sorted({slow} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"
