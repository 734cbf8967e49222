"""Which settings an agent reads: one that does nothing for it is refused.

Checked is what somebody chose for this agent: overrides of a command line or of
`make_agent`, the changes of a sweep's point, and, where an experiments file names the
agent, what that file sets. A file that leaves the agent to others (a sweep over agents,
`--config.agent.name=`) may hold settings for all of them. Keys of data, environment,
evaluation and tracking belong to a run, whichever agent it has; of those of data, one
that the data's format does not read is refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from dlerse_jax.agents.registry import AGENTS, CLASSICAL, DEEP, OFFLINE, RANK
from dlerse_jax.data.loading import FORMATS, FORMATS_BY_NAME, RATING_TEXTS
from dlerse_jax.defaults import apply_option, base_config
from dlerse_jax.experiment.config_files import known_keys
from dlerse_jax.runs.directory import flat_items

SECTIONS: tuple[str, ...] = (
    "network",
    "plus",
    "rank",
    "pretrain",
    "q_learning",
    "optimizer",
)
SECTIONS += ("baseline", "offline")
# Of a deep agent: what a preset may fix, by its word in `registry.DEEP`.
FIXED = {
    "hops": "network.hops",
    "gamma": "q_learning.gamma",
    "contrastive_weight": "q_learning.contrastive_weight",
}
INSTEAD = {  # an agent that fixes something -> the one that leaves it open
    "sadqn": "dlerse_add",
    "sadqn_plus": "dlerse_add",
    "dlerse_myopic": "dlerse_con",
    "deers": "dqn with network.encoder dual_gru",
}
RANK_NETWORK: tuple[str, ...] = (
    "factors",
    "width",
    "factor_regularisation",
    "session_gain",
)
RANK_NETWORK += ("dislike_weight",)
# Of `q_learning`: what the order of dlerse_rank is learned with.
RANK_ORDER: tuple[str, ...] = ("num_updates", "gamma", "act_batch")
RANK_ORDER += ("epsilon_first", "epsilon_last")
LENGTHS = ("pretrain.num_updates", "q_learning.num_updates")  # 0 suits every agent

# Of `data.table`: what formats read whose files have names of their own.
LAYOUT: dict[str, tuple[str, ...]] = {
    "hetrec_lastfm": ("friends", "features"),
    "hetrec_delicious": ("friends", "features"),
    "recbole": ("friends", "features", "separator", "rating", "title", "friend_weight"),
    **dict.fromkeys(RATING_TEXTS, ("interactions", "friends", "features")),
}
OWN_FRIENDS = ("hetrec_lastfm", "hetrec_delicious", "recbole")  # or none
OF_FEATURES = ("item", "separator", "header")  # a features file is read by these
SYNTHETIC = ("name", "format", "split", "cold_items", "table.features")


def settings_read(name: str) -> set[str]:
    """Keys of SECTIONS that an agent reads, under one config or another."""
    every = list(known_keys())
    return {key for key in every if _may_read(name, key)}


def _may_read(name: str, key: str) -> bool:
    section, _, word = key.partition(".")
    if name in CLASSICAL:
        return key.startswith(f"baseline.{name}.")
    if name in OFFLINE:
        return key.startswith(f"offline.{name}.") or key == LENGTHS[0]
    if name == RANK:
        some = {"network": RANK_NETWORK, "q_learning": RANK_ORDER}
        of_section = section in ("rank", "plus") or word in some.get(section, ())
        return of_section or key == LENGTHS[0]
    if section == "plus":
        return bool(DEEP[name].get("plus"))
    fixed = {FIXED[word] for word in DEEP[name] if word in FIXED}
    return section in SECTIONS[:6] and section != "rank" and key not in fixed


def check_settings(config: ConfigDict, keys: Iterable[str], name: str = "") -> None:
    """ValueError for a key that does nothing for the agent, with what it could be.

    name: of another agent than the config's.
    """
    name = name or config.agent.name
    if name not in AGENTS:
        return  # `build_agent` says so
    read, idle = settings_read(name), dict(_idle(config, name))
    values = dict(flat_items(config.to_dict()))
    for key in sorted(keys):
        _check_data_key(config, key, values.get(key))
        is_setting = key.partition(".")[0] in SECTIONS
        if not is_setting or (key in LENGTHS and values.get(key) == 0):
            continue
        if key not in read:
            raise ValueError(f"{key} does nothing for {name}{_instead(name, key)}")
        if key in idle:
            raise ValueError(f"{key} does nothing for {name} {idle[key]}")


def _check_data_key(config: ConfigDict, key: str, value: Any) -> None:
    """ValueError for a key of data that is no default and that their format ignores."""
    section, _, word = key.partition(".")
    format = config.data.format or FORMATS_BY_NAME.get(config.data.name, "")
    if section != "data" or format not in FORMATS:
        return
    if value == known_keys()[key]:
        return
    if not _reads(format, word, has_features=config.data.table.features != ""):
        raise ValueError(
            f"{key} does nothing for data of format {format}; leave it out"
        )
    if word == "table.friends" and value and format in OWN_FRIENDS:
        raise ValueError(
            f"{key} names no file for data of format {format}; leave it out, or let it "
            "be empty to go without friends"
        )


def _reads(format: str, word: str, *, has_features: bool) -> bool:
    section, _, column = word.partition(".")
    if format == "synthetic" or section == "synthetic":
        own = section == "synthetic" or word in SYNTHETIC
        return format == "synthetic" and own
    if word == "item_kind":
        return format == "hetrec_delicious"
    if section != "table" or format == "table":
        return True
    return column in LAYOUT[format] or (has_features and column in OF_FEATURES)


def that_act(config: ConfigDict, settings: Mapping[str, Any], name: str) -> dict:
    """Settings, by key in full, without those that others of them make idle."""
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(settings)
    idle = dict(_idle(changed, name))
    return {key: value for key, value in settings.items() if key not in idle}


def _instead(name: str, key: str) -> str:
    for word, fixed in FIXED.items():
        if key == fixed and word in DEEP.get(name, {}):
            value = DEEP[name][word]
            return f", which has {value:g}; leave it out, or take {INSTEAD[name]}"
    others = [other for other in AGENTS if _may_read(other, key)]
    more = " or another that reads it" if len(others) > 2 else ""
    return f"; leave it out, or take {' or '.join(others[:2])}{more}"


def _idle(config: ConfigDict, name: str) -> Iterator[tuple[str, str]]:
    """Keys that another setting of the same agent makes idle, and which one does."""
    network, plus = config.network, config.plus
    if name == RANK and not config.rank.q_learning:
        why = "while rank.q_learning is False; set that to True"
        yield from ((f"q_learning.{word}", why) for word in RANK_ORDER)
        yield "rank.answer_rank", why
    has_plus = name == RANK or bool(DEEP.get(name, {}).get("plus"))
    if name in DEEP:
        preset = DEEP[name]
        fusion = network.fusion or preset["fusion"]
        if fusion == "none":
            why = "while network.fusion is none: it reads no friends; take dlerse_con"
            yield from ((f"network.{key}", why) for key in ("hops", "heads", "fan_out"))
        elif preset.get("hops", network.hops) == 0:
            why = "while network.hops is 0; set that to 1 or more"
            yield from ((f"network.{key}", why) for key in ("heads", "fan_out"))
        if config.pretrain.loss == "squared":
            why = "while pretrain.loss is squared; set that to cross_entropy"
            yield "pretrain.steps", why
    if network.factors != "ease":
        why = f"while network.factors is {network.factors}; set that to ease"
        yield "network.factor_regularisation", why
    if network.session_gain == 0 and not (has_plus and plus.ridge_rank):
        why = "while network.session_gain is 0; set that above 0"
        yield "network.dislike_weight", why
    own = f"baseline.{name}" if name in CLASSICAL else "plus"
    options = config.baseline.get(name, plus)
    yield from _idle_evidence(own, options)
    if name != RANK and options.get("two_hop_weight") == 0:  # its head reads them
        yield f"{own}.far_hops", f"while {own}.two_hop_weight is 0; set that above 0"


def _idle_evidence(section: str, options: ConfigDict) -> Iterator[tuple[str, str]]:
    """Of what dlerse_plus and policies without learning share: tags and the ridge."""
    for switch, words in (
        ("tag_weight", ("min_tag_uses",)),
        ("ridge_rank", ("ridge_power", "ridge_regularisation", "ridge_weight")),
    ):
        if options.get(switch) == 0:
            why = f"while {section}.{switch} is 0; set that above 0"
            yield from ((f"{section}.{word}", why) for word in words)


def check_command(config: ConfigDict, given: Iterable[str], option: str = "") -> None:
    """Refuses what does nothing of a config file's keys and of those given beside it.

    option is the file's own, as `quick`. The file answers for its keys where it names
    the agent, and the command line does not name another. What it says of policies
    without learning is of its data set, whichever of them a run is compared with.
    """
    given = set(given)
    default = apply_option(base_config(), option)
    # Those of a policy that the run is compared with are read, whichever agent it has.
    others = set(config.evaluation.baselines) - {config.agent.name}
    beside = tuple(f"baseline.{name}." for name in others)
    keys = {key for key in given if not key.startswith(beside)}
    if config.agent.name != default.agent.name and "agent.name" not in given:
        changed = changed_keys(config, default)
        keys |= {key for key in changed if not key.startswith(("baseline.", "data."))}
    check_settings(config, keys)


def check_changed(config: ConfigDict) -> None:
    """Refuses what somebody changed in a config and its agent does not read.

    For a config that comes from Python: nobody says there who changed what. Values of
    `quick` count as unchanged, those of policies without learning as above, and those
    of a synthetic world, which other data may have taken the place of.
    """
    quick = apply_option(base_config(), "quick")
    changed = changed_keys(config, base_config()) & changed_keys(config, quick)
    others = ("baseline.", "data.synthetic.")
    check_settings(config, {key for key in changed if not key.startswith(others)})


def changed_keys(config: ConfigDict, default: ConfigDict) -> set[str]:
    """Keys whose value differs between two configs of the same keys."""
    values = dict(flat_items(default.to_dict()))
    found = flat_items(config.to_dict())
    return {key for key, value in found if value != values.get(key)}


def check_points(changes, configs, given: Iterable[str], name: str) -> None:
    """As `check_settings`, of each point's own changes, and of keys given for all.

    One that is given for all must do something for at least one point.
    """
    for change, config in zip(changes, configs, strict=True):
        try:
            check_settings(config, change)
        except ValueError as error:
            raise ValueError(f"a point of {name}: {error}") from error
    for key in given:
        errors = [each for config in configs if (each := _error(config, key))]
        if len(errors) == len(configs) and errors:
            raise errors[0]


def _error(config: ConfigDict, key: str) -> ValueError | None:
    try:
        check_settings(config, [key])
    except ValueError as error:
        return error
    return None
