"""Containers and their snapshots as containerd keeps them; our labels on them say whose they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from google.protobuf import any_pb2

from .api import Api, NotThere
from .candidates import Candidate
from .pb import containers_pb2, runc_options_pb2, shim_options_pb2, snapshots_pb2, types_pb2

MICROSERVICE: Final = "spinney.microservice"
NUMBER: Final = "spinney.number"
GENERATION: Final = "spinney.generation"
RUNTIME: Final = "spinney.runtime"
CANARY: Final = "spinney.canary"
_OURS: Final = "spinney.container"
"""On snapshots: the container it was made for."""

STALE_S: Final = 180.0
"""Seconds. What belongs to no container and is older was left by a process that died: no start takes so long."""

_SPEC_TYPE: Final = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


def runtime_options(candidate: Candidate, root: str) -> any_pb2.Any | None:
    """What the shim is told of the runtime; runc-like ones get a `root` of their own: they would share a default."""
    if candidate.like_runc:
        options = runc_options_pb2.Options(
            binary_name=candidate.binary, root=root, systemd_cgroup=candidate.systemd_cgroup
        )
        return any_pb2.Any(type_url="containerd.runc.v1.Options", value=options.SerializeToString())
    given = candidate.options
    if not (given.type_url or given.config_path or given.config_body):
        return None
    options = shim_options_pb2.Options(
        type_url=given.type_url, config_path=given.config_path, config_body=given.config_body.encode()
    )
    return any_pb2.Any(type_url="runtimeoptions.v1.Options", value=options.SerializeToString())


class Containers:
    """The containers of one containerd namespace, with snapshots of one snapshotter."""

    def __init__(self, api: Api, snapshotter: str) -> None:
        self._api, self._snapshotter = api, snapshotter

    async def create(
        self,
        id: str,
        candidate: Candidate,
        root: str,
        *,
        image: str,
        spec: Mapping[str, Any],
        labels: Mapping[str, str],
    ) -> float:
        """Record the container; wall-clock seconds at which containerd did."""
        runtime = containers_pb2.Container.Runtime(
            name=candidate.runtime_type, options=runtime_options(candidate, root)
        )
        container = containers_pb2.Container(
            id=id,
            labels=labels,
            image=image,
            runtime=runtime,
            spec=any_pb2.Any(type_url=_SPEC_TYPE, value=msgspec.json.encode(spec)),
            snapshotter=self._snapshotter,
            snapshot_key=id,
        )
        request = containers_pb2.CreateContainerRequest(container=container)
        answer = await self._api.call(
            "containers.v1.Containers/Create", request, containers_pb2.CreateContainerResponse
        )
        return seconds(answer.container)

    async def get(self, id: str) -> containers_pb2.Container | None:
        """The container; None when there is none."""
        request = containers_pb2.GetContainerRequest(id=id)
        try:
            answer = await self._api.call("containers.v1.Containers/Get", request, containers_pb2.GetContainerResponse)
        except NotThere:
            return None
        return answer.container

    async def list(self) -> list[containers_pb2.Container]:
        """All of them, whoever made them."""
        request = containers_pb2.ListContainersRequest()
        answer = await self._api.call("containers.v1.Containers/List", request, containers_pb2.ListContainersResponse)
        return list(answer.containers)

    async def delete(self, id: str) -> None:
        """Forget the container; its task must be gone (else its shim would be orphaned). Fine when unknown."""
        with suppress(NotThere):
            await self._api.tell("containers.v1.Containers/Delete", containers_pb2.DeleteContainerRequest(id=id))

    async def prepare_snapshot(self, id: str, parent: str) -> list[types_pb2.Mount]:
        """A writable layer upon an image; nothing refers to it yet, so it is marked as not to be collected."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        request = snapshots_pb2.PrepareSnapshotRequest(
            snapshotter=self._snapshotter, key=id, parent=parent, labels={"containerd.io/gc.root": now, _OURS: id}
        )
        answer = await self._api.call("snapshots.v1.Snapshots/Prepare", request, snapshots_pb2.PrepareSnapshotResponse)
        return list(answer.mounts)

    async def remove_snapshot(self, id: str) -> None:
        """Delete the writable layer; fine when unknown."""
        request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=id)
        with suppress(NotThere):
            await self._api.tell("snapshots.v1.Snapshots/Remove", request)

    async def stale_snapshots(self) -> list[str]:
        """Old snapshots of ours, by container id; the caller knows which containers there are."""
        request = snapshots_pb2.ListSnapshotsRequest(snapshotter=self._snapshotter, filters=[f'labels."{_OURS}"'])
        found = list[str]()
        pages = self._api.stream("snapshots.v1.Snapshots/List", request, snapshots_pb2.ListSnapshotsResponse)
        async for page in pages:
            found += [s.name for s in page.info if time.time() - s.created_at.seconds > STALE_S]
        return found


def seconds(container: containers_pb2.Container) -> float:
    """When containerd made the container: wall-clock seconds."""
    return container.created_at.seconds + container.created_at.nanos / 1e9


def memory_limit(container: containers_pb2.Container) -> int:
    """The memory limit in its specification, in bytes; 0 = none."""
    resources = msgspec.json.decode(container.spec.value)["linux"]["resources"]
    return resources.get("memory", {}).get("limit", 0)
