"""Containers outlive us and containerd; whoever comes back sees them as they are."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from spinney_node.drivers import Changed, DriverEvent, EngineUnavailable, Exited
from spinney_node.drivers.containerd import ContainerdDriver
from spinney_node.drivers.containerd.engine import Engine

from tests.integration.engine_fixtures import STAY, script, silent
from tests.services import OwnContainerd

START_AND_DIE = """
import asyncio, json, os, signal, sys
import msgspec
from spinney_node.drivers import Workload
from spinney_node.drivers.containerd import ContainerdDriver

async def main():
    driver = ContainerdDriver(json.loads(sys.argv[1]))
    handle = await driver.start(msgspec.json.decode(sys.argv[2], type=Workload), lambda _: None)
    print(msgspec.json.encode(handle).decode(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def restartable(containerd: OwnContainerd) -> Iterator[OwnContainerd]:
    """The run's containerd, which this test may kill."""
    yield containerd
    containerd.start()


async def kill(containerd: OwnContainerd) -> None:
    await asyncio.to_thread(containerd.kill, signal.SIGKILL)


async def next_of(events: AsyncIterator[DriverEvent], kind: type[Any]) -> Any:
    async with asyncio.timeout(30):
        async for event in events:
            if isinstance(event, kind):
                return event


async def test_what_a_killed_process_started_runs_on_and_is_adopted(
    driver: ContainerdDriver, runc_settings: dict[str, Any], busybox_ref: str, engine: Engine
) -> None:
    workload = json.dumps(_plain(script(busybox_ref, *STAY)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START_AND_DIE, json.dumps(runc_settings), workload, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    started = json.loads(out)
    events = driver.watch()
    (adopted,) = await driver.list()
    assert _plain(adopted) == started
    task = await engine.tasks.get(adopted.id)
    assert task is not None
    os.kill(task.pid, signal.SIGKILL)
    assert (await next_of(events, Exited)).id == adopted.id


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)


async def test_containerd_killed_and_started_again(
    driver: ContainerdDriver, busybox_ref: str, restartable: OwnContainerd
) -> None:
    events = driver.watch()
    before = await driver.start(script(busybox_ref, *STAY), silent)
    await kill(restartable)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await driver.list()
    await asyncio.to_thread(restartable.start)
    changed = await next_of(events, DriverEvent)
    assert isinstance(changed, Changed)
    assert "is back" in changed.detail
    assert await driver.list() == [before]
    await driver.stop(before.id, 5)
    await driver.remove(before.id)
    assert await driver.list() == []


async def test_an_end_while_containerd_was_away_is_told(
    driver: ContainerdDriver, busybox_ref: str, restartable: OwnContainerd, engine: Engine
) -> None:
    events = driver.watch()
    handle = await driver.start(script(busybox_ref, *STAY), silent)
    task = await engine.tasks.get(handle.id)
    assert task is not None
    await kill(restartable)
    os.kill(task.pid, signal.SIGKILL)
    await asyncio.to_thread(restartable.start)
    ended = await next_of(events, Exited)
    assert ended.id == handle.id
    (listed,) = await driver.list()
    assert listed.state == "stopped"
    again = await driver.start(script(busybox_ref, *STAY), silent)
    assert again.state == "running"


async def test_an_end_that_no_event_told_is_found(driver: ContainerdDriver, busybox_ref: str) -> None:
    """Events may be lost: the list of what runs is compared with what should."""
    handle = await driver.start(script(busybox_ref, "sleep 0.2; exit 9"), silent)
    await asyncio.sleep(0.5)
    events = driver.watch()
    assert await next_of(events, Exited) == Exited(handle.id, 9)


async def test_containerd_that_is_not_there_is_said(engine_settings: dict[str, Any], busybox_ref: str) -> None:
    driver = ContainerdDriver({**engine_settings, "socket": "/nowhere/containerd.sock"})
    for call in (driver.fingerprint(), driver.list(), driver.start(script(busybox_ref, *STAY), silent)):
        with pytest.raises(EngineUnavailable, match=r"/nowhere/containerd\.sock"):
            await call
    await driver.close()
