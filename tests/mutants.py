"""Breaks one line at a time and runs the tests that must notice: `make mutants`.

    python tests/mutants.py [word ...]      only mutants whose name holds a word

Each mutant is one entry of MUTANTS: a name, the file, the text that stands there once,
what takes its place, and the tests that must fail. A mutant that no test catches is a
promise that nothing holds; one whose text is gone must be written anew.
"""

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
AT_ONCE = 2
SECONDS = 900  # the most that the tests of one mutant may take


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One breakage and the tests that must catch it."""

    name: str
    file: str
    old: str  # stands exactly once in the file
    new: str
    tests: str  # arguments of pytest


UPDATE = "tests/agents/test_update_rules.py"
LEARNER = "dlerse_jax/agents/dqn/learner.py"
PLAYING = "dlerse_jax/agents/dqn/playing.py"
RANKER = "dlerse_jax/agents/two_stage/agent.py"

SERVER = "dlerse_jax/server"

MUTANTS = [
    Mutant(
        "sure candidates buy an unlikely one",
        "dlerse_jax/agents/two_stage/order.py",
        "gained(numbers.chance, numbers.candidate, chance_between, between)",
        "gained(numbers.chance, numbers.candidate, numbers.highest, surest)",
        "tests/agents/test_order.py -k unlikely",
    ),
    Mutant(
        "between candidate and surest is always a half",
        "dlerse_jax/agents/two_stage/moment.py",
        "jnp.clip(SURE[1], lower, upper)",
        "jnp.full_like(chances, SURE[1])",
        "tests/agents/test_order.py -k between",
    ),
    Mutant(
        "an answer that is reset half way was never begun",
        "dlerse_jax/serving/client.py",
        "if response is None and isinstance(error, ConnectionError):",
        "if isinstance(error, ConnectionError):",
        "tests/server/test_server_process.py -k breaks_off",
    ),
    Mutant(
        "a session is written over whatever version there is",
        f"{SERVER}/sqlite.py",
        "WHERE id = ? AND version = ?",
        "WHERE id = ? AND ? > 0",
        "tests/server/test_stores.py -k sqlite",
    ),
    Mutant(
        "answers are not logged",
        f"{SERVER}/conversations.py",
        "if events := [*change.events, *events]:",
        "if events := [*events]:",
        "tests/server/test_sessions.py -k log",
    ),
    Mutant(
        "sessions are anybody's",
        f"{SERVER}/conversations.py",
        "return record.owner == owner and record.expires",
        "return record.expires",
        "tests/server/test_sessions.py -k own_key",
    ),
    Mutant(
        "whoever was forgotten is still a friend",
        f"{SERVER}/known.py",
        "and not own & self._hidden",
        "",
        "tests/server/test_served_model.py -k hidden",
    ),
    Mutant(
        "reasons name everybody",
        f"{SERVER}/known.py",
        "name_friends=names",
        "name_friends=True",
        "tests/server/test_served_model.py -k reasons",
    ),
    Mutant(
        "epsilon shows the best item again and again",
        f"{SERVER}/exploration.py",
        "chances[np.argmax(left)] = 1.0 - exploration.amount",
        "chances[0] = 1.0 - exploration.amount",
        "tests/server/test_exploration.py",
    ),
    Mutant(
        "an answer goes to the whole way back",
        f"{SERVER}/conversations.py",
        'more |= {"state": held.state, "keep_state": True}',
        'more |= {"keep_state": True}',
        "tests/server/test_sessions.py -k one_step",
    ),
    Mutant(
        "players are not masked",
        PLAYING,
        "return masked.at[users].set(True)",
        "return masked",
        f"{UPDATE} -k masked",
    ),
    Mutant(
        "no target network",
        LEARNER,
        "slow = Acting(shared=state.shared, params=state.target)",
        "slow = Acting(shared=state.shared, params=state.params)",
        f"{UPDATE} -k target_network_values",
    ),
    Mutant(
        "no double Q: the target network chooses as well",
        LEARNER,
        "networks = (acting, states, social), (slow, slow_social)",
        "networks = (slow, states, slow_social), (slow, slow_social)",
        f"{UPDATE} -k target_network_values",
    ),
    Mutant(
        "the target network is copied at every update",
        LEARNER,
        "target=optax.incremental_update(after.params, state.target, steps[1])",
        "target=after.params",
        f"{UPDATE} -k polyak",
    ),
    Mutant(
        "the target network never moves",
        LEARNER,
        "target=optax.incremental_update(after.params, state.target, steps[1])",
        "target=state.target",
        f"{UPDATE} -k polyak",
    ),
    Mutant(
        "epsilon never falls",
        LEARNER,
        "epsilon = settings.epsilon_first - progress * epsilon_fall",
        "epsilon = settings.epsilon_first + 0 * progress * epsilon_fall",
        f"{UPDATE} -k exploration",
    ),
    Mutant(
        "no learning-rate schedule in Q-learning",
        LEARNER,
        "pace = learns * warmup_cosine(progress, plan.warmup)",
        "pace = learns * 1.0",
        f"{UPDATE} -k learning_rate",
    ),
    Mutant(
        "no learning-rate schedule in pretraining",
        LEARNER,
        "settings.pretrain_learning_rate * pace",
        "settings.pretrain_learning_rate * 1.0",
        f"{UPDATE} -k learning_rate",
    ),
    Mutant(
        "evaluation plays raw parameters",
        LEARNER,
        "return Acting(shared=state.shared, params=state.average)",
        "return Acting(shared=state.shared, params=state.params)",
        f"{UPDATE} -k averaged",
    ),
    Mutant(
        "the average follows the wrong step",
        LEARNER,
        "params, state.average, average_step",
        "params, state.average, 2 * average_step",
        f"{UPDATE} -k average_follows",
    ),
    Mutant(
        "dropout is not rescaled",
        "dlerse_jax/networks/heads.py",
        "jnp.where(mask, x / kept, 0.0)",
        "jnp.where(mask, x, 0.0)",
        f"{UPDATE} -k dropout",
    ),
    Mutant(
        "weight decay on everything",
        "dlerse_jax/learning/optimizer.py",
        "mask=decayed",
        "mask=None",
        "tests/learning/test_optimizer.py -k decay",
    ),
    Mutant(
        "the re-ranker learns from the tables of everybody",
        RANKER,
        "surroundings(cross_fitted, masked, 1 + fold)",
        "surroundings(cross_fitted, masked, 0 * fold)",
        f"{UPDATE} -k re_ranker",
    ),
    Mutant(
        "the fold that plays is not masked",
        RANKER,
        ".at[members].set(True)",
        ".at[members].set(False)",
        f"{UPDATE} -k re_ranker",
    ),
    Mutant(
        "another fold plays than the one left out",
        RANKER,
        "members = cross_fitted.folds[fold]",
        "members = cross_fitted.folds[fold - 1]",
        f"{UPDATE} -k re_ranker",
    ),
    Mutant(
        "everybody who plays has their friends",
        RANKER,
        "jax.random.bernoulli(key_friends, parts.friendless_share)",
        "jax.random.bernoulli(key_friends, 0.0)",
        "tests/agents/test_two_stage.py -k nobody_was_named",
    ),
    Mutant(
        "no policy reads further than two hops",
        "dlerse_jax/graph/neighbour_means.py",
        "for _ in range(social.far_hops - 1):",
        "for _ in range(1):",
        "tests/graph/test_neighbour_means.py -k three_hops",
    ),
    Mutant(
        "a newcomer's people are other ones than a user's",
        "dlerse_jax/graph/friends.py",
        "return _some_of_each(np.zeros_like(found), found, table)[1]",
        "return found",
        "tests/graph/test_friends.py -k further_away",
    ),
    Mutant(
        "the re-ranker learns from the fold that selects",
        RANKER,
        "cross_fitted.folds.shape[0] - parts.holds_out",
        "cross_fitted.folds.shape[0]",
        f"{UPDATE} -k held_out",
    ),
    Mutant(
        "the fold that selects plays with tables that know it",
        RANKER,
        "without=jnp.int32(len(folds))",
        "without=jnp.int32(0)",
        f"{UPDATE} -k held_out",
    ),
    Mutant(
        "what plays is the head that learns",
        RANKER,
        "params = state.params.replace(head=average)",
        "params = state.params.replace(head=head)",
        f"{UPDATE} -k average_of_what_learns",
    ),
    Mutant(
        "Q-learning begins without the value of later steps",
        LEARNER,
        "error = (1 - learns) * (measured",
        "error = 0 * (1 - learns) * (measured",
        f"{UPDATE} -k value_of_later",
    ),
    Mutant(
        "the supervised loss pulls against what comes later",
        "dlerse_jax/agents/dqn/objective.py",
        "return query.replace(value=query.value - (targets - at_once))",
        "return query",
        f"{UPDATE} -k leaves_later",
    ),
    Mutant(
        "Q-learning goes on from the last of pre-training",
        "dlerse_jax/experiment/early_stopping.py",
        "return agent.go_on_from(states, best.params)",
        "return states",
        "tests/experiment/test_early_stopping.py -k begins",
    ),
    Mutant(
        "validation users select alone",
        "dlerse_jax/experiment/early_stopping.py",
        "panels.append(agent.held_out(states))",
        "pass",
        "tests/experiment/test_early_stopping.py -k held_out",
    ),
    Mutant(
        "early stopping asks test users",
        "dlerse_jax/experiment/training_run.py",
        "asked(self.agent, states, task.validation,",
        "asked(self.agent, states, task.users,",
        "tests/experiment/test_early_stopping.py -k validation_asks",
    ),
    Mutant(
        "checkpoints from before Q-learning compete",
        "dlerse_jax/experiment/early_stopping.py",
        "return every_phase or update > self.pretrain_updates",
        "return True",
        "tests/experiment/test_early_stopping.py -k last_phase",
    ),
    Mutant(
        "the objective forgets the run's own alpha",
        "dlerse_jax/experiment/early_stopping.py",
        "alpha=self.alpha,",
        "alpha=0.0,",
        "tests/experiment/test_early_stopping.py -k objective",
    ),
    Mutant(
        "points of a sweep get each other's alpha",
        "dlerse_jax/learning/train_loop.py",
        "np.repeat([world.alpha for world in worlds], num_seeds)",
        "np.tile([world.alpha for world in worlds], num_seeds)",
        "tests/experiment/test_sweep.py -k own_numbers",
    ),
    Mutant(
        "users whose held-out likes select are asked",
        "dlerse_jax/evaluation/protocols.py",
        "asked = np.setdiff1d(everybody[has_answers[everybody]], validation)",
        "asked = everybody[has_answers[everybody]]",
        "tests/evaluation/test_protocols.py -k nobody_selects",
    ),
    Mutant(
        "validation is the next fold, which others test on",
        "dlerse_jax/data/split.py",
        "folds[(split + NUM_FOLDS // 2) % NUM_FOLDS]",
        "folds[(split + 1) % NUM_FOLDS]",
        "tests/data/test_data_prepare.py -k nobody_is_asked_twice",
    ),
    Mutant(
        "feedback of validation and test users is visible",
        "dlerse_jax/data/feedback.py",
        "is_visible = training_mask(dataset)[rows]",
        "is_visible = np.ones(len(rows), bool)",
        "tests/data/test_feedback.py",
    ),
    Mutant(
        "the reward's streak has the wrong sign",
        "dlerse_jax/environment/reward.py",
        "like_streak - dislike_streak",
        "dislike_streak - like_streak",
        "tests/environment/test_reward.py",
    ),
    Mutant(
        "few seeds are trusted like many",
        "dlerse_jax/evaluation/bootstrap.py",
        "stdtrit(value, levels)[:, None]",
        "ndtri(levels)[:, None]",
        "tests/evaluation/test_bootstrap.py -k few_seeds_cover",
    ),
    Mutant(
        "an answer is begun twice",
        f"{SERVER}/guard.py",
        """        if self.status:
            return
