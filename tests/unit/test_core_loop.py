"""The loop: save, then tell; a store that fails holds everything back; callers may give up at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from msgspec import Struct
from spinney_shared import loop as loop_module
from spinney_shared import running, topics
from spinney_shared.bus import Incoming, Outgoing
from spinney_shared.deciding import Decision, Now, Reply, Send, Tick
from spinney_shared.loop import BATCH, Inbox, Loop, load_patiently, save_patiently
from spinney_shared.messages import Presence
from spinney_shared.store import Change, Drop, Put, Record, StoreError, merged


class Note(Record, frozen=True):
    kind: ClassVar[str] = "notes"
    text: str

    @property
    def key(self) -> str:
        return self.text


class Ask(Struct, frozen=True):
    text: str
    token: int = 0
    later: bool = False


class World:
    """A loop between a store and a bus that write down what happens, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.connected = True
        self.loop = Loop(state=None, decide=self.decide, settle=self.settle, store=self, bus=self, tick_s=3600.0)  # type: ignore[arg-type]
        self.loop.perform = lambda action: self.seen.append(f"action {action}")
        self.loop.on_send = lambda send: self.seen.append(f"heard {send.topic}")

    def decide(self, state: Any, message: Any, now: Now) -> Decision:
        if not isinstance(message, Ask):
            return Decision()
        text = message.text
        replies = [Reply(message.token, text)] if message.token else []
        return Decision(
            [Put(Note(text), message.later)], [Send(text, Presence(id="p", session="s", online=True))], replies, [text]
        )

    def settle(self, state: Any, now: Now) -> Decision:
        return Decision()

    async def save(self, changes: Sequence[Change]) -> None:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            self.seen.append("failed")
            raise StoreError("no primary")
        self.seen += [f"saved {c.record.key}" for c in changes if isinstance(c, Put)]

    async def load(self) -> list[Record]:
        if self.failures:
            self.failures -= 1
            raise StoreError("no primary")
        return [Note("there")]

    async def close(self) -> None: ...

    def send(self, message: Outgoing) -> None:
        self.seen.append(f"sent {message.topic}")

    async def until(self, text: str) -> None:
        for _ in range(1000):
            if text in self.seen:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{text} never came: {self.seen}")

    async def ask(self, text: str) -> str:
        result = await self.loop.call(lambda token: Ask(text, token))
        self.seen.append(f"answered {text}")
        return result


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop_module, "SAVE_RETRY_S", 0.0)
    made = World()
    task = asyncio.create_task(made.loop.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def test_the_order_is_save_send_reply_action(world: World) -> None:
    assert await world.ask("a") == "a"
    assert world.seen[:4] == ["saved a", "sent a", "heard a", "action a"]
    assert world.seen[-1] == "answered a"


async def test_nothing_is_told_while_the_save_fails_and_all_of_it_once_it_works(world: World) -> None:
    world.failures = 3
    await world.ask("a")
    assert world.seen[:5] == ["failed", "failed", "failed", "saved a", "sent a"]
    assert world.seen.count("sent a") == 1
    assert world.loop.store_problem == ""


async def test_while_the_store_is_away_the_reason_can_be_read(world: World) -> None:
    world.gate.clear()
    task = asyncio.create_task(world.ask("a"))
    world.failures = 1_000_000
    world.gate.set()
    await world.until("failed")
    await asyncio.sleep(0)
    assert world.loop.store_problem == "no primary"
    assert not any(what.startswith(("sent", "action")) for what in world.seen)
    world.failures = 0
    await task


async def test_what_was_only_seen_may_be_told_before_it_is_saved(world: World) -> None:
    world.gate.clear()
    world.loop._saved_at = float("inf")  # the next write of what can wait is not due
    world.loop.inbox.put(Ask("a", later=True))
    await world.until("sent a")


async def test_a_caller_who_gives_up_harms_nobody(world: World) -> None:
    world.gate.clear()
    given_up = asyncio.create_task(world.ask("a"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    world.gate.set()
    assert await world.ask("b") == "b"
    assert "saved a" in world.seen, "it was asked for, so it is done"
    assert world.loop._callers == {}


async def test_callers_of_one_batch_all_get_their_own_answers(world: World) -> None:
    texts = [str(n) for n in range(100)]
    assert await asyncio.gather(*(world.ask(text) for text in texts)) == texts


async def test_the_inbox_gives_bounded_batches_in_order() -> None:
    inbox = Inbox()
    for number in range(BATCH + 5):
        inbox.put(number)
    assert await inbox.drain() == list(range(BATCH))
    assert await inbox.drain() == list(range(BATCH, BATCH + 5))
    assert len(inbox) == 0


async def test_loading_and_the_first_save_wait_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    real = asyncio.sleep

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", nap)
    world = World()
    world.failures = 2
    assert await load_patiently(world) == [Note("there")]  # type: ignore[arg-type]
    world.failures = 2
    await save_patiently(world, [Put(Note("a"))])  # type: ignore[arg-type]
    assert world.seen == ["failed", "failed", "saved a"]
    assert naps == [1.0] * 4


def test_only_the_last_change_to_a_record_is_written() -> None:
    a, b = Note("a"), Note("b")
    assert merged([Put(a), Put(b), Drop("notes", "a"), Put(b)]) == [Drop("notes", "a"), Put(b)]
    assert merged([Drop("notes", "a"), Put(a)]) == [Put(a)]


async def test_time_passes_in_the_inbox() -> None:
    world = World()
    world.loop._tick_s = 0.0
    ticks: list[Any] = []
    three = asyncio.Event()

    def decide(state: Any, message: Any, now: Now) -> Decision:
        ticks.append(message)
        if len(ticks) == 3:
            three.set()
        return Decision()

    world.loop._decide = decide
    task = asyncio.create_task(world.loop.run())
    await three.wait()
    task.cancel()
    await asyncio.wait([task])
    assert set(ticks) == {Tick()}


def test_what_waits_for_a_store_is_bounded_and_nothing_of_a_users_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "INBOX_LIMIT", 10)
    world = World()
    receiver = running.wire(world, world.loop)  # type: ignore[arg-type]
    presence = msgspec.json.encode(Presence(id="p", session="s", online=True))
    for _ in range(20):
        world.on_message(Incoming(topics.CLUSTER_PRESENCE.format(cluster="c"), presence))  # type: ignore[attr-defined]
        world.on_message(Incoming(topics.DEPLOY.format(), b"{}"))  # type: ignore[attr-defined]
    assert receiver.dropped == {"waiting for the store": 15}
    assert len(world.loop.inbox) == 25
