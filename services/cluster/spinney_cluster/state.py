"""The cluster's memory: every record it keeps, with the indexes that decisions read.

`State` changes only through `put` and `drop`, which also note the change for the store; loading is the same puts again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace
from spinney_shared import lifecycle
from spinney_shared.deciding import IdSource
from spinney_shared.messages import ClusterSummary, NodeSummary, Observation, Usage
from spinney_shared.model import MOST_OF_A_MACHINE, InstanceKey, Location, MicroserviceSpec, NodeInfo, Resources
from spinney_shared.store import Change, Drop, Put, Record
from spinney_shared.sync import Member, Owner, next_epoch, session_id


class Specification(Record, frozen=True):
    """A specification that instances refer to by (microservice, generation)."""

    kind: ClassVar[str] = "specifications"
    spec: MicroserviceSpec

    @property
    def key(self) -> str:
        """``microservice@generation``; never split again."""
        return f"{self.spec.id}@{self.spec.generation}"


class Instance(Record, frozen=True):
    """One instance the root wants here: on which node it should be, and what was last seen of it."""

    kind: ClassVar[str] = "instances"
    microservice: str
    number: int
    generation: int
    status: str = lifecycle.CLUSTER_SCHEDULED
    detail: str = ""
    node: str = ""
    """The id of the node it was given to; empty = none yet."""
    removing: bool = False
    """The root does not want it any more; forgotten when its node says that it is gone."""
    seen: Observation | None = None

    @property
    def key(self) -> str:
        """``microservice#number``; never split again."""
        return f"{self.microservice}#{self.number}"

    @property
    def at(self) -> InstanceKey:
        """Its name on every tier."""
        return InstanceKey(self.microservice, self.number)


class Node(Record, frozen=True):
    """A node that announced itself at some time."""

    kind: ClassVar[str] = "nodes"
    id: str
    info: NodeInfo
    session: str = ""

    @property
    def key(self) -> str:
        """Its id."""
        return self.id


class Meta(Record, frozen=True):
    """What the cluster must remember of itself."""

    kind: ClassVar[str] = "meta"
    identity: str = ""
    epoch: int = 0
    """Raised at every start: fences what an earlier process said."""
    up_epoch: int = 0
    up_revision: int = 0

    @property
    def key(self) -> str:
        """There is one."""
        return "cluster"


KINDS: dict[str, type[Record]] = {record.kind: record for record in (Specification, Instance, Node, Meta)}


class Held(Struct, frozen=True):
    """What a copy takes of its node."""

    resources: Resources = Resources()
    ports: frozenset[tuple[int, str]] = frozenset()
    """Host ports: (number, protocol)."""

    def beside(self, other: Held) -> Held:
        """Both together."""
        return Held(self.resources + other.resources, self.ports | other.ports)

    def beyond(self, other: Held) -> Held:
        """What this takes that `other` does not."""
        return Held((self.resources - other.resources).within(0, MOST_OF_A_MACHINE), self.ports - other.ports)


class Live(Struct):
    """What is known of a node only while this process lives."""

    confirmed: bool = False
    """A full report has told what really runs there, since it was last out of sight."""
    strangers: set[InstanceKey] = set()
    """Copies there that nobody wants there (any more) and that it did not yet say are gone."""
    leaving: dict[InstanceKey, Held] = {}
    """What copies on their way out still hold, some of them strangers too. For an instance that is wanted here: what
    its copy of an older generation holds beyond what is reserved for the new one."""
    offline_since: float | None = None
    """Monotonic; by Last Will or by silence."""
    usage: Usage = Usage()


