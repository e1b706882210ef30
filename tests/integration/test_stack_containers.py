"""containerd and the registry of the local stack, and the demo's image on both."""

import os
import signal
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from spinney.demo.image import REPOSITORY, TAG, build, digest, ensure_demo_image
from spinney.stack.process import find_processes
from spinney.stack.registry import Registry

from tests.services import OwnContainerd, need


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnContainerd]:
    """Not the run's own: these tests kill it and remove whatever it runs."""
    need("containerd", "ctr", "runc")
    daemon = OwnContainerd(tmp_path_factory.mktemp("own-containerd"))
    daemon.start()
    yield daemon
    daemon.stop()


def ctr(containerd: OwnContainerd, *words: str) -> str:
    command = ["ctr", "--address", str(containerd.socket), "--namespace", containerd.namespace, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
async def image(containerd: OwnContainerd, registry: Registry) -> str:
    need("busybox")
    reference = await ensure_demo_image(registry.address)
    ctr(containerd, "images", "pull", "--plain-http", reference)
    return reference


async def test_the_demo_image_is_pushed_once_and_named_by_digest(registry: Registry) -> None:
    need("busybox")
    first = await ensure_demo_image(registry.address)
    uploads = [path.stat().st_mtime_ns for path in registry.folder.data("registry").rglob("data")]
    assert await ensure_demo_image(registry.address) == first
    assert uploads == [path.stat().st_mtime_ns for path in registry.folder.data("registry").rglob("data")]
    async with httpx.AsyncClient() as client:
        url = f"http://{registry.address}/v2/{REPOSITORY}/manifests/{TAG}"
        answer = await client.get(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    assert first.endswith(digest(answer.content))


def test_the_same_busybox_gives_the_same_image() -> None:
    assert build(b"program", "x86_64") == build(b"program", "x86_64")
    assert build(b"program", "x86_64") != build(b"program", "aarch64")


async def test_a_container_runs_on_after_containerd_was_killed_and_ends_on_sigterm(
    containerd: OwnContainerd, image: str
) -> None:
    ctr(containerd, "run", "--detach", image, "survivor")
    before = ctr(containerd, "tasks", "ls")
    containerd.kill(signal.SIGKILL)
    assert not containerd.running
    containerd.start()
    assert ctr(containerd, "tasks", "ls") == before
    assert "RUNNING" in before
    ctr(containerd, "tasks", "kill", "survivor")  # SIGTERM: the image's shell has a trap for it
    ctr(containerd, "tasks", "rm", "survivor")
    ctr(containerd, "containers", "rm", "survivor")


async def test_removing_containers_leaves_no_container_and_no_shim(containerd: OwnContainerd, image: str) -> None:
    ctr(containerd, "run", "--detach", image, "left-over")
    shims = find_processes("containerd-shim", str(containerd.socket))
    assert len(shims) == 1
    containerd.remove_containers()
    assert find_processes("containerd-shim", str(containerd.socket)) == []
    assert ctr(containerd, "containers", "ls", "--quiet") == ""


async def test_shims_are_ended_even_when_containerd_is_gone(containerd: OwnContainerd, image: str) -> None:
    ctr(containerd, "run", "--detach", image, "orphan")
    containerd.kill(signal.SIGKILL)
    containerd.remove_containers()
    assert find_processes("containerd-shim", str(containerd.socket)) == []
    containerd.start()
    containerd.remove_containers()


def test_the_socket_is_for_its_owner_and_its_path_is_short(containerd: OwnContainerd) -> None:
    assert len(os.fsencode(f"{containerd.socket}.ttrpc")) < 108
    assert containerd.socket.parent.stat().st_mode & 0o077 == 0
