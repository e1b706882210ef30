"""The bus on an MQTT broker that comes and goes.

Sending never waits: up to `IN_FLIGHT` messages are on the wire, the rest queue here in order. While the broker is away
only what asked for it is held. After every connect all subscriptions are made again, since a broker may have lost its
sessions; what the broker hands over before they are acknowledged is held back until `on_connect` has been called.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator

import aiomqtt
import anyio

from ..config import MqttSettings
from . import Incoming, Outgoing, Will
from .connection import GOODBYE_S, Connection
from .outbox import Counters, Outbox

SHORTEST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
"""Between attempts to reach a broker: quick after a blip, gentle on a broker that 10,000 clients wait for."""

_log = logging.getLogger(__name__)


def delays(rng: Callable[[], float]) -> Iterator[float]:
    """Seconds to wait before each attempt: doubling, each shortened by up to half so that clients do not march in step.

    `rng` gives numbers from 0 to 1.
    """
    longest = SHORTEST_DELAY_S
    while True:
        yield longest * (1 - rng() / 2)
        longest = min(longest * 2, LONGEST_DELAY_S)


class MqttBus:
    """A Bus on an MQTT v5 broker.

    `resume` continues the session that an earlier process with this client id left, with all that the broker queued
    for it; otherwise only reconnects of this process do. Broker and client forget a session after `session_expiry_s`.
    """

    def __init__(
        self,
        settings: MqttSettings,
        client_id: str,
        *,
        subscriptions: Iterable[str] = (),
        will: Will | None = None,
        resume: bool = False,
        session_expiry_s: int = 3600,
    ) -> None:
        self.on_message: Callable[[Incoming], None] = lambda message: None
        self.on_connect: Callable[[], None] = lambda: None
        self.on_disconnect: Callable[[str], None] = lambda why: None
        self.counters = Counters()
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._resume = resume
        self._session_expiry_s = session_expiry_s
        self._filters = dict.fromkeys(subscriptions)
        self._outbox = Outbox(self.counters)
        self._connection: Connection | None = None
        """Set while messages can be sent."""
        self._early: list[Incoming] = []
        self._idle = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable now."""
        return self._connection is not None

    def send(self, message: Outgoing) -> None:
        """Queue a message; while disconnected only ``keep`` ones are held (bounded: the oldest dropped, counted)."""
        if self._connection is None:
            self._outbox.hold_if_kept(message)
            return
        self._outbox.hold(message)
        self._post_waiting()

    def subscribe(self, filters: Iterable[str]) -> None:
        """Add topic filters, now if connected and after every reconnect."""
        new = [topic_filter for topic_filter in filters if topic_filter not in self._filters]
        self._filters.update(dict.fromkeys(new))
        if self._connection is not None:
            self._connection.request(new)

    async def run(self) -> None:
        """Stay connected until cancelled; then say an orderly goodbye (flush for ≤ 2 s, publish the will ourselves)."""
        connection = self._new_connection()
        loop = asyncio.get_running_loop()
        rng = secrets.SystemRandom().random
        waits = delays(rng)
        said = ""
        while True:
            began = loop.time()
            try:
                why = await self._stay_connected(connection)
            except aiomqtt.MqttError as error:
                why = str(error)
            if loop.time() - began > LONGEST_DELAY_S:
                waits = delays(rng)
                said = ""
            if why != said:
                _log.warning("no connection to the broker %s:%d: %s", self._settings.host, self._settings.port, why)
                said = why
            await asyncio.sleep(next(waits))

    def _new_connection(self) -> Connection:
        connection = Connection(
            self._settings,
            self._client_id,
            will=self._will,
            resume=self._resume,
            session_expiry_s=self._session_expiry_s,
            on_message=self._received,
            on_acknowledged=self._post_waiting,
            on_subscribed=lambda: self._open(connection),
        )
        return connection

    async def _stay_connected(self, connection: Connection) -> str:
        """Connect and serve until the connection is lost; the reason in words. Raises aiomqtt.MqttError."""
        async with connection:
            connection.request(list(self._filters))
            try:
                why = await connection.lost()
            except asyncio.CancelledError:
                await self._say_goodbye()
                raise
            finally:
                was_open, self._connection = self._connection is not None, None
                self._outbox.forget_unkept()
            if was_open:
                self.on_disconnect(why)
            return why

    def _open(self, connection: Connection) -> None:
        """The subscriptions are acknowledged: what waits goes first, then the owner of the bus may speak."""
        if self._connection is not None:
            return
        self._connection = connection
        self.counters.connects += 1
        self._post_waiting()
        self.on_connect()
        early, self._early = self._early, []
        for message in early:
            self._received(message)

    def _received(self, message: Incoming) -> None:
        if self._connection is None:
            self._early.append(message)
            return
        self.counters.received += 1
        self.on_message(message)

    def _post_waiting(self) -> None:
        """Put on the wire what the limit allows; called for every message sent and every acknowledgement."""
        connection = self._connection
        if connection is None:
            return
        while len(self._outbox) and connection.in_flight < connection.in_flight_limit:
            connection.post(self._outbox.take())
            self.counters.sent += 1
        if not connection.in_flight:
            self._idle.set()

    async def _say_goodbye(self) -> None:
        """Publish what a last will would have said, and give all that waits a moment to leave."""
        if self._connection is None:
            return
        if self._will is not None:
            self.send(Outgoing(self._will.topic, self._will.payload, retain=True))
        self._idle.clear()
        self._post_waiting()
        with anyio.move_on_after(GOODBYE_S, shield=True):
            await self._idle.wait()
