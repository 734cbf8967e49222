"""Random streams: one root key a run, one named stream a consumer, one key a step.

So a resumed run needs its seed and step alone, and a new consumer moves no other draw.
"""

import jax

STREAMS = {
    name: number
    for number, name in enumerate(
        (
            "init",
            "fit",
            "learn",
            "evaluate",
            "users",
            "hide",
            "act",
            "replay",
            "replay_hide",
            "dropout",
            "friends",
            "replay_friends",
        )
    )
}


def stream_key(root: jax.Array, name: str, step: jax.Array | int = 0) -> jax.Array:
    """The key of one consumer at one step; KeyError on a stream that does not exist."""
    return jax.random.fold_in(jax.random.fold_in(root, STREAMS[name]), step)
