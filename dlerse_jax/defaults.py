"""`base_config()`: every key there is, its default and what it means.

A file in `experiments/` starts from here and says only what differs; `building.py` and
`runner.py` read it. A key that is not here does not exist: the config is locked.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from dlerse_jax.baseline_defaults import BASELINES, baseline_defaults

# Names that keys had in version 0.1.0; a section stands for all of its keys.
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
# Keys of version 0.1.0 that are gone: they gained nothing on real data. What was
# measured with them is in docs/notes/dropped-options.md.
REMOVED_KEYS = {
    "learn.trace",
    "q_learning.trace",
    "network.quantiles",
    "network.score_dtype",
}


def base_config() -> ConfigDict:
    """DLERSE-con on the synthetic world; the settings that LastFM users validated."""
    config = ConfigDict()
    config.seed = 0  # of the first run; runs of one program count up from it
    config.num_seeds = 1  # runs trained side by side in one program
    config.devices = ConfigDict()  # where it computes; no number hangs on it
    config.devices.users = 0  # devices that users are dealt over; 0: all there are
    config.devices.catalogue = (
        1  # the same for rows of item tables, when there are many
    )
    config.data = _data()
    config.reward = ConfigDict()
    config.reward.alpha = 0.0  # weight of runs: reward = base + alpha * (c_p - c_n)
    config.reward.miss = -1.0  # base reward of a dislike: -1 or 0; a like is +1
    config.user = ConfigDict()  # what else the simulated user does
    config.user.satiation = 0  # m: dislikes a topic of the last m items; 0: off
    config.user.most_topics = 4  # of an item: the tags it was given most often; 0: all
    config.episode = ConfigDict({"horizon": 32})  # T, items shown to a user
    config.agent = ConfigDict({"name": "dlerse_con"})  # see agents/registry.py
    config.network = _network()
    config.plus = _plus()
    config.rank = _rank()
    config.pretrain = _pretrain()
    config.q_learning = _q_learning()
    config.optimizer = _optimizer()
    config.baseline = ConfigDict(baseline_defaults())
    config.offline = _offline()
    config.evaluation = _evaluation()
    config.tracking = ConfigDict()
    config.tracking.wandb = True  # mirror the log to W&B; offline without a key
    config.tracking.project = "dlerse_jax"
    config.tracking.artifacts = True  # W&B gets report, figures, last checkpoint too
    config.tracking.every = 20  # updates between two log lines: one compiled program
    config.tracking.checkpoint_every = 20  # updates; a multiple of tracking.every
    return config.lock()


def apply_option(config: ConfigDict, option: str) -> ConfigDict:
    """What stands after the colon of a config file: "" or `quick`, a smoke test."""
    if option not in ("", "quick"):
        raise ValueError(f"option {option!r} after the colon; there is only 'quick'")
    if option == "quick":
        config.num_seeds = 1
        config.evaluation.least_users = 1
        config.network.width = config.network.hidden = 16
        config.q_learning.act_batch = config.q_learning.batch_size = 16
        config.q_learning.replay_capacity = 64
        config.pretrain.num_updates = config.q_learning.num_updates = 20
        for policy in config.offline.values():
            policy.width, policy.batches, policy.batch_size = 16, 4, 64
    return config


def _data() -> ConfigDict:
    data = ConfigDict()
    data.name = "synthetic"  # lastfm, delicious, filmtrust, epinions, ciao, your own
    data.format = ""  # of your own files: table, recbole, see data/loading.py
    data.path = ""  # folder; else $DLERSE_DATA/<name>, else the fetch cache
    data.split = 0  # 0 to 9: the fold of users that is the test
    data.min_items_per_user = 5
    data.min_users_per_item = 5
    # Lowest rating that is a like, 0 too; None: the format's own, if it has one.
    data.min_rating = placeholder(float)
    data.core = False  # repeat the two filters below until both hold
    data.item_kind = "url"  # Delicious: url, principal_url or tag
    data.symmetric_friends = False  # add the reverse of every friend pair
    data.table = _table()
    data.synthetic = _synthetic()
    return data


def _table() -> ConfigDict:
    """Files and columns of data.format = "table"; "" where there is none."""
    table = ConfigDict()
    table.interactions = "interactions"  # file; .csv, .tsv, .parquet, .gz are tried
    table.friends = "friends"  # these two name files of rating texts too
    table.titles = ""
    table.separator = ""  # ",", ";", tab, ...; "": found
    table.header = True  # False: columns are numbers, the first is 1
    table.user = "user"
    table.item = "item"
    table.rating = ""
    table.friend_user = "user"  # the one who names a friend
    table.friend = "friend"
    table.title = ""  # in the titles file if one is named, else in interactions
    return table


def _synthetic() -> ConfigDict:
    world = ConfigDict()
    world.seed = 0
    world.num_users = 600
    world.num_items = 400
    world.num_communities = 12
    world.most_topics = 0  # communities of an item at most, as tags; 0: one, no tags
    world.mean_likes = 25.0
    world.mean_friends = 8.0
    world.homophily = 0.8  # share of friends from one's own community
    world.friendless_share = 0.1
    return world


def _network() -> ConfigDict:
    network = ConfigDict()
    network.width = 128  # D: embeddings and social influence
    network.hidden = 128  # H: interests, and the layers of the head
    network.hops = 2  # K; 0 ignores the graph
    network.fan_out = 0  # friends drawn a user and hop, for huge graphs; 0: all of them
    network.heads = 1  # of attention; divides width
    network.fusion = ""  # con, add, gate, none, social_only; "": as the agent's name
    network.encoder = ""  # gru, ...; "": as the agent's name
    network.dropout = 0.2
    network.factors = "ease"  # where item embeddings start: ease, svd, random
    network.factor_regularisation = 300.0  # lambda of EASE
    network.train_tables = False  # whether embeddings are trained or stay as they came
    network.session_gain = 3.0  # item memory in the query, times EASE; 0: none
    network.dislike_weight = 0.1  # a dislike in the item memory, against 1 for a like
    return network


def _plus() -> ConfigDict:
    plus = ConfigDict()  # what dlerse_plus adds to dlerse_con
    plus.prior_weight = 4.0  # friends that popularity counts for, in the copy head
    plus.two_hop_weight = 0.3  # of what people two hops away like
    plus.rank_weight = 0.7  # a user's most played items count more, up to 2; 0: alike
    plus.tag_weight = 1.0  # of a tag beside a user, in the factors; 0: no tags
    plus.min_tag_uses = 5  # items that a tag must be on
    plus.ridge_rank = 128  # of the regression on the answers; 0: none
    plus.ridge_power = 0.35  # spread of its dimensions, from 0 to 0.5
    plus.ridge_regularisation = 6.0  # penalty on leaving what friends like
    plus.ridge_weight = 1.0  # of its score beside the copied one
    plus.scale = 0.4  # of all scores at the start, so that they are about chances
    return plus


def _rank() -> ConfigDict:
    rank = ConfigDict()  # second stage of dlerse_rank; the first one is `plus`
    rank.candidates = 64  # items that it ranks: the best of as many strata
    rank.folds = 8  # parts of the training users, each played with tables without it
    rank.episodes = 128  # played an update
    rank.epsilon = 0.1  # exploration in them
    rank.width = 64  # of the hidden layers
    rank.learning_rate = 2e-3  # its peak; warm-up, then a cosine
    rank.weight_decay = 0.01  # of AdamW, on matrices
    rank.batches = 32  # minibatches an update
    rank.batch_size = 128  # states a minibatch
    return rank


def _pretrain() -> ConfigDict:
    pretrain = ConfigDict()  # supervised pre-training on the agent's own episodes
    pretrain.num_updates = 200  # 0 switches it off
    pretrain.learning_rate = 1e-3
    pretrain.loss = "squared"  # or "cross_entropy": the two forms of the printed loss
    pretrain.steps = 8  # steps of an episode that the cross entropy is taken at
    pretrain.epsilon = 0.15
    return pretrain


def _q_learning() -> ConfigDict:
    q_learning = ConfigDict()  # double Q-learning
    q_learning.num_updates = 60
    q_learning.learning_rate = 1e-4
    q_learning.gamma = 0.3
    q_learning.epsilon_first = 0.15  # exploration falls linearly from here
    q_learning.epsilon_last = 0.05
    q_learning.target_step = 0.02  # tau of the Polyak average
    q_learning.supervised_weight = 10.0  # of the supervised loss
    q_learning.contrastive_weight = 0.0  # of DEERS' contrastive loss
    q_learning.act_batch = 128  # episodes played an update
    q_learning.batch_size = 128  # episodes trained on an update
    q_learning.replay_capacity = 4096  # episodes
    q_learning.exploration = "popularity"  # how a random item is drawn; or "uniform"
    q_learning.mask_least = 0.08  # share of other users who are treated as cold, drawn
    q_learning.mask_most = 0.30  # between these two for every update
    q_learning.block = 0  # items scored at once; 0: 2,048 on a CPU, else 32,768
    return q_learning


def _optimizer() -> ConfigDict:
    optimizer = ConfigDict()
    optimizer.clip_norm = 1.0
    optimizer.weight_decay = 0.01
    optimizer.bias_rate = 0.1  # of item biases, times the learning rate
    optimizer.warmup = 0.15  # share of a phase over which the learning rate rises
    optimizer.average_step = 0.02  # of the parameters that act in evaluation
    return optimizer


def _offline() -> ConfigDict:
    """Keywords of the policies trained on logged likes, a section each.

    They make pretrain.num_updates updates. Their numbers were chosen on validation
    users of LastFM's split 0.
    """
    training = {
        "width": 64,  # of the embeddings
        "learning_rate": 1e-3,  # its peak; warm-up, then a cosine
        "weight_decay": 0.0,  # of AdamW, on matrices
        "batches": 10,  # minibatches an update
        "batch_size": 1024,  # examples a minibatch
    }
    offline = ConfigDict()
    offline.update(_row_policies(training))
    offline.update(_profile_policies(training))
    return offline


def _row_policies(training: dict) -> ConfigDict:
    """Those that have a row a user."""
    policies = ConfigDict()
    policies.bpr = {
        **training,
        "learning_rate": 3e-3,
        "batches": 30,
        "regularisation": 3e-3,  # L2 of the drawn rows
        "like_weight": 10.0,  # of an answer, as it is folded in
        "dislike_weight": 0.3,
    }
    policies.ncf = {
        **training,
        "width": 32,
        "weight_decay": 0.3,
        "num_unliked": 4,  # items that are not liked, beside each like
    }
    light = {
        **training,
        "learning_rate": 0.01,
        "batches": 2,  # each is a pass over all likes
        "batch_size": 4096,
        "layers": 3,  # hops in the graph of likes and friends
        "regularisation": 1e-3,  # L2 of the drawn rows
        "prior_weight": 0.1,  # neighbours that the mean user counts for
    }
    policies.graphrec = {
        **training,
        "width": 32,
        "learning_rate": 3e-3,
        "batches": 2,  # each is a pass over all likes and friends
        "num_unliked": 4,  # items that are not liked, beside each like
        "num_answers": 32,  # the most answers of an example
    }
    policies.lightgcn = {**light}
    policies.lightgcn_social = {**light}
    return policies


def _profile_policies(training: dict) -> ConfigDict:
    """Those that know a user by what they like, and have no row a user."""
    sessions = {
        "batch_size": 64,  # users a minibatch, a session each
        "dropout": 0.5,
        "session_length": 32,  # likes of a training session at most
    }
    policies = ConfigDict()
    policies.gru4rec = {
        **training,
        **sessions,
        "learning_rate": 3e-3,
        "batches": 6,
        "num_unliked": 256,  # negatives of a minibatch, beside the other sessions'
        "score_penalty": 1.0,
    }
    policies.sasrec = {
        **training,
        **sessions,
        "learning_rate": 3e-3,
        "weight_decay": 0.1,
        "batches": 9,
    }
    policies.autorec = {
        **training,
        "width": 128,  # of the hidden layer
        "weight_decay": 0.1,
        "batches": 6,
        "batch_size": 64,  # users
    }
    policies.multvae = {
        **training,
        "learning_rate": 3e-3,
        "hidden": 200,
        "dropout": 0.5,
        "beta": 1.0,  # last weight of the KL term; the paper's 0.2 is a little worse
        "annealing": 0.5,  # share of training over which it rises
        "batches": 12,
        "batch_size": 64,  # users
    }
    policies.din = {
        **training,
        **sessions,
        "width": 16,
        "hidden": 32,  # of the activation unit and of the network over it
        "learning_rate": 1e-2,
        "dropout": 0.2,
        "num_candidates": 4,  # likes a user and minibatch, and as many other items
        "batches": 6,
    }
    return policies


def _evaluation() -> ConfigDict:
    evaluation = ConfigDict()
    evaluation.every = 20  # updates between two validations
    # Which validation the run is evaluated at: "best" (of Q-learning where it ran, else
    # of pre-training, by the run's own objective), "any_phase" (of all), or "last".
    evaluation.select = "best"
    evaluation.seeds = "individual"  # or "ensemble": the mean of their scores
    evaluation.protocol = "cold"  # cold_candidates, warm, ranking: docs/protocols.md
    evaluation.others_per_like = 3  # r: random others a like, in cold_candidates
    evaluation.ranking_of = "cold"  # or "warm": who is ranked for, in ranking
    evaluation.least_users = 10  # in the validation and the test fold; fewer: refused
    evaluation.most_users = 0  # ask a draw of so many, where there are more; 0: all
    evaluation.baselines = BASELINES  # without learning, in the final table
    return evaluation
