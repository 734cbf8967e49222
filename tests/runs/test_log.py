import errno
import json
import os
import struct
import threading
import time

import numpy as np
import pytest
from run_folders import make_run
from wandb.proto import wandb_internal_pb2

from dlerse_jax.reporting.mirror import mirror_results
from dlerse_jax.runs import checkpoint, directory, wandb_mirror
from dlerse_jax.runs import log as run_log
from dlerse_jax.runtime import atomic_files

CONFIG = {"reward": {"alpha": 0.1}, "network": {"hops": 2, "widths": (64, 32)}}


def open_log(workdir, *, start_step=0, total_steps=100, use_wandb=False, quiet=True):
    return run_log.RunLog(
        workdir,
        config=CONFIG,
        name="trial",
        group=None,
        wandb_project="tests" if use_wandb else None,
        start_step=start_step,
        total_steps=total_steps,
        quiet=quiet,
    )


def log_steps(workdir, steps, **settings):
    with open_log(workdir, **settings) as log:
        for step in steps:
            log.log(step, {"train/loss": step / 10})


def without_clock(lines):
    return list(map(run_log.without_clocks, lines))


# --- metrics.jsonl


def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path):
    log_steps(tmp_path / "whole", range(10, 60, 10))
    log_steps(tmp_path / "cut", range(10, 50, 10))  # its last checkpoint is of step 20
    log_steps(tmp_path / "cut", range(30, 60, 10), start_step=20)
    whole, cut = (run_log.read_metrics(tmp_path / n) for n in ("whole", "cut"))
    assert without_clock(cut) == without_clock(whole)
    seconds = [line["wall_seconds"] for line in cut]
    assert seconds == sorted(seconds)


