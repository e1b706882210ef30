"""containerd's content store: blobs in, blobs out, under a lease so that the garbage collector waits."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from .. import DriverError, ImageUnavailable
from .api import AlreadyThere, Api, NotThere, WrongState
from .manifest import MAX_DOCUMENT, Descriptor
from .pb import content_pb2, leases_pb2

CHUNK: Final = 1024 * 1024
"""Bytes per message: well below the limit, large enough to be cheap."""

_LEASE_LIFE: Final = timedelta(hours=6)
"""Longer than any pull; containerd drops the lease itself when we died in the middle of one."""


class Content:
    """The blobs of one containerd namespace."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        """A lease for a piece of work; what it made and nothing refers to afterwards is collected."""
        id = f"spinney-{uuid.uuid4().hex}"
        expire = (datetime.now(UTC) + _LEASE_LIFE).isoformat(timespec="seconds")
        request = leases_pb2.CreateRequest(id=id, labels={"containerd.io/gc.expire": expire})
        await self._api.call("leases.v1.Leases/Create", request, leases_pb2.CreateResponse)
        done = False
        try:
            yield id
            done = True
        finally:
            with suppress(NotThere):  # expired
                await self._api.tell("leases.v1.Leases/Delete", leases_pb2.DeleteRequest(id=id, sync=not done))

    async def read(self, digest: str) -> bytes:
        """A small blob (index, manifest, config); raises NotThere, ImageUnavailable when it is too large."""
        parts, size = list[bytes](), 0
        request = content_pb2.ReadContentRequest(digest=digest)
        async for part in self._api.stream("content.v1.Content/Read", request, content_pb2.ReadContentResponse):
            parts.append(part.data)
            size += len(part.data)
            if size > MAX_DOCUMENT:
                raise ImageUnavailable(f"{digest} is larger than {MAX_DOCUMENT} bytes: no image document is")
        return b"".join(parts)

    async def write(
        self, blob: Descriptor, chunks: AsyncIterator[bytes], labels: Mapping[str, str], lease: str
    ) -> None:
        """Store a blob unless it is there; raises ImageUnavailable when containerd finds size or digest wrong."""
        ref = f"spinney-{uuid.uuid4().hex}"  # never shared: a second writer of one ref is refused
        try:
            await self._api.upload(
                "content.v1.Content/Write",
                _requests(ref, blob, chunks, labels),
                content_pb2.WriteContentResponse,
                lease=lease,
            )
        except AlreadyThere:
            await self.label(blob.digest, labels)
        except WrongState as e:
            raise ImageUnavailable(f"{blob.digest} arrived damaged: {e}") from e
        except BaseException:
            with suppress(DriverError):  # then the end of the lease has it collected
                await self._api.tell("content.v1.Content/Abort", content_pb2.AbortRequest(ref=ref))
            raise

    async def write_bytes(self, blob: Descriptor, data: bytes, labels: Mapping[str, str], lease: str) -> None:
        """Store a blob that is in memory."""
        await self.write(blob, _chunks(data), labels, lease)

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Add labels to a blob; raises NotThere."""
        if not labels:
            return
        request = content_pb2.UpdateRequest(info=content_pb2.Info(digest=digest, labels=labels))
        request.update_mask.paths.extend(f"labels.{name}" for name in labels)
        await self._api.call("content.v1.Content/Update", request, content_pb2.UpdateResponse)


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]


async def _requests(
    ref: str, blob: Descriptor, chunks: AsyncIterator[bytes], labels: Mapping[str, str]
) -> AsyncIterator[content_pb2.WriteContentRequest]:
    offset = 0
    common = {"ref": ref, "total": blob.size, "expected": blob.digest}
    yield content_pb2.WriteContentRequest(action=content_pb2.STAT, **common)  # it may have it: then nothing is fetched
    async for data in chunks:
        yield content_pb2.WriteContentRequest(action=content_pb2.WRITE, offset=offset, data=data, **common)
        offset += len(data)
        if offset > blob.size:
            raise ImageUnavailable(f"{blob.digest} is longer than the {blob.size} bytes its manifest states")
    yield content_pb2.WriteContentRequest(action=content_pb2.COMMIT, offset=offset, labels=labels, **common)
