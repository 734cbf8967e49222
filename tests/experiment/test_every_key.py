"""Every key acts: another value changes what is built, or is refused.

An agent is compared by its programs: traced, without what reaches no output, and with
every array they are made of. So a key that is read and dropped on the way shows too.
What a run is besides its agent is compared by what its parts are called with.
"""

import dataclasses
import functools
import hashlib
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Literal
from jax.interpreters import partial_eval
from tiny import tiny_config

from dlerse_jax.agents.registry import CLASSICAL, RANK
from dlerse_jax.data import synthetic_dataset
from dlerse_jax.defaults import base_config
from dlerse_jax.evaluation.evaluator import Result
from dlerse_jax.experiment import baselines, runner
from dlerse_jax.experiment import build as building
from dlerse_jax.experiment.agent_keys import SECTIONS, check_settings
from dlerse_jax.experiment.chosen_settings import fixed_keys
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.types import Agent

MATRICES = [name for name, own in base_config().baseline.items() if "rank" in own]
KEYS = [
    key
    for key, _ in flat_items(base_config().to_dict())
    if not key.startswith("serve.")  # read by the server alone
]
OTHER = {  # values of words, and of numbers that may not be just any
    "data.name": "filmtrust",
    "data.synthetic.mean_likes": 8.0,
    "user.most_topics": 1,
    "data.format": "table",
    "data.item_kind": "tag",
    "data.min_rating": 3.0,
    "data.table.separator": ";",
    "network.heads": 2,
    "network.fusion": "gate",
    "network.encoder": "lstm",
    "network.factors": "svd",
    "network.width": 16,
    "plus.min_tag_uses": 40,
    "baseline.linear_plus.min_tag_uses": 40,
    "pretrain.loss": "cross_entropy",
    "q_learning.exploration": "uniform",
    "q_learning.block": 128,
    "reward.miss": 0.0,
    "devices.users": 1,
    "devices.catalogue": 2,
    "evaluation.every": 8,
    "evaluation.least_users": 50,
    "evaluation.select": "last",
    "evaluation.seeds": "ensemble",
    "evaluation.protocol": "cold_candidates",
    "evaluation.ranking_of": "warm",
    "evaluation.baselines": ("random",),
    "tracking.every": 1,
    "tracking.checkpoint_every": 4,
    "pretrain.num_updates": 8,
    "q_learning.num_updates": 8,
    "agent.name": "linear",
    "tune_except": ("baseline.friends.prior_weight",),
}
# Keys that others must stand beside, or they do nothing: `KEY` or `SECTION.`.
BESIDE = {
    "data.table.": {"data.format": "table"},
    "data.table.titles": {"data.table.title": "t"},
    "data.item_kind": {"data.name": "delicious"},
    "data.format": {"data.name": "mine"},
    "data.path": {"data.name": "filmtrust"},
    "data.min_": {"data.name": "filmtrust"},
    "data.min_rating": {"data.min_rating": 2.0},
    "data.core": {"data.name": "filmtrust"},
    "data.symmetric_friends": {"data.name": "filmtrust"},
    "data.reverse_weight": {
        "data.name": "filmtrust",
        "data.symmetric_friends": True,
    },
    "data.friend_weights": {"data.name": "filmtrust"},
    "user.most_topics": {"user.satiation": 1},
    "evaluation.others_per_like": {"evaluation.protocol": "cold_candidates"},
    "evaluation.ranking_of": {"evaluation.protocol": "ranking"},
    "evaluation.seeds": {"num_seeds": 2},
    "tracking.project": {"tracking.wandb": True},
    "tune_except": {"tune": True},
}


def other_value(key, value):
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return value + 1 if isinstance(value, int) else value * 0.5 + 0.125


def config_with(key, **changes):
    """A small config and the same one with another value of the key."""
    beside = [add for start, add in BESIDE.items() if key.startswith(start)]
    base = tiny_config()
    base.data.synthetic.num_users, base.data.synthetic.num_items = 120, 80
    base.data.synthetic.mean_likes, base.data.synthetic.most_topics = 7.0, 2
    base.plus.min_tag_uses, base.plus.ridge_rank, base.rank.candidates = 1, 4, 8
    base.baseline.update({name: {"rank": 4} for name in MATRICES})
    base.pretrain.steps, base.rank.folds = 4, 2
    base.offline.update({name: {"batches": 1} for name in base.offline})
    for add in (changes, *beside):
        base.update_from_flattened_dict(add)
    changed = base.copy_and_resolve_references()
    found = dict(flat_items(base.to_dict()))[key]
    changed.update_from_flattened_dict({key: other_value(key, found)})
    return base, changed


# --- agents

PROGRAMS = ("policy", "pretrain", "q_learning")


def digest(array) -> str:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    array = np.asarray(array)
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