""",
        "",
        "tests/server/test_security.py -k begun",
    ),
    Mutant(
        "half a request is answered",
        f"{SERVER}/guard.py",
        'raise ApiError(400, "the request broke off")',
        "break",
        "tests/server/test_security.py -k broke_off",
    ),
    Mutant(
        "browsers need a key to ask whether they may ask",
        f"{SERVER}/guard.py",
        " or is_preflight:",
        ":",
        "tests/server/test_security.py -k may_ask",
    ),
    Mutant(
        "runs of one program may have two choices",
        "dlerse_jax/experiment/chosen_settings.py",
        "_chosen(agents) != _chosen(stored[0])",
        "stored is None",
        "tests/experiment/test_chosen_settings.py -k one_choice",
    ),
    Mutant(
        "settings are chosen for whatever horizon",
        "dlerse_jax/experiment/chosen_settings.py",
        "digest, user, LADDERS",
        "digest, LADDERS",
        "tests/experiment/test_chosen_settings.py -k beside_each",
    ),
    Mutant(
        "who likes most makes the most pairs",
        "dlerse_jax/agents/two_stage/alike.py",
        "np.where(place < most, matrix.data, 0)",
        "np.where(place >= 0, matrix.data, 0)",
        "tests/agents/test_sparse_rows.py -k share_of_what",
    ),
    Mutant(
        "a training user's own likes are taken out of lists without them",
        "dlerse_jax/agents/two_stage/session.py",
        'is_real &= around.known.at[user].get(mode="fill", fill_value=False)',
        "is_real &= True",
        "tests/agents/test_two_stage.py -k know_nothing",
    ),
    Mutant(
        "items are compared with as many, however many there are",
        "dlerse_jax/agents/two_stage/tables.py",
        "min(MOST_ALIKE, MOST_PAIRS // likes.shape[1])",
        "MOST_ALIKE",
        "tests/agents/test_two_stage.py -k fewer",
    ),
    Mutant(
        "a like counts the same, however much its user likes",
        "dlerse_jax/graph/neighbour_means.py",
        "np.maximum(counts, 1.0) ** -power",
        "np.maximum(counts, 1.0) ** 0",
        "tests/graph/test_neighbour_means.py -k counts_less",
    ),
    Mutant(
        "a copy head counts the likes of all friends alike",
        "dlerse_jax/agents/dqn/initialization.py",
        "said = weigh_by_activity(weighed, plus.activity_power)",
        "said = weighed",
        "tests/agents/test_linear_plus.py -k untrained",
    ),
    Mutant(
        "a search plays other means than its point has",
        "dlerse_jax/experiment/fold_player.py",
        '("rank_weight", "far_hops", "activity_power")',
        '("rank_weight", "far_hops")',
        "tests/experiment/test_policy_tuning.py -k played_as",
    ),
    Mutant(
        "settings that were chosen are refused",
        "dlerse_jax/experiment/agent_keys.py",
        "for key, value in settings.items() if key not in idle",
        "for key, value in settings.items()",
        "tests/experiment/test_chosen_settings.py -k far_away",
    ),
    Mutant(
        "activity is searched where all like as much",
        "dlerse_jax/experiment/policy_tuning.py",
        "len(num_likes) == 0 or num_likes.min() == num_likes.max()",
        "len(num_likes) == 0",
        "tests/experiment/test_policy_tuning.py -k like_as_much",
    ),
    Mutant(
        "lists of alike items are made with the fold that plays",
        "dlerse_jax/agents/two_stage/tables.py",
        "_as_long(nearest_of(likes), everybodys) if len(users) else everybodys",
        "everybodys",
        "tests/agents/test_two_stage.py -k know_nothing",
    ),
    Mutant(
        "EASE's factors are held until a start is made",
        "dlerse_jax/agents/dqn/initialization.py",
        "    del found  # half a GiB for a million items\n",
        "",
        "tests/agents/test_start_memory.py -k become_others",
    ),
    Mutant(
        "a basis is held until the next is made",
        "dlerse_jax/linear_models/spectra.py",
        "            basis = rows @ basis\n            basis = rows.T @ basis\n",
        "            last = basis\n            basis = rows.T @ (rows @ last)\n",
        "tests/agents/test_start_memory.py -k the_last",
    ),
    Mutant(
        "likers that are not read like nothing",
        "dlerse_jax/agents/two_stage/session.py",
        "share = num_likers / jnp.clip(num_likers, 1, most)",
        "share = num_likers / jnp.maximum(num_likers, 1)",
        "tests/agents/test_two_stage.py -k not_read",
    ),
    Mutant(
        "a newcomer's first friend is nobody",
        "dlerse_jax/serving/people.py",
        "np.asarray(person.friends, np.int32) for person",
        "np.asarray(person.friends[1:], np.int32) for person",
        "tests/serving/test_newcomers_asked.py -k friends_file",
    ),
    Mutant(
        "friends have no say in who belongs where",
        "dlerse_jax/graph/communities.py",
        "np.log(PRIOR_FRIENDS * shares + friends @ members)",
        "np.log(PRIOR_FRIENDS * shares)",
        "tests/graph/test_communities.py -k friends_say",
    ),
    Mutant(
        "only whom a user names has a say in who belongs where",
        "dlerse_jax/graph/communities.py",
        "friends.maximum(friends.T)",
        "friends",
        "tests/graph/test_communities.py -k friends_say",
    ),
    Mutant(
        "who likes nothing is a member all the same",
        "dlerse_jax/graph/communities.py",
        "    each *= is_known[:, None, None]\n",
        "",
        "tests/graph/test_communities.py -k members_are_those",
    ),
    Mutant(
        "all friends say as much of where a user belongs",
        "dlerse_jax/agents/two_stage/belonging.py",
        "    if weights is not None:\n",
        "    if False:\n",
        "tests/agents/test_weighted_friends.py -k communities",
    ),
    Mutant(
        "communities are found as if all friends counted the same",
        "dlerse_jax/agents/two_stage/tables.py",
        "friends = table.weighted_matrix",
        "friends = table.matrix",
        "tests/agents/test_weighted_friends.py -k communities",
    ),
    Mutant(
        "weak pairs say as much as strong ones of who belongs where",
        "dlerse_jax/graph/communities.py",
        "(friends.maximum(friends.T) @ known)",
        "(friends.maximum(friends.T).sign() @ known)",
        "tests/graph/test_communities.py -k weak_pairs",
    ),
    Mutant(
        "a dislike says nothing of where a user belongs",
        "dlerse_jax/agents/two_stage/belonging.py",
        "jnp.log1p(-chances))",
        "0.0)",
        "tests/agents/test_two_stage.py -k communities_are",
    ),
    Mutant(
        "communities of friends count whose likes may not be read",
        "dlerse_jax/agents/two_stage/session.py",
        "belonging_before(fold_tables.communities, near, weights)",
        "belonging_before(fold_tables.communities, people, weights)",
        "tests/agents/test_two_stage.py -k communities_are",
    ),
    Mutant(
        "communities of a fold's tables are those of everybody",
        "dlerse_jax/agents/two_stage/tables.py",
        "communities_of(likes),",
        "communities_of(visible_likes(dataset)),",
        "tests/agents/test_two_stage.py -k know_nothing",
    ),
    Mutant(
        "an item that both propose is a candidate twice",
        "dlerse_jax/agents/two_stage/session.py",
        "jnp.where(is_there, num_items, others)",
        "others",
        "tests/agents/test_two_stage.py -k proposals",
    ),
    Mutant(
        "communities propose nothing",
        "dlerse_jax/agents/two_stage/session.py",
        "others = best_of_strata(of_communities,",
        "others = best_of_strata(first,",
        "tests/agents/test_two_stage.py -k proposals",
    ),
]


def stale(mutant: Mutant) -> str:
    """Why a mutant cannot be applied; "" where its text stands exactly once."""
    path = ROOT / mutant.file
    count = path.read_text().count(mutant.old) if path.exists() else 0
    return "" if count == 1 else f"{mutant.file} has its text {count} times, not once"


def survives(mutant: Mutant) -> str:
    """Why the mutant was not caught; "" where the tests fail, as they must."""
    if reason := stale(mutant):
        return reason
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        checkout = Path(folder, "checkout")
        _copy_checkout(checkout)
        path = checkout / mutant.file
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
        done = _run_tests(checkout, mutant.tests)
    if done.returncode == 1:
        return ""
    if done.returncode == 0:
        return f"all of `pytest {mutant.tests}` passes"
    return f"pytest ended with {done.returncode}: {done.stdout[-400:]}"


def _copy_checkout(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def _run_tests(checkout: Path, tests: str) -> subprocess.CompletedProcess:
    cache = str(ROOT / ".pytest_cache" / "compiled")
    environment = {"JAX_COMPILATION_CACHE_DIR": cache} | os.environ
    # The copy comes before the checkout that is installed.
    environment |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-x", *_arguments(tests)],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def _arguments(tests: str) -> list[str]:
    """A path and, behind -k, words that may hold blanks."""
    path, _, words = tests.partition(" -k ")
    return [path, "-k", words] if words else [path]


def main(words: Sequence[str]) -> int:
    chosen = [m for m in MUTANTS if not words or any(w in m.name for w in words)]
    failures = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, reason in zip(chosen, pool.map(survives, chosen), strict=True):
            failures += bool(reason)
            print(f"{'SURVIVES' if reason else 'caught':9}{mutant.name}  {reason}")
    print(f"{len(chosen) - failures} of {len(chosen)} mutants caught")
    return int(failures > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only mutants whose name holds one")
    sys.exit(main(parser.parse_args().words))
