"""What `dlerse serve` makes of its flags and of the run's config."""

import json

import pytest
from absl import flags

from dlerse_jax.commands import serve
from dlerse_jax.runs.directory import CONFIG_NAME


def settings(run, *words):
    values = flags.FlagValues()
    serve.define_serve_flags(values)
    values(["dlerse", *words])
    return serve._settings(values, run)


@pytest.fixture
def run(tmp_path):
    said = {"exploration": "epsilon:0.2", "exploration_seed": 7}
    (tmp_path / CONFIG_NAME).write_text(json.dumps({"config": {"serve": said}}))
    return tmp_path


def test_exploration_is_what_the_run_says(run):
    made = settings(run)
    assert (str(made.exploration), made.seed) == ("epsilon:0.2", 7)


def test_a_flag_says_otherwise(run):
    made = settings(run, "--exploration=softmax:0.5", "--exploration-seed=3")
    assert (str(made.exploration), made.seed) == ("softmax:0.5", 3)
    assert str(settings(run, "--exploration=none").exploration) == "none"


def test_a_run_that_is_older_than_the_key_explores_nothing(tmp_path):
    (tmp_path / CONFIG_NAME).write_text(json.dumps({"config": {}}))
    made = settings(tmp_path)
    assert (str(made.exploration), made.seed) == ("none", None)


def test_a_word_that_is_none_is_refused(run):
    with pytest.raises(ValueError, match="exploration is 'greedy'"):
        settings(run, "--exploration=greedy")


def test_an_address_with_a_password_can_stay_out_of_the_command(run, monkeypatch):
    monkeypatch.setenv(serve.STORE, "redis://:secret@there")
    assert settings(run).store == "redis://:secret@there"
    assert settings(run, "--store=redis://here").store == "redis://here"
    monkeypatch.delenv(serve.STORE)
    assert settings(run).store == f"sqlite:{run}/serving/sessions.sqlite"


def test_each_flag_is_a_setting_in_a_unit_of_its_own(run, tmp_path):
    made = settings(
        run,
        f"--state={tmp_path / 'elsewhere'}",
        "--hosts=a.test, b.test",
        "--origins=https://c.test",
        "--rate=5",
        "--session-days=2",
        "--event-days=3",
        "--watch=4",
        "--cache=1",
        "--candidates=9",
        "--wait-for-disk",
        "--demo",
    )
    assert made.store == f"sqlite:{tmp_path}/elsewhere/sessions.sqlite"
    assert made.events == tmp_path / "elsewhere/events"
    assert made.hosts == ("a.test", "b.test") and made.origins == ("https://c.test",)
    assert (made.rate, made.burst) == (5, 10)
    assert (made.session_seconds, made.event_days) == (2 * 24 * 3600, 3)
    assert (made.watch_seconds, made.cached_bytes, made.candidates) == (4, 2**20, 9)
    assert made.wait_for_disk and made.demo


def test_without_flags_nobody_is_searched_for_and_no_other_page_may_ask(run):
    made = settings(run)
    assert not made.demo and not made.origins and made.rate > 0


def test_a_small_catalogue_is_scored_in_one_thread(tmp_path, monkeypatch):
    import jax
    import numpy as np

    from dlerse_jax.server import threads

    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    monkeypatch.setenv("NPROC", "")
    monkeypatch.delenv("NPROC")
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    np.savez(tmp_path / "dataset.npz", item_ids=np.arange(60_000))
    threads.set_threads(tmp_path)
    assert threads.os.environ["XLA_FLAGS"] == "--xla_dump_to=x"
    assert "NPROC" not in threads.os.environ
    np.savez(tmp_path / "dataset.npz", item_ids=np.arange(100))
    threads.set_threads(tmp_path)
    assert threads.os.environ["XLA_FLAGS"] == (
        "--xla_dump_to=x --xla_cpu_multi_thread_eigen=false"
    )
    assert threads.os.environ["NPROC"] == "1"
    monkeypatch.setenv("NPROC", "3")
    threads.set_threads(tmp_path)
    assert threads.os.environ["NPROC"] == "3"
    assert threads.num_items(tmp_path / "none") == 0
