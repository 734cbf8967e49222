"""How much a friend counts: read, scaled to a mean of 1, and left out where asked."""

import numpy as np
import polars as pl
import pytest
from test_data_readers import NO_FILTER

import dlerse_jax as dj
from dlerse_jax.data import dataset_digest

LIKES = {"user": [1, 2, 3, 4], "item": [10, 20, 10, 20]}
PAIRS = {"user": [1, 1, 2, 4], "friend": [2, 3, 1, 1], "close": [3, 1, 2.0, 2]}
WEIGHTED = dj.TableLayout(friend_weight="close")


def load(friends=PAIRS, table=WEIGHTED, **options):
    tables = {"interactions": LIKES, "friends": friends, "table": table}
    return dj.load_dataset(**tables, **NO_FILTER, **options)


def weights_by_pair(dataset):
    targets = dataset.user_ids[dataset.friend_targets].tolist()
    sources = dataset.user_ids[dataset.friend_sources].tolist()
    pairs = zip(targets, sources, strict=True)
    return dict(zip(pairs, dataset.friend_weights.tolist(), strict=True))


def test_weights_go_with_their_pairs_and_are_one_on_average():
    found = weights_by_pair(load())
    assert found == {(1, 2): 1.5, (1, 3): 0.5, (2, 1): 1.0, (4, 1): 1.0}
    tenfold = PAIRS | {"close": [30, 10, 20, 20]}
    assert weights_by_pair(load(tenfold)) == found


def test_without_them_the_data_are_what_they_were():
    plain = load(table=dj.TableLayout())
    assert plain.friend_weights is None
    for same in (load(PAIRS | {"close": [7, 7, 7, 7]}), load(friend_weights=False)):
        assert same.friend_weights is None
        assert dataset_digest(same) == dataset_digest(plain)
    assert dataset_digest(load()) != dataset_digest(plain)
    # As it was before there were weights: a run that is there goes on.
    assert dataset_digest(plain).startswith("a60e689d4d04927e")


def test_a_repeated_pair_has_the_highest_and_zero_is_no_friend():
    more = {"user": [*PAIRS["user"], 1, 3], "friend": [*PAIRS["friend"], 2, 1]}
    dataset = load(more | {"close": [3, 1, 2, 2, 1, 0]})
    assert weights_by_pair(dataset) == weights_by_pair(load())
    assert "dropped 1 friend pairs of weight 0" in dataset.notes
    assert "dropped 1 repeated friend pairs" in dataset.notes
    both_ways = load(more | {"close": [3, 1, 2, 2, 1, 0]}, symmetric_friends=True)
    expected = weights_by_pair(load(symmetric_friends=True))
    assert weights_by_pair(both_ways) == pytest.approx(expected)


def test_an_added_reverse_has_the_weight_of_its_pair_and_others_keep_theirs():
    found = weights_by_pair(load(symmetric_friends=True))
    mean = (3 + 2 + 1 + 1 + 2 + 2) / 6
    expected = {(1, 2): 3, (2, 1): 2, (1, 3): 1, (3, 1): 1, (4, 1): 2, (1, 4): 2}
    assert found == pytest.approx({pair: w / mean for pair, w in expected.items()})


def test_an_added_reverse_may_count_for_less():
    found = weights_by_pair(load(symmetric_friends=True, reverse_weight=0.5))
    expected = {(1, 2): 3, (2, 1): 2, (1, 3): 1, (3, 1): 0.5, (4, 1): 2, (1, 4): 1}
    mean = sum(expected.values()) / 6
    assert found == pytest.approx({pair: w / mean for pair, w in expected.items()})
    plain = {"table": dj.TableLayout(), "symmetric_friends": True}
    found = weights_by_pair(load(**plain, reverse_weight=0.25))
    assert found[1, 3] == pytest.approx(4 * found[3, 1]) and found[1, 2] == found[2, 1]
    assert load(**plain).friend_weights is None


@pytest.mark.parametrize(
    ("weight", "symmetric", "told"),
    [
        (0.0, True, "above 0 and at most 1"),
        (1.5, True, "above 0 and at most 1"),
        (0.5, False, "set data.symmetric_friends to True"),
    ],
)
def test_a_weight_of_reverses_that_does_nothing_is_refused(weight, symmetric, told):
    with pytest.raises(ValueError, match=told):
        load(symmetric_friends=symmetric, reverse_weight=weight)


@pytest.mark.parametrize("wrong", ["-1", "nan", "much", "", "inf"])
def test_a_weight_that_is_none_is_named_with_its_row_and_the_mend(tmp_path, wrong):
    pl.DataFrame(LIKES).write_csv(tmp_path / "interactions.csv")
    (tmp_path / "friends.csv").write_text(f"user,friend,close\n1,2,3\n1,3,{wrong}\n")
    with pytest.raises(ValueError) as refusal:
        dj.load_dataset("mine", tmp_path, format="table", table=WEIGHTED, **NO_FILTER)
    message = str(refusal.value)
    assert f"friends.csv:3: close is {wrong!r}, expected a number" in message.replace(
        '"', "'"
    )
    assert message.endswith("this line, or set data.friend_weights to False")
    assert "\n" not in message
    ignored = dj.load_dataset(
        "mine",
        tmp_path,
        format="table",
        table=WEIGHTED,
        friend_weights=False,
        **NO_FILTER,
    )
    assert len(ignored.friend_sources) == 2


def test_trust_has_its_value_and_distrust_is_no_friend(tmp_path):
    (tmp_path / "ratings.txt").write_text("1 10 4\n2 20 4\n3 10 4\n4 20 4\n")
    (tmp_path / "trust.txt").write_text("1 2 3\n1 3 1\n2 1 2\n4 1 2\n4 2 -1\n")
    options = {"path": tmp_path, "format": "ratings_text", **NO_FILTER}
    dataset = dj.load_dataset("mine", **options)
    assert weights_by_pair(dataset) == weights_by_pair(load())
    plain = dj.load_dataset("mine", **options, friend_weights=False)
    assert plain.friend_weights is None and len(plain.friend_sources) == 4


def test_a_column_of_weights_without_a_name_is_only_warned_of():
    signed = PAIRS | {"trust": [1, -1, 1, 1]}
    notes = load(signed, table=dj.TableLayout()).notes
    assert any("as distrust has" in note for note in notes)
    named = dj.TableLayout(friend_weight="close")
    assert np.isclose(load(signed, table=named).friend_weights.mean(), 1)


def test_weights_may_be_of_any_scale():
    tiny = PAIRS | {"close": [f"{weight}e-50" for weight in PAIRS["close"]]}
    found, expected = load(tiny), load()
    assert weights_by_pair(found) == pytest.approx(weights_by_pair(expected), rel=1e-6)
    assert not any("weight 0" in note for note in found.notes)


def test_trust_of_a_rating_text_may_be_tiny(tmp_path):
    (tmp_path / "ratings.txt").write_text("1 7 4\n2 7 4\n3 7 4\n")
    (tmp_path / "trust.txt").write_text("1 2 3e-50\n2 1 1e-50\n3 1 0\n3 2 -1\n")
    dataset = dj.load_dataset("filmtrust", tmp_path, **NO_FILTER)
    assert weights_by_pair(dataset) == {(1, 2): 1.5, (2, 1): 0.5}
    assert "dropped 2 trust pairs of weight <= 0" in dataset.notes
