"""Sweeps: fewer programs, the same numbers, nothing lost to a kill or a bad point."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from tiny import tiny_config

from dlerse_jax.commands.main import main
from dlerse_jax.experiment import checks, runner, sweep, training_run
from dlerse_jax.experiment.build import build_dataset
from dlerse_jax.experiment.runner import train_and_evaluate
from dlerse_jax.experiment.sweep import (
    Point,
    Sweep,
    best_point,
    changed_config,
    group_points,
    make_points,
    num_programs,
    point_state,
    read_sweep,
    run_group,
    shard_points,
)
from dlerse_jax.experiment.training_run import Interrupted
from dlerse_jax.runs import checkpoint
from dlerse_jax.runs.directory import write_config
from dlerse_jax.runs.log import RunLog, read_metrics, without_clocks
from dlerse_jax.runtime.directory_lock import locked

pytestmark = pytest.mark.usefixtures("one_program")
ALPHAS = ({"reward.alpha": 0.0}, {"reward.alpha": 0.1})
SWEEP_FILE = """
BASE = "experiments/lastfm.py"
QUICK_BASE = "experiments/synthetic.py:quick"


def sweep(add, option=""):
    for hops in (0, 1):
        for alpha in (0.0, 0.1, 0.2):
            add({"network.hops": hops, "reward.alpha": alpha, "num_seeds": 2})
"""


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it."""


def points_of(*changes, **overrides):
    config = tiny_config()
    config.pretrain.num_updates = 0
    config.evaluation.every = 2
    config.evaluation.baselines = ("popularity",)
    config.update_from_flattened_dict(overrides)
    return make_points(Sweep(name="tiny", base="", changes=changes), config)


def sweep_group(points, workdir):
    return run_group(points, workdir, sweep_name="tiny", quiet=True)


def without_clock(lines):
    return list(map(without_clocks, lines))


@pytest.fixture(scope="module")
def points():
    return points_of(*ALPHAS)


@pytest.fixture(scope="module")
def num_compiled():
    """How many chunks were compiled in the sweep below, for each agent it built."""
    return []


