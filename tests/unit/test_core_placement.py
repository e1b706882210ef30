"""Placement of both tiers: never beyond capacity, and every instance without a place explained by counts."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from spinney_cluster import placement as on_nodes
from spinney_cluster.telling import summarized
from spinney_root import placement as on_clusters
from spinney_shared import lifecycle as life
from spinney_shared.messages import ClusterSummary, NodeSummary, RuntimeSummary
from spinney_shared.model import DirectConstraint, MicroserviceSpec, NodeInfo, PortMapping, Resources, RuntimeInfo

RUNC = RuntimeInfo("runc", "engine", "verified", default=True)
RUNSC = RuntimeInfo("runsc", "engine", "failed", reason="no network")


def spec(**more: Any) -> MicroserviceSpec:
    return MicroserviceSpec("ms", 1, "app.ns.svc.ns", "image", **more)


def node(id: str, memory: int = 1000, ports: frozenset[tuple[int, str]] = frozenset(), **more: Any):
    amount = Resources(memory_mib=memory, cpu_milli=4000)
    info = replace(NodeInfo(id, capacity=amount, runtimes=(RUNC, RUNSC)), **more)
    return on_nodes.Candidate(id, info, amount, ports)


def mib(amount: int) -> Resources:
    return Resources(memory_mib=amount)


@pytest.mark.parametrize(
    ("wanted", "count", "nodes", "chosen", "status", "words"),
    [
        (spec(resources=mib(400)), 2, [node("a")], ["a", "a"], "", ""),
        (spec(resources=mib(400)), 3, [node("a")], ["a", "a"], life.NO_WORKER_CAPACITY, "1 node: no more room"),
        (spec(resources=mib(400)), 2, [node("big"), node("small", 500)], ["small", "big"], "", ""),
        (spec(resources=mib(2000)), 1, [node("a"), node("b")], [], life.NO_WORKER_CAPACITY, "2 nodes: memory"),
        (spec(resources=Resources(gpus=1)), 1, [node("a")], [], life.NO_WORKER_CAPACITY, "1 node: gpus"),
        (spec(runtime="runc"), 1, [node("a")], ["a"], "", ""),
        (spec(runtime="runsc"), 1, [node("a")], [], life.NO_QUALIFIED_WORKER, "1 node: runtime runsc not verified"),
        (spec(arch=("arm64",)), 1, [node("a")], [], life.NO_QUALIFIED_WORKER, "1 node: architecture amd64"),
        (spec(direct=DirectConstraint(nodes=("b",))), 1, [node("a"), node("b")], ["b"], "", ""),
        (spec(direct=DirectConstraint(nodes=("x",))), 1, [node("a")], [], life.NO_QUALIFIED_WORKER, "not among"),
        (spec(ports=(PortMapping(80, 8080),)), 2, [node("a"), node("b")], ["a", "b"], "", ""),
        (spec(ports=(PortMapping(80, 8080),)), 1, [node("a", ports=frozenset({(80, "tcp")}))], [],
         life.NO_WORKER_CAPACITY, "port 80/tcp taken"),
        (spec(ports=(PortMapping(80, 80, "udp"),)), 1, [node("a", ports=frozenset({(80, "tcp")}))], ["a"], "", ""),
        (spec(), 1, [], [], life.NO_QUALIFIED_WORKER, "the cluster has no nodes"),
    ],
)  # fmt: skip
def test_nodes_are_chosen_or_refused_with_a_reason(
    wanted: MicroserviceSpec, count: int, nodes: list[Any], chosen: list[str], status: str, words: str
) -> None:
    placement = on_nodes.place(wanted, count, nodes, Counter())
    assert (placement.nodes, placement.status) == (chosen, status)
    assert words in placement.detail


def test_nodes_that_are_no_candidates_are_counted_too() -> None:
    placement = on_nodes.place(spec(), 1, [], Counter({"offline": 3}))
    assert placement.detail == "3 nodes: offline"


AMOUNTS = st.builds(Resources, memory_mib=st.integers(0, 300), cpu_milli=st.integers(0, 3000), gpus=st.integers(0, 2))
NODES = st.lists(st.tuples(AMOUNTS, st.booleans(), st.booleans()), max_size=12)


@given(need=AMOUNTS, count=st.integers(1, 60), nodes=NODES, port=st.booleans())
def test_no_node_gets_more_than_it_holds_and_none_is_left_with_room(
    need: Resources, count: int, nodes: list[tuple[Resources, bool, bool]], port: bool
) -> None:
    wanted = spec(resources=need, ports=(PortMapping(80, 80),) if port else ())
    candidates = [
        on_nodes.Candidate(
            f"n{i}",
            NodeInfo(f"n{i}", runtimes=(RUNC if works else replace(RUNC, state="failed"),)),
            free,
            frozenset({(80, "tcp")} if taken else ()),
        )
        for i, (free, works, taken) in enumerate(nodes)
    ]
    placement = on_nodes.place(wanted, count, candidates, Counter())
    given_to = Counter(placement.nodes)
    left = 0
    for candidate, (free, works, taken) in zip(candidates, nodes, strict=True):
        times = given_to[candidate.id]
        for _ in range(times):
            free = free - need
        assert not free.short_of(Resources()) or not times
        assert not times or (works and not (port and (taken or times > 1)))
        left += bool(works and not free.short_of(need) and not (port and (taken or times)))
    if len(placement.nodes) < count:
        assert left == 0, "there was room for more"
        assert placement.status in life.UNSCHEDULABLE
        counted = sum(int(n) for n in re.findall(r"(\d+) nodes?:", placement.detail))
        assert counted == len(nodes)
    else:
        assert len(placement.nodes) == count
        assert placement.status == ""


def cluster(name: str, *runtimes: RuntimeSummary, online: bool = True) -> on_clusters.Candidate:
    return on_clusters.Candidate(name, online, ClusterSummary(2, runtimes=runtimes))


def has(name: str, verified: int, memory: int, largest: int | None = None, **reasons: int) -> RuntimeSummary:
    largest_memory = memory if largest is None else largest
    return RuntimeSummary(name, verified, free=mib(memory), largest=mib(largest_memory), reasons=reasons)


ROOMY, FULL = has("container", 2, 1000), has("container", 2, 0)
NEED = spec(resources=mib(400))


@pytest.mark.parametrize(
    ("wanted", "count", "clusters", "chosen", "status", "words"),
    [
        (NEED, 2, [cluster("a", ROOMY)], ["a", "a"], "", ""),
        (NEED, 3, [cluster("a", ROOMY)], ["a", "a"], life.NO_CLUSTER_CAPACITY, "memory_mib 400"),
        (NEED, 3, [cluster("a", ROOMY), cluster("b", FULL), cluster("c", ROOMY)], ["a", "a", "c"], "", ""),
        (NEED, 1, [cluster("a", has("container", 9, 900, 100))], [], life.NO_CLUSTER_CAPACITY, "cluster a"),
        (NEED, 1, [], [], life.NO_CLUSTER_CAPACITY, "no cluster has joined yet"),
        (NEED, 1, [cluster("a", ROOMY, online=False)], [], life.NO_CLUSTER_CAPACITY, "cluster a is offline"),
        (spec(direct=DirectConstraint(clusters=("x",))), 1, [cluster("a", ROOMY)], [], life.NO_SUCH_CLUSTER,
         "known: a"),
        (spec(direct=DirectConstraint(clusters=("a",))), 1, [cluster("a", ROOMY, online=False)], [],
         life.CLUSTER_NOT_ACTIVE, "cluster a is offline"),
        (spec(runtime="runsc"), 1, [cluster("a", ROOMY, has("crun", 1, 1), has("runsc", 0, 0, broken=2))], [],
         life.NO_QUALIFIED_WORKER, "failed verification (2 with: broken); verified there: crun (1)"),
        (spec(runtime="kata"), 1, [cluster("a")], [], life.NO_QUALIFIED_WORKER, "not found; verified there: none"),
        (spec(ports=(PortMapping(80, 80),)), 3, [cluster("a", ROOMY)], ["a", "a"], life.NO_CLUSTER_CAPACITY, "ports"),
    ],
)  # fmt: skip
def test_clusters_are_chosen_or_refused_with_a_reason(
    wanted: MicroserviceSpec, count: int, clusters: list[Any], chosen: list[str], status: str, words: str
) -> None:
    placement = on_clusters.place(wanted, count, clusters)
    assert (placement.clusters, placement.status) == (chosen, status)
    assert words in placement.detail


@given(need=AMOUNTS, nodes=st.lists(AMOUNTS, min_size=1, max_size=8), count=st.integers(1, 30))
def test_the_root_never_refuses_what_a_cluster_could_hold(need: Resources, nodes: list[Resources], count: int) -> None:
    infos = [NodeInfo(f"n{i}", capacity=free, runtimes=(RUNC,)) for i, free in enumerate(nodes)]
    summary = summarized([NodeSummary(info.name, info) for info in infos])
    wanted = spec(resources=need)
    really = on_nodes.place(
        wanted, count, [on_nodes.Candidate(info.name, info, info.capacity) for info in infos], Counter()
    )
    guess = on_clusters.place(wanted, count, [on_clusters.Candidate("c", True, summary)])
    assert len(guess.clusters) >= len(really.nodes)
    assert bool(guess.status) == (len(guess.clusters) < count)
    for runtime in summary.runtimes:
        assert not runtime.largest.short_of(Resources())
