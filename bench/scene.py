"""Where the benchmarks happen: a local stack of their own in a temporary folder, and the doors a user has to it."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from spinney.stack import Stack
from spinney_shared import topics
from spinney_shared.bus import Outgoing
from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.config import MqttSettings, Secret

STREAM_TIMEOUT = httpx.Timeout(30, read=None)
LIMIT_S = 60.0
"""How long anything may take before the benchmark gives up."""

_numbers = itertools.count(1)


@asynccontextmanager
async def stack(parts: Iterable[str]) -> AsyncIterator[Stack]:
    """These parts of the stack, started as `make up` starts them; nothing of them is left afterwards."""
    # Installed programs have their bytecode on the disk; the processes measured must not spend time and memory on it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="spinney-bench-") as folder:
        async with Stack(Path(folder)) as scene:
            await scene.start(parts)
            yield scene


@asynccontextmanager
async def publisher(scene: Stack) -> AsyncIterator[MqttBus]:
    """A connected MQTT client that may publish events."""
    password = Secret(scene.mosquitto.password_file("client").read_text())
    bus = MqttBus(MqttSettings(port=scene.mosquitto.port, username="client", password=password), "bench")
    connected = asyncio.Event()
    bus.on_connect = connected.set
    serving = asyncio.create_task(bus.run())
    try:
        await asyncio.wait_for(connected.wait(), LIMIT_S)
        yield bus
    finally:
        serving.cancel()
        await asyncio.wait([serving])


@asynccontextmanager
async def rest(scene: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """The REST API, logged in as the administrator."""
    async with httpx.AsyncClient(base_url=scene.rest_url, timeout=30, trust_env=False) as client:
        login = {"username": scene.admin, "password": scene.admin_password_file.read_text()}
        answer = (await client.post("/api/auth/login", json=login)).raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        yield client


def deploy(bus: MqttBus, **microservice: Any) -> str:
    """Publish a deploy event for an application with one microservice of these SLA fields; its job name."""
    name = f"bench{next(_numbers)}"
    one = {
        "microserviceID": "",
        "microservice_name": "one",
        "microservice_namespace": "bench",
        "memory": 16,
        "vcpus": 0,
        **microservice,
    }
    application = {
        "applicationID": "",
        "application_name": name,
        "application_namespace": "bench",
        "application_desc": "",
        "microservices": [one],
    }
    document = {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}
    bus.send(Outgoing(topics.DEPLOY.format(), msgspec.json.encode(document)))
    return f"{name}.bench.one.bench"


async def nodes_online(client: httpx.AsyncClient, count: int) -> None:
    """Wait until the root knows that many nodes with a verified runtime. Raises TimeoutError."""
    deadline, ready = time.monotonic() + LIMIT_S, []
    while time.monotonic() < deadline:
        nodes = (await client.get("/api/v1/nodes")).raise_for_status().json()
        ready = [n for n in nodes if n["online"] and any(r["state"] == "verified" for r in n["runtimes"])]
        if len(ready) >= count:
            return
        await asyncio.sleep(0.5)
    raise TimeoutError(f"{len(ready)} of {count} nodes are there after {LIMIT_S:.0f} s")