@pytest.fixture(scope="module")
def swept(points, num_compiled, tmp_path_factory):
    """The folder of a sweep over alpha that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("sweep")
    make, made = runner.Programs, []

    def count(*arguments):
        programs = make(*arguments)
        made.append((programs, len(programs.compiled)))
        return programs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "Programs", count)
        sweep_group(points, workdir)
    num_compiled += [len(programs.compiled) - before for programs, before in made]
    return workdir


# --- points, groups, shards


def test_a_point_on_other_data_than_its_peers_is_refused(tmp_path):
    config = tiny_config()
    write_config(tmp_path / "a", config.to_dict(), data_digest="as it was")
    changed = changed_config(config, {"reward.alpha": 0.1})
    point = Point(index=1, name="b", config=changed)
    with pytest.raises(ValueError, match="a: the data are not those of this run"):
        run_group([point], tmp_path, sweep_name="x", quiet=True)
    assert not (tmp_path / "b").exists()


def test_points_are_named_by_what_differs():
    names = [p.name for p in points_of({}, {"network.hops": 0}, {"reward.alpha": 0.1})]
    assert names == ["base", "network.hops=0", "reward.alpha=0.1"]
    same = {"num_seeds": 2}
    names = [p.name for p in points_of({"seed": 1} | same, {"seed": 2} | same)]
    assert names == ["seed=1", "seed=2"]


def test_what_the_command_line_gives_counts_for_all_points():
    config = tiny_config()
    config.num_seeds = 3
    changes = [{"seed": 1, "num_seeds": 8}, {"seed": 2, "num_seeds": 8}]
    sweep = Sweep(name="tiny", base="", changes=changes)
    points = make_points(sweep, config, ["num_seeds", "network.hops"])
    assert [point.config.num_seeds for point in points] == [3, 3]
    assert [point.name for point in points] == ["seed=1", "seed=2"]
    with pytest.raises(ValueError, match="--config.seed is given, and points of tiny"):
        make_points(sweep, config, ["seed"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"reward.alhpa": 0.1}], "no config has the key 'reward.alhpa'; did you mean"),
        ([{"network.hops": "two"}], "network.hops cannot be 'two'"),
        ([{}, {"reward.alpha": 0.0}], "points 0 and 1 of tiny are the same run, base"),
        ([{"network": {"hops": 1}}], "network is a section, whose keys are set one by"),
        ([{"network": 1}], "network is a section, whose keys are set one by one, as"),
        ([{"network.width": None}], "network.width cannot be None: leave it out"),
        ([{3: 1}], "no config has the key '3'"),
        (
            [{"tracking.project": "a b"}, {"tracking.project": "a/b"}],
            "points 0 and 1 of tiny would share the folder tracking.project=a-b",
        ),
    ],
)
def test_points_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        points_of(*changes)


def test_points_that_differ_in_traced_numbers_alone_are_one_group():
    traced = [
        {"reward.alpha": 0.1},
        {"q_learning.gamma": 0.9},
        {"q_learning.epsilon_last": 0.01},
        {"pretrain.learning_rate": 0.1},
        {"optimizer.average_step": 0.5},
        {"q_learning.mask_most": 0.5, "q_learning.supervised_weight": 1.0},
    ]
    static = [
        {"network.hops": 0},
        {"pretrain.loss": "cross_entropy"},
        {"data.split": 1},
    ]
    sizes = [len(group) for group in group_points(points_of({}, *traced, *static))]
    assert sizes == [7, 1, 1, 1]


def test_an_agent_without_traced_settings_shares_no_program():
    """Its numbers are read when it is built, so they cannot be replaced after."""
    linear = {"agent.name": "linear"}
    other = linear | {"baseline.linear.prior_weight": 2.0}
    group = group_points(points_of(linear, other))
    assert [len(points) for points in group] == [1, 1]
    assert num_programs(group[0]) == 0


def test_an_agent_trained_offline_is_one_program_at_any_alpha():
    """It has no second phase, and its learning rate is built in."""
    bpr = {"agent.name": "bpr"}
    changes = bpr, bpr | {"reward.alpha": 0.1}, bpr | {"offline.bpr.width": 8}
    groups = group_points(points_of(*changes, **{"pretrain.num_updates": 4}))
    assert [len(points) for points in groups] == [2, 1]
    assert [num_programs(points) for points in groups] == [1, 1]


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_every_point_is_in_one_shard(parts):
    grid = [{"network.hops": h, "reward.alpha": a} for h in (0, 1) for a in (0.1, 0.2)]
    points = points_of(*grid)
    shards = [shard_points(points, f"{i}/{parts}") for i in range(1, parts + 1)]
    assert sorted(p.index for shard in shards for p in shard) == [0, 1, 2, 3]
    if parts == 2:  # as many as there are programs: none is compiled twice
        assert [len(group_points(shard)) for shard in shards] == [1, 1]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_out_of_range_is_refused(shard):
    with pytest.raises(ValueError, match="expected i/n with i from 1 to n"):
        shard_points(points_of({}), shard)


# --- running


def test_a_group_is_one_program_a_phase(swept, num_compiled, points):
    assert num_compiled == [1] == [num_programs(points)]


def test_a_point_equals_the_same_run_alone(swept, points, tmp_path):
    """Over its first updates, to float tolerance, and so does its summary."""
    alone = train_and_evaluate(points[1].config, tmp_path, quiet=True)
    together = swept / points[1].name
    for one, other in zip(read_metrics(tmp_path), read_metrics(together), strict=True):
        assert one.keys() == other.keys()
        names = without_clocks(one)
        assert [one[n] for n in names] == pytest.approx(
            [other[n] for n in names], rel=1e-4, abs=1e-6
        )
    summary = json.loads((together / "summary.json").read_text())
    assert summary["baselines"] == alone["baselines"]
    assert summary["runs_in_program"] == 2 and alone["runs_in_program"] == 1


def test_points_learn_under_their_own_alpha(swept, points):
    logs = [read_metrics(swept / point.name) for point in points]
    assert logs[0][0]["q_learning/reward"] != logs[1][0]["q_learning/reward"]
    assert logs[0][1]["q_learning/td_loss"] != logs[1][1]["q_learning/td_loss"]


def test_points_of_two_seeds_learn_and_select_by_their_own_numbers(tmp_path):
    """What the program is given: alpha, gamma and root of every seed of every point."""
    changes = [
        {"reward.alpha": 0.25, "q_learning.gamma": 0.5},
        {"reward.alpha": 0.75, "q_learning.gamma": 0.125},
    ]
    points = points_of(*changes, num_seeds=2)
    folders = [tmp_path / point.name for point in points]
    runs = runner.build_runs([p.config for p in points], folders, will_train=False)
    given = []

    def program(phase, states, world, roots, first, total):
        given.append((world.alpha, states.settings.gamma, jax.random.key_data(roots)))
        return states, {"loss": jnp.arange(4.0)}

    runs[0].programs = program
    measured = training_run._advance(runs)
    [(alphas, gammas, roots)] = given
    assert alphas.tolist() == [0.25, 0.25, 0.75, 0.75]
    assert gammas.tolist() == [0.5, 0.5, 0.125, 0.125]
    assert roots[:2].tolist() == roots[2:].tolist() != roots[1:3].tolist()
    assert [x["q_learning/loss"].tolist() for x in measured] == [[0, 1], [2, 3]]
    assert [run.selection.alpha for run in runs] == [0.25, 0.75]
    assert [float(run.world.alpha) for run in runs] == [0.25, 0.75]
    assert [run.states.settings.gamma.tolist() for run in runs] == [
        [0.5, 0.5],
        [0.125, 0.125],
    ]


def test_points_that_fit_cannot_tell_apart_are_fitted_once(tmp_path, monkeypatch):
    """Alpha and gamma are nothing to it; each is there when its own phase begins."""
    lengths = {"pretrain.num_updates": 2, "q_learning.num_updates": 2}
    points = points_of({}, {"reward.alpha": 0.2, "q_learning.gamma": 0.9}, **lengths)
    widths, join = [], training_run.join_states

    def count(agent, states):
        widths.append(len(states))
        return join(agent, states)

    monkeypatch.setattr(training_run, "join_states", count)
    sweep_group(points, tmp_path)
    assert widths == [1, 2]
    alone = train_and_evaluate(points[1].config, tmp_path / "alone", quiet=True)
    together = json.loads((tmp_path / points[1].name / "summary.json").read_text())
    assert together["summary"] == alone["summary"]
    for line, same in zip(
        logs_of(points, tmp_path)[1],
        without_clock(read_metrics(tmp_path / "alone")),
        strict=True,
    ):
        assert line == pytest.approx(same, rel=1e-4, abs=1e-6)


def test_points_of_another_learning_rate_are_fitted_apart(tmp_path):
    """In Q-learning all differ: what it starts from is theirs."""
    points = points_of({}, {"pretrain.learning_rate": 0.1}, {"q_learning.gamma": 0.9})
    folders = [tmp_path / point.name for point in points]
    runs = runner.build_runs([p.config for p in points], folders, will_train=False)
    first, other_rate, other_gamma = (run.numbers["pretrain"] for run in runs)
    assert first == other_gamma != other_rate
    assert len({run.numbers["q_learning"] for run in runs}) == 3


def test_what_is_finished_is_not_run_again(swept, points, tmp_path):
    assert [point_state(point, swept) for point in points] == ["finished"] * 2
    assert [point_state(point, tmp_path) for point in points] == ["open"] * 2


def test_a_directory_of_another_config_is_refused(swept):
    others = points_of(*ALPHAS, **{"network.hops": 2})
    with pytest.raises(ValueError, match="network.hops is 1 there and 2 in this run"):
        point_state(others[0], swept)


def test_a_kill_between_two_saves_changes_no_number(
    swept, points, tmp_path, monkeypatch
):
    save = checkpoint.save

    def save_or_die(workdir, step, *rest, **more):
        if step == 4 and workdir.name == points[1].name:
            raise Killed  # the first point has saved, the second has not
        save(workdir, step, *rest, **more)

    monkeypatch.setattr(checkpoint, "save", save_or_die)
    with pytest.raises(Killed):
        sweep_group(points, tmp_path)
    monkeypatch.undo()
    sweep_group(points, tmp_path)
    assert logs_of(points, tmp_path) == logs_of(points, swept)  # to the bit


def test_a_kill_while_it_finishes_changes_no_summary(
    swept, points, tmp_path, monkeypatch
):
    """`runs_in_program` once counted the points that were left."""
    finish = sweep.finish_run

    def finish_or_die(run, log):
        if run.workdir.name == points[1].name:
            raise Killed
        return finish(run, log)

    monkeypatch.setattr(sweep, "finish_run", finish_or_die)
    with pytest.raises(Killed):
        sweep_group(points, tmp_path)
    monkeypatch.undo()
    left = [p for p in points if point_state(p, tmp_path) == "open"]
    assert left == points[1:]
    sweep_group(left, tmp_path)
    assert [summary_of(p, tmp_path) for p in points] == [
        summary_of(p, swept) for p in points
    ]


def summary_of(point, workdir):
    summary = json.loads((workdir / point.name / "summary.json").read_text())
    clocks = {"wall_seconds", "decisions_per_second", "peak_memory_bytes"}
    clocks |= {"update_seconds", "validation_seconds"}
    return {key: value for key, value in summary.items() if key not in clocks}


def test_a_point_in_use_is_refused_and_no_other_is_touched(points, tmp_path):
    with locked([tmp_path / points[1].name]):
        with pytest.raises(ValueError, match="is in use by process"):
            sweep_group(points, tmp_path)
        assert not (tmp_path / points[0].name).exists()


def test_points_catch_up_with_one_that_was_run_before(swept, points, tmp_path):
    """To float tolerance, as the point that lags trains in a program of its own."""
    shutil.copytree(swept / points[0].name, tmp_path / points[0].name)
    assert [r.step for r in sweep_group(points, tmp_path)] == [4, 4]
    for line, same in zip(
        logs_of(points, swept)[1], logs_of(points, tmp_path)[1], strict=True
    ):
        assert line == pytest.approx(same, rel=1e-4, abs=1e-6)


def test_a_signal_saves_all_points_and_the_same_call_goes_on(
    swept, points, tmp_path, monkeypatch
):
    log = RunLog.log

    def log_and_signal(self, step, metrics):
        log(self, step, metrics)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, "log", log_and_signal)
    with pytest.raises(Interrupted, match="stopped with 1 others at update 2 of 4"):
        sweep_group(points, tmp_path)
    monkeypatch.undo()
    saved = [tmp_path / point.name / "checkpoints" / "2" for point in points]
    assert all(folder.is_dir() for folder in saved)
    sweep_group(points, tmp_path)
    assert logs_of(points, tmp_path) == logs_of(points, swept)  # to the bit


def logs_of(points, workdir):
    return [without_clock(read_metrics(workdir / point.name)) for point in points]


def test_a_point_that_diverges_is_recorded_and_stops_no_other(
    swept, points, tmp_path, monkeypatch
):
    closed_as_failed = []
    monkeypatch.setattr(
        RunLog, "fail", lambda log: closed_as_failed.append(log._path.parent.name)
    )
    spoilt = points_of({}, {"q_learning.learning_rate": 1e30})
    runs = sweep_group(spoilt, tmp_path)
    assert [bool(r.failure) for r in runs] == [False, True]
    states = [point_state(point, tmp_path) for point in spoilt]
    assert states[0] == "finished"
    assert (
        "not finite at update" in states[1] and "q_learning.learning_rate" in states[1]
    )
    assert not (tmp_path / spoilt[1].name / "summary.json").exists()
    assert closed_as_failed == [spoilt[1].name]
    # The one that went well does not know of the other.
    assert logs_of(spoilt[:1], tmp_path) == logs_of(points[:1], swept)


def test_the_best_point_is_chosen_on_validation_users(swept, points, monkeypatch):
    given = {points[0].name: 0.2, points[1].name: 0.4}
    monkeypatch.setattr(
        sweep,
        "validation_precision",
        lambda stored: ("precision_at_5", given[stored.directory.name]),
    )
    names = [point.name for point in points]
    best = best_point(swept, names)
    assert (best.name, best.metric, best.validation) == (
        "reward.alpha=0.1",
        "precision_at_5",
        0.4,
    )
    assert len(best.runs) == 1
    # Another sweep's points in the same folder are not of this one.
    assert best_point(swept, names[:1]).name == "reward.alpha=0.0"


def test_a_point_that_lacks_a_split_is_not_the_best_one(tmp_path, monkeypatch):
    given = {"a,data.split=0": 0.2, "a,data.split=1": 0.4, "b,data.split=0": 0.9}
    for name in ("open", "again"):
        given |= {f"{name},data.split={split}": 1.0 for split in (0, 1)}
    runs = [
        SimpleNamespace(
            directory=tmp_path / name,
            finished="open" not in name,
            is_reevaluated="again" in name,
        )
        for name in given
    ]
    (tmp_path / "summary.json").touch()
    monkeypatch.setattr(sweep, "find_runs", lambda folder: runs)
    monkeypatch.setattr(
        sweep, "validation_precision", lambda run: ("p", given[run.directory.name])
    )
    best = best_point(tmp_path, given)
    assert (best.name, best.validation) == ("a", pytest.approx(0.3))
    assert list(best.runs) == runs[:2]


# --- the command


@pytest.fixture
def command(request, monkeypatch, tmp_path):
    """`dlerse sweep` on a file of six points in two groups, and words it is given."""
    monkeypatch.chdir(request.config.rootpath)
    (tmp_path / "six.py").write_text(SWEEP_FILE)
    return ["sweep", f"--sweep={tmp_path}/six.py:quick", f"--workdir={tmp_path}/runs"]


def test_list_names_every_point_and_its_group(command, capsys):
    assert main([*command, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        [str(i), "group", str(i // 3)] for i in range(6)
    ]
    assert lines[5].endswith("network.hops=1,reward.alpha=0.2")
    assert main([*command, "--list", "--point=4"]) == 0
    assert capsys.readouterr().out.splitlines() == [lines[4]]
    assert main([*command, "--list", "--shard=2/2"]) == 0
    assert capsys.readouterr().out.splitlines() == lines[3:]


@pytest.mark.parametrize(
    ("flags", "counted"),
    [
        ([], "6 points to run, 2 groups, 4 training programs"),
        (["--point=3"], "1 points to run, 1 groups, 2 training programs"),
        (["--shard=2/2"], "3 points to run, 1 groups, 2 training programs"),
        (["--config.pretrain.num_updates=0"], "6 points to run, 2 groups, 2 training"),
    ],
)
def test_a_dry_run_counts_and_runs_nothing(command, tmp_path, capsys, flags, counted):
    assert main([*command, *flags, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert counted in said and "time not known" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "--sweep is missing"),
        (["sweep", "--sweep=sweeps/alpha.py"], "--workdir is missing"),
        (["sweep", "--sweep=sweeps/nosuch.py", "--list"], "no such sweep file"),
        (["sweep", "--sweep=sweeps/alpha.py:fast", "--list"], "has no option 'fast'"),
        (["sweep", "--sweep=experiments/lastfm.py", "--list"], "has no BASE and no"),
        (["sweep", "--sweep=sweeps/alpha.py", "--workdir=x", "--point=4"], "0 to 3"),
        (["sweep", "--sweep=SIX", "--list", "--point=0", "--shard=1/2"], "leave one"),
        (["sweep", "--sweep=EMPTY", "--list"], "empty.py adds no points"),
        (["sweep", "--sweep=NUMBER", "--list"], "BASE should be the name of a config"),
        (["sweep", "--sweep=SIX", "--workdir=RUN", "--dry-run"], "RUN is a run itself"),
    ],
)
def test_a_mistake_costs_one_line(command, tmp_path, capsys, arguments, message):
    nothing = 'BASE = "tests/tiny.py"\ndef sweep(add, option=""):\n    pass\n'
    (tmp_path / "empty.py").write_text(nothing)
    (tmp_path / "number.py").write_text(nothing.replace('"tests/tiny.py"', "3"))
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "config.json").write_text("{}")
    for name in ("SIX", "EMPTY", "NUMBER", "RUN"):
        path = tmp_path / (name if name == "RUN" else f"{name.lower()}.py")
        arguments = [word.replace(f"={name}", f"={path}") for word in arguments]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_another_base_may_be_named(command, capsys, tmp_path):
    sweep = read_sweep(f"{tmp_path}/six.py")
    assert sweep.base == "experiments/lastfm.py"
    flags = ["--config=experiments/synthetic.py", "--config.pretrain.num_updates=0"]
    assert main([*command, *flags, "--dry-run"]) == 0
    assert "2 training programs" in capsys.readouterr().out


def test_a_finished_sweep_refuses_changed_data_and_reads_each_once(
    request, tmp_path, monkeypatch, capsys
):
    """It printed the result of the old data, with status 0."""
    monkeypatch.chdir(request.config.rootpath)
    likes = [(user, (7 * user + i) % 40) for user in range(120) for i in range(8)]
    table, read = tmp_path / "interactions.csv", []
    table.write_text("\n".join(["user,item", *(f"{u},{i}" for u, i in likes)]))
    (tmp_path / "two.py").write_text(
        'BASE = QUICK_BASE = "experiments/own_data.py"\n'
        "def sweep(add, option=''):\n"
        "    for agent in ('popularity', 'random'):\n"
        "        add({'agent.name': agent, 'evaluation.baselines': ()})\n"
    )
    data = [f"--config.data.path={tmp_path}", "--config.data.table.friends="]
    words = ["sweep", f"--sweep={tmp_path}/two.py", f"--workdir={tmp_path}/runs", *data]
    assert main(words) == 0
    monkeypatch.setattr(
        checks, "build_dataset", lambda c: read.append(c) or build_dataset(c)
    )
    capsys.readouterr()
    assert main(words) == 0 and len(read) == 1
    assert "0 points to run (2 done before)" in capsys.readouterr().out
    table.write_text(table.read_text().replace("\n3,", "\n4,"))
    for flags in ([], ["--point=1"], ["--dry-run"]):
        assert main([*words, *flags]) == 2
        said = capsys.readouterr()
        assert "the data are not those of this run" in said.err and not said.out


def test_a_failed_point_shows_in_the_exit_status(
    command, tmp_path, capsys, monkeypatch
):
    def fail(group, workdir, **_):
        folder = workdir / group[0].name
        folder.mkdir(parents=True)
        (folder / "failed.json").write_text(
            '{"reason": "q_learning/loss is not finite"}'
        )
        return []

    monkeypatch.setattr("dlerse_jax.commands.sweep.run_group", fail)
    assert main([*command, "--point=4"]) == 1
    said = capsys.readouterr().out
    assert (
        "failed: network.hops=1,reward.alpha=0.1: q_learning/loss is not finite" in said
    )
    assert main([*command, "--point=4"]) == 1  # known, and not tried again
    assert "0 points to run (1 done before)" in capsys.readouterr().out


@pytest.mark.usefixtures("blank_figures")
def test_a_sweep_of_policies_ends_with_its_best_and_a_report(command, tmp_path, capsys):
    """No training, so quick: from the command to the page, twice, the second idle."""
    (tmp_path / "six.py").write_text(
        SWEEP_FILE.replace(
            '"network.hops": hops', '"agent.name": ("random", "linear")[hops]'
        )
        .replace("(0.0, 0.1, 0.2)", "(0, 1)")
        .replace("reward.alpha", "data.split")
    )
    command = [*command, "--config.tracking.wandb=False", "--quiet"]
    command += ["--config.evaluation.baselines=()", "--config.episode.horizon=6"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "best on validation users: agent.name=linear, 0." in said
    assert said.count("on test users") == 1  # of the chosen point alone
    rows = [line.split() for line in said.splitlines() if ",data.split=" in line[:40]]
    assert [len(row) for row in rows if row[0] != "group"] == [2, 2, 2, 2]
    assert "(mean of 2 splits)" in said
    assert main(command) == 0
    assert "0 points to run (4 done before)" in capsys.readouterr().out
    assert main(["report", f"{tmp_path}/runs"]) == 0
    assert (tmp_path / "runs" / "report" / "report.html").stat().st_size > 10_000
