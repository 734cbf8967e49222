"""From a run directory to a model that may be asked: read, compiled, checked."""

import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dlerse_jax.server.forms import SIZES
from dlerse_jax.server.ranking import Question
from dlerse_jax.server.served import ServedModel
from dlerse_jax.serving.recommender import Recommender

LOG = logging.getLogger(__name__)
NEAR = 1e-3  # scores of one question, alone and in a batch, relative to the largest
QUICK = 0.03  # seconds of a full batch that the event loop may wait for
COMPILERS = 2  # threads: XLA compiles while another traces
CHECKED = 2  # users and newcomers of the self-check


def load_model(run: str | Path, *, seed: int = 0) -> ServedModel:
    """The model of a run, all its shapes compiled, having passed `check`.

    FileNotFoundError and ValueError as of `Recommender.load`.
    """
    began = time.perf_counter()
    run = Path(run).expanduser()
    digest = files_digest(run)
    model = ServedModel(
        Recommender.load(run, seed=seed), digest=f"{digest}.{seed}", keep_programs=True
    )
    warm(model)
    check(model)
    seconds = time.perf_counter() - began
    LOG.info("model %s is ready after %.1f s", model.digest, seconds)
    return model


def files_digest(run: Path) -> str:
    """Of all that a model is made of in its run directory: 16 hex digits."""
    found = hashlib.blake2b(digest_size=8)
    named = [run / "config.json", run / "dataset.npz"]
    named += sorted((run / "checkpoints").rglob("*"))
    for path in named:
        if path.is_file():
            found.update(str(path.relative_to(run)).encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def warm(model: ServedModel) -> None:
    """Compiles every shape, so that no list waits for the compiler."""
    forms = model.forms()

    def compile_size(size: int) -> None:  # no shape is of two sizes
        for form in forms:
            if size in form.sizes:
                model.compile(form, size)

    with ThreadPoolExecutor(COMPILERS) as pool:
        list(pool.map(compile_size, reversed(SIZES)))
    user = model.user_id(0)
    person = model.person(
        user=None, friends=(user,), answers=((model.item_id(0), True),)
    ).person
    model.explain(person, model.num_items - 1, (user,))
    model.is_quick = seconds_of_batch(model) <= QUICK


def seconds_of_batch(model: ServedModel) -> float:
    """What the largest batch of newcomers takes at best."""
    nobody = model.person(user=None, friends=()).person
    questions = [Question(model=model, person=nobody, count=20)] * SIZES[-1]

    def once() -> float:
        began = time.perf_counter()
        model.rank(questions)
        return time.perf_counter() - began

    return min(once() for _ in range(5))


def check(model: ServedModel) -> None:
    """ValueError where the model's answers cannot be right.

    It is asked for nobody, for users and for people with their friends, each alone and
    all together, which must agree: finite scores, descending, no item twice.
    """
    people = [model.person(user=None, friends=()).person]
    for user in range(min(CHECKED, model.num_users)):
        name = model.user_id(user)
        people.append(model.person(user=name, friends=None).person)
        people.append(model.person(user=None, friends=(name,)).person)
    questions = [Question(model=model, person=person, count=10) for person in people]
    together = model.rank(questions)
    for question, ranked in zip(questions, together, strict=True):
        (alone,) = model.rank([question])
        scores = ranked.scores
        if not len(scores) or len(set(ranked.items.tolist())) < len(scores):
            raise ValueError("self-check: a list is empty or has an item twice")
        if np.any(np.diff(scores) > 0):
            raise ValueError("self-check: a list is not in order of its scores")
        room = NEAR * max(1.0, float(np.abs(scores).max()))
        if len(alone.scores) != len(scores) or np.any(
            np.abs(alone.scores - scores) > room
        ):
            raise ValueError("self-check: a batch answers otherwise than one question")