def reduced(closed, keep):
    """Text of a program that makes the outputs `keep`, and which inputs it reads."""
    jaxpr, is_read = partial_eval.dce_jaxpr(closed.jaxpr, keep)
    read = [*jaxpr.outvars, *(x for equation in jaxpr.eqns for x in equation.invars)]
    named = {x for x in read if not isinstance(x, Literal)}
    pairs = zip(jaxpr.constvars, closed.consts, strict=True)
    consts = [digest(jnp.asarray(x)) for variable, x in pairs if variable in named]
    return f"{re.sub(r'0x[0-9a-f]+', '', str(jaxpr))} {consts}", is_read


class Programs:
    """What an agent does, as text; traced when it is first asked for."""

    def __init__(self, config):
        found = built(config)
        self.agent, self.world = found.agent, found.environment
        self.key = jax.random.key(0)
        traced = jax.make_jaxpr(self.agent.init, return_shape=True)
        self.init, self.state = traced(self.key)

    @property
    def shapes(self):
        return str(jax.tree.map(lambda x: (x.shape, str(x.dtype)), self.state))

    def made(self, is_read) -> str:
        """How the leaves of the state that are read come to be."""
        return reduced(self.init, list(is_read))[0]

    @functools.cached_property
    def is_read(self):
        """Leaves of the state that some program reads, and not only hands on."""
        read = [self.program(name)[1] for name in PROGRAMS]
        return [any(of) for of in zip(*read, strict=True)]

    @functools.cache  # noqa: B019 - as long as the test
    def program(self, name):
        function = self._policy if name == "policy" else getattr(self.agent, name)
        leaves, tree = jax.tree.flatten(self.state)
        if function is None:
            return "", [False] * len(leaves)
        rest = (self.key, 0.5) if name != "policy" else (self.key,)

        def flat(leaves, *rest):
            state = tree.unflatten(leaves)
            return function(state, self.world, *rest)

        closed = jax.make_jaxpr(flat)(leaves, *rest)
        keep = [v not in closed.jaxpr.invars for v in closed.jaxpr.outvars]
        text, is_read = reduced(closed, keep)
        return text, is_read[: len(leaves)]

    def _policy(self, state, world, key):
        agent, user = self.agent, jnp.int32(0)
        context = agent.context(state, jnp.zeros(world.num_users, bool))
        memory = agent.begin(state, context, user, key)
        _, seen = world.reset(key, user)
        memory = agent.observe(state, context, memory, seen)
        best = agent.best and agent.best(state, context, memory, seen.shown)
        return agent.scores(state, context, memory, None), best


@functools.cache
def dataset_of(**options):
    """A small world where people listen to some of what they like more than once."""
    made = synthetic_dataset(**options)
    weights = np.random.default_rng(0).integers(1, 9, len(made.liked_items))
    return dataclasses.replace(made, like_weights=weights.astype(np.float32))


def built(config):
    """As `build`, but that data are made once."""
    dataset = dataset_of(split=config.data.split, **config.data.synthetic)
    environment = building.build_environments([config], dataset)[0]
    agent = building.build_agent(config, dataset)
    return SimpleNamespace(agent=agent, environment=environment)


@functools.cache
def programs_of(name):
    base, _ = config_with("seed", **{"agent.name": name})
    return Programs(base)


def acts(name, key) -> bool:
    """Whether another value of a key changes what an agent does."""
    base, changed = config_with(key, **{"agent.name": name})
    try:
        found = Programs(changed)
    except ValueError as error:
        assert key in str(error)  # refused by name
        return True
    ours = programs_of(name)
    if ours.shapes != found.shapes:
        return True
    if ours.made(ours.is_read) != found.made(ours.is_read):
        return True
    # First the phase that the key is of: one program that differs is enough.
    names = sorted(PROGRAMS, key=lambda name: not key.startswith(name))
    return any(ours.program(n)[0] != found.program(n)[0] for n in names)


def is_refused(name, key) -> bool:
    _, changed = config_with(key, **{"agent.name": name})
    try:
        check_settings(changed, [key])
    except ValueError as error:
        return str(error).startswith(f"{key} does nothing for {name}")
    return False


def settings_of(name):
    """Keys to try: those of the agent's own section, and of sections that all share.

    dlerse_plus is dlerse_con and `plus`, so of it that section alone is asked.
    """
    own = (f"baseline.{name}.", f"offline.{name}.")
    shared = [s for s in SECTIONS if s not in ("baseline", "offline")]
    if name == "dlerse_plus":
        shared = ["plus"]
    return [k for k in KEYS if k.partition(".")[0] in shared or k.startswith(own)]


LENGTHS = ("pretrain.num_updates", "q_learning.num_updates")  # of a run: see below


