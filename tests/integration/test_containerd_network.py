"""The containers' network: reached from here, out to elsewhere, published ports, nothing left behind."""

import os
import random
import socket
import time
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from spinney_node.drivers import DriverError
from spinney_node.drivers.containerd import ContainerdDriver
from spinney_node.drivers.containerd.containers import STALE_S
from spinney_node.drivers.containerd.network import Network
from spinney_node.drivers.containerd.process import run
from spinney_node.drivers.containerd.settings import parse
from spinney_shared.model import PortMapping

from tests.integration.engine_fixtures import STAY, printed, script, silent
from tests.services import need

SERVE = ("trap 'exit 0' TERM", "httpd -f -p 8080 -h /www & wait")


async def page(url: str) -> str:
    """What a server that may still be starting answers."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(100):
            try:
                return (await client.get(url, timeout=2)).text
            except httpx.TransportError:
                await anyio.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


async def nat_rules() -> str:
    return (await run(["iptables-save", "-t", "nat"])).out.decode()


async def emptied(bridge: str) -> bool:
    """Whether no interface stays on it: the kernel deletes them a moment after their namespace."""
    for _ in range(100):
        if not list(Path(f"/sys/class/net/{bridge}/brif").glob("*")):  # noqa: ASYNC240 - sysfs does not block
            return True
        await anyio.sleep(0.05)
    return False


async def test_containers_have_addresses_and_reach_each_other(
    driver: ContainerdDriver, busybox_ref: str, engine_settings: dict[str, Any]
) -> None:
    one = await driver.start(script(busybox_ref, *SERVE), silent)
    assert await page(f"http://{one.address}:8080/index.html") == "hello\n"
    fetch = f"until wget -q -O - http://{one.address}:8080/; do sleep 0.1; done"
    other = await driver.start(script(busybox_ref, STAY[0], fetch, STAY[1]), silent)
    assert {h.id: h.address for h in await driver.list()} == {one.id: one.address, other.id: other.address}
    assert one.address != other.address
    await printed(driver, other.id, b"hello\n")
    for handle in (one, other):
        await driver.remove(handle.id)
    assert await emptied(engine_settings["bridge"])
    assert await Network(parse(engine_settings)).addresses() == {}


async def test_a_stopped_container_gives_its_address_back(
    driver: ContainerdDriver, busybox_ref: str, engine_settings: dict[str, Any]
) -> None:
    handle = await driver.start(script(busybox_ref, *STAY), silent)
    await driver.stop(handle.id, 5)
    assert [h.address for h in await driver.list()] == [""]
    assert await Network(parse(engine_settings)).addresses() == {}


async def test_published_ports_lead_inside_and_are_taken_back(driver: ContainerdDriver, busybox_ref: str) -> None:
    need("iptables-save")
    port = free_port()
    workload = script(busybox_ref, *SERVE, ports=(PortMapping(port, 8080),))
    await driver.start(workload, silent)
    assert await page(f"http://127.0.0.1:{port}/index.html") == "hello\n"
    assert f"--dport {port} " in await nat_rules()
    await driver.remove(workload.id)
    assert f"--dport {port} " not in await nat_rules()


async def test_containers_reach_what_this_machine_reaches(driver: ContainerdDriver, busybox_ref: str) -> None:
    """A host elsewhere that knows no way back to the containers' subnet answers all the same: by masquerading."""
    need("busybox")
    name, net = f"sp{os.getpid()}", f"198.18.{random.randrange(256)}"
    setup = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name],
        ["ip", "addr", "add", f"{net}.1/30", "dev", name],
        ["ip", "link", "set", name, "up"],
        ["ip", "-n", name, "addr", "add", f"{net}.2/30", "dev", "eth0"],
        ["ip", "-n", name, "link", "set", "eth0", "up"],
        ["ip", "netns", "exec", name, "busybox", "nc", "-l", "-p", "80", "-e", "busybox", "echo", "far"],
    ]
    try:
        for command in setup[:-1]:
            assert (await run(command)).code == 0, command
        async with await anyio.open_process(setup[-1]) as server:
            ask = f"until nc {net}.2 80 </dev/null; do sleep 0.1; done"
            handle = await driver.start(script(busybox_ref, STAY[0], ask, STAY[1]), silent)
            await printed(driver, handle.id, b"far")
            if server.returncode is None:
                server.kill()
    finally:
        await run(["ip", "link", "del", name])
        await run(["ip", "netns", "del", name])


async def test_addresses_that_a_dead_process_left_are_swept_but_new_ones_are_not(
    engine_settings: dict[str, Any], driver: ContainerdDriver, busybox_ref: str
) -> None:
    living = await driver.start(script(busybox_ref, *STAY), silent)
    folder = Path(engine_settings["run_dir"]) / "networks" / engine_settings["bridge"]
    before = time.time() - STALE_S - 60
    base = living.address.rpartition(".")[0]
    for last, id, at in ((201, "dead", before), (202, "being-made", time.time())):
        (folder / f"{base}.{last}").write_text(f"{id}\r\neth0")
        os.utime(folder / f"{base}.{last}", (at, at))
    os.utime(folder / living.address, (before, before))
    network = Network(parse(engine_settings))
    await network.prepare({living.id})
    assert set(await network.addresses()) == {living.id, "being-made"}


async def test_a_subnet_in_use_is_refused(engine_settings: dict[str, Any]) -> None:
    name = f"sp{os.getpid()}"
    await run(["ip", "link", "add", name, "type", "bridge"])
    await run(["ip", "link", "set", name, "up"])
    await run(["ip", "addr", "add", engine_settings["subnet"].replace(".0/24", ".9/24"), "dev", name])
    try:
        network = Network(parse(engine_settings))
        with pytest.raises(DriverError, match=rf"overlaps .* on {name}: choose another"):
            await network.prepare(())
    finally:
        await run(["ip", "link", "del", name])


async def test_a_bridge_of_somebody_else_is_refused(engine_settings: dict[str, Any]) -> None:
    await Network(parse(engine_settings)).prepare(())
    other = parse({**engine_settings, "run_dir": "/tmp/elsewhere"})
    with pytest.raises(DriverError, match="belongs to the driver with run_dir"):
        await Network(other).prepare(())
    await run(["ip", "link", "set", engine_settings["bridge"], "alias", ""])
    with pytest.raises(DriverError, match="is not ours"):
        await Network(parse(engine_settings)).prepare(())


async def test_a_missing_plugin_is_said_and_leaves_nothing(runc_settings: dict[str, Any], busybox_ref: str) -> None:
    """The canary needs a network as well, so nothing is verified, and the reason is the plugin."""
    driver = ContainerdDriver({**runc_settings, "cni_dir": "/nowhere"})
    infos = await driver.fingerprint()
    assert all("/nowhere/bridge cannot be started" in info.reason for info in infos if info.name == "runc")
    assert await driver.list() == []
    await driver.close()
