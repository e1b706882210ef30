"""A whole Spinney in one process on a virtual clock: a root, clusters, nodes with engines, and a user."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
from spinney_cluster import decide as cluster_decide
from spinney_cluster import state as cluster_state
from spinney_node import decide as node_decide
from spinney_node import state as node_state
from spinney_root import decide as root_decide
from spinney_root import state as root_state
from spinney_shared import topics
from spinney_shared.bus import Incoming
from spinney_shared.messages import EventResult, Presence
from spinney_shared.model import NodeInfo, Resources

from .engine import Engine
from .network import Broker, Client, Clock, Faults
from .process import Process

NODE_MEMORY_MIB = 1000


class Node:
    """A machine: an engine that lives as long as it has power, and a process that comes and goes."""

    def __init__(self, world: World, cluster: str, name: str) -> None:
        self.name, self.cluster = name, cluster
        self.engine = Engine(world.clock, world.rng, lambda message: self.process.put(message))
        info = NodeInfo(name, capacity=Resources(memory_mib=NODE_MEMORY_MIB, cpu_milli=8000))
        prefix = f"{topics.ROOT}/cluster/{cluster}/node/"

        def subscribed(topic: str) -> bool:
            id = self.process.state.meta.node if self.process.state else ""
            return topic in (f"{prefix}{id}/desired", f"{prefix}{id}/query")

        self.process = Process(
            name,
            world.clock,
            world.broker,
            world.rng,
            node_decide,
            lambda records: node_state.begin(info, cluster, ["engine"], records, world.rng, f"machine of {name}"),
            subscribed,
            self.engine.perform,
        )
        self.process.started = lambda: node_decide.start_actions(
            self.process.state.drivers, root_decide.Now(world.clock.now + 1000.0, 0)
        )
        self.process.on_crash = self.engine.process_died
        world.broker.clients[name].will = lambda: (
            f"{prefix}{self.process.state.meta.node}/presence",
            _will(self.process.state.member.session),
        )

    def power_cut(self) -> None:
        self.engine.power_cut()
        self.process.die()


def _will(session: str) -> bytes:
    return msgspec.json.encode(Presence(id="will", session=session, online=False))


class World:
    """Built from a seed; the same seed makes the same history."""

    def __init__(self, seed: int, clusters: int = 0, nodes: int = 0) -> None:
        self.seed, self.rng, self.clock = seed, random.Random(seed), Clock()
        self.broker = Broker(self.clock, self.rng, Faults())
        self.results: dict[str, EventResult] = {}
        self.planted = ""
        self.root = self._root()
        self.clusters = [self._cluster(f"c{n}") for n in range(clusters or self.rng.randint(1, 2))]
        self.nodes = [
            Node(self, c.name, f"{c.name}n{n}") for c in self.clusters for n in range(nodes or self.rng.randint(1, 3))
        ]
        self.broker.clients["user"] = Client(
            self._answered, lambda topic: topics.RESULT.match(topic) is not None, up=True
        )

    def start(self) -> None:
        for process in self.processes():
            process.planted = self.planted
            process.start()

    def processes(self) -> list[Process]:
        return [self.root, *self.clusters, *(node.process for node in self.nodes)]

    def _root(self) -> Process:
        rows = (topics.CLUSTER_REPORT, topics.CLUSTER_ANNOUNCE, topics.CLUSTER_PRESENCE, topics.CLUSTER_ANSWER)
        doors = {topics.DEPLOY.format(), topics.SCALE.format(), topics.UNDEPLOY.format()}
        return Process(
            "root",
            self.clock,
            self.broker,
            self.rng,
            root_decide,
            lambda records: root_state.begin(records, self.rng, "secret", self.clock.now),
            lambda topic: topic in doors or any(row.match(topic) is not None for row in rows),
        )

    def _cluster(self, name: str) -> Process:
        rows = (topics.NODE_REPORT, topics.NODE_ANNOUNCE, topics.NODE_PRESENCE, topics.NODE_ANSWER)
        own = {topics.CLUSTER_DESIRED.format(cluster=name), topics.CLUSTER_QUERY.format(cluster=name)}

        def subscribed(topic: str) -> bool:
            return topic in own or any((found := row.match(topic)) and found["cluster"] == name for row in rows)

        process = Process(
            name,
            self.clock,
            self.broker,
            self.rng,
            cluster_decide,
            lambda records: cluster_state.begin(name, records, self.rng, self.clock.now),
            subscribed,
        )
        self.broker.clients[name].will = lambda: (
            topics.CLUSTER_PRESENCE.format(cluster=name),
            _will(process.state.member.session),
        )
        return process

    def _answered(self, incoming: Incoming) -> None:
        result = msgspec.json.decode(incoming.payload, type=EventResult)
        self.results[result.event] = result

    def event(self, topic: topics.Topic, id: str, data: Any, until: float) -> None:
        """The user sends an event and repeats it until it is answered or the time is up."""
        if id in self.results or self.clock.now > until:
            return
        envelope = {"specversion": "1.0", "id": id, "source": "/user", "type": "spinney.event", "data": data}
        self.broker.publish("user", topic.format(), json.dumps(envelope).encode())
        self.clock.after(1.5, lambda: self.event(topic, id, data, until))


def application(name: str, rng: random.Random) -> dict[str, Any]:
    """A random application that the nodes can more or less hold."""
    microservices = [
        {
            "microserviceID": "",
            "microservice_name": f"svc{n}",
            "microservice_namespace": "test",
            "virtualization": rng.choices(["container", "runc", "crun", "runsc"], [6, 2, 2, 1])[0],
            "cmd": [],
            "memory": rng.choice([50, 100, 300]),
            "vcpus": 1,
            "code": "registry/image:1",
            "port": rng.choices(["", "80:80"], [5, 1])[0],
            "replicas": rng.randint(0, 4),
        }
        for n in range(rng.randint(1, 2))
    ]
    top = {"applicationID": "", "application_name": name, "application_namespace": "test", "application_desc": ""}
    return {"sla_version": "v2.0", "customerID": "Admin", "applications": [{**top, "microservices": microservices}]}