class State:
    """All records by key, and the indexes over them."""

    def __init__(self, name: str, ids: IdSource) -> None:
        self.name = name
        self.ids = ids
        self.location: Location | None = None
        self.radius_km = 0.0
        self.host_ip = ""
        self.version = ""
        self.report_every_s = 3.0
        self.will_grace_s = 5.0
        """How long after a Last Will a node counts as lost, when that is shorter than the microservice allows."""
        self.meta = Meta()
        self.specs: dict[tuple[str, int], Specification] = {}
        self.instances: dict[InstanceKey, Instance] = {}
        self.nodes: dict[str, Node] = {}
        self.live: dict[str, Live] = {}
        self.owner = Owner()
        self.member = Member()
        self.by_node: dict[str, set[InstanceKey]] = {}
        """node → the instances it should run"""
        self.by_spec: dict[tuple[str, int], set[int]] = {}
        self.reserved: dict[str, Resources] = {}
        """node → sum over those of `by_node` that have not ended for good"""
        self.waiting: set[InstanceKey] = set()
        """Instances that have no node."""
        self.orphaned: set[InstanceKey] = set()
        """Instances whose node is lost: another is sought, but while there is none they stay where they are."""
        self.place_due = False
        """Something changed that may let waiting instances find a place."""
        self.connected = False
        self.announced = False
        self.summary: ClusterSummary | None = None
        """As last told to the root."""
        self.summary_at = float("-inf")
        self.news_nodes: set[str] = set()
        """Nodes of which the root should be told."""
        self.gone: dict[InstanceKey, int] = {}
        """Instances that ended by request, with their generation, until the root was told."""
        self.cause = ""
        self.changes: list[Change] = []

    def load(self, records: Iterable[Record]) -> None:
        """Take over what the store had; notes no changes."""
        ordered = sorted(records, key=lambda record: isinstance(record, Instance))  # instances refer to the others
        for record in ordered:
            self._set(record)
        self.changes.clear()

    def take_changes(self) -> list[Change]:
        """The changes since the last call, for the store."""
        changes, self.changes = self.changes, []
        return changes

    def put(self, record: Record, later: bool = False) -> None:
        """Write a record over whatever had its key; `later` when it only tells what was seen."""
        self._set(record)
        self.changes.append(Put(record, later))

    def spec_of(self, instance: Instance) -> MicroserviceSpec:
        """The specification of the instance's generation."""
        return self.specs[instance.microservice, instance.generation].spec

    def live_of(self, node: str) -> Live:
        """The node's volatile entry, made when it is new."""
        return self.live.setdefault(node, Live())

    def forget(self, instance: Instance) -> None:
        """The instance is gone; its specification too, when it was the last to refer to it."""
        self._place(instance.at, self.instances.pop(instance.at, None), None)
        self._refer(instance, None)
        self.waiting.discard(instance.at)
        self.orphaned.discard(instance.at)
        self.changes.append(Drop(instance.kind, instance.key))

    def _set(self, record: Record) -> None:
        match record:
            case Instance():
                old = self.instances.get(record.at)
                self.instances[record.at] = record
                self._place(record.at, old, record)
                self._refer(old, record)
                (self.waiting.discard if record.node or record.removing else self.waiting.add)(record.at)
                if not record.node or record.removing:
                    self.orphaned.discard(record.at)
            case Specification():
                self.specs[record.spec.id, record.spec.generation] = record
            case Node():
                self.nodes[record.id] = record
                self.live_of(record.id)
            case Meta():
                self.meta = record
            case _:
                raise TypeError(f"the cluster keeps no {type(record).__name__}")

    def _place(self, at: InstanceKey, old: Instance | None, new: Instance | None) -> None:
        """Keep `by_node`, `reserved` and what the nodes are to be told in step with an instance's move."""
        before, after = wanted_of(old), wanted_of(new)
        if old is None and new and new.removing and new.node:  # from the store: it was on its way out
            self.live_of(new.node).leaving[at] = held_by(self.spec_of(new))
        if before == after and ended(old) == ended(new):
            return
        if old and before:
            self.reserved[before[0]] = self.reserved[before[0]] - self.held(old).resources
            self.news_nodes.add(before[0])
        if new and after:
            self.reserved[after[0]] = self.reserved.get(after[0], Resources()) + self.held(new).resources
            self.news_nodes.add(after[0])
        if before == after:
            return
        if old and before:
            self.by_node[before[0]].discard(at)
            leaving = self.live_of(before[0]).leaving
            leaving[at] = leaving.get(at, Held()).beside(self.held(old))
            self.owner.touch(before[0], at)
        if new and after:
            self.by_node.setdefault(after[0], set()).add(at)
            leaving = self.live_of(after[0]).leaving
            beyond = leaving.pop(at, Held()).beyond(self.held(new))
            if beyond != Held():
                leaving[at] = beyond
            self.owner.touch(after[0], at)

    def held(self, instance: Instance) -> Held:
        """What its copy takes where it should run; nothing once it has ended for good."""
        return Held() if ended(instance) else held_by(self.spec_of(instance))

    def _refer(self, old: Instance | None, new: Instance | None) -> None:
        """Count who refers to which specification, and drop those that nobody refers to."""
        if new:
            self.by_spec.setdefault((new.microservice, new.generation), set()).add(new.number)
        if old and (new is None or new.generation != old.generation):
            at = (old.microservice, old.generation)
            users = self.by_spec.get(at, set())
            users.discard(old.number)
            if not users:
                self.by_spec.pop(at, None)
                gone = self.specs.pop(at, None)
                if gone:
                    self.changes.append(Drop(gone.kind, gone.key))

    def free(self, node: str) -> Resources:
        """The node's capacity less what is reserved, copies on their way out included."""
        free = self.nodes[node].info.capacity - self.reserved.get(node, Resources())
        for held in self.live_of(node).leaving.values():
            free = free - held.resources
        return free

    def ports(self, node: str, but: InstanceKey | None = None) -> frozenset[tuple[int, str]]:
        """The node's host ports in use, copies on their way out included; without those of the instance `but`."""
        used: set[tuple[int, str]] = set()
        for at in self.by_node.get(node, ()):
            instance = self.instances[at]
            if at != but and self.spec_of(instance).ports:
                used |= self.held(instance).ports
        for at, held in self.live_of(node).leaving.items():
            if at != but:
                used |= held.ports
        return frozenset(used)

    def shown(self, node: str) -> NodeSummary:
        """The node as people should see it."""
        peer, live = self.owner.peer(node), self.live_of(node)
        return NodeSummary(
            id=node,
            info=self.nodes[node].info,
            online=peer.online and live.offline_since is None,
            instances=len(self.by_node.get(node, ())),
            reserved=self.reserved.get(node, Resources()),
            usage=live.usage,
        )


def held_by(spec: MicroserviceSpec) -> Held:
    """What one instance of it takes."""
    return Held(spec.resources, frozenset((port.host, port.protocol) for port in spec.ports))


def ended(instance: Instance | None) -> bool:
    """Whether nothing of it runs or will be started again."""
    return instance is not None and instance.status in lifecycle.ENDED


def wanted_of(instance: Instance | None) -> tuple[str, int] | None:
    """Which node should run which generation of it, or None when none should."""
    if instance is None or instance.removing or not instance.node:
        return None
    return instance.node, instance.generation


def begin(name: str, records: Iterable[Record], rng: random.Random, wall_s: float) -> State:
    """The state a new process starts with: what the store had, in a new epoch and session."""
    state = State(name, IdSource(rng))
    state.load(records)
    epoch = next_epoch(state.meta.epoch, wall_s)
    meta = replace(state.meta, identity=state.meta.identity or state.ids(), epoch=epoch)
    state.put(meta)
    state.owner.epoch = meta.epoch
    state.member = Member(session_id(meta.epoch, state.ids()[:8]), meta.up_epoch, meta.up_revision)
    return state
