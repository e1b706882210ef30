"""The simulated driver passes the conformance suite, and does what its scripts and settings say."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from spinney_node.drivers import (
    Changed,
    Driver,
    DriverError,
    EngineUnavailable,
    Exited,
    ImageUnavailable,
    Unsupported,
    Workload,
)
from spinney_node.drivers import simulated as module
from spinney_node.drivers.conformance import Connect, DriverConformance, silent
from spinney_node.drivers.simulated import SimulatedDriver, World, script_of
from spinney_shared.model import MicroserviceSpec, Resources

_ids = count(1)


def workload(*environment: str, runtime: str = "simulated") -> Workload:
    spec = MicroserviceSpec(id="m1", generation=1, job_name="a.b.c.d", image="none", environment=environment)
    return Workload(f"w{next(_ids)}", 1, runtime, spec)


def with_spec(workload: Workload, **changes: Any) -> Workload:
    return replace(workload, spec=replace(workload.spec, **changes))


class Scripts:
    def staying(self) -> Workload:
        return workload()

    def stubborn(self) -> Workload:
        return workload("SIMULATE_STOP_S=3600")

    def ending(self, exit_code: int) -> Workload:
        return workload("SIMULATE_EXIT_AFTER_S=0.02", f"SIMULATE_EXIT_CODE={exit_code}")

    def printing(self, line: str) -> Workload:
        return workload(f"SIMULATE_OUTPUT={line}")

    def without_image(self) -> Workload:
        return workload("SIMULATE_FAIL=image")

    def unknown_runtime(self) -> Workload:
        return workload(runtime="kata")


class TestSimulatedDriver(DriverConformance):
    @pytest.fixture
    async def connect(self) -> AsyncIterator[Connect]:
        world, drivers = World(), list[Driver]()

        async def make() -> Driver:
            drivers.append(SimulatedDriver({"failed": {"runsc": "it is only pretended"}}, world))
            return drivers[-1]

        yield make
        for driver in drivers:
            await driver.close()

    @pytest.fixture
    def workloads(self) -> Iterator[Scripts]:
        yield Scripts()


async def test_starts_that_are_told_to_fail_do():
    driver = SimulatedDriver({})
    for word, kind in {
        "image": ImageUnavailable,
        "engine": EngineUnavailable,
        "start": DriverError,
        "unsupported": Unsupported,
    }.items():
        with pytest.raises(kind):
            await driver.start(workload(f"SIMULATE_FAIL={word}"), silent)
    assert await driver.list() == []


@pytest.mark.parametrize(
    "entry",
    [
        "SIMULATE_START_S=soon",
        "SIMULATE_START_S=-1",
        "SIMULATE_START_S=nan",
        "SIMULATE_EXIT_AFTER_S=1e9",
        "SIMULATE_EXIT_CODE=256",
        "SIMULATE_FAIL=perhaps",
        "SIMULATE_FLY=1",
    ],
)
async def test_a_script_with_mistakes_is_refused_by_name(entry: str):
    with pytest.raises(Unsupported, match=entry.split("=")[0]):
        await SimulatedDriver({}).start(workload(entry), silent)


def test_labels_script_too_and_the_environment_wins():
    labels = {"SIMULATE_EXIT_CODE": "1", "SIMULATE_START_S": "0.5"}
    script = script_of(with_spec(workload("SIMULATE_EXIT_CODE=2"), labels=labels).spec)
    assert (script.exit_code, script.start_s) == (2, 0.5)


async def test_two_starts_of_one_id_at_once_are_one():
    driver, one = SimulatedDriver({"start_s": 0.01}), workload()
    first, second = await asyncio.gather(driver.start(one, silent), driver.start(one, silent))
    assert first == second


async def test_what_runs_survives_the_engine_and_its_events_say_so():
    world = World()
    driver, one = SimulatedDriver({}, world), workload()
    events = driver.watch()
    await driver.start(one, silent)
    world.engine("taken away by the test")
    with pytest.raises(EngineUnavailable, match="taken away by the test"):
        await driver.list()
    world.engine("")
    world.end(one.id, 137, "killed by signal 9")
    assert isinstance(await anext(events), Changed)
    assert isinstance(await anext(events), Changed)
    assert await anext(events) == Exited(one.id, 137, "killed by signal 9")


async def test_a_power_cut_leaves_stopped_leftovers_that_start_again():
    world, one = World(), workload("SIMULATE_EXIT_AFTER_S=3600")
    await SimulatedDriver({}, world).start(one, silent)
    world.power_cut()
    after = SimulatedDriver({}, world)
    assert [handle.state for handle in await after.list()] == ["stopped"]
    assert (await after.start(one, silent)).state == "running"
    world.power_cut()


async def test_capacity_is_kept_and_given_back():
    driver = SimulatedDriver({"capacity": {"memory_mib": 100, "cpu_milli": 1000}})
    big, other = (with_spec(workload(), resources=Resources(memory_mib=60)) for _ in range(2))
    await driver.start(big, silent)
    with pytest.raises(DriverError, match="memory_mib"):
        await driver.start(other, silent)
    await driver.stop(big.id, 1.0)
    await driver.start(other, silent)


async def test_a_slow_watcher_is_told_to_list_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_UNREAD_EVENTS", 3)
    world = World()
    driver = SimulatedDriver({}, world)
    events = driver.watch()
    for _ in range(4):
        one = workload()
        await driver.start(one, silent)
        world.end(one.id, 0)
    assert isinstance(await anext(events), Changed)


def test_unknown_settings_are_refused():
    with pytest.raises(msgspec.ValidationError, match="runtime"):
        SimulatedDriver({"runtime": ["x"]})


async def test_an_instance_without_delay_costs_no_task_and_no_timer():
    drivers = [SimulatedDriver({}) for _ in range(20)]
    tasks = len(asyncio.all_tasks())
    for driver in drivers:
        starting = driver.start(workload(), silent)
        with pytest.raises(StopIteration):
            starting.send(None)
    assert len(asyncio.all_tasks()) == tasks
    assert all(copy.timer is None for driver in drivers for copy in driver.world.copies.values())
