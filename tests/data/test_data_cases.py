"""Small inputs that real users have, in folders beside the checkout: the right answer.

A folder that is not there is skipped; each behaviour has its own test elsewhere.
"""

import json
from pathlib import Path

import pytest

from dlerse_jax.commands.main import main

CASES = Path(__file__).parents[3] / "shared" / "cases"
USUAL = (20, 100, 20)  # users, likes, friend pairs
COUNTS = {
    "jester": (20, 124, 1),
    "nofriends_header": (20, 100, 0),
    "onepair": (20, 100, 1),
    "rank4": (30, 60, 1),
    "tiny3": (3, 6, 2),
    "u12": (12, 103, 12),
}
OPTIONS = {
    "tsvq_silent": ["table.title=title"],
    "jester": ["table.rating=rating", "min_rating=0"],
    "ciaodvd": ["format=ciao", "min_rating=1"],
    "rt_ts": ["format=ratings_text", "min_rating=0"],
}
NOTES = {
    "latin1": "read as Windows-1252",
    "spnum": "took blanks off 1 cells of user in interactions.csv (first: line 2)",
    "na": "dropped 1 rows of interactions.csv without a value in user or item",
    "nofriends_header": "friends.csv has no friend pair",
    "snow": "dropped 1 friend pairs with a user outside the data",
    "newuser": "1 people are in the friends file alone",
    "base": 'has a column "rating" that nobody named',
    "txt": "ratings.txt is read as interactions",
    "semi": 'fields are parted by ";"',
}


def stats(folder, *options):
    words = ["format=table", "name=mine", f"path={folder}", "min_items_per_user=1"]
    words += ["min_users_per_item=1", *options]
    flags = [f"--config.data.{word}" for word in words]
    config = "--config=experiments/synthetic.py:quick"
    return main(["data", "stats", "--json", config, *flags])


@pytest.mark.parametrize(
    "name", sorted(path.name for path in CASES.glob("*/")) or ["none"]
)
def test_case_gives_the_right_answer(name, capsys, monkeypatch):
    if not (CASES / name).is_dir():
        pytest.skip(f"there are no cases at {CASES}")
    monkeypatch.chdir(Path(__file__).parents[2])
    status = stats(CASES / name, *OPTIONS.get(name, ()))
    output, errors = capsys.readouterr()
    if name == "sci":
        assert status == 2
        assert 'sci/interactions.csv:17: user is "1e+05"' in errors
        return
    found = json.loads(output)
    counts = (found["users"], found["interactions"], found["friend_pairs"])
    assert counts == COUNTS.get(name, USUAL)
    assert found["newcomers"] == (1 if name == "newuser" else 0)
    assert NOTES.get(name, "") in "\n".join(found["notes"])
