"""The port to the message broker: what the services ask of it, and nothing of how it is done.

Implementations: `spinney_shared.bus.mqtt.MqttBus` and `spinney_shared.bus.memory.MemoryBroker`. One contract suite
(tests/contracts) runs over both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


class Incoming(Struct, frozen=True):
    """One message as it came."""

    topic: str
    payload: bytes
    retain: bool = False
    response_topic: str = ""
    correlation: bytes = b""


class Outgoing(Struct, frozen=True):
    """One message to publish, always at least once (QoS 1)."""

    topic: str
    payload: bytes
    retain: bool = False
    response_topic: str = ""
    correlation: bytes = b""
    keep: bool = False
    """Keep it while the broker is away (bounded); sync messages are not kept, because the next one repairs the loss."""


class Will(Struct, frozen=True):
    """What the broker publishes for us (retained) when we vanish."""

    topic: str
    payload: bytes


class Bus(Protocol):
    """A connection that comes back by itself. `run` does all the work; the rest never blocks.

    Callbacks run on the event loop's thread, must be quick and must not raise. Messages of one topic arrive in the
    order sent, at least once. After every (re)connect, and after the subscriptions are acknowledged, `on_connect` is
    called; then retained messages and whatever the broker queued for us arrive through `on_message`.
    """

    on_message: Callable[[Incoming], None]
    on_connect: Callable[[], None]
    on_disconnect: Callable[[str], None]
    """Called with the reason in words."""

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable now."""
        ...

    def send(self, message: Outgoing) -> None:
        """Queue a message; while disconnected only ``keep`` ones are held (bounded: the oldest dropped, counted)."""
        ...

    async def run(self) -> None:
        """Stay connected until cancelled; then say an orderly goodbye (flush for ≤ 2 s, publish the will ourselves)."""
        ...
