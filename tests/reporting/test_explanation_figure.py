"""The figure of faithfulness draws what the benchmark printed."""

from dlerse_jax.reporting.explanation_figure import deletion_figure


def line(agent, order, level):
    curve = [[level - 0.1 * step, 0.0, level] for step in range(11)]
    return {"agent": agent, "order": order, "users": 5, "deletion": curve}


def test_there_is_a_panel_per_agent_with_a_curve_per_order():
    lines = [line("A", "leave_one_out", 3), line("A", "random", 2), line("B", "x", 1)]
    lines.append({"agent": "A", "spearman": [0.5, 0.4, 0.6]})
    group = deletion_figure(lines)
    assert [panel.name for panel in group.panels] == ["deletion_A", "deletion_B"]
    assert all(panel.png.startswith(b"\x89PNG") for panel in group.panels)
    text = group.panels[0].svg.decode()
    assert "leave one out" in text and "random" in text
    assert "2 orders" in group.panels[0].description
