"""Which keys of a config the data choose (`tune`), and the record of it in a run.

Of an agent that starts as a policy without learning, and of the policies beside it,
numbers are chosen on training users (`policy_tuning`). A key keeps its value where it
differs from the default or is named in `tune_except`, as those of a command line are.
What was chosen is in the run's own config, which all that reads the run starts from,
and how it was chosen in `settings.json` beside it.
"""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from dlerse_jax.agents.registry import CLASSICAL, DEEP, RANK
from dlerse_jax.data import dataset_digest
from dlerse_jax.defaults import base_config
from dlerse_jax.environment.simulator import Simulator, make_simulator
from dlerse_jax.experiment.agent_keys import changed_keys
from dlerse_jax.experiment.build import build_environments, build_task
from dlerse_jax.experiment.ladder_search import Outcome
from dlerse_jax.experiment.policy_tuning import (
    LADDERS,
    STARTS,
    choose_settings,
    tunable_words,
)
from dlerse_jax.runs.choice import (
    SETTINGS_MEND,
    SETTINGS_NAME,
    read_choice,
    write_choice,
)
from dlerse_jax.runs.directory import CONFIG_NAME, read_config
from dlerse_jax.runs.manifest import digest_of
from dlerse_jax.runs.progress import silent
from dlerse_jax.types import Dataset

