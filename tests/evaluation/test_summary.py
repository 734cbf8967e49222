"""Promises of evaluation/summary.py: every number with its interval, and by friends."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from dlerse_jax.evaluation import summary
from dlerse_jax.types import Evaluation

NUM_ITEMS = 100


def evaluation(feedback, num_friends, num_likes=10, shown=None):
    """Feedback [S, B, T]; the first `shown` steps have an item, all by default."""
    feedback = np.asarray(feedback, np.uint8)
    num_seeds, num_users, horizon = feedback.shape
    steps = np.arange(horizon)
    items = np.where(steps < (shown or horizon), steps, NUM_ITEMS)
    return Evaluation(
        agent="test",
        protocol="cold",
        users=np.arange(num_users),
        items=np.broadcast_to(items, feedback.shape),
        feedback=feedback,
        num_likes=np.full(num_users, num_likes),
        num_friends=np.asarray(num_friends),
        num_items=NUM_ITEMS,
        miss_reward=-1.0,
    )


def alternating(num_users, horizon=32):
    return np.tile([1, 0], (1, num_users, horizon // 2))


@pytest.fixture(scope="module")
def alternating_summary():
    return summary.summarize(evaluation(alternating(4), num_friends=[0, 5, 6, 21]))


def test_every_metric_of_the_protocol_is_there(alternating_summary):
    expected = {
        "reward_alpha_0": 0.0,
        # A dislike follows a like (+alpha) 16 times, a like a dislike 15 times.
        "reward_alpha_0.1": 0.1 * (16 - 15) / 32,
        "precision_at_1": 1.0,
        "precision_at_5": 3 / 5,
        "precision_at_10": 1 / 2,
        "precision_at_20": 1 / 2,
        "precision_at_32": 1 / 2,
        "recall_at_1": 0.1,
        "recall_at_5": 0.3,
        "recall_at_10": 0.5,
        "recall_at_20": 1.0,
        "recall_at_32": 1.6,
        "like_streak_length": 1.0,
        "dislike_streak_length": 1.0,
    }
    metrics = alternating_summary["metrics"]
    means = {name: interval["mean"] for name, interval in metrics.items()}
    assert means == pytest.approx(expected)


@pytest.mark.parametrize("group", ["0", "1-5", "6-20", ">20"])
def test_each_user_is_in_one_group_by_friends(alternating_summary, group):
    assert alternating_summary["by_friends"][group]["num_users"] == 1


def test_cut_offs_longer_than_the_episode_are_left_out():
    short = summary.summarize(evaluation(alternating(3, horizon=10), [1, 1, 1]))
    assert "precision_at_10" in short["metrics"]
    assert "precision_at_20" not in short["metrics"]


def test_what_does_not_exist_is_null_in_json():
    nobody_likes = evaluation(np.zeros((1, 2, 4)), num_friends=[3, 3], num_likes=0)
    text = json.dumps(summary.summarize(nobody_likes), allow_nan=False)
    found = json.loads(text)
    missing = {"mean": None, "low": None, "high": None}
    assert found["metrics"]["recall_at_1"] == missing
    assert found["metrics"]["like_streak_length"] == missing
    assert found["by_friends"][">20"]["num_users"] == 0
    assert found["by_friends"][">20"]["metrics"]["precision_at_1"] == missing


def test_steps_without_an_item_are_no_dislikes_but_lower_precision():
    liked = np.arange(32) < 20
    metrics = summary.user_metrics(evaluation(liked[None, None], [1], shown=20))
    assert metrics["reward_alpha_0"] == 1
    assert metrics["precision_at_32"] == 20 / 32
    assert np.isnan(metrics["dislike_streak_length"])


def test_splits_are_averaged_and_each_user_counts_once():
    liked = evaluation(np.ones((1, 2, 4)), [0, 0])
    disliked = evaluation(np.zeros((1, 6, 4)), [0] * 6)
    both = summary.summarize(liked, disliked)
    assert both["num_users"] == 6  # two of whom are in both
    assert both["by_friends"]["0"]["num_users"] == 6
    assert both["metrics"]["precision_at_1"]["mean"] == 0.5


def test_of_summaries_of_splits_means_are_averaged_and_errors_added():
    nothing = {"mean": None, "low": None, "high": None}
    first = {"mrr": {"mean": 0.4, "low": 0.1, "high": 1.0}, "auc": nothing}
    second = {"mrr": {"mean": 0.6, "low": 0.2, "high": 1.4}, "auc": first["mrr"]}
    found = summary.average_summaries(
        [
            {
                "num_users": 10,
                "num_seeds": 3,
                "metrics": first | {"ours": first["mrr"]},
            },
            {"num_users": 20, "num_seeds": 2, "metrics": second},
        ]
    )
    assert (found["num_users"], found["num_seeds"]) == (30, 2)
    assert found["metrics"] == {
        "mrr": pytest.approx({"mean": 0.5, "low": 0.5 - 0.25, "high": 0.5 + 0.5})
    }


def terminal_text(table):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_the_terminal_table_shows_mean_and_interval_of_every_agent(alternating_summary):
    short = summary.summarize(evaluation(np.zeros((1, 3, 5)), [0, 0, 0]))
    summaries = {"theirs": short, "ours": alternating_summary}
    text = terminal_text(summary.results_table(summaries))
    assert text.split()[:8] == [
        "agent",
        "reward",
        "P@1",
        "P@5",
        "P@10",
        "P@20",
        "P@32",
        "R@32",
    ]
    assert "0.600" in text
    assert "±0.000" in text
    assert "…" not in text  # nothing is cut on a terminal of 80 columns
    assert text.index("ours") < text.index("theirs")  # who has no P@32 is last
    assert "sorted by P@32" in " ".join(text.split())


def test_the_terminal_table_is_sorted_by_its_question_and_marks_the_bar():
    def of(reward, precision):
        interval = {"low": 0.0, "high": 0.0}
        metrics = {
            "reward_alpha_0.1": {"mean": reward, **interval},
            "precision_at_5": {"mean": precision, **interval},
        }
        return {"num_users": 9, "num_seeds": 1, "metrics": metrics}

    summaries = {"[b]dull": of(-0.5, 0.4), "even": of(-0.1, 0.3)}
    by_precision = terminal_text(summary.results_table(summaries, bar="even"))
    assert by_precision.index("[b]dull") < by_precision.index("even *")
    assert "* best without learning" in " ".join(by_precision.split())
    assert "over users, one seed" in " ".join(by_precision.split())
    by_reward = summary.results_table(summaries, sort_by="reward_alpha_0.1")
    text = terminal_text(by_reward)
    assert text.index("even") < text.index("[b]dull")
    assert "sorted by reward, α = 0.1" in " ".join(text.split())
    assert "*" not in text


def test_the_terminal_table_shows_half_of_an_interval():
    interval = {"mean": 0.5, "low": 0.3, "high": 0.6}
    ours = {"num_users": 9, "num_seeds": 1, "metrics": {"precision_at_5": interval}}
    assert "±0.150" in terminal_text(summary.results_table({"ours": ours}))


def test_who_has_no_number_is_best_at_nothing():
    summaries = {
        name: {"metrics": {"mrr": {"mean": mean}}}
        for name, mean in {"first": 0.3, "second": 0.4, "none": None}.items()
    }
    every = [*summaries, "gone"]
    assert summary.best_of(every, summaries, "mrr") == "second"
    assert summary.best_of(["none", "gone"], summaries, "mrr") is None
    assert summary.best_of(every, summaries, "auc") is None


@pytest.mark.parametrize(
    "seeds, splits, words",
    [
        ([1, 1], 1, "over users, one seed"),
        ([3], 1, "over users and 3 seeds"),
        ([1, 3], 1, "over users, 1 to 3 seeds"),
        ([1, 2], 2, "over users of 2 splits, 1 to 2 seeds each"),
        ([2, 2], 5, "over users and 5 splits, 2 seeds each"),
    ],
)
def test_captions_say_what_an_interval_is_over(seeds, splits, words):
    assert summary.interval_sources(seeds, splits) == words


def test_names_stay_in_their_cell():
    assert summary.markdown_cell("a|b\nc $x$") == r"a\|b c \$x\$"


@pytest.mark.parametrize("horizon", [8, 32, 64])
def test_the_whole_episode_is_the_longest_list(horizon):
    names = summary.user_metrics(evaluation(alternating(4, horizon), [0, 1, 2, 3]))
    assert summary.longest_precision(names) == f"precision_at_{horizon}"
    columns = summary.table_columns(names)
    assert list(columns.values())[-2:] == [f"P@{horizon}", f"R@{horizon}"]
    assert {"P@1", "P@5"} < set(columns.values())


def test_a_ranking_of_few_items_is_judged_as_a_whole():
    scores, relevant = np.array([[0.3, 0.1, 0.2]]), np.array([[True, False, True]])
    found = summary.ranking_metrics(scores, relevant)
    assert set(found) == {"precision_at_3", "recall_at_3", "ndcg_at_3", "mrr", "auc"}
    assert found["precision_at_3"] == pytest.approx(2 / 3) and found["auc"] == 1
