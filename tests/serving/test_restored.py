"""A run that is served is what was trained, without what training began with."""

import shutil

import jax
import pytest
from served import finished_run
from small_agents import assert_same

from dlerse_jax.experiment.restore import restore_trained
from dlerse_jax.linear_models import item_factors

RUN = "dlerse_con"


@pytest.fixture(scope="module")
def trained():
    return restore_trained(finished_run(RUN))


def test_a_served_run_makes_no_factors_and_is_the_same_to_the_bit(trained, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("factors are made, which are in the checkpoint")

    monkeypatch.setattr(item_factors, "gram_spectrum", refuse)
    found = restore_trained(finished_run(RUN), to_serve=True)
    assert_same(jax.tree.leaves(found.states), jax.tree.leaves(trained.states))


def test_where_the_kept_arrays_are_damaged_they_are_made(trained, tmp_path):
    run = shutil.copytree(finished_run(RUN), tmp_path / "run")
    for path in (run / "checkpoints" / "shared" / "arrays").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    found = restore_trained(run, to_serve=True)
    assert_same(jax.tree.leaves(found.states), jax.tree.leaves(trained.states))


def test_a_served_agent_begins_where_the_trained_one_began(trained):
    found = restore_trained(finished_run(RUN), to_serve=True)
    ours, theirs = (each.agent.init(trained.roots[0]) for each in (found, trained))
    assert_same(jax.tree.leaves(ours), jax.tree.leaves(theirs))
