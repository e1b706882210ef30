"""From a deploy event to RUNNING in the REST API, beside `ctr run -d` of the same image on the same containerd."""

from __future__ import annotations

import asyncio
import http.client
import re
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from spinney.demo.image import ensure_demo_image
from spinney.stack import Stack
from spinney_shared.bus.mqtt import MqttBus

from .result import Result, at_most, compared
from .scene import LIMIT_S, STREAM_TIMEOUT, deploy, nodes_online, publisher, rest, stack

ROUNDS = 30
WARM_UP = 3
AIM_RATIO = 1.3
AIM_OURS_MS = 15.0
PAUSE_S = 0.2
"""Between two measurements, so that the end of one does not disturb the other."""


async def measure(say: Callable[[str], None]) -> list[Result]:
    """Medians over `ROUNDS` rounds; in each, one instance by Spinney and one by ctr."""
    async with stack(("mosquitto", "mongod", "containerd", "registry", "root", "cluster", "node")) as scene:
        image = await ensure_demo_image(scene.registry.address)
        async with rest(scene) as client, publisher(scene) as bus, lifecycle(client) as events:
            await nodes_online(client, 1)
            watch = Watch(client, events)
            rounds = [await _round(scene, bus, watch, image) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    ours_ms = [shown - driver for shown, _, driver, _ in rounds]
    shown_ms, told_ms, driver_ms, ctr_ms = (statistics.median(column) for column in zip(*rounds, strict=True))
    say(f"{ROUNDS} rounds; in the stream after {told_ms:.1f} ms, and the check by GET took {shown_ms - told_ms:.1f} ms")
    return [
        compared("latency: event → RUNNING in REST", shown_ms, "ms", "ctr run -d", ctr_ms, AIM_RATIO),
        at_most("latency: all but the driver's start", statistics.median(ours_ms), "ms", AIM_OURS_MS),
        Result(name="latency: the same, quickest round", value=min(ours_ms), unit="ms"),
        Result(name="latency: the driver's start", value=driver_ms, unit="ms"),
        Result(name="latency: event → RUNNING in the stream", value=told_ms, unit="ms"),
    ]


async def _round(scene: Stack, bus: MqttBus, watch: Watch, image: str) -> tuple[float, float, float, float]:
    """Milliseconds: until REST shows it, until the stream tells it, of the driver's start; of ctr."""
    begun = time.perf_counter()
    job = deploy(bus, virtualization="runc", code=image)
    event = await watch.events.wait(job, "RUNNING")
    told = time.perf_counter()
    rows = watch.get(f"/api/v1/instances?status=RUNNING&microservice={event['microservice']}")
    shown = time.perf_counter()
    if len(rows) != 1:
        raise RuntimeError(f"the stream says RUNNING, REST shows {rows}")
    driver_ms = _start_ms(scene.node.process.log, event["microservice"])
    (await watch.client.delete(f"/api/application/{event['application']}")).raise_for_status()
    await watch.events.wait(event["microservice"], "UNDEPLOYED")
    await asyncio.sleep(PAUSE_S)
    ctr_ms = await asyncio.to_thread(_ctr_run, scene, image)
    await asyncio.sleep(PAUSE_S)
    return 1000 * (shown - begun), 1000 * (told - begun), driver_ms, ctr_ms


def _start_ms(log: Path, microservice: str) -> float:
    """How long the driver took to start this microservice's instance, as the node logged it."""
    found = re.findall(rf"{microservice}#\d+ runs on \S+ after ([\d.]+) ms", log.read_text())
    return float(found[-1])


def _ctr_run(scene: Stack, image: str) -> float:
    """Run the image by ctr as a user would, and remove it; the milliseconds of `ctr run` alone."""
    ctr = ["ctr", "--address", str(scene.containerd.socket), "--namespace", scene.containerd.namespace]
    begun = time.perf_counter()
    subprocess.run([*ctr, "run", "--detach", image, "bench-ctr"], check=True, capture_output=True)
    took = time.perf_counter() - begun
    subprocess.run([*ctr, "tasks", "rm", "--force", "bench-ctr"], check=False, capture_output=True)
    subprocess.run([*ctr, "containers", "rm", "bench-ctr"], check=True, capture_output=True)
    return 1000 * took


class Watch:
    """How the benchmark sees what the root shows."""

    def __init__(self, client: httpx.AsyncClient, events: Events) -> None:
        self.client, self.events = client, events
        self._connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)

    def get(self, path: str) -> Any:
        """What is at this path: over an open connection by the plainest client there is, whose own cost is least."""
        try:
            return self._got(path)
        except http.client.RemoteDisconnected:  # idle for too long: the server has closed it, the next request opens it
            return self._got(path)

    def _got(self, path: str) -> Any:
        self._connection.request("GET", path, headers={"Authorization": self.client.headers["Authorization"]})
        return msgspec.json.decode(self._connection.getresponse().read())


class Events:
    """What the stream of instances' lifecycle events has told so far."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}
        self._news = asyncio.Event()

    async def follow(self, lines: AsyncIterator[str]) -> None:
        """Take in the stream until it ends."""
        async for line in lines:
            if line.startswith("data: {"):  # the greeting has no data
                data = msgspec.json.decode(line.removeprefix("data:"))["data"]
                for name in (data.get("job_name", ""), data["microservice"]):
                    self._seen[name, data["status"]] = data
                self._news.set()

    async def wait(self, name: str, status: str) -> dict[str, Any]:
        """The event's data, as soon as the instance of this job or microservice has the status. Raises TimeoutError."""
        async with asyncio.timeout(LIMIT_S):
            while (name, status) not in self._seen:
                self._news.clear()
                await self._news.wait()
        return self._seen[name, status]


@asynccontextmanager
async def lifecycle(client: httpx.AsyncClient) -> AsyncIterator[Events]:
    """The instances' events from now on."""
    events = Events()
    query = {"type": "spinney.instance.*"}
    async with client.stream("GET", "/api/v1/events", params=query, timeout=STREAM_TIMEOUT) as response:
        response.raise_for_status()
        following = asyncio.create_task(events.follow(response.aiter_lines()))
        try:
            yield events
        finally:
            following.cancel()
            await asyncio.wait([following])
