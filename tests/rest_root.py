"""A root behind the real REST doors: real state and decisions, no store, no broker, no clock of its own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from litestar import Litestar
from litestar.testing import TestClient
from msgspec.structs import replace
from spinney_root import auth
from spinney_root.api.app import create_app, shared
from spinney_root.api.port import ApiSettings, LogsUnavailable
from spinney_root.commands import AnyCommand
from spinney_root.decide import Asked, Message, decide, settle
from spinney_root.following import Followers
from spinney_root.state import User, begin
from spinney_shared import topics
from spinney_shared.deciding import Connected, Decision, Now
from spinney_shared.messages import (
    CloudEvent,
    ClusterAnnounce,
    ClusterSummary,
    EventResult,
    NodeSummary,
    Observation,
    Report,
    RuntimeSummary,
    Usage,
)
from spinney_shared.model import InstanceKey, Location, NodeInfo, Resources, RuntimeInfo
from spinney_shared.receiving import Received

PASSWORD = "correct horse"
STUCK_S = 5.0
"""Longer than any test lets a command take, and short enough for one that waits by mistake."""
SECRET = "a secret of the tests, as long as such secrets must be"
WALL_S = 1.7e9

FREE = Resources(memory_mib=8000, cpu_milli=6000, gpus=1)
CAPACITY = Resources(memory_mib=16000, cpu_milli=8000, gpus=2)
RUNC = RuntimeInfo("runc", "containerd", "verified", version="1.1.5", start_ms=88.0, default=True)
CRUN = RuntimeInfo("crun", "containerd", "failed", reason="cgroups in hybrid mode", hint="unmount it")
NODE = NodeSummary(
    "n1",
    NodeInfo("node-1", capacity=CAPACITY, runtimes=(RUNC, CRUN), host_ip="10.0.0.7", labels={"place": "attic"}),
    instances=1,
    reserved=Resources(memory_mib=8000),
    usage=Usage(12.5, 50.0, 8000),
)
SUMMARY = ClusterSummary(
    nodes=1,
    capacity=CAPACITY,
    free=FREE,
    usage=Usage(12.5, 50.0, 8000),
    runtimes=(
        RuntimeSummary("container", verified=1, free=FREE, largest=FREE),
        RuntimeSummary("runc", verified=1, free=FREE, largest=FREE),
        RuntimeSummary("crun", failed=1, reasons={"cgroups in hybrid mode": 1}),
    ),
)


HASHED = auth.hash_password(PASSWORD)
"""Once per run: it is slow on purpose."""


class FakeCore:
    """Implements `spinney_root.api.port.Core`; whatever is decided is durable at once."""

    def __init__(self) -> None:
        self.state = begin([], random.Random(1), SECRET, WALL_S)
        self.missing: list[str] = []
        self.log: str | LogsUnavailable = ""
        self.stuck = False
        self.followers = Followers(1000)
        self.left = asyncio.Event()
        """Somebody has stopped following."""
        self.mono = 1000.0
        for name, roles in (("Admin", (auth.ADMIN,)), ("ann", ("Application_Provider",)), ("bob", ())):
            self.state.put(User(name, HASHED, roles))
        self.put(Connected())

    def put(self, message: Message) -> Decision:
        """Decide a message, and let the followers hear what comes of it."""
        self.mono += 0.001
        now = Now(self.mono, WALL_S + self.mono)
        decision = decide(self.state, message, now)
        decision.add(settle(self.state, now))
        for send in decision.sends:
            if isinstance(send.message, CloudEvent):
                self.followers.tell(send.message)
        return decision

    async def command(self, command: AnyCommand) -> EventResult:
        if self.stuck:
            await anyio.sleep(STUCK_S)
        return self.put(Asked(1, command)).replies[0].result

    async def logs(self, at: InstanceKey, tail_bytes: int) -> str:
        if isinstance(self.log, LogsUnavailable):
            raise self.log
        return self.log[-tail_bytes:]

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[CloudEvent]]:
        try:
            with self.followers.follow() as coming:
                yield coming
        finally:
            self.left.set()

    def ready(self) -> list[str]:
        return self.missing

    def join(self, name: str = "c1", nodes: tuple[NodeSummary, ...] = (NODE,)) -> FakeCore:
        """A cluster comes, with its nodes and runtimes."""
        announce = ClusterAnnounce(
            id="a", session="00000001-a", identity=f"id-{name}", name=name, location=Location(48.2, 11.5), radius_km=10,
            host_ip="10.0.0.1",
        )  # fmt: skip
        self.put(Received(topics.CLUSTER_ANNOUNCE, {"cluster": name}, announce))
        self.report(name, 1, full=True)
        self.report(name, 2, full=True, summary=SUMMARY, nodes=nodes)
        return self

    def report(self, cluster: str, sequence: int, *seen: Observation, **more: Any) -> None:
        revision = max(self.state.owner.peer(cluster).sent, 0)
        report = Report(
            id="r", session="00000001-a", sequence=sequence, epoch=self.state.owner.epoch, revision=revision,
            observations=seen, **more,
        )  # fmt: skip
        self.put(Received(topics.CLUSTER_REPORT, {"cluster": cluster}, report))

    def runs(self, microservice: str, number: int = 0, status: str = "RUNNING", **more: Any) -> None:
        """As if its cluster had seen the instance so."""
        known = self.state.instances[InstanceKey(microservice, number)]
        where: dict[str, Any] = {
            "node": "n1", "node_name": "node-1", "host_ip": "10.0.0.7", "address": "10.112.0.2", "runtime": "runc",
            "started_at": WALL_S, **more,
        }  # fmt: skip
        seen = Observation(
            microservice=microservice, number=number, generation=known.generation, status=status, **where
        )
        self.state.put(replace(known, status=status, detail=seen.detail, seen=seen))

    def bearer(self, user: str = "Admin") -> dict[str, str]:
        """The header of someone who is logged in."""
        known = self.state.users.get(user)
        assert known is not None, f"no user {user!r}"
        # the doors have the wall clock, so these are tokens of now
        return {"Authorization": f"Bearer {auth.issue(known, SECRET, time.time()).token}"}


app = create_app(FakeCore())
"""Made once per run: it takes a tenth of a second. `behind` puts a root there."""


def behind(core: FakeCore, **settings: Any) -> Litestar:
    """The REST application with this root behind it, as if it had just been made."""
    for name, value in shared(core, ApiSettings(**settings)).items():
        setattr(app.state, name, value)
    return app


def door(core: FakeCore, user: str | None = "Admin", **settings: Any) -> TestClient[Any]:
    """The REST doors of this root, for a user who is logged in (None = nobody)."""
    if app.state.core is not core or settings:
        behind(core, **settings)
    client = TestClient(app, raise_server_exceptions=False)
    if user is not None:
        client.headers.update(core.bearer(user))
    return client


def problems(answer: httpx.Response, status: int) -> dict[str, str]:
    """The path and words of each problem in an answer that is an error of ours; fails when it is not one."""
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert set(body) <= {"message", "errors"} and body["message"], answer.text
    return {one["path"]: one["message"] for one in body.get("errors", [])}
