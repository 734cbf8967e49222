"""The picture in docs/architecture.md, checked: imports point downward only.

A new module belongs in LAYERS, and in the picture, in the same commit.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dlerse_jax"
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60

# A folder is one room: its modules may import each other.
LAYERS = {
    "types": 0,
    "files": 0,
    "data": 1,
    "tracking": 1,
    "run_folder": 1,
    "checkpoint": 1,
    "interrupts": 1,
    "defaults": 1,
    "keys": 1,
    "programs": 1,
    "devices": 1,
    "processes": 1,
    "graph": 2,
    "factors": 2,
    "simulator": 2,
    "selection": 1,
    "ridge": 2,
    "networks": 2,
    "social": 3,
    "catalogue": 2,
    "best_items": 3,
    "rollout": 3,
    "learning": 3,
    "agents": 4,
    "training": 5,
    "keeping": 5,
    "evaluation": 5,
    "reporting": 6,
    "run": 6,
    "traced": 6,
    "building": 7,
    "runner": 8,
    "api": 9,
    "sweeping": 9,
    "benching": 9,
    "re-evaluation": 10,
    "searching": 10,
    "commands": 11,
    "__init__": 12,
}
# What only some rooms may import; a room above `below` may import it freely.
RESERVED = [
    # (import, modules that may, below)
    ("jraph", {"types", "graph", "networks.gat"}, 13),
    ("wandb", {"tracking"}, 6),
    ("optuna", {"searching"}, 13),
    ("ml_collections", {"defaults"}, 6),
    ("absl.flags", set(), 6),
]

MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """`networks.gat` for networks/gat.py, `networks` for networks/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def room(name: str) -> str:
    return name.partition(".")[0]


def layer(name: str) -> int:
    if room(name) not in LAYERS:
        pytest.fail(
            f"dlerse_jax/{room(name)} has no layer: add it to LAYERS in {__file__} "
            "and to the picture in docs/architecture.md"
        )
    return LAYERS[room(name)]


def imports(path: Path, source: str) -> Iterator[str]:
    """Dotted names of all that a module imports, those inside functions too."""
    package = ("dlerse_jax", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def own_room(imported: str) -> str | None:
    """The room of this package that an import reaches; None for another package.

    A public name of the package itself, as `from dlerse_jax import train`, is of
    `__init__`, the top.
    """
    parts = imported.split(".")
    if parts[0] != "dlerse_jax":
        return None
    inner = parts[1] if len(parts) > 1 else "__init__"
    is_room = inner in LAYERS or (PACKAGE / inner).is_dir()
    return inner if is_room or (PACKAGE / f"{inner}.py").exists() else "__init__"


def wrong_arrows(path: Path, source: str) -> list[str]:
    here = module_name(path)
    return [
        f"{here} ({layer(here)}) imports {imported} ({layer(target)})"
        for imported in imports(path, source)
        if (target := own_room(imported))
        and target != room(here)
        and layer(target) >= layer(here)
    ]


def reserved_imports(path: Path, source: str) -> list[str]:
    here = module_name(path)
    return [
        f"{here} imports {imported}"
        for imported in imports(path, source)
        for reserved, allowed, below in RESERVED
        if f"{imported}.".startswith(f"{reserved}.")
        and here not in allowed
        and layer(here) < below
    ]


def lengths(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.fixture(params=MODULES, ids=module_name)
def module(request) -> tuple[Path, str]:
    return request.param, request.param.read_text()


def test_imports_point_downward(module):
    assert wrong_arrows(*module) == []


def test_libraries_stay_in_their_room(module):
    assert reserved_imports(*module) == []


def test_every_module_says_why_it_exists(module):
    path, source = module
    is_bare_package = path.name == "__init__.py" and not source.strip()
    assert is_bare_package or ast.get_docstring(ast.parse(source))


def test_modules_and_functions_fit_a_screen(module):
    _, source = module
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    long = {name: n for name, n in lengths(source) if n > MAX_FUNCTION_LINES}
    assert long == {}


@pytest.mark.parametrize(
    ("path", "line", "wrong"),
    [
        ("graph.py", "from dlerse_jax.types import Dataset", 0),
        ("graph.py", "from dlerse_jax import types", 0),
        ("graph.py", "import dlerse_jax.agents.dqn.learner", 1),
        ("graph.py", "from dlerse_jax import runner", 1),
        ("graph.py", "from .simulator import reset", 1),
        ("graph.py", "from . import training", 1),
        ("graph.py", "def f():\n    from dlerse_jax.networks import gat", 1),
        ("graph.py", "from dlerse_jax import train_by_public_name", 1),
        ("commands/train.py", "import dlerse_jax as dj", 1),
        ("data/tables.py", "from dlerse_jax.data.split import split_users", 0),
        ("data/tables.py", "from . import split", 0),
        ("data/tables.py", "from .. import tracking", 1),
        ("learning/losses.py", "from dlerse_jax.agents import dqn", 1),
        ("agents/dqn.py", "import jax", 0),
    ],
)
def test_the_check_sees_arrows_up_and_sideways(path, line, wrong):
    assert len(wrong_arrows(PACKAGE / path, line)) == wrong


@pytest.mark.parametrize(
    ("path", "line", "wrong"),
    [
        ("networks/gat.py", "import jraph", 0),
        ("networks/heads.py", "import jraph", 1),
        ("commands/bench.py", "import jraph", 1),
        ("tracking.py", "def f():\n    import wandb.errors", 0),
        ("training.py", "from wandb import init", 1),
        ("defaults.py", "from ml_collections import config_dict", 0),
        ("evaluation/metrics.py", "from ml_collections import ConfigDict", 1),
        ("runner.py", "from ml_collections import ConfigDict", 0),
        ("training.py", "from absl import flags", 1),
        ("training.py", "from absl import logging", 0),
    ],
)
def test_the_check_sees_libraries_out_of_their_room(path, line, wrong):
    assert len(reserved_imports(PACKAGE / path, line)) == wrong


def test_a_module_without_a_layer_is_told_where_to_go():
    with pytest.raises(pytest.fail.Exception, match="add it to LAYERS"):
        wrong_arrows(PACKAGE / "shed.py", "from dlerse_jax import types")
