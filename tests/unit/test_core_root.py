"""The root's decisions: commands on whatever state an instance is in, clusters that come and go, hostile events."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from msgspec.structs import replace
from spinney_root import commands as c
from spinney_root.carry_out import MAX_SPEC_BYTES
from spinney_root.decide import ANSWERS_KEPT_S, Asked, decide, settle
from spinney_root.events import acceptable
from spinney_root.state import Answered, Instance, State, begin
from spinney_shared import lifecycle, topics
from spinney_shared.deciding import Connected, Decision, Now, Tick
from spinney_shared.messages import (
    ClusterAnnounce,
    ClusterSummary,
    EventResult,
    Observation,
    Report,
    RuntimeSummary,
)
from spinney_shared.model import DirectConstraint, InstanceKey, MicroserviceSpec, Resources
from spinney_shared.receiving import Received
from spinney_shared.store import Put, Record, merged

SPEC = MicroserviceSpec("", 0, "", "image", resources=Resources(memory_mib=100))


def summary(free: int) -> ClusterSummary:
    much = Resources(memory_mib=free)
    return ClusterSummary(1, much, much, (RuntimeSummary("container", 1, free=much, largest=much),))


class Bench:
    """A root whose users and clusters are the test."""

    def __init__(self, records: list[Record] | None = None) -> None:
        self.state: State = begin(records or [], random.Random(1), "secret", 0.0)
        self.disk: dict[tuple[str, str], Record] = {(r.kind, r.key): r for r in records or []}
        self._save(self.state.take_changes())
        self.now = 1000.0
        self.sequences: dict[str, int] = {}
        self.put(Connected())

    def _save(self, changes: list[Any]) -> None:
        for change in merged(changes):
            if isinstance(change, Put):
                self.disk[change.record.kind, change.record.key] = change.record
            else:
                self.disk.pop((change.kind, change.key), None)

    def put(self, message: Any) -> Decision:
        decision = decide(self.state, message, Now(self.now, self.now))
        decision.add(settle(self.state, Now(self.now, self.now)))
        self._save(decision.changes)
        return decision

    def ask(self, command: c.AnyCommand) -> EventResult:
        (reply,) = self.put(Asked(1, command)).replies
        return reply.result

    def deploy(self, replicas: int = 1, name: str = "app", spec: MicroserviceSpec = SPEC, **more: Any) -> str:
        new = c.NewMicroservice("svc", "ns", spec, replicas, b"{}")
        result = self.ask(c.Deploy(applications=(c.NewApplication(name, "ns", "", (new,)),), **more))
        assert result.status == "accepted", result
        return result.microservices[f"{name}.ns.svc.ns"]

    def joined(self, name: str = "one", free: int = 1000) -> Bench:
        announce = ClusterAnnounce(id="a", session="00000001-a", identity=name, name=name)
        self.put(Received(topics.CLUSTER_ANNOUNCE, {"cluster": name}, announce))
        return self.report(name, summary=summary(free), full=True)

    def report(self, name: str, *seen: Observation, **more: Any) -> Bench:
        sequence = self.sequences[name] = self.sequences.get(name, 0) + 1
        report = Report(
            id="r", session="00000001-a", sequence=sequence, epoch=self.state.owner.epoch,
            revision=max(self.state.owner.peer(name).sent, 0), observations=seen, **more,
        )  # fmt: skip
        self.put(Received(topics.CLUSTER_REPORT, {"cluster": name}, report))
        return self

    def of(self, microservice: str, number: int = 0) -> Instance:
        return self.state.instances[InstanceKey(microservice, number)]

    def event(self, topic: topics.Topic, payload: bytes, response: str = "") -> tuple[str, EventResult]:
        (send,) = [
            s for s in self.put(Received(topic, {}, payload, response)).sends if isinstance(s.message, EventResult)
        ]
        return send.topic, send.message


def seen(microservice: str, status: str, number: int = 0, generation: int = 1, detail: str = "") -> Observation:
    return Observation(microservice=microservice, number=number, generation=generation, status=status, detail=detail)


def update(id: str, spec: MicroserviceSpec = SPEC) -> c.UpdateMicroservice:
    return c.UpdateMicroservice(microservice=id, replacement=c.NewMicroservice("svc", "ns", spec, 0, b"{}"))


@pytest.mark.parametrize("status", sorted(set(lifecycle.STEPS) - {"UNDEPLOYED", "REQUESTED"}))
@pytest.mark.parametrize("moves", [False, True])
def test_an_update_is_possible_in_every_status(status: str, moves: bool) -> None:
    bench = Bench().joined("one").joined("two")
    id = bench.deploy(spec=replace(SPEC, direct=DirectConstraint(clusters=("one",))))
    bench.report("one", seen(id, status, detail="so it is"))
    target = "two" if moves else "one"
    assert bench.ask(update(id, replace(SPEC, direct=DirectConstraint(clusters=(target,))))).status == "accepted"
    assert (bench.of(id).generation, bench.of(id).cluster, bench.of(id).status) == (2, target, "CLUSTER_SCHEDULED")
    bench.report("one", seen(id, "RUNNING", generation=1))
    assert bench.of(id).status == "CLUSTER_SCHEDULED", "that was the old generation"


def test_an_update_of_what_waits_for_a_cluster_places_it_when_it_fits() -> None:
    bench = Bench().joined(free=50)
    id = bench.deploy()
    assert bench.of(id).status == lifecycle.NO_CLUSTER_CAPACITY
    assert bench.of(id).detail
    bench.ask(update(id, replace(SPEC, resources=Resources(memory_mib=10))))
    assert bench.of(id).cluster == "one"
    assert bench.state.waiting == set()


def test_scale_to_nothing_and_back_gives_new_numbers() -> None:
    bench = Bench().joined()
    id = bench.deploy(2)
    bench.ask(c.Scale(microservice=id, replicas=0))
    assert all(i.removing for i in bench.state.instances.values())
    assert bench.ask(c.Scale(microservice="app.ns.svc.ns", replicas=1)).status == "accepted"
    bench.report("one", seen(id, "UNDEPLOYED", 0), seen(id, "UNDEPLOYED", 1), seen(id, "RUNNING", 2))
    assert set(bench.state.instances) == {InstanceKey(id, 2)}
    assert bench.of(id, 2).status == "RUNNING"


def test_an_instance_that_no_cluster_has_goes_at_once() -> None:
    bench = Bench()
    id = bench.deploy(3)
    bench.ask(c.RemoveInstance(microservice=id, number=1))
    bench.ask(c.Scale(microservice=id, replicas=1))
    assert set(bench.state.instances) == {InstanceKey(id, 0)}


def test_a_removal_on_a_cluster_that_is_away_is_done_when_it_returns() -> None:
    bench = Bench().joined()
    id = bench.deploy()
    bench.report("one", seen(id, "RUNNING"))
    bench.now += 60
    bench.put(Tick())
    assert not bench.state.owner.peer("one").online
    bench.ask(c.Undeploy(application="app.ns"))
    assert bench.of(id).removing
    assert bench.state.applications == {}
    bench.now += 60
    bench.report("one", seen(id, "RUNNING"), full=True)
    assert bench.of(id).removing
    bench.report("one", seen(id, "UNDEPLOYED"))
    assert (bench.state.instances, bench.state.microservices) == ({}, {})


def test_nothing_is_left_of_what_came_and_went() -> None:
    bench = Bench().joined()
    for _ in range(10):
        id = bench.deploy(20, event=f"e{_}")
        bench.ask(update(id))
        bench.ask(c.Undeploy(application="app.ns"))
        bench.report("one", *(seen(id, "UNDEPLOYED", n) for n in range(20)))
    state = bench.state
    for index in (
        state.instances,
        state.microservices,
        state.applications,
        state.by_microservice,
        state.by_application,
    ):
        assert index == {}
    assert state.by_cluster["one"] == set()
    assert state.removing["one"] == set()
    assert (state.waiting, state.unplaced, state.asked) == (set(), set(), {})
    assert {kind for kind, _ in bench.disk} == {"meta", "clusters", "events"}


def test_a_cluster_without_room_passes_the_instance_on_and_once_only() -> None:
    bench = Bench().joined("one").joined("two")
    id = bench.deploy()
    first = bench.of(id).cluster
    other = "two" if first == "one" else "one"
    bench.report(first, seen(id, lifecycle.NO_WORKER_CAPACITY, detail="1 node: memory"))
    assert bench.of(id).cluster == other
    for _ in range(5):
        bench.report(other, seen(id, lifecycle.NO_WORKER_CAPACITY, detail=f"{_} nodes: memory"))
        bench.report(first, seen(id, "UNDEPLOYED"))
    assert (bench.of(id).cluster, bench.of(id).tried) == (other, (first,))


def test_a_cluster_that_gets_room_again_is_tried_again() -> None:
    bench = Bench().joined("one").joined("two")
    id = bench.deploy()
    first = bench.of(id).cluster
    other = "two" if first == "one" else "one"
    bench.report(first, seen(id, lifecycle.NO_WORKER_CAPACITY), summary=summary(0))
    bench.report(other, seen(id, lifecycle.NO_WORKER_CAPACITY), summary=summary(0))
    assert bench.of(id).cluster == other
    bench.report(first, summary=summary(50))
    assert bench.of(id).cluster == other, "not enough"
    bench.report(first, summary=summary(500))
    assert bench.of(id).cluster == first
    bench.report(first, summary=summary(600))
    assert bench.of(id).cluster == first


def test_who_has_no_rights_sees_and_changes_nothing() -> None:
    bench = Bench().joined()
    id = bench.deploy(user="alice")
    before = dict(bench.disk)
    application = next(iter(bench.state.applications))
    for command in (
        c.Undeploy(application=application), c.Undeploy(application="app.ns"), c.Undeploy(microservice=id),
        c.Scale(microservice=id, replicas=5), c.Scale(microservice="app.ns.svc.ns", replicas=5),
        c.AddInstance(microservice=id), c.RemoveInstance(microservice=id, number=-1), update(id),
        c.UpdateApplication(application=application, description="mine"),
        c.AddMicroservices(application=application, microservices=()),
    ):  # fmt: skip
        result = bench.ask(replace(command, user="mallory", admin=False))
        assert result.status == "rejected"
        assert result.errors[0].message.startswith("no ")
    assert bench.disk == before
    assert bench.ask(replace(c.AddInstance(microservice=id), user="alice", admin=False)).status == "accepted"


def test_two_users_may_use_one_name_and_events_must_then_say_which() -> None:
    bench = Bench()
    bench.deploy(user="alice")
    bench.deploy(user="bob")
    result = bench.ask(c.Scale(microservice="app.ns.svc.ns", replicas=2))
    assert "more than one" in result.errors[0].message


@pytest.mark.parametrize("size", [MAX_SPEC_BYTES, 2 * MAX_SPEC_BYTES])
def test_what_cannot_be_sent_to_a_node_is_refused_and_changes_nothing(size: int) -> None:
    bench = Bench().joined()
    before = dict(bench.disk)
    small, big = (c.NewMicroservice(name, "ns", SPEC, 1, b"{}") for name in ("small", "big"))
    big = replace(big, spec=replace(SPEC, environment=tuple(f"A{n}={'x' * 1000}" for n in range(size // 1000))))
    result = bench.ask(c.Deploy(applications=(c.NewApplication("app", "ns", "", (small, big)),)))
    assert result.errors[0].path == "$.applications[0].microservices[1]"
    assert bench.disk == before


def test_too_many_replicas_are_refused_before_anything_is_made() -> None:
    bench = Bench()
    new = c.NewMicroservice("svc", "ns", SPEC, 100_001, b"{}")
    result = bench.ask(c.Deploy(applications=(c.NewApplication("app", "ns", "", (new,)),)))
    assert result.status == "rejected"
    assert bench.state.applications == {}


def test_the_same_event_is_answered_the_same_and_forgotten_after_a_day() -> None:
    bench = Bench()
    deploy = c.Deploy(applications=(c.NewApplication("app", "ns", "", ()),), event="e1")
    first = bench.ask(deploy)
    assert bench.ask(deploy) == first
    bench = Bench(list(bench.disk.values()))
    assert bench.ask(deploy) == first
    bench.now += ANSWERS_KEPT_S + 1
    bench.put(Tick())
    assert bench.state.answered == {}


def test_old_answers_are_forgotten_in_whatever_order_the_store_gave_them() -> None:
    answers = [Answered(EventResult(event=str(n), status="accepted"), float(n)) for n in (999, 5, 500, 1)]
    bench = Bench([*answers])
    bench.now = ANSWERS_KEPT_S + 501
    bench.put(Tick())
    assert set(bench.state.answered) == {"999"}


@pytest.mark.parametrize(
    "topic",
    ["", "a/+", "#", "$SYS/x", "$share/g/t", "a\x00b", "a\nb", "\ud800", "a\x7f", "a\x85", "x" * 513, "é" * 300,
     "/".join("a" * 100), topics.DEPLOY.format(), topics.CLUSTER_DESIRED.format(cluster="c"),
     f"{topics.ROOT}/events/result/", f"{topics.ROOT}/events/result/a b"],
)  # fmt: skip
def test_answers_never_go_to_hostile_response_topics(topic: str) -> None:
    assert not acceptable(topic)
    where, result = Bench().event(topics.DEPLOY, json.dumps({"id": "../+/#", "x": 1}).encode(), topic)
    assert topics.find(where) is not None
    assert result.status == "rejected"


@pytest.mark.parametrize("topic", ["answers/mine", "a", topics.RESULT.format(event="mine")])
def test_answers_go_where_their_sender_listens(topic: str) -> None:
    assert Bench().event(topics.SCALE, b"{", topic)[0] == topic


def test_reports_about_what_is_elsewhere_or_unknown_change_nothing() -> None:
    bench = Bench().joined("one").joined("two")
    id = bench.deploy()
    home = bench.of(id).cluster
    other = "two" if home == "one" else "one"
    before = bench.of(id)
    bench.report(other, seen(id, "RUNNING"), seen("nobody", "RUNNING"), seen(id, "UNDEPLOYED"))
    bench.report(home, seen(id, "UNDEPLOYED"), seen(id, "RUNNING", generation=7), seen(id, "NONSENSE", generation=0))
    assert bench.of(id) == before
