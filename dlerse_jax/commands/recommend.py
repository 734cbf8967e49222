"""`dlerse recommend RUN`: items for one person, or for each row of a file."""

import csv
import dataclasses
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from dlerse_jax.commands.output import lines_for_warnings, say
from dlerse_jax.runtime.messages import shorten
from dlerse_jax.serving.names import Names, UnknownId
from dlerse_jax.serving.questions import COLUMNS as QUESTION_COLUMNS
from dlerse_jax.serving.questions import Recommendation, known_ids, read_questions
from dlerse_jax.serving.recommender import Recommender

PERSON = ("friends", "liked", "disliked")
LIMITS = ("exclude", "only")
COLUMNS = ("question", "user", "rank", "item", "title", "score", "chance", "reason")


def define_person(values: flags.FlagValues) -> None:
    """The flags that say who is asked for, and by which of the run's seeds."""
    for name, words in {
        "user": "id of a user of the data set",
        "friends": "ids of friends, with commas between them",
        "liked": "ids of items that are liked",
        "disliked": "ids of items that are disliked",
    }.items():
        flags.DEFINE_string(name, None, words, flag_values=values)
    flags.DEFINE_boolean(
        "name-friends", False, "name friends in reasons", flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "of the run, from 0 on", flag_values=values)


def define_flags(values: flags.FlagValues) -> None:
    """The flags that only this command reads."""
    flags.DEFINE_string("exclude", None, "ids of items not to show", flag_values=values)
    flags.DEFINE_string("only", None, "ids of items to choose from", flag_values=values)
    flags.DEFINE_string("batch", "", "file of questions", flag_values=values)
    flags.DEFINE_integer("k", None, "length of a list", flag_values=values)
    flags.DEFINE_boolean("csv", False, "as CSV", flag_values=values)
    flags.DEFINE_boolean("explain", False, "with reasons", flag_values=values)


def person_of(values: flags.FlagValues, names: Names) -> dict[str, Any]:
    """Keywords of `Recommender.recommend` that say who is asked for."""
    user = {} if values.user is None else {"user": values.user}
    return user | _lists(values, PERSON, names)


def _lists(
    values: flags.FlagValues, options: Sequence[str], names: Names
) -> dict[str, list[str]]:
    given = {name: values[name].value for name in options}
    return {
        name: known_ids(text, name, names)
        for name, text in given.items()
        if text is not None
    }


def recommend(values: flags.FlagValues, run: Path) -> None:
    """Answers what the flags ask. ValueError for flags that do not belong together."""
    if values.json and values.csv:
        raise ValueError("--json and --csv are two forms of one answer: leave one out")
    rows = _rows(values)
    with lines_for_warnings():
        recommender = Recommender.load(run, seed=values.seed)
        names = recommender.names
        alone = person_of(values, names) | _lists(values, LIMITS, names)
        questions = [alone] if rows is None else read_questions(rows, names)
        found = recommender.recommend_many(questions, k=values.k)
    if values.explain:
        may_name = values["name-friends"].value
        found = _with_reasons(recommender, questions, found, may_name)
    _write(values, questions, found)


def _rows(values: flags.FlagValues) -> list[dict[str, str]] | None:
    """Those of --batch, looked at before the run is loaded; None without it."""
    if not values.batch:
        return None
    for name in ("user", *PERSON, *LIMITS):
        if values[name].value is not None:
            raise ValueError(
                f"--batch has the questions: leave --{name} out, or make it a column "
                "of the file"
            )
    rows = _read(Path(values.batch).expanduser())
    read_questions(rows)
    return rows


def _with_reasons(
    recommender: Recommender,
    questions: Sequence[dict[str, Any]],
    found: Sequence[Sequence[Recommendation]],
    may_name: bool,
) -> list[list[Recommendation]]:
    with warnings.catch_warnings():  # which the lists have given already
        warnings.simplefilter("ignore", UnknownId)
        people = [
            recommender.person(
                **{name: x for name, x in question.items() if name not in LIMITS}
            )
            for question in questions
        ]
    return [
        recommender.with_reasons(items, person, name_friends=may_name)
        for items, person in zip(found, people, strict=True)
    ]


def _read(path: Path) -> list[dict[str, str]]:
    """Questions of a file with a header: CSV, or TSV by its ending."""
    if not path.is_file():
        raise FileNotFoundError(f"--batch={path}: there is no such file")
    delimiter = "\t" if path.suffix in (".tsv", ".tab") else ","
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            _check_header(path, list(reader.fieldnames or ()))
            rows = [(reader.line_num, row) for row in reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a table of text ({error})") from error
    for line, row in rows:
        if None in row or None in row.values():
            raise ValueError(
                f"{path}, line {line}: its cells are not those of the first line"
            )
    return [row for _, row in rows]


def _check_header(path: Path, names: list[str]) -> None:
    """Said of the file, and also where no row follows."""
    expected = f"expected some of {', '.join(QUESTION_COLUMNS)}, each once"
    if not names:
        raise ValueError(f"{path} is empty: its first line has columns, {expected}")
    for name in names:
        if name not in QUESTION_COLUMNS or names.count(name) > 1:
            times = "twice" if names.count(name) > 1 else "as a column"
            raise ValueError(
                f"{path}, first line: it has {shorten(repr(name))} {times}, {expected}"
            )


def _write(
    values: flags.FlagValues,
    questions: Sequence[dict[str, Any]],
    found: Sequence[Sequence[Recommendation]],
) -> None:
    if values.json:
        lists = [[dataclasses.asdict(item) for item in items] for items in found]
        content = lists if values.batch else lists[0]
        sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    elif values.csv or values.batch:
        _write_csv(questions, found)
    else:
        _write_lines(found[0])


def _write_csv(
    questions: Sequence[dict[str, Any]], found: Sequence[Sequence[Recommendation]]
) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, items in enumerate(found):
        user = questions[number].get("user", "")
        for rank, item in enumerate(items, 1):
            chance = "" if item.chance is None else f"{item.chance:.4f}"
            shown = item.item, item.title, f"{item.score:.6g}", chance
            writer.writerow([number, user, rank, *shown, " ".join(item.reasons)])


def _write_lines(items: Sequence[Recommendation]) -> None:
    for rank, item in enumerate(items, 1):
        name = (
            item.title
            if item.title == str(item.item)
            else f"{item.title} ({item.item})"
        )
        chance = "" if item.chance is None else f"  chance of a like {item.chance:.0%}"
        say(f"{rank:3}. {name}{chance}")
        for reason in item.reasons:
            say(f"     {reason}")
