"""The cluster's decisions: what copies hold while they come and go, nodes that vanish and return, its own restart."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace
from spinney_cluster.decide import SILENT_AFTER_S, decide, settle
from spinney_cluster.state import Instance, State, begin
from spinney_shared import lifecycle, topics
from spinney_shared.deciding import Connected, Decision, Now, Tick
from spinney_shared.messages import Desired, NodeAnnounce, Observation, Presence, Report, Unwanted, Wanted
from spinney_shared.model import InstanceKey, MicroserviceSpec, NodeInfo, PortMapping, Resources, RuntimeInfo
from spinney_shared.receiving import Received
from spinney_shared.store import Put, Record, merged

RUNC = RuntimeInfo("runc", "engine", "verified", default=True)
NODE = NodeInfo("one", capacity=Resources(memory_mib=1000), runtimes=(RUNC,))


def service(id: str, memory: int = 0, generation: int = 1, **more: Any) -> MicroserviceSpec:
    return MicroserviceSpec(id, generation, f"app.ns.{id}.ns", "image", resources=Resources(memory_mib=memory), **more)


class Bench:
    """A cluster whose root and nodes are the test."""

    def __init__(self, records: list[Record] | None = None) -> None:
        self.state: State = begin("c", records or [], random.Random(1), 0.0)
        self.disk: dict[tuple[str, str], Record] = {(r.kind, r.key): r for r in records or []}
        self._save(self.state.take_changes())
        self.now = 1000.0
        self.revision = self.state.member.revision
        self.sequences: dict[str, int] = {}
        self.epoch = 1
        self.sends: list[Any] = []
        self.put(Connected())

    def _save(self, changes: list[Any]) -> None:
        for change in merged(changes):
            if isinstance(change, Put):
                self.disk[change.record.kind, change.record.key] = change.record
            else:
                self.disk.pop((change.kind, change.key), None)

    def put(self, message: Any) -> Decision:
        decision = decide(self.state, message, Now(self.now, 0))
        decision.add(settle(self.state, Now(self.now, 0)))
        self._save(decision.changes)
        self.sends += decision.sends
        return decision

    def tick(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.put(Tick())

    def want(self, *put: Wanted, remove: tuple[Unwanted, ...] = (), full: bool = False) -> None:
        self.revision += 1
        full = full or self.state.member.epoch != self.epoch
        desired = Desired(
            id="d", session=self.state.member.session, epoch=self.epoch, revision=self.revision,
            base=None if full else self.revision - 1, put=put, remove=remove,
        )  # fmt: skip
        self.put(Received(topics.CLUSTER_DESIRED, {"cluster": "c"}, desired))

    def report(self, node: str, *seen: Observation, full: bool = False, session: str = "00000001-a") -> None:
        sequence = self.sequences[node] = self.sequences.get(node, 0) + 1
        peer = self.state.owner.peer(node)
        report = Report(
            id="r", session=session, sequence=sequence, epoch=self.state.owner.epoch,
            revision=max(peer.sent, 0), full=full, observations=seen,
        )  # fmt: skip
        self.put(Received(topics.NODE_REPORT, {"cluster": "c", "node": node}, report))

    def joined(self, node: str = "n", info: NodeInfo = NODE, *seen: Observation) -> Bench:
        announce = NodeAnnounce(id="a", session="00000001-a", node=info)
        self.put(Received(topics.NODE_ANNOUNCE, {"cluster": "c", "node": node}, announce))
        self.report(node, full=True)
        self.report(node, *seen, full=True)
        return self

    def left(self, node: str = "n") -> Bench:
        will = Presence(id="w", session="00000001-a", online=False)
        self.put(Received(topics.NODE_PRESENCE, {"cluster": "c", "node": node}, will))
        return self

    def of(self, microservice: str, number: int = 0) -> Instance:
        return self.state.instances[InstanceKey(microservice, number)]

    def restarted(self) -> Bench:
        return Bench(list(self.disk.values()))


def seen(microservice: str, status: str = "RUNNING", generation: int = 1, number: int = 0) -> Observation:
    return Observation(microservice=microservice, number=number, generation=generation, status=status)


def consistent(bench: Bench) -> None:
    """The indexes say what the records say."""
    state = bench.state
    for node, keys in state.by_node.items():
        here = {i.at for i in state.instances.values() if i.node == node and not i.removing}
        assert keys == here
        total = Resources()
        for at in keys:
            if state.instances[at].status not in lifecycle.ENDED:
                total = total + state.spec_of(state.instances[at]).resources
        assert state.reserved[node] == total
    used = {(i.microservice, i.generation) for i in state.instances.values()}
    assert set(state.by_spec) == used == set(state.specs)
    assert state.waiting == {i.at for i in state.instances.values() if not i.node and not i.removing}


def test_an_instance_finds_a_node_and_its_state_goes_up() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 600), (0,)))
    assert bench.of("a").node == "n"
    bench.report("n", seen("a"))
    assert bench.of("a").status == "RUNNING"
    consistent(bench)


def test_a_smaller_generation_frees_its_memory_only_when_the_old_copy_is_gone() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 900), (0,)))
    bench.report("n", seen("a"))
    bench.want(Wanted(service("a", 100, 2), (0,)), Wanted(service("b", 800), (0,)))
    assert bench.of("a").node == "n"
    assert bench.of("b").node == "", "the old copy still runs"
    bench.report("n", seen("a", generation=1))
    assert bench.of("b").node == ""
    bench.report("n", seen("a", "CREATING", generation=2))
    assert bench.of("b").node == "n"
    consistent(bench)


def test_a_third_generation_before_the_first_is_gone_frees_nothing_either() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 900), (0,)))
    bench.report("n", seen("a"))
    bench.want(Wanted(service("a", 500, 2), (0,)))
    bench.want(Wanted(service("a", 100, 3), (0,)))
    assert bench.state.free("n").memory_mib == 100
    bench.report("n", seen("a", generation=3))
    assert bench.state.free("n").memory_mib == 900
    assert bench.state.live["n"].leaving == {}


def test_a_larger_generation_that_does_not_fit_leaves_and_waits() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 400), (0,)), Wanted(service("b", 400), (0,)))
    bench.want(Wanted(service("a", 700, 2), (0,)))
    assert bench.of("a").node == ""
    assert bench.of("a").status == lifecycle.NO_WORKER_CAPACITY
    assert bench.state.free("n").memory_mib == 200
    bench.report("n", seen("a", "UNDEPLOYED"))
    assert bench.state.free("n").memory_mib == 600
    consistent(bench)


def test_the_same_number_again_while_the_old_copy_is_still_leaving() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 900), (0,)))
    bench.report("n", seen("a"))
    bench.want(remove=(Unwanted("a", (0,)),))
    assert bench.of("a").removing
    bench.want(Wanted(service("a", 100, 2), (0,)), Wanted(service("b", 500), (0,)))
    assert not bench.of("a").removing
    assert bench.of("b").node == ""
    bench.report("n", seen("a", "UNDEPLOYED", generation=1))
    assert bench.of("b").node == "n"
    assert bench.of("a").status == "NODE_SCHEDULED", "what is gone is the old copy"
    consistent(bench)


def test_what_leaves_keeps_its_ports_until_it_is_gone() -> None:
    web = {"ports": (PortMapping(80, 80),)}
    bench = Bench().joined()
    bench.want(Wanted(service("a", **web), (0,)))
    bench.report("n", seen("a"))
    bench.want(Wanted(service("b", **web), (0,)), remove=(Unwanted("a", (0,)),))
    assert bench.of("b").node == ""
    assert "port 80/tcp taken" in bench.of("b").detail
    bench.report("n", seen("a", "UNDEPLOYED"))
    assert bench.of("b").node == "n"


def test_two_instances_with_a_port_do_not_meet_in_one_round_of_placement() -> None:
    bench = Bench().joined().joined("m", replace(NODE, name="two"))
    web = {"ports": (PortMapping(80, 80),)}
    bench.want(Wanted(service("a", **web), (0, 1, 2)), Wanted(service("b", **web), (0,)))
    nodes = [i.node for i in bench.state.instances.values() if i.node]
    assert sorted(nodes) == ["m", "n"]


@pytest.mark.parametrize("status", ["COMPLETED", "DEAD"])
def test_what_ended_for_good_holds_nothing_and_is_not_placed_again(status: str) -> None:
    web = {"ports": (PortMapping(80, 80),)}
    bench = Bench().joined().joined("m", replace(NODE, name="two", capacity=Resources(memory_mib=1)))
    bench.want(Wanted(service("a", 900, **web), (0,)), Wanted(service("b", 900, **web), (0,)))
    assert (bench.of("a").node, bench.of("b").node) == ("n", "")
    bench.report("n", seen("a"))
    bench.report("n", seen("a", status))
    assert bench.of("b").node == "n"
    consistent(bench)
    bench.left()
    bench.tick(100)
    assert (bench.of("a").node, bench.of("a").status) == ("n", status)
    bench = bench.restarted()
    consistent(bench)
    assert bench.state.reserved["n"].memory_mib == 900


def test_what_ended_can_be_updated_and_removed() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 900), (0, 1)))
    bench.report("n", seen("a", "COMPLETED"))
    assert bench.of("a", 1).node == "n"
    bench.want(Wanted(service("a", 900, 2), (0,)))
    assert bench.of("a").node == "", "there is no room for it beside the other"
    bench.report("n", seen("a", "UNDEPLOYED"))
    bench.want(remove=(Unwanted("a", (0, 1)),))
    bench.report("n", seen("a", "UNDEPLOYED", number=1))
    assert bench.state.instances == {}
    assert bench.state.free("n").memory_mib == 1000
    consistent(bench)


def test_removal_on_a_node_that_is_away_is_done_at_once_and_the_node_is_told_when_it_returns() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 900), (0,)))
    bench.report("n", seen("a"))
    bench.left()
    bench.want(remove=(Unwanted("a", (0,)),))
    assert bench.state.instances == {}
    assert bench.state.free("n").memory_mib == 100, "its copy still runs there"
    bench.sends.clear()
    bench.report("n", seen("a"), full=True)
    bench.tick(5)
    bench.report("n")
    told = [s.message for s in bench.sends if isinstance(s.message, Desired)]
    assert any(u.microservice == "a" for desired in told for u in desired.remove)
    bench.report("n", seen("a", "UNDEPLOYED"))
    assert bench.state.free("n").memory_mib == 1000
    assert bench.state.live["n"].strangers == set()


def test_a_node_that_returns_in_time_keeps_its_instances() -> None:
    bench = Bench().joined().joined("m", replace(NODE, name="two"))
    bench.want(Wanted(service("a", 600), (0,)))
    home = bench.of("a").node
    bench.report(home, seen("a"))
    bench.left(home)
    bench.tick(2)
    bench.report(home, seen("a"), full=True)
    bench.tick(9)
    assert (bench.of("a").node, bench.of("a").status) == (home, "RUNNING")


def test_a_node_that_returns_too_late_ends_its_copy_and_gets_nothing_new_before() -> None:
    bench = Bench().joined().joined("m", replace(NODE, name="two"))
    bench.want(Wanted(service("a", 600), (0,)))
    home = bench.of("a").node
    other = "m" if home == "n" else "n"
    bench.report(home, seen("a"))
    bench.left(home)
    bench.tick(6)
    assert bench.of("a").node == other
    bench.want(Wanted(service("b", 900), (0,)))
    assert bench.of("b").node == ""
    bench.report(home, seen("a"), full=True)
    assert bench.of("b").node == ""
    bench.report(home, seen("a", "UNDEPLOYED"))
    assert bench.of("b").node == home
    consistent(bench)


def test_where_no_other_node_fits_a_lost_instance_stays_on_the_books_and_is_found_again() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 600), (0,)))
    bench.report("n", seen("a"))
    bench.left()
    bench.tick(6)
    assert bench.of("a").node == "n"
    assert "its node is lost and no other fits" in bench.of("a").detail
    bench.report("n", seen("a"), full=True)
    assert bench.of("a").status == "RUNNING"
    assert bench.state.orphaned == set()


def test_a_silent_node_is_offline_whatever_the_broker_thinks() -> None:
    bench = Bench().joined()
    bench.tick(SILENT_AFTER_S)
    assert not bench.state.owner.peer("n").online


def test_an_update_of_an_instance_whose_node_is_lost_moves_it_when_there_is_room() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 600), (0,)))
    bench.report("n", seen("a"))
    bench.left()
    bench.want(Wanted(service("a", 600, 2), (0,)))
    bench.joined("m", replace(NODE, name="two"))
    bench.tick(6)
    assert bench.of("a").node == "m"
    consistent(bench)


def test_a_restart_finishes_what_was_being_removed() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 600), (0,)), Wanted(service("b", 300), (0,)))
    bench.report("n", seen("a"), seen("b"))
    bench.want(remove=(Unwanted("a", (0,)),))
    bench = bench.restarted()
    assert bench.of("a").removing
    assert bench.state.free("n").memory_mib == 100
    bench.sequences.clear()
    bench.joined("n", NODE, seen("b"))
    assert set(bench.state.instances) == {InstanceKey("b", 0)}
    assert bench.state.free("n").memory_mib == 700
    consistent(bench)


def test_a_restart_forgets_what_was_being_removed_on_a_node_that_never_returns() -> None:
    bench = Bench().joined()
    bench.want(Wanted(service("a", 600), (0,)))
    bench.report("n", seen("a"))
    bench.want(remove=(Unwanted("a", (0,)),))
    bench = bench.restarted()
    bench.tick(1)
    assert bench.state.instances == {}
    assert bench.state.specs == {}


def test_nothing_is_left_of_a_thousand_instances_that_came_and_went() -> None:
    bench = Bench().joined()
    for round in range(1, 11):
        bench.want(Wanted(service("a", 1, round), tuple(range(100))), Wanted(service(f"s{round}", 1), (0,)))
        bench.report("n", *(seen("a", generation=round, number=n) for n in range(100)))
        bench.want(remove=(Unwanted("a", tuple(range(100))), Unwanted(f"s{round}", (0,))))
        bench.report("n", *(seen("a", "UNDEPLOYED", number=n) for n in range(100)), seen(f"s{round}", "UNDEPLOYED"))
    state = bench.state
    assert (state.instances, state.specs, state.by_spec, state.waiting, state.orphaned) == ({}, {}, {}, set(), set())
    assert state.reserved["n"] == Resources()
    assert (state.live["n"].leaving, state.live["n"].strangers, state.by_node["n"]) == ({}, set(), set())
    bench.tick(5)
    assert state.gone == {}
    assert {kind for kind, _ in bench.disk} == {"nodes", "meta"}
