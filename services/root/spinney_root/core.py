"""The root's core as its REST doors see it: commands in, answers out once durable, lifecycle events to follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spinney_shared import topics
from spinney_shared.bus import Bus
from spinney_shared.deciding import Send
from spinney_shared.loop import Loop
from spinney_shared.messages import Answer, CloudEvent, EventResult
from spinney_shared.model import InstanceKey

from .api.port import LogsUnavailable
from .commands import AnyCommand
from .decide import Asked, AskedLogs
from .state import State

EVENTS_WAITING = 1_000
"""Per follower; one that reads more slowly loses the oldest, not the root its memory."""


class Core:
    """Implements `spinney_root.api.port`."""

    def __init__(self, state: State, loop: Loop, bus: Bus) -> None:
        self.state = state
        self._loop, self._bus = loop, bus
        self._followers: set[asyncio.Queue[CloudEvent]] = set()
        loop.on_send = self._published

    async def command(self, command: AnyCommand) -> EventResult:
        """Carry out a command; returns when the outcome is durable."""
        return await self._loop.call(lambda token: Asked(token, command))

    async def logs(self, at: InstanceKey, tail_bytes: int) -> str:
        """The end of an instance's log, fetched from its node; raises LogsUnavailable with the reason."""
        answer: Answer = await self._loop.call(lambda token: AskedLogs(token, at, tail_bytes))
        if answer.error:
            raise LogsUnavailable(answer.error)
        return answer.text

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[CloudEvent]]:
        """Lifecycle events from now on."""
        queue: asyncio.Queue[CloudEvent] = asyncio.Queue(EVENTS_WAITING)
        self._followers.add(queue)
        try:
            yield _events(queue)
        finally:
            self._followers.discard(queue)

    def ready(self) -> list[str]:
        """What keeps the root from serving, in words; empty = it serves."""
        problems = []
        if not self._bus.connected:
            problems.append("the MQTT broker is out of reach")
        if self._loop.store_problem:
            problems.append(f"cannot save: {self._loop.store_problem}")
        return problems

    def _published(self, send: Send) -> None:
        if not self._followers or not isinstance(send.message, CloudEvent):
            return
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(send.message)


async def _events(queue: asyncio.Queue[CloudEvent]) -> AsyncIterator[CloudEvent]:
    while True:
        yield await queue.get()


SUBSCRIPTIONS = (
    topics.DEPLOY,
    topics.UNDEPLOY,
    topics.SCALE,
    topics.CLUSTER_PRESENCE,
    topics.CLUSTER_ANNOUNCE,
    topics.CLUSTER_REPORT,
    topics.CLUSTER_ANSWER,
)
"""What the root listens to."""
