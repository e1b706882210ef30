"""Images in containerd: brought in from a registry or from memory, and unpacked into snapshots.

An image is complete when its name, its documents, its layers and the snapshot of its last layer are there; whatever
is missing is brought in under a lease, so that a failure half-way leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Protocol
from weakref import WeakValueDictionary

from msgspec import Struct

from .. import ImageUnavailable
from .api import AlreadyThere, Api, NotThere
from .content import Content
from .manifest import (
    INDEX_TYPES,
    Config,
    Defaults,
    Descriptor,
    Index,
    Manifest,
    chain_ids,
    check_config,
    check_manifest,
    choose,
    digest_of,
    index_labels,
    manifest_labels,
    read,
)
from .pb import images_pb2, types_pb2
from .reference import Reference, parse
from .registry import Registry
from .settings import Settings
from .unpack import Unpacker

_GOARCH: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_LAYERS_AT_ONCE: Final = 3
"""Downloads side by side: enough to fill a line, few enough to spare a small machine."""
_THREADS: Final = 8
"""For all pulls together. Of their own: a slow registry must not hold up what else needs a thread."""

Progress = Callable[[str], None]


class Image(Struct, frozen=True):
    """An image that a container can be made from now."""

    name: str
    snapshot: str
    """The committed snapshot that a container's own is made upon; empty for an image without layers."""
    defaults: Defaults


class Source(Protocol):
    """Where blobs come from: a registry, or memory."""

    async def manifest(self, version: str) -> tuple[Descriptor, bytes]:
        """An index or manifest, by tag or digest."""
        ...

    def blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """The bytes of a config or layer."""
        ...


