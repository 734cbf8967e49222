"""Which numbers of a config are traced: in what runs of one program may differ.

In goes a config; out come the names of such keys, what each phase reads of them, and
the numbers of a deep agent's `Settings`. A key that is not here is static: another
value of it is another program.
"""

import operator

from ml_collections import ConfigDict

from dlerse_jax.agents.registry import DEEP
from dlerse_jax.learning.train_loop import PHASES
from dlerse_jax.runs.directory import flat_items

# Numbers that a deep agent traces while it learns, by their name in its `Settings`.
LEARNING_KEYS = {
    "gamma": "learn.gamma",
    "trace": "learn.trace",
    "learning_rate": "learn.learning_rate",
    "fit_learning_rate": "fit.learning_rate",
    "epsilon_first": "learn.epsilon_first",
    "epsilon_last": "learn.epsilon_last",
    "fit_epsilon": "fit.epsilon",
    "hide_least": "learn.hide_least",
    "hide_most": "learn.hide_most",
    "target_step": "learn.target_step",
    "average_step": "optimizer.average_step",
    "anchor": "learn.anchor",
    "contrast": "learn.contrast",
}

# Those of them that `fit` reads. It is taught what users like, and not rewards.
FIT_KEYS = {
    "fit.learning_rate",
    "fit.epsilon",
    "learn.hide_least",
    "learn.hide_most",
    "optimizer.average_step",
}


def traced_keys(config: ConfigDict) -> set[str]:
    """Keys whose value is no part of the compiled program of this config's agent."""
    learning = LEARNING_KEYS.values() if config.agent.name in DEEP else ()
    return {"reward.alpha", *learning}


def static_words(config: ConfigDict) -> str:
    """All of a config that is not traced: what its programs may hang on."""
    flat, not_static = flat_items(config.to_dict()), traced_keys(config)
    return str([(key, value) for key, value in flat if key not in not_static])


def numbers_read(config: ConfigDict) -> dict[str, tuple]:
    """What tells runs of one program apart, in each phase."""
    keys = sorted(traced_keys(config))
    of_phase = {"fit": [key for key in keys if key in FIT_KEYS], "learn": keys}
    return {
        phase: tuple(operator.attrgetter(key)(config) for key in of_phase[phase])
        for phase in PHASES
    }


def learning_settings(config: ConfigDict, agent_name: str) -> dict[str, float]:
    """Traced numbers of learning; what makes the agent what it is comes last."""
    chosen = {
        name: operator.attrgetter(key)(config) for name, key in LEARNING_KEYS.items()
    }
    preset = DEEP[agent_name]
    return chosen | {name: preset[name] for name in LEARNING_KEYS if name in preset}
