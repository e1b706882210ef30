"""Tells watchers which containers ended by themselves, and when containerd went away and came back.

containerd's events are never repeated and may be missed, so they only make it fast: every few seconds, and after each
reconnect, the tasks are listed and compared with what is known to run. An end is told once.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from .. import Changed, DriverError, DriverEvent, EngineUnavailable, Exited
from .containers import memory_limit
from .engine import Engine
from .pb import events_pb2, process_pb2, task_events_pb2, types_pb2
from .tasks import exit_words

log = logging.getLogger(__name__)

_COMPARE_EVERY_S: Final = 5.0
_FIRST_RETRY_S: Final = 0.2
_LAST_RETRY_S: Final = 5.0
_MOST_WAITING: Final = 4096
"""Events a watcher may leave unread; then they become one Changed."""

_MOST_UNCLAIMED: Final = 256
_NO_CODE: Final = 255
"""The exit code told for a container whose own is lost."""


class Watcher:
    """One reader of the events."""

    def __init__(self) -> None:
        self._events = asyncio.Queue[DriverEvent](_MOST_WAITING)

    def __aiter__(self) -> AsyncIterator[DriverEvent]:
        return self

    async def __anext__(self) -> DriverEvent:
        return await self._events.get()

    def put(self, event: DriverEvent) -> None:
        """Have it read; one who does not read loses the single events but not that there were some."""
        if self._events.full():
            self._events = asyncio.Queue(_MOST_WAITING)
            event = Changed("more happened than was read")
        self._events.put_nowait(event)


class Known(Struct):
    """A container that runs, as its owner was told."""

    pid: int
    out_of_memory: bool = False


class Watch:
    """What is known to run on one engine, and who wants to hear of its end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, Known] = {}
        self._unclaimed: dict[tuple[str, int], int] = {}
        """Exit codes of (id, pid) that nobody was told of yet: it ended while its start was still being reported."""
        self._watchers = weakref.WeakSet[Watcher]()
        self._tasks: list[asyncio.Task[None]] = []

    def watcher(self) -> Watcher:
        """A new reader of events from now on."""
        watcher = Watcher()
        self._watchers.add(watcher)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep_comparing())]
        return watcher

    def runs(self, id: str, pid: int) -> None:
        """The owner has been told that this container runs; its end is news."""
        if (early := self._unclaimed.pop((id, pid), None)) is not None:
            self._tell(Exited(id, early, exit_words(early)))
        elif id not in self._known or self._known[id].pid != pid:
            self._known[id] = Known(pid)

    def forget(self, id: str) -> int:
        """The owner knows that it ends, or ended: its end is no news. The pid, 0 when it was not known to run."""
        known = self._known.pop(id, None)
        return known.pid if known else 0

    async def close(self) -> None:
        """Stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def compare(self) -> None:
        """Tell the end of everything that was known to run and does not any more; raises DriverError."""
        before = dict(self._known)
        tasks = await self._engine.tasks.list() if before else {}
        for id, known in before.items():
            task = tasks.get(id)
            if task is None:
                await self._ended(id, known.pid, None)
            elif task.status == process_pb2.STOPPED and task.pid == known.pid:
                await self._ended(id, known.pid, task.exit_status)

    async def _keep_comparing(self) -> None:
        while True:
            try:
                await self._engine.trim_logs()
                await self.compare()
            except EngineUnavailable:
                pass  # `_follow` says so, and this comes round again
            except (DriverError, OSError) as e:
                log.warning("what runs could not be compared with what should, or output not be cut: %s", e)
            await asyncio.sleep(_COMPARE_EVERY_S)

    async def _follow(self) -> None:
        """Read events for ever; when containerd is away, look for it again and again, ever more slowly."""
        delay, was_away = _FIRST_RETRY_S, False
        while True:
            began = time.monotonic()
            try:
                version = await self._engine.api.connect()
                if was_away:
                    self._tell(Changed(f"containerd {version} is back"))
                was_away = False
                await self._read()
            except DriverError as e:
                if not was_away:
                    log.warning("containerd is away: %s", e)
            was_away = True
            if time.monotonic() - began > _LAST_RETRY_S:  # it was well for a while
                delay = _FIRST_RETRY_S
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LAST_RETRY_S)

    async def _read(self) -> None:
        """Events until containerd ends the stream."""
        mine = f"namespace=={self._engine.api.namespace}"
        request = events_pb2.SubscribeRequest(filters=[f'{mine},topic=="/tasks/{t}"' for t in ("exit", "oom")])
        events = self._engine.api.stream("events.v1.Events/Subscribe", request, types_pb2.Envelope)
        async with aclosing(events):
            async for envelope in events:
                await self._heard(envelope)

    async def _heard(self, envelope: types_pb2.Envelope) -> None:
        if envelope.topic == "/tasks/oom":
            id = task_events_pb2.TaskOOM.FromString(envelope.event.value).container_id
            if id in self._known:
                self._known[id].out_of_memory = True
            return
        ended = task_events_pb2.TaskExit.FromString(envelope.event.value)
        if ended.id == ended.container_id:  # else a process that was started inside later
            await self._ended(ended.container_id, ended.pid, ended.exit_status)

    async def _ended(self, id: str, pid: int, code: int | None) -> None:
        """Tell it, unless it is not that process which was known to run, or was told already."""
        known = self._known.get(id)
        if known is None or known.pid != pid:
            if code is not None:
                self._unclaimed[id, pid] = code
            while len(self._unclaimed) > _MOST_UNCLAIMED:
                del self._unclaimed[next(iter(self._unclaimed))]
            return
        words = await self._why(id, known, code)
        if self._known.get(id) is known:  # it may have been told, or asked to end, meanwhile
            del self._known[id]
            self._tell(Exited(id, _NO_CODE if code is None else code, words))

    async def _why(self, id: str, known: Known, code: int | None) -> str:
        if code is None:
            return "its task is gone: the machine was restarted, or somebody deleted it"
        if not known.out_of_memory:
            return exit_words(code)
        container = await self._engine.containers.get(id)
        limit = memory_limit(container) // (1024 * 1024) if container else 0
        return f"out of memory (limit {limit} MiB)" if limit else "out of memory"

    def _tell(self, event: DriverEvent) -> None:
        for watcher in self._watchers:
            watcher.put(event)
