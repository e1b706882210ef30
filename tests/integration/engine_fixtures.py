"""A containerd driver on a real containerd, and small images for it: what the tests of the driver and others share.

Each test gets a containerd namespace, a bridge and folders of its own; everything is taken away afterwards.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import random
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from msgspec import Struct
from spinney.stack.registry import Registry
from spinney.stack.settings import inherited_environment
from spinney_node.drivers import LogReader, Workload
from spinney_node.drivers.containerd import ContainerdDriver
from spinney_node.drivers.containerd.engine import Engine
from spinney_node.drivers.containerd.network import overlapping
from spinney_node.drivers.containerd.pb import content_pb2, images_pb2, leases_pb2, snapshots_pb2
from spinney_node.drivers.containerd.process import run
from spinney_node.drivers.containerd.settings import parse
from spinney_shared.model import MicroserviceSpec, Resources

from tests.services import OwnContainerd, need

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def descriptor(media_type: str, blob: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob), **more}


def tar(files: Mapping[str, bytes | str]) -> bytes:
    """A tar of regular files (bytes) and symbolic links (str)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class OciImage(Struct):
    """An image in memory: its blobs, and which of them is the manifest or index to begin with."""

    blobs: dict[str, bytes]
    top: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return digest(self.top)

    def push(self, registry: str, name: str, tag: str = "1") -> str:
        """Put it into a registry; the reference."""
        with httpx.Client(base_url=f"http://{registry}/v2/{name}/") as client:
            for blob in self.blobs.values():
                place = httpx.URL(client.post("blobs/uploads/").raise_for_status().headers["Location"])
                client.put(place.copy_merge_params({"digest": digest(blob)}), content=blob).raise_for_status()
            for blob in self.blobs.values():
                if blob.startswith(b'{"schemaVersion"'):
                    self._manifest(client, digest(blob), blob, MANIFEST)
            self._manifest(client, tag, self.top, self.media_type)
        return f"{registry}/{name}:{tag}"

    def _manifest(self, client: httpx.Client, version: str, blob: bytes, media_type: str) -> None:
        client.put(f"manifests/{version}", content=blob, headers={"Content-Type": media_type}).raise_for_status()


def image(layers: list[bytes], config: dict[str, Any] | None = None, architecture: str = ARCH) -> OciImage:
    """An image of these tars."""
    packed = [gzip.compress(layer, mtime=0) for layer in layers]
    settings = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, settings),
            "layers": [descriptor(LAYER, layer) for layer in packed],
        }
    ).encode()
    return OciImage({digest(b): b for b in (*packed, settings, manifest)}, manifest, MANIFEST)


def index(images: Mapping[str, OciImage]) -> OciImage:
    """One image for several architectures."""
    entries = [
        descriptor(MANIFEST, one.top, platform={"os": "linux", "architecture": arch}) for arch, one in images.items()
    ]
    top = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    return OciImage({k: v for one in images.values() for k, v in one.blobs.items()}, top, INDEX)


def busybox_layer() -> bytes:
    need("busybox")
    program = Path(shutil.which("busybox") or "").read_bytes()
    applets = ("sh", "sleep", "cat", "id", "env", "wget", "httpd", "ls", "hostname", "ip", "dd", "kill", "nc", "pwd")
    return tar({"bin/busybox": program, **{f"bin/{name}": "busybox" for name in applets}, "www/index.html": b"hello\n"})


@pytest.fixture(scope="session")
def busybox_image() -> OciImage:
    """A shell and a few tools."""
    return image([busybox_layer()], {"Cmd": ["/bin/sh"], "Env": ["FROM_IMAGE=yes"], "WorkingDir": "/www"})


@pytest.fixture(scope="session")
def busybox_ref(busybox_image: OciImage, registry: Registry) -> str:
    """`busybox_image` in the registry."""
    return busybox_image.push(registry.address, "tests/busybox")


def free_subnet() -> str:
    """One that nobody on this machine uses; other test runs choose at the same time, hence at random."""
    routes = Path("/proc/net/route").read_text()
    while True:
        subnet = f"10.{random.randrange(64, 128)}.{random.randrange(256)}.0/24"
        if not overlapping(routes, IPv4Network(subnet), ""):
            return subnet


def candidate_settings(containerd: OwnContainerd) -> dict[str, Any]:
    """Settings for a driver on that containerd that shares nothing with another one's."""
    run_dir = tempfile.mkdtemp(prefix="sp-", dir="/tmp")  # short: runtimes make sockets below it
    return {
        "socket": str(containerd.socket),
        "namespace": f"t-{uuid.uuid4().hex[:8]}",
        "state_dir": f"{run_dir}/state",
        "run_dir": f"{run_dir}/run",
        "bridge": f"spt{uuid.uuid4().hex[:8]}",
        "subnet": free_subnet(),
        "config_path": str(containerd.config_file),
    }


