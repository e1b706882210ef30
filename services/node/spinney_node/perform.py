"""Carries out the node's actions on its drivers; every outcome comes back as a message.

A driver is somebody else's code: whatever it raises becomes an outcome in words, so that a mistake in it neither ends
the node nor leaves an instance waiting for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from spinney_shared.bounding import plain

from . import messages as m
from .drivers import Driver, DriverError, EngineUnavailable, Exited, Handle, ImageUnavailable, LogReader, Unsupported

T = TypeVar("T")

log = logging.getLogger(__name__)

STARTS_AT_ONCE = 8
"""More starts in parallel make each slower and the disk no faster."""

WATCH_AGAIN_S = 1.0
"""After a driver's events ended; doubled each time up to `LONGEST_WATCH_AGAIN_S`, for each time its runtimes are
verified again."""

LONGEST_WATCH_AGAIN_S = 60.0

LONGEST_WORDS = 2_000
"""Characters of an error of a driver."""

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
        wait_s = WATCH_AGAIN_S
        while True:
            begun = time.monotonic()
            problem = await _outcome(f"watching {name}", self._follow(name))
            if problem is not None:
                log.warning("cannot watch %s, trying again: %s", name, problem)
            if time.monotonic() - begun >= LONGEST_WATCH_AGAIN_S:
                wait_s = WATCH_AGAIN_S
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WATCH_AGAIN_S)
            self._put(m.EngineChanged(name, "watching again"))

    async def _follow(self, name: str) -> None:
        async for event in self._drivers[name].watch():
            if isinstance(event, Exited):
                self._put(m.WorkloadExited(name, event))
            else:
                self._put(m.EngineChanged(name, event.detail))

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
        id, driver = action.workload.id, self._drivers[action.driver]

        async def start() -> Handle:
            handle = await driver.start(action.workload, lambda detail: self._put(m.Progressed(id, detail)))
            if handle.id != id:
                raise ValueError(f"it was told to start {id} and says that it started {handle.id}")
            return handle

        async with self._slots:
            begun = time.monotonic()
            handle = await _outcome(f"starting {id}", start())
        if isinstance(handle, DriverError):
            self._put(m.StartFailed(id, _kind(handle), _words(handle)))
            return
        log.info("%s runs on %s after %.1f ms", handle.key, handle.runtime, 1000 * (time.monotonic() - begun))
        self._put(m.Started(action.driver, handle))

    async def _remove(self, action: m.Remove) -> None:
        starting = self._starting.get(action.id)
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])
        driver = self._drivers[action.driver]

        async def remove() -> None:
            await driver.stop(action.id, action.grace_s)
            await driver.remove(action.id)

        problem = await _outcome(f"removing {action.id}", remove())
        self._put(m.Removed(action.id, "" if problem is None else _words(problem)))

    async def _list(self, action: m.List) -> None:
        async def listed() -> tuple[Handle, ...]:
            return tuple(await self._drivers[action.driver].list())

        handles = await _outcome(f"listing what runs on {action.driver}", listed())
        if isinstance(handles, DriverError):
            self._put(m.Listed(action.driver, action.asked_at, problem=_words(handles)))
        else:
            self._put(m.Listed(action.driver, action.asked_at, handles))

    async def _fingerprint(self, action: m.Fingerprint) -> None:
        async def verified() -> m.Fingerprinted:
            return m.Fingerprinted(action.driver, tuple(await self._drivers[action.driver].fingerprint()))

        runtimes = await _outcome(f"verifying {action.driver}", verified())
        if isinstance(runtimes, DriverError):
            runtimes = m.Fingerprinted(action.driver, problem=_words(runtimes))
        self._put(runtimes)

    async def _read_logs(self, action: m.ReadLogs) -> None:
        driver = self._drivers[action.driver]
        if not isinstance(driver, LogReader):
            self._put(m.LogsRead(action.query, error=f"driver {action.driver} keeps no logs"))
            return
        raw = await _outcome(f"reading logs of {action.id}", driver.logs(action.id, _log_bytes(action)))
        if isinstance(raw, DriverError):
            self._put(m.LogsRead(action.query, error=_words(raw)))
        else:
            self._put(m.LogsRead(action.query, text=raw.decode(errors="replace")))


def _log_bytes(action: m.ReadLogs) -> int:
    return max(0, min(action.query.tail_bytes, LOG_LIMIT))


async def _outcome(what: str, work: Coroutine[Any, Any, T]) -> T | DriverError:
    """What the driver gives, or its error; any other exception is a mistake in the driver and becomes one too.

    A cancellation that nobody asked this task for comes from the driver as well (a call of its own was cancelled).
    """
    try:
        return await work
    except DriverError as error:
        return error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        mistake: BaseException = error
    except Exception as error:
        mistake = error
    log.error("mistake in the driver while %s", what, exc_info=mistake)
    return DriverError(f"mistake in the driver while {what}: {type(mistake).__name__}: {mistake}")


def _words(error: DriverError) -> str:
    return plain(str(error), LONGEST_WORDS) or type(error).__name__


def _kind(error: DriverError) -> Literal["image", "engine", "unsupported", "other"]:
    match error:
        case ImageUnavailable():
            return "image"
        case EngineUnavailable():
            return "engine"
        case Unsupported():
            return "unsupported"
    return "other"
