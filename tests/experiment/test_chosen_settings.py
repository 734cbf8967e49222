"""What the data choose reaches the run, is written down, and is never chosen twice."""

import json

import numpy as np
import pytest
from tiny import tiny_config

from dlerse_jax import make_agent, synthetic_dataset, tuned_settings
from dlerse_jax.agents.registry import CLASSICAL
from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.defaults import base_config
from dlerse_jax.evaluation.episodes import evaluate_users, greedy_rollout
from dlerse_jax.experiment import bench, chosen_settings
from dlerse_jax.experiment.build import (
    build_agent,
    build_dataset,
    build_environments,
)
from dlerse_jax.experiment.chosen_settings import (
    choose,
    fixed_keys,
    keep_given,
    stage_of,
    stages_of,
    with_choice,
)
from dlerse_jax.experiment.config_files import load_config
from dlerse_jax.experiment.ladder_search import Outcome, Tried
from dlerse_jax.experiment.reevaluate import points_to_reevaluate, reevaluate
from dlerse_jax.experiment.restore import stored_config
from dlerse_jax.experiment.runner import build_run, build_runs
from dlerse_jax.experiment.sweep import Sweep, make_points, point_state, run_group
from dlerse_jax.learning.train_loop import init_states, seed_keys
from dlerse_jax.reporting.comparison import compare_runs
from dlerse_jax.runs.directory import read_config
from dlerse_jax.runs.records import find_runs

KEY = "baseline.friends.prior_weight"


@pytest.fixture
def asked(monkeypatch):
    """Stands for the search: moves every free number; notes what it was asked."""
    calls = []

    def choose_settings(name, dataset, world, settings, *, fixed=(), above_zero=()):
        calls.append((name, sorted(fixed)))
        free = {word for word in settings if word not in fixed and "rank" not in word}
        free -= {"far_hops"}  # a whole number
        factor = 1 + 0.1 * len(calls)  # another number at every call
        moved = dict(settings) | {word: settings[word] * factor for word in free}
        tried = (Tried(settings=moved, round=0, mean=0.5, num_users=9),)
        outcome = Outcome(
            settings=moved,
            mean=0.5,
            mean_of_start=0.4,
            standard_error=0.01,
            num_users=9,
            tried=tried,
        )
        return outcome, 0.1

    monkeypatch.setattr(chosen_settings, "choose_settings", choose_settings)
    monkeypatch.setattr(chosen_settings, "_answers", {})
    return calls


def config_with(**changes):
    config = tiny_config()
    config.tune, config.agent.name = True, "friends"
    config.evaluation.baselines = ("popularity", "friends")
    config.update_from_flattened_dict(changes)
    return config


def test_the_run_has_what_was_chosen_and_says_how(asked, tmp_path):
    said = []
    build_runs([config_with()], [tmp_path], tell=said.append)
    assert asked == [("friends", [])]  # once, as agent and as baseline
    stored = read_config(tmp_path)
    assert stored["baseline"]["friends"]["prior_weight"] == pytest.approx(0.11)
    agents = json.loads((tmp_path / "settings.json").read_bytes())["agents"]
    assert agents["friends"]["chosen"][KEY] == pytest.approx(0.11)
    assert agents["friends"]["tried"][0]["mean"] == 0.5
    line = "friends: prior_weight 0.1 -> 0.11; precision of 9 training users 0.4000 ->"
    assert any(line in each for each in said)


@pytest.fixture
def two_splits(asked, tmp_path):
    """A sweep over two splits, whose data choose different numbers."""
    changes = ({"data.split": 0}, {"data.split": 1})
    points = make_points(Sweep(name="s", base="", changes=changes), config_with())
    for point in points:
        run_group([point], tmp_path, sweep_name="s", quiet=True)
    return points


