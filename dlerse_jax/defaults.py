"""`base_config()`: every key there is, its default and what it means.

A file in `experiments/` starts from here and says only what differs; only modules of
`experiment/` read it. A key that is not here does not exist: the config is locked.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from dlerse_jax.baseline_defaults import BASELINES, baseline_defaults
from dlerse_jax.offline_defaults import offline_defaults


def base_config() -> ConfigDict:
    """DLERSE-con on the synthetic world, with settings chosen on LastFM."""
    config = ConfigDict()
    config.seed = 0  # of the first seed; the others count up from it
    config.num_seeds = 1  # seeds trained side by side in one program
    config.devices = ConfigDict()  # where it computes; results do not depend on it
    config.devices.users = 0  # devices that users are sharded over; 0: all there are
    config.devices.catalogue = 1  # devices that rows of item tables are sharded over
    config.data = _data()
    config.reward = ConfigDict()
    config.reward.alpha = 0.0  # reward = base + alpha * (like streak - dislike streak)
    config.reward.miss = -1.0  # base reward of a dislike: -1 or 0; a like is +1
    config.user = ConfigDict()  # what else the simulated user does
    config.user.satiation = 0  # m: dislikes topics of the last m items shown; 0: off
    config.user.most_topics = 4  # of an item: its most frequent tags; 0: all
    config.episode = ConfigDict({"horizon": 32})  # T, items shown per episode
    config.agent = ConfigDict({"name": "dlerse_con"})  # see agents/registry.py
    config.network = _network()
    config.plus = _plus()
    config.rank = _rank()
    config.pretrain = _pretrain()
    config.q_learning = _q_learning()
    config.optimizer = _optimizer()
    config.tune = True  # start and baselines: settings from training users
    config.tune_except = ()  # keys that stay; what differs from its default does too
    config.baseline = ConfigDict(baseline_defaults())
    config.offline = ConfigDict(offline_defaults())  # policies trained on logged likes
    config.evaluation = _evaluation()
    config.serve = ConfigDict({"exploration": "none"})  # or epsilon:0.1, softmax:0.5
    config.serve.exploration_seed = -1  # -1: from the operating system
    config.tracking = ConfigDict()
    config.tracking.wandb = True  # mirror the log to W&B; offline without a key
    config.tracking.project = "dlerse_jax"
    config.tracking.artifacts = True  # W&B gets report, figures, last checkpoint too
    config.tracking.every = 20  # updates between two log lines; they are one program
    config.tracking.checkpoint_every = 20  # updates; a multiple of tracking.every
    return config.lock()


def apply_option(config: ConfigDict, option: str) -> ConfigDict:
    """Applies what follows the colon of a config file: "" or `quick`, a smoke test."""
    if option not in ("", "quick"):
        raise ValueError(f"option {option!r} after the colon; there is only 'quick'")
    if option == "quick":
        config.tune, config.num_seeds = False, 1
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
    data.split = 0  # 0 to 9: the fold of test users
    data.min_items_per_user = 5  # users with fewer likes are left out
    data.min_users_per_item = 5  # then items liked by fewer of the remaining users
    # Lowest rating that is a like; None: 3.5 for rating texts, else every row is one.
    data.min_rating = placeholder(float)
    data.core = False  # repeat both of these filters until both hold
    data.item_kind = "url"  # Delicious: url, principal_url or tag
    data.symmetric_friends = False  # add the reverse of every friend pair
    data.reverse_weight = 1.0  # how much an added reverse counts, against its pair
    data.friend_weights = True  # read how much friends count, where files say it
    data.cold_items = False  # keep items without likes that training users gave tags
    data.table = _table()
    data.synthetic = _synthetic()
    return data


def _table() -> ConfigDict:
    """Files and columns of your own tables (data.format); "" where there is none."""
    table = ConfigDict()
    table.interactions = "interactions"  # file; .csv, .tsv, .parquet, .gz are tried
    table.friends = "friends"  # these two name files of rating texts too
    table.titles = ""
    table.features = ""  # of items; those without likes stay, as cold items
    table.separator = ""  # ",", ";", tab, ...; "": found from the file
    table.header = True  # False: name columns by number, the first is 1
    table.user = "user"
    table.item = "item"
    table.rating = ""
    table.friend_user = "user"  # the one who names a friend
    table.friend = "friend"
    table.friend_weight = ""  # how much the friend counts; "": all alike
    table.title = ""  # in the titles file if one is named, else in interactions
    return table


def _synthetic() -> ConfigDict:
    world = ConfigDict()
    world.seed = 0
    world.num_users = 600
    world.num_items = 400
    world.num_communities = 12
    world.most_topics = 0  # most communities of an item, as tags; 0: one and no tags
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
    network.fan_out = 0  # friends sampled per user and hop, for huge graphs; 0: all
    network.heads = 1  # of attention; must divide width
    network.fusion = ""  # con, add, gate, none, social_only; "": the agent's own
    network.encoder = ""  # gru, dual_gru, lstm, cnn, transformer; "": the agent's own
    network.dropout = 0.2
    network.factors = "ease"  # where item embeddings start: ease, svd, random
    network.factor_regularisation = 300.0  # lambda of EASE
    network.train_tables = False  # whether embeddings are trained or stay fixed
    network.session_gain = 3.0  # session embedding: 1 gives EASE's scores; 0: off
    network.dislike_weight = 0.1  # of a dislike in the session embedding; a like has 1
    return network


def _plus() -> ConfigDict:
    plus = ConfigDict()  # what dlerse_plus adds to dlerse_con
    plus.prior_weight = 4.0  # popularity counts as so many friends, in the copy head
    plus.two_hop_weight = 0.3  # of what people two hops away like,
    plus.far_hops = 2  # or people up to so many hops away
    plus.activity_power = 0.0  # a friend's like counts (likes)^-power; 0: alike
    plus.rank_weight = 0.7  # how much more a user's most played items count; 0: alike
    plus.tag_weight = 1.0  # of a tag against a user, in the factors; 0: no tags
    plus.min_tag_uses = 5  # tags on fewer items are left out
    plus.ridge_rank = 128  # factors of the regression on the answers; 0: none
    plus.ridge_power = 0.35  # its factors are scaled by eigenvalue^power
    plus.ridge_regularisation = 6.0  # pull towards what friends like
    plus.ridge_weight = 1.0  # of its score, against 1 for the copied one
    plus.scale = 0.4  # of all initial scores, so that they resemble probabilities
    return plus


def _rank() -> ConfigDict:
    rank = ConfigDict()  # second stage of dlerse_rank; the first one is `plus`
    rank.candidates = 40  # items re-ranked; a quarter more is of communities
    rank.folds = 8  # of training users, for cross-fitting
    rank.episodes = 128  # played per update
    rank.epsilon = 0.1  # exploration in them
    rank.friendless_share = 0.1  # of them are played as if the user named nobody
    rank.width = 64  # of the hidden layers
    rank.learning_rate = 2e-3  # its peak; warm-up, then a cosine
    rank.weight_decay = 0.01  # of AdamW, on matrices
    rank.batches = 32  # minibatches per update
    rank.batch_size = 128  # states per minibatch
    rank.q_learning = False  # learn an order after it, as `q_learning` says
    rank.answer_rank = 0  # R: learn vectors of items in place of an order; 0: do not
    return rank


def _pretrain() -> ConfigDict:
    pretrain = ConfigDict()  # supervised pre-training on the agent's own episodes
    pretrain.num_updates = 200  # 0 switches it off
    pretrain.learning_rate = 1e-3
    pretrain.loss = "squared"  # or "cross_entropy": two readings of the paper's loss
    pretrain.steps = 8  # of an episode at which the cross entropy is evaluated
    pretrain.epsilon = 0.15  # exploration
    return pretrain


def _q_learning() -> ConfigDict:
    q_learning = ConfigDict()  # double Q-learning
    q_learning.num_updates = 60
    q_learning.learning_rate = 1e-4
    q_learning.gamma = 0.3  # discount
    q_learning.epsilon_first = 0.15  # exploration, falling linearly from here
    q_learning.epsilon_last = 0.05  # to here
    q_learning.target_step = 0.02  # tau of the Polyak average
    q_learning.supervised_weight = 2.0  # of the pre-training loss, per like, beside it
    q_learning.contrastive_weight = 0.0  # of DEERS' contrastive loss
    q_learning.act_batch = 128  # episodes played per update
    q_learning.batch_size = 128  # replayed episodes per update
    q_learning.replay_capacity = 4096  # episodes
    q_learning.exploration = "popularity"  # how a random item is drawn; or "uniform"
    q_learning.mask_least = 0.08  # smallest share of other users who are masked
    q_learning.mask_most = 0.30  # largest; each update of either phase draws one
    q_learning.block = 0  # items scored at once; 0: 2,048 on a CPU, else 32,768
    return q_learning


def _optimizer() -> ConfigDict:
    optimizer = ConfigDict()
    optimizer.clip_norm = 1.0  # of the gradient
    optimizer.weight_decay = 0.01  # of AdamW, not on embeddings and biases
    optimizer.bias_rate = 0.1  # learning rate of item biases, times the other one
    optimizer.warmup = 0.15  # share of a phase over which the learning rate rises
    optimizer.average_step = 0.02  # of the running average, which is evaluated
    return optimizer


def _evaluation() -> ConfigDict:
    evaluation = ConfigDict()
    evaluation.every = 20  # updates between two validations
    # Which checkpoint is evaluated: "best" (where Q-learning ran, its best by reward;
    # else pre-training's best by precision), "any_phase" (best of all), or "last".
    evaluation.select = "best"
    evaluation.seeds = "individual"  # or "ensemble": the mean of their scores
    evaluation.protocol = "cold"  # cold_candidates, warm, ranking: docs/protocols.md
    evaluation.others_per_like = 3  # r: random others per like, in cold_candidates
    evaluation.ranking_of = "cold"  # or "warm": which users, in protocol ranking
    evaluation.least_users = 10  # validation and test folds with fewer are refused
    evaluation.most_users = 0  # evaluate a random draw of so many; 0: all
    evaluation.baselines = BASELINES  # policies without learning, in the final table
    return evaluation
