"""The root's memory: every record it keeps, with the indexes that decisions and views read.

`State` changes only through `put` and `drop`, which also note the change for the store; loading is the same puts again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, ClassVar

from msgspec import Struct
from spinney_shared import lifecycle
from spinney_shared.deciding import IdSource
from spinney_shared.messages import ClusterAnnounce, ClusterSummary, EventResult, NodeSummary, Observation
from spinney_shared.model import InstanceKey, MicroserviceSpec
from spinney_shared.store import Change, Drop, Put, Record
from spinney_shared.sync import Owner, next_epoch


class Application(Record, frozen=True):
    """A user's application."""

    kind: ClassVar[str] = "applications"
    id: str
    name: str
    namespace: str
    description: str
    owner: str
    created_at: float = 0.0

    @property
    def key(self) -> str:
        """Its id."""
        return self.id


class Microservice(Record, frozen=True):
    """A microservice, its current specification, and how instances are numbered."""

    kind: ClassVar[str] = "microservices"
    id: str
    application: str
    name: str
    namespace: str
    spec: MicroserviceSpec
    document: bytes
    next_number: int = 0
    deleted: bool = False
    """Waits for its last instance to be gone; nobody sees it any more."""

    @property
    def key(self) -> str:
        """Its id."""
        return self.id


class Instance(Record, frozen=True):
    """One instance: where it should be and what was last seen of it."""

    kind: ClassVar[str] = "instances"
    microservice: str
    number: int
    generation: int
    status: str = lifecycle.REQUESTED
    detail: str = ""
    cluster: str = ""
    """The name of the cluster it was given to; empty = none yet."""
    tried: tuple[str, ...] = ()
    """Clusters that could not hold it in this generation."""
    removing: bool = False
    """Should not run any more; forgotten when its cluster says that it is gone."""
    seen: Observation | None = None
    cause: str = ""
    """The id of the message that asked for it."""

    @property
    def key(self) -> str:
        """``microservice#number``; never split again."""
        return f"{self.microservice}#{self.number}"

    @property
    def at(self) -> InstanceKey:
        """Its name on every tier."""
        return InstanceKey(self.microservice, self.number)


class Cluster(Record, frozen=True):
    """A cluster that announced itself at some time."""

    kind: ClassVar[str] = "clusters"
    announce: ClusterAnnounce
    summary: ClusterSummary = ClusterSummary()

    @property
    def key(self) -> str:
        """Its name."""
        return self.announce.name


class Answered(Record, frozen=True):
    """An event that was answered, so that the same id gets the same answer."""

    kind: ClassVar[str] = "events"
    result: EventResult
    at: float

    @property
    def key(self) -> str:
        """The event's id."""
        return self.result.event


class User(Record, frozen=True):
    """Someone who may log in."""

    kind: ClassVar[str] = "users"
    name: str
    password: str
    """A salted scrypt hash, never the password."""
    roles: tuple[str, ...]
    organization: str = ""

    @property
    def key(self) -> str:
        """The name."""
        return self.name


class Meta(Record, frozen=True):
    """What the root must remember of itself."""

    kind: ClassVar[str] = "meta"
    epoch: int = 0
    token_secret: str = ""

    @property
    def key(self) -> str:
        """There is one."""
        return "root"


KINDS: dict[str, type[Record]] = {
    record.kind: record for record in (Application, Microservice, Instance, Cluster, Answered, User, Meta)
}


class NodeView(Struct, frozen=True):
    """A node as its cluster last showed it; for people only, never stored."""

    cluster: str
    summary: NodeSummary


