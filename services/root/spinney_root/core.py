"""The root's core as its REST doors see it: commands in, answers out once durable, lifecycle events to follow."""

from __future__ import annotations

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
from .following import Followers
from .state import State

EVENTS_WAITING = 1_000
"""Per follower."""


class Core:
    """Implements `spinney_root.api.port`."""

    def __init__(self, state: State, loop: Loop, bus: Bus) -> None:
        self.state = state
        self._loop, self._bus = loop, bus
        self._followers = Followers(EVENTS_WAITING)
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
        with self._followers.follow() as coming:
            yield coming

    def ready(self) -> list[str]:
        """What keeps the root from serving, in words; empty = it serves."""
        problems = []
        if not self._bus.connected:
            problems.append("the MQTT broker is out of reach")
        if self._loop.store_problem:
            problems.append(f"cannot save: {self._loop.store_problem}")
        return problems

    def _published(self, send: Send) -> None:
        if isinstance(send.message, CloudEvent):
            self._followers.tell(send.message)


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
