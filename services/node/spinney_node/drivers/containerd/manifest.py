"""OCI image documents (index, manifest, config), read with suspicion, and what containerd wants to know of them.

Pure functions over bytes. Docker's older media types have the same fields and are read alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from .. import ImageUnavailable
from .reference import DIGEST

MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
LAYER_PREFIXES: Final = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
)
MAX_DOCUMENT: Final = 4 * 1024 * 1024
"""Bytes of an index, manifest or config: registries refuse larger ones, and so do we."""
MAX_LAYERS: Final = 256

T = TypeVar("T")


class Platform(Struct, frozen=True):
    """What an image was built for, in Go's words."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(Struct, frozen=True, rename={"media_type": "mediaType"}):
    """Points at a blob by digest and size."""

    digest: str
    size: int
    media_type: str = ""
    platform: Platform | None = None


class Index(Struct, frozen=True):
    """One image for several platforms."""

    manifests: list[Descriptor]


class Manifest(Struct, frozen=True):
    """One image for one platform."""

    config: Descriptor
    layers: list[Descriptor]


class RootFs(Struct, frozen=True):
    """The digests of the layers as they are without compression."""

    diff_ids: list[str] = []


class Defaults(Struct, frozen=True, rename="pascal"):
    """How the image wants to be run."""

    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    env: list[str] | None = None
    user: str = ""
    working_dir: str = ""


class Config(Struct, frozen=True):
    """An image's configuration."""

    architecture: str = ""
    os: str = ""
    rootfs: RootFs = RootFs()
    config: Defaults | None = None


def digest_of(blob: bytes) -> str:
    """``sha256:…`` of the bytes."""
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def read(blob: bytes, kind: type[T], what: str) -> T:
    """The document as `kind`; raises ImageUnavailable naming `what`."""
    try:
        return msgspec.json.decode(blob, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ImageUnavailable(f"{what} cannot be read: {e}") from e


def check(descriptor: Descriptor, what: str, largest: int = 1 << 40) -> Descriptor:
    """The descriptor when its digest and size make sense; raises ImageUnavailable."""
    if not DIGEST.fullmatch(descriptor.digest):
        raise ImageUnavailable(f"{what} has the digest {descriptor.digest[:80]!r}: only sha256 is understood")
    if not 0 <= descriptor.size <= largest:
        raise ImageUnavailable(
            f"{what} {descriptor.digest} claims {descriptor.size} bytes, at most {largest} are taken"
        )
    return descriptor


def check_manifest(manifest: Manifest, what: str) -> Manifest:
    """The manifest when all that it points at can be used; raises ImageUnavailable."""
    check(manifest.config, f"the config of {what}", MAX_DOCUMENT)
    if len(manifest.layers) > MAX_LAYERS:
        raise ImageUnavailable(f"{what} has {len(manifest.layers)} layers, at most {MAX_LAYERS} are taken")
    for layer in manifest.layers:
        check(layer, f"a layer of {what}")
        if not layer.media_type.startswith(LAYER_PREFIXES):
            raise ImageUnavailable(f"{what} has a layer of type {layer.media_type[:100]!r}, which is no filesystem")
    return manifest


def choose(index: Index, architecture: str, what: str) -> Descriptor:
    """The manifest of `index` for Linux on `architecture` (GOARCH); raises ImageUnavailable that says what there is."""
    found = [d for d in index.manifests if d.platform and d.platform.architecture == architecture]
    fits = [d for d in found if d.platform and d.platform.os in ("linux", "")]
    if not fits:
        have = sorted({f"{d.platform.os}/{d.platform.architecture}" for d in index.manifests if d.platform})
        raise ImageUnavailable(f"{what} is not built for linux/{architecture}; it has {', '.join(have) or 'nothing'}")
    return check(fits[0], f"a manifest of {what}", MAX_DOCUMENT)


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The name of each layer's snapshot: it stands for that layer on top of all those below it."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def check_config(config: Config, manifest: Manifest, architecture: str, what: str) -> Config:
    """The config when it fits the manifest and this machine; raises ImageUnavailable."""
    if config.architecture and config.architecture != architecture:
        raise ImageUnavailable(f"{what} is built for {config.architecture}; this machine is {architecture}")
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers) or not all(DIGEST.fullmatch(d) for d in diff_ids):
        raise ImageUnavailable(f"{what} is damaged: {len(manifest.layers)} layers but {len(diff_ids)} diff ids")
    return config


def manifest_labels(manifest: Manifest) -> Mapping[str, str]:
    """Keeps containerd's garbage collector from taking the manifest's config and layers."""
    layers = {f"containerd.io/gc.ref.content.l.{n}": layer.digest for n, layer in enumerate(manifest.layers)}
    return {"containerd.io/gc.ref.content.config": manifest.config.digest, **layers}


def index_labels(chosen: Descriptor) -> Mapping[str, str]:
    """Keeps containerd's garbage collector from taking the chosen manifest of an index."""
    return {"containerd.io/gc.ref.content.m.0": chosen.digest}
