"""Which clusters get how many instances of one microservice: filter, then fill, pure.

The root chooses by each cluster's aggregates. They may be a second old, so a cluster may find that it cannot hold its
share after all; it says so, and the instance goes to the next one (`spinney_root.decide`).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from spinney_shared.lifecycle import CLUSTER_NOT_ACTIVE, NO_CLUSTER_CAPACITY, NO_QUALIFIED_WORKER, NO_SUCH_CLUSTER
from spinney_shared.messages import ClusterSummary, RuntimeSummary
from spinney_shared.model import MicroserviceSpec, Resources

ENOUGH = 1_000_000
"""How many instances a cluster without any limit in the way can hold."""


class Candidate(Struct):
    """A cluster as placement sees it."""

    name: str
    online: bool
    summary: ClusterSummary


class Placement(Struct):
    """Where instances go, one cluster's name for each that found a place, and why the others did not."""

    clusters: list[str]
    status: str = ""
    detail: str = ""


def place(spec: MicroserviceSpec, count: int, candidates: Iterable[Candidate]) -> Placement:
    """Up to `count` places for instances of `spec`, the fullest clusters first (bin packing)."""
    known = list(candidates)
    allowed = [c for c in known if not spec.direct.clusters or c.name in spec.direct.clusters]
    if spec.direct.clusters and not allowed:
        have = ", ".join(c.name for c in known[:10]) or "none"
        return Placement([], NO_SUCH_CLUSTER, f"no cluster named {' or '.join(spec.direct.clusters)} (known: {have})")
    online = [c for c in allowed if c.online]
    if not online:
        names = ", ".join(c.name for c in allowed[:10])
        status = CLUSTER_NOT_ACTIVE if spec.direct.clusters else NO_CLUSTER_CAPACITY
        return Placement([], status, f"cluster {names} is offline" if allowed else "no cluster has joined yet")
    room = sorted((_free(spec, c).memory_mib, c.name, capacity_for(spec, c.summary)) for c in online)
    chosen: list[str] = []
    for _, name, holds in room:
        chosen += [name] * min(holds, count - len(chosen))
    if len(chosen) == count:
        return Placement(chosen)
    return Placement(chosen, *why_not(spec, online))


def capacity_for(spec: MicroserviceSpec, summary: ClusterSummary) -> int:
    """How many more instances the cluster can probably hold."""
    runtime = runtime_of(spec, summary)
    if runtime is None or not runtime.verified:
        return 0
    holds = runtime.verified if spec.ports else ENOUGH  # two instances with a host port cannot share a node
    for field in Resources.__struct_fields__:
        need = getattr(spec.resources, field)
        if need > 0:
            if getattr(runtime.largest, field) < need:
                return 0
            holds = min(holds, getattr(runtime.free, field) // need)
    return holds


def runtime_of(spec: MicroserviceSpec, summary: ClusterSummary) -> RuntimeSummary | None:
    """The cluster's entry for the runtime asked for."""
    return next((runtime for runtime in summary.runtimes if runtime.name == spec.runtime), None)


def why_not(spec: MicroserviceSpec, clusters: list[Candidate]) -> tuple[str, str]:
    """The status and the sentence for what found no place, with what each cluster has instead."""
    lacking = [c for c in clusters if not ((r := runtime_of(spec, c.summary)) and r.verified)]
    if len(lacking) < len(clusters):
        full = [c.name for c in clusters if c not in lacking]
        need = ", ".join(f"{f} {v}" for f in Resources.__struct_fields__ if (v := getattr(spec.resources, f)))
        where = f"{need} free" if need else "a node with its ports free"
        return NO_CLUSTER_CAPACITY, f"no {where} on any node with runtime {spec.runtime} in cluster {', '.join(full)}"
    return NO_QUALIFIED_WORKER, "; ".join(_lack(spec, c) for c in lacking[:5])


def _lack(spec: MicroserviceSpec, cluster: Candidate) -> str:
    summary = cluster.summary
    if not summary.nodes:
        return f"cluster {cluster.name} has no node online"
    runtime = runtime_of(spec, summary)
    nodes = f"{summary.nodes} node{'s' if summary.nodes > 1 else ''}"
    have = ", ".join(
        f"{r.name} ({r.verified})" for r in summary.runtimes if r.verified and r.name not in ("container", spec.runtime)
    )
    reasons = "; ".join(f"{n} with: {reason}" for reason, n in runtime.reasons.items()) if runtime else ""
    why = f"failed verification ({reasons})" if reasons else "not found"
    lack = f"cluster {cluster.name}: no node of {nodes} has verified {spec.runtime}"
    return f"{lack}, {why}; verified there: {have or 'none'}"


def _free(spec: MicroserviceSpec, cluster: Candidate) -> Resources:
    runtime = runtime_of(spec, cluster.summary)
    return runtime.free if runtime else Resources()
