"""Many simulated nodes in one process: ``python -m spinney_node.many --config FILE`` (`SPINNEY_MANY__…`).

"What would Spinney do with this application on a thousand machines?" needs no thousand machines: every node here is
the node's own core (`state`, `decide`) with the simulated driver; only the shell around it is shared. One connection
to the broker carries them all, one loop decides for all, one ticker visits them in turn. An idle node costs its
heartbeat and a few kilobytes.

What differs from real nodes: nothing is on a disk, so the end of the process is a power cut for all of its nodes, which
come back empty, under the ids they had. And one connection has one Last Will, too few for many nodes: an orderly end
publishes that each of them is offline; after a kill their owner finds out by their silence.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from msgspec import Meta as Limits
from msgspec import Struct, field
from spinney_shared import topics
from spinney_shared.bus import Bus, Incoming
from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.config import ConfigError, MqttSettings
from spinney_shared.deciding import Connected, Disconnected, Send, Tick, step
from spinney_shared.loop import TICK_S, Inbox, clock, encoded
from spinney_shared.messages import Presence
from spinney_shared.model import NodeInfo, Resources
from spinney_shared.receiving import Receiver
from spinney_shared.running import ServiceSettings
from spinney_shared.running import main as run_service

from . import machine
from . import messages as m
from .decide import decide, settle, start_actions
from .drivers.simulated import SimulatedDriver
from .perform import Performer
from .state import Meta, State, begin

SLICES = 10
"""The ticker visits a tenth of the nodes at a time, so that their heartbeats do not come in one wave."""

log = logging.getLogger(__name__)


class Capacity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What instances on one simulated node may reserve in all."""

    memory_mib: int = 16_384
    cpu_milli: int = 8_000
    storage_mib: int = 100_000


class ManySettings(ServiceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    cluster: str
    """The cluster they all join."""
    nodes: Annotated[int, Limits(ge=1, le=100_000)] = 1_000
    name: str = "simulated"
    """Node 7 is called ``simulated-7``; several processes in one cluster need different names."""
    mqtt: MqttSettings = MqttSettings()
    capacity: Capacity = Capacity()
    driver: dict[str, Any] = field(default_factory=dict)
    """Settings of the simulated driver, the same for every node."""
    labels: dict[str, str] = field(default_factory=dict)
    report_every_s: Annotated[float, Limits(gt=0)] = 3.0
    """Heartbeat of each node when there is no news."""


class Simulated:
    """One of the nodes: its core, and the hands that act for it."""

    def __init__(
        self, state: State, driver: SimulatedDriver, put: Callable[[tuple[Simulated, m.Message]], None]
    ) -> None:
        self.state = state
        self.performer = Performer({driver.name: driver}, lambda message: put((self, message)))

    def names(self) -> dict[str, str]:
        """What stands for this node in its topics."""
        return {"cluster": self.state.cluster, "node": self.state.meta.node}


class Fleet:
    """All the nodes, one inbox for them, and the loop that decides for each what concerns it."""

    def __init__(self, settings: ManySettings, bus: Bus) -> None:
        """Raises ConfigError for driver settings that are not right."""
        self.inbox = Inbox()
        self._bus = bus
        self._report_every_s = settings.report_every_s
        states = [_begin(settings, number) for number in range(settings.nodes)]
        self.nodes = [Simulated(state, _driver(settings), self.inbox.put) for state in states]
        self._by_id = {node.state.meta.node: node for node in self.nodes}
        self._receiver = Receiver()
        self._joining: asyncio.Task[None] | None = None
        bus.on_message, bus.on_connect, bus.on_disconnect = self._heard, self._connected, self._lost

    async def run(self) -> None:
        """Decide until cancelled; then tell the broker that every node is offline."""
        now = clock()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ticks())
            for node in self.nodes:
                tasks.create_task(node.performer.watch(SimulatedDriver.name))
                for action in start_actions(node.state.drivers, now):
                    node.performer(action)
            try:
                while True:
                    self._turn(await self.inbox.drain())
                    await asyncio.sleep(0)  # the connection must get its share
            finally:
                await self._end()

    def _turn(self, batch: list[tuple[Simulated, m.Message]]) -> None:
        """Every node concerned takes one step with all that came for it. Memory is all there is: nothing to save."""
        messages: dict[Simulated, list[m.Message]] = {}
        for node, message in batch:
            messages.setdefault(node, []).append(message)
        now = clock()
        for node, mine in messages.items():
            decision = step(decide, settle, node.state, mine, now)
            for send in decision.sends:
                self._bus.send(encoded(send))
            for action in decision.actions:
                node.performer(action)

    async def _ticks(self) -> None:
        number = 0
        while True:
            for node in self.nodes[number::SLICES]:
                self.inbox.put((node, Tick()))
            number = (number + 1) % SLICES
            await asyncio.sleep(TICK_S / SLICES)

    async def _join(self) -> None:
        """Bring the nodes in over one heartbeat's interval: a thousand at once help nobody."""
        for start in range(SLICES):
            for node in self.nodes[start::SLICES]:
                self.inbox.put((node, Connected()))
            await asyncio.sleep(self._report_every_s / SLICES)

    async def _end(self) -> None:
        if self._joining is not None:
            self._joining.cancel()
        for node in self.nodes:
            await node.performer.close()
            gone = Presence(id=node.state.ids(), session=node.state.member.session, online=False)
            self._bus.send(encoded(Send(topics.NODE_PRESENCE.format(**node.names()), gone, retain=True)))

    def _heard(self, incoming: Incoming) -> None:
        received = self._receiver.receive(incoming)
        node = self._by_id.get(received.names.get("node", "")) if received is not None else None
        if node is not None and received is not None:
            self.inbox.put((node, received))

    def _connected(self) -> None:
        self._joining = asyncio.create_task(self._join())

    def _lost(self, why: str) -> None:
        log.warning("the broker is out of reach: %s", why)
        if self._joining is not None:
            self._joining.cancel()
        for node in self.nodes:
            self.inbox.put((node, Disconnected()))


