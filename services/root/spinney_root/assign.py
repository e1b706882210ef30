"""Finding clusters for instances that have none: the glue between the state and pure `placement`."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace
from spinney_shared import lifecycle
from spinney_shared.messages import ClusterSummary
from spinney_shared.model import InstanceKey

from .placement import Candidate, capacity_for, place
from .state import Instance, State


def assign(state: State, keys: Iterable[InstanceKey]) -> list[str]:
    """Give every instance of `keys` a cluster where one fits; returns what was decided, in words."""
    groups: dict[str, list[InstanceKey]] = {}
    for at in sorted(keys):
        groups.setdefault(at.microservice, []).append(at)
    candidates = _candidates(state)
    return [_assign_group(state, name, group, candidates) for name, group in groups.items()]


def _candidates(state: State) -> list[Candidate]:
    return [Candidate(name, state.owner.peer(name).online, c.summary) for name, c in sorted(state.clusters.items())]


def _assign_group(state: State, microservice: str, keys: list[InstanceKey], candidates: list[Candidate]) -> str:
    spec = state.microservices[microservice].spec
    placement = place(spec, len(keys), candidates)
    for at, cluster in zip(keys, placement.clusters, strict=False):
        instance = state.instances[at]
        status = lifecycle.advance(instance.status, lifecycle.CLUSTER_SCHEDULED)
        state.put(replace(instance, cluster=cluster, status=status, detail="", seen=None))
    for at in keys[len(placement.clusters) :]:
        instance = state.instances[at]
        if (instance.status, instance.detail) != (placement.status, placement.detail):
            status = lifecycle.advance(instance.status, placement.status)
            state.put(replace(instance, status=status, detail=placement.detail))
    return f"{spec.job_name}: {len(placement.clusters)} of {len(keys)} given to clusters {placement.detail}".rstrip()


def move_on(state: State, instance: Instance) -> None:
    """Its cluster cannot hold it: try one that has not been tried for this generation, else leave it where it waits."""
    tried = (*instance.tried, instance.cluster)
    spec = state.microservices[instance.microservice].spec
    placement = place(spec, 1, [c for c in _candidates(state) if c.name not in tried])
    if placement.clusters:
        status = lifecycle.advance(instance.status, lifecycle.CLUSTER_SCHEDULED)
        cluster = placement.clusters[0]
        state.put(replace(instance, cluster=cluster, tried=tried, status=status, detail="", seen=None))


def try_again(state: State, cluster: str, before: ClusterSummary) -> None:
    """A cluster that had no room now seems to have some: it gets what was tried there and waits elsewhere in vain."""
    now = state.clusters[cluster].summary
    for at in sorted(state.unplaced):
        instance = state.instances[at]
        spec = state.microservices[at.microservice].spec
        if cluster in instance.tried and not capacity_for(spec, before) and capacity_for(spec, now):
            tried = tuple(name for name in instance.tried if name != cluster)
            move_on(state, replace(instance, tried=tried))