class Images:
    """The images of one containerd namespace."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api, self._settings = api, settings
        self._content = Content(api)
        self._unpacker = Unpacker(api, self._content, settings.snapshotter)
        self.arch = _GOARCH.get(platform.machine(), platform.machine())
        """This machine's processor as images name it (GOARCH)."""
        self._threads = ThreadPoolExecutor(_THREADS, "registry")
        self._busy = WeakValueDictionary[str, asyncio.Lock]()

    async def ensure(self, ref: str, progress: Progress) -> Image:
        """The image of that reference, pulled only when it is not there; raises ImageUnavailable."""
        reference = parse(ref)
        async with self._alone(str(reference)):
            if image := await self._present(str(reference)):
                return image
            await self._bring(reference, self._registry(reference), reference.version, progress)
            return await self._complete(str(reference))

    async def import_image(self, ref: str, blobs: Mapping[str, bytes], manifest_digest: str) -> None:
        """Store an image given as its blobs (digest ``sha256:…`` → bytes: manifest, config, layers) under `ref`.

        The same image again costs nothing. Raises ImageUnavailable when a digest or the manifest is wrong.
        """
        reference = parse(ref)
        async with self._alone(str(reference)):
            target = await self._target(str(reference))
            if target == manifest_digest and await self._present(str(reference)):
                return
            await self._bring(reference, _Memory(blobs), manifest_digest, lambda _: None)

    async def remove(self, ref: str) -> None:
        """Forget `ref`; what only it used is collected. Fine when unknown."""
        with suppress(NotThere):
            await self._api.tell("images.v1.Images/Delete", images_pb2.DeleteImageRequest(name=str(parse(ref))))

    def close(self) -> None:
        """Give up what is being fetched."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _registry(self, ref: Reference) -> Registry:
        return Registry(ref, self._settings.plain_http, self._settings.credentials.get(ref.host), self._threads)

    def _alone(self, name: str) -> asyncio.Lock:
        """One piece of work on an image at a time; whoever waited finds it done."""
        return self._busy.setdefault(name, asyncio.Lock())

    async def _target(self, name: str) -> str | None:
        try:
            request = images_pb2.GetImageRequest(name=name)
            answer = await self._api.call("images.v1.Images/Get", request, images_pb2.GetImageResponse)
        except NotThere:
            return None
        return answer.image.target.digest

    async def _present(self, name: str) -> Image | None:
        """The image when all of it is there, or can be unpacked from what is there."""
        try:
            return await self._complete(name)
        except NotThere:
            return None

    async def _complete(self, name: str) -> Image:
        request = images_pb2.GetImageRequest(name=name)
        found = await self._api.call("images.v1.Images/Get", request, images_pb2.GetImageResponse)
        digest, media_type = found.image.target.digest, found.image.target.media_type
        if media_type in INDEX_TYPES:
            digest = choose(read(await self._content.read(digest), Index, name), self.arch, name).digest
        manifest = check_manifest(read(await self._content.read(digest), Manifest, name), name)
        config = read(await self._content.read(manifest.config.digest), Config, f"the config of {name}")
        chain = chain_ids(check_config(config, manifest, self.arch, name).rootfs.diff_ids)
        if chain and not await self._unpacker.has(chain[-1]):
            async with self._content.lease() as lease:
                await self._unpacker.unpack(name, manifest, config.rootfs.diff_ids, lease)
        return Image(name, chain[-1] if chain else "", config.config or Defaults())

    async def _bring(self, ref: Reference, source: Source, version: str, progress: Progress) -> None:
        """Everything of the image that is not there yet, its name last."""
        name = str(ref)
        progress(f"pulling {name}")
        async with self._content.lease() as lease:
            target, data = await source.manifest(version)
            if target.media_type in INDEX_TYPES or (not target.media_type and b'"manifests"' in data):
                chosen = choose(read(data, Index, name), self.arch, name)
                _, inner = await source.manifest(chosen.digest)
                await self._content.write_bytes(target, data, index_labels(chosen), lease)
            else:
                chosen, inner = target, data
            manifest = check_manifest(read(inner, Manifest, name), name)
            await self._layers(name, source, manifest, lease, progress)
            await self._content.write_bytes(chosen, inner, manifest_labels(manifest), lease)
            config = read(await self._content.read(manifest.config.digest), Config, f"the config of {name}")
            check_config(config, manifest, self.arch, name)
            progress(f"unpacking {name}")
            await self._unpacker.unpack(name, manifest, config.rootfs.diff_ids, lease)
            await self._name(name, target)

    async def _layers(self, name: str, source: Source, manifest: Manifest, lease: str, progress: Progress) -> None:
        wanted = list({blob.digest: blob for blob in (manifest.config, *manifest.layers)}.values())
        places, done = asyncio.Semaphore(_LAYERS_AT_ONCE), 0

        async def fetch(blob: Descriptor) -> None:
            nonlocal done
            async with places:
                await self._content.write(blob, source.blob(blob), {}, lease)
            done += 1
            progress(f"pulling {name}, {done} of {len(wanted)} parts")

        try:
            async with asyncio.TaskGroup() as group:
                for blob in wanted:
                    group.create_task(fetch(blob))
        except ExceptionGroup as e:  # the first failure ended the others; it says enough
            raise e.exceptions[0] from None

    async def _name(self, name: str, target: Descriptor) -> None:
        descriptor = types_pb2.Descriptor(media_type=target.media_type, digest=target.digest, size=target.size)
        image = images_pb2.Image(name=name, target=descriptor)
        try:
            request = images_pb2.CreateImageRequest(image=image)
            await self._api.call("images.v1.Images/Create", request, images_pb2.CreateImageResponse)
        except AlreadyThere:
            update = images_pb2.UpdateImageRequest(image=image)
            update.update_mask.paths.append("target")
            await self._api.call("images.v1.Images/Update", update, images_pb2.UpdateImageResponse)


class _Memory:
    """An image whose blobs we hold."""

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self._blobs = blobs

    async def manifest(self, version: str) -> tuple[Descriptor, bytes]:
        """Its manifest, with the media type that it states itself."""
        data = self._get(version)
        stated = read(data, _Typed, version).media_type
        return Descriptor(digest_of(data), len(data), stated), data

    async def blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """Its bytes in one piece."""
        yield self._get(blob.digest)

    def _get(self, digest: str) -> bytes:
        if digest not in self._blobs:
            raise ImageUnavailable(f"the image given lacks its blob {digest}")
        if digest_of(self._blobs[digest]) != digest:
            raise ImageUnavailable(f"the image given is damaged: blob {digest} has another digest")
        return self._blobs[digest]


class _Typed(Struct, frozen=True, rename={"media_type": "mediaType"}):
    media_type: str = "application/vnd.oci.image.manifest.v1+json"