def test_a_run_that_is_over_keeps_its_choice(two_splits, asked, tmp_path):
    point = two_splits[0]
    assert point_state(point, tmp_path) == "finished" and len(asked) == 2
    chosen_settings._answers.clear()
    build_run(point.config, tmp_path / point.name)
    assert len(asked) == 2
    changes = {"evaluation.protocol": "cold_candidates"}
    others = points_to_reevaluate(tmp_path, changes)
    stored = [other.config.baseline.friends.prior_weight for other in others]
    assert stored == pytest.approx([0.11, 0.12])
    for other in others:
        [(_, summary)] = reevaluate([other], tmp_path)
        assert summary["protocol"] == "cold_candidates"
    assert not points_to_reevaluate(tmp_path, changes) and len(asked) == 2


def test_what_splits_chose_tells_no_rows_apart(two_splits, tmp_path):
    [comparison] = compare_runs(find_runs(tmp_path))
    assert {name: sorted(x.seeds) for name, x in comparison.contenders.items()} == {
        "friends": [0, 1],
        "popularity": [0, 1],
    }


def test_a_changed_or_missing_choice_is_not_silent(asked, tmp_path):
    build_run(config_with(), tmp_path)
    path = tmp_path / "settings.json"
    whole = path.read_text()
    path.write_text(whole.replace('"prior_weight": 0.11', '"prior_weight": 0.9'))
    with pytest.raises(ValueError, match=r"settings.json is damaged or was edited"):
        build_run(config_with(), tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"settings.json is missing"):
        build_run(config_with(), tmp_path)
    path.write_text(whole)
    build_run(config_with(), tmp_path)
    with pytest.raises(ValueError, match=f"{KEY} is 0.11.* there and 0.2"):
        build_run(config_with(**{KEY: 0.2}), tmp_path)
    with pytest.raises(ValueError, match=f"{KEY} is 0.11.* there and 0.1 "):
        build_run(config_with(tune=False), tmp_path)


def test_runs_beside_each_other_share_the_choice(asked, tmp_path):
    build_run(config_with(seed=1), tmp_path / "a")
    build_run(config_with(seed=2), tmp_path / "b")
    chosen_settings._answers.clear()  # as in the process of another shard
    build_run(config_with(seed=3), tmp_path / "c")
    assert len(asked) == 1
    build_run(config_with(**{"data.split": 1}), tmp_path / "d")
    assert len(asked) == 2
    build_run(config_with(**{"episode.horizon": 5}), tmp_path / "e")
    assert len(asked) == 3
    # What another run cannot read, it says itself.
    (tmp_path / "a" / "settings.json").write_text("{")
    chosen_settings._answers.clear()
    build_run(config_with(seed=4), tmp_path / "f")
    assert len(asked) == 3


def test_a_choice_with_a_word_that_stays_is_another_one(asked, tmp_path):
    build_run(config_with(), tmp_path / "a")
    build_run(config_with(tune_except=(KEY,)), tmp_path / "b")
    assert asked == [("friends", []), ("friends", ["prior_weight"])]


def test_runs_of_one_program_have_one_choice(asked, tmp_path):
    folders = [tmp_path / "x" / "a", tmp_path / "y" / "b"]  # nothing beside either
    for folder in folders:
        build_run(config_with(), folder)
        chosen_settings._answers.clear()
    with pytest.raises(ValueError, match="begun with different settings"):
        build_runs([config_with()] * 2, folders)


def test_dlerse_rank_has_what_its_first_stage_would_choose(asked):
    config = config_with(**{"agent.name": "dlerse_rank", "evaluation.baselines": ()})
    config.plus.ridge_weight = 0.7
    dataset = build_dataset(config)
    agents = choose(config, dataset, _world(config), stages_of(config))
    [(policy, fixed)] = asked
    # the width of a tiny config and the weight above are not the defaults
    assert policy == "linear_plus" and fixed == ["rank", "ridge_weight"]
    found = with_choice(config, agents)
    assert found.network.session_gain == pytest.approx(3.3)
    assert found.plus.prior_weight == pytest.approx(4.4)
    assert found.plus.ridge_weight == 0.7 and found.network.width == 8
    assert config.network.session_gain == 3.0


