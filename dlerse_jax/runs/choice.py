"""`settings.json` of a run: which settings the data chose for each agent, and how.

The run's config has the chosen numbers too; this file says which of them were chosen,
and has every point that was tried.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from dlerse_jax.runs.directory import read_json
from dlerse_jax.runs.manifest import digest_of
from dlerse_jax.runtime.atomic_files import write_atomically

SETTINGS_NAME = "settings.json"
SETTINGS_MEND = "bring the file back as the run wrote it, or take another --workdir"


def read_choice(workdir: str | Path) -> dict[str, dict] | None:
    """What a run directory says was chosen, by agent; None where nothing was.

    ValueError where the file is damaged.
    """
    path = Path(workdir) / SETTINGS_NAME
    if not path.exists():
        return None
    content = read_json(path, mend=SETTINGS_MEND)
    checksum = content.pop("sha256", None)
    if checksum != digest_of(content) or not isinstance(content.get("agents"), dict):
        raise ValueError(f"{path} is damaged or was edited; {SETTINGS_MEND}")
    return content["agents"]


def write_choice(workdir: str | Path, agents: Mapping[str, dict]) -> None:
    """agents: what was chosen for each, as `read_choice` gives it."""
    content = {"agents": dict(agents)}
    text = json.dumps(content | {"sha256": digest_of(content)}, indent=2) + "\n"
    write_atomically(Path(workdir) / SETTINGS_NAME, text.encode())


def chosen_keys(workdir: str | Path) -> frozenset[str]:
    """Config keys of a run whose values the data chose; errors of `read_choice`."""
    agents = read_choice(workdir) or {}
    return frozenset(key for answer in agents.values() for key in answer["chosen"])