# Of an agent that learns: words of the policy that it starts as, by their keys where
# these are not `plus.WORD`.
FIRST_STAGE = {
    "rank": "network.width",
    "regularisation": "network.factor_regularisation",
    "answer_weight": "network.session_gain",
    "dislike_weight": "network.dislike_weight",
}
PLUS_WORDS: tuple[str, ...] = (
    "prior_weight",
    "two_hop_weight",
    "far_hops",
    "activity_power",
    "rank_weight",
    "tag_weight",
)
PLUS_WORDS += ("min_tag_uses", "ridge_rank", "ridge_power", "ridge_regularisation")
PLUS_WORDS += ("ridge_weight",)
# Without a ridge regression the gain is all there is of the session embedding.
SESSION = ("answer_weight",)
# What was chosen in this process, by question: points of a sweep ask the same.
_answers: dict[str, dict] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A policy whose settings are chosen, and the keys that hold them."""

    policy: str
    keys: Mapping[str, str]  # word -> flat key
    above_zero: tuple[str, ...] = ()  # words that would switch a part off

    def settings(self, config: ConfigDict) -> dict[str, float]:
        return {w: operator.attrgetter(key)(config) for w, key in self.keys.items()}


def stage_of(config: ConfigDict, name: str) -> Stage | None:
    """What an agent is before it learns, as a policy; None where nothing is chosen."""
    if name in CLASSICAL:
        words = config.baseline.get(name, {})
        keys = {word: f"baseline.{name}.{word}" for word in words}
        return Stage(policy=name, keys=keys) if keys and name != "mf_static" else None
    if name not in (*DEEP, RANK) or config.network.factors != "ease":
        return None
    if name != RANK and not DEEP[name].get("plus"):
        return _stage_without_plus(config)
    keys = FIRST_STAGE | {word: f"plus.{word}" for word in PLUS_WORDS}
    if config.plus.ridge_rank:
        return Stage(policy="linear_plus", keys=keys)
    keys = {word: key for word, key in keys.items() if not word.startswith("ridge_")}
    return Stage(policy="linear", keys=keys, above_zero=SESSION)


def _stage_without_plus(config: ConfigDict) -> Stage | None:
    """Of a deep agent: popularity and EASE on the answers.

    A new gate_heads differs from that: its gate weighs the answers anew in each state.
    Without a session embedding it is popularity, which has no number to choose.
    """
    if config.network.session_gain == 0:
        return None
    return Stage(policy="ease_popularity", keys=FIRST_STAGE, above_zero=SESSION)


def stages_of(config: ConfigDict) -> dict[str, Stage]:
    """Of a run: its agent's and its baselines', by agent."""
    names = dict.fromkeys([config.agent.name, *config.evaluation.baselines])
    found = {name: stage_of(config, name) for name in names}
    return {name: stage for name, stage in found.items() if stage}


def fixed_keys(config: ConfigDict) -> set[str]:
    """Keys that keep their value: named ones, and those that are not the default."""
    return {*config.tune_except, *changed_keys(config, base_config())}


def keep_given(config: ConfigDict, given: Iterable[str]) -> ConfigDict:
    """The config with what somebody gave, even at its default, in `tune_except`."""
    if not config.tune:
        return config
    kept = {*config.tune_except, *(_choosable(config) & set(given))}
    config = config.copy_and_resolve_references()
    config.tune_except = tuple(sorted(kept))
    return config.lock()


def check_except(config: ConfigDict) -> None:
    """ValueError for a key in `tune_except` that would not be chosen anyway."""
    for key in config.tune_except:
        if key not in _choosable(config):
            raise ValueError(
                f"tune_except names {key!r}, which is never chosen for "
                f"{config.agent.name} or a policy without learning; leave it out"
            )


def _choosable(config: ConfigDict) -> set[str]:
    stages = [stage_of(config, name) for name in (*CLASSICAL, config.agent.name)]
    return {key for stage in stages if stage for key in stage.keys.values()}


def choose(
    config: ConfigDict,
    dataset: Dataset,
    world: Simulator,
    stages: Mapping[str, Stage],
    *,
    known: Mapping[str, dict] | None = None,
    tell: Callable[[str], None] = silent,
) -> dict[str, dict]:
    """What the data choose for each agent of `stages`, as settings.json has it.

    dataset is the one that agents are built on, and the world one of its users. known:
    answers of other runs, by question.
    """
    fixed, digest, found = fixed_keys(config), dataset_digest(dataset), {}
    for name, stage in stages.items():
        settings = stage.settings(config)
        kept = sorted(word for word, key in stage.keys.items() if key in fixed)
        user = [config.episode.horizon, *config.user.to_dict().values()]
        asked = [stage.policy, settings, kept, digest, user, LADDERS, STARTS]
        question = digest_of([*asked, stage.above_zero])
        answer = _answers.get(question) or (known or {}).get(question)
        if answer is None:
            tell(f"choosing settings of {name} on training users")
            outcome, seconds = choose_settings(
                stage.policy,
                dataset,
                world,
                settings,
                fixed=kept,
                above_zero=stage.above_zero,
            )
            answer = _answer(question, stage, outcome, seconds)
            tell(_line(name, settings, answer))
        _answers[question] = answer
        free = [w for w in tunable_words(settings, dataset) if w not in kept]
        chosen = {stage.keys[word]: answer["settings"][word] for word in free}
        found[name] = answer | {"chosen": chosen}
    return found


def _answer(question: str, stage: Stage, outcome: Outcome, seconds: float) -> dict:
    return {
        "question": question,
        "policy": stage.policy,
        "settings": outcome.settings,
        "precision": outcome.mean,
        "precision_before": outcome.mean_of_start,
        "standard_error": outcome.standard_error,
        "num_users": outcome.num_users,
        "seconds": round(seconds, 1),
        "tried": [dataclasses.asdict(tried) for tried in outcome.tried],
    }


def _line(name: str, before: Mapping[str, float], answer: Mapping) -> str:
    after = answer["settings"]
    moved = [
        f"{word} {before[word]:g} -> {after[word]:g}"
        for word in before
        if after[word] != before[word]
    ]
    return (
        f"{name}: {', '.join(moved) or 'settings stay'}; precision of "
        f"{answer['num_users']} training users {answer['precision_before']:.4f} -> "
        f"{answer['precision']:.4f}"
    )


def with_choice(config: ConfigDict, agents: Mapping[str, dict]) -> ConfigDict:
    """The config with what was chosen; keys that are fixed in it stay."""
    config, fixed = config.copy_and_resolve_references(), fixed_keys(config)
    for answer in agents.values():
        free = {k: v for k, v in answer["chosen"].items() if k not in fixed}
        config.update_from_flattened_dict(free)
    return config.lock()


def with_stored_choice(config: ConfigDict, workdir: str | Path) -> ConfigDict:
    """The config of a run that was begun here, with its choice; else as it is.

    The choice of a run that was begun is never made again: ValueError where its file is
    gone, and for a wrong key in `tune_except`.
    """
    check_except(config)
    if not config.tune or not (Path(workdir) / CONFIG_NAME).exists():
        return config
    if not read_config(workdir).get("tune", False):
        return config  # who compares the configs says that this one had none
    agents = read_choice(workdir)
    if agents is None:
        raise ValueError(
            f"{workdir}: {SETTINGS_NAME} is missing, which this run's settings were "
            f"written to; {SETTINGS_MEND}"
        )
    return with_choice(config, agents)


def settle(
    configs: Sequence[ConfigDict],
    workdirs: Sequence[str | Path],
    dataset: Dataset,
    tell: Callable[[str], None] = silent,
) -> list[ConfigDict]:
    """Configs of one program with the settings that the data choose, written down.

    Runs that were begun keep theirs, and the others of the program get the same; as
    they are without `tune`. ValueError where runs of one program were begun with
    different choices.
    """
    if not configs[0].tune:
        return list(configs)
    begun = [d for d in workdirs if (Path(d) / CONFIG_NAME).exists()]
    stored = [read_choice(workdir) for workdir in begun]
    if any(_chosen(agents) != _chosen(stored[0]) for agents in stored):
        raise ValueError(
            f"{begun[0]} and another run of its program were begun with different "
            f"settings, as their {SETTINGS_NAME} say; take another --workdir"
        )
    agents = stored[0] if stored else None
    if agents is None:
        others = _of_folders(workdirs)
        stages = stages_of(configs[0])
        agents = _choose_for(configs[0], dataset, stages, known=others, tell=tell)
    for workdir in workdirs:
        if workdir not in begun:
            write_choice(workdir, agents)
    return [with_choice(config, agents) for config in configs]


def settled_agent(config: ConfigDict, dataset: Dataset) -> ConfigDict:
    """The config with what the data choose for its agent alone, of which no run is
    made; as it is without `tune`, and for an agent that has nothing to choose."""
    stage = stage_of(config, config.agent.name)
    if not config.tune or stage is None:
        return config
    return with_choice(config, _choose_for(config, dataset, {config.agent.name: stage}))


def _choose_for(
    config: ConfigDict, dataset: Dataset, stages, **more
) -> dict[str, dict]:
    """`choose` for the task and the world of a config, from all of the data."""
    known = build_task(config, dataset).known
    [world] = build_environments([config], known)
    return choose(config, known, world, stages, **more)


def _chosen(agents: Mapping[str, dict] | None) -> dict:
    return {name: answer["chosen"] for name, answer in (agents or {}).items()}


def _of_folders(workdirs: Iterable[str | Path]) -> dict[str, dict]:
    """Answers that runs beside these were given, by question: shards of a sweep."""
    found = {}
    for folder in {Path(workdir).parent for workdir in workdirs}:
        for path in folder.glob(f"*/{SETTINGS_NAME}"):
            try:
                agents = read_choice(path.parent) or {}
            except ValueError:
                continue  # the other run will say so itself
            found |= {answer["question"]: answer for answer in agents.values()}
    return found


def choose_alone(
    config: ConfigDict,
    name: str,
    dataset: Dataset,
    world: Simulator | None,
    *,
    given: Sequence[str],
) -> dict:
    """The choice for one agent outside a run, as `choose` says it; config is changed.

    given: keys that stay. world None: episodes as the config has them. ValueError for
    an agent that has nothing to choose.
    """
    config.tune = True
    if world is not None:
        config.episode.horizon, config.user.satiation = world.horizon, world.satiation
    config = keep_given(config, given)
    stage = stage_of(config, name)
    if stage is None:
        raise ValueError(
            f"{name} has no settings that a data set chooses; leave tune out, or take "
            "a policy without learning, or an agent that starts as one: dlerse_rank, "
            "dlerse_plus, dlerse_con and others with network.factors=ease and a "
            "network.session_gain above 0"
        )
    world = world or make_simulator(dataset, alpha=0.0, horizon=config.episode.horizon)
    return choose(config, dataset, world, {name: stage})[name]
