"""What every store promises, asked of memory, SQLite and a real MongoDB alike."""

from __future__ import annotations

import secrets
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import ClassVar

import anyio
import anyio.to_thread
import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from msgspec import Struct
from spinney_shared.store import Change, Drop, Put, Record, Store, StoreError
from spinney_shared.store.memory import MemoryStore
from spinney_shared.store.mongo import MongoStore
from spinney_shared.store.sqlite import SqliteStore

from tests.services import Mongo


class Inner(Struct, frozen=True, omit_defaults=True):
    names: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class Tree(Record, frozen=True):
    kind: ClassVar[str] = "tree"
    id: str
    height_m: float = 0.0
    rings: int | None = None
    inner: Inner = Inner()
    seal: bytes = b""

    @property
    def key(self) -> str:
        return self.id


class Bird(Record, frozen=True):
    kind: ClassVar[str] = "bird"
    name: str
    number: int

    @property
    def key(self) -> str:
        return f"{self.name}#{self.number}"


KINDS: dict[str, type[Record]] = {"tree": Tree, "bird": Bird}
OAK = Tree("oak", 30.5, 400, Inner(("a", "b"), {"dotted.key": "1", "$dollar": "2", "": "3"}), b"\x00\xff")

Opener = Callable[[], Store]
"""Opens the same data anew, as a restarted process would; what was open is closed first."""