class State:
    """All records by key, and the indexes over them."""

    def __init__(self, ids: IdSource) -> None:
        self.ids = ids
        self.applications: dict[str, Application] = {}
        self.microservices: dict[str, Microservice] = {}
        self.instances: dict[InstanceKey, Instance] = {}
        self.clusters: dict[str, Cluster] = {}
        self.answered: dict[str, Answered] = {}
        self.users: dict[str, User] = {}
        self.meta = Meta()
        self.nodes: dict[str, NodeView] = {}
        """node id → view"""
        self.owner = Owner()
        """The sync protocol towards the clusters: who is there, what each was told and has acknowledged."""
        self.by_microservice: dict[str, set[int]] = {}
        """microservice → numbers of its instances, those being removed included"""
        self.by_application: dict[str, set[str]] = {}
        """application → ids of its microservices, the deleted ones excluded"""
        self.by_cluster: dict[str, set[InstanceKey]] = {}
        """cluster → the instances it should run"""
        self.removing: dict[str, set[InstanceKey]] = {}
        """cluster → the instances it should end"""
        self.waiting: set[InstanceKey] = set()
        """Instances that have no cluster yet."""
        self.unplaced: set[InstanceKey] = set()
        """Instances whose cluster found no node for them."""
        self.place_due = False
        """Something changed that may let waiting instances find a cluster."""
        self.connected = False
        self.asked: dict[str, tuple[int, float]] = {}
        """Questions under way: id → (reply token, deadline in monotonic seconds)"""
        self.news_instances: dict[InstanceKey, str] = {}
        """Instances that changed in this batch → the status they had before it."""
        self.news_clusters: set[str] = set()
        self.news_nodes: list[tuple[str, str, str, dict[str, Any]]] = []
        """Lifecycle events of nodes and runtimes to come: (kind, subject, what, data)"""
        self.changes: list[Change] = []
        """What was put and dropped since `take_changes`."""

    def load(self, records: Iterable[Record]) -> None:
        """Take over what the store had; notes no changes."""
        for record in sorted(records, key=lambda one: one.at if isinstance(one, Answered) else 0.0):
            self._set(record)  # answers in the order they were given, for so they are forgotten
        self.changes.clear()
        self.news_instances.clear()

    def take_changes(self) -> list[Change]:
        """The changes since the last call, for the store."""
        changes, self.changes = self.changes, []
        return changes

    def put(self, record: Record, later: bool = False) -> None:
        """Write a record over whatever had its key; `later` when it only tells what was seen."""
        self._set(record)
        self.changes.append(Put(record, later))

    def drop(self, record: Record) -> None:
        """Forget a record."""
        self._unset(record)
        self.changes.append(Drop(record.kind, record.key))

    def _set(self, record: Record) -> None:
        match record:
            case Instance():
                self._set_instance(record)
            case Microservice():
                self.microservices[record.id] = record
                listed = self.by_application.setdefault(record.application, set())
                listed.discard(record.id) if record.deleted else listed.add(record.id)
            case Application():
                self.applications[record.id] = record
            case Cluster():
                self.clusters[record.key] = record
            case Answered():
                self.answered[record.key] = record
            case User():
                self.users[record.name] = record
            case Meta():
                self.meta = record
            case _:
                raise TypeError(f"the root keeps no {type(record).__name__}")

    def _set_instance(self, new: Instance) -> None:
        at, old = new.at, self.instances.get(new.at)
        self.instances[at] = new
        self.by_microservice.setdefault(new.microservice, set()).add(new.number)
        (self.waiting.discard if new.cluster or new.removing else self.waiting.add)(at)
        stuck = new.cluster and not new.removing and new.status in lifecycle.UNSCHEDULABLE
        (self.unplaced.add if stuck else self.unplaced.discard)(at)
        if old is None or (old.status, old.removing) != (new.status, new.removing):
            self.news_instances.setdefault(at, old.status if old else "")
        if new.removing and new.cluster:
            self.removing.setdefault(new.cluster, set()).add(at)
        before = wanted_of(old) if old else None
        after = wanted_of(new)
        if before != after:
            self._tell(at, before, after)

    def _tell(self, at: InstanceKey, before: tuple[str, int] | None, after: tuple[str, int] | None) -> None:
        if before and (after is None or after[0] != before[0]):
            self.by_cluster[before[0]].discard(at)
            self.owner.touch(before[0], at)
        if after:
            self.by_cluster.setdefault(after[0], set()).add(at)
            self.owner.touch(after[0], at)

    def _unset(self, record: Record) -> None:
        match record:
            case Instance():
                old = self.instances.pop(record.at, None)
                self.waiting.discard(record.at)
                self.unplaced.discard(record.at)
                self.removing.get(record.cluster, set()).discard(record.at)
                self.news_instances.setdefault(record.at, record.status)
                self.by_microservice.get(record.microservice, set()).discard(record.number)
                if old and (before := wanted_of(old)):
                    self._tell(record.at, before, None)
            case Microservice():
                self.microservices.pop(record.id, None)
                self.by_application.get(record.application, set()).discard(record.id)
                self.by_microservice.pop(record.id, None)
            case Application():
                self.applications.pop(record.id, None)
                self.by_application.pop(record.id, None)
            case Answered():
                self.answered.pop(record.key, None)
            case Cluster():
                self.clusters.pop(record.key, None)
            case User():
                self.users.pop(record.name, None)
            case _:
                raise TypeError(f"the root never drops {type(record).__name__}")


def wanted_of(instance: Instance) -> tuple[str, int] | None:
    """Which cluster should run which generation of it, or None when none should."""
    return (instance.cluster, instance.generation) if instance.cluster and not instance.removing else None


def begin(records: Iterable[Record], rng: random.Random, new_secret: str, wall_s: float) -> State:
    """The state a new process starts with: what the store had, in a new epoch.

    `new_secret` signs login tokens from now on when the store has none yet.
    """
    state = State(IdSource(rng))
    state.load(records)
    meta = Meta(epoch=next_epoch(state.meta.epoch, wall_s), token_secret=state.meta.token_secret or new_secret)
    state.put(meta)
    state.owner.epoch = meta.epoch
    return state
