"""What every driver must do, as tests that a driver's author subclasses; needs pytest and pytest-asyncio.

A driver opts in with a subclass and two fixtures::

    class TestMyDriver(DriverConformance):
        @pytest.fixture
        async def connect(self): ...    # a callable: each call makes one more driver object on the same engine
        @pytest.fixture
        def workloads(self): ...        # the engine's way to say "stays", "ends with 3", … : see `Workloads`

Whoever makes the engine also cleans it: the fixtures must leave nothing of a failed test behind. The suite asserts no
durations; its deadlines only keep a broken driver from hanging it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal, Protocol

import pytest

from . import Driver, DriverEvent, Exited, Handle, ImageUnavailable, LogReader, Unsupported, Workload

DEADLINE_S = 15.0
"""Longer than any engine needs for a small container on a busy machine."""

QUIET_S = 0.3
"""How long the suite listens before it believes that no event comes."""

Connect = Callable[[], Awaitable[Driver]]


class Workloads(Protocol):
    """Makes workloads, each with an id of its own; the subclass knows how its engine is told to do these things."""

    def staying(self) -> Workload:
        """Runs until it is stopped, and ends soon when asked to."""
        ...

    def stubborn(self) -> Workload:
        """Runs until it is killed: does not heed being asked."""
        ...

    def ending(self, exit_code: int) -> Workload:
        """Ends by itself with this code, some tenths of a second after its start."""
        ...

    def printing(self, line: str) -> Workload:
        """Prints the line, then stays."""
        ...

    def without_image(self) -> Workload:
        """Names an image that cannot be had."""
        ...

    def unknown_runtime(self) -> Workload:
        """Names a runtime that this driver does not have."""
        ...


def silent(_: str) -> None:
    """Progress that nobody reads."""


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for the condition; fails the test by name at the deadline."""
    for _ in range(int(DEADLINE_S / 0.05)):
        if await condition():
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"waited {DEADLINE_S:.0f} s for: {what}")


async def found(driver: Driver, id: str) -> Handle | None:
    """The workload as the driver lists it, or None."""
    handles = [handle for handle in await driver.list() if handle.id == id]
    assert len(handles) <= 1, f"{id} is listed {len(handles)} times"
    return handles[0] if handles else None


async def has_state(driver: Driver, id: str, state: Literal["running", "stopped"]) -> bool:
    """Whether the driver lists it in this state."""
    handle = await found(driver, id)
    return handle is not None and handle.state == state


async def exit_of(events: AsyncIterator[DriverEvent], id: str) -> Exited:
    """The first Exited of this id; other events are passed over."""
    async with asyncio.timeout(DEADLINE_S):
        async for event in events:
            if isinstance(event, Exited) and event.id == id:
                return event
    raise AssertionError("watch() ended, which it must not do by itself")


