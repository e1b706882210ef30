"""The OCI image around the canary, made in memory: one layer with one file, its configuration and its manifest."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Final

import msgspec
from msgspec import Struct

from .canary import program

REFERENCE: Final = "spinney.local/canary:1"
"""A name no registry can have: the image is only ever brought in from memory."""

_OCI: Final = "application/vnd.oci.image"


class Image(Struct, frozen=True):
    """An image as its blobs, digest → bytes."""

    reference: str
    manifest_digest: str
    blobs: dict[str, bytes]


def canary_image(arch: str) -> Image:
    """The canary's image for a GOARCH name; the same bytes on every call. Raises KeyError for an unknown name."""
    layer = _layer("canary", program(arch))
    config = msgspec.json.encode(
        {
            "architecture": arch,
            "os": "linux",
            "config": {"Entrypoint": ["/canary"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    )
    manifest = msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor("config.v1+json", config),
            "layers": [_descriptor("layer.v1.tar", layer)],
        }
    )
    return Image(REFERENCE, digest(manifest), {digest(blob): blob for blob in (layer, config, manifest)})


def digest(blob: bytes) -> str:
    """``sha256:…`` of some bytes."""
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _descriptor(kind: str, blob: bytes) -> dict[str, str | int]:
    return {"mediaType": f"{_OCI}.{kind}", "digest": digest(blob), "size": len(blob)}


def _layer(name: str, content: bytes) -> bytes:
    """An uncompressed layer that holds one executable file, owned by root, dated 1970."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
