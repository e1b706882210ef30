"""The end of a local stack takes away what its node left running: containers, shims, addresses, published ports."""

import subprocess
from pathlib import Path

import httpx
import pytest
from spinney.demo.image import PORT, ensure_demo_image
from spinney.stack import Stack
from spinney.stack.ports import free_port
from spinney.stack.process import find_processes
from spinney.stack.services import bridge, driver_settings
from spinney_node.drivers import Workload
from spinney_node.drivers.containerd import ContainerdDriver
from spinney_shared.model import InstanceKey, MicroserviceSpec, PortMapping, driver_id

from tests.services import need


def rules() -> str:
    tables = (["iptables-save"], ["nft", "list", "ruleset"])
    return "\n".join(subprocess.run(words, capture_output=True, text=True, check=True).stdout for words in tables)


def traces(stack: Stack, address: str) -> list[str]:
    """What of the stack is still to be seen on this machine."""
    found = {
        "a published port": address in rules(),
        "the bridge": Path("/sys/class/net", bridge(stack.folder)).exists(),
        "a shim": bool(find_processes("containerd-shim", str(stack.containerd.socket))),
        "a mount": str(stack.folder.runtime_folder) in Path("/proc/self/mounts").read_text(),
        "the runtime folder": stack.folder.runtime_folder.exists(),
    }
    return [what for what, there in found.items() if there]


async def start_instance(stack: Stack, host_port: int) -> str:
    """What the node would do for one instance; returns its address."""
    spec = MicroserviceSpec(
        id="m1",
        generation=1,
        job_name="demo.test.hello.test",
        image=await ensure_demo_image(stack.registry.address),
        ports=(PortMapping(host=host_port, container=PORT),),
    )
    driver = ContainerdDriver(dict(driver_settings(stack.containerd)))
    try:
        await driver.fingerprint()
        workload = Workload(id=driver_id(InstanceKey("m1", 0), 1), number=0, runtime="runc", spec=spec)
        return (await driver.start(workload, lambda _: None)).address
    finally:
        await driver.close()


@pytest.mark.parametrize("crash", [False, True], ids=["orderly", "containerd crashed"])
async def test_nothing_is_left_behind(tmp_path: Path, crash: bool) -> None:
    need("containerd", "ctr", "runc", "docker-registry", "busybox", "ip", "nft", "iptables-save")
    async with Stack(tmp_path / "state") as stack:
        await stack.start(["containerd", "registry"])
        address = await start_instance(stack, free_port())
        async with httpx.AsyncClient() as client:
            assert "Hello" in (await client.get(f"http://{address}:{PORT}/", timeout=10)).text
        assert "a published port" in traces(stack, address)
        if stack.containerd.own and crash:
            await stack.kill("containerd")
    assert traces(stack, address) == []