def _world(config):
    return build_environments([config], build_dataset(config))[0]


def test_without_a_ridge_the_first_stage_is_linear(asked):
    config = config_with(**{"agent.name": "dlerse_plus", "plus.ridge_rank": 0})
    stage = stages_of(config)["dlerse_plus"]
    assert stage.policy == "linear" and "ridge_weight" not in stage.keys
    config.network.factors = "svd"
    assert list(stages_of(config)) == ["friends"]


@pytest.mark.parametrize("name", ["dlerse_con", "dlerse_add", "dqn", "sadqn_plus"])
def test_the_papers_agents_have_what_the_policy_they_start_as_would_choose(asked, name):
    config = config_with(**{"agent.name": name, "evaluation.baselines": ()})
    config = keep_given(config, ["network.dislike_weight"])  # even at its default
    stages = stages_of(config)
    agents = choose(config, build_dataset(config), _world(config), stages)
    assert asked == [("ease_popularity", ["dislike_weight", "rank"])]
    assert stages[name].above_zero == ("answer_weight",)
    found = with_choice(config, agents).network
    assert found.factor_regularisation == pytest.approx(330.0)
    assert found.session_gain == pytest.approx(3.3)
    assert (found.dislike_weight, found.width, found.hidden) == (0.1, 8, 8)


@pytest.mark.parametrize("changes", [{"factors": "svd"}, {"session_gain": 0.0}])
def test_an_agent_that_does_not_start_from_ease_chooses_nothing(asked, changes):
    data = synthetic_dataset(num_users=60, num_items=40, mean_likes=6.0)
    with pytest.raises(ValueError, match=r"network.factors=ease and a network.session"):
        make_agent("dlerse_con", data, tune=True, **changes)
    assert not asked


@pytest.mark.parametrize("name", ["dlerse_con", "dlerse_add"])
def test_an_untrained_agent_of_the_paper_plays_as_the_policy_it_is_tuned_as(name):
    config = config_with(**{"agent.name": name})
    config.network.factor_regularisation, config.network.dislike_weight = 20.0, 0.4
    stage, data = stage_of(config, name), build_dataset(config)
    policy = CLASSICAL[stage.policy](data, **stage.settings(config))
    ours, reference = (
        _shown(agent, data, _world(config))
        for agent in (build_agent(config, data, name), policy)
    )
    np.testing.assert_array_equal(ours, reference)


def _shown(agent, data, world):
    roots = seed_keys(np.zeros(1, np.int32))
    rollout, states = greedy_rollout(agent), init_states(agent, roots)
    users = data.split.validation
    return evaluate_users(
        rollout, states, world, users, roots, agent_name=agent.name
    ).items


