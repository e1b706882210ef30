"""A driver that runs nothing and behaves as told: how 10,000 instances on 1,000 nodes fit into one process.

It is part of the product: it answers "what would Spinney do with this application on a hundred machines?" without the
machines, it carries the simulation and the load test, and it passes the same conformance suite as the real drivers.

A workload says by its environment (or its labels of the same names; the environment wins) how it behaves:

=========================  ======================================================================================
``SIMULATE_START_S``       seconds until it runs; the node's ``start_s`` when absent
``SIMULATE_EXIT_AFTER_S``  it ends by itself after running so many seconds; absent: it stays
``SIMULATE_EXIT_CODE``     the exit code of that end, 0-255; 0 when absent
``SIMULATE_STOP_S``        seconds it needs to end when asked; longer than the grace: it is killed
``SIMULATE_FAIL``          starting it fails: ``image``, ``engine``, ``start`` or ``unsupported``
``SIMULATE_OUTPUT``        a line it prints
=========================  ======================================================================================

Settings of a node: see `Settings`. What "runs" lives in a `World`; several driver objects on one world model a node
process that was killed and started again while its instances ran on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from spinney_shared.model import MicroserviceSpec, Resources, RuntimeInfo

from . import (
    Changed,
    DriverError,
    DriverEvent,
    EngineUnavailable,
    Exited,
    Handle,
    ImageUnavailable,
    Unsupported,
    Workload,
)

MAX_UNREAD_EVENTS = 10_000
"""A watcher that falls further behind is told to list again instead."""

LONGEST_S = 86_400.0
"""No simulated delay is longer than a day: a bigger number is a slip of the pen."""

_PREFIX = "SIMULATE_"
_TERMINATED, _KILLED = 143, 137  # 128 + SIGTERM, 128 + SIGKILL: as a shell reports them


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the node's configuration may say about this driver."""

    runtimes: tuple[str, ...] = ("simulated",)
    """Names announced as verified; the first is the default."""
    failed: dict[str, str] = {}
    """Names announced as failed → the reason."""
    capacity: Resources | None = None
    """What all running workloads together may reserve; none = no limit."""
    start_s: float = 0.0
    """Seconds a start takes when the workload does not say."""


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """How one workload behaves."""

    start_s: float | None = None
    exit_after_s: float | None = None
    exit_code: int = 0
    stop_s: float = 0.0
    fail: Literal["", "image", "engine", "start", "unsupported"] = ""
    output: str = ""


_PLAIN = Script()

_FAILURES: dict[str, tuple[type[DriverError], str]] = {
    "image": (ImageUnavailable, "{spec.image}: not found"),
    "engine": (EngineUnavailable, "the engine went away"),
    "start": (DriverError, "{spec.job_name} did not start"),
    "unsupported": (Unsupported, "{spec.job_name} cannot run here"),
}


def script_of(spec: MicroserviceSpec) -> Script:
    """The behaviour that a specification asks for; raises Unsupported naming the bad entry."""
    told = {name: value for name, value in spec.labels.items() if name.startswith(_PREFIX)}
    for entry in spec.environment:
        name, _, value = entry.partition("=")
        if name.startswith(_PREFIX):
            told[name] = value
    if not told:
        return _PLAIN
    fields = {name.removeprefix(_PREFIX).lower(): value for name, value in told.items()}
    try:
        script = msgspec.convert(fields, Script, strict=False)
    except msgspec.ValidationError as error:
        raise Unsupported(f"the simulated driver cannot follow {sorted(told)}: {error}") from error
    for name in ("start_s", "exit_after_s", "stop_s"):
        seconds = getattr(script, name)
        if seconds is not None and not 0 <= seconds <= LONGEST_S:
            raise Unsupported(f"{_PREFIX}{name.upper()}={seconds}: must be between 0 and {LONGEST_S:.0f} seconds")
    if not 0 <= script.exit_code <= 255:
        raise Unsupported(f"{_PREFIX}EXIT_CODE={script.exit_code}: must be between 0 and 255")
    return script


class _Copy:
    """One workload in a world: what is seen of it, how it behaves, and the timer of its own end if it has one."""

    __slots__ = ("handle", "resources", "script", "timer")

    def __init__(self, handle: Handle, script: Script, resources: Resources) -> None:
        self.handle, self.script, self.resources = handle, script, resources
        self.timer: asyncio.TimerHandle | None = None

    def end(self, exit_code: int | None, detail: str) -> None:
        """It runs no more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.handle = replace(self.handle, state="stopped", exit_code=exit_code, detail=detail)


class World:
    """The simulated engine of one machine: it goes on while driver objects come and go."""

    def __init__(self) -> None:
        self.away = ""
        """Why the engine cannot be reached; empty = it is there."""
        self.copies: dict[str, _Copy] = {}
        self.watchers: set[asyncio.Queue[DriverEvent]] = set()
        """Each gets every event from the moment it is added."""

    def engine(self, away: str) -> None:
        """Take the engine away (with a reason) or bring it back (empty); workloads run on."""
        self.away = away
        self._tell(Changed(f"the engine is away: {away}" if away else "the engine is back"))

    def end(self, id: str, exit_code: int, detail: str = "") -> None:
        """A running workload ends by itself, or by someone else's hand; nothing happens when it does not run."""
        copy = self.copies.get(id)
        if copy is not None and copy.handle.state == "running":
            copy.end(exit_code, detail)
            self._tell(Exited(id, exit_code, detail))

    def power_cut(self) -> None:
        """Everything stops at once and nobody is told: the machine comes up with stopped leftovers."""
        for copy in self.copies.values():
            copy.end(None, "the machine went down")

    def _tell(self, event: DriverEvent) -> None:
        for queue in self.watchers:
            if queue.qsize() < MAX_UNREAD_EVENTS:
                queue.put_nowait(event)
                continue
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(Changed(f"more than {MAX_UNREAD_EVENTS} events were waiting; they were dropped"))


