"""Writes Q of the tiny fixed network to tests/networks/goldens/q_values.json.

    python tests/networks/goldens/make_goldens.py

A change of this file is a commit of its own that says why Q moved.
"""

import json
import sys
from pathlib import Path

import jax

HERE = Path(__file__).parent


def main() -> None:
    sys.path.insert(0, str(HERE.parents[1]))
    from tiny_network import WORLD, episode_q, make_network, make_params, make_tables

    from dlerse_jax.graph.attention_graph import friend_graph
    from dlerse_jax.graph.friends import friend_table

    q = {}
    for fusion in ("con", "add"):
        network = make_network(fusion=fusion)
        params, tables = make_params(network), make_tables()
        graph = friend_graph(friend_table(WORLD))
        values = jax.device_get(episode_q(network, params, graph, tables))
        q[fusion] = [[round(float(value), 6) for value in row] for row in values]
    content = {"command": "python tests/networks/goldens/make_goldens.py", "q": q}
    (HERE / "q_values.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
