"""A broker inside the process, for tests: the same promises as a real one, kept in a fixed order.

Messages are handed over in the order sent, by one callback of the event loop for all that wait; there are no tasks and
no clocks, so a test that seeds its randomness sees the same run every time. Wildcards, retained messages, wills and
sessions that outlive a connection behave as MQTT says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from paho.mqtt.matcher import MQTTMatcher

from . import Incoming, Outgoing, Will
from .outbox import Counters, Outbox

HELD_LIMIT = 100_000
"""Messages a session collects while its client is away; then the oldest go."""


class MemoryBroker:
    """Connects `MemoryBus`es. It starts up; `stop` and `start` are a restart as the clients see it."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.up.set()
        self._retained: dict[str, Outgoing] = {}
        self._sessions: dict[str, _Session] = {}
        self._filters = MQTTMatcher()
        self._moving: deque[tuple[_Session, Incoming]] = deque()
        self._scheduled = False

    def client(self, client_id: str, *, subscriptions: Iterable[str] = (), will: Will | None = None) -> MemoryBus:
        """A connection under this id; `MemoryBus.run` connects it. The same id twice: the newer one takes over."""
        return MemoryBus(self, client_id, subscriptions, will)

    def stop(self) -> None:
        """Go away: every client sees its connection lost; wills are not published, as when a broker dies."""
        self.up.clear()
        for session in self._sessions.values():
            if session.bus is not None:
                self._detach(session, "the broker went away")

    def start(self) -> None:
        """Come back with retained messages and sessions as they were."""
        self.up.set()

    def cut(self, client_id: str) -> None:
        """Break one client's connection; its will is published. It connects again by itself."""
        session = self._sessions[client_id]
        will = session.bus.will if session.bus is not None else None
        self._detach(session, "connection cut")
        if will is not None:
            self.publish(Outgoing(will.topic, will.payload, retain=True))

    def publish(self, message: Outgoing) -> None:
        """Take a message from a client, keep it if retained, and queue it for every session that wants it."""
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        wanted = {id(s): s for members in self._filters.iter_match(message.topic) for s in members.values()}
        for session in wanted.values():
            self._queue(session, _incoming(message, retain=False))

    def attach(self, bus: MemoryBus) -> None:
        """A client connects: continue its session, or begin one."""
        session = self._sessions.setdefault(bus.client_id, _Session())
        if session.bus is not None:
            self._detach(session, "another client took over this id")
        session.bus = bus

    def leave(self, bus: MemoryBus) -> None:
        """A client says goodbye; its session goes on collecting messages."""
        session = self._sessions[bus.client_id]
        if session.bus is bus:
            session.bus = None

    def subscribe(self, client_id: str, filters: Iterable[str]) -> None:
        """Add topic filters to a session and queue the retained messages they match."""
        session = self._sessions[client_id]
        for topic_filter in filters:
            try:
                self._filters[topic_filter][client_id] = session
            except KeyError:
                self._filters[topic_filter] = {client_id: session}
            only_this = MQTTMatcher()
            only_this[topic_filter] = True
            for topic, message in self._retained.items():
                if next(only_this.iter_match(topic), False):
                    self._queue(session, _incoming(message, retain=True))

    def deliver_held(self, client_id: str) -> None:
        """Hand over what the session collected while its client was away, ahead of anything newer."""
        session = self._sessions[client_id]
        self._moving.extendleft((session, message) for message in reversed(session.held))
        session.held.clear()
        self._schedule()

    def _detach(self, session: _Session, why: str) -> None:
        bus, session.bus = session.bus, None
        if bus is not None:
            bus.lost(why)

    def _queue(self, session: _Session, message: Incoming) -> None:
        self._moving.append((session, message))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        """Hand over what waits now; what that causes to be sent waits for the next call."""
        self._scheduled = False
        batch, self._moving = self._moving, deque()
        for session, message in batch:
            if session.bus is None:
                session.held.append(message)
            else:
                session.bus.deliver(message)


class _Session:
    """What the broker knows of one client id, connected or not."""

    def __init__(self) -> None:
        self.bus: MemoryBus | None = None
        self.held: deque[Incoming] = deque(maxlen=HELD_LIMIT)


class MemoryBus:
    """A Bus on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, client_id: str, subscriptions: Iterable[str], will: Will | None) -> None:
        self.client_id = client_id
        self.will = will
        self.counters = Counters()
        self.on_message: Callable[[Incoming], None] = lambda message: None
        self.on_connect: Callable[[], None] = lambda: None
        self.on_disconnect: Callable[[str], None] = lambda why: None
        self._broker = broker
        self._filters = dict.fromkeys(subscriptions)
        self._outbox = Outbox(self.counters)
        self._lost = asyncio.Event()
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable now."""
        return self._connected

    def send(self, message: Outgoing) -> None:
        """Publish a message, or hold it while the broker is away if it asks for that."""
        if self._connected:
            self.counters.sent += 1
            self._broker.publish(message)
        else:
            self._outbox.hold_if_kept(message)

    def subscribe(self, filters: Iterable[str]) -> None:
        """Add topic filters, now and after every reconnect."""
        new = [topic_filter for topic_filter in filters if topic_filter not in self._filters]
        self._filters.update(dict.fromkeys(new))
        if self._connected:
            self._broker.subscribe(self.client_id, new)

    async def run(self) -> None:
        """Stay connected until cancelled, then publish the will's payload and leave."""
        try:
            while True:
                await self._broker.up.wait()
                self._connect()
                await self._lost.wait()
        finally:
            if self._connected:
                if self.will is not None:
                    self.send(Outgoing(self.will.topic, self.will.payload, retain=True))
                self._connected = False
                self._broker.leave(self)

    def lost(self, why: str) -> None:
        """The broker's word that this connection is gone."""
        self._connected = False
        self._lost.set()
        self.on_disconnect(why)

    def deliver(self, message: Incoming) -> None:
        """The broker's hand-over of one message."""
        self.counters.received += 1
        self.on_message(message)

    def _connect(self) -> None:
        self._lost.clear()
        self._broker.attach(self)
        self._connected = True
        self.counters.connects += 1
        self._broker.deliver_held(self.client_id)
        self._broker.subscribe(self.client_id, self._filters)
        while len(self._outbox):
            self.send(self._outbox.take())
        self.on_connect()


def _incoming(message: Outgoing, retain: bool) -> Incoming:
    return Incoming(message.topic, message.payload, retain, message.response_topic, message.correlation)
