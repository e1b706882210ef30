"""Carries out the node's actions on its drivers; every outcome comes back as a message."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from . import messages as m
from .drivers import Driver, DriverError, EngineUnavailable, Exited, ImageUnavailable, LogReader, Unsupported

log = logging.getLogger(__name__)

STARTS_AT_ONCE = 8
"""More starts in parallel make each slower and the disk no faster."""

WATCH_AGAIN_S = 1.0

LOG_LIMIT = 40 * 1024
"""Bytes of log in one answer: every byte may become six in JSON, and a message holds 256 KiB."""


class Performer:
    """Runs actions as tasks. `put` is where outcomes go."""

    def __init__(self, drivers: dict[str, Driver], put: Callable[[m.Message], None]) -> None:
        self._drivers, self._put = drivers, put
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(STARTS_AT_ONCE)

    def __call__(self, action: m.Action) -> None:
        """Begin the action; never blocks."""
        match action:
            case m.Start():
                task = self._spawn(self._start(action))
                self._starting[action.workload.id] = task
                task.add_done_callback(lambda done: self._started(action.workload.id, done))
            case m.Remove():
                self._spawn(self._remove(action))
            case m.List():
                self._spawn(self._list(action))
            case m.Fingerprint():
                self._spawn(self._fingerprint(action))
            case m.ReadLogs():
                self._spawn(self._read_logs(action))

    async def watch(self, name: str) -> None:
        """Turn one driver's events into messages, until cancelled."""
        while True:
            try:
                async for event in self._drivers[name].watch():
                    if isinstance(event, Exited):
                        self._put(m.WorkloadExited(name, event))
                    else:
                        self._put(m.EngineChanged(name, event.detail))
            except DriverError as error:
                log.warning("cannot watch %s, trying again: %s", name, error)
            await asyncio.sleep(WATCH_AGAIN_S)
            self._put(m.EngineChanged(name, "watching again"))

    async def close(self) -> None:
        """End what is under way; workloads that run go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _started(self, id: str, task: asyncio.Task[None]) -> None:
        if self._starting.get(id) is task:
            del self._starting[id]

    async def _start(self, action: m.Start) -> None:
        id = action.workload.id
        try:
            async with self._slots:
                begun = time.monotonic()
                handle = await self._drivers[action.driver].start(
                    action.workload, lambda detail: self._put(m.Progressed(id, detail))
                )
        except ImageUnavailable as error:
            self._put(m.StartFailed(id, "image", str(error)))
        except EngineUnavailable as error:
            self._put(m.StartFailed(id, "engine", str(error)))
        except Unsupported as error:
            self._put(m.StartFailed(id, "unsupported", str(error)))
        except DriverError as error:
            self._put(m.StartFailed(id, "other", str(error)))
        else:
            log.info("%s runs on %s after %.1f ms", handle.key, handle.runtime, 1000 * (time.monotonic() - begun))
            self._put(m.Started(action.driver, handle))

    async def _remove(self, action: m.Remove) -> None:
        starting = self._starting.get(action.id)
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])
        driver = self._drivers[action.driver]
        try:
            await driver.stop(action.id, action.grace_s)
            await driver.remove(action.id)
        except DriverError as error:
            self._put(m.Removed(action.id, str(error)))
        else:
            self._put(m.Removed(action.id))

    async def _list(self, action: m.List) -> None:
        try:
            handles = await self._drivers[action.driver].list()
        except DriverError as error:
            self._put(m.Listed(action.driver, action.asked_at, problem=str(error)))
        else:
            self._put(m.Listed(action.driver, action.asked_at, tuple(handles)))

    async def _fingerprint(self, action: m.Fingerprint) -> None:
        try:
            runtimes = await self._drivers[action.driver].fingerprint()
        except DriverError as error:
            self._put(m.Fingerprinted(action.driver, problem=str(error)))
        else:
            self._put(m.Fingerprinted(action.driver, tuple(runtimes)))

    async def _read_logs(self, action: m.ReadLogs) -> None:
        driver = self._drivers[action.driver]
        if not isinstance(driver, LogReader):
            self._put(m.LogsRead(action.query, error=f"driver {action.driver} keeps no logs"))
            return
        try:
            raw = await driver.logs(action.id, min(action.query.tail_bytes, LOG_LIMIT))
        except DriverError as error:
            self._put(m.LogsRead(action.query, error=str(error)))
        else:
            self._put(m.LogsRead(action.query, text=raw.decode(errors="replace")))
