"""From the log of events to what other programs learn from and judge with.

`parquet`: one row per item shown, the answer beside it. `vw`: Vowpal Wabbit's dsjson,
one line per answered item, with the actions that could have been shown and their
chances. `obp`: arrays of the Open Bandit Pipeline's feedback, as .npz.
"""

import io
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dlerse_jax.runtime.atomic_files import write_atomically
from dlerse_jax.server.events import files, read_events
from dlerse_jax.server.exploration import conditional_chances, parse_exploration

LOG = logging.getLogger(__name__)
Event = Mapping[str, Any]
SCHEMA = {
    "time": pl.Float64,
    "recommendation_id": pl.String,
    "session": pl.String,
    "subject": pl.String,
    "model": pl.String,
    "exploration": pl.String,
    "candidates_digest": pl.String,
    "num_candidates": pl.Int64,
    "num_friends": pl.Int64,
    "step": pl.Int64,
    "position": pl.Int64,
    "item": pl.String,
    "propensity": pl.Float64,
    "score": pl.Float64,
    "liked": pl.Boolean,
}


def export_events(folder: str | Path, output: str | Path, kind: str) -> int:
    """Writes the log in a folder as a file -> the number of rows or lines.

    ValueError for another kind than parquet, vw or obp, and for an output that is a
    folder or would be among the files of a log.
    """
    if kind not in WRITERS:
        raise ValueError(f"--format is {kind!r}, expected {', '.join(WRITERS)}")
    _check_output(Path(output))
    events = _once(read_events(folder))
    if stray := len(_answers(events).keys() - _shown(events)):
        LOG.warning(
            "answers to items that no list in the log shows: %d, left out", stray
        )
    content, count = WRITERS[kind](events)
    write_atomically(Path(output), content)
    return count


def _check_output(output: Path) -> None:
    """The file is replaced, and the next reader of a log's folder would read it."""
    if output.is_dir():
        raise ValueError(f"--output={output} is a folder: name a file in it")
    if files(output.resolve().parent):
        raise ValueError(
            f"--output={output} is in the folder of a log, which would be written "
            "over or mixed with it: name a file in another folder"
        )


def _once(events: Iterable[Event]) -> list[Event]:
    """The events, each list once: a file that was copied back repeats its lists."""
    lists: set[str] = set()
    kept, repeated = [], 0
    for event in events:
        if event["event"] == "shown":
            if event["recommendation_id"] in lists:
                repeated += 1
                continue
            lists.add(event["recommendation_id"])
        kept.append(event)
    if repeated:
        LOG.warning("lists that the log has once more: %d, left out", repeated)
    return kept


def event_rows(events: Iterable[Event]) -> pl.DataFrame:
    """One row per item shown; `liked` is null where nobody answered."""
    events = list(events)
    liked = _answers(events)
    rows = [
        _row(event, item, liked.get((event["recommendation_id"], str(item["item"]))))
        for event in events
        if event["event"] == "shown"
        for item in event["items"]
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _shown(events: Iterable[Event]) -> set[tuple[str, str]]:
    """(recommendation, item) of all that was shown."""
    return {
        (event["recommendation_id"], str(item["item"]))
        for event in events
        if event["event"] == "shown"
        for item in event["items"]
    }


def _answers(events: Iterable[Event]) -> dict[tuple[str, str], bool]:
    """(recommendation, item) -> liked; an answer that was taken back is none."""
    liked: dict[tuple[str, str], bool] = {}
    for event in events:
        if event["event"] == "answered":
            liked[event["recommendation_id"], str(event["item"])] = event["liked"]
        elif event["event"] == "undone":
            liked.pop((event["recommendation_id"], str(event["item"])), None)
    return liked


def _row(event: Event, item: Event, liked: bool | None) -> dict[str, Any]:
    row = {name: event.get(name) for name in SCHEMA} | {
        name: item[name] for name in ("position", "propensity", "score")
    }
    return row | {"item": str(item["item"]), "liked": liked}


def _parquet(events: Sequence[Event]) -> tuple[bytes, int]:
    rows, stream = event_rows(events), io.BytesIO()
    rows.write_parquet(stream)
    return stream.getvalue(), len(rows)


def _obp(events: Sequence[Event]) -> tuple[bytes, int]:
    """action [R], position [R], reward [R], pscore [R], context [R, 2] (answers so far,
    friends); `items` [N] says which item an action is. Answered items alone.
    """
    rows = event_rows(events).drop_nulls("liked")
    items, actions = np.unique(rows["item"].to_numpy(), return_inverse=True)
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        n_rounds=len(rows),
        n_actions=len(items),
        action=actions.astype(np.int64),
        position=rows["position"].to_numpy().astype(np.int64),
        reward=rows["liked"].cast(pl.Float64).to_numpy(),
        pscore=rows["propensity"].to_numpy(),
        context=rows.select("step", "num_friends").to_numpy().astype(float),
        items=items.astype(str),
    )
    return stream.getvalue(), len(rows)


def _vw(events: Sequence[Event]) -> tuple[bytes, int]:
    liked = _answers(events)
    lines = []
    for event in events:
        if event["event"] != "shown":
            continue
        for place, item in enumerate(event["items"]):
            answer = liked.get((event["recommendation_id"], str(item["item"])))
            if answer is not None:
                lines.append(json.dumps(_dsjson(event, place, answer)) + "\n")
    return "".join(lines).encode(), len(lines)


def _dsjson(event: Event, place: int, liked: bool) -> dict[str, Any]:
    """The decision about one position; actions count from 1, the one shown first."""
    shown = event["items"][place]
    before = [str(other["item"]) for other in event["items"][:place]]
    candidates = event["candidates"] or [
        {"item": shown["item"], "score": shown["score"]}
    ]
    names = [str(candidate["item"]) for candidate in candidates]
    scores = np.array([candidate["score"] for candidate in candidates])
    taken = np.isin(names, before)
    policy = parse_exploration(event["exploration"])
    chances = conditional_chances(policy, scores, taken)
    left = [number for number in range(len(names)) if not taken[number]]
    order = sorted(left, key=lambda number: names[number] != str(shown["item"]))
    action = {number: place + 1 for place, number in enumerate(left)}
    return {
        "_label_cost": -float(liked),
        "_label_probability": shown["propensity"],
        "_label_Action": action[order[0]],
        "_labelIndex": action[order[0]] - 1,
        "Timestamp": event["time_utc"],
        "Version": "1",
        "EventId": f"{event['recommendation_id']}.{shown['position']}",
        "a": [action[number] for number in order],
        "c": {
            "User": {"step": event["step"], "num_friends": event["num_friends"]},
            "_multi": [{"Item": {f"id={names[number]}": 1}} for number in left],
        },
        "p": [float(chances[number]) for number in order],
        "VWState": {"m": event["model"]},
    }


WRITERS: dict[str, Callable[[Sequence[Event]], tuple[bytes, int]]] = {
    "parquet": _parquet,
    "vw": _vw,
    "obp": _obp,
}
