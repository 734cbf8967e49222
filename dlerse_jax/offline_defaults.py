"""Settings of the policies trained on logged likes (`agents/offline`).

They make pretrain.num_updates updates. Their numbers were chosen on validation users of
LastFM's split 0.
"""

TRAINING = {
    "width": 64,  # of the embeddings
    "learning_rate": 1e-3,  # its peak; warm-up, then a cosine
    "weight_decay": 0.0,  # of AdamW, on matrices
    "batches": 10,  # minibatches per update
    "batch_size": 1024,  # examples per minibatch
}
SESSIONS = {
    **TRAINING,
    "batch_size": 64,  # users per minibatch, one session each
    "dropout": 0.5,
    "session_length": 32,  # most likes of a training session
}
LIGHTGCN = {
    **TRAINING,
    "learning_rate": 0.01,
    "batches": 2,  # each is a pass over all likes
    "batch_size": 4096,
    "layers": 3,  # hops in the graph of likes and friends
    "regularisation": 1e-3,  # L2 of the drawn rows
    "prior_weight": 0.1,  # the mean user counts as so many neighbours
}
MULTVAE = {
    **TRAINING,
    "learning_rate": 3e-3,
    "hidden": 200,  # width of the hidden layers
    "dropout": 0.5,
    "beta": 1.0,  # final weight of the KL term; the paper's 0.2 is a little worse
    "annealing": 0.5,  # share of training over which it rises
    "batches": 12,
    "batch_size": 64,  # users
}


def offline_defaults() -> dict[str, dict]:
    """Policy -> keywords: first those that have a row per user, then those that know a
    user by what they like."""
    return {
        "bpr": {
            **TRAINING,
            "learning_rate": 3e-3,
            "batches": 30,
            "regularisation": 3e-3,  # L2 of the drawn rows
            "like_weight": 10.0,  # of a like, when an answer is folded in
            "dislike_weight": 0.3,  # of a dislike, likewise
        },
        "ncf": {
            **TRAINING,
            "width": 32,
            "weight_decay": 0.3,
            "num_unliked": 4,  # sampled items that are not liked, per like
        },
        "lightgcn": {**LIGHTGCN},
        "graphrec": {
            **TRAINING,
            "width": 32,
            "learning_rate": 3e-3,
            "batches": 2,  # each is a pass over all likes and friends
            "num_unliked": 4,  # sampled items that are not liked, per like
            "num_answers": 32,  # most answers in an example
        },
        "lightgcn_social": {**LIGHTGCN},
        "gru4rec": {
            **SESSIONS,
            "learning_rate": 3e-3,
            "batches": 6,
            "num_unliked": 256,  # random negatives per minibatch
            "score_penalty": 1.0,  # weight of the squared scores of negatives
        },
        "sasrec": {
            **SESSIONS,
            "learning_rate": 3e-3,
            "weight_decay": 0.1,
            "batches": 9,
        },
        "autorec": {
            **TRAINING,
            "width": 128,  # of the hidden layer
            "weight_decay": 0.1,
            "batches": 6,
            "batch_size": 64,  # users
        },
        "multvae": {**MULTVAE},
        "din": {
            **SESSIONS,
            "width": 16,
            "hidden": 32,  # of the activation unit and of the network over it
            "learning_rate": 1e-2,
            "dropout": 0.2,
            "num_candidates": 4,  # likes classified per user, and as many other items
            "batches": 6,
        },
    }
