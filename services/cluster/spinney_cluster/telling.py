"""What a cluster says to its nodes and to the root: the sync protocol's messages, filled from the state."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace
from spinney_shared import lifecycle, topics
from spinney_shared.bounding import fitted, plain
from spinney_shared.deciding import Now, Send
from spinney_shared.messages import (
    ClusterAnnounce,
    ClusterSummary,
    NodeSummary,
    Observation,
    Presence,
    RuntimeSummary,
    Usage,
)
from spinney_shared.model import InstanceKey, MicroserviceSpec, Resources
from spinney_shared.sync import DETAIL_LIMIT, chunked

from .state import State

SUMMARY_EVERY_S = 1.0
"""Aggregates and nodes change with every placement; telling the root more often than this helps nobody."""

NODES_PER_PART = 40
"""A node with all its runtimes and reasons is 1 to 2.5 KB."""

NODE_BYTES, NODES_BYTES, SUMMARY_BYTES = 16 * 1024, 64 * 1024, 40 * 1024
"""Of one node, of all nodes in a part of a report, and of the summary: with the observations (112 KiB) they stay below
the 256 KiB of a message, whatever nodes say of themselves."""

REASONS = 3
"""How many different reasons for a runtime's failure the root is told."""


def tell_nodes(state: State, now: Now) -> list[Send]:
    """The desired sets that are due, merged per node; none before the root has said anything at all.

    A cluster that lost its memory must not tell its nodes to end what it has merely forgotten.
    """
    if not state.meta.up_epoch:
        return []

    def spec(node: str, at: InstanceKey) -> MicroserviceSpec | None:
        instance = state.instances.get(at)
        here = instance is not None and instance.node == node and not instance.removing
        return state.spec_of(instance) if instance and here else None

    messages = state.owner.flush(now.mono, lambda node: state.by_node.get(node, ()), spec, state.ids, state.cause)
    return [Send(topics.NODE_DESIRED.format(cluster=state.name, node=node), desired) for node, desired in messages]


def tell_root(state: State, now: Now) -> list[Send]:
    """Who we are, when the broker has not heard it in this connection, and the report that is due."""
    sends = []
    if not state.announced:
        sends += _announcement(state, now)
        state.announced = True
    nodes, summary = _aggregates(state, now)
    if nodes or summary:
        state.member.due = True
    parts = chunked(nodes, NODES_PER_PART, NODES_BYTES, NODE_BYTES)
    reports = state.member.flush(
        now.mono,
        state.report_every_s,
        lambda at: observe(state, at),
        lambda: [*state.instances, *state.gone],
        state.ids,
        state.cause,
        least=len(parts),
    )
    for number, report in enumerate(reports):
        here = tuple(parts[number]) if number < len(parts) else ()
        report = replace(report, nodes=here, summary=summary if number == 0 else None)
        sends.append(Send(topics.CLUSTER_REPORT.format(cluster=state.name), report))
    if reports:
        state.gone.clear()
    return sends


def _announcement(state: State, now: Now) -> list[Send]:
    session = state.member.session
    announce = ClusterAnnounce(
        id=state.ids(),
        session=session,
        identity=state.meta.identity,
        name=state.name,
        location=state.location,
        radius_km=state.radius_km,
        host_ip=state.host_ip,
        version=state.version,
    )
    presence = Presence(id=state.ids(), session=session, online=True, at=now.wall)
    return [
        Send(topics.CLUSTER_ANNOUNCE.format(cluster=state.name), announce, retain=True),
        Send(topics.CLUSTER_PRESENCE.format(cluster=state.name), presence, retain=True),
    ]


def observe(state: State, at: InstanceKey) -> Observation | None:
    """What is seen of one instance, as the root is told."""
    instance = state.instances.get(at)
    if instance is None:
        if at not in state.gone:
            return None
        return Observation(
            microservice=at.microservice, number=at.number, generation=state.gone[at], status=lifecycle.UNDEPLOYED
        )
    status, detail = instance.status, instance.detail[:DETAIL_LIMIT]
    if instance.seen is not None:
        return replace(instance.seen, status=status, detail=detail)
    node = state.nodes.get(instance.node)
    return Observation(
        microservice=at.microservice,
        number=at.number,
        generation=instance.generation,
        status=status,
        detail=detail,
        node=instance.node,
        node_name=node.info.name if node else "",
    )


def _aggregates(state: State, now: Now) -> tuple[list[NodeSummary], ClusterSummary | None]:
    """The nodes that are news and the summary when it is; all of it when everything is to be told."""
    if state.member.full_due:
        state.news_nodes.update(state.nodes)
        state.summary = None
    elif not state.news_nodes or now.mono - state.summary_at < SUMMARY_EVERY_S:
        return [], None
    nodes = [state.shown(id) for id in sorted(state.news_nodes) if id in state.nodes]
    state.news_nodes.clear()
    state.summary_at = now.mono
    summary = fitted(summarized([state.shown(id) for id in state.nodes]), SUMMARY_BYTES)
    if summary == state.summary:
        return nodes, None
    state.summary = summary
    return nodes, summary


def summarized(nodes: list[NodeSummary]) -> ClusterSummary:
    """Aggregates good enough for the root to choose a cluster by, over the nodes that are online."""
    online = [node for node in nodes if node.online]
    by_runtime: dict[str, RuntimeSummary] = {}
    reasons: dict[str, Counter[str]] = {}
    for node in online:
        free = node.info.capacity - node.reserved
        for runtime in node.info.runtimes:
            names = [runtime.name, "container"] if runtime.default else [runtime.name]
            for name in names:
                so_far = by_runtime.get(name, RuntimeSummary(name=name))
                if runtime.state == "verified":
                    by_runtime[name] = replace(
                        so_far,
                        verified=so_far.verified + 1,
                        free=so_far.free + free,
                        largest=_largest(so_far.largest, free),
                    )
                else:
                    by_runtime[name] = replace(so_far, failed=so_far.failed + 1)
                    reasons.setdefault(name, Counter())[plain(runtime.reason, 300)] += 1
    runtimes = tuple(
        replace(runtime, reasons=dict(reasons.get(name, Counter()).most_common(REASONS)))
        for name, runtime in sorted(by_runtime.items())
    )
    zero = Resources()
    count = max(len(online), 1)
    return ClusterSummary(
        nodes=len(online),
        capacity=sum((node.info.capacity for node in online), zero),
        free=sum((node.info.capacity - node.reserved for node in online), zero),
        runtimes=runtimes,
        usage=Usage(
            cpu_percent=round(sum(node.usage.cpu_percent for node in online) / count, 1),
            memory_percent=round(sum(node.usage.memory_percent for node in online) / count, 1),
            memory_mib=sum(node.usage.memory_mib for node in online),
        ),
    )


def _largest(one: Resources, other: Resources) -> Resources:
    return Resources(*(max(getattr(one, f), getattr(other, f)) for f in Resources.__struct_fields__))
