"""REST: events as they happen, over a real socket, and a server that ends as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from spinney_root.api.server import CannotListen, serve
from spinney_root.following import LOST, Followers
from spinney_shared.messages import CloudEvent

from tests.documents import changed
from tests.rest_root import FakeCore, behind

PATIENCE_S = 10.0


class Stream:
    """The server-sent events of one answer, one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> dict[str, str]:
        """The fields of the next event; comments have the empty name. Empty when the stream is over."""
        found: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if not line:
                    return found
                name, _, value = line.partition(": ")
                found[name.rstrip(":")] = value
        return found


class Server:
    def __init__(self, core: FakeCore, url: str, task: asyncio.Task[None]) -> None:
        self.core, self.url, self.task = core, url, task

    @asynccontextmanager
    async def events(self, user: str = "Admin", **params: Any) -> AsyncIterator[Stream]:
        headers = self.core.bearer(user)
        async with (
            httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=PATIENCE_S) as client,
            client.stream("GET", "/api/v1/events", headers=headers, params=params) as answer,
        ):
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            stream = Stream(answer)
            assert await stream.next() == {"": "connected"}
            yield stream

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=PATIENCE_S)
        assert self.task.done()


@asynccontextmanager
async def serving(core: FakeCore, **settings: Any) -> AsyncIterator[Server]:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(behind(core, **settings), "127.0.0.1", 0, port.set_result))
    server = Server(core, f"http://127.0.0.1:{await port}", task)
    try:
        yield server
    finally:
        await server.end()


def happened(number: int, kind: str = "spinney.node.online", **data: Any) -> CloudEvent:
    return CloudEvent(id=f"e{number}", source="s", type=kind, subject=f"n{number}", time="t", data=data)


async def deploy(server: Server, user: str = "Admin", **fields: Any) -> dict[str, Any]:
    headers = server.core.bearer(user)
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, headers=headers) as client:
        answer = await client.post("/api/v1/deploy", json=changed(**fields))
        assert answer.status_code == 200, answer.text
        return answer.json()


async def test_events_come_as_they_happen() -> None:
    core = FakeCore()
    async with serving(core) as server, server.events() as stream:
        core.join()
        found = await stream.next()
        event = json.loads(found["data"])
        assert (found["event"], found["id"]) == (event["type"], event["id"]) == ("spinney.cluster.online", event["id"])
        assert event["specversion"] == "1.0"
        assert event["data"] == {"cluster": "c1"}
        assert (await stream.next())["event"] == "spinney.node.online"
        await deploy(server, virtualization="runc")
        for _ in range(2):
            assert (await stream.next())["event"].startswith("spinney.runtime.")
        instance = json.loads((await stream.next())["data"])
        assert (instance["type"], instance["data"]["status"]) == ("spinney.instance.status", "CLUSTER_SCHEDULED")


async def test_events_are_filtered_by_type_and_subject() -> None:
    core = FakeCore()
    async with (
        serving(core) as server,
        server.events(type="spinney.runtime.*") as runtimes,
        server.events(subject="n2") as second,
    ):
        for number in (1, 2, 3):
            core.followers.tell(happened(number))
        core.followers.tell(happened(4, "spinney.runtime.failed"))
        assert (await runtimes.next())["id"] == "e4"
        assert (await second.next())["id"] == "e2"


async def test_instances_of_others_are_not_told() -> None:
    core = FakeCore().join()
    async with serving(core) as server, server.events("bob") as bob, server.events("ann") as ann, server.events() as us:
        await deploy(server, "ann", virtualization="runc")
        core.followers.tell(happened(1))
        assert (await bob.next())["id"] == "e1"
        for stream in (ann, us):
            assert (await stream.next())["event"] == "spinney.instance.status"


async def test_silence_is_broken() -> None:
    async with serving(FakeCore(), keepalive_s=0.01) as server, server.events() as stream:
        assert await stream.next() == await stream.next() == {"": "still here"}


async def test_a_stream_ends_when_the_server_closes() -> None:
    async with serving(FakeCore()) as server, server.events() as stream:
        await server.end()
        assert await stream.next() == {}


async def test_who_leaves_is_forgotten() -> None:
    core = FakeCore()
    async with serving(core, keepalive_s=0.01) as server:
        async with server.events():
            assert len(core.followers) == 1
        await asyncio.wait_for(core.left.wait(), PATIENCE_S)
        assert len(core.followers) == 0


async def test_a_slow_follower_is_told_how_many_it_lost() -> None:
    core = FakeCore()
    core.followers = Followers(3)
    async with serving(core) as server, server.events(type="spinney.node.*") as stream:
        for number in range(10):  # at once: nobody can read in between
            core.followers.tell(happened(number))
        found = await stream.next()
        assert (found["event"], json.loads(found["data"])["data"]) == (LOST, {"lost": 7})
        assert [(await stream.next())["id"] for _ in range(3)] == ["e7", "e8", "e9"]
        core.followers.tell(happened(10))
        assert (await stream.next())["id"] == "e10"
        for number in range(11, 16):
            core.followers.tell(happened(number))
        events = [json.loads((await stream.next())["data"]) for _ in range(2)]
        lost = [event["data"]["lost"] for event in events if event["type"] == LOST]
        assert len(lost) == 1 and lost[0] in (1, 2)  # one may have been on its way


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer x"}])
async def test_events_need_a_login(header: dict[str, str]) -> None:
    async with serving(FakeCore()) as server, httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        assert (await client.get("/api/v1/events", headers=header)).status_code == 401


async def test_requests_under_way_are_finished_when_the_server_closes() -> None:
    core = FakeCore()
    core.stuck = True
    async with serving(core, answer_within_s=0.2) as server:
        asking = asyncio.create_task(_post(server, json.dumps(changed()).encode()))
        await asyncio.sleep(0.05)
        await server.end()
        assert (await asking).status_code == 503


async def test_a_body_that_is_far_too_large_gets_its_answer() -> None:
    async with serving(FakeCore()) as server:
        answer = await _post(server, b" " * 2_000_000)
        assert answer.status_code == 413
        assert answer.json()["errors"][0]["path"] == "$"


async def _post(server: Server, body: bytes) -> httpx.Response:
    headers = server.core.bearer()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, headers=headers, timeout=PATIENCE_S) as client:
        return await client.post("/api/application", content=body)


async def test_an_address_that_is_taken() -> None:
    async with serving(FakeCore()) as server:
        with pytest.raises(CannotListen, match="cannot listen on"):
            await serve(behind(FakeCore()), "127.0.0.1", int(server.url.rpartition(":")[2]))
