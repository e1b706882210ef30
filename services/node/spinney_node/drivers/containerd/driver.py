"""The containerd driver as the node sees it: workloads in, handles and events out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from spinney_shared.model import RuntimeInfo

from .. import Changed, DriverError, DriverEvent, Handle, Unsupported, Workload
from . import settings as settings_
from .candidates import Candidate, Verdict
from .containers import GENERATION, MICROSERVICE, NUMBER, RUNTIME, seconds
from .engine import Engine, Job
from .fingerprint import Verifier
from .images import Image
from .pb import containers_pb2, process_pb2
from .spec import hostname
from .tasks import exit_words
from .watching import Watch, Watcher


class ContainerdDriver:
    """Runs OCI images on every runtime that containerd can be told to use and that proved itself here."""

    name = "containerd"

    def __init__(self, settings: dict[str, Any]) -> None:
        self._engine = Engine(settings_.parse(settings))
        self._verifier = Verifier(self._engine)
        self._watch = Watch(self._engine)
        self._watchers = WeakSet[Watcher]()
        self._looking: asyncio.Task[None] | None = None
        self._verdicts: list[Verdict] | None = None
        self._fingerprinting = asyncio.Lock()
        self._alone = WeakValueDictionary[str, asyncio.Lock]()

    async def fingerprint(self) -> list[RuntimeInfo]:
        """Discover candidates and verify each one by running a canary; raises EngineUnavailable."""
        async with self._fingerprinting:
            self._verdicts = await self._verifier.verify()
        return [verdict.info for verdict in self._verdicts]

    async def list(self) -> list[Handle]:
        """Every workload of ours that containerd has, running or stopped; raises EngineUnavailable."""
        containers, tasks, addresses = await asyncio.gather(
            self._engine.containers.list(), self._engine.tasks.list(), self._engine.network.addresses()
        )
        ours = [c for c in containers if MICROSERVICE in c.labels and not self._being_made(c.id, tasks.get(c.id))]
        return [self._told(_handle(c, tasks.get(c.id), addresses.get(c.id, "")), tasks.get(c.id)) for c in ours]

    async def start(self, workload: Workload, progress: Callable[[str], None]) -> Handle:
        """Fetch the image if need be and start the workload; on failure nothing is left behind.

        What runs already is returned as it is; a stopped leftover is replaced. Raises DriverError or one of its kinds.
        """
        async with self._lock(workload.id):
            if (found := await self._found(workload.id)) is not None and found.state == "running":
                return found
            candidate = await self._candidate(workload.runtime)
            await self._engine.prepare()
            image = await self._engine.images.ensure(workload.spec.image, progress)
            if found is not None:
                await self._engine.destroy(workload.id)
            started = await self._engine.start(_job(workload, candidate, image))
            self._watch.runs(workload.id, started.pid)
            return Handle(
                id=workload.id,
                microservice=workload.spec.id,
                number=workload.number,
                generation=workload.spec.generation,
                runtime=workload.runtime,
                state="running",
                started_at=started.created_at,
                address=started.address,
            )

    async def stop(self, id: str, grace_s: float) -> None:
        """Ask the workload to end, wait up to the grace, then force it; fine when it is not running or unknown."""
        async with self._lock(id):
            pid = self._watch.forget(id)
            try:
                await self._engine.stop(id, grace_s)
            except BaseException:
                if pid:  # it may run on, and then its end will be news again
                    self._watch.runs(id, pid)
                raise
            self._watch.forget(id)  # a list that was under way may have taken it for running

    async def remove(self, id: str) -> None:
        """Delete what is left of a stopped workload; forces a running one to stop. Fine when unknown."""
        async with self._lock(id):
            self._watch.forget(id)
            await self._engine.destroy(id)
            self._watch.forget(id)  # as above

    def watch(self) -> AsyncIterator[DriverEvent]:
        """Events from now on, for ever; survives containerd's restart (then yields Changed)."""
        watcher = self._watch.watcher()
        self._watchers.add(watcher)
        self._looking = self._looking or asyncio.create_task(self._look())
        return watcher

    async def logs(self, id: str, tail_bytes: int) -> bytes:
        """The last `tail_bytes` of stdout and stderr; empty when there are none."""
        return await self._engine.logs(id, tail_bytes)

    async def close(self) -> None:
        """Let go of containerd; workloads keep running."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await self._watch.close()
        await self._engine.close()

    async def _look(self) -> None:
        """Tell watchers when the runtimes are not what they were."""
        async for words in self._verifier.changes():
            for watcher in self._watchers:
                watcher.put(Changed(words))

    def _being_made(self, id: str, task: process_pb2.Process | None) -> bool:
        lock = self._alone.get(id)
        return lock is not None and lock.locked() and (task is None or task.status == process_pb2.CREATED)

    def _lock(self, id: str) -> asyncio.Lock:
        return self._alone.setdefault(id, asyncio.Lock())

    async def _found(self, id: str) -> Handle | None:
        """The workload as containerd has it."""
        container, task = await asyncio.gather(self._engine.containers.get(id), self._engine.tasks.get(id))
        if container is None:
            return None
        if MICROSERVICE not in container.labels:
            raise DriverError(f"containerd has a container {id} that is not ours")
        addresses = await self._engine.network.addresses()
        return self._told(_handle(container, task, addresses.get(id, "")), task)

    async def _candidate(self, name: str) -> Candidate:
        """How containerd is told of the runtime; raises Unsupported unless it was verified. Never another one."""
        if self._verdicts is None:
            await self.fingerprint()
        for verdict in self._verdicts or ():
            if verdict.info.name == name and verdict.info.state == "verified":
                return verdict.candidate
            if verdict.info.name == name:
                raise Unsupported(f"runtime {name} does not work on this machine: {verdict.info.reason}")
        raise Unsupported(f"containerd on this machine has no runtime {name}")

    def _told(self, handle: Handle, task: process_pb2.Process | None) -> Handle:
        """The handle, on its way to the owner: who then knows whether it runs."""
        if handle.state == "running" and task is not None:
            self._watch.runs(handle.id, task.pid)
        else:
            self._watch.forget(handle.id)
        return handle


def _job(workload: Workload, candidate: Candidate, image: Image) -> Job:
    spec = workload.spec
    return Job(
        id=workload.id,
        candidate=candidate,
        image=image,
        labels={
            MICROSERVICE: spec.id,
            NUMBER: str(workload.number),
            GENERATION: str(spec.generation),
            RUNTIME: workload.runtime,
        },
        hostname=hostname(spec.job_name, workload.number),
        command=spec.command,
        environment=spec.environment,
        resources=spec.resources,
        ports=spec.ports,
        privileged=spec.privileged,
    )


def _handle(container: containers_pb2.Container, task: process_pb2.Process | None, address: str) -> Handle:
    stopped = task is None or task.status in (process_pb2.STOPPED, process_pb2.CREATED)
    code = task.exit_status if task is not None and task.status == process_pb2.STOPPED else None
    return Handle(
        id=container.id,
        microservice=container.labels[MICROSERVICE],
        number=int(container.labels[NUMBER]),
        generation=int(container.labels[GENERATION]),
        runtime=container.labels[RUNTIME],
        state="stopped" if stopped else "running",
        started_at=seconds(container),
        address=address,
        exit_code=code,
        detail=exit_words(code) if code is not None else "",
    )
