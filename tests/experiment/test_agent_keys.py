"""A key that does nothing for the agent is refused, wherever somebody chose it."""

import pytest

from dlerse_jax.commands.main import main
from dlerse_jax.commands.parsing import config_of, parse_command
from dlerse_jax.defaults import apply_option, base_config
from dlerse_jax.experiment.agent_keys import check_command
from dlerse_jax.experiment.sweep import Sweep, make_points

EXPERIMENTS = "--config=experiments/synthetic.py:quick"


def config_with(**changes):
    config = base_config()
    config.update_from_flattened_dict(changes)
    return config


def test_the_command_refuses_before_anything_is_written(
    tmp_path, capsys, monkeypatch, request
):
    monkeypatch.chdir(request.config.rootpath)
    words = ["--config.agent.name=sadqn", "--config.network.hops=3"]
    workdir = f"--workdir={tmp_path}/run"
    assert main(["train", EXPERIMENTS, *words, workdir]) == 2
    said = capsys.readouterr().err
    assert said == (
        "dlerse: network.hops does nothing for sadqn, which has 1; leave it out, or "
        "take dlerse_add\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("agent", "key", "value"),
    [
        ("linear", "network.width", 8),
        ("linear", "baseline.linucb.rank", 8),
        ("linear", "q_learning.num_updates", 20),
        ("bpr", "q_learning.gamma", 0.5),
        ("bpr", "pretrain.learning_rate", 0.5),
        ("dlerse_con", "plus.scale", 0.5),
        ("dlerse_con", "rank.folds", 4),
        ("dlerse_rank", "optimizer.clip_norm", 0.5),
    ],
)
def test_what_is_given_beside_a_file_must_do_something(agent, key, value):
    changes = {"agent.name": agent, key: value}
    with pytest.raises(ValueError, match=f"{key} does nothing for {agent}; leave it"):
        check_command(config_with(**changes), changes)


def test_numbers_of_a_baseline_are_read_by_the_run_beside_it():
    changes = {"baseline.linear.prior_weight": 9.0, "agent.name": "dlerse_con"}
    check_command(config_with(**changes), changes)
    alone = changes | {"evaluation.baselines": ("friends",)}
    with pytest.raises(ValueError, match="prior_weight does nothing for dlerse_con"):
        check_command(config_with(**alone), alone)


def test_a_file_may_tune_more_policies_than_a_run_is_compared_with():
    changes = {"agent.name": "dlerse_plus", "baseline.linucb.rank": 8}
    assert "linucb" not in base_config().evaluation.baselines
    check_command(config_with(**changes), ())
    with pytest.raises(ValueError, match="linucb.rank does nothing for dlerse_plus"):
        check_command(config_with(**changes), ["baseline.linucb.rank"])


def test_uses_of_a_tag_are_idle_where_tags_have_no_weight():
    changes = {"agent.name": "linear", "baseline.linear.min_tag_uses": 9}
    with pytest.raises(ValueError, match="while baseline.linear.tag_weight is 0"):
        check_command(config_with(**changes), changes)
    changes["baseline.linear.tag_weight"] = 1.0
    check_command(config_with(**changes), changes)


@pytest.mark.parametrize("agent", ["linear", "bpr", "dlerse_rank"])
def test_no_updates_of_a_phase_suit_every_agent(agent):
    changes = {"agent.name": agent, "q_learning.num_updates": 0}
    check_command(config_with(**changes), changes)


def test_a_file_answers_for_its_keys_where_it_names_the_agent():
    config = config_with(**{"agent.name": "deers", "q_learning.contrastive_weight": 1})
    with pytest.raises(ValueError, match="contrastive_weight does nothing for deers"):
        check_command(config, ())


def test_a_file_for_many_agents_may_set_what_only_some_of_them_read():
    config = config_with(**{"agent.name": "linear", "network.hops": 3})
    check_command(config, ["agent.name"])
    with pytest.raises(ValueError, match="network.hops does nothing for linear"):
        check_command(config, ["agent.name", "network.hops"])


def test_the_quick_option_of_a_file_is_not_the_users_word():
    config = apply_option(config_with(**{"agent.name": "dlerse_rank"}), "quick")
    check_command(config, (), "quick")


def points(*changes, given=()):
    sweep = Sweep(name="tiny", base="", changes=changes)
    return make_points(sweep, base_config(), given)


def test_a_point_of_a_sweep_changes_what_its_own_agent_reads():
    agents = [{"agent.name": name} for name in ("linear", "dlerse_con")]
    points(*agents, {"agent.name": "dlerse_add", "network.hops": 1})
    with pytest.raises(ValueError, match="a point of tiny: network.hops does nothing"):
        points(*agents, {"agent.name": "sadqn", "network.hops": 1})


def test_what_is_given_for_all_points_does_something_for_one():
    agents = [{"agent.name": name} for name in ("linear", "dlerse_con")]
    points(*agents, given=["network.hops"])
    with pytest.raises(ValueError, match="rank.folds does nothing for linear"):
        points(*agents, given=["rank.folds"])


def test_a_sweep_reads_its_base_without_an_agent_of_its_own(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    words = ["sweep", "--sweep=sweeps/plus.py:quick", "--config.plus.ridge_rank=8"]
    values, _ = parse_command(words)
    assert config_of(values).plus.ridge_rank == 8  # its points are dlerse_plus