def test_wall_seconds_go_on_where_the_kept_log_ends(tmp_path):
    line = {"step": 20, "wall_seconds": 3600.5, "train/loss": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    log_steps(tmp_path, [30], start_step=20)
    assert 3600.5 <= run_log.read_metrics(tmp_path)[-1]["wall_seconds"] < 3660


DAMAGES = {
    "hole": lambda lines: lines[:1] + lines[2:],
    "double": lambda lines: [lines[0], *lines],
    "swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "five": lambda lines: ["5", *lines],
    "null": lambda lines: [lines[0], "null", *lines[1:]],
    "list": lambda lines: ["[]", *lines],
    "object": lambda lines: ["{}", *lines],
    "deep": lambda lines: ["[" * 100_000, *lines],
    "a word": lambda lines: [lines[0].replace("0.", '"x'), *lines[1:]],
    "true": lambda lines: [lines[0].replace("10", "true", 1), *lines[1:]],
    "not UTF-8": lambda lines: [lines[0].replace("loss", "l\xf6ss"), *lines[1:]],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_log_is_mended_from_the_checkpoint(tmp_path, caplog, damage):
    log_steps(tmp_path, [10, 20, 30, 40])
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    checkpoint.save(tmp_path, 40, {"x": np.zeros(2)})
    lines = DAMAGES[damage](path.read_text().splitlines())
    path.write_bytes("".join(line + "\n" for line in lines).encode("latin-1"))
    with pytest.raises(ValueError, match=r"metrics.jsonl, line \d: .*repairs the log"):
        run_log.read_metrics(tmp_path)
    log_steps(tmp_path, [50], start_step=40)
    assert path.read_bytes().startswith(whole)
    assert run_log.read_metrics(tmp_path)[-1]["step"] == 50
    assert "restored from the checkpoint" in caplog.text


def test_a_flipped_digit_and_a_lost_log_are_mended_and_a_whole_one_is_not(
    tmp_path, caplog
):
    log_steps(tmp_path, [10, 20])
    path = tmp_path / "metrics.jsonl"
    checkpoint.save(tmp_path, 20, {"x": np.zeros(2)})
    whole = path.read_bytes()
    log_steps(tmp_path, [30], start_step=20)
    assert not caplog.messages
    for damaged in (whole.replace(b"1.0", b"1.4"), b""):
        path.write_bytes(damaged)
        log_steps(tmp_path, [], start_step=20)
        assert path.read_bytes() == whole
    assert len(caplog.messages) == 2


def test_without_a_checkpoint_that_has_it_a_damaged_log_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("5\n")
    with pytest.raises(ValueError, match="line 1: not a line of a log"):
        open_log(tmp_path, start_step=20)


def test_a_run_from_scratch_begins_an_empty_log(tmp_path):
    log_steps(tmp_path, [0, 10])
    log_steps(tmp_path, [0])
    assert [line["step"] for line in run_log.read_metrics(tmp_path)] == [0]


@pytest.mark.parametrize("torn", ['{"step": 30, "wal', "\0\0\0\0", '{"step": 30'])
def test_a_line_cut_by_a_kill_is_dropped(tmp_path, torn):
    log_steps(tmp_path, [10, 20])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(torn)
    assert [line["step"] for line in run_log.read_metrics(tmp_path)] == [10, 20]
    log_steps(tmp_path, [30], start_step=20)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [10, 20, 30]


def test_numbers_that_are_not_finite_leave_valid_json(tmp_path):
    with open_log(tmp_path) as log:
        log.log(1, {"train/loss": np.float32("nan"), "train/q": -np.inf, "train/x": 1})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert without_clock([line]) == [
        {"step": 1, "train/loss": None, "train/q": None, "train/x": 1.0}
    ]


def test_each_line_is_on_disk_as_soon_as_it_is_logged(tmp_path):
    with open_log(tmp_path) as log:
        log.log(1, {"train/loss": 0.5})
        assert [line["step"] for line in run_log.read_metrics(tmp_path)] == [1]


def test_a_folder_without_a_log_has_no_metrics(tmp_path):
    assert run_log.read_metrics(tmp_path) == []


# --- a full disk


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path, monkeypatch):
    directory.write_summary(tmp_path, {"precision": 0.3})
    monkeypatch.setattr(atomic_files.os, "replace", full_disk)
    with pytest.raises(OSError, match="disk is full.*summary.json.*free some space"):
        directory.write_summary(tmp_path, {"precision": 0.4})
    assert os.listdir(tmp_path) == ["summary.json"]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"precision": 0.3}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_while_logging_names_the_log(tmp_path, monkeypatch):
    log = open_log(tmp_path)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(log, "_file", full)
        with pytest.raises(OSError, match="disk is full.*metrics.jsonl"), log:
            log.log(1, {"train/loss": 0.5})


def test_other_disk_errors_pass_unchanged(tmp_path):
    with (
        pytest.raises(PermissionError, match="denied"),
        atomic_files.clear_disk_errors(tmp_path),
    ):
        raise PermissionError(errno.EACCES, "denied")


# --- W&B


def offline_records(path):
    """Records of an offline `.wandb` file: LevelDB's log format after 7 bytes."""
    content, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        if position + 7 + length > len(content):
            return  # still being written
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def finished_records(workdir):
    """Records of the one finished W&B run under `workdir`."""
    (path,) = workdir.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 20
    # W&B's service writes the file's last block after `finish` has returned.
    while not (records := [*offline_records(path)]) or not records[-1].HasField("exit"):
        assert time.monotonic() < deadline, f"{path} was never finished"
        time.sleep(0.02)
    return records


def history(records):
    return [
        {".".join(i.nested_key): json.loads(i.value_json) for i in r.history.item}
        for r in records
        if r.HasField("history")
    ]


def mirrored(workdir):
    """Rows of history, step and loss, of the one finished W&B run under `workdir`."""
    rows = history(finished_records(workdir))
    return [(row["step"], row["train/loss"]) for row in rows]


