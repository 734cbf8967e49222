"""What rows and curves are called: the agent, and the settings in which it differs.

Only settings that reach an agent tell it apart: a policy without learning has those of
its own section of `baseline` and those of the task.
"""

import collections
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence

from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.defaults import base_config
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.runs.records import Run, flat_config, named_config

MOST_LETTERS = 160  # of a name; longer ones end in a digest that tells them apart
# Settings that tell repetitions of one experiment apart, not experiments.
REPETITION_KEYS = {
    "seed",
    "num_seeds",
    "data.path",
    "data.split",
    "evaluation.baselines",
    "evaluation.every",
    "evaluation.least_users",  # a check: no number hangs on it
    "evaluation.seeds",  # the agent's name says it
}
# Settings that `Run.protocol` says, where the protocol reads them at all.
PROTOCOL_KEYS = {
    "evaluation.protocol",
    "evaluation.others_per_like",
    "evaluation.ranking_of",
}
# Settings of the task, which all agents of a table must share.
TASK_PREFIXES = ("data.", "episode.", "evaluation.", "reward.miss", "user.")
# Settings of the agent among those: what it plays with.
NO_TASK_KEYS = {"evaluation.select"}

Config = Mapping[str, object]


def settings_of(agent: str, config: Config) -> dict[str, object]:
    """The part of a flat config that reaches an agent."""
    if agent not in CLASSICAL:
        return dict(config)
    own = f"baseline.{agent}."
    return {k: v for k, v in config.items() if k.startswith(own) or is_task_key(k)}


def names_of(entries: Sequence[tuple[str, Config]]) -> list[str]:
    """For each agent with its flat config: its name and where its peers differ.

    A setting is called by the last word of its key, where no other one has that word.
    """
    own = [(agent, settings_of(agent, config)) for agent, config in entries]
    peers = collections.defaultdict(list)
    for agent, config in own:
        peers[agent].append(config)
    names = []
    for agent, config in own:
        keys = differing(peers[agent])
        words = short_names(keys)
        settings = [f"{words[key]}={config[key]}" for key in keys if key in config]
        names.append(shorten(agent + (f" ({', '.join(settings)})" if settings else "")))
    return names


def contender_names(runs: Sequence[Run]) -> list[str]:
    """`names_of` the runs' own agents."""
    return names_of([(run.agent, named_config(run)) for run in runs])


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """`differing` keys of the runs' configs."""
    return differing([named_config(run) for run in runs])


def differing(configs: Sequence[Config]) -> list[str]:
    """Flat keys that not all configs share the value of, in the order of the config.

    Left out are those that tell repetitions or protocols apart. A config that is older
    than a key has the key's default.
    """
    values = [_defaults() | dict(config) for config in configs]
    return [
        key
        for key in dict.fromkeys(key for config in configs for key in config)
        if key not in REPETITION_KEYS | PROTOCOL_KEYS
        and not key.startswith(("tracking.", "serve."))
        and any(config.get(key) != values[0].get(key) for config in values)
    ]


@functools.cache
def _defaults() -> dict[str, object]:
    return dict(flat_items(base_config().to_dict()))


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last word of each key, or the whole key where two have that word."""
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: word if last.count(word) == 1 else key
        for key, word in zip(keys, last, strict=True)
    }


def task_words(run: Run, keys: Iterable[str]) -> str:
    """`key=value, ...` of the task's settings in which its peers differ."""
    config = flat_config(run)
    words = [f"{k}={config[k]}" for k in keys if k in config and is_task_key(k)]
    return shorten(", ".join(words))


def is_task_key(key: str) -> bool:
    """Whether a setting belongs to the task, and not to the agent."""
    return key.startswith(TASK_PREFIXES) and key not in NO_TASK_KEYS


def shorten(name: str) -> str:
    """The name on one line, a very long one with a digest in place of its end."""
    if len(name) > MOST_LETTERS:
        digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:8]
        name = f"{name[: MOST_LETTERS - 10]}… {digest}"
    return " ".join(name.split())
