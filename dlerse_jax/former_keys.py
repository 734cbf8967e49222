"""Config keys of earlier versions: renamed, removed, or not yet there."""

# Names that keys had in version 0.1.0; a section is renamed with all of its keys.
RENAMED_KEYS = {
    "fit": "pretrain",
    "learn": "q_learning",
    "learn.anchor": "q_learning.supervised_weight",
    "learn.contrast": "q_learning.contrastive_weight",
    "learn.hide_least": "q_learning.mask_least",
    "learn.hide_most": "q_learning.mask_most",
    "evaluation.keep": "evaluation.select",
    "network.memory_gain": "network.session_gain",
    "plus.belief_power": "plus.ridge_power",
    "plus.belief_rank": "plus.ridge_rank",
    "plus.belief_regularisation": "plus.ridge_regularisation",
    "plus.belief_weight": "plus.ridge_weight",
    "plus.far_weight": "plus.two_hop_weight",
    "user.boredom": "user.satiation",
}
# Of keys that change what a run does: their value in runs that are older than they.
BEFORE_THE_KEY = {"tune": False}
# Keys of version 0.1.0 that were removed: they gained nothing on real data. What was
# measured with them is in docs/notes/dropped-options.md.
REMOVED_KEYS = {"learn.trace", "q_learning.trace", "network.quantiles"}
REMOVED_KEYS |= {"network.score_dtype"}
