"""Everything the tiers say to each other, as one closed set of types.

Between tiers unknown fields are skipped, so a newer root works with an older node. Every message has an ``id`` and
names its ``cause``: the id of the message that led to it, so that one deploy event can be followed through all tiers.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from .model import InstanceKey, Label, Location, MicroserviceSpec, NodeInfo, Resources, Whole

MAX_MESSAGE_BYTES = 256 * 1024
"""No message between tiers is larger; larger sets are sent in parts."""


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every message carries."""

    id: str
    cause: str = ""


class Presence(Message, frozen=True):
    """member → world, retained, also its Last Will: is this session of the member there?"""

    session: str
    online: bool
    at: float = 0.0


class NodeAnnounce(Message, frozen=True):
    """node → cluster, retained: who it is and what it can run."""

    session: str
    node: NodeInfo


class ClusterAnnounce(Message, frozen=True):
    """cluster → root, retained: who it is. ``identity`` tells two clusters of one name apart."""

    session: str
    identity: str
    name: str
    location: Location | None = None
    radius_km: float = 0.0
    host_ip: str = ""
    version: str = ""


class Wanted(Struct, frozen=True):
    """Instances of one microservice that should run; the specification is written once for all of them."""

    spec: MicroserviceSpec
    numbers: tuple[Whole, ...]


class Unwanted(Struct, frozen=True):
    """Instances of one microservice that should not run."""

    microservice: str
    numbers: tuple[Whole, ...]


class Desired(Message, frozen=True):
    """owner → member: what should run, as a full set or as everything that changed after ``base``."""

    session: str
    """The member's session this is meant for; another session ignores it."""
    epoch: Whole
    """The owner's fencing token: an older owner is ignored."""
    revision: Whole
    base: int | None = None
    """The revision this builds on; none = a full set."""
    put: tuple[Wanted, ...] = ()
    remove: tuple[Unwanted, ...] = ()
    part: int = 0
    parts: int = 1
    need_report: bool = False
    """The owner misses reports: answer with a full one."""


class Observation(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is seen of one instance, as an absolute statement."""

    microservice: str
    number: Whole
    generation: Whole
    status: str
    detail: str = ""
    runtime: str = ""
    """The runtime it really runs on."""
    node: str = ""
    node_name: str = ""
    host_ip: str = ""
    address: str = ""
    """The instance's own IP address, when it has one."""
    restarts: Whole = 0
    started_at: float = 0.0
    exit_code: Whole | None = None

    @property
    def key(self) -> InstanceKey:
        """The instance's name on every tier."""
        return InstanceKey(self.microservice, self.number)


class Usage(Struct, frozen=True, omit_defaults=True):
    """Momentary load of a machine or a cluster; for people, never for placement."""

    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    memory_mib: Whole = 0


class NodeSummary(Struct, frozen=True, omit_defaults=True):
    """cluster → root: one node as people should see it."""

    id: str
    info: NodeInfo
    online: bool = True
    instances: Whole = 0
    reserved: Resources = Resources()
    usage: Usage = Usage()
    gone: bool = False
    """The cluster has forgotten it."""


class RuntimeSummary(Struct, frozen=True, omit_defaults=True):
    """What a cluster has of one runtime: enough for the root to choose, and to say why not."""

    name: str
    verified: Whole = 0
    failed: Whole = 0
    reasons: dict[Label, Whole] = {}
    """Why it failed → on how many nodes; the most frequent few."""
    free: Resources = Resources()
    """Sum over the nodes where it is verified."""
    largest: Resources = Resources()
    """Each field's maximum over those nodes."""


class ClusterSummary(Struct, frozen=True, omit_defaults=True):
    """cluster → root: aggregates good enough to choose a cluster by."""

    nodes: Whole = 0
    capacity: Resources = Resources()
    free: Resources = Resources()
    runtimes: tuple[RuntimeSummary, ...] = ()
    usage: Usage = Usage()


class Report(Message, frozen=True):
    """member → owner: what was applied and what is seen, changes since the last report or everything (``full``)."""

    session: str
    sequence: int
    """Counts this session's reports from 1; a gap makes the owner ask for a full one."""
    epoch: int = 0
    revision: int = 0
    full: bool = False
    need_full: bool = False
    part: int = 0
    parts: int = 1
    observations: tuple[Observation, ...] = ()
    usage: Usage | None = None
    nodes: tuple[NodeSummary, ...] = ()
    summary: ClusterSummary | None = None


class Query(Message, frozen=True):
    """Asks the tier below for something that is not state; answered by an Answer whose ``cause`` is this id."""

    what: Literal["logs"]
    microservice: str
    number: int
    tail_bytes: int = 65536


class Answer(Message, frozen=True):
    """The answer to a Query: text, or why there is none."""

    text: str = ""
    error: str = ""


class CloudEvent(Struct, frozen=True, kw_only=True):
    """A lifecycle event going out: CloudEvents 1.0, structured JSON."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    """``spinney.instance.status``, ``spinney.node.online``, ``spinney.runtime.failed`` …"""
    subject: str
    time: str
    datacontenttype: str = "application/json"
    data: dict[str, Any] = {}


class Problem(Struct, frozen=True, omit_defaults=True):
    """One thing wrong with what a user sent: where (a JSON path, ``$.applications[0].microservices``) and what."""

    path: str
    message: str


class EventResult(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The answer to a deploy, undeploy or scale event."""

    event: str
    """The event's own id, or the one we gave it."""
    status: Literal["accepted", "rejected"]
    applications: dict[str, str] = {}
    """Application name → id."""
    microservices: dict[str, str] = {}
    """job_name → id."""
    details: dict[str, str] = {}
    """job_name → why it does not run yet, in words, where that is known at once."""
    errors: tuple[Problem, ...] = ()