def _begin(settings: ManySettings, number: int) -> State:
    """The node as if it had been started before: the same id every time, and a session newer than any earlier one."""
    name = f"{settings.name}-{number}"
    id = hashlib.sha256(f"{settings.cluster}/{name}".encode()).hexdigest()[:24]
    remembered = Meta(node=id, machine=id, starts=int(clock().wall * 1000))
    info = NodeInfo(
        name=name,
        arch=machine.architecture(),
        capacity=Resources(
            **msgspec.structs.asdict(settings.capacity),
            in_mbit=machine.UNLIMITED_MBIT,
            out_mbit=machine.UNLIMITED_MBIT,
        ),
        labels=settings.labels,
        version=version("spinney-node"),
    )
    rng = random.SystemRandom()
    state = begin(info, settings.cluster, [SimulatedDriver.name], [remembered], rng, id)
    state.take_changes()
    # Heartbeats that a burst of news brought into step drift apart again.
    state.report_every_s = settings.report_every_s * rng.uniform(0.8, 1.0)
    return state


def _driver(settings: ManySettings) -> SimulatedDriver:
    try:
        return SimulatedDriver(settings.driver)
    except msgspec.ValidationError as error:
        raise ConfigError([f"driver: {error}"]) from None


async def run(settings: ManySettings) -> None:
    """Run all the nodes until cancelled. Raises ConfigError for settings that cannot be used."""
    bus = MqttBus(settings.mqtt, f"spinney-many-{settings.cluster}-{settings.name}")
    fleet = Fleet(settings, bus)
    rows = (topics.NODE_DESIRED, topics.NODE_QUERY)
    bus.subscribe(row.format(**node.names()) for node in fleet.nodes for row in rows)
    log.info("%d simulated nodes join cluster %s", len(fleet.nodes), settings.cluster)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bus.run())
        await fleet.run()


def main() -> None:
    """Entry point."""
    run_service("spinney-many", ManySettings, run)


if __name__ == "__main__":
    main()
