"""The node's composition root: opens what the process needs, hands it over, closes it by scope."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from importlib.metadata import entry_points, version

import msgspec
from msgspec.structs import replace
from spinney_shared import topics
from spinney_shared.bus import Will
from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.config import ConfigError
from spinney_shared.loop import Loop, clock, load_patiently
from spinney_shared.messages import Presence
from spinney_shared.model import Location, NodeInfo
from spinney_shared.running import wire
from spinney_shared.store.sqlite import SqliteStore

from . import machine
from . import messages as m
from .config import NodeSettings
from .decide import decide, settle, start_actions
from .drivers import Driver
from .perform import Performer
from .state import KINDS, State, begin

SAMPLE_EVERY_S = 10.0
"""The machine's load is for people; reading it more often would be load itself."""


async def run(settings: NodeSettings) -> None:
    """Run the node until cancelled; the instances go on without it."""
    async with AsyncExitStack() as stack:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        drivers = load_drivers(settings)
        for driver in drivers.values():
            stack.push_async_callback(driver.close)
        store = SqliteStore(settings.state_dir / "node.sqlite", KINDS)
        stack.push_async_callback(store.close)
        records = await load_patiently(store)
        state = begin(
            info_of(settings), settings.cluster, drivers, records, random.SystemRandom(), machine.fingerprint()
        )
        state.report_every_s = settings.report_every_s
        await store.save(state.take_changes())  # the id is durable before anyone hears of it
        bus = _bus(settings, state)
        loop = Loop(state=state, decide=decide, settle=settle, store=store, bus=bus)
        loop.perform = performer = Performer(drivers, loop.inbox.put)
        stack.push_async_callback(performer.close)
        wire(bus, loop)
        for action in start_actions(state.drivers, clock()):
            performer(action)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run())
            tasks.create_task(loop.run())
            tasks.create_task(_sample(loop))
            for name in drivers:
                tasks.create_task(performer.watch(name))


def load_drivers(settings: NodeSettings) -> dict[str, Driver]:
    """The drivers that the settings name, from the entry points; raises ConfigError for one that is not there."""
    found = {point.name: point for point in entry_points(group="spinney.drivers")}
    drivers: dict[str, Driver] = {}
    for name, own in settings.drivers.items():
        if name not in found:
            raise ConfigError([f"drivers.{name}: no such driver is installed (there are: {', '.join(sorted(found))})"])
        try:
            drivers[name] = found[name].load()(own)
        except (msgspec.ValidationError, ValueError) as error:
            raise ConfigError([f"drivers.{name}: {error}"]) from None
    return drivers


def info_of(settings: NodeSettings) -> NodeInfo:
    """What the node says of itself, before its runtimes are known."""
    have = machine.capacity(settings.state_dir)
    own = {name: value for name in ("memory_mib", "cpu_milli", "storage_mib") if (value := getattr(settings, name))}
    placed = settings.latitude is not None and settings.longitude is not None
    return NodeInfo(
        name=settings.name or machine.host_name(),
        arch=machine.architecture(),
        capacity=replace(have, **own),
        labels=settings.labels,
        host_ip=settings.host_ip,
        version=version("spinney-node"),
        location=Location(settings.latitude or 0.0, settings.longitude or 0.0) if placed else None,
    )


def _bus(settings: NodeSettings, state: State) -> MqttBus:
    names = {"cluster": settings.cluster, "node": state.meta.node}
    gone = Presence(id=state.ids(), session=state.member.session, online=False)
    return MqttBus(
        settings.mqtt,
        f"spinney-node-{state.meta.node}",
        subscriptions=[topics.NODE_DESIRED.format(**names), topics.NODE_QUERY.format(**names)],
        will=Will(topics.NODE_PRESENCE.format(**names), msgspec.json.encode(gone)),
    )


async def _sample(loop: Loop) -> None:
    before = machine.sample()
    while True:
        await asyncio.sleep(SAMPLE_EVERY_S)
        after = machine.sample()
        loop.inbox.put(m.Sampled(machine.usage(before, after)))
        before = after
