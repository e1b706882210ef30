"""A node's engine on the virtual clock: it outlives the node's process, and its machine may lose power."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace
from spinney_node import messages as m
from spinney_node.drivers import Exited, Handle
from spinney_shared.model import RuntimeInfo

from .network import Clock

RUNTIMES = (
    RuntimeInfo("runc", "engine", "verified", default=True),
    RuntimeInfo("crun", "engine", "verified"),
    RuntimeInfo("runsc", "engine", "failed", reason="cannot run with network enabled"),
)


class Engine:
    """Carries out the node's actions; outcomes go to whichever process is there when they happen."""

    def __init__(self, clock: Clock, rng: random.Random, tell: Callable[[m.Message], None]) -> None:
        self.clock, self.rng, self.tell = clock, rng, tell
        self.handles: dict[str, Handle] = {}
        self.memory: dict[str, int] = {}
        self.starting: dict[str, tuple[int, m.Start]] = {}
        self.starts: list[tuple[str, int, int]] = []
        """(microservice, number, generation) of every start that succeeded"""
        self.failing = 0.0
        self.slowest = 1.0

    def perform(self, action: Any) -> None:
        delay = self.rng.random() * self.slowest
        match action:
            case m.Fingerprint():
                self.clock.after(delay, lambda: self.tell(m.Fingerprinted("engine", RUNTIMES)))
            case m.List():
                handles = tuple(self.handles.values())
                self.clock.after(delay / 4, lambda: self.tell(m.Listed("engine", action.asked_at, handles)))
            case m.Start():
                ticket = self.rng.getrandbits(32)
                self.starting[action.workload.id] = (ticket, action)
                self.clock.after(delay, lambda: self._start(action, ticket))
            case m.Remove():
                self.starting.pop(action.id, None)
                self.clock.after(delay, lambda: self._remove(action))
            case m.ReadLogs():
                self.tell(m.LogsRead(action.query, "a line\n"))

    def _start(self, action: m.Start, ticket: int) -> None:
        work = action.workload
        if self.starting.get(work.id, (0, None))[0] != ticket:
            return  # removed, or lost with the process or the machine
        del self.starting[work.id]
        if self.rng.random() < self.failing:
            self.tell(m.StartFailed(work.id, "other", "did not start"))
            return
        before = self.handles.get(work.id)
        if before is None or before.state == "stopped":
            self.handles[work.id] = Handle(
                work.id, work.spec.id, work.number, work.spec.generation, work.runtime, "running", self.clock.now
            )
            self.memory[work.id] = work.spec.resources.memory_mib
            self.starts.append((work.spec.id, work.number, work.spec.generation))
        self.tell(m.Started("engine", self.handles[work.id]))

    def _remove(self, action: m.Remove) -> None:
        self.handles.pop(action.id, None)
        self.tell(m.Removed(action.id))

    def process_died(self) -> None:
        """What was being started either got as far as the engine, which finishes it, or never happens."""
        for ticket, action in list(self.starting.values()):
            if self.rng.random() < 0.5:
                self._start(action, ticket)
        self.starting.clear()

    def power_cut(self) -> None:
        self.starting.clear()
        for id, handle in self.handles.items():
            self.handles[id] = replace(handle, state="stopped", exit_code=None)

    def crash_one(self) -> tuple[str, int, int] | None:
        """Some running workload ends by itself."""
        running = [h for h in self.handles.values() if h.state == "running"]
        if not running:
            return None
        handle = self.rng.choice(running)
        self.handles[handle.id] = replace(handle, state="stopped", exit_code=1)
        self.tell(m.WorkloadExited("engine", Exited(handle.id, 1)))
        return handle.microservice, handle.number, handle.generation

    def running(self) -> list[Handle]:
        return [h for h in self.handles.values() if h.state == "running"]

    def memory_used(self) -> int:
        return sum(self.memory[id] for id, handle in self.handles.items() if handle.state == "running")