@pytest.mark.parametrize(
    "name", [*CLASSICAL, "bpr", "multvae", "dlerse_con", "dlerse_plus", RANK]
)
def test_every_setting_of_an_agent_acts_or_is_refused(name):
    keys = [key for key in settings_of(name) if key not in LENGTHS]
    accepted = [key for key in keys if not is_refused(name, key)]
    idle = [key for key in accepted if not acts(name, key)]
    assert not idle, idle


def test_a_setting_that_is_read_and_dropped_is_seen(monkeypatch):
    make = building.CLASSICAL["ease_popularity"]

    def drop(dataset, *, answer_weight, **rest):
        return make(dataset, answer_weight=1.0, **rest)

    monkeypatch.setitem(building.CLASSICAL, "ease_popularity", drop)
    programs_of.cache_clear()
    assert not acts("ease_popularity", "baseline.ease_popularity.answer_weight")
    assert acts("ease_popularity", "baseline.ease_popularity.dislike_weight")
    programs_of.cache_clear()


# --- what a run is besides its agent


FAKE = Agent(
    name="fake",
    init=lambda key: (),
    context=None,
    begin=None,
    observe=None,
    scores=None,
    pretrain=lambda *_: None,
    q_learning=lambda *_: None,
)


class Recorder:
    """Stands for what is called, and notes the arguments that are plain or arrays."""

    def __init__(self, name, calls, answer=None):
        self._name, self._calls, self._answer = name, calls, answer

    def __call__(self, *arguments, **keywords):
        self._calls.append((self._name, plain(arguments), plain(keywords)))
        return self._answer


def plain(value):
    """Words and numbers of nested containers, arrays by digest; of others the type."""
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items() if key not in ("config",)}
    if isinstance(value, tuple | list):
        return [plain(x) for x in value]
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, np.ndarray | jax.Array):
        return digest(value)
    if dataclasses.is_dataclass(value):
        return [plain(getattr(value, f.name)) for f in dataclasses.fields(value)]
    return type(value).__name__


RESULT = Result(
    agent="fake",
    metrics={"precision_at_1": np.zeros((1, 2))},
    evaluation=None,
    num_decisions=1,
)


def what_is_made(config, workdir, monkeypatch) -> str:
    """All that a config's run is made of and called with, its agent left out."""
    calls = []
    dataset = dataset_of(num_users=120, num_items=80, mean_likes=5.0)

    def note(module, name, answer=None):
        monkeypatch.setattr(module, name, Recorder(name, calls, answer))

    note(building, "load_dataset", dataset)
    note(building, "build_agent", FAKE)
    note(baselines, "build_agent", FAKE)
    note(baselines, "make_evaluator", lambda *_: RESULT)
    note(runner, "make_evaluator", lambda *_: RESULT)
    # What a second thread does is noted in another order every time.
    monkeypatch.setattr(baselines, "baseline_jobs", lambda _: [])
    note(runner, "make_ensemble", FAKE)
    note(runner, "RunLog")
    note(runner, "mirror_results")
    note(runner.sharding, "make_mesh")

    def settle(configs, *_):
        calls.append(("settle", sorted(fixed_keys(configs[0]))))
        return configs

    monkeypatch.setattr(runner, "settle", settle)
    run = runner.build_run(config, workdir)
    held = run.task, run.world, jax.random.key_data(run.roots)
    runner.open_log(run, group=None, quiet=True)
    log = SimpleNamespace(tell=lambda line: None)
    beside = list(runner.finish_run(run, log)["baselines"])
    settings = run.selection, run.periods, run.lengths, beside
    return str((calls, plain((*held, *settings))))


OF_A_RUN = [
    k for k in KEYS if k.partition(".")[0] not in SECTIONS and k != "agent.name"
]


@pytest.mark.parametrize("key", [*OF_A_RUN, *LENGTHS])
def test_every_key_of_a_run_acts_or_is_refused(key, tmp_path, monkeypatch):
    base, changed = config_with(key)
    ours = what_is_made(base, tmp_path / "ours" / "run", monkeypatch)
    try:
        other = what_is_made(changed, tmp_path / "other" / "run", monkeypatch)
    except ValueError as error:
        assert key in str(error)  # refused by name
    else:
        assert ours != other


def test_the_same_config_twice_makes_the_same(tmp_path, monkeypatch):
    config, _ = config_with("seed")
    folders = [tmp_path / name / "run" for name in "ab"]
    made = {what_is_made(config, folder, monkeypatch) for folder in folders}
    assert len(made) == 1


def test_the_same_agent_twice_is_the_same():
    config, _ = config_with("seed", **{"agent.name": "ease_friends"})
    ours, again = Programs(config), Programs(config)
    assert ours.made(ours.is_read) == again.made(ours.is_read)
    assert ours.program("policy") == again.program("policy")


def test_another_name_is_another_agent():
    assert acts("ease_popularity", "agent.name")