class SimulatedDriver:
    """Driver and LogReader over a `World`; costs one dictionary entry per workload, and a timer only where asked."""

    name = "simulated"

    def __init__(
        self, settings: Mapping[str, Any], world: World | None = None, now: Callable[[], float] = time.time
    ) -> None:
        """`now` gives wall-clock seconds. Raises msgspec.ValidationError for settings that are not right."""
        self.settings = msgspec.convert(dict(settings), Settings)
        self.world = world or World()
        self._now = now
        self._queues: set[asyncio.Queue[DriverEvent]] = set()

    async def fingerprint(self) -> list[RuntimeInfo]:
        """The runtimes of the settings."""
        self._reach()
        names, source = self.settings.runtimes, "settings of the simulated driver"
        verified = [
            RuntimeInfo(name, self.name, "verified", "simulated", isolation="none: nothing runs", source=source)
            for name in names
        ]
        failed = [
            RuntimeInfo(name, self.name, "failed", "simulated", reason=reason, source=source)
            for name, reason in self.settings.failed.items()
        ]
        return [replace(info, default=info.name == names[0]) for info in verified] + failed

    async def list(self) -> list[Handle]:
        """Every workload of this world."""
        self._reach()
        return [copy.handle for copy in self.world.copies.values()]

    async def start(self, workload: Workload, progress: Callable[[str], None]) -> Handle:
        """Run it, as its script says; raises what the script asks for, or Unsupported for a script with mistakes."""
        self._reach()
        if (running := self._running(workload.id)) is not None:
            return running
        script = self._admit(workload)
        self.world.copies.pop(workload.id, None)
        delay_s = self.settings.start_s if script.start_s is None else script.start_s
        if delay_s > 0:
            progress(f"simulating a start of {delay_s:g} s")
            await asyncio.sleep(delay_s)
            self._reach()
            if (running := self._running(workload.id)) is not None:
                return running
        if script.fail:
            kind, words = _FAILURES[script.fail]
            raise kind(f"{words.format(spec=workload.spec)}, as {_PREFIX}FAIL says")
        self._fit(workload)
        return self._run(workload, script)

    async def stop(self, id: str, grace_s: float) -> None:
        """End it; takes as long as its script says, at most the grace."""
        self._reach()
        if self._running(id) is None:
            return
        copy = self.world.copies[id]
        in_time = copy.script.stop_s <= grace_s
        if (wait_s := min(copy.script.stop_s, grace_s)) > 0:
            await asyncio.sleep(wait_s)
        if copy.handle.state == "running":
            copy.end(*(_TERMINATED, "ended when asked") if in_time else (_KILLED, f"killed after {grace_s:g} s"))

    async def remove(self, id: str) -> None:
        """Forget it, running or not."""
        self._reach()
        copy = self.world.copies.pop(id, None)
        if copy is not None:
            copy.end(_KILLED, "removed")

    def watch(self) -> AsyncIterator[DriverEvent]:
        """Events of the world from this call on."""
        queue: asyncio.Queue[DriverEvent] = asyncio.Queue()
        self.world.watchers.add(queue)
        self._queues.add(queue)
        return self._events(queue)

    async def close(self) -> None:
        """Stop watching; the world goes on."""
        self.world.watchers -= self._queues
        self._queues.clear()

    async def logs(self, id: str, tail_bytes: int) -> bytes:
        """The end of what the script prints."""
        self._reach()
        copy = self.world.copies.get(id)
        printed = f"{copy.script.output}\n".encode() if copy is not None and copy.script.output else b""
        return printed[-tail_bytes:] if tail_bytes > 0 else b""

    async def _events(self, queue: asyncio.Queue[DriverEvent]) -> AsyncIterator[DriverEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            self.world.watchers.discard(queue)
            self._queues.discard(queue)

    def _reach(self) -> None:
        if self.world.away:
            raise EngineUnavailable(self.world.away)

    def _running(self, id: str) -> Handle | None:
        copy = self.world.copies.get(id)
        return copy.handle if copy is not None and copy.handle.state == "running" else None

    def _admit(self, workload: Workload) -> Script:
        if workload.runtime not in self.settings.runtimes:
            raise Unsupported(f"no runtime {workload.runtime} here; there are: {', '.join(self.settings.runtimes)}")
        return script_of(workload.spec)

    def _fit(self, workload: Workload) -> None:
        """Raises DriverError when the machine has not enough left."""
        if self.settings.capacity is None:
            return
        left = self.settings.capacity
        for copy in self.world.copies.values():
            if copy.handle.state == "running":
                left = left - copy.resources
        if short := left.short_of(workload.spec.resources):
            raise DriverError(f"not enough {', '.join(short)} left on this machine")

    def _run(self, workload: Workload, script: Script) -> Handle:
        spec = workload.spec
        handle = Handle(
            workload.id, spec.id, workload.number, spec.generation, workload.runtime, "running", self._now()
        )
        copy = self.world.copies[workload.id] = _Copy(handle, script, spec.resources)
        if script.exit_after_s is not None:
            loop = asyncio.get_running_loop()
            copy.timer = loop.call_later(script.exit_after_s, self.world.end, workload.id, script.exit_code)
        return handle