@pytest.mark.asyncio
class DriverConformance:
    """The suite; subclass it and give it the fixtures `connect` and `workloads`."""

    async def test_fingerprint_has_one_default_and_a_reason_for_each_failure(self, connect: Connect) -> None:
        """Verified runtimes are named once, at most one is the default, and failed ones say why."""
        driver = await connect()
        infos = await driver.fingerprint()
        names = [info.name for info in infos]
        assert len(names) == len(set(names)), f"a runtime is named twice: {names}"
        assert all(info.driver == driver.name for info in infos)
        assert all(info.reason for info in infos if info.state == "failed")
        defaults = [info for info in infos if info.default]
        assert len(defaults) <= 1
        assert all(info.state == "verified" for info in defaults)

    async def test_fingerprint_leaves_nothing_behind(self, connect: Connect) -> None:
        """Canaries are not listed as workloads, and are gone."""
        driver = await connect()
        await driver.fingerprint()
        assert await driver.list() == []

    async def test_start_runs_and_lists(self, connect: Connect, workloads: Workloads) -> None:
        """The handle says what was asked for, and the list says the same."""
        driver, workload = await connect(), workloads.staying()
        handle = await driver.start(workload, silent)
        assert (handle.id, handle.state, handle.runtime) == (workload.id, "running", workload.runtime)
        assert (handle.microservice, handle.number) == (workload.spec.id, workload.number)
        assert handle.generation == workload.spec.generation
        assert handle.started_at > 0
        assert await has_state(driver, workload.id, "running")

    async def test_start_twice_is_one(self, connect: Connect, workloads: Workloads) -> None:
        """Starting what runs returns it as it is: not a second one, not a new one."""
        driver, workload = await connect(), workloads.staying()
        first = await driver.start(workload, silent)
        await asyncio.sleep(0.05)
        second = await driver.start(workload, silent)
        assert second.started_at == pytest.approx(first.started_at, abs=0.01)
        assert len(await driver.list()) == 1

    async def test_a_second_driver_adopts(self, connect: Connect, workloads: Workloads) -> None:
        """What runs survives its driver object; another one sees the same, hears its end, and can end it."""
        first, staying, ending = await connect(), workloads.staying(), workloads.ending(4)
        before = await first.start(staying, silent)
        await first.close()
        second = await connect()
        after = await found(second, staying.id)
        assert after is not None
        assert (after.state, after.key, after.generation) == ("running", before.key, before.generation)
        assert after.runtime == before.runtime
        assert after.started_at == pytest.approx(before.started_at, abs=0.01)
        assert (await second.start(staying, silent)).state == "running"
        events = second.watch()
        await second.start(ending, silent)
        assert (await exit_of(events, ending.id)).exit_code == 4
        await second.stop(staying.id, 5.0)
        await second.remove(staying.id)
        assert await found(second, staying.id) is None

    async def test_the_end_of_an_adopted_workload_is_told(self, connect: Connect, workloads: Workloads) -> None:
        """Started by one driver object, ended while another one watches."""
        first, workload = await connect(), workloads.ending(5)
        await first.start(workload, silent)
        await first.close()
        second = await connect()
        events = second.watch()
        listed = await found(second, workload.id)
        assert listed is not None
        if listed.state == "running":
            assert (await exit_of(events, workload.id)).exit_code == 5
        assert (await found(second, workload.id) or listed).exit_code == 5

    async def test_stop_then_remove(self, connect: Connect, workloads: Workloads) -> None:
        """A stopped workload is listed until it is removed."""
        driver, workload = await connect(), workloads.staying()
        await driver.start(workload, silent)
        await driver.stop(workload.id, 10.0)
        assert await has_state(driver, workload.id, "stopped")
        await driver.stop(workload.id, 10.0)
        await driver.remove(workload.id)
        assert await found(driver, workload.id) is None

    async def test_stop_kills_what_does_not_heed(self, connect: Connect, workloads: Workloads) -> None:
        """After the grace it is forced."""
        driver, workload = await connect(), workloads.stubborn()
        await driver.start(workload, silent)
        async with asyncio.timeout(DEADLINE_S):
            await driver.stop(workload.id, 0.2)
        assert await has_state(driver, workload.id, "stopped")

    async def test_remove_forces_a_running_one(self, connect: Connect, workloads: Workloads) -> None:
        """`remove` alone is enough."""
        driver, workload = await connect(), workloads.stubborn()
        await driver.start(workload, silent)
        await driver.remove(workload.id)
        assert await found(driver, workload.id) is None

    async def test_unknown_ids_are_fine(self, connect: Connect) -> None:
        """Stopping or removing what is not there does nothing."""
        driver = await connect()
        await driver.stop("nosuchworkload", 1.0)
        await driver.remove("nosuchworkload")

    async def test_an_end_is_told_with_its_code(self, connect: Connect, workloads: Workloads) -> None:
        """The event carries the exit code, and so does the list afterwards."""
        driver, workload = await connect(), workloads.ending(3)
        events = driver.watch()
        await driver.start(workload, silent)
        assert (await exit_of(events, workload.id)).exit_code == 3
        await until(lambda: has_state(driver, workload.id, "stopped"), "the ended workload listed as stopped")
        ended = await found(driver, workload.id)
        assert ended is not None
        assert ended.exit_code == 3

    async def test_every_watcher_hears(self, connect: Connect, workloads: Workloads) -> None:
        """Two watchers get the same end."""
        driver, workload = await connect(), workloads.ending(0)
        one, other = driver.watch(), driver.watch()
        await driver.start(workload, silent)
        first, second = await asyncio.gather(exit_of(one, workload.id), exit_of(other, workload.id))
        assert first.exit_code == second.exit_code == 0

    async def test_an_end_that_was_asked_for_is_not_told(self, connect: Connect, workloads: Workloads) -> None:
        """Exited means: without having been told to."""
        driver, workload = await connect(), workloads.staying()
        events = driver.watch()
        await driver.start(workload, silent)
        await driver.stop(workload.id, 10.0)
        await driver.remove(workload.id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await exit_of(events, workload.id)

    async def test_an_ended_one_starts_again(self, connect: Connect, workloads: Workloads) -> None:
        """A stopped leftover of the same id is replaced by a new start."""
        driver, workload = await connect(), workloads.ending(1)
        events = driver.watch()
        await driver.start(workload, silent)
        await exit_of(events, workload.id)
        again = await driver.start(workload, silent)
        assert again.state == "running"
        assert len(await driver.list()) == 1
        assert (await exit_of(events, workload.id)).exit_code == 1

    async def test_a_missing_image_leaves_nothing(self, connect: Connect, workloads: Workloads) -> None:
        """ImageUnavailable, and no trace."""
        driver, workload = await connect(), workloads.without_image()
        with pytest.raises(ImageUnavailable) as refused:
            await driver.start(workload, silent)
        assert workload.spec.image in str(refused.value), "the error names the image"
        assert await driver.list() == []

    async def test_an_unknown_runtime_is_refused(self, connect: Connect, workloads: Workloads) -> None:
        """Never downgrade: Unsupported, and nothing runs."""
        driver, workload = await connect(), workloads.unknown_runtime()
        with pytest.raises(Unsupported) as refused:
            await driver.start(workload, silent)
        assert workload.runtime in str(refused.value), "the error names the runtime"
        assert await driver.list() == []

    async def test_several_at_once(self, connect: Connect, workloads: Workloads) -> None:
        """Concurrent starts, and concurrent removes, do not disturb each other or the one whose image is missing."""
        driver, missing = await connect(), workloads.without_image()
        wanted = [workloads.staying() for _ in range(4)]
        results = await asyncio.gather(
            *(driver.start(workload, silent) for workload in [*wanted, missing]), return_exceptions=True
        )
        assert isinstance(results[-1], ImageUnavailable)
        assert {h.id for h in await driver.list() if h.state == "running"} == {workload.id for workload in wanted}
        await asyncio.gather(*(driver.remove(workload.id) for workload in wanted))
        assert await driver.list() == []

    async def test_logs(self, connect: Connect, workloads: Workloads) -> None:
        """What it printed can be read, the end of it when less is asked for, also after it stopped."""
        driver, workload = await connect(), workloads.printing("hello from inside")
        if not isinstance(driver, LogReader):
            pytest.skip(f"the driver {driver.name} keeps no logs")
        await driver.start(workload, silent)

        async def printed() -> bool:
            return await driver.logs(workload.id, 65536) == b"hello from inside\n"

        await until(printed, "the line in the logs")
        assert await driver.logs(workload.id, 7) == b"inside\n"
        assert await driver.logs("nosuchworkload", 100) == b""
        await driver.stop(workload.id, 10.0)
        assert await printed()
