"""A small HTTP server as an OCI image, made on the spot: the demonstration needs no image from the internet.

The image is Debian's static busybox and one page. The same input gives the same bytes, so a registry that has the
image already is only asked.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import platform
import tarfile

import anyio
import httpx
import msgspec
from msgspec import Struct

from spinney.stack.errors import StackError
from spinney.stack.tools import program

REPOSITORY = "spinney/hello"
TAG = "1"
PORT = 80
PAGE = "<!doctype html><title>Spinney</title><h1>Hello from a container that Spinney placed.</h1>\n"

_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_GOARCH = {"x86_64": "amd64", "aarch64": "arm64"}
_TIMEOUT_S = 30
# The first process of a container ignores SIGTERM unless it handles it: hence a shell with a trap around the server.
_COMMAND = ("/bin/sh", "-c", f"trap 'exit 0' TERM; httpd -f -p {PORT} -h /www & wait")


class Image(Struct, frozen=True):
    """An image as a registry stores it: the manifest, and what the manifest names."""

    manifest: bytes
    config: bytes
    layer: bytes


def digest(content: bytes) -> str:
    """The content's name in a registry."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def build(busybox: bytes, machine: str) -> Image:
    """The image for a static busybox of this machine (as ``uname -m`` names it)."""
    tar = _layer(busybox)
    layer = gzip.compress(tar, compresslevel=1, mtime=0)  # for the loopback: speed, not size
    config = {
        "architecture": _GOARCH.get(machine, machine),
        "os": "linux",
        "config": {"Cmd": _COMMAND, "Env": ["PATH=/bin"], "ExposedPorts": {f"{PORT}/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
    }
    packed = msgspec.json.encode(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": _descriptor(_CONFIG_TYPE, packed),
        "layers": [_descriptor(_LAYER_TYPE, layer)],
    }
    return Image(msgspec.json.encode(manifest), packed, layer)


def _descriptor(media_type: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def _layer(busybox: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("bin", "www", "tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for name, content, mode in (("bin/busybox", busybox, 0o755), ("www/index.html", PAGE.encode(), 0o644)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
        for applet in ("sh", "httpd", "ls", "cat", "ps", "wget", "sleep", "kill"):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return out.getvalue()


async def ensure_demo_image(registry: str) -> str:
    """The reference, by digest, of the image in this registry (``host:port``); pushes it when it is not there yet.

    Raises StackError when there is no busybox or the registry does not take the image.
    """
    busybox = await anyio.Path(program("busybox", "busybox-static")).read_bytes()
    image = build(busybox, platform.machine())
    name = digest(image.manifest)
    async with httpx.AsyncClient(base_url=f"http://{registry}/v2/{REPOSITORY}/", timeout=_TIMEOUT_S) as client:
        try:
            if (
                await client.head(f"manifests/{name}", headers={"Accept": _MANIFEST_TYPE})
            ).status_code != httpx.codes.OK:
                await _push(client, image)
        except httpx.HTTPError as error:
            raise StackError(f"the registry at {registry} did not take the demo's image: {error}") from error
    return f"{registry}/{REPOSITORY}:{TAG}@{name}"


async def _push(client: httpx.AsyncClient, image: Image) -> None:
    for blob in (image.layer, image.config):
        begun = (await client.post("blobs/uploads/")).raise_for_status()
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest(blob)})
        (await client.put(place, content=blob)).raise_for_status()
    headers = {"Content-Type": _MANIFEST_TYPE}
    (await client.put(f"manifests/{TAG}", content=image.manifest, headers=headers)).raise_for_status()