async def clean(settings: dict[str, Any]) -> None:
    """Take away all containers, the network and the folders of a driver with these settings."""
    engine = Engine(parse(settings))
    try:
        await engine.api.connect()
        for container in await engine.containers.list():
            await engine.destroy(container.id)
    finally:
        await engine.close()
        await run(["ip", "link", "del", settings["bridge"]])
        await run(["nft", "delete", "table", "ip", f"spinney_{settings['bridge']}"])
        shutil.rmtree(Path(settings["run_dir"]).parent, ignore_errors=True)


@pytest.fixture
async def engine_settings(containerd: OwnContainerd) -> AsyncIterator[dict[str, Any]]:
    """Settings of a containerd driver; what they make is taken away after the test."""
    need("ip", "nft")
    settings = candidate_settings(containerd)
    yield settings
    await clean(settings)


@pytest.fixture
def runc_settings(engine_settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """As `engine_settings`, on a machine that has runc only: there is one canary to run, not three."""
    need("runc")
    (tmp_path / "runc").symlink_to(shutil.which("runc", path=inherited_environment()["PATH"]) or "")
    return {**engine_settings, "search_path": str(tmp_path)}


@pytest.fixture
async def driver(runc_settings: dict[str, Any]) -> AsyncIterator[ContainerdDriver]:
    """A driver with runc."""
    driver = ContainerdDriver(runc_settings)
    yield driver
    await driver.close()


@pytest.fixture
async def engine(engine_settings: dict[str, Any]) -> AsyncIterator[Engine]:
    """The engine below the driver."""
    engine = Engine(parse(engine_settings))
    yield engine
    await engine.close()


def script(ref: str, *lines: str, runtime: str = "runc", **more: Any) -> Workload:
    """A workload that runs a shell script in `busybox_image`."""
    id = uuid.uuid4().hex[:20]
    more.setdefault("resources", Resources())
    spec = MicroserviceSpec(
        id=f"m-{id}",
        generation=1,
        job_name="shop.prod.web.prod",
        image=ref,
        runtime=runtime,
        command=("/bin/sh", "-c", "\n".join(lines)),
        **more,
    )
    return Workload(id, 1, runtime, spec)


STAY = ("trap 'exit 0' TERM", "sleep 1000 & wait")
"""Runs until it is asked to end."""


def silent(_: str) -> None:
    """Progress that nobody reads."""


async def printed(driver: LogReader, id: str, words: bytes) -> None:
    """Wait until the workload has printed the words."""
    seen = b""
    for _ in range(400):
        if words in (seen := await driver.logs(id, 65536)):
            return
        await anyio.sleep(0.05)
    pytest.fail(f"{id} did not print {words!r} but {seen!r}")


def tiny(text: str, layers: int = 1) -> OciImage:
    return image([tar({f"file{n}": text.encode()}) for n in range(layers)], {"Cmd": ["/x"], "Env": [f"TEXT={text}"]})


async def collect(engine: Engine) -> None:
    """Make containerd collect its garbage now; left to itself it waits for a hundred changes."""
    created = await engine.api.call("leases.v1.Leases/Create", leases_pb2.CreateRequest(), leases_pb2.CreateResponse)
    await engine.api.tell("leases.v1.Leases/Delete", leases_pb2.DeleteRequest(id=created.lease.id, sync=True))


async def left_behind(engine: Engine) -> list[str]:
    """Images, blobs, leases and snapshots of the engine's namespace."""
    api, snapshots = engine.api, snapshots_pb2.ListSnapshotsRequest(snapshotter=engine.settings.snapshotter)
    images = await api.call("images.v1.Images/List", images_pb2.ListImagesRequest(), images_pb2.ListImagesResponse)
    leases = await api.call("leases.v1.Leases/List", leases_pb2.ListRequest(), leases_pb2.ListResponse)
    found = [*(i.name for i in images.images), *(lease.id for lease in leases.leases)]
    async for page in api.stream("snapshots.v1.Snapshots/List", snapshots, snapshots_pb2.ListSnapshotsResponse):
        found += [info.name for info in page.info]
    async for page in api.stream("content.v1.Content/List", content_pb2.InfoRequest(), content_pb2.InfoResponse):
        found.append(page.info.digest)
    return found
