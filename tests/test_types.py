"""What users see of the containers: one short line each, and that hints are shipped."""

import dataclasses
from importlib.resources import files

import jax
import numpy as np
import pytest
from run_folders import make_evaluation
from worlds import random_world

import dlerse_jax
from dlerse_jax.agents.classical.popularity import popularity

WORLD = random_world()
EXPECTED = (
    "Dataset('probe': 24 users, 12 items, {likes} likes, {pairs} friend pairs; "
    "16 train, 4 validation, 4 test users)"
)


def test_a_dataset_prints_its_sizes_and_no_user():
    likes, pairs = int(WORLD.num_likes.sum()), int(WORLD.num_friends.sum())
    assert repr(WORLD) == EXPECTED.format(likes=likes, pairs=pairs)


def test_large_counts_are_printed_in_groups_of_three():
    many = dataclasses.replace(WORLD, user_ids=np.arange(12_345))
    assert "12,345 users" in repr(many)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Agent('popularity', nothing to train)"),
        ({"horizon": 32}, "Agent('popularity', 32 steps, nothing to train)"),
        ({"pretrain": print}, "Agent('popularity', pretrain)"),
        (
            {"pretrain": print, "q_learning": print},
            "Agent('popularity', pretrain and q_learning)",
        ),
    ],
)
def test_an_agent_prints_its_name_and_what_can_be_trained(changes, words):
    assert repr(dataclasses.replace(popularity(WORLD), **changes)) == words


def test_a_trained_agent_prints_its_name_and_how_many_seeds_it_has():
    trained = dlerse_jax.Trained(
        agent=popularity(WORLD),
        states=np.zeros((3, 1000)),
        roots=jax.random.split(jax.random.key(0), 3),
        history=({}, {}),
        selected=None,
    )
    assert repr(trained) == "Trained('popularity': 3 seeds, 2 training chunks)"


def test_an_evaluation_prints_what_was_evaluated_and_no_answer():
    evaluation = make_evaluation("friends", 0.3)
    expected = "Evaluation('friends', cold: 2 seeds, 60 users, 32 steps)"
    assert repr(evaluation) == expected


def test_type_hints_are_marked_as_part_of_the_package():
    assert (files(dlerse_jax) / "py.typed").is_file()
