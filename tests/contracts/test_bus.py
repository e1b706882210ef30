"""What every bus promises, asked of the in-memory broker and of a real mosquitto alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from spinney_shared.bus import Incoming, Outgoing, Will
from spinney_shared.bus.memory import MemoryBroker, MemoryBus
from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.config import MqttSettings, Secret

from tests.services import Mosquitto

PATIENCE_S = 20.0
"""Nothing here takes a second; only a failure waits this long."""


class Peer:
    """One client under test: runs its bus and remembers what it was told, in order."""

    def __init__(self, bus: MemoryBus | MqttBus) -> None:
        self.bus = bus
        self.log: list[str] = []
        self.messages: list[Incoming] = []
        self.greeting: list[Outgoing] = []
        """What it sends whenever it connects."""
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        bus.on_message, bus.on_connect, bus.on_disconnect = self._message, self._connect, self._disconnect

    def _message(self, message: Incoming) -> None:
        self.messages.append(message)
        self.log.append(f"{message.topic}={message.payload.decode()}")
        self._changed.set()

    def _connect(self) -> None:
        self.log.append("connect")
        for message in self.greeting:
            self.bus.send(message)
        self._changed.set()

    def _disconnect(self, why: str) -> None:
        assert why
        self.log.append("disconnect")
        self._changed.set()

    async def until(self, met: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not met():
                self._changed.clear()
                await self._changed.wait()

    async def has(self, *entries: str) -> None:
        try:
            await self.until(lambda: all(entry in self.log for entry in entries))
        except TimeoutError:
            raise AssertionError(f"{entries} not all in {self.log}") from None

    async def start(self) -> None:
        times = self.log.count("connect")
        self._task = asyncio.create_task(self.bus.run())
        await self.until(lambda: self.log.count("connect") > times)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            assert self._task.cancelled(), self._task.exception()
            self._task = None

    def say(self, topic: str, text: str, **more: Any) -> None:
        self.bus.send(Outgoing(topic, text.encode(), **more))


class Parts:
    """A broker and what tests do to it."""

    def __init__(self, mosquitto: Mosquitto | None) -> None:
        self.memory = MemoryBroker()
        self.mosquitto = mosquitto
        self._peers = AsyncExitStack()

    def bus(self, client_id: str, filters: Iterable[str], will: Will | None) -> MemoryBus | MqttBus:
        if self.mosquitto is None:
            return self.memory.client(client_id, subscriptions=filters, will=will)
        settings = MqttSettings(
            host=self.mosquitto.host,
            port=self.mosquitto.port,
            username=self.mosquitto.user,
            password=Secret(self.mosquitto.password),
        )
        return MqttBus(settings, client_id, subscriptions=filters, will=will, resume=True)

    async def peer(self, client_id: str, *filters: str, will: Will | None = None, start: bool = True) -> Peer:
        peer = Peer(self.bus(client_id, filters, will))
        self._peers.push_async_callback(peer.stop)
        if start:
            await peer.start()
        return peer

    async def stop_broker(self) -> None:
        if self.mosquitto is None:
            self.memory.stop()
        else:
            await anyio.to_thread.run_sync(self.mosquitto.stop)

    async def start_broker(self) -> None:
        if self.mosquitto is None:
            self.memory.start()
        else:
            await anyio.to_thread.run_sync(self.mosquitto.start)

    async def close(self) -> None:
        await self._peers.aclose()


@pytest.fixture(params=["memory", "mqtt"])
async def parts(request: pytest.FixtureRequest) -> AsyncIterator[Parts]:
    mosquitto = request.getfixturevalue("own_mosquitto") if request.param == "mqtt" else None
    parts = Parts(mosquitto)
    yield parts
    await parts.close()


async def test_messages_of_a_topic_arrive_in_order(parts: Parts) -> None:
    listener = await parts.peer("listener", "a/+")
    speaker = await parts.peer("speaker")
    expected = [f"a/{n % 3}={n}" for n in range(3000)]
    for n in range(3000):
        speaker.say(f"a/{n % 3}", str(n))
    await listener.until(lambda: len(listener.messages) >= 3000)
    for topic in ("a/0", "a/1", "a/2"):
        came = [entry for entry in listener.log if entry.startswith(topic)]
        assert came == [entry for entry in expected if entry.startswith(topic)]
    assert listener.bus.counters.received == speaker.bus.counters.sent == 3000


@pytest.mark.parametrize(
    ("topic_filter", "hits", "misses"),
    [
        ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/c/d", "b/b/c"]),
        ("a/#", ["a", "a/b", "a/b/c"], ["b/a", "ab"]),
        ("+", ["a"], ["a/b", "/a"]),
        ("/+", ["/a"], ["a"]),
        ("#", ["a", "a/b"], []),
    ],
)
async def test_wildcards(parts: Parts, topic_filter: str, hits: list[str], misses: list[str]) -> None:
    listener = await parts.peer("listener", topic_filter, "the/end")
    speaker = await parts.peer("speaker")
    for topic in [*misses, *hits, "the/end"]:
        speaker.say(topic, "x")
    await listener.has("the/end=x")
    assert {message.topic for message in listener.messages} == {*hits, "the/end"}


async def test_a_retained_message_waits_for_subscribers_and_is_cleared_by_an_empty_one(parts: Parts) -> None:
    speaker = await parts.peer("speaker", "r/#")
    speaker.say("r/1", "old", retain=True)
    speaker.say("r/1", "new", retain=True)
    speaker.say("r/2", "gone", retain=True)
    speaker.say("r/2", "", retain=True)
    await speaker.has("r/1=new", "r/2=")
    assert not any(message.retain for message in speaker.messages), "to those who were there it is an ordinary message"
    late = await parts.peer("late", "r/+")
    await late.has("r/1=new")
    assert late.log == ["connect", "r/1=new"]
    assert late.messages[0].retain


async def test_filters_can_be_added_while_connected(parts: Parts) -> None:
    speaker = await parts.peer("speaker")
    speaker.say("later/1", "kept", retain=True)
    peer = await parts.peer("peer", "first")
    peer.bus.subscribe(["later/#"])
    await peer.has("later/1=kept")
    await parts.stop_broker()
    await peer.has("disconnect")
    await parts.start_broker()
    await peer.until(lambda: peer.log.count("connect") == 2)
    peer.say("later/2", "x")
    await peer.has("later/2=x")


async def test_hundreds_of_filters(parts: Parts) -> None:
    listener = await parts.peer("listener", *(f"many/{n}/+" for n in range(750)))
    speaker = await parts.peer("speaker")
    for n in range(750):
        speaker.say(f"many/{n}/x", "")
    await listener.until(lambda: len({message.topic for message in listener.messages}) == 750)


async def test_response_topic_and_correlation_travel_along(parts: Parts) -> None:
    listener = await parts.peer("listener", "ask")
    asker = await parts.peer("asker", "answers/#")
    asker.say("ask", "?", response_topic="answers/1", correlation=b"\x00\xff")
    await listener.has("ask=?")
    question = listener.messages[0]
    assert (question.response_topic, question.correlation) == ("answers/1", b"\x00\xff")
    listener.say(question.response_topic, "!", correlation=question.correlation)
    await asker.has("answers/1=!")
    assert asker.messages[0].correlation == b"\x00\xff"
    assert asker.messages[0].response_topic == ""


async def test_the_will_is_said_by_ourselves_when_we_leave(parts: Parts) -> None:
    watcher = await parts.peer("watcher", "presence/+")
    member = await parts.peer("member", will=Will("presence/member", b"offline"))
    member.say("presence/member", "online", retain=True)
    await watcher.has("presence/member=online")
    await member.stop()
    await watcher.has("presence/member=offline")
    late = await parts.peer("late", "presence/+")
    await late.has("presence/member=offline")
    assert "presence/member=online" not in late.log


async def test_what_was_sent_before_leaving_arrives(parts: Parts) -> None:
    listener = await parts.peer("listener", "last/#")
    leaver = await parts.peer("leaver", will=Will("last/will", b"bye"))
    for n in range(500):
        leaver.say("last/words", str(n))
    await leaver.stop()
    await listener.has("last/will=bye")
    assert [message.payload for message in listener.messages if message.topic == "last/words"] == [
        str(n).encode() for n in range(500)
    ]


async def test_a_client_finds_its_way_back_and_speaks_first(parts: Parts) -> None:
    peer = await parts.peer("peer", "here/#")
    peer.greeting = [Outgoing("here/peer", b"hello", retain=True)]
    await parts.stop_broker()
    await peer.has("disconnect")
    assert not peer.bus.connected
    await parts.start_broker()
    await peer.has("here/peer=hello")
    assert peer.log[:3] == ["connect", "disconnect", "connect"]
    assert peer.bus.connected
    assert peer.bus.counters.connects == 2


async def test_while_away_only_what_asks_for_it_is_kept_and_comes_before_the_greeting(parts: Parts) -> None:
    peer = await parts.peer("peer", "t/#")
    await parts.stop_broker()
    await peer.has("disconnect")
    peer.greeting = [Outgoing("t/greeting", b"")]
    for n in range(3):
        peer.say("t/kept", str(n), keep=True)
        peer.say("t/stale", str(n))
    assert peer.bus.counters.dropped == 3
    await parts.start_broker()
    await peer.has("t/greeting=")
    assert [entry for entry in peer.log if "t/" in entry] == ["t/kept=0", "t/kept=1", "t/kept=2", "t/greeting="]


async def test_before_the_first_connect_messages_are_kept_too(parts: Parts) -> None:
    listener = await parts.peer("listener", "t/#")
    peer = await parts.peer("peer", start=False)
    peer.say("t/kept", "1", keep=True)
    peer.say("t/stale", "1")
    await peer.start()
    peer.say("t/end", "")
    await listener.has("t/end=")
    assert listener.log == ["connect", "t/kept=1", "t/end="]


async def test_a_session_collects_what_its_client_missed(parts: Parts) -> None:
    listener = await parts.peer("listener", "post/#")
    speaker = await parts.peer("speaker")
    await listener.stop()
    for n in range(50):
        speaker.say("post/box", str(n))
    speaker.say("post/sign", "seen", retain=True)
    witness = await parts.peer("witness", "post/sign")
    await witness.has("post/sign=seen")
    again = await parts.peer("listener", "post/#")
    await again.has("post/sign=seen", *(f"post/box={n}" for n in range(50)))
    assert again.log[0] == "connect", "nothing is handed over before on_connect"
    boxes = [entry for entry in again.log if entry.startswith("post/box")]
    assert list(dict.fromkeys(boxes)) == [f"post/box={n}" for n in range(50)]


async def test_the_same_id_twice_the_newer_one_takes_over(parts: Parts) -> None:
    first = await parts.peer("twin", "t")
    second = await parts.peer("twin", "t")
    await first.has("disconnect")
    await first.stop()
    await second.until(lambda: second.bus.connected)


async def test_what_asks_to_be_kept_survives_a_restart_of_the_broker(parts: Parts) -> None:
    """At least once: some may come twice, but the first copies come complete and in order."""
    listener = await parts.peer("listener", "k")
    speaker = await parts.peer("speaker")
    for n in range(1500):
        speaker.say("k", str(n), keep=True)
    await listener.until(lambda: len(listener.messages) > 100)
    await parts.stop_broker()
    for n in range(1500, 2000):
        speaker.say("k", str(n), keep=True)
    await parts.start_broker()
    await listener.until(lambda: "k=1999" in listener.log)
    came = [message.payload for message in listener.messages]
    assert list(dict.fromkeys(came)) == [str(n).encode() for n in range(2000)]


@pytest.mark.parametrize("parts", ["mqtt"], indirect=True)
async def test_a_refused_login_is_said_in_words_and_tried_again(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    assert parts.mosquitto is not None
    settings = MqttSettings(port=parts.mosquitto.port, username="tests", password=Secret("hunter2-wrong"))
    peer = Peer(MqttBus(settings, "stranger", subscriptions=["t"]))
    running = asyncio.create_task(peer.bus.run())
    await anyio.sleep(0.5)  # long enough for several attempts
    assert caplog.text.count("Not authorized") == 1, "said once, not at every attempt"
    assert not running.done()
    assert peer.log == []
    assert "hunter2" not in caplog.text
    running.cancel()
    await asyncio.wait({running})


@pytest.mark.parametrize("parts", ["mqtt"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"\x20\x03\x00\x87\x00", "Not authorized"), (b"\x20\x03\x00\x00\x00", "no connection to the broker")],
    ids=["refused", "lost before the subscriptions were acknowledged"],
)
async def test_a_broker_that_is_half_back(
    parts: Parts, caplog: pytest.LogCaptureFixture, answer: bytes, said: str
) -> None:
    """An impostor answers CONNECT with `answer`, reads once more and hangs up, twice; then the broker is back."""
    assert parts.mosquitto is not None
    peer = await parts.peer("peer", "t")
    await parts.stop_broker()
    await peer.has("disconnect")
    turned_away = asyncio.Semaphore(0)

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        await writer.drain()
        await reader.read(4096)
        writer.close()
        turned_away.release()

    async with await asyncio.start_server(impostor, parts.mosquitto.host, parts.mosquitto.port):
        async with asyncio.timeout(PATIENCE_S):
            await turned_away.acquire()
            await turned_away.acquire()
    assert said in caplog.text
    assert peer.log == ["connect", "disconnect"]
    await parts.start_broker()
    await peer.until(lambda: peer.log.count("connect") == 2)


@pytest.mark.parametrize("parts", ["mqtt"], indirect=True)
async def test_it_can_be_cancelled_while_no_broker_is_there(parts: Parts) -> None:
    await parts.stop_broker()
    peer = await parts.peer("peer", "t", will=Will("w", b"bye"), start=False)
    running = asyncio.create_task(peer.bus.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()


@pytest.mark.parametrize("parts", ["mqtt"], indirect=True)
async def test_a_callback_that_raises_ends_run(parts: Parts) -> None:
    """A fault of ours must not become an endless loop of reconnects."""
    peer = await parts.peer("peer", "t", start=False)

    def fail(message: Incoming) -> None:
        raise RuntimeError(message.topic)

    peer.bus.on_message = fail
    running = asyncio.create_task(peer.bus.run())
    speaker = await parts.peer("speaker")
    speaker.say("t", "x", retain=True)
    await asyncio.wait({running}, timeout=PATIENCE_S)
    assert running.done()
    assert repr(running.exception()) == "RuntimeError('t')"
