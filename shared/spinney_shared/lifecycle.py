"""The life of an instance: one table of statuses and legal steps, two verbs.

``advance`` is for our own decision and must be legal; ``observe`` is for a report from below, which may skip states
(reports are coalesced) but never leaves a final one. The picture in ARCHITECTURE.md is generated from the table.
The words are Oakestra's, so that existing clients keep reading them.
"""

from __future__ import annotations

from typing import Final

REQUESTED: Final = "REQUESTED"
CLUSTER_SCHEDULED: Final = "CLUSTER_SCHEDULED"
NODE_SCHEDULED: Final = "NODE_SCHEDULED"
CREATING: Final = "CREATING"
CREATED: Final = "CREATED"
RUNNING: Final = "RUNNING"
FAILED: Final = "FAILED"
DEAD: Final = "DEAD"
COMPLETED: Final = "COMPLETED"
UNDEPLOYED: Final = "UNDEPLOYED"
NO_WORKER_CAPACITY: Final = "NO_WORKER_CAPACITY"
NO_QUALIFIED_WORKER: Final = "NO_QUALIFIED_WORKER_FOUND"
NO_SUCH_CLUSTER: Final = "TargetClusterNotFound"
CLUSTER_NOT_ACTIVE: Final = "TargetClusterNotActive"
NO_CLUSTER_CAPACITY: Final = "NoActiveClusterWithCapacity"

UNSCHEDULABLE: Final = frozenset(
    {NO_WORKER_CAPACITY, NO_QUALIFIED_WORKER, NO_SUCH_CLUSTER, CLUSTER_NOT_ACTIVE, NO_CLUSTER_CAPACITY}
)
"""Waiting for a machine; ``status_detail`` says what is missing. Not final: tried again when something changes."""

ENDED: Final = frozenset({COMPLETED, DEAD, UNDEPLOYED})
"""Nothing runs and nothing will be started. DEAD = gave up restarting."""

_NODE: Final = frozenset({CREATING, CREATED, RUNNING, FAILED, DEAD, COMPLETED})
_SCHEDULING: Final = UNSCHEDULABLE | {CLUSTER_SCHEDULED, NODE_SCHEDULED}

STEPS: Final[dict[str, frozenset[str]]] = {
    REQUESTED: _SCHEDULING | {UNDEPLOYED},
    **{status: _SCHEDULING | {REQUESTED, UNDEPLOYED} for status in UNSCHEDULABLE},
    CLUSTER_SCHEDULED: _SCHEDULING | {REQUESTED, UNDEPLOYED},
    NODE_SCHEDULED: UNSCHEDULABLE | {CREATING, FAILED, DEAD, REQUESTED, CLUSTER_SCHEDULED, UNDEPLOYED},
    CREATING: UNSCHEDULABLE | {CREATED, FAILED, DEAD, NODE_SCHEDULED, REQUESTED, CLUSTER_SCHEDULED, UNDEPLOYED},
    CREATED: UNSCHEDULABLE | {RUNNING, FAILED, DEAD, NODE_SCHEDULED, REQUESTED, CLUSTER_SCHEDULED, UNDEPLOYED},
    RUNNING: UNSCHEDULABLE | {FAILED, COMPLETED, DEAD, NODE_SCHEDULED, REQUESTED, CLUSTER_SCHEDULED, UNDEPLOYED},
    FAILED: UNSCHEDULABLE | {CREATING, RUNNING, DEAD, NODE_SCHEDULED, REQUESTED, CLUSTER_SCHEDULED, UNDEPLOYED},
    DEAD: frozenset({UNDEPLOYED, REQUESTED, CLUSTER_SCHEDULED, NODE_SCHEDULED}),
    COMPLETED: frozenset({UNDEPLOYED, REQUESTED, CLUSTER_SCHEDULED, NODE_SCHEDULED}),
    UNDEPLOYED: frozenset(),
}
"""status → the statuses it may become. A new generation, or another machine, starts again at …_SCHEDULED."""


class IllegalStep(Exception):
    """A decision of our own broke the lifecycle table; nothing was changed."""

    def __init__(self, before: str, after: str) -> None:
        super().__init__(f"an instance cannot go from {before} to {after}")
        self.before, self.after = before, after


def advance(before: str, after: str) -> str:
    """The next status by our own decision; raises IllegalStep when the table does not have it (same → same is fine)."""
    if after != before and after not in STEPS[before]:
        raise IllegalStep(before, after)
    return after


def observe(before: str, seen: str) -> str:
    """The next status by a report from below: states may be skipped, UNDEPLOYED is never left."""
    return before if before == UNDEPLOYED or seen not in STEPS else seen


def diagram() -> str:
    """The table as a Mermaid state diagram; the unschedulable statuses are drawn as one."""
    name = {status: "UNSCHEDULABLE" if status in UNSCHEDULABLE else status for status in STEPS}
    pairs = [(name[before], name[after]) for before in STEPS for after in sorted(STEPS[before])]
    arrows = [f"    {a} --> {b}" for a, b in dict.fromkeys(pairs) if a != b]
    return "\n".join(["stateDiagram-v2", "    [*] --> REQUESTED", *arrows])
