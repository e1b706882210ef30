"""What a container is given, what its end looks like, and what stays of it: nothing."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from spinney.stack.process import find_processes
from spinney_node.drivers import DriverError, Exited
from spinney_node.drivers.conformance import exit_of
from spinney_node.drivers.containerd import ContainerdDriver
from spinney_node.drivers.containerd.engine import Engine
from spinney_shared.model import Resources

from tests.integration.engine_fixtures import STAY, printed, script, silent
from tests.services import OwnContainerd


async def output(driver: ContainerdDriver, ref: str, *lines: str, **more: Any) -> str:
    workload = script(ref, *lines, "echo the end", **more)
    await driver.start(workload, silent)
    await printed(driver, workload.id, b"the end")
    return (await driver.logs(workload.id, 65536)).decode()


async def test_what_is_inside(driver: ContainerdDriver, busybox_ref: str) -> None:
    text = await output(
        driver,
        busybox_ref,
        "env; pwd; hostname; id -u; cat /etc/hosts; cat /proc/self/status; cat /proc/1/cgroup",
        "(echo x > /proc/sys/kernel/hostname) 2>&1; cat /proc/mounts; ip addr",
        environment=("MINE=1", "FROM_IMAGE=changed"),
        resources=Resources(memory_mib=32, cpu_milli=500),
    )
    lines = text.splitlines()
    assert {"MINE=1", "FROM_IMAGE=changed", "/www", "web-1", "0"} <= set(lines)
    assert "FROM_IMAGE=yes" not in lines
    assert re.search(r"^10\.\d+\.\d+\.\d+\tweb-1$", text, re.M), "its own name and address in /etc/hosts"
    assert "CapEff:\t00000000a80425fb" in lines, "the default capabilities and no others"
    assert "NoNewPrivs:\t1" in lines
    assert "Read-only file system" in text
    assert re.search(r"^sysfs /sys sysfs ro,", text, re.M)
    assert re.search(r"^\S+ (/proc/(kcore|keys|timer_list|scsi)|/sys/firmware) ", text, re.M), "masked"
    assert re.search(r"inet 127\.0\.0\.1/8", text), "the loopback interface is up"
    assert re.search(r"inet 10\.\S+ brd .* eth0", text)


async def test_privileged(driver: ContainerdDriver, busybox_ref: str) -> None:
    text = await output(driver, busybox_ref, "cat /proc/self/status", privileged=True)
    assert "NoNewPrivs:\t0" in text
    assert "CapBnd:\t00000000a80425fb" not in text


def _read(file: Path) -> str:
    return file.read_text().strip()


async def test_limits_reach_the_kernel(driver: ContainerdDriver, busybox_ref: str, engine: Engine) -> None:
    workload = script(busybox_ref, *STAY, resources=Resources(memory_mib=24, cpu_milli=250))
    await driver.start(workload, silent)
    task = await engine.tasks.get(workload.id)
    assert task is not None
    lines = [line.split(":", 2) for line in _read(Path(f"/proc/{task.pid}/cgroup")).splitlines()]
    controllers = {name or "unified": path for _, names, path in lines for name in names.split(",")}
    root = Path("/sys/fs/cgroup")
    if (memory := root / "memory" / controllers.get("memory", "none").strip("/")).is_dir():
        assert _read(memory / "memory.limit_in_bytes") == str(24 << 20)
        assert _read(root / "cpu" / controllers["cpu"].strip("/") / "cpu.cfs_quota_us") == "25000"
    else:
        unified = root / controllers["unified"].strip("/")
        assert _read(unified / "memory.max") == str(24 << 20)
        assert _read(unified / "cpu.max") == "25000 100000"


async def test_too_much_memory_is_told_as_that(driver: ContainerdDriver, busybox_ref: str) -> None:
    events = driver.watch()
    eat = "sleep 0.3; exec dd if=/dev/zero of=/dev/null bs=200M count=1"
    workload = script(busybox_ref, eat, resources=Resources(memory_mib=24))
    await driver.start(workload, silent)
    ended = await exit_of(events, workload.id)
    assert (ended.exit_code, ended.detail) == (137, "out of memory (limit 24 MiB)")


async def test_a_signal_is_told_by_name(driver: ContainerdDriver, busybox_ref: str, engine: Engine) -> None:
    events = driver.watch()
    workload = script(busybox_ref, *STAY)
    await driver.start(workload, silent)
    task = await engine.tasks.get(workload.id)
    assert task is not None
    os.kill(task.pid, 9)
    assert await exit_of(events, workload.id) == Exited(workload.id, 137, "killed by signal 9 (SIGKILL)")
    (listed,) = await driver.list()
    assert (listed.state, listed.exit_code, listed.detail) == ("stopped", 137, "killed by signal 9 (SIGKILL)")


async def test_a_stop_lets_it_end_by_itself(driver: ContainerdDriver, busybox_ref: str) -> None:
    workload = script(busybox_ref, "trap 'echo bye; exit 3' TERM", "echo ready", STAY[1])
    await driver.start(workload, silent)
    await printed(driver, workload.id, b"ready")
    await driver.stop(workload.id, 10)
    (stopped,) = await driver.list()
    assert (stopped.state, stopped.exit_code) == ("stopped", 3)
    assert await driver.logs(workload.id, 4) == b"bye\n"


async def test_an_end_at_once_is_told_although_start_still_reports(driver: ContainerdDriver, busybox_ref: str) -> None:
    events = driver.watch()
    for code in (1, 2, 3):
        workload = script(busybox_ref, f"exit {code}")
        await driver.start(workload, silent)
        assert (await exit_of(events, workload.id)).exit_code == code


@pytest.mark.parametrize("command", ["/no/such/program", "/www"])
async def test_what_cannot_start_leaves_nothing(
    driver: ContainerdDriver, busybox_ref: str, engine: Engine, containerd: OwnContainerd, command: str
) -> None:
    workload = script(busybox_ref)
    workload = replace(workload, spec=replace(workload.spec, command=(command,)))
    with pytest.raises(DriverError, match=command):
        await driver.start(workload, silent)
    assert await driver.list() == []
    await nothing_left(engine, containerd, workload.id)


async def nothing_left(engine: Engine, containerd: OwnContainerd, id: str) -> None:
    assert await engine.containers.get(id) is None
    assert await engine.tasks.get(id) is None
    assert id not in await engine.network.addresses()
    assert find_processes("containerd-shim", id) == []
    assert not (Path(engine.settings.state_dir) / "containers" / id).exists()
    await engine.containers.prepare_snapshot(id, "")  # fails when the old one is still there
    await engine.containers.remove_snapshot(id)


async def test_nothing_is_left_of_a_removed_one(
    driver: ContainerdDriver, busybox_ref: str, engine: Engine, containerd: OwnContainerd
) -> None:
    workload = script(busybox_ref, *STAY)
    await driver.start(workload, silent)
    assert find_processes("containerd-shim", workload.id) != []
    await driver.stop(workload.id, 5)
    await driver.remove(workload.id)
    await nothing_left(engine, containerd, workload.id)


async def test_a_start_given_up_half_way_leaves_nothing(
    driver: ContainerdDriver, busybox_ref: str, engine: Engine, containerd: OwnContainerd
) -> None:
    await driver.fingerprint()
    for after_s in (0.01, 0.03, 0.06, 0.09):
        workload = script(busybox_ref, *STAY)
        starting = asyncio.create_task(driver.start(workload, silent))
        await asyncio.sleep(after_s)
        starting.cancel()
        await asyncio.wait([starting])
        if starting.cancelled():
            await nothing_left(engine, containerd, workload.id)


@pytest.mark.parametrize("id", ["../..", "", "a/b", ".", "a\0"])
async def test_an_id_is_never_a_path(driver: ContainerdDriver, id: str) -> None:
    for call in (driver.logs(id, 10), driver.remove(id)):
        with pytest.raises(DriverError):
            await call
