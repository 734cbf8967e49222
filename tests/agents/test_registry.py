"""What the registry says of agents: their inputs, and which one is the bar."""

import pytest

from dlerse_jax.agents.registry import AGENTS, inputs_read, name_bar


@pytest.mark.parametrize(
    ("name", "settings", "inputs"),
    [
        ("random", {}, ""),
        ("popularity", {}, "likes"),
        ("mf_mean", {}, "likes"),
        ("ease_friends", {}, "likes friends"),
        ("linear", {}, "likes friends"),
        ("linear", {"baseline.linear.tag_weight": 1.0}, "likes friends tags"),
        ("linear", {"plus.tag_weight": 1.0}, "likes friends"),
        ("linucb", {"baseline.linucb.rank_weight": 0.7}, "likes counts"),
        ("linear_plus", {}, "likes friends tags counts"),
        (
            "linear_plus",
            {"baseline.linear_plus.tag_weight": 0.0},
            "likes friends counts",
        ),
        ("dlerse_con", {}, "likes friends"),
        ("dlerse_con", {"plus.tag_weight": 1.0}, "likes friends"),
        ("dlerse_con", {"network.hops": 0}, "likes"),
        ("dlerse_con", {"network.fusion": "none"}, "likes"),
        ("sadqn", {"network.hops": 0}, "likes friends"),
        ("dqn", {}, "likes"),
        ("dlerse_plus", {}, "likes friends tags counts"),
        ("dlerse_plus", {"plus.rank_weight": 0.0}, "likes friends tags"),
        ("dlerse_plus", {"network.hops": 0}, "likes friends tags counts"),
        ("dlerse_rank", {"plus.tag_weight": 0.0}, "likes friends counts"),
        ("bpr", {}, "likes"),
        ("lightgcn", {}, "likes"),
        ("lightgcn_social", {}, "likes friends"),
        ("graphrec", {}, "likes friends"),
    ],
)
def test_inputs_follow_agent_and_settings(name, settings, inputs):
    assert " ".join(inputs_read(name, settings)) == inputs


def test_every_agent_but_random_reads_likes():
    reads = {name: "likes" in inputs_read(name) for name in AGENTS}
    assert [name for name, has_likes in reads.items() if not has_likes] == ["random"]


def test_an_unknown_agent_is_an_error():
    with pytest.raises(ValueError, match="no agent 'linier'; there are random"):
        inputs_read("linier")


def test_the_bar_is_the_best_without_learning_on_validation_users():
    precision = {"popularity": 0.2, "linear": 0.34, "mf_friends": None}
    assert name_bar(precision) == "linear"
    assert name_bar(precision | {"dlerse_plus": 0.4, "linear_plus": 0.35}) == (
        "linear_plus"
    )
    assert name_bar({"dlerse_plus": 0.4}) is None
    assert name_bar({"ease_friends": 0.3, "linear": 0.3}) == "ease_friends"
