"""One seed's history: users ask, things break, then peace; and what must hold at every step and in the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from msgspec.structs import replace
from spinney_root.commands import NewMicroservice, UpdateMicroservice
from spinney_root.decide import Asked
from spinney_root.state import Microservice
from spinney_shared import lifecycle, topics
from spinney_shared.model import InstanceKey

from .network import Faults
from .process import Process
from .world import NODE_MEMORY_MIB, Node, World, application

TROUBLE_S = 40.0
"""Virtual seconds in which users act and things break."""

PEACE_S = 150.0
"""Virtual seconds of peace afterwards: longer than the longest back-off (60 s) and every timeout."""


class Violation(AssertionError):
    """An invariant does not hold; says which, when, and how to see it again."""

    def __init__(self, world: World, invariant: str, detail: str) -> None:
        command = f"python -m tests.simulation --seed {world.seed}"
        if world.planted:
            command += f" --planted '{world.planted}'"
        super().__init__(f"{invariant} at {world.clock.now:.3f} s: {detail}\n  replay: {command}")


class Scenario:
    """What happens in a world. Half of the seeds are gentle: nothing in them may restart a running instance."""

    def __init__(self, seed: int, planted: str = "") -> None:
        self.world = World(seed)
        self.world.planted = planted
        self.rng = random.Random(seed * 7919 + 1)
        self.gentle = seed % 2 == 0
        self.deployed: list[str] = []
        """Names of applications deployed, in order."""
        self.accepted: set[str] = set()
        self.started: dict[str, int] = {}
        """Node → starts seen at the last check."""
        self.events = 0

    def run(self) -> World:
        world, rng = self.world, self.rng
        world.broker.faults = Faults(
            loss=0.0 if self.gentle else rng.choice([0.0, 0.05, 0.2]),
            repeat=rng.choice([0.0, 0.1, 0.3]),
            late=rng.choice([0.0, 0.0, 0.1]),
            longest_delay=rng.choice([0.005, 0.05, 0.5]),
        )
        world.start()
        self._later(2.0, self._deploy)
        self._later(2.0 + rng.random() * 2, self._trouble)
        self._run(TROUBLE_S)
        self._make_peace()
        self._run(TROUBLE_S + PEACE_S)
        self._finally()
        return world

    def _run(self, until: float) -> None:
        for _ in self.world.clock.run_until(until):
            self._always()

    def _later(self, delay: float, do: Callable[[], None]) -> None:
        self.world.clock.after(delay, do)

    # what users do

    def _id(self) -> str:
        self.events += 1
        return f"event-{self.events}"

    def _send(self, topic: topics.Topic, data: object) -> None:
        self.world.event(topic, self._id(), data, TROUBLE_S + 20)

    def _deploy(self) -> None:
        name = f"app{len(self.deployed)}"
        self.deployed.append(name)
        self._send(topics.DEPLOY, application(name, self.rng))

    def _scale(self) -> None:
        job = f"{self.rng.choice(self.deployed)}.test.svc0.test"
        self._send(topics.SCALE, {"microservice": job, "replicas": self.rng.randint(0, 5)})

    def _update(self) -> None:
        root = self.world.root
        if not root.alive:
            return
        known = [one for one in root.state.microservices.values() if not one.deleted]
        if not known:
            return
        old = self.rng.choice(known)
        resources = replace(old.spec.resources, memory_mib=self.rng.choice([50, 300, 600]))
        spec = replace(old.spec, resources=resources, image=f"registry/image:{self.rng.randint(2, 9)}")
        new = NewMicroservice(old.name, old.namespace, spec, 0, b"")
        self.events += 1
        root.put(Asked(self.events, UpdateMicroservice(microservice=old.id, replacement=new)))

    def _undeploy(self) -> None:
        self._send(topics.UNDEPLOY, {"application": f"{self.rng.choice(self.deployed)}.test"})

    # what breaks

    def _trouble(self) -> None:
        if self.world.clock.now >= TROUBLE_S:
            return
        gentle = [
            self._deploy,
            self._scale,
            self._undeploy,
            self._update,
            self._crash,
            self._crash,
            self._crash,
            self._broker,
        ]
        rough = [self._partition, self._power_cut, self._container_ends, self._engine_fails, self._slow_crash]
        self.rng.choice(gentle if self.gentle else gentle + rough)()
        self._later(self.rng.random() * 3, self._trouble)

    def _any_process(self) -> Process:
        return self.rng.choice(self.world.processes())

    def _crash(self, longest_s: float = 2.0) -> None:
        process = self._any_process()
        if not process.alive:
            return
        point = self.rng.choice(["now", "before save", "after save", "while telling"])
        process.crash_at = "" if point == "now" else point
        if point == "now":
            process.die(process.on_crash)
        self._later(1.0 + self.rng.random() * longest_s, lambda: None if process.alive else process.start())

    def _slow_crash(self) -> None:
        self._crash(longest_s=20.0)

    def _broker(self) -> None:
        self.world.broker.restart(keep_retained=self.rng.random() < 0.5)
        for process in self.world.processes():
            process.disconnect()
        self._later(0.2 + self.rng.random(), lambda: [process.reconnect() for process in self.world.processes()])

    def _partition(self) -> None:
        process = self._any_process()
        client = self.world.broker.clients[process.name]
        if process.alive and client.up:
            client.blocked = True
            self._later(self.rng.random() * 15, lambda: self._heal(process))

    def _heal(self, process: Process) -> None:
        if process.alive and self.world.broker.clients[process.name].blocked:
            process.disconnect()
            self._later(0.1, process.reconnect)

    def _power_cut(self) -> None:
        node = self.rng.choice(self.world.nodes)
        if node.process.alive:
            node.power_cut()
            self._later(1 + self.rng.random() * 15, lambda: None if node.process.alive else node.process.start())

    def _container_ends(self) -> None:
        self.rng.choice(self.world.nodes).engine.crash_one()

    def _engine_fails(self) -> None:
        node: Node = self.rng.choice(self.world.nodes)
        node.engine.failing, node.engine.slowest = 0.5, 4.0
        self._later(10, lambda: setattr(node.engine, "failing", 0.0))

    def _make_peace(self) -> None:
        self.world.broker.faults = Faults()
        for node in self.world.nodes:
            node.engine.failing, node.engine.slowest = 0.0, 0.5
        for process in self.world.processes():
            process.crash_at = ""
            if not process.alive:
                process.start()
            elif self.world.broker.clients[process.name].blocked or not self.world.broker.clients[process.name].up:
                process.disconnect()
                process.reconnect()

    # what must hold

    def _always(self) -> None:
        for node in self.world.nodes:
            if len(node.engine.starts) == self.started.get(node.name):
                continue  # only a start can break it
            self.started[node.name] = len(node.engine.starts)
            used = node.engine.memory_used()
            if used > NODE_MEMORY_MIB:
                raise Violation(self.world, "3 capacity", f"{node.name} runs {used} of {NODE_MEMORY_MIB} MiB")
        if len(self.accepted) == len(self.world.results):
            return
        for id, result in self.world.results.items():
            if id not in self.accepted:
                self.accepted.add(id)
                if result.status == "accepted" and ("events", id) not in self.world.root.disk:
                    raise Violation(self.world, "5 durable", f"{id} was accepted but is not on the root's disk")

    def _finally(self) -> None:
        root = self.world.root.state
        live = {i.at: i for i in root.instances.values() if not i.removing}
        self._nothing_lost(live)
        self._exactly_once(live)
        self._all_agree(live)
        if self.gentle:
            self._never_restarted()

    def _nothing_lost(self, live: dict[InstanceKey, object]) -> None:
        stuck = [i.key for i in self.world.root.state.instances.values() if i.removing]
        if stuck:
            raise Violation(self.world, "1 wanted", f"still being removed: {stuck}")
        for instance in self.world.root.state.instances.values():
            if instance.status == lifecycle.RUNNING:
                continue
            if instance.status not in lifecycle.UNSCHEDULABLE or not instance.detail:
                raise Violation(
                    self.world, "1 wanted", f"{instance.key} is {instance.status} {instance.detail!r} in peace"
                )
        for (kind, _), record in self.world.root.disk.items():
            if kind == "microservices" and isinstance(record, Microservice) and record.deleted:
                raise Violation(self.world, "1 wanted", f"{record.spec.job_name} is deleted but never forgotten")

    def _exactly_once(self, live: dict[InstanceKey, object]) -> None:
        copies = Counter(h.key for node in self.world.nodes for h in node.engine.running())
        running = {at for at, i in live.items() if i.status == lifecycle.RUNNING}  # type: ignore[attr-defined]
        double = {str(at): n for at, n in copies.items() if n > 1}
        if double:
            raise Violation(self.world, "2 no doubles", f"{double}")
        if set(copies) != running:
            extra, missing = set(copies) - running, running - set(copies)
            raise Violation(self.world, "2 wanted = running", f"nobody wants {extra}; not really running {missing}")

    def _all_agree(self, live: dict[InstanceKey, object]) -> None:
        root = self.world.root.state
        for process in self.world.clusters:
            cluster = process.state
            mine = {at for at, i in root.instances.items() if i.cluster == process.name}
            if mine != set(cluster.instances):
                raise Violation(self.world, "6 agree", f"{process.name}: {mine ^ set(cluster.instances)}")
            for at, instance in cluster.instances.items():
                if (instance.status, instance.generation) != (root.instances[at].status, root.instances[at].generation):
                    raise Violation(
                        self.world, "6 agree", f"{at}: root {root.instances[at].status}, cluster {instance.status}"
                    )
            for node in self.world.nodes:
                if node.cluster == process.name:
                    state = node.process.state
                    told = cluster.by_node.get(state.meta.node, set())
                    if told != set(state.wanted) or set(state.wanted) != set(state.copies):
                        raise Violation(self.world, "6 agree", f"{node.name}: {told ^ set(state.wanted)}")
        for process in self.world.processes():
            self._disk_is_memory(process)

    def _disk_is_memory(self, process: Process) -> None:
        fresh = process.make(list(process.disk.values()))
        for index in ("instances", "microservices", "applications", "wanted", "nodes", "specs"):
            old = getattr(process.state, index, None)
            new = getattr(fresh, index, None)
            if old != new and not (index == "nodes" and process.name == "root"):
                raise Violation(self.world, "5 durable", f"{process.name}: memory and disk differ in {index}")

    def _never_restarted(self) -> None:
        for node in self.world.nodes:
            again = {at: n for at, n in Counter(node.engine.starts).items() if n > 1}
            if again:
                raise Violation(self.world, "4 keeps running", f"{node.name} started again: {again}")