def artifacts(records):
    """Artifacts by type: the files each holds."""
    sent = [r.request.log_artifact.artifact for r in records if r.HasField("request")]
    sent += [r.artifact for r in records if r.HasField("artifact")]
    return {a.type: {e.path for e in a.manifest.contents} for a in sent if a.type}


@pytest.mark.usefixtures("blank_figures")
def test_a_finished_run_sends_its_table_its_report_and_its_last_checkpoint(tmp_path):
    run = make_run(tmp_path / "run", agent="dlerse_con")
    for step in ("8", "40", "40.partial", "shared"):
        (run / "checkpoints" / step / "arrays").mkdir(parents=True)
        (run / "checkpoints" / step / "arrays/x").write_text(step)
    with open_log(run, use_wandb=True) as log:
        mirror_results(log, run, artifacts=True)
    records = finished_records(run)
    [table] = [row for row in history(records) if "results._type" in row]
    assert table["results._type"] == "table-file" and table["results.ncols"] == 6
    sent = artifacts(records)
    assert {"summary.json", "config.json", "evaluation.npz"} == sent["results"]
    assert {"report.html", "lastfm_cold_precision_by_step.png"} <= sent["report"]
    assert sent["checkpoint"] == {"40/arrays/x", "shared/arrays/x"}


def test_a_run_whose_artifacts_are_off_sends_small_files_alone(tmp_path):
    run = make_run(tmp_path / "run")
    with open_log(run, use_wandb=True) as log:
        mirror_results(log, run, artifacts=False)
    assert {"report", "checkpoint"}.isdisjoint(artifacts(finished_records(run)))
    assert not (run / "report").exists()


@pytest.mark.parametrize("failed", [False, True])
def test_a_run_that_failed_beside_others_closes_as_failed(tmp_path, failed):
    with open_log(tmp_path, use_wandb=True) as log:
        if failed:
            log.fail()
    assert finished_records(tmp_path)[-1].exit.exit_code == int(failed)


def test_a_run_of_a_wandb_agent_has_the_agents_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert wandb_mirror._kept_id(tmp_path / "alone") != "abc"
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert wandb_mirror._kept_id(tmp_path / "by_agent") == "abc"
    monkeypatch.setenv("WANDB_RUN_ID", "other")
    assert wandb_mirror._kept_id(tmp_path / "by_agent") == "abc"


def test_two_live_runs_are_mirrored_each_to_its_own_folder(tmp_path):
    report = tmp_path / "report.html"
    report.write_text("report")
    with (
        open_log(tmp_path / "a", use_wandb=True) as one,
        open_log(tmp_path / "b", use_wandb=True) as other,
    ):
        one.log(1, {"train/loss": 0.5})
        other.log(1, {"train/loss": 0.25})
        one.log(2, {"train/loss": float("nan")})
        one.log_artifact("report", [report])
    assert mirrored(tmp_path / "b") == [(1, 0.25)]
    (_, first), (_, second) = mirrored(tmp_path / "a")
    assert first == 0.5 and second != 0.5
    ids = [(tmp_path / name / "wandb_id.txt").read_text() for name in "ab"]
    assert ids[0] != ids[1]


def test_a_resumed_mirror_keeps_its_id(tmp_path):
    log_steps(tmp_path, [1], use_wandb=True)
    kept = (tmp_path / "wandb_id.txt").read_text()
    log_steps(tmp_path, [2], start_step=1, use_wandb=True)
    assert (tmp_path / "wandb_id.txt").read_text() == kept
    assert {path.stem for path in tmp_path.glob("wandb/*/*.wandb")} == {f"run-{kept}"}


def test_without_the_flag_nothing_of_wandb_is_written(tmp_path):
    log_steps(tmp_path, [1])
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_failing_mirror_warns_once_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    import wandb

    def refuse(**_):
        raise wandb.errors.CommError("no route\nto the server")

    monkeypatch.setattr(wandb, "init", refuse)
    log_steps(tmp_path, [1, 2], use_wandb=True)
    assert caplog.messages == [
        "W&B is off for the rest of this run: no route to the server"
    ]
    assert len(run_log.read_metrics(tmp_path)) == 2


