"""What the root says: desired sets to the clusters, and lifecycle events to whoever listens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from spinney_shared import topics
from spinney_shared.deciding import Now, Send
from spinney_shared.messages import CloudEvent
from spinney_shared.model import InstanceKey, MicroserviceSpec

from .state import NodeView, State

SOURCE = "/spinney/root"

_OUT = {kind: topics.OUT.format(subject=kind) for kind in ("instance", "node", "runtime", "cluster")}
"""Made once: a burst of instances is a burst of events."""


def tell_clusters(state: State, now: Now) -> list[Send]:
    """The desired sets that are due, merged per cluster."""

    def spec(cluster: str, at: InstanceKey) -> MicroserviceSpec | None:
        instance = state.instances.get(at)
        here = instance is not None and instance.cluster == cluster and not instance.removing
        return state.microservices[at.microservice].spec if here else None

    messages = state.owner.flush(now.mono, lambda name: state.by_cluster.get(name, ()), spec, state.ids)
    return [Send(topics.CLUSTER_DESIRED.format(cluster=name), desired) for name, desired in messages]


def lifecycle_events(state: State, now: Now) -> list[Send]:
    """One event per instance, node, runtime and cluster whose state is another than before this batch."""
    time = datetime.fromtimestamp(now.wall, UTC).isoformat(timespec="milliseconds")
    sends = [_instance_event(state, at, before, time) for at, before in state.news_instances.items()]
    sends += [
        _event(
            state, "cluster", name, "online" if state.owner.peer(name).online else "offline", time, {"cluster": name}
        )
        for name in sorted(state.news_clusters)
    ]
    sends += [_event(state, kind, subject, what, time, data) for kind, subject, what, data in state.news_nodes]
    state.news_instances.clear()
    state.news_clusters.clear()
    state.news_nodes.clear()
    return [send for send in sends if send is not None]


def _instance_event(state: State, at: InstanceKey, before: str, time: str) -> Send | None:
    instance = state.instances.get(at)
    status = instance.status if instance and not instance.removing else ("UNDEPLOYED" if not instance else before)
    if status == before:
        return None
    data: dict[str, Any] = {"microservice": at.microservice, "instance": at.number, "status": status}
    microservice = state.microservices.get(at.microservice)
    if microservice:
        data |= {"job_name": microservice.spec.job_name, "application": microservice.application}
    if instance:
        data |= {"generation": instance.generation, "status_detail": instance.detail, "cluster": instance.cluster}
        data |= {"cause": instance.cause}
        if seen := instance.seen:
            data |= {"node": seen.node, "node_name": seen.node_name, "runtime": seen.runtime, "address": seen.address}
    return _event(state, "instance", str(at), "status", time, data)


def _event(state: State, kind: str, subject: str, what: str, time: str, data: dict[str, Any]) -> Send:
    event = CloudEvent(
        id=state.ids(), source=SOURCE, type=f"spinney.{kind}.{what}", subject=subject, time=time, data=data
    )
    return Send(_OUT[kind], event, keep=True)


def note_node(state: State, view: NodeView) -> None:
    """Take over what a cluster shows of a node, and note what is news in it."""
    new, id = view.summary, view.summary.id
    old = state.nodes[id].summary if id in state.nodes else None
    data = {"cluster": view.cluster, "node": id, "node_name": new.info.name}
    if old is None or old.online != new.online:
        state.news_nodes.append(("node", id, "online" if new.online else "offline", data))
    before = {r.name: r for r in old.info.runtimes} if old else {}
    for runtime in new.info.runtimes:
        known = before.pop(runtime.name, None)
        if known is None or known.state != runtime.state:
            more = {"runtime": runtime.name, "reason": runtime.reason, "version": runtime.version}
            state.news_nodes.append(("runtime", f"{id}/{runtime.name}", runtime.state, data | more))
    for name in before:
        state.news_nodes.append(("runtime", f"{id}/{name}", "gone", data | {"runtime": name}))
    state.nodes[id] = view
