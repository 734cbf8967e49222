"""A model card of a finished run: what it is, how good, for whom, and its limits.

Markdown with a YAML front matter, as Hugging Face's hub reads it. The section on main
parameters says in plain words what decides which item is shown, and how somebody can
change that, as article 27 of the EU's Digital Services Act asks of platforms.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dlerse_jax.agents.registry import CLASSICAL, OFFLINE, RANK, inputs_read
from dlerse_jax.data.loading import lowest_liked
from dlerse_jax.defaults import base_config
from dlerse_jax.evaluation.summary import (
    FRIEND_GROUPS,
    cutoffs_in,
    interval_sources,
    interval_text,
    longest_precision,
    markdown_cell,
    metric_title,
)
from dlerse_jax.reporting.checks import check_result
from dlerse_jax.reporting.tables import device_text, markdown_table
from dlerse_jax.runs.choice import read_choice
from dlerse_jax.runs.dataset_file import kept_dataset
from dlerse_jax.runs.directory import flat_items
from dlerse_jax.runs.records import (
    Run,
    flat_config,
    parts_of_training,
    read_run,
    training_seconds,
)
from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.runtime.messages import shorten

CARD_NAME = "README.md"  # where the hub looks for it
_MADE = "# Made by `dlerse card`."
FEWEST_LIKED = "data.min_items_per_user"

PARAMETERS = {
    "likes": "**What many people like, and what is liked together.** Items that people "
    "of the training data like, and like along with what you liked, come sooner.",
    "friends": "**What your friends like.** Items that people you name as friends like "
    "come sooner, before you have answered anything. Friends of friends may count too.",
    "tags": "**What items are called.** Items with the same tags as those you liked "
    "come sooner.",
    "counts": "**How much others use an item.** A like of somebody who listens to, or "
    "rates, an item much counts for more.",
}
ANSWERS = (
    "**Your answers.** Each like makes similar items come sooner, each dislike later. "
    "They count for the session alone and change nothing in the model."
)
WITHOUT_ANSWERS = ("random", "popularity", "friends", "mf_static", "mf_friends")


def write_card(directory: Path) -> Path:
    """Writes `README.md` into a run directory -> its path.

    FileNotFoundError where there is no run; ValueError where it is not finished, or
    where the file is there and no card of ours.
    """
    path = directory / CARD_NAME
    run = read_run(directory)
    if not run.finished:
        raise ValueError(
            f"{directory} is not finished: let `dlerse train` go on, which evaluates it"
        )
    check_result(run)
    if path.exists() and _MADE not in path.read_text(errors="replace"):
        raise ValueError(
            f"{path} is there and was not made by `dlerse card`: move it away, and run "
            "the same command again"
        )
    write_atomically(path, card_text(run).encode())
    return path


def card_text(run: Run) -> str:
    """The card of a finished run."""
    sections = {
        "": _opening(run),
        "Data": _data(run),
        "How good it is": _figures(run),
        "What decides which item is shown": _main_parameters(run),
        "Limits": _limits(run),
        "Settings": _settings(run),
        "Use": _use(run),
    }
    parts = [
        f"## {title}\n\n{text}" if title else text for title, text in sections.items()
    ]
    return "\n\n".join([_front_matter(run), *parts]) + "\n"


def _title(run: Run) -> str:
    return f"{run.agent} on {run.result['dataset']}"


def _front_matter(run: Run) -> str:
    metrics = run.result["summary"]["metrics"]
    shown = [
        {"type": name, "name": metric_title(name), "value": round(x["mean"], 4)}
        for name, x in metrics.items()
        if x["mean"] is not None and not name.endswith("streak_length")
    ]
    data = {"type": run.result["dataset"], "name": run.result["dataset"]}
    task = {"type": "other", "name": f"recommendation, protocol {run.protocol}"}
    results = [{"task": task, "dataset": data, "metrics": shown}]
    content = {
        "library_name": "dlerse_jax",
        "license": "unknown",
        "tags": ["recommender-system", "cold-start", "social-network", "jax"],
        "metrics": ["precision", "recall"],
        "model-index": [{"name": _title(run), "results": results}],
    }
    # JSON is YAML, and quotes whatever a data set is called.
    lines = [f"{k}: {json.dumps(x, ensure_ascii=False)}" for k, x in content.items()]
    return "\n".join(["---", _MADE, *lines, "---"])


def _opening(run: Run) -> str:
    return (
        f"# {markdown_cell(_title(run))}\n\n"
        "It recommends items to people who have just arrived: it knows whom they name "
        "as friends, and what they answered to the items shown so far. It was trained "
        "and evaluated with dlerse_jax, version "
        f"{run.settings.get('versions', {}).get('dlerse_jax', '?')}."
    )


def _data(run: Run) -> str:
    numbers = run.result["dataset_statistics"]
    config = flat_config(run)
    rows = [
        [name.replace("_", " "), f"{x:,}" if isinstance(x, int) else f"{x:.4g}"]
        for name, x in numbers.items()
    ]
    words = [
        f"{markdown_cell(run.result['dataset'])}, fold {run.result['split']} of ten. "
        "A like is"
    ]
    keys = ("data.name", "data.format", "data.min_rating")
    least = lowest_liked(*map(config.get, keys))
    words.append(
        "any interaction."
        if least is None
        else f"an interaction of weight (a rating or count) {least:g} or more."
    )
    words.append(
        "Test users' likes were hidden from training and from every choice; who likes "
        f"fewer than {config.get(FEWEST_LIKED, '?')} items was left out."
    )
    return " ".join(words) + "\n\n" + markdown_table(["", "number"], rows).rstrip()


def _figures(run: Run) -> str:
    summary = run.result["summary"]
    metric = longest_precision(summary["metrics"])
    sources = interval_sources([summary["num_seeds"]])
    lead = (
        f"Protocol `{run.protocol}`, {summary['num_users']} users who were new to it. "
        f"95% intervals, {sources}. {metric_title(metric)} is the share of the first "
        f"{cutoffs_in(summary['metrics'])[-1]} items shown that a user likes."
    )
    tables = [_metric_table(summary)]
    if "by_friends" in summary:
        tables.append(_group_table(summary, metric))
    if run.result.get("baselines"):
        tables.append(_baseline_table(run, metric))
    return "\n\n".join([lead, *tables])


def _metric_table(summary: Mapping[str, Any]) -> str:
    rows = [
        [metric_title(name), interval_text(interval)]
        for name, interval in summary["metrics"].items()
    ]
    return markdown_table(["metric", "mean [95% interval]"], rows).rstrip()


def _group_table(summary: Mapping[str, Any], metric: str) -> str:
    rows = [
        [
            f"{group} friends",
            str(part["num_users"]),
            interval_text(part["metrics"].get(metric)),
        ]
        for group in FRIEND_GROUPS
        if (part := summary["by_friends"].get(group))
    ]
    return markdown_table(
        ["group of users", "users", metric_title(metric)], rows
    ).rstrip()


def _baseline_table(run: Run, metric: str) -> str:
    rows = [
        [name, interval_text(summary["metrics"].get(metric))]
        for name, summary in run.result["baselines"].items()
    ]
    own = [run.agent, interval_text(run.result["summary"]["metrics"].get(metric))]
    header = ["agent, on the same users", metric_title(metric)]
    return markdown_table(header, [own, *rows]).rstrip()


def _main_parameters(run: Run) -> str:
    lines = [PARAMETERS[name] for name in _inputs_found(run)]
    if run.agent not in WITHOUT_ANSWERS:
        lines.insert(0, ANSWERS)
    if not lines:
        lines = ["**Chance.** Items are drawn at random; nothing is known of anybody."]
    lines = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
    return "\n".join(
        [
            "The main parameters, and nothing else: no age, sex, place, price or "
            "payment is read.",
            "",
            *lines,
            "",
            _weighing(run),
            "",
            "Somebody can change what they are shown: by answering, by naming other "
            "friends or none (`friends=[]`), by leaving items out (`exclude`), and by "
            "asking `popularity`, which reads nothing of the person. "
            "`Recommender.explain` says of one item which friends and answers it is "
            "shown for.",
        ]
    )


def _inputs_found(run: Run) -> list[str]:
    """What the agent reads and the data of its run have; all it reads where the run
    has no `dataset.npz`."""
    read = inputs_read(run.agent, flat_config(run))
    data = kept_dataset(run.directory, run.settings.get("data_digest"))
    if data is None:
        return list(read)
    tags, weights = data.taggings, data.like_weights
    is_missing = {
        "tags": tags is None or not len(tags.tags),
        "counts": not len(weights) or weights.min() == weights.max(),
    }
    return [name for name in read if not is_missing.get(name)]


def _weighing(run: Run) -> str:
    """Why parameters weigh as they do."""
    if run.agent in CLASSICAL:
        how = "is fixed by the settings below"
        if (read_choice(run.directory) or {}).get(run.agent, {}).get("chosen"):
            how += ", which were chosen on training users"
    elif run.agent in OFFLINE:
        how = "was learned from likes alone: it is what predicts them best"
    elif run.agent == RANK and not flat_config(run).get("rank.q_learning"):
        how = "was learned from simulated sessions: it is what predicts likes best"
    else:
        how = (
            "was learned from simulated sessions: it is what earns most likes over a "
            "session"
        )
    friends = (
        ""
        if "friends" not in inputs_read(run.agent, flat_config(run))
        else (" Before the first answer, friends and what is popular are all there is.")
    )
    return f"How much each parameter counts {how}.{friends}"


def _limits(run: Run) -> str:
    return "\n".join(f"- {line}" for line in _limit_lines(run))


def _limit_lines(run: Run) -> Iterator[str]:
    yield (
        "The users that it was evaluated on are simulated from recorded likes: an item "
        "that nobody recorded counts as disliked, so the true share of likes is higher."
    )
    numbers = run.result["dataset_statistics"]
    if "friends" in inputs_read(run.agent, flat_config(run)):
        share = numbers.get("friendless_share", 0.0)
        yield (
            "Who names no friend is served worse at first, as the groups above show: "
            f"{share:.0%} of the users of the data name none."
        )
    yield (
        "What is popular in the data is shown more. Rare items, and tastes of few "
        "people in the data, are served worse."
    )
    yield (
        "It recommends the items of its data set and no others, and knows of nothing "
        "that happened after these data were collected."
    )
    if run.agent not in CLASSICAL:
        yield "A score is no chance of a like, unless `chance` is given beside it."
    yield (
        "Recommending by friends can give friends' tastes away; reasons name nobody "
        "unless that is allowed."
    )
    yield "The licence of the data holds for what was trained on them."


def _settings(run: Run) -> str:
    defaults = dict(flat_items(base_config().to_dict()))
    changed = [
        [key, f"`{shorten(json.dumps(value))}`"]
        for key, value in flat_config(run).items()
        if key in defaults and _differs(value, defaults[key])
        if not key.startswith(("tracking.", "serve.", "devices.", "data.path"))
    ]
    selected = run.result.get("selected") or []
    updates = ", ".join(f"{x['phase']} {x['update']}" for x in selected) or "none"
    lines = [
        f"- Seeds: {run.result['num_seeds']}; each plays with what it had after: "
        f"{updates}.",
        f"- Trained numbers: {run.result.get('num_parameters', 0):,}.",
        f"- Training took {training_seconds(run):,.0f} s on "
        f"{device_text(run.settings.get('device', '?'))}{_parts_of_time(run)}.",
        f"- Commit {str(run.settings.get('git_commit') or 'unknown')[:10]}, begun "
        f"{run.settings.get('created', '?')[:10]}.",
    ]
    if not changed:
        return "\n".join([*lines, "- All settings are the defaults."])
    table = markdown_table(["setting, where not the default", "value"], changed)
    return "\n".join([*lines, "", table.rstrip()])


def _parts_of_time(run: Run) -> str:
    if (parts := parts_of_training(run)) is None:
        return ""
    updates, validation = parts
    return f": {updates:,.0f} s updates, {validation:,.0f} s validation"


def _differs(value: Any, default: Any) -> bool:
    return value != (list(default) if isinstance(default, tuple) else default)


def _use(run: Run) -> str:
    name = run.directory.resolve().name
    return (
        "```python\nimport dlerse_jax as dj\n\n"
        f"recommender = dj.Recommender.load({name!r})\n"
        "recommender.recommend(friends=[...], liked=[...], k=10)\n```"
    )
