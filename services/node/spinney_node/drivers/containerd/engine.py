"""Starts and ends containers on one containerd: image, snapshot, network and task in the right order.

A container's network is set up while its runtime creates it. Whatever fails half-way is taken back completely.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct
from spinney_shared.model import PortMapping, Resources

from .. import DriverError
from . import capabilities, logs, spec
from .api import Api, TookTooLong
from .candidates import Candidate
from .containers import CANARY, STALE_S, Containers, seconds
from .images import Image, Images
from .netns import fresh_netns
from .network import Network
from .settings import Settings
from .tasks import Tasks

T = TypeVar("T")

log = logging.getLogger(__name__)

_RUN_ONCE_OUTPUT: Final = 64 * 1024
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,75}")
_HOSTS: Final = "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
_OWN_STATUS: Final = Path("/proc/self/status")
_RESOLVER: Final = "/etc/resolv.conf"


class Job(Struct, frozen=True):
    """One container to start."""

    id: str
    candidate: Candidate
    image: Image
    labels: Mapping[str, str]
    hostname: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    resources: Resources = Resources()
    ports: tuple[PortMapping, ...] = ()
    privileged: bool = False


class Started(Struct, frozen=True):
    """A container that runs."""

    pid: int
    address: str
    created_at: float


class RunResult(Struct, frozen=True):
    """What a container that was run to its end did."""

    exit_code: int
    output: bytes
    """stdout and stderr, the last 64 KiB."""
    start_ms: float
    """From create to started, network included."""


class Engine:
    """One containerd, one namespace, one bridge."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = Api(settings.socket, settings.namespace)
        self.images = Images(self.api, settings)
        self.containers = Containers(self.api, settings.snapshotter)
        self.tasks = Tasks(self.api)
        self.network = Network(settings)
        self._folders = Path(settings.state_dir) / "containers"
        self._prepared = asyncio.Lock()
        self._ready = False

    async def prepare(self) -> None:
        """What every start needs, done once: our namespace, the network, no leftovers. Raises DriverError."""
        async with self._prepared:
            if self._ready:
                return
            await self.api.connect()
            await asyncio.to_thread(self._folders.mkdir, mode=0o700, parents=True, exist_ok=True)
            await self._sweep()
            self._ready = True

    async def start(self, job: Job) -> Started:
        """Create and start a container; on failure nothing is left. Raises DriverError."""
        await self.prepare()
        try:
            return await self._start(job)
        except BaseException:
            try:
                await self.destroy(job.id)
            except DriverError as e:  # why it did not start is what matters to the caller
                log.warning("%s could not be taken back after it failed to start: %s", job.id, e)
            raise

    async def run_once(
        self, candidate: Candidate, image: str, *, id: str, args: tuple[str, ...] = (), deadline_s: float = 20.0
    ) -> RunResult:
        """Run `image` (already imported) on `candidate` to its end and delete every trace of it.

        Exactly what a real instance gets, its own network included. `args` replaces the image's command.
        Raises DriverError with the runtime's own words, also when the deadline passed.
        """
        found = await self.images.ensure(image, lambda _: None)
        job = Job(id=id, candidate=candidate, image=found, labels={CANARY: candidate.name}, command=args)
        try:
            async with asyncio.timeout(deadline_s):
                before = time.monotonic()
                await self.start(job)
                start_ms = (time.monotonic() - before) * 1000
                code = await self.tasks.wait(id, deadline_s)
                await self.tasks.delete(id)  # only then has its shim written down all that it printed
            return RunResult(code, await self.logs(id, _RUN_ONCE_OUTPUT), start_ms)
        except (TimeoutError, TookTooLong) as e:
            raise DriverError(f"{candidate.name} did not run {image} to its end within {deadline_s:g} s") from e
        finally:
            await self.destroy(id)

    async def stop(self, id: str, grace_s: float) -> None:
        """End the container's processes and free its address; what it wrote stays until `destroy`."""
        await self.tasks.end(id, grace_s)
        await self.network.detach(id)

    async def destroy(self, id: str) -> None:
        """End and delete everything of that id; fine when there is nothing, or only a part. Raises DriverError."""
        await self.tasks.end(id, 0.0)
        await self.tasks.delete(id)
        await self.containers.delete(id)
        await self.containers.remove_snapshot(id)
        await self.network.detach(id)
        await asyncio.to_thread(shutil.rmtree, self._folder(id), ignore_errors=True)

    async def logs(self, id: str, tail_bytes: int) -> bytes:
        """The end of what the container printed; empty when there is nothing."""
        return await asyncio.to_thread(logs.tail, self._folder(id), tail_bytes)

    async def trim_logs(self) -> None:
        """Cut what containers printed to the size that the settings allow."""
        await asyncio.to_thread(logs.trim, self._folders, self.settings.log_mib * 1024 * 1024)

    async def close(self) -> None:
        """Let go of containerd."""
        self.images.close()
        await self.api.close()

    async def _start(self, job: Job) -> Started:
        folder = self._folder(job.id)
        binds = await asyncio.to_thread(_files, folder)
        async with fresh_netns() as netns, _meanwhile(self._attach(job, netns, folder)) as attaching:
            mounts = await self.containers.prepare_snapshot(job.id, job.image.snapshot)
            if not job.candidate.plain_processes:  # it looks at the network's interfaces when it creates the container
                await attaching
            created_at = await self._record(job, netns, binds)
            pid = await self.tasks.create(job.id, mounts, str(folder / logs.NAME))
            address = await attaching
            await self.tasks.start(job.id)
        return Started(pid, address, created_at)

    def _folder(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise DriverError(f"{id[:80]!r} is no container id")
        return self._folders / id

    async def _attach(self, job: Job, netns: str, folder: Path) -> str:
        address = await self.network.attach(job.id, netns, job.ports)
        hosts = f"{_HOSTS}{address}\t{job.hostname or job.id}\n"
        await asyncio.to_thread((folder / "hosts").write_text, hosts)  # in place: it may be mounted by now
        return address

    async def _record(self, job: Job, netns: str, binds: tuple[tuple[str, str], ...]) -> float:
        description = spec.Container(
            id=job.id,
            image=job.image.defaults,
            cgroup=_cgroup(self.settings.namespace, job),
            netns=netns,
            command=job.command,
            environment=job.environment,
            hostname=job.hostname,
            resources=job.resources,
            privileged=job.privileged,
            capabilities=capabilities.held(_OWN_STATUS.read_text()) if job.privileged else capabilities.DEFAULT,
            binds=binds,
        )
        root = Path(self.settings.run_dir) / "runtimes" / re.sub(r"[^A-Za-z0-9._-]", "_", job.candidate.name)
        return await self.containers.create(
            job.id,
            job.candidate,
            str(root),
            image=job.image.name,
            spec=spec.build(description),
            labels=job.labels,
        )

    async def _sweep(self) -> None:
        """Canaries, snapshots and addresses that a process of ours left when it died."""
        containers = await self.containers.list()
        for old in containers:
            if CANARY in old.labels and time.time() - seconds(old) > STALE_S:
                await self.destroy(old.id)
        living = {container.id for container in containers}
        for id in await self.containers.stale_snapshots():
            if id not in living:
                await self.containers.remove_snapshot(id)
        await self.network.prepare(living)


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """`work` goes on while the body does; it does not outlive the body."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def _cgroup(namespace: str, job: Job) -> str:
    if job.candidate.systemd_cgroup:
        return f"system.slice:{namespace}:{job.id}"
    return f"/{namespace}/{job.id}"


def _files(folder: Path) -> tuple[tuple[str, str], ...]:
    """Make the container's folder, its hosts file and its (empty) log; what of it is mounted into the container."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hosts = folder / "hosts"
    hosts.write_text(_HOSTS)
    hosts.chmod(0o644)
    binds = ((str(hosts), "/etc/hosts"),)
    return (*binds, (_RESOLVER, _RESOLVER)) if Path(_RESOLVER).exists() else binds
