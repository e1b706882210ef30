"""How the root's state looks from outside: small pure functions from records to the shapes of REST."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct
from spinney_shared import lifecycle
from spinney_shared.model import InstanceKey, Location, PortMapping, RuntimeInfo

from . import shapes
from .state import Application, Cluster, Instance, Microservice, NodeView, State, User

_WORST_FIRST: Final = (
    *sorted(lifecycle.UNSCHEDULABLE),
    lifecycle.FAILED,
    lifecycle.DEAD,
    lifecycle.REQUESTED,
    lifecycle.CLUSTER_SCHEDULED,
    lifecycle.NODE_SCHEDULED,
    lifecycle.CREATING,
    lifecycle.CREATED,
    lifecycle.UNDEPLOYED,
    lifecycle.RUNNING,
    lifecycle.COMPLETED,
)
"""A service shows the status that keeps it furthest from being whole."""

_BADNESS: Final = {status: place for place, status in enumerate(_WORST_FIRST)}


class Wishes(Struct, frozen=True):
    """The part of a user's own document that is shown again as it was written."""

    virtualization: str = "container"
    addresses: dict[str, Any] = {}


def user(account: User) -> shapes.UserAnswer:
    """A user without the password."""
    return shapes.UserAnswer(account.name, account.roles, account.organization)


def applications(state: State, owner: str | None) -> list[shapes.ApplicationAnswer]:
    """The applications of one owner, or of all (None), in the order they were made."""
    found = (a for a in state.applications.values() if owner in (None, a.owner))
    return [application(state, a) for a in sorted(found, key=lambda a: (a.created_at, a.id))]


def application(state: State, one: Application) -> shapes.ApplicationAnswer:
    """One application."""
    return shapes.ApplicationAnswer(
        applicationID=one.id,
        application_name=one.name,
        application_namespace=one.namespace,
        application_desc=one.description,
        microservices=tuple(sorted(state.by_application.get(one.id, ()))),
        owner=one.owner,
    )


def services(state: State, found: Iterable[Application]) -> list[shapes.ServiceAnswer]:
    """The microservices of these applications."""
    ids = (id for one in found for id in sorted(state.by_application.get(one.id, ())))
    return [service(state, state.microservices[id]) for id in ids]


def service(state: State, one: Microservice) -> shapes.ServiceAnswer:
    """One microservice with its instances."""
    owner, spec, wishes = state.applications[one.application], one.spec, _wishes(one)
    live = list(wanted_instances(state, one.id))
    status, detail = status_of(live)
    return shapes.ServiceAnswer(
        microserviceID=one.id,
        microservice_name=one.name,
        microservice_namespace=one.namespace,
        applicationID=owner.id,
        application_name=owner.name,
        application_namespace=owner.namespace,
        app_name=owner.name,
        app_ns=owner.namespace,
        job_name=spec.job_name,
        status=status,
        status_detail=detail,
        virtualization=wishes.virtualization,
        code=spec.image,
        image=spec.image,
        memory=spec.resources.memory_mib,
        vcpus=spec.resources.cpu_milli / 1000,
        vgpus=spec.resources.gpus,
        vtpus=spec.resources.tpus,
        storage=spec.resources.storage_mib,
        bandwidth_in=spec.resources.in_mbit,
        bandwidth_out=spec.resources.out_mbit,
        port=";".join(_port(port) for port in spec.ports),
        cmd=spec.command,
        environment=spec.environment,
        RR_ip=str(wishes.addresses.get("rr_ip", "")),
        RR_ip_v6=str(wishes.addresses.get("rr_ip_v6", "")),
        replicas=len(live),
        generation=spec.generation,
        statuses=dict(Counter(i.status for i in live)),
        instance_list=tuple(instance(state, i, spec.ports) for i in live),
    )


def wanted_instances(state: State, microservice: str) -> Iterator[Instance]:
    """The instances of a microservice that should run, by number."""
    for number in sorted(state.by_microservice.get(microservice, ())):
        found = state.instances[InstanceKey(microservice, number)]
        if not found.removing:
            yield found


def status_of(instances: list[Instance]) -> tuple[str, str]:
    """A service's status and why, in words: that of the instance which is furthest from running."""
    if not instances:
        return lifecycle.REQUESTED, "no instances are wanted"
    worst = min(instances, key=lambda i: (_BADNESS[i.status], not i.detail, i.number))
    if len(instances) == 1:
        return worst.status, worst.detail
    counted = Counter(i.status for i in instances)
    counts = ", ".join(f"{counted[status]} {status}" for status in reversed(_WORST_FIRST) if status in counted)
    return worst.status, f"{counts}: {worst.detail}" if worst.detail else counts