def test_a_slow_mirror_holds_no_line_up(tmp_path, monkeypatch, caplog):
    import wandb

    may_answer = threading.Event()

    def answer_late(**_):
        assert may_answer.wait(timeout=60)
        raise wandb.errors.CommError("too late")

    monkeypatch.setattr(wandb, "init", answer_late)
    with open_log(tmp_path, use_wandb=True) as log:
        log.log(1, {"train/loss": 0.1})
        assert len(run_log.read_metrics(tmp_path)) == 1 and not caplog.messages
        may_answer.set()
        assert not log.is_mirrored
    assert caplog.messages == ["W&B is off for the rest of this run: too late"]


@pytest.mark.parametrize(
    "error",
    [TypeError("no such argument"), RuntimeError("no home directory"), OSError("disk")],
)
def test_whatever_fails_in_the_mirror_is_one_warning(
    tmp_path, monkeypatch, caplog, error
):
    import wandb

    def failing(**_):
        raise error

    monkeypatch.setattr(wandb, "init", failing)
    log_steps(tmp_path, [1, 2], use_wandb=True)
    assert caplog.messages == [f"W&B is off for the rest of this run: {error}"]
    assert len(run_log.read_metrics(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("WANDB_MODE", "sometimes"), ("WANDB_BASE_URL", "nonsense"), ("HOME", None)],
)
def test_settings_that_wandb_refuses_cost_the_mirror_alone(
    tmp_path, monkeypatch, caplog, name, value
):
    monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    log_steps(tmp_path, [1, 2], use_wandb=True)
    assert len(run_log.read_metrics(tmp_path)) == 2
    own = [r.getMessage() for r in caplog.records if r.name.startswith("dlerse_jax")]
    assert len(own) <= 1 and not any("\n" in message for message in own)


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, None, "offline"),
        ({}, "machine example.org login user password x", "offline"),
        ({}, "machine api.wandb.ai login user password x", "online"),
        ({}, "machine wandb.local:8080 login user password x", "online"),
        ({}, "machine", "offline"),
        ({"WANDB_API_KEY": "x"}, None, "online"),
        ({"WANDB_API_KEY": "x", "WANDB_MODE": "disabled"}, None, None),
    ],
)
def test_wandb_is_online_only_with_a_key(
    tmp_path, monkeypatch, environment, netrc, mode
):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if netrc:
        (tmp_path / "netrc").write_text(netrc)
    assert wandb_mirror._wandb_mode("http://wandb.local:8080") == mode


# --- the progress line


def test_progress_without_a_terminal_is_a_line_now_and_then(tmp_path, capfd):
    log_steps(tmp_path, [1, 2, 3, 4], total_steps=4, quiet=False)
    captured = capfd.readouterr()
    first, last = captured.err.splitlines()
    assert first.startswith("trial  1/4  eta ") and first.endswith("loss 0.1")
    assert last.startswith("trial  4/4  eta 0:00:00") and "steps/s" in last
    assert captured.out == ""  # tables and --json have it to themselves


def test_progress_on_a_terminal_is_a_bar(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    log_steps(tmp_path, [1, 4], total_steps=4, quiet=False)
    shown = capfd.readouterr().err
    assert "━" in shown and "4/4" in shown and "loss 0.4" in shown


def test_quiet_shows_nothing(tmp_path, capfd):
    log_steps(tmp_path, [1, 4], total_steps=4)
    assert capfd.readouterr() == ("", "")


def test_files_of_a_run_can_be_read_by_others(tmp_path):
    """Reports were once readable by their owner alone."""
    path = tmp_path / "report.html"
    (tmp_path / "plain").touch()
    atomic_files.write_atomically(path, b"page")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
