"""Which numbers of a config are traced: runs of one program may differ in these.

Here are the names of such keys, what each phase reads of them, and the numbers of a
deep agent's `Settings`. A key that is not here is static: another value of it is
another program.
"""

import operator

from ml_collections import ConfigDict

from dlerse_jax.agents.registry import DEEP
from dlerse_jax.learning.train_loop import PHASES
from dlerse_jax.runs.directory import flat_items

# Numbers that a deep agent traces while it learns, by their name in its `Settings`.
LEARNING_KEYS = {
    "gamma": "q_learning.gamma",
    "learning_rate": "q_learning.learning_rate",
    "pretrain_learning_rate": "pretrain.learning_rate",
    "epsilon_first": "q_learning.epsilon_first",
    "epsilon_last": "q_learning.epsilon_last",
    "pretrain_epsilon": "pretrain.epsilon",
    "mask_least": "q_learning.mask_least",
    "mask_most": "q_learning.mask_most",
    "target_step": "q_learning.target_step",
    "average_step": "optimizer.average_step",
    "supervised_weight": "q_learning.supervised_weight",
    "contrastive_weight": "q_learning.contrastive_weight",
}

# Those of them that `pretrain` reads: it fits what users like, and no rewards.
PRETRAIN_KEYS = {
    "pretrain.learning_rate",
    "pretrain.epsilon",
    "q_learning.mask_least",
    "q_learning.mask_most",
    "optimizer.average_step",
}


def traced_keys(config: ConfigDict) -> set[str]:
    """Keys whose value is no part of the compiled program of this config's agent."""
    learning = LEARNING_KEYS.values() if config.agent.name in DEEP else ()
    return {"reward.alpha", *learning}


def static_words(config: ConfigDict) -> str:
    """All of a config that is not traced: what its programs may depend on."""
    flat, not_static = flat_items(config.to_dict()), traced_keys(config)
    return str([(key, value) for key, value in flat if key not in not_static])


def hyperparameters_read(config: ConfigDict) -> dict[str, tuple]:
    """What tells runs of one program apart, in each phase."""
    keys = sorted(traced_keys(config))
    of_phase = {
        "pretrain": [key for key in keys if key in PRETRAIN_KEYS],
        "q_learning": keys,
    }
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
