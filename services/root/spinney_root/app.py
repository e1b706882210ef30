"""The root's composition root: opens what the process needs, hands it over, closes it by scope."""

from __future__ import annotations

import asyncio
import ctypes
import random
import secrets
import time
from contextlib import AsyncExitStack
from importlib.metadata import version

from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.loop import Loop, load_patiently
from spinney_shared.running import wire
from spinney_shared.store.mongo import MongoStore

from .api.app import create_app
from .api.port import ApiSettings
from .api.server import serve
from .auth import first_admin
from .config import AdminSettings, RootSettings
from .core import SUBSCRIPTIONS, Core
from .decide import decide, settle
from .state import KINDS, State, begin

_MMAP_THRESHOLD = -3
"""mallopt's name for: larger blocks are the kernel's, and go back to it when freed."""

_LARGE_BYTES = 1 << 20


async def run(settings: RootSettings) -> None:
    """Run the root until cancelled."""
    _give_back_large_blocks()
    async with AsyncExitStack() as stack:
        store = MongoStore(settings.mongo.url.reveal(), settings.mongo.database, KINDS)
        stack.push_async_callback(store.close)
        state = begin(await load_patiently(store), random.SystemRandom(), secrets.token_urlsafe(32), time.time())
        if not state.users:
            _make_first_admin(state, settings.admin)
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
            api = create_app(core, ApiSettings(version=version("spinney-root")))
            tasks.create_task(serve(api, settings.http.host, settings.http.port))


def _make_first_admin(state: State, settings: AdminSettings) -> None:
    """There is no user yet: make one, and print its password once when it had to be generated."""
    admin, password = first_admin(settings.password.reveal(), settings.name)
    state.put(admin)
    if not settings.password:
        print(f"The first user is {admin.name!r} with the password {password!r}; it is not shown again.", flush=True)


def _give_back_large_blocks() -> None:
    """Keep what a login leaves behind small: hashing a password takes 16 MiB, and glibc would keep them."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none, and gives large blocks back anyway
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
