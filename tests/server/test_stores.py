"""Every store keeps the same promises: SQLite, Redis and PostgreSQL by real servers."""

import asyncio
import random
import time

import pytest
from store_servers import postgres_server, record, redis_server

from dlerse_jax.server.store import Answer, Shown, Tally, open_store, pseudonym


@pytest.fixture(scope="module", params=["sqlite", "redis", "postgresql"])
def address(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield f"sqlite:{folder / 'sessions.sqlite'}"
        return
    server = redis_server if request.param == "redis" else postgres_server
    with server(folder) as found:
        yield found


@pytest.fixture
def with_store(address):
    """Runs a coroutine function on a store of its own connection."""

    def run(test):
        async def whole():
            store = await open_store(address)
            try:
                return await test(store)
            finally:
                await store.close()

        return asyncio.run(whole())

    return run


def test_a_record_comes_back_as_it_was(with_store):
    shown = Shown(
        recommendation_id="r2",
        item="b\u00e9",
        title="\u2603\n",
        score=-1.5,
        chance=None,
        propensity=0.25,
    )
    answer = Answer(item=7, title="seven", liked=False, recommendation_id="r1")
    wanted = record("whole", user=3, friends=(1, "x"), shown=shown, answers=(answer,))

    async def test(store):
        assert await store.read("whole") is None
        assert await store.write(wanted, 0)
        assert await store.read("whole") == (wanted, 1)

    with_store(test)


def test_only_the_version_that_was_read_is_written_over(with_store):
    async def test(store):
        await store.write(record("cas"), 0)
        tries = [store.write(record("cas", friends=(n,)), 1) for n in range(8)]
        assert sum(await asyncio.gather(*tries)) == 1
        assert not await store.write(record("cas"), 0)
        assert not await store.write(record("never"), 3)
        assert (await store.read("cas")).version == 2

    with_store(test)


def test_a_tally_counts_with_its_record_alone(with_store):
    async def test(store):
        await store.write(record("t"), 0, Tally("2026-01-01", 1, 1))
        await store.write(record("t"), 9, Tally("2026-01-01", 1, 1))  # another version
        await store.write(record("t"), 1, Tally("2026-01-01", 0, 1))
        await store.add_tally(Tally("2025-12-31", -1, -1))
        assert await store.tallies() == [("2025-12-31", -1, -1), ("2026-01-01", 1, 2)]

    with_store(test)


def test_sessions_are_found_by_all_whom_they_name(with_store):
    async def test(store):
        await store.write(record("own", user=5), 0)
        await store.write(record("friend", friends=("5", 6)), 0)
        await store.write(record("other", user=55, friends=(6,)), 0)
        assert sorted(await store.sessions_of("5")) == ["friend", "own"]
        await store.write(record("friend", friends=(6,)), 1, renamed=True)
        assert await store.sessions_of("5") == ["own"]
        assert await store.delete("own")
        assert not await store.delete("own")
        assert await store.sessions_of("5") == []

    with_store(test)


def test_what_has_expired_is_not_read_and_is_purged(with_store):
    async def test(store):
        before = await store.purge(time.time())
        await store.write(record("old", user="gone", expires=time.time() + 0.05), 0)
        await store.write(record("new", user="stays"), 0)
        await store.claim("list", "1", time.time() + 0.05)
        await asyncio.sleep(0.1)
        assert await store.read("old") is None
        assert await store.purge(time.time()) == before + 1
        assert await store.sessions_of("gone") == []
        assert await store.sessions_of("stays") == ["new"]
        assert await store.claim("list", "1", time.time() + 60)

    with_store(test)


def test_ties_are_added_replaced_and_forgotten_both_ways(with_store):
    async def test(store):
        assert await store.friends("ann") is None
        assert await store.add_friends(
            "ann", ["bob", "cid"], replace=False, most=9
        ) == (
            "bob",
            "cid",
        )
        await store.add_friends("ann", ["dan"], replace=False, most=9)
        assert await store.friends("ann") == ("bob", "cid", "dan")
        assert await store.add_friends("ann", ["bob"], replace=True, most=9) == ("bob",)
        assert await store.add_friends("eve", [], replace=True, most=9) == ()
        await store.add_friends("eve", ["ann", "bob"], replace=False, most=9)
        await store.forget("bob", "pseudonym of bob")
        assert await store.friends("ann") == ()
        assert await store.friends("eve") == ("ann",)
        await store.forget("ann", "pseudonym of ann")
        assert await store.friends("ann") is None
        assert await store.friends("eve") == ()
        assert await store.num_forgotten() == 2
        assert await store.forgotten() == {"pseudonym of ann", "pseudonym of bob"}

    with_store(test)


def test_ties_above_the_most_are_refused_and_not_saved(with_store):
    async def test(store):
        async def tie(*friends, replace=False):
            return await store.add_friends("max", friends, replace=replace, most=3)

        assert await tie("1", "2", "3", "4") is None
        assert await store.friends("max") is None
        assert await tie("1", "2") == ("1", "2")
        assert await tie("3", "4") is None
        assert await tie("1", "3") == ("1", "2", "3")
        assert await tie("1", "2", "3", "4", replace=True) is None
        assert await tie("5", "6", "7", replace=True) == ("5", "6", "7")
        tries = [tie(str(n), replace=n == 0) for n in range(8)]
        await asyncio.gather(*tries)
        assert len(await store.friends("max")) <= 3

    with_store(test)


def test_ties_of_one_user_at_once_in_any_order_all_count(with_store):
    names = [str(number) for number in range(300)]

    async def test(store):
        orders = [random.Random(seed).sample(names, 300) for seed in range(16)]
        ties = [
            store.add_friends("busy", order, replace=seed == 0, most=300)
            for seed, order in enumerate(orders)
        ]
        forgets = [store.forget(name, name) for name in ("none", "nil")]
        await asyncio.gather(*ties, *forgets)
        assert await store.friends("busy") == tuple(sorted(names))

    with_store(test)


def test_an_item_of_a_list_is_answered_once(with_store):
    async def test(store):
        tries = [store.claim("l", "5", time.time() + 60) for _ in range(5)]
        assert sum(await asyncio.gather(*tries)) == 1
        assert await store.claim("l", "6", time.time() + 60)
        await store.release("l", "5")
        assert await store.claim("l", "5", time.time() + 60)
        assert not await store.claim("l", "6", time.time() + 60)

    with_store(test)


def test_the_secret_is_made_once(with_store):
    async def test(store):
        return await store.secret()

    first = with_store(test)
    assert len(first) == 32
    assert with_store(test) == first


def test_a_pseudonym_is_the_same_for_a_number_and_its_text():
    assert pseudonym(b"k", 12) == pseudonym(b"k", " 12") != pseudonym(b"j", 12)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://host", "expected sqlite:FILE, redis://HOST or postgresql://"),
        ("redis://u:secret@127.0.0.1:1/0", r"--store=redis://127.0.0.1:1/0: "),
        ("postgresql://u:secret@127.0.0.1:1/x", "--store=postgresql: "),
    ],
)
def test_a_store_that_cannot_be_opened_is_said_in_a_line(address, words):
    with pytest.raises(ValueError, match=words) as problem:
        asyncio.run(open_store(address))
    assert "secret" not in str(problem.value)


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "x").write_text("not a database, but long enough to be looked at" * 9)
    with pytest.raises(ValueError, match="no SQLite file of sessions"):
        asyncio.run(open_store(f"sqlite:{tmp_path / 'x'}"))
