"""Many simulated nodes in one process, on a real broker, owned by a real cluster's core."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from spinney_cluster.decide import decide, settle
from spinney_cluster.state import State, begin
from spinney_node import many
from spinney_shared import topics
from spinney_shared.bus import Incoming, Outgoing
from spinney_shared.bus.mqtt import MqttBus
from spinney_shared.config import ConfigError, MqttSettings, Secret
from spinney_shared.lifecycle import RUNNING
from spinney_shared.loop import Loop
from spinney_shared.messages import ClusterAnnounce, Desired, Presence, Wanted
from spinney_shared.model import MicroserviceSpec, Resources
from spinney_shared.running import wire
from spinney_shared.store.memory import MemoryStore

from tests.services import Mosquitto, need

NODES, EACH = 20, 5
SPEC = MicroserviceSpec(
    id="m", generation=1, job_name="a.n.m.n", image="none", runtime="simulated", resources=Resources(memory_mib=100)
)


@pytest.fixture
def mqtt(tmp_path: Path) -> Iterator[MqttSettings]:
    need("mosquitto", "mosquitto_passwd")
    broker = Mosquitto(tmp_path)
    broker.start()
    yield MqttSettings(port=broker.port, username=broker.user, password=Secret(broker.password))
    broker.stop()


@asynccontextmanager
async def cluster(mqtt: MqttSettings) -> AsyncIterator[State]:
    """A cluster as its process runs it, but for the database."""
    state = begin("c", [], random.Random(1), 0.0)
    rows = (topics.NODE_REPORT, topics.NODE_ANNOUNCE, topics.NODE_PRESENCE)
    filters = [topics.CLUSTER_DESIRED.format(cluster="c"), *(row.filter(cluster="c") for row in rows)]
    bus = MqttBus(mqtt, "cluster", subscriptions=filters)
    loop = Loop(state=state, decide=decide, settle=settle, store=MemoryStore(), bus=bus)
    wire(bus, loop)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(bus.run()), tasks.create_task(loop.run())]
        yield state
        for task in running:
            task.cancel()


@asynccontextmanager
async def root(mqtt: MqttSettings) -> AsyncIterator[dict[str, Presence]]:
    """Wants `NODES` * `EACH` instances of every cluster that announces itself; gives the nodes' presence, by id."""
    seen: dict[str, Presence] = {}

    def heard(message: Incoming) -> None:
        if names := topics.NODE_PRESENCE.match(message.topic):
            seen[names["node"]] = msgspec.json.decode(message.payload, type=Presence)
        elif topics.CLUSTER_ANNOUNCE.match(message.topic):
            session = msgspec.json.decode(message.payload, type=ClusterAnnounce).session
            all_of_it = (Wanted(SPEC, tuple(range(NODES * EACH))),)
            desired = Desired(id="d", session=session, epoch=1, revision=1, put=all_of_it)
            bus.send(Outgoing(topics.CLUSTER_DESIRED.format(cluster="c"), msgspec.json.encode(desired)))

    bus = MqttBus(mqtt, "root", subscriptions=[topics.CLUSTER_ANNOUNCE.filter(), topics.NODE_PRESENCE.filter()])
    bus.on_message = heard
    serving = asyncio.create_task(bus.run())
    yield seen
    serving.cancel()
    await asyncio.wait([serving])


async def until(true: Callable[[], bool]) -> None:
    for _ in range(1500):
        if true():
            return
        await asyncio.sleep(0.02)
    pytest.fail("not within 30 s")


def settings(mqtt: MqttSettings) -> many.ManySettings:
    capacity = many.Capacity(memory_mib=EACH * SPEC.resources.memory_mib)
    return many.ManySettings(cluster="c", nodes=NODES, mqtt=mqtt, capacity=capacity, report_every_s=0.5)


async def test_many_nodes_run_what_a_cluster_gives_them_and_say_goodbye(mqtt: MqttSettings) -> None:
    async with root(mqtt) as presence, cluster(mqtt) as state:
        nodes = asyncio.create_task(many.run(settings(mqtt)))
        await until(lambda: sum(i.status == RUNNING for i in state.instances.values()) == NODES * EACH)
        assert {len(there) for there in state.by_node.values()} == {EACH}
        assert {node.info.name for node in state.nodes.values()} == {f"simulated-{n}" for n in range(NODES)}
        nodes.cancel()
        await asyncio.wait([nodes])
        await until(lambda: len(presence) == NODES and not any(seen.online for seen in presence.values()))


async def test_nodes_come_back_under_their_ids_in_a_newer_session(mqtt: MqttSettings) -> None:
    first = many.Fleet(settings(mqtt), MqttBus(mqtt, "first"))
    await asyncio.sleep(0.01)  # sessions are counted in milliseconds
    second = many.Fleet(settings(mqtt), MqttBus(mqtt, "second"))
    for old, new in zip(first.nodes, second.nodes, strict=True):
        assert old.state.meta.node == new.state.meta.node
        assert old.state.member.session < new.state.member.session


async def test_wrong_driver_settings_are_named() -> None:
    wrong = many.ManySettings(cluster="c", nodes=1, driver={"runtime": "x"})
    with pytest.raises(ConfigError, match=r"driver: .*runtime"):
        many.Fleet(wrong, MqttBus(wrong.mqtt, "x"))
