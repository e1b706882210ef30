"""The demonstration's steps. Everything is done the way a user would: events over MQTT, REST, HTTP, `ctr`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread
import httpx

from spinney import render, waiting
from spinney.client import Client
from spinney.names import whole_name
from spinney.shapes import Application, Cluster, Instance, Node, Service
from spinney.stack import Stack, StackError

from . import image
from .announced import announcement
from .application import NAME, REPLICAS, SERVICE, WHOLE_NAME, sla
from .containers import containers, kill
from .publish import publish
from .steps import Step, Steps

T = TypeVar("T")

LIMIT_S = 60.0
"""For anything that takes seconds at most; only a hang meets it."""
LOOK_EVERY_S = 0.05
PAGE_TIMEOUT_S = 5.0
COUNTED_WITHIN_S = 2.0


class Scenes:
    """The steps, in the order of their names' appearance; each one needs those before it."""

    def __init__(self, stack: Stack, client: Client, steps: Steps) -> None:
        self._stack, self._client, self._steps = stack, client, steps
        self._image = ""
        self._application = ""
        self._service = ""

    async def nodes(self) -> None:
        """Wait for a node that knows what it can run."""
        with self._steps.step("Wait for the node to verify its runtimes, each by running a canary") as step:
            told = await announcement(self._stack)
            nodes = await self._until(
                step,
                lambda: self._client.get("/api/v1/nodes", list[Node]),
                lambda nodes: any((one.name, one.runtimes) == (told.name, told.runtimes) for one in nodes),
                _verified_words,
            )
            step.result = _verified_words(nodes)
            if not any(one.state == "verified" for one in told.runtimes):
                raise StackError(f"the node cannot run anything: {step.result}")

    async def push_image(self) -> None:
        """Make the demo's image and push it to the registry on loopback."""
        with self._steps.step("Build a small HTTP server's image and push it to the registry") as step:
            self._image = await image.ensure_demo_image(self._stack.registry.address)
            step.result = self._image

    async def deploy(self) -> None:
        """Publish the deploy event."""
        with self._steps.step("Publish a deploy event over MQTT") as step:
            await self._forget_earlier(step)
            result = await publish(self._stack, "deploy", sla(self._image))
            self._application = result.applications[NAME]
            (job_name, self._service), *_ = result.microservices.items()
            step.result = f"accepted: {job_name}"

    async def run(self) -> None:
        """Wait until the one instance runs."""
        with self._steps.step("Wait until it runs") as step:
            (one,) = (await self._running(step, 1)).instances
            step.result = f"RUNNING {render.instance_where(one)}"

    async def fetch(self) -> None:
        """Fetch the page from the instance's own address."""
        with self._steps.step("Fetch its page") as step:
            (one,) = self._client.get(f"/api/service/{self._service}", Service).instances
            step.result = f"{await self._page(one)} “{_heading(image.PAGE)}”"

    async def scale(self) -> None:
        """Scale by an event, and fetch every instance's page."""
        with self._steps.step(f"Scale to {REPLICAS} instances by an event") as step:
            await publish(self._stack, "scale", {"microservice": self._service, "replicas": REPLICAS})
            service = await self._running(step, REPLICAS)
            for one in service.instances:
                step.note(f"instance {one.number}: {await self._page(one)}")
            step.result = f"{REPLICAS} of {REPLICAS} run"

    async def mend(self) -> None:
        """Kill one container behind Spinney's back, and see it come back."""
        with self._steps.step("Kill one container behind Spinney's back; see it come back") as step:
            before = (await self._running(step, REPLICAS)).instances[1]
            (container,) = await containers(self._stack, self._service, before.number)
            step.note(f"ctr tasks kill --signal SIGKILL {container}  (instance {before.number})")
            await kill(self._stack, container)
            after = await self._until(
                step,
                lambda: self._instance(before.number),
                lambda one: one.status == "RUNNING" and one.restarts > before.restarts,
                lambda one: f"instance {one.number}: {one.status} {one.detail}".rstrip(),
                step.change,
            )
            step.result = f"instance {after.number} runs again: {await self._page(after)}"

    async def undeploy(self) -> None:
        """Undeploy by an event; wait until no container is left."""
        with self._steps.step("Undeploy by an event") as step:
            await publish(self._stack, "undeploy", {"application": self._application})
            await self._containers_gone(step, self._service)
            step.result = "no container of it is left"

    async def tables(self) -> None:
        """Clusters, nodes, runtimes, instances, and the time each step took."""
        get, out, nodes = self._client.get, self._steps.out, await self._counted_nodes()
        shown = [
            render.clusters_table(get("/api/clusters", list[Cluster])),
            render.nodes_table(nodes),
            render.runtimes_table(nodes),
            *render.runtime_notes(nodes),
            "",
            render.instances_table(get("/api/services", list[Service])),
            self._steps.table(),
        ]
        out.print()
        for part in shown:
            out.print(part)

    async def _counted_nodes(self) -> list[Node]:
        """The nodes with the new instance counted, which follows a moment after its status; not waited for long."""
        deadline = time.monotonic() + COUNTED_WITHIN_S
        while True:
            nodes = self._client.get("/api/v1/nodes", list[Node])
            if any(node.instances for node in nodes) or time.monotonic() > deadline:
                return nodes
            await anyio.sleep(LOOK_EVERY_S)

    async def _forget_earlier(self, step: Step) -> None:
        """Undeploy what a run that was cut short left behind."""
        for one in self._client.get("/api/applications", list[Application]):
            if whole_name(one) == WHOLE_NAME:
                step.note("an earlier run was cut short; undeploying its application first")
                await publish(self._stack, "undeploy", {"application": one.id})
                for service in one.microservices:
                    await self._containers_gone(step, service)

    async def _containers_gone(self, step: Step, service: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while left := await containers(self._stack, service):
            step.show(f"{len(left)} containers left")
            if time.monotonic() > deadline:
                raise StackError(f"after {LIMIT_S:g} s there are still containers: {', '.join(left)}")
            await anyio.sleep(LOOK_EVERY_S)

    def _instance(self, number: int) -> Instance:
        service = self._client.get(f"/api/service/{self._service}", Service)
        return next(one for one in service.instances if one.number == number)

    async def _running(self, step: Step, replicas: int) -> Service:
        return await self._until(
            step,
            lambda: self._client.get(f"/api/service/{self._service}", Service),
            lambda service: service.replicas == replicas and waiting.is_done(service),
            render.progress_words,
        )

    async def _page(self, one: Instance) -> str:
        """What its web server says, in words; its first moments are waited for. Raises StackError."""
        url, deadline = f"http://{one.address}:{image.PORT}/".replace(":80/", "/"), time.monotonic() + PAGE_TIMEOUT_S
        async with httpx.AsyncClient(trust_env=False, timeout=PAGE_TIMEOUT_S) as client:
            while True:
                try:
                    page = (await client.get(url)).raise_for_status().text
                    break
                except httpx.HTTPError as error:
                    if time.monotonic() > deadline:
                        raise StackError(
                            f"its page at {url} cannot be fetched: {error or type(error).__name__}. "
                            f"`spinney logs {SERVICE} {one.number}` shows what the server wrote."
                        ) from error
                    await anyio.sleep(LOOK_EVERY_S)
        if page != image.PAGE:
            raise StackError(f"the page at {url} is not the demo's: {page[:200]!r}")
        return f"{url} answers"

    async def _until(
        self,
        step: Step,
        look: Callable[[], T],
        done: Callable[[T], bool],
        words: Callable[[T], str],
        tell: Callable[[str], None] | None = None,
    ) -> T:
        """Look again and again until it is done; say what is seen. Raises StackError when it takes too long."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            seen = await anyio.to_thread.run_sync(look)
            if done(seen):
                return seen
            (tell or step.show)(words(seen))
            if time.monotonic() > deadline:
                raise StackError(f"after {LIMIT_S:g} s still: {words(seen)}")
            await anyio.sleep(LOOK_EVERY_S)


def _verified_words(nodes: list[Node]) -> str:
    if not nodes:
        return "no node yet"
    return "; ".join(f"{node.name}: {_runtimes_words(node)}" for node in nodes)


def _runtimes_words(node: Node) -> str:
    if not node.runtimes:
        return "; ".join(node.problems) or "no runtimes verified yet"
    verified = [f"{one.name} ({one.start_ms:.0f} ms)" for one in node.runtimes if one.state == "verified"]
    failed = [one.name for one in node.runtimes if one.state != "verified"]
    words = f"verified {', '.join(verified) or 'none'}"
    return f"{words}; failed {', '.join(failed)} (why: below)" if failed else words


def _heading(page: str) -> str:
    return page.partition("<h1>")[2].partition("</h1>")[0]