def test_what_a_command_line_gives_stays(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    words = ["train", "--config=experiments/synthetic.py:quick", "--config.tune=True"]
    words += [f"--config.{KEY}=0.1", "--config.num_seeds=1"]
    values, _ = parse_command(words)
    config = config_of(values)
    assert config.tune_except == (KEY,) and KEY in fixed_keys(config)
    values, _ = parse_command([words[0], words[1], words[3]])
    assert not config_of(values).tune and not config_of(values).tune_except


def test_a_point_of_a_sweep_keeps_its_own_values():
    changes = tuple({KEY: value} for value in (0.1, 0.4))
    points = make_points(Sweep(name="s", base="", changes=changes), config_with())
    assert all(KEY in fixed_keys(point.config) for point in points)


def test_a_choice_does_not_change_what_somebody_gave():
    agents = {"friends": {"chosen": {KEY: 9.0}}}
    for config, weight in (
        (config_with(), 9.0),
        (config_with(tune_except=(KEY,)), 0.1),
        (config_with(**{KEY: 0.4}), 0.4),
    ):
        assert with_choice(config, agents).baseline.friends.prior_weight == weight


def test_a_key_that_is_never_chosen_is_no_exception(tmp_path):
    config = config_with(tune_except=("network.hops",))
    with pytest.raises(ValueError, match="tune_except names 'network.hops', which is"):
        build_run(config, tmp_path)


def test_from_python(asked):
    data = synthetic_dataset(num_users=60, num_items=40, mean_likes=6.0)
    found = tuned_settings("linear", data, prior_weight=4.0)
    assert asked == [("linear", ["prior_weight"])]
    assert found.settings["baseline.linear.two_hop_weight"] == pytest.approx(0.33)
    assert "baseline.linear.prior_weight" not in found.settings
    assert (found.precision, found.num_users, len(found.tried)) == (0.5, 9, 1)
    agent = make_agent("linear", data, tune=True, prior_weight=4.0)
    state = agent.init(None)
    assert float(state.two_hop_weight) == pytest.approx(0.33)
    assert float(state.prior_weight) == 4.0 and len(asked) == 1
    with pytest.raises(ValueError, match="bpr has no settings that a data set chooses"):
        make_agent("bpr", data, tune=True)


def test_an_agent_takes_what_was_chosen_where_people_far_away_do_not_count(
    monkeypatch,
):
    def no_one_far(name, dataset, world, settings, **_):
        chosen = dict(settings) | {"two_hop_weight": 0.0}
        return Outcome(
            settings=chosen,
            mean=0.5,
            mean_of_start=0.4,
            standard_error=0.01,
            num_users=9,
            tried=(),
        ), 0.1

    monkeypatch.setattr(chosen_settings, "choose_settings", no_one_far)
    monkeypatch.setattr(chosen_settings, "_answers", {})
    data = synthetic_dataset(num_users=60, num_items=40, mean_likes=6.0)
    found = tuned_settings("linear", data).settings
    assert float(make_agent("linear", data, **found).init(None).two_hop_weight) == 0


def test_runs_choose_unless_told_not_to_and_agents_when_told_to(asked, tmp_path):
    assert base_config().tune
    build_run(config_with(tune=False), tmp_path)
    assert not asked and not (tmp_path / "settings.json").exists()
    data = synthetic_dataset(num_users=60, num_items=40, mean_likes=6.0)
    default = build_agent(tiny_config(), data, "linear").init(None)
    assert float(default.prior_weight) == 4.0
    made = make_agent("linear", data)
    assert float(made.init(None).prior_weight) == 4.0 and not asked
    assert not made.source.config["tune"]


def test_files_whose_numbers_were_chosen_for_them_keep_them(request):
    folder = request.config.rootpath / "experiments"
    chooses = {path.stem for path in folder.glob("*.py") if load_config(str(path)).tune}
    assert chooses == {"own_data", "delicious", "filmtrust"}
    quick = {path.stem for path in folder.glob("*.py") if _quick(path).tune}
    assert not quick


def _quick(path):
    return load_config(f"{path}:quick")


def test_a_run_that_is_older_than_the_key_has_chosen_nothing(asked, tmp_path):
    build_run(config_with(tune=False), tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_bytes())
    del content["config"]["tune"], content["sha256"]
    path.write_text(json.dumps(content))
    assert not stored_config(tmp_path).tune
    build_run(config_with(tune=False), tmp_path)
    with pytest.raises(ValueError, match="tune is false there and true in this run"):
        build_run(config_with(), tmp_path)
    assert not asked


def test_a_benchmark_is_of_what_a_run_would_have(asked, monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "_parts", lambda config, *_: seen.append(config) or [])
    line, _ = bench.bench(config_with())
    assert line["part"] == "choice of settings" and line["seconds"] >= 0
    assert seen[0].baseline.friends.prior_weight == pytest.approx(0.11)
    assert asked == [("friends", [])]
    [peak] = bench.bench(config_with(tune=False))
    assert "memory" in peak["part"] and len(asked) == 1
