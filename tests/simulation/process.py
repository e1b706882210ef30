"""A process of a tier: real decide, settle and state; a durable disk; and a crash wherever it hurts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from spinney_shared.bus import Incoming
from spinney_shared.deciding import Connected, Decision, Disconnected, Now, Tick, step
from spinney_shared.loop import encoded
from spinney_shared.receiving import Receiver
from spinney_shared.saving import Unsaved
from spinney_shared.store import Change, Put, Record

from .network import Broker, Client, Clock

TICK_S = 1.0


class Process:
    """Restartable. `make(records)` builds the state of a new life from what the disk holds."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        broker: Broker,
        rng: random.Random,
        service: Any,
        make: Callable[[list[Record]], Any],
        subscribed: Callable[[str], bool],
        perform: Callable[[Any], None] = lambda action: None,
    ) -> None:
        self.name, self.clock, self.broker, self.rng = name, clock, broker, rng
        self.decide, self.settle, self.make, self.perform = service.decide, service.settle, make, perform
        self.disk: dict[tuple[str, str], Record] = {}
        self.receiver = Receiver()
        self.alive = False
        self.life = 0
        self.inbox: list[Any] = []
        self.scheduled = False
        self.state: Any = None
        self.crash_at: str = ""
        """Where the next turn dies: before save, after save, while telling."""
        self.replies: dict[int, Any] = {}
        self.started: Callable[[], list[Any]] = lambda: []
        """The first actions of a life."""
        self.planted: str = ""
        """A protocol bug planted on purpose: the name of it."""
        broker.clients[name] = Client(self._deliver, subscribed, up=False)

    def start(self) -> None:
        self.alive, self.life, self.inbox, self.scheduled = True, self.life + 1, [], False
        self.unsaved = Unsaved()
        self.state = self.make(list(self.disk.values()))
        self._write(self.state.take_changes())  # as the services do before they connect
        for action in self.started():
            self.perform(action)
        self.broker.connect(self.name)
        self.put(Connected())
        self._tick(self.life)

    def die(self, after: Callable[[], None] | None = None) -> None:
        if self.alive:
            self.alive = False
            life = self.life
            self.clock.after(
                0.05 + self.rng.random() * 0.5,
                lambda: self.broker.drop(self.name, will=True) if self.life == life and not self.alive else None,
            )
            self.broker.clients[self.name].up = False
            if after:
                after()

    def disconnect(self) -> None:
        if self.alive:
            self.broker.drop(self.name)
            self.put(Disconnected())

    def reconnect(self) -> None:
        if self.alive:
            self.broker.connect(self.name)
            self.put(Connected())

    def put(self, message: Any) -> None:
        if not self.alive:
            return
        self.inbox.append(message)
        if not self.scheduled:
            self.scheduled = True
            life = self.life
            self.clock.after(self.rng.random() * 0.01, lambda: self._turn(life))

    def _deliver(self, incoming: Incoming) -> None:
        received = self.receiver.receive(incoming) if self.alive else None
        if received is not None:
            self.put(received)

    def _tick(self, life: int) -> None:
        if self.alive and self.life == life:
            self.put(Tick())
            self.clock.after(TICK_S, lambda: self._tick(life))

    def _turn(self, life: int) -> None:
        if not self.alive or self.life != life:
            return
        batch, self.inbox, self.scheduled = self.inbox, [], False
        now = Now(self.clock.now + 1000.0, self.clock.now + 1.7e9)
        decision = step(self.decide, self.settle, self.state, batch, now)
        crash, self.crash_at = self.crash_at, ""
        if self.planted == "tell before save":
            self._tell(decision, "")
        if crash == "before save":
            return self.die(self.on_crash)
        self.unsaved.add(decision.changes)
        ticked = any(isinstance(message, Tick) for message in batch)
        changes = self.unsaved.everything() if ticked else self.unsaved.urgent()
        self.unsaved.saved(changes)
        self._write(changes)
        if crash == "after save":
            return self.die(self.on_crash)
        if self.planted != "tell before save":
            self._tell(decision, crash)
        if crash:
            self.die(self.on_crash)
        return None

    def _write(self, changes: list[Change]) -> None:
        for change in changes:
            if isinstance(change, Put):
                self.disk[change.record.kind, change.record.key] = change.record
            else:
                self.disk.pop((change.kind, change.key), None)

    on_crash: Callable[[], None] | None = None

    def _tell(self, decision: Decision, crash: str) -> None:
        sends = decision.sends
        if crash == "while telling":
            sends = sends[: self.rng.randrange(len(sends) + 1)]
        for send in sends:
            out = encoded(send)
            self.broker.publish(self.name, out.topic, out.payload, out.retain)
        if not crash:
            for reply in decision.replies:
                self.replies[reply.token] = reply.result
            for action in decision.actions:
                self.perform(action)
