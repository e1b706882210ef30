"""The node's hands: whatever a driver does, every action has an outcome and the node lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from spinney_node import messages as m
from spinney_node import perform
from spinney_node.drivers import (
    Changed,
    DriverError,
    EngineUnavailable,
    Exited,
    Handle,
    ImageUnavailable,
    Unsupported,
    Workload,
)  # fmt: skip
from spinney_node.perform import Performer
from spinney_shared.messages import Query
from spinney_shared.model import MicroserviceSpec

WORK = Workload("id", 0, "runc", MicroserviceSpec("ms", 1, "job", "image"))
RUNS = Handle("id", "ms", 0, 1, "runc", "running")
QUERY = Query(id="q", what="logs", microservice="ms", number=0)


class Driver:
    """Does what each test puts in."""

    name = "engine"

    def __init__(self, result: Any = None, error: BaseException | None = None) -> None:
        self.result, self.error = result, error
        self.calls: list[str] = []
        self.release = asyncio.Event()
        self.hang = False
        self.events: list[Any] = []

    async def _do(self, what: str) -> Any:
        self.calls.append(what)
        if self.hang:
            await self.release.wait()
        if self.error is not None:
            raise self.error
        return self.result

    async def start(self, workload: Workload, progress: Any) -> Any:
        return await self._do("start")

    async def stop(self, id: str, grace_s: float) -> None:
        self.hang = False
        await self._do("stop")

    async def remove(self, id: str) -> None:
        await self._do("remove")

    async def list(self) -> Any:
        return await self._do("list")

    async def fingerprint(self) -> Any:
        return await self._do("fingerprint")

    async def logs(self, id: str, tail_bytes: int) -> Any:
        self.calls.append(f"logs {tail_bytes}")
        return await self._do("logs")

    def watch(self) -> AsyncIterator[Any]:
        return self._watch()

    async def _watch(self) -> AsyncIterator[Any]:
        for event in self.events:
            yield event
        if self.error is not None:
            raise self.error

    async def close(self) -> None: ...


async def outcomes(driver: Driver, *actions: Any) -> list[Any]:
    out: list[Any] = []
    performer = Performer({"engine": driver}, out.append)  # type: ignore[dict-item]
    for action in actions:
        performer(action)
        await asyncio.sleep(0)
    while performer._tasks:
        await asyncio.gather(*performer._tasks, return_exceptions=True)
        await asyncio.sleep(0)
    assert not performer._starting
    return out


START = m.Start("engine", WORK)
ALL = [START, m.Remove("engine", "id", 1.0), m.List("engine", 1.0), m.Fingerprint("engine"),
       m.ReadLogs("engine", "id", QUERY)]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "why"),
    [(ImageUnavailable("x"), "image"), (EngineUnavailable("x"), "engine"), (Unsupported("x"), "unsupported"),
     (DriverError("x"), "other")],
)  # fmt: skip
async def test_why_a_start_failed_is_kept_apart(error: DriverError, why: str) -> None:
    assert await outcomes(Driver(error=error), START) == [m.StartFailed("id", why, "x")]  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ALL, ids=lambda action: type(action).__name__)
@pytest.mark.parametrize(
    "mistake", [KeyError("spec"), RuntimeError("\ud800"), asyncio.CancelledError(), TimeoutError(), DriverError()]
)
async def test_a_mistake_in_a_driver_has_an_outcome_in_words(action: m.Action, mistake: BaseException) -> None:
    (outcome,) = await outcomes(Driver(error=mistake), action)
    words = getattr(outcome, "problem", "") or getattr(outcome, "detail", "") or getattr(outcome, "error", "")
    assert type(mistake).__name__ in words
    words.encode()


@pytest.mark.parametrize("action", [START, m.List("engine", 1.0), m.Fingerprint("engine")])
async def test_an_answer_that_is_none_is_a_mistake(action: m.Action) -> None:
    (outcome,) = await outcomes(Driver(result=None), action)
    assert "mistake" in (getattr(outcome, "problem", "") or getattr(outcome, "detail", ""))


async def test_a_driver_that_starts_something_else_has_failed() -> None:
    (outcome,) = await outcomes(Driver(Handle("other", "ms", 0, 1, "runc", "running")), START)
    assert isinstance(outcome, m.StartFailed)


async def test_a_removal_cancels_the_start_and_is_the_only_outcome() -> None:
    driver = Driver()
    driver.hang = True
    assert await outcomes(driver, START, m.Remove("engine", "id", 1.0)) == [m.Removed("id")]
    assert driver.calls == ["start", "stop", "remove"]


async def test_a_removal_ends_a_start_that_still_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perform, "STARTS_AT_ONCE", 0)
    driver = Driver(RUNS)
    assert await outcomes(driver, START, m.Remove("engine", "id", 1.0)) == [m.Removed("id")]
    assert "start" not in driver.calls


@pytest.mark.parametrize(("asked", "given"), [(10**12, perform.LOG_LIMIT), (-5, 0), (100, 100)])
async def test_logs_are_bounded(asked: int, given: int) -> None:
    query = Query(id="q", what="logs", microservice="ms", number=0, tail_bytes=asked)
    driver = Driver(b"\xff ok")
    (outcome,) = await outcomes(driver, m.ReadLogs("engine", "id", query))
    assert outcome.text == "� ok"
    assert f"logs {given}" in driver.calls


@pytest.mark.parametrize("error", [None, DriverError("away"), KeyError("bug"), asyncio.CancelledError()])
async def test_watching_goes_on_whatever_a_driver_does(
    error: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perform, "WATCH_AGAIN_S", 0.0)
    seen: list[Any] = []
    three = asyncio.Event()

    def put(message: Any) -> None:
        seen.append(message)
        if len(seen) >= 9:
            three.set()

    driver = Driver(error=error)
    driver.events = [Exited("id", 1), Changed("other runtimes")]
    task = asyncio.create_task(Performer({"engine": driver}, put).watch("engine"))  # type: ignore[dict-item]
    await three.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen[0] == m.WorkloadExited("engine", Exited("id", 1))
    assert seen[1] == m.EngineChanged("engine", "other runtimes")
    assert seen[2] == m.EngineChanged("engine", "watching again")


async def test_closing_ends_what_is_under_way_without_outcomes() -> None:
    out: list[Any] = []
    driver = Driver()
    driver.hang = True
    performer = Performer({"engine": driver}, out.append)  # type: ignore[dict-item]
    performer(START)
    await asyncio.sleep(0)
    await performer.close()
    assert out == []
