"""Promises of the report's tables: which is the bar, and what a row is worth."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from run_folders import change_config, make_evaluation, make_run, write_json

from dlerse_jax.evaluation import bootstrap
from dlerse_jax.reporting import effects
from dlerse_jax.reporting.comparison import compare_runs
from dlerse_jax.reporting.tables import bar_table, comparison_tables, main_table
from dlerse_jax.runs.checkpoint import write_evaluation
from dlerse_jax.runs.records import find_runs

pytestmark = pytest.mark.usefixtures("quick_reports")


def compared(folder):
    [comparison] = compare_runs(find_runs(folder))
    return comparison


def change_result(directory, **changes):
    result = json.loads((directory / "summary.json").read_text())
    write_json(directory / "summary.json", result | changes)


def test_the_bar_is_chosen_on_validation_users(tmp_path):
    validation = {"popularity": 0.31, "friends": 0.30}  # test users prefer friends
    make_run(tmp_path / "run", baselines_validation=validation)
    comparison = compared(tmp_path)
    bar = effects.find_bar(comparison)
    assert (bar.name, bar.on_validation) == ("popularity", True)
    table = main_table(comparison, bar)
    assert [row[0] for row in table.rows[:3]] == [
        "dlerse_con",
        "friends",
        "popularity *",
    ]
    assert "Bar (*): popularity, the best without learning on validation users." in (
        table.caption
    )


def test_without_validation_the_bar_is_the_best_on_test_and_the_table_says_so(tmp_path):
    make_run(tmp_path / "run", rate=0.1)
    comparison = compared(tmp_path)
    bar = effects.find_bar(comparison)
    assert (bar.name, bar.on_validation) == ("friends", False)
    assert "friends, the best without learning on test users, as no run" in (
        main_table(comparison, bar).caption
    )


def test_a_policy_that_lacks_a_split_is_no_bar(tmp_path):
    make_run(tmp_path / "0", baselines_validation={"popularity": 0.9, "friends": 0.3})
    make_run(tmp_path / "1", split=1, baselines_validation={"friends": 0.3})
    lone_run(tmp_path / "linear", make_evaluation("linear", 0.6))
    assert effects.find_bar(compared(tmp_path)) == effects.Bar(
        name="friends", on_validation=True
    )
    for split in "01":
        change_result(tmp_path / split, baselines_validation=None)
    assert effects.find_bar(compared(tmp_path)) == effects.Bar(
        name="friends", on_validation=False
    )


def test_a_lead_is_clear_where_its_interval_is_above_zero(tmp_path):
    for name, rate in {"first": 0.3, "second": 0.3, "last": 0.1}.items():
        seed = 5 * (name == "second")
        lone_run(tmp_path / name, make_evaluation(name, rate, seed=seed))
    said = effects.headline(compared(tmp_path))
    assert "not a clear lead (paired users)" in said
    shutil.rmtree(tmp_path / "second")
    said = effects.headline(compared(tmp_path))
    assert ": first, +0." in said and ", a clear lead (paired users)" in said


def test_effects_are_paired_with_the_bar(tmp_path):
    make_run(tmp_path / "run")
    comparison = compared(tmp_path)
    bar = effects.find_bar(comparison)
    found = effects.effects(comparison, bar)
    ours, held = (np.mean(comparison.paired[n]) for n in ("dlerse_con", "friends"))
    assert set(found) == {"dlerse_con", "popularity"}
    effect = found["dlerse_con"]
    assert effect.difference["mean"] == pytest.approx(ours - held)
    assert effect.ratio["mean"] == pytest.approx(ours / held)
    assert effect.difference["low"] < ours - held < effect.difference["high"]
    row = bar_table(comparison, bar).rows[0]
    assert row[0] == "dlerse_con"
    assert row[1].startswith(f"{ours - held:+.3f} [")
    assert row[2].startswith(f"{ours / held:.3f} [")


def test_chances_of_a_pair_mirror_each_other_and_count_a_user_once(tmp_path):
    make_run(tmp_path / "run")
    once = compared(tmp_path)
    forth = once.wins["friends", "popularity"]
    assert once.wins["popularity", "friends"] == pytest.approx(
        {"mean": 1 - forth["mean"], "low": 1 - forth["high"], "high": 1 - forth["low"]}
    )
    thrice = {
        name: dataclasses.replace(
            contender,
            evaluations=dict.fromkeys(range(3), contender.evaluations[0]),
            stored=dict.fromkeys(range(3), contender.stored[0]),
        )
        for name, contender in once.contenders.items()
    }
    same = dataclasses.replace(once, contenders=thrice).wins["friends", "popularity"]
    width = forth["high"] - forth["low"]
    assert same["high"] - same["low"] == pytest.approx(width, rel=0.1)


def lone_run(directory, evaluation, **settings):
    """A run without baselines beside it."""
    make_run(directory, agent=evaluation.agent, baselines={})
    change_config(directory, **settings)
    for path in (directory / "baselines").glob("*.npz"):
        path.unlink()
    write_evaluation(directory / "evaluation.npz", evaluation)


def test_agents_of_the_same_seeds_are_paired_by_seed(tmp_path, monkeypatch):
    asked = []

    def spy(first, second, **options):
        asked.append(options["same_seeds"])
        return bootstrap.paired_difference(first, second, **options)

    monkeypatch.setattr(effects, "paired_difference", spy)
    for name, seed in {"first": 0, "same": 0, "other": 7}.items():
        lone_run(tmp_path / name, make_evaluation(name, 0.3), seed=seed)
    contenders = compared(tmp_path).contenders
    for second in ("same", "other"):
        effects.difference(contenders["first"], contenders[second], "precision_at_32")
    assert asked == [True, False]


def test_a_table_of_more_than_ten_rows_says_holms_p_values(tmp_path):
    names = [f"agent_{place:02}" for place in range(12)]
    for place, name in enumerate([*names, "linear"]):
        rate = 0.3 if place else 0.5
        lone_run(tmp_path / name, make_evaluation(name, rate, 1, seed=9 * (place == 0)))
    comparison = compared(tmp_path)
    bar = effects.find_bar(comparison)
    found = effects.effects(comparison, bar)
    assert len(found) == 12
    assert found["agent_00"].p_holm == pytest.approx(12 * found["agent_00"].p_value)
    table = bar_table(comparison, bar)
    assert table.header[-1] == "p (Holm)"
    assert "1 of them differs from it at the 5% level: agent_00." in table.caption


def test_a_row_says_where_it_was_taken(tmp_path):
    places = [
        {"phase": "pretrain", "update": 20},
        {"phase": "q_learning", "update": 60},
    ]
    make_run(tmp_path / "0", selected=places, select="best")
    later = [{"phase": "q_learning", "update": 80}, {"phase": "start", "update": 0}]
    make_run(tmp_path / "1", split=1, selected=later, select="best")
    make_run(tmp_path / "2", agent="other", selected=places, select="any_phase")
    contenders = compared(tmp_path).contenders
    assert effects.taken_at(contenders["dlerse_con"]) == (
        "start; pre-training, update 20; Q-learning, update 60 to 80"
    )
    assert effects.taken_at(contenders["other"]).endswith("update 60 (any phase)")
    assert effects.taken_at(contenders["friends"]) == "-"
    table = comparison_tables(compared(tmp_path))[0]
    assert table.header[-2] == "taken at"
    assert table.rows[-1][-2] == "-"  # of others' numbers


def test_a_row_says_what_it_reads(tmp_path):
    change_config(make_run(tmp_path / "run"), network={"hops": 0})
    table = comparison_tables(compared(tmp_path))[0]
    assert table.header[-1] == "reads"
    reads = {row[0]: row[-1] for row in table.rows}
    assert reads["dlerse_con"] == "likes"  # without hops no friends
    assert reads["friends *"] == "likes, friends"
    assert reads["friends (theirs)"] == "-"


def test_tables_are_sorted_by_the_reward_that_all_learned_by(tmp_path):
    """One long row of likes has the better reward, one like more the precision."""
    answers = {"streaky": "00001000010000011111111111110000", "precise": "10" * 16}
    for name, liked in answers.items():
        evaluation = make_evaluation(name, 0.3)
        evaluation.feedback[:] = [int(answer) for answer in liked]
        lone_run(tmp_path / name, evaluation, reward={"alpha": 0.1})
    comparison = compared(tmp_path)
    assert comparison.claim == "reward_alpha_0.1"
    assert list(comparison.contenders) == ["streaky", "precise"]
    assert main_table(comparison, None).caption.startswith("Sorted by reward, α = 0.1.")


def test_a_baseline_with_other_settings_has_a_row_of_its_own(tmp_path):
    for name, prior in {"dlerse_con": 0.1, "friends": 7.0}.items():
        rate = 0.26 if name == "friends" else 0.3
        directory = make_run(tmp_path / name, agent=name, rate=rate)
        change_config(directory, baseline={"friends": {"prior_weight": prior}})
    change_result(tmp_path / "friends", baselines={})
    contenders = compared(tmp_path).contenders
    assert set(contenders) == {
        "dlerse_con",
        "friends (prior_weight=7.0)",
        "friends (prior_weight=0.1)",
        "popularity",
    }
    tuned = contenders["friends (prior_weight=7.0)"]
    assert len(tuned.evaluations[0].items) == 2  # its own run's seeds


def test_an_agents_own_run_goes_before_the_same_agent_beside_another(tmp_path):
    make_run(tmp_path / "beside")
    make_run(tmp_path / "own", agent="friends", rate=0.5, baselines={})
    friends = compared(tmp_path).contenders["friends"]
    own = make_evaluation("friends", 0.5)
    assert np.array_equal(friends.evaluations[0].feedback, own.feedback)
    precision = friends.stored[0]["metrics"]["precision_at_32"]["mean"]
    assert precision == pytest.approx(own.feedback.mean(), abs=1e-4)
    assert [run.directory.name for run in friends.runs] == ["own"]


def test_seeds_of_a_split_whose_users_differ_are_refused(tmp_path):
    for seed in (0, 5):
        evaluation = make_evaluation("any", 0.3)
        evaluation.users[:] += seed
        lone_run(tmp_path / str(seed), evaluation, seed=seed)
    with pytest.raises(ValueError, match="two runs of any on the same split evaluated"):
        compared(tmp_path)


def test_settings_that_a_baseline_does_not_read_do_not_split_it(tmp_path):
    for gamma in (0.0, 0.9):
        directory = make_run(tmp_path / str(gamma))
        change_config(directory, q_learning={"gamma": gamma})
    assert set(compared(tmp_path).contenders) == {
        "dlerse_con (gamma=0.0)",
        "dlerse_con (gamma=0.9)",
        "friends",
        "popularity",
    }
