"""The root's composition root: opens what the process needs, hands it over, closes it by scope."""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import AsyncExitStack

from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.loop import Loop, load_patiently
from spinney_shared.running import wire
from spinney_shared.store.mongo import MongoStore

from .api.app import create_app
from .api.server import serve
from .auth import first_admin
from .config import RootSettings
from .core import SUBSCRIPTIONS, Core
from .decide import decide, settle
from .state import KINDS, begin


async def run(settings: RootSettings) -> None:
    """Run the root until cancelled."""
    async with AsyncExitStack() as stack:
        store = MongoStore(settings.mongo.url.reveal(), settings.mongo.database, KINDS)
        stack.push_async_callback(store.close)
        state = begin(await load_patiently(store), random.SystemRandom(), secrets.token_urlsafe(32))
        if not state.users:
            first_admin(state, settings.admin)
        bus = MqttBus(
            settings.mqtt,
            "spinney-root",
            subscriptions=[row.filter() for row in SUBSCRIPTIONS],
            resume=True,  # events published while no root runs wait at the broker
        )
        loop = Loop(state=state, decide=decide, settle=settle, store=store, bus=bus)
        wire(bus, loop)
        core = Core(state, loop, bus)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bus.run())
            tasks.create_task(loop.run())
            tasks.create_task(serve(create_app(core, settings), settings.http.host, settings.http.port))