def instance(state: State, one: Instance, ports: tuple[PortMapping, ...]) -> shapes.InstanceAnswer:
    """One instance; where it is and what it runs on are known once its node has reported."""
    cluster, seen = state.clusters.get(one.cluster), one.seen
    return shapes.InstanceAnswer(
        instance_number=one.number,
        status=one.status,
        status_detail=one.detail,
        publicip=seen.host_ip if seen else "",
        cluster_id=cluster.announce.identity if cluster else "",
        cluster_location=_location(cluster) if cluster else "",
        worker_id=seen.node if seen else "",
        host_ip=seen.host_ip if seen else "",
        host_port=str(ports[0].host) if ports else "",
        runtime=seen.runtime if seen else "",
        node_name=seen.node_name if seen else "",
        cluster_name=one.cluster,
        address=seen.address if seen else "",
        generation=one.generation,
        restarts=seen.restarts if seen else 0,
        started_at=seen.started_at if seen else 0.0,
        exit_code=seen.exit_code if seen else None,
    )


def instance_rows(
    state: State, found: Iterable[Microservice], status: str | None = None
) -> Iterator[shapes.InstanceRow]:
    """Every wanted instance of these microservices, or those with one status."""
    for one in found:
        for wanted in wanted_instances(state, one.id):
            if status not in (None, wanted.status):
                continue  # before it is made ready to be shown, which costs far more
            shown = instance(state, wanted, one.spec.ports)
            yield shapes.InstanceRow(one.id, one.spec.job_name, one.application, shown)


def clusters(state: State, only_active: bool = False) -> list[shapes.ClusterAnswer]:
    """All clusters, or those that are there now, by name."""
    shown = (cluster(state, state.clusters[name]) for name in sorted(state.clusters))
    return [one for one in shown if one.active or not only_active]


def cluster(state: State, one: Cluster) -> shapes.ClusterAnswer:
    """One cluster."""
    summary, peer = one.summary, state.owner.peers.get(one.announce.name)
    verified = {runtime.name for runtime in summary.runtimes if runtime.verified}
    return shapes.ClusterAnswer(
        id=one.announce.identity,
        cluster_name=one.announce.name,
        candidate_name=one.announce.name,
        ip=one.announce.host_ip,
        port="",
        active=peer is not None and peer.online,
        active_nodes=summary.nodes,
        cluster_location=_location(one),
        total_cpu_cores=summary.capacity.cpu_milli / 1000,
        total_gpu_cores=summary.capacity.gpus,
        vcpus=summary.free.cpu_milli / 1000,
        vgpus=summary.free.gpus,
        memory_in_mb=summary.capacity.memory_mib,
        memory=summary.free.memory_mib,
        cpu_percent=summary.usage.cpu_percent,
        memory_percent=summary.usage.memory_percent,
        virtualization=tuple(sorted(verified)),
    )


def nodes(state: State) -> list[shapes.NodeAnswer]:
    """All nodes that a cluster has shown, by cluster and name."""
    shown = [_node(view) for view in state.nodes.values() if not view.summary.gone]
    return sorted(shown, key=lambda one: (one.cluster, one.name, one.id))


def runtimes(state: State) -> list[shapes.RuntimeAnswer]:
    """Every runtime that any node knows of, and how it did there."""
    kinds: dict[str, str] = {}
    found: dict[str, dict[str, list[shapes.RuntimeOnNode]]] = {}
    for one in nodes(state):
        for runtime in one.runtimes:
            kinds.setdefault(runtime.name, runtime.kind)
            by_state = found.setdefault(runtime.name, {"verified": [], "failed": []})
            by_state[runtime.state].append(_on_node(one, runtime))
    return [
        shapes.RuntimeAnswer(name, kinds[name], tuple(found[name]["verified"]), tuple(found[name]["failed"]))
        for name in sorted(found)
    ]


def _node(view: NodeView) -> shapes.NodeAnswer:
    summary, info = view.summary, view.summary.info
    return shapes.NodeAnswer(
        id=summary.id,
        name=info.name,
        cluster=view.cluster,
        online=summary.online,
        arch=info.arch,
        host_ip=info.host_ip,
        version=info.version,
        instances=summary.instances,
        capacity=info.capacity,
        reserved=summary.reserved,
        usage=summary.usage,
        labels=info.labels,
        location=info.location,
        runtimes=info.runtimes,
        problems=info.problems,
    )


def _on_node(one: shapes.NodeAnswer, runtime: RuntimeInfo) -> shapes.RuntimeOnNode:
    return shapes.RuntimeOnNode(
        node=one.id,
        node_name=one.name,
        cluster=one.cluster,
        online=one.online,
        driver=runtime.driver,
        version=runtime.version,
        default=runtime.default,
        start_ms=runtime.start_ms,
        reason=runtime.reason,
        hint=runtime.hint,
    )


def _location(one: Cluster) -> str:
    place: Location | None = one.announce.location
    return f"{place.latitude:g},{place.longitude:g},{one.announce.radius_km:g}" if place else ""


def _port(port: PortMapping) -> str:
    return f"{port.host}:{port.container}/{port.protocol}"


def _wishes(one: Microservice) -> Wishes:
    return msgspec.json.decode(one.document, type=Wishes) if one.document else Wishes()
