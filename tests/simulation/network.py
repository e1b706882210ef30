"""A broker and its links on a virtual clock: messages are lost, repeated, delayed past each other; links go down.

Harsher than MQTT on purpose: a real broker loses a QoS 1 message only when it dies without its persistence.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from spinney_shared.bus import Incoming


class Clock:
    """Virtual time and what is to happen when; ties are broken by the order of scheduling, so runs repeat exactly."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, do))

    def run_until(self, end: float) -> Iterator[None]:
        """Let things happen one by one; yields after each."""
        while self._events and self._events[0][0] <= end:
            self.now, _, do = heapq.heappop(self._events)
            do()
            yield
        self.now = end


@dataclass
class Faults:
    """How bad the network is; all zero = perfect."""

    loss: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    """How often a copy comes again much later: what a broker or a paused process held back."""
    longest_delay: float = 0.02


@dataclass
class Client:
    """One process's connection."""

    deliver: Callable[[Incoming], None]
    subscribed: Callable[[str], bool]
    up: bool = True
    blocked: bool = False
    """A partition: nothing passes, and nobody was told yet."""
    will: Callable[[], tuple[str, bytes]] | None = None


@dataclass
class Broker:
    """Delivers by subscription, keeps retained messages, publishes wills."""

    clock: Clock
    rng: random.Random
    faults: Faults = field(default_factory=Faults)
    clients: dict[str, Client] = field(default_factory=dict)
    retained: dict[str, bytes] = field(default_factory=dict)
    delivered: int = 0
    audience: dict[str, list[str]] = field(default_factory=dict)
    """topic → who has subscribed to it; looked up once per topic and connection"""

    def publish(self, sender: str, topic: str, payload: bytes, retain: bool = False) -> None:
        source = self.clients.get(sender)
        if source is not None and (not source.up or source.blocked):
            return
        if retain:
            self.retained[topic] = payload
        if topic not in self.audience:
            self.audience[topic] = [name for name, client in self.clients.items() if client.subscribed(topic)]
        for name in self.audience[topic]:
            self._send(name, Incoming(topic, payload))

    def _send(self, name: str, incoming: Incoming) -> None:
        if self.rng.random() < self.faults.late:
            self.clock.after(self.rng.random() * 10, lambda: self._arrive(name, incoming))
        copies = 2 if self.rng.random() < self.faults.repeat else 1
        for _ in range(copies):
            if self.rng.random() >= self.faults.loss:
                delay = 0.001 + self.rng.random() * self.faults.longest_delay
                self.clock.after(delay, lambda: self._arrive(name, incoming))

    def _arrive(self, name: str, incoming: Incoming) -> None:
        client = self.clients[name]
        if client.up and not client.blocked:
            self.delivered += 1
            client.deliver(incoming)

    def connect(self, name: str) -> None:
        client = self.clients[name]
        client.up, client.blocked = True, False
        self.audience.clear()
        for topic, payload in self.retained.items():
            if client.subscribed(topic):
                self._send(name, Incoming(topic, payload, retain=True))

    def drop(self, name: str, will: bool = True) -> None:
        """The connection is gone; the broker notices and speaks the will."""
        client = self.clients[name]
        client.up = False
        if will and client.will is not None:
            self.publish("broker", *client.will(), retain=True)

    def restart(self, keep_retained: bool) -> None:
        if not keep_retained:
            self.retained.clear()
