"""Which nodes get how many instances of one microservice: filter, then fill, pure.

Every node is looked at once per call, however many instances are asked for, so the cost is nodes + instances and not
their product. What does not fit is explained with a count per reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct
from spinney_shared.lifecycle import NO_QUALIFIED_WORKER, NO_WORKER_CAPACITY
from spinney_shared.model import DEFAULT_RUNTIME, MicroserviceSpec, NodeInfo, Resources

ENOUGH = 1_000_000
"""How many instances a node without any limit in the way can hold."""


class Candidate(Struct):
    """A node as placement sees it."""

    id: str
    info: NodeInfo
    free: Resources
    """Capacity less everything reserved, copies on their way out included."""
    ports: frozenset[tuple[int, str]] = frozenset()
    """Host ports in use: (number, protocol)."""


class Placement(Struct):
    """Where instances go, one node id for each that found a place, and why the others did not."""

    nodes: list[str]
    status: str = ""
    detail: str = ""


def place(spec: MicroserviceSpec, count: int, candidates: Iterable[Candidate], absent: Counter[str]) -> Placement:
    """Up to `count` places for instances of `spec`, the fullest nodes first (bin packing).

    `absent` counts nodes that are not candidates at all, by reason ("offline"); they only appear in the explanation.
    """
    refused: Counter[str] = Counter(absent)
    full: Counter[str] = Counter()
    room: list[tuple[int, str, int]] = []
    for node in candidates:
        reason = unqualified(spec, node.info)
        if reason:
            refused[reason] += 1
            continue
        holds, lacking = capacity_for(spec, node)
        if holds:
            room.append((node.free.memory_mib, node.id, holds))
        else:
            full[lacking] += 1
    chosen: list[str] = []
    for _, id, holds in sorted(room):
        chosen += [id] * min(holds, count - len(chosen))
        if len(chosen) == count:
            return Placement(chosen)
    if room:
        full["no more room after the instances just placed"] += len(room)
    status = NO_WORKER_CAPACITY if full else NO_QUALIFIED_WORKER
    return Placement(chosen, status, explained(refused + full))


def unqualified(spec: MicroserviceSpec, node: NodeInfo) -> str:
    """Why this node can never run the microservice as things are, or an empty string."""
    if spec.direct.nodes and node.name not in spec.direct.nodes:
        return "not among the nodes asked for"
    if spec.arch and node.arch not in spec.arch:
        return f"architecture {node.arch}"
    for runtime in node.runtimes:
        if (runtime.default if spec.runtime == DEFAULT_RUNTIME else runtime.name == spec.runtime) and (
            runtime.state == "verified"
        ):
            return ""
    return f"runtime {spec.runtime} not verified"


def capacity_for(spec: MicroserviceSpec, node: Candidate) -> tuple[int, str]:
    """How many more instances the node can hold, and what stops it when that is none."""
    for port in spec.ports:
        if (port.host, port.protocol) in node.ports:
            return 0, f"port {port.host}/{port.protocol} taken"
    holds, lacking = (1, "") if spec.ports else (ENOUGH, "")
    for field in Resources.__struct_fields__:
        need = getattr(spec.resources, field)
        if need > 0 and (fits := max(0, getattr(node.free, field)) // need) < holds:
            holds, lacking = fits, field.partition("_")[0]
    return holds, lacking


def explained(counts: Counter[str]) -> str:
    """``3 nodes: runtime runsc not verified; 2 nodes: memory``, the most frequent first."""
    if not counts:
        return "the cluster has no nodes"
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{n} node{'s' if n > 1 else ''}: {reason}" for reason, n in ordered[:8])
