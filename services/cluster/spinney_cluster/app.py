"""The cluster's composition root: opens what the process needs, hands it over, closes it by scope."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from importlib.metadata import version

import msgspec
from spinney_shared import topics
from spinney_shared.bus import Will
from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.loop import Loop, load_patiently, save_patiently
from spinney_shared.messages import Presence
from spinney_shared.model import Location
from spinney_shared.running import wire
from spinney_shared.store.mongo import MongoStore

from .config import ClusterSettings
from .decide import decide, settle
from .state import KINDS, State, begin

_HEARS = (topics.NODE_REPORT, topics.NODE_ANNOUNCE, topics.NODE_PRESENCE, topics.NODE_ANSWER)


async def run(settings: ClusterSettings) -> None:
    """Run the cluster until cancelled."""
    async with AsyncExitStack() as stack:
        store = MongoStore(settings.mongo.url.reveal(), settings.mongo.database, KINDS)
        stack.push_async_callback(store.close)
        state = begin(settings.name, await load_patiently(store), random.SystemRandom(), time.time())
        await save_patiently(store, state.take_changes())
        _configure(state, settings)
        bus = MqttBus(
            settings.mqtt,
            f"spinney-cluster-{settings.name}",
            subscriptions=[
                topics.CLUSTER_DESIRED.format(cluster=settings.name),
                topics.CLUSTER_QUERY.format(cluster=settings.name),
                *(row.filter(cluster=settings.name) for row in _HEARS),
            ],
            will=_will(state),
        )
        loop = Loop(state=state, decide=decide, settle=settle, store=store, bus=bus)
        wire(bus, loop)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run())
            tasks.create_task(loop.run())


def _configure(state: State, settings: ClusterSettings) -> None:
    if settings.latitude is not None and settings.longitude is not None:
        state.location = Location(settings.latitude, settings.longitude)
    state.radius_km, state.host_ip = settings.radius_km, settings.host_ip
    state.report_every_s, state.will_grace_s = settings.report_every_s, settings.will_grace_s
    state.version = version("spinney-cluster")


def _will(state: State) -> Will:
    gone = Presence(id=state.ids(), session=state.member.session, online=False)
    return Will(topics.CLUSTER_PRESENCE.format(cluster=state.name), msgspec.json.encode(gone))
