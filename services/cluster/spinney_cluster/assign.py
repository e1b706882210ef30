"""Finding nodes for the instances that have none: the glue between the state and pure `placement`."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace
from spinney_shared import lifecycle
from spinney_shared.model import InstanceKey, MicroserviceSpec

from .placement import Candidate, capacity_for, place, unqualified
from .state import Held, Instance, State


def assign(state: State) -> list[str]:
    """Give every waiting or orphaned instance a node where one fits; returns what was decided, in words."""
    groups: dict[tuple[str, int], list[InstanceKey]] = {}
    for at in sorted(state.waiting | state.orphaned):
        groups.setdefault((at.microservice, state.instances[at].generation), []).append(at)
    if not groups:
        return []
    candidates, absent = _candidates(state)
    return [_assign_group(state, keys, candidates, absent) for keys in groups.values()]


def _candidates(state: State) -> tuple[dict[str, Candidate], Counter[str]]:
    """Nodes that may be given instances now, and why the others may not."""
    absent: Counter[str] = Counter()
    candidates = {}
    for id, node in state.nodes.items():
        live = state.live_of(id)
        if live.offline_since is not None or not state.owner.peer(id).online:
            absent["offline"] += 1
        elif not live.confirmed or live.strangers:
            absent["has yet to say what runs there"] += 1
        else:
            candidates[id] = Candidate(id, node.info, state.free(id), state.ports(id))
    return candidates, absent


def _assign_group(state: State, keys: list[InstanceKey], candidates: dict[str, Candidate], absent: Counter[str]) -> str:
    first = state.instances[keys[0]]
    spec = state.spec_of(first)
    placement = place(spec, len(keys), candidates.values(), absent)
    for at, node in zip(keys, placement.nodes, strict=False):
        instance = state.instances[at]
        status = lifecycle.advance(instance.status, lifecycle.NODE_SCHEDULED)
        state.orphaned.discard(at)
        state.put(replace(instance, node=node, status=status, detail="", seen=None))
        state.member.note(at)
    for node, count in Counter(placement.nodes).items():
        _book(candidates[node], spec, count)
    for at in keys[len(placement.nodes) :]:
        _unplaced(state, state.instances[at], placement.status, placement.detail)
    return f"{spec.job_name}: {len(placement.nodes)} of {len(keys)} placed {placement.detail}".rstrip()


def _book(candidate: Candidate, spec: MicroserviceSpec, count: int) -> None:
    """Book `count` instances on the candidate for the rest of this round."""
    for _ in range(count):
        candidate.free = candidate.free - spec.resources
    candidate.ports |= {(port.host, port.protocol) for port in spec.ports}


def _unplaced(state: State, instance: Instance, status: str, detail: str) -> None:
    if instance.node:
        detail = f"its node is lost and no other fits: {detail}"
    if (instance.status, instance.detail) != (status, detail):
        state.put(replace(instance, status=lifecycle.advance(instance.status, status), detail=detail))
        state.member.note(instance.at)


def refit(state: State, old: Instance, spec: MicroserviceSpec) -> str:
    """The node an instance may stay on when its specification becomes `spec`, or "" when it must move."""
    node = state.nodes.get(old.node)
    if node is None or unqualified(spec, node.info):
        return ""
    held = Held() if old.removing else state.held(old)
    own = held.beside(state.live_of(old.node).leaving.get(old.at, Held())).resources
    candidate = Candidate(old.node, node.info, state.free(old.node) + own, state.ports(old.node, but=old.at))
    return old.node if capacity_for(spec, candidate)[0] else ""
