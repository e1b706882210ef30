"""The node's memory: what should run here (durable), and what is known of each copy (learnt again at every start)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import ClassVar, Literal

from msgspec import Struct
from msgspec.structs import replace
from spinney_shared.deciding import IdSource
from spinney_shared.lifecycle import NODE_SCHEDULED
from spinney_shared.messages import Usage
from spinney_shared.model import InstanceKey, MicroserviceSpec, NodeInfo, RuntimeInfo
from spinney_shared.store import Change, Drop, Put, Record
from spinney_shared.sync import Member, session_id


class Wanted(Record, frozen=True):
    """One instance that should run here."""

    kind: ClassVar[str] = "wanted"
    number: int
    spec: MicroserviceSpec
    ended: str = ""
    """COMPLETED or DEAD: it has ended for good and is not run again, not even after a power cut."""
    why: str = ""
    exit_code: int | None = None

    @property
    def key(self) -> str:
        """``microservice#number``; never split again."""
        return str(self.at)

    @property
    def at(self) -> InstanceKey:
        """Its name on every tier."""
        return InstanceKey(self.spec.id, self.number)


class Meta(Record, frozen=True):
    """What the node must remember of itself."""

    kind: ClassVar[str] = "meta"
    node: str = ""
    """Its id, made once."""
    machine: str = ""
    """The machine the id was made on: a copied disk image is told apart by it."""
    starts: int = 0
    epoch: int = 0
    revision: int = 0

    @property
    def key(self) -> str:
        """There is one."""
        return "node"


KINDS: dict[str, type[Record]] = {record.kind: record for record in (Wanted, Meta)}

Phase = Literal["waiting", "starting", "running", "stopping", "ended"]


class Copy(Struct):
    """What is known of one instance on this machine. Changed in place, by `spinney_node.decide` alone."""

    at: InstanceKey
    generation: int
    id: str
    """The engine's id of it."""
    phase: Phase = "waiting"
    """waiting: to be started at `start_at`; ended: will not be started again."""
    driver: str = ""
    runtime: str = ""
    status: str = NODE_SCHEDULED
    detail: str = ""
    address: str = ""
    started_at: float = 0.0
    """Wall clock, for people."""
    running_since: float = 0.0
    """Monotonic: to tell a crash loop from a crash."""
    start_at: float = 0.0
    """Monotonic: not before."""
    attempts: int = 0
    """Failures in a row."""
    restarts: int = 0
    exit_code: int | None = None
    changed_at: float = 0.0
    """Monotonic: a listing begun before this says nothing about it."""


class DriverState(Struct):
    """What is known of one driver."""

    listed: bool = False
    """Its engine has told what runs there: before that nothing is started, lest it be started twice."""
    listed_at: float = 0.0
    """Monotonic: when the last listing that came back began."""
    fingerprinted: bool = False
    runtimes: tuple[RuntimeInfo, ...] = ()
    list_problem: str = ""
    """Why the last listing failed; empty when it did not."""
    verify_problem: str = ""
    """Why the last verification failed; empty when it did not."""
    retry_at: float = 0.0
    """Monotonic: when to ask the engine again."""
    asking: bool = False

    @property
    def problem(self) -> str:
        """What keeps the driver from working, in words; empty when nothing does."""
        return self.verify_problem or self.list_problem


class State:
    """Everything the node decides by."""

    def __init__(self, info: NodeInfo, cluster: str, drivers: Iterable[str], rng: random.Random) -> None:
        self.info = info
        """Name, capacity, labels; its runtimes are those of `drivers`."""
        self.cluster = cluster
        self.rng = rng
        self.ids = IdSource(rng)
        self.meta = Meta()
        self.wanted: dict[InstanceKey, Wanted] = {}
        self.copies: dict[InstanceKey, Copy] = {}
        self.gone: dict[InstanceKey, int] = {}
        """Instances that ended by request, with their generation, until the cluster was told."""
        self.drivers: dict[str, DriverState] = {name: DriverState() for name in drivers}
        self.member = Member()
        self.connected = False
        self.present = False
        """The broker has our presence, in this connection."""
        self.announced: NodeInfo | None = None
        self.usage = Usage()
        self.report_every_s = 3.0
        self.cause = ""
        """The id of the message that led to the present turn's changes."""
        self.changes: list[Change] = []

    def load(self, records: Iterable[Record]) -> None:
        """Take over what the disk had; notes no changes."""
        for record in records:
            if isinstance(record, Wanted):
                self.wanted[record.at] = record
            elif isinstance(record, Meta):
                self.meta = record

    def take_changes(self) -> list[Change]:
        """The changes since the last call, for the store."""
        changes, self.changes = self.changes, []
        return changes

    def put(self, record: Wanted | Meta) -> None:
        """Write a record over whatever had its key."""
        if isinstance(record, Wanted):
            self.wanted[record.at] = record
        else:
            self.meta = record
        self.changes.append(Put(record))

    def drop(self, wanted: Wanted) -> None:
        """This instance should not run here any more."""
        self.wanted.pop(wanted.at, None)
        self.changes.append(Drop(wanted.kind, wanted.key))

    def runtimes(self) -> tuple[RuntimeInfo, ...]:
        """Of all drivers, in the order of their names."""
        return tuple(runtime for name in sorted(self.drivers) for runtime in self.drivers[name].runtimes)


def begin(
    info: NodeInfo, cluster: str, drivers: Iterable[str], records: Iterable[Record], rng: random.Random, machine: str
) -> State:
    """The state a new process starts with: what the disk had, in a new session.

    A disk that comes from another machine keeps nothing: its id belongs to the machine it was copied from.
    """
    state = State(info, cluster, drivers, rng)
    state.load(records)
    if state.meta.machine != machine:
        for wanted in list(state.wanted.values()):
            state.drop(wanted)
        state.meta = Meta(node=state.ids(), machine=machine)
    meta = replace(state.meta, starts=state.meta.starts + 1)
    state.put(meta)
    state.member = Member(session_id(meta.starts, state.ids()[:8]), meta.epoch, meta.revision)
    return state
