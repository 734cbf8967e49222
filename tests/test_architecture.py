"""The picture in docs/architecture.md, held against the code's own imports.

A room is a folder of the package (a folder of `agents/` is one of its own) or a module
at its top. Its layer is one above the highest room that it imports. The picture lists
the rooms by layer; a new room, an import that lifts a room or a circle fails here until
the picture says so.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dlerse_jax"
PICTURE = ROOT / "docs" / "architecture.md"
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60

# What only some rooms or modules may import.
RESERVED = {
    "jraph": {"types", "graph.attention_graph", "networks.gat"},
    "wandb": {"runs.wandb_mirror"},
    "optuna": {"experiment.search"},
    "ml_collections": {"defaults", "experiment", "api", "commands"},
    "absl.flags": {"experiment", "commands"},
    "matplotlib": {"reporting"},
}
# What a room may never import, however it is layered.
FORBIDDEN = {"data": {"jax", "flax", "optax"}, "runtime": {"dlerse_jax"}}


def module_name(path: Path) -> str:
    """`networks.gat` for networks/gat.py, `networks` for networks/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """`agents.dqn` for agents.dqn.policy; a folder's or a top module's own name."""
    parts = module.split(".")
    is_nested = parts[0] == "agents" and (PACKAGE / "agents" / parts[-1]).is_dir()
    if parts[0] == "agents" and (len(parts) > 2 or is_nested):
        return ".".join(parts[:2])
    return parts[0]


def imported_names(module: str, source: str) -> Iterator[str]:
    """Dotted names of all that a module imports, those inside functions too.

    An import under `if TYPE_CHECKING:` counts: it is an arrow to the reader.
    """
    is_folder = module in MODULES and MODULES[module].name == "__init__.py"
    parts = ("dlerse_jax", *module.split("."))
    package = parts if is_folder else parts[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def own_module(imported: str) -> str | None:
    """The module of this package that a dotted name reaches; None for another's."""
    first, _, inner = imported.partition(".")
    if first != "dlerse_jax":
        return None
    while inner and inner not in MODULES:
        inner = inner.rpartition(".")[0]
    return inner or "__init__"


@functools.cache
def imported_rooms(module: str, source: str) -> frozenset[str]:
    targets = map(own_module, imported_names(module, source))
    return frozenset(room(target) for target in targets if target) - {room(module)}


def arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """Room -> rooms that it imports, measured from modules' sources."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        found.setdefault(room(module), set()).update(imported_rooms(module, source))
    return found


def layers(graph: dict[str, set[str]]) -> dict[str, int]:
    """Room -> its layer; a circle is an error that names it."""

    def layer(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            pytest.fail(f"rooms import each other in a circle: {circle}")
        below = [layer(other, (*path, name)) for other in graph.get(name, ())]
        return 1 + max(below, default=-1)

    return {name: layer(name, ()) for name in graph}


def drawn_layers(picture: str) -> dict[str, int]:
    lines = re.findall(r"^layer (\d+): (.+)$", picture, flags=re.MULTILINE)
    return {
        name.strip(): int(number) for number, row in lines for name in row.split(",")
    }


def sources() -> dict[str, str]:
    return {module: path.read_text() for module, path in MODULES.items()}


def test_the_picture_is_what_the_imports_say():
    measured = layers(arrows(sources()))
    del measured["__init__"]  # the public names stand above all
    assert drawn_layers(PICTURE.read_text()) == measured


@pytest.mark.parametrize(
    ("module", "line", "changes"),
    [
        ("graph.sampling", "from dlerse_jax.types import Dataset", False),
        ("graph.sampling", "from dlerse_jax import types", False),
        ("retrieval.argmax", "import dlerse_jax.data.split", True),
        ("runtime.signals", "def f():\n    from dlerse_jax.networks import gat", True),
        ("evaluation.metrics", "from ..agents.dqn import learner", True),
        ("data.split", "from . import prepare", False),
        ("agents.dqn.policy", "from dlerse_jax.agents.two_stage import agent", True),
        ("api", "from dlerse_jax.data import load_dataset", False),
    ],
)
def test_a_new_import_that_lifts_a_room_is_seen(module, line, changes):
    before, code = layers(arrows(sources())), sources()
    code[module] += f"\n{line}\n"
    try:
        after = layers(arrows(code))
    except pytest.fail.Exception:
        after = None  # a circle
    assert (after != before) is changes


def reserved_imports(module: str, source: str) -> list[str]:
    names = [*imported_names(module, source)]
    places = {module, room(module), module.partition(".")[0]}
    return [
        f"{module} imports {name}"
        for name in names
        for library, allowed in RESERVED.items()
        if f"{name}.".startswith(f"{library}.") and not places & allowed
    ] + [
        f"{module} imports {name}"
        for name in names
        for library in FORBIDDEN.get(room(module), ())
        if f"{name}.".startswith(f"{library}.")
        and room(own_module(name) or "") != room(module)
    ]


@pytest.fixture(params=sorted(MODULES))
def module(request) -> tuple[str, str]:
    return request.param, MODULES[request.param].read_text()


def test_libraries_stay_in_their_room(module):
    assert reserved_imports(*module) == []


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("networks.gat", "import jraph", 0),
        ("networks.heads", "import jraph", 1),
        ("runs.wandb_mirror", "def f():\n    import wandb.errors", 0),
        ("learning.train_loop", "from wandb import init", 1),
        ("defaults", "from ml_collections import config_dict", 0),
        ("experiment.runner", "from ml_collections import ConfigDict", 0),
        ("evaluation.metrics", "from ml_collections import ConfigDict", 1),
        ("agents.dqn.policy", "from absl import flags", 1),
        ("agents.dqn.policy", "from absl import logging", 0),
        ("data.split", "import jax.numpy as jnp", 1),
        ("runtime.signals", "from dlerse_jax import types", 1),
        ("runtime.signals", "from dlerse_jax.runtime import sharding", 0),
    ],
)
def test_the_check_sees_libraries_out_of_their_room(module, line, wrong):
    assert len(reserved_imports(module, line)) == wrong


def test_every_module_says_why_it_exists(module):
    assert ast.get_docstring(ast.parse(module[1]))


def lengths(source: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def test_modules_and_functions_fit_a_screen(module):
    _, source = module
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    long = {name: n for name, n in lengths(source) if n > MAX_FUNCTION_LINES}
    assert long == {}