@pytest.fixture(params=["memory", "sqlite", "mongo"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    memory = MemoryStore()
    database = f"store_{secrets.token_hex(4)}"
    opener: Opener
    if request.param == "memory":
        opener = lambda: memory  # noqa: E731 - three ways to open, side by side
    elif request.param == "sqlite":
        opener = lambda: SqliteStore(tmp_path / "node" / "state.sqlite", KINDS)  # noqa: E731
    else:
        url = request.getfixturevalue("mongo_url")
        opener = lambda: MongoStore(url, database, KINDS)  # noqa: E731
    async with AsyncExitStack() as stack:

        def opening() -> Store:
            store = opener()
            stack.push_async_callback(store.close)
            return store

        yield opening


async def contents(store: Store) -> dict[tuple[str, str], Record]:
    return {(record.kind, record.key): record for record in await store.load()}


def put(*records: Record) -> list[Change]:
    return [Put(record) for record in records]


async def test_a_new_store_is_empty(opened: Opener) -> None:
    assert await opened().load() == []


async def test_what_is_saved_is_read_back_as_it_was(opened: Opener) -> None:
    store = opened()
    await store.save(put(OAK, Tree("bare"), Bird("wren", 1)))
    expected = {("tree", "oak"): OAK, ("tree", "bare"): Tree("bare"), ("bird", "wren#1"): Bird("wren", 1)}
    assert await contents(store) == expected
    await store.close()
    assert await contents(opened()) == expected


async def test_put_replaces_the_whole_record(opened: Opener) -> None:
    store = opened()
    await store.save(put(OAK))
    await store.save(put(Tree("oak")))
    assert await store.load() == [Tree("oak")]


async def test_a_store_that_was_not_loaded_replaces_as_well(opened: Opener) -> None:
    store = opened()
    await store.save(put(OAK, Bird("wren", 1)))
    await store.close()
    store = opened()
    await store.save(put(Tree("ash"), Tree("oak"), Bird("wren", 1)))
    assert await contents(store) == {
        ("tree", "ash"): Tree("ash"),
        ("tree", "oak"): Tree("oak"),
        ("bird", "wren#1"): Bird("wren", 1),
    }


async def test_a_store_that_was_not_loaded_replaces_many_as_well(opened: Opener) -> None:
    many = put(*(Bird("starling", n) for n in range(200)))
    store = opened()
    await store.save(many[:150])
    await store.close()
    store = opened()
    await store.save(many)
    assert len(await store.load()) == 200


async def test_drop_forgets_and_may_find_nothing(opened: Opener) -> None:
    store = opened()
    await store.save(put(Tree("oak"), Bird("oak", 0)))
    await store.save([Drop("tree", "oak"), Drop("bird", "never there")])
    assert await store.load() == [Bird("oak", 0)]
    await store.save(put(OAK))
    assert ("tree", "oak") in await contents(store)


async def test_the_last_change_to_a_key_wins(opened: Opener) -> None:
    store = opened()
    changes: list[Change] = [
        *put(Tree("a", 1), Tree("a", 2)),
        Drop("tree", "b"),
        *put(Tree("b", 1), Tree("c", 1)),
        Drop("tree", "c"),
    ]
    await store.save(changes)
    assert await contents(store) == {("tree", "a"): Tree("a", 2), ("tree", "b"): Tree("b", 1)}


async def test_saving_nothing_is_fine(opened: Opener) -> None:
    await opened().save([])


async def test_repeating_a_batch_changes_nothing(opened: Opener) -> None:
    """The caller cannot know whether a save whose answer was lost arrived: it saves again."""
    store, again = opened(), put(OAK, Bird("wren", 1))
    for _ in range(3):
        await store.save(again)
    assert len(await store.load()) == 2


async def test_thousands_at_once(opened: Opener) -> None:
    store = opened()
    await store.save(put(*(Bird("starling", n) for n in range(3000))))
    changes: list[Change] = [Drop("bird", f"starling#{n}") for n in range(0, 3000, 2)]
    await store.save([*changes, *put(*(Tree(str(n)) for n in range(1000)))])
    found = await contents(store)
    assert len([kind for kind, _ in found if kind == "bird"]) == 1500
    assert len([kind for kind, _ in found if kind == "tree"]) == 1000


async def test_memory_fails_on_demand_before_or_after_it_wrote() -> None:
    store = MemoryStore([Bird("before", 0)])

    def fail(changes: object) -> None:
        raise StoreError("on demand")

    store.before_save = fail
    with pytest.raises(StoreError, match="on demand"):
        await store.save(put(OAK))
    assert await store.load() == [Bird("before", 0)]
    store.before_save, store.after_save = MemoryStore().before_save, fail
    with pytest.raises(StoreError, match="on demand"):
        await store.save(put(OAK))
    assert len(await store.load()) == 2


async def test_mongo_takes_all_or_none(mongo_url: str) -> None:
    """The database itself refuses the last change, after the others were written inside the transaction."""
    database = f"store_{secrets.token_hex(4)}"
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(mongo_url)
    await client[database].create_collection("records", validator={"number": {"$not": {"$lt": 0}}})
    store = MongoStore(mongo_url, database, KINDS)
    await store.save(put(Bird("before", 0)))
    with pytest.raises(StoreError, match="failed validation") as refused:
        await store.save([Drop("bird", "before#0"), *put(OAK, Bird("wren", 1), Bird("secret bird", -1))])
    assert "secret" not in str(refused.value)
    assert await store.load() == [Bird("before", 0)]
    await store.save([Drop("bird", "before#0"), *put(OAK, Bird("wren", 1))])
    assert await contents(store) == {("tree", "oak"): OAK, ("bird", "wren#1"): Bird("wren", 1)}
    await store.close()
    client.close()


async def test_mongo_out_of_reach_is_said_in_words_and_soon() -> None:
    store = MongoStore("mongodb://127.0.0.1:1/", "nowhere", KINDS, timeout_s=0.4)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1"):
        await store.save(put(OAK))
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1"):
        await store.load()
    await store.close()


async def test_mongo_says_which_kind_it_cannot_read(mongo_url: str) -> None:
    database = f"store_{secrets.token_hex(4)}"
    client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(mongo_url)
    await client[database]["records"].insert_one({"_id": "bird/1", "kind": "bird", "name": "wren", "number": "one"})
    store = MongoStore(mongo_url, database, KINDS)
    with pytest.raises(StoreError, match=r"no bird: .*`\$\[0\]\.number`"):
        await store.load()
    await store.close()
    client.close()


async def test_mongo_reads_more_than_one_batch_holds(mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinney_shared.store.mongo.LOAD_BATCH", 7)
    store = MongoStore(mongo_url, f"store_{secrets.token_hex(4)}", KINDS)
    await store.save(put(*(Tree(str(n)) for n in range(50))))
    assert {record.key for record in await store.load()} == {str(n) for n in range(50)}
    await store.close()


async def test_sqlite_takes_all_or_none(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    store = SqliteStore(path, KINDS)
    await store.save(put(Bird("before", 0)))
    await store.close()
    with sqlite3.connect(path) as by_hand:
        by_hand.execute(
            "CREATE TRIGGER no BEFORE INSERT ON records WHEN new.key = 'bad#-1' BEGIN SELECT RAISE(ABORT, 'no!'); END"
        )
    by_hand.close()
    with pytest.raises(StoreError, match="no!"):
        await store.save([Drop("bird", "before#0"), *put(OAK, Bird("wren", 1), Bird("bad", -1))])
    assert await store.load() == [Bird("before", 0)]
    await store.close()


@pytest.mark.parametrize("damage", ["not a database", "torn page", "keys in disorder", "not a record"])
async def test_sqlite_moves_a_damaged_file_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.sqlite"
    store = SqliteStore(path, KINDS)
    await store.save(put(*(Bird("starling", n) for n in range(500))))
    await store.close()
    content = bytearray(path.read_bytes())
    if damage == "not a database":
        path.write_bytes(b"once upon a time " * 100)
    elif damage == "torn page":
        content[4096:8192] = b"\xaa" * 4096
        path.write_bytes(content)
    elif damage == "keys in disorder":
        path.write_bytes(content.replace(b"starling#100", b"starling#999"))
    else:
        path.write_bytes(content.replace(b'"starling","number":77}', b'"starling","number":"7'))
    assert await store.load() == []
    assert "was damaged" in store.damage
    assert store.damage in caplog.text
    assert (tmp_path / "state.sqlite.damaged").exists()
    await store.save(put(OAK))
    assert await store.load() == [OAK]
    await store.close()


async def test_sqlite_file_belongs_to_one_process_and_one_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinney_shared.store.sqlite.BUSY_S", 0.05)
    path = tmp_path / "state.sqlite"
    first, second = SqliteStore(path, KINDS), SqliteStore(path, KINDS)
    await first.save(put(OAK))
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(StoreError, match="locked"):
        await second.load()
    await first.close()
    assert await second.load() == [OAK]
    await second.close()


async def test_sqlite_says_when_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "state.sqlite", KINDS)
    with pytest.raises(StoreError, match="file"):
        await store.save(put(OAK))


WRITER = """
import asyncio, sys
from pathlib import Path
from typing import ClassVar
from spinney_shared.store import Put, Record
from spinney_shared.store.sqlite import SqliteStore

class Bird(Record, frozen=True):
    kind: ClassVar[str] = "bird"
    name: str
    number: int
    key = property(lambda self: f"{self.name}#{self.number}")

async def main():
    store = SqliteStore(Path(sys.argv[1]), {"bird": Bird})
    for batch in range(100000):
        await store.save([Put(Bird(str(n), batch)) for n in range(20)])
        print(batch, flush=True)

asyncio.run(main())
"""


def test_sqlite_keeps_whole_batches_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 30:
            break
    writer.send_signal(signal.SIGKILL)
    told = int([line, *writer.stdout.readlines()][-1])
    writer.wait()
    writer.stdout.close()
    birds = anyio.run(_birds_in, path)
    assert {bird.number for bird in birds} >= set(range(told + 1)), "what was said to be saved is there"
    assert all(count == 20 for count in Counter(bird.number for bird in birds).values()), (
        "of every batch all or nothing"
    )


async def _birds_in(path: Path) -> list[Bird]:
    store = SqliteStore(path, KINDS)
    records = await store.load()
    await store.close()
    return [record for record in records if isinstance(record, Bird)]


async def test_mongo_keeps_what_it_acknowledged_when_it_is_killed(tmp_path: Path) -> None:
    server = Mongo(tmp_path)
    await anyio.to_thread.run_sync(server.start)
    try:
        store = MongoStore(server.url, "kept", KINDS, timeout_s=20)
        await store.save(put(*(Bird("wren", n) for n in range(100))))
        await anyio.to_thread.run_sync(server.kill)
        await anyio.to_thread.run_sync(server.stop)  # waits until the last of its threads has let go of the port
        await anyio.to_thread.run_sync(server.start)
        assert len(await store.load()) == 100
        await store.save(put(OAK, Bird("wren", 100)))
        assert len(await store.load()) == 102
        await store.close()
    finally:
        await anyio.to_thread.run_sync(server.stop)
