"""Every file in sweeps/: its points are configs, all different, as many as it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from absl import flags
from ml_collections.config_flags import config_flags
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from dlerse_jax.commands import main as command_line
from dlerse_jax.experiment.grid import add_grid
from dlerse_jax.experiment.sweep import make_points, read_sweep

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sweeps").glob("*.py"))
AGENT_FILES = sorted((ROOT / "sweeps" / "wandb").glob("*.yaml"))


@pytest.fixture(autouse=True)
def in_project_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("option", ["", ":quick"])
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_points_are_locked_configs_as_many_as_the_docstring_says(file, option):
    sweep = read_sweep(f"{file}{option}")
    # make_points refuses unknown keys, wrong types and two points that are the same.
    points = make_points(sweep, _config(sweep.base))
    assert all(point.config.is_locked for point in points)
    assert len({point.name for point in points}) == len(points)
    said = r"`:quick`\s+has\s+(\d+)" if option else r"(\d+)\s+points"
    assert len(points) == int(re.search(said, _docstring(file)).group(1))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_quick_points_need_no_file_and_are_small(file):
    points = make_points(sweep := read_sweep(f"{file}:quick"), _config(sweep.base))
    assert {point.config.data.name for point in points} == {"synthetic"}
    assert max(
        p.config.pretrain.num_updates + p.config.q_learning.num_updates for p in points
    )
    assert max(point.config.q_learning.act_batch for point in points) <= 16


def test_there_are_sweeps_for_the_agents_of_wandb():
    """They were once left out of the repository by .gitignore."""
    assert {path.stem for path in AGENT_FILES} == {"alpha_hops", "learning"}


@pytest.mark.parametrize("file", AGENT_FILES, ids=lambda path: path.stem)
def test_wandb_agents_call_train_as_it_reads_its_arguments(file, tmp_path, monkeypatch):
    """The agent's own expansion, a shell, and our parser: only the run is left out."""
    plan = yaml.safe_load(file.read_text())
    chosen = {
        name: {"value": spec["value"] if "value" in spec else _first_value(spec)}
        for name, spec in plan["parameters"].items()
    }
    given = _arguments_after_the_shell(plan["command"], chosen, tmp_path)
    calls = []
    monkeypatch.setattr(
        command_line.train,
        "train",
        lambda config, workdir, quiet: calls.append((config, workdir)),
    )
    assert command_line.main(given) == 0
    [(config, workdir)] = calls
    assert workdir == Path("runs/wandb/run7")
    for name, each in chosen.items():
        section = config.to_dict()
        for word in name.removeprefix("config.").split("."):
            section = section[word]
        assert section == each["value"]


def _arguments_after_the_shell(command, chosen, tmp_path) -> list[str]:
    """What `dlerse` would be called with, heard by a stand-in ahead of it on PATH."""
    stand_in = tmp_path / "dlerse"
    stand_in.write_text(
        f"#!{sys.executable}\nimport sys\nprint(*sys.argv[1:], sep='\\n')"
    )
    stand_in.chmod(0o755)
    expanded = create_sweep_command_args({"args": chosen})["args"]
    words = [w for part in command for w in (expanded if part == "${args}" else [part])]
    answer = subprocess.run(
        words,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "WANDB_RUN_ID": "run7"},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.splitlines()


def _first_value(spec: dict):
    return spec["values"][0] if "values" in spec else spec["min"]


def _docstring(file: Path) -> str:
    return re.match(r'"""(.*?)"""', file.read_text(), re.DOTALL).group(1)


def _config(base: str):
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", base, flag_values=values)
    values(["test"])
    return values.config


def test_a_grid_is_every_combination_and_what_is_always_alike():
    points = []
    add_grid(points.append, {"a": (1, 2), "b": (3, 4)}, {"c": 5})
    assert [tuple(point.values()) for point in points] == [
        (1, 3, 5),
        (1, 4, 5),
        (2, 3, 5),
        (2, 4, 5),
    ]
    with pytest.raises(ValueError, match="a has no values"):
        add_grid(points.append, {"a": ()})
    with pytest.raises(ValueError, match="a is in the grid"):
        add_grid(points.append, {"a": (1,)}, {"a": 2})
