"""What a run's config must hold beside each number's range, before anything is built.

`check_run` looks at words and at two keys together, `check_dataset` at the data too,
and `notes_on_dataset` tells what a run can be made with, but who makes it should know.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from dlerse_jax.agents.registry import AGENTS, CLASSICAL, OFFLINE, RANK
from dlerse_jax.agents.two_stage.tables import make_folds
from dlerse_jax.config_ranges import check_ranges
from dlerse_jax.data import check_folds, dataset_digest
from dlerse_jax.evaluation.summary import RANKING_CUTOFFS
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.experiment.early_stopping import check_select
from dlerse_jax.runs.directory import check_data_beside, flat_items
from dlerse_jax.types import Dataset

SEEDS = ("individual", "ensemble")


def check_run(config: ConfigDict) -> None:
    """ValueError, naming the key, for what no run can be made of."""
    check_ranges(flat_items(config.to_dict()))
    if config.agent.name not in AGENTS:
        raise ValueError(
            f"agent.name is {config.agent.name!r}, expected one of {', '.join(AGENTS)}"
        )
    _check_periods(config)
    _check_evaluation(config)
    _check_pairs(config)


def check_same_data(configs: Sequence[ConfigDict], folder: Path) -> None:
    """ValueError where runs in the folder began with data that have changed since.

    Of these configs alone; each data set that they name is read once.
    """
    sections = {config.data.to_json(sort_keys=True): config for config in configs}
    for config in sections.values():
        digest = dataset_digest(build_dataset(config))
        check_data_beside(folder, config.to_dict(), digest)


def check_dataset(config: ConfigDict, dataset: Dataset) -> None:
    """ValueError where the data are too few for what the config asks."""
    check_folds(dataset, least=config.evaluation.least_users)
    if config.agent.name == RANK:
        make_folds(dataset.split.train, config.rank.folds)
    shortest = min(RANKING_CUTOFFS)
    if config.evaluation.protocol == "ranking" and dataset.num_items < shortest:
        raise ValueError(
            f"{dataset.name} has {dataset.num_items} items, and the shortest list of a "
            f"ranking has {shortest}; take --config.evaluation.protocol=cold"
        )


def notes_on_dataset(config: ConfigDict, dataset: Dataset) -> Iterator[str]:
    """Lines to tell before a run on these data is made."""
    horizon, num_items = config.episode.horizon, dataset.num_items
    if num_items / 2 < horizon <= num_items:  # longer ones are refused
        yield (
            f"an episode shows {horizon} of {num_items} items, and who is shown nearly "
            "all finds nearly all: precision over it hardly tells agents apart; take "
            f"--config.episode.horizon={max(1, num_items // 8)}"
        )


def phase_lengths(config: ConfigDict) -> dict[str, int]:
    """Updates of each phase; an agent without it makes none."""
    name = config.agent.name
    pretrains = name not in CLASSICAL
    learns = config.rank.q_learning if name == RANK else name not in OFFLINE
    learns = pretrains and learns
    return {
        "pretrain": config.pretrain.num_updates * pretrains,
        "q_learning": config.q_learning.num_updates * learns,
    }


def _check_periods(config: ConfigDict) -> None:
    every = config.tracking.every
    lengths = phase_lengths(config).items()
    counts = {f"{phase}.num_updates": length for phase, length in lengths}
    counts["tracking.checkpoint_every"] = config.tracking.checkpoint_every
    counts["evaluation.every"] = config.evaluation.every
    for key, number in counts.items():
        if number % every:
            raise ValueError(
                f"{key} is {number}, which is not a multiple of tracking.every "
                f"({every}); everything between two log lines is one compiled program"
            )


def _check_evaluation(config: ConfigDict) -> None:
    check_select(config.evaluation.select)
    if config.evaluation.seeds not in SEEDS:
        raise ValueError(
            f"evaluation.seeds is {config.evaluation.seeds!r}, expected "
            f"{' or '.join(SEEDS)}"
        )
    for name in config.evaluation.baselines:
        if name not in CLASSICAL:
            raise ValueError(
                f"evaluation.baselines names {name!r}, expected some of "
                f"{', '.join(CLASSICAL)}; an agent that is trained needs its own run"
            )


def _check_pairs(config: ConfigDict) -> None:
    q_learning, world = config.q_learning, config.data.synthetic
    if q_learning.mask_least > q_learning.mask_most:
        raise ValueError(
            f"q_learning.mask_least is {q_learning.mask_least}, above "
            f"q_learning.mask_most ({q_learning.mask_most}): shares are drawn between"
        )
    if world.num_items < world.num_communities:
        raise ValueError(
            f"data.synthetic.num_items is {world.num_items}, below "
            f"data.synthetic.num_communities ({world.num_communities})"
        )
