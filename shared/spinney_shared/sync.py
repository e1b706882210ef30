"""The one sync protocol, used twice: root→cluster and cluster→node.

An **owner** says what it wants of each member, a **member** makes it so and says what it sees. Both are
level-triggered: every message states absolute facts, so loss, repetition and reordering cost time, never correctness.

* The owner numbers its changes per member (``revision``) within its ``epoch`` and remembers which instance changed
  when, until the member has acknowledged that revision. A delta from ``base`` holds every instance changed after it, in
  its present form; so it is right for any member that has applied ``base`` **or something later**, which makes a
  repeated or overlapping delta harmless (docs/decisions/0002).
* A new session of a member, a new epoch of the owner, or ``need_full`` leads to a full set, answered by a full report.
* Reports are counted; a gap makes the owner ask for a full one.
* A Last Will is taken at its word and the member asked at once: one that lives answers within a round trip.
* Members report at least every few seconds, and every report that shows a member behind makes the owner say it again
  (after `RESEND_AFTER_S`); so neither side needs retry timers.

No clock, no I/O: ``now`` is monotonic seconds, and what is wanted or seen is looked up through callables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from .bounding import fitted, size
from .messages import Desired, Observation, Presence, Report, Unwanted, Wanted
from .model import InstanceKey, MicroserviceSpec

PART_BYTES = 160 * 1024
"""Estimated content of one part of a set; well below MAX_MESSAGE_BYTES, for the estimate leaves out the envelope."""

OBSERVATIONS_PER_PART = 150
"""An observation is 150 to 900 bytes (its detail is cut at `DETAIL_LIMIT`)."""

OBSERVATIONS_BYTES = 112 * 1024
"""Of one part of a report; what else a cluster puts into it (`PART_BYTES` less this) must fit beside them."""

OBSERVATION_BYTES = 8 * 1024
"""Of a single one, whatever a node says its names are."""

DETAIL_LIMIT = 500

RESEND_AFTER_S = 2.0
"""How long an acknowledgement may take before the same is said again."""

Part = TypeVar("Part", Wanted, Unwanted)
Item = TypeVar("Item", bound=Struct)


def session_id(counter: int, token: str) -> str:
    """A session's name: sorts by the member's durable start counter, so that a newer session is a greater string."""
    return f"{counter:012d}-{token}"


def next_epoch(stored: int, wall_s: float) -> int:
    """A new owner's epoch: above the one its store remembers, and at least the time in seconds.

    The time is there for a store that lost its memory (wiped, or restored from a backup): members remember the old
    owner's epoch and would ignore a smaller one for ever.
    """
    return max(stored + 1, int(wall_s))


class Peer(Struct):
    """What an owner knows of one member's side of the protocol. Forgotten at the owner's restart, on purpose."""

    session: str = ""
    online: bool = False
    last_seen: float = 0.0
    revision: int = 0
    acked: int = -1
    """The last acknowledged revision; -1 = the member must get a full set."""
    sent: int = -1
    sent_at: float = 0.0
    changed: dict[InstanceKey, int] = {}
    """Instance → the revision at which it changed last; only revisions after `acked`."""
    sequence: int = 0
    need_report: bool = False
    doubted: bool = False
    """Its will was heard; it is asked once whether that is so, since a will may be very late."""
    asked_at: float = float("-inf")
    full: dict[int, frozenset[InstanceKey]] = {}
    """Parts of a full report that have come so far: part → the instances it listed."""
    full_start: int = 0


class Seen(Struct, frozen=True):
    """What a report means to the owner."""

    observations: tuple[Observation, ...] = ()
    complete: frozenset[InstanceKey] | None = None
    """After the last part of a full report: every instance that the member has."""
    new_session: bool = False
    came_online: bool = False
    stale: bool = False
    """Came late or twice: nothing of it may be used."""


class Owner:
    """The owner's side, for all of its members."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.peers: dict[str, Peer] = {}
        self.dirty: set[str] = set()
        """Members to whom something should be said at the next `flush`."""

    def peer(self, member: str) -> Peer:
        """The member's entry, made when it is new."""
        return self.peers.setdefault(member, Peer())

    def touch(self, member: str, at: InstanceKey) -> None:
        """What is wanted of this instance on this member has changed."""
        peer = self.peer(member)
        peer.revision += 1
        peer.changed[at] = peer.revision
        self.dirty.add(member)

    def on_presence(self, member: str, presence: Presence, now: float) -> bool:
        """Take in a birth or a will; returns whether `online` changed. Older sessions are ignored."""
        peer = self.peer(member)
        if presence.session < peer.session:
            return False
        before = peer.online
        if presence.session > peer.session:
            self._renew(member, presence.session)
        peer.online = presence.online
        if presence.online:
            peer.last_seen = now
        elif before:
            peer.need_report, peer.doubted, peer.asked_at = True, True, float("-inf")
        self.dirty.add(member)
        return peer.online != before

    def on_report(self, member: str, report: Report, now: float) -> Seen:
        """Take in a report: liveness, acknowledgement, and which of its observations are news."""
        peer = self.peer(member)
        if report.session < peer.session:
            return Seen(stale=True)
        new_session = report.session > peer.session
        if new_session:
            self._renew(member, report.session)
        came_online = not peer.online
        peer.online, peer.last_seen = True, now
        if report.sequence <= peer.sequence:
            return Seen(stale=True, new_session=new_session, came_online=came_online)
        if not report.full and report.sequence != peer.sequence + 1:
            peer.need_report = True
        if report.full and report.part and report.sequence != peer.sequence + 1:
            peer.need_report = True
        peer.sequence = report.sequence
        self._acknowledge(member, peer, report)
        if peer.need_report or peer.acked < peer.revision:
            self.dirty.add(member)
        return Seen(
            observations=report.observations,
            complete=self._complete(peer, report),
            new_session=new_session,
            came_online=came_online,
        )

    def _renew(self, member: str, session: str) -> None:
        peer = self.peer(member)
        peer.session, peer.sequence, peer.full, peer.need_report = session, 0, {}, False
        peer.acked = peer.sent = -1
        self.dirty.add(member)

    def _acknowledge(self, member: str, peer: Peer, report: Report) -> None:
        if report.need_full and peer.acked >= 0:  # when a full set is under way already, the clock repeats it
            peer.acked = peer.sent = -1
            self.dirty.add(member)
        elif peer.acked < 0 and (peer.sent < 0 or report.revision < peer.sent):
            return  # a full set is what counts now, whatever the member's disk remembers
        elif report.epoch == self.epoch and report.revision > peer.acked:
            peer.acked = report.revision
            peer.sent = max(peer.sent, peer.acked)
            peer.changed = {at: revision for at, revision in peer.changed.items() if revision > peer.acked}

    def _complete(self, peer: Peer, report: Report) -> frozenset[InstanceKey] | None:
        """The instances of a full report once all of its parts are there and it speaks of our present wishes."""
        if not report.full:
            return None
        start = report.sequence - report.part
        if start != peer.full_start:
            peer.full, peer.full_start = {}, start
        peer.full[report.part] = frozenset(o.key for o in report.observations)
        if len(peer.full) < report.parts:
            return None
        listed = frozenset().union(*peer.full.values())
        peer.full, peer.need_report = {}, False
        return listed if report.epoch == self.epoch else None

    def knows(self, member: str, at: InstanceKey) -> bool:
        """Whether the member has acknowledged the last change to this instance."""
        peer = self.peer(member)
        return peer.acked >= 0 and at not in peer.changed

    def silent_since(self, now: float) -> None:
        """Give every member the benefit of the doubt: *we* were away, so its silence says nothing."""
        for peer in self.peers.values():
            peer.last_seen = now
        self.dirty.update(self.peers)

    def forget(self, member: str) -> None:
        """The member is gone for good."""
        self.peers.pop(member, None)
        self.dirty.discard(member)

    def flush(
        self,
        now: float,
        wanted: Callable[[str], Iterable[InstanceKey]],
        spec: Callable[[str, InstanceKey], MicroserviceSpec | None],
        new_id: Callable[[], str],
        cause: str = "",
    ) -> list[tuple[str, Desired]]:
        """What to say now, merged per member.

        `wanted(member)` gives all instances that it should run; `spec(member, instance)` the specification of one, or
        None when it should not run there.
        """
        out: list[tuple[str, Desired]] = []
        for member in sorted(self.dirty):
            peer = self.peers.get(member)
            if peer and peer.session and (peer.online or peer.doubted):
                out += [(member, part) for part in self._say(member, peer, now, wanted, spec, new_id, cause)]
                peer.doubted = False
        self.dirty.clear()
        return out

    def _say(
        self, member: str, peer: Peer, now: float, wanted: Any, spec: Any, new_id: Callable[[], str], cause: str
    ) -> list[Desired]:
        timed_out = peer.doubted or now - peer.sent_at >= RESEND_AFTER_S
        full = peer.acked < 0
        asks = peer.need_report and now - peer.asked_at >= RESEND_AFTER_S
        if full and peer.sent >= 0 and not timed_out:
            return []  # a full set is under way; what changed since follows when it is acknowledged
        base = None if full else (peer.acked if timed_out else peer.sent)
        if base is not None and base >= peer.revision and not asks:
            return []
        after = -1 if base is None else base
        keys = sorted(wanted(member) if full else (at for at, revision in peer.changed.items() if revision > after))
        put, remove = grouped(keys, lambda at: spec(member, at))
        if asks or full:
            peer.asked_at = now
        peer.sent, peer.sent_at = peer.revision, now
        parts = parted(put, remove)
        return [
            Desired(
                id=new_id(),
                cause=cause,
                session=peer.session,
                epoch=self.epoch,
                revision=peer.revision,
                base=base,
                put=tuple(puts),
                remove=tuple(removes),
                part=number,
                parts=len(parts),
                need_report=asks or full,
            )
            for number, (puts, removes) in enumerate(parts)
        ]


def grouped(
    keys: Iterable[InstanceKey], spec: Callable[[InstanceKey], MicroserviceSpec | None]
) -> tuple[list[Wanted], list[Unwanted]]:
    """Instances in the form a message carries: each specification once, with the numbers of its instances."""
    wanted: dict[tuple[str, int], tuple[MicroserviceSpec, list[int]]] = {}
    unwanted: dict[str, list[int]] = {}
    for at in keys:
        found = spec(at)
        if found is None:
            unwanted.setdefault(at.microservice, []).append(at.number)
        else:
            wanted.setdefault((found.id, found.generation), (found, []))[1].append(at.number)
    return (
        [Wanted(spec=s, numbers=tuple(sorted(numbers))) for s, numbers in wanted.values()],
        [Unwanted(microservice=m, numbers=tuple(sorted(numbers))) for m, numbers in unwanted.items()],
    )


def parted(put: Sequence[Wanted], remove: Sequence[Unwanted]) -> list[tuple[list[Wanted], list[Unwanted]]]:
    """The set cut into parts of about `PART_BYTES`; at least one part, which may be empty."""
    parts: list[tuple[list[Wanted], list[Unwanted]]] = [([], [])]
    size = 0
    for item in (*_short(put), *_short(remove)):
        cost = _estimate(item)
        if size and size + cost > PART_BYTES:
            parts.append(([], []))
            size = 0
        size += cost
        if isinstance(item, Wanted):
            parts[-1][0].append(item)
        else:
            parts[-1][1].append(item)
    return parts


def _estimate(item: Wanted | Unwanted) -> int:
    return 8 * len(item.numbers) + (len(msgspec.json.encode(item.spec)) if isinstance(item, Wanted) else 64)


def _short(items: Sequence[Part]) -> Iterable[Part]:
    """Items with more than 10,000 numbers cut into several, so that no single one fills a message."""
    for item in items:
        for start in range(0, len(item.numbers), 10_000):
            yield msgspec.structs.replace(item, numbers=item.numbers[start : start + 10_000])


def chunked(items: Iterable[Item], most: int, most_bytes: int, item_bytes: int) -> list[list[Item]]:
    """The items in order, in chunks of at most `most` items and `most_bytes` of JSON; larger items are cut to fit."""
    chunks: list[list[Item]] = []
    total = 0
    for item in items:
        cost = size(item)
        if cost > item_bytes:
            item = fitted(item, item_bytes)
            cost = size(item)
        if not chunks or len(chunks[-1]) == most or total + cost > most_bytes:
            chunks.append([])
            total = 0
        chunks[-1].append(item)
        total += cost
    return chunks


class Applied(Struct, frozen=True):
    """What a `Desired` means to the member: make it so, persist, then acknowledge."""

    put: tuple[Wanted, ...]
    remove: tuple[Unwanted, ...]
    full: bool
    """`put` is everything: what is not in it should not run."""


class Member:
    """The member's side. ``epoch`` and ``revision`` are durable: the service stores them with the desired set."""

    def __init__(self, session: str = "", epoch: int = 0, revision: int = 0) -> None:
        self.session = session
        self.epoch = epoch
        self.revision = revision
        self.sequence = 0
        self.need_full = False
        self.full_due = True
        """The next report tells everything."""
        self.due = True
        """A report should go out now."""
        self.news: set[InstanceKey] = set()
        self.reported_at = float("-inf")
        self._parts: dict[tuple[int, int, int | None, int], dict[int, Desired]] = {}

    def on_desired(self, desired: Desired) -> Applied | None:
        """Take in what is wanted; returns what to apply, or None when there is nothing (more) to do.

        When it returns something, `epoch` and `revision` already stand at the new values: the caller stores them in
        the same save as the set itself, before the report that acknowledges them goes out.
        """
        if desired.session != self.session or desired.epoch < self.epoch:
            return None
        if desired.need_report:
            self.full_due = self.due = True
        whole = self._assembled(desired)
        if whole is None:
            return None
        base, revision = whole[0].base, whole[0].revision
        if base is None:
            if desired.epoch == self.epoch and revision < self.revision:
                return None
        elif desired.epoch != self.epoch or base > self.revision:
            self.need_full = self.due = True
            return None
        elif revision <= self.revision:
            self.due = True
            return None
        self.epoch, self.revision = desired.epoch, revision
        self.need_full, self.due = False, True
        self._parts.clear()
        return Applied(
            put=tuple(item for part in whole for item in part.put),
            remove=tuple(item for part in whole for item in part.remove),
            full=base is None,
        )

    def _assembled(self, desired: Desired) -> list[Desired] | None:
        if not 0 <= desired.part < desired.parts:
            return None
        if desired.parts == 1:
            return [desired]
        at = (desired.epoch, desired.revision, desired.base, desired.parts)
        if at not in self._parts and len(self._parts) >= 4:
            self._parts.pop(next(iter(self._parts)))  # an abandoned set; its owner says it again
        parts = self._parts.setdefault(at, {})
        parts[desired.part] = desired
        return [parts[n] for n in range(desired.parts)] if len(parts) == desired.parts else None

    def note(self, at: InstanceKey) -> None:
        """Something about this instance is new."""
        self.news.add(at)
        self.due = True

    def reconnected(self) -> None:
        """What was said before may be lost: tell everything."""
        self.full_due = self.due = True

    def flush(
        self,
        now: float,
        every_s: float,
        observe: Callable[[InstanceKey], Observation | None],
        known: Callable[[], Iterable[InstanceKey]],
        new_id: Callable[[], str],
        cause: str = "",
        least: int = 1,
    ) -> list[Report]:
        """The report that is due now, in `least` parts or more, or nothing.

        `observe` of a forgotten instance gives None. The caller may fill in further fields of the parts.
        """
        if not self.due and now - self.reported_at < every_s:
            return []
        keys = sorted(known() if self.full_due else self.news)
        seen = [o for at in keys if (o := observe(at)) is not None]
        chunks = chunked(seen, OBSERVATIONS_PER_PART, OBSERVATIONS_BYTES, OBSERVATION_BYTES)
        chunks += [[]] * (max(least, 1) - len(chunks))
        reports = []
        for number, chunk in enumerate(chunks):
            self.sequence += 1
            reports.append(
                Report(
                    id=new_id(),
                    cause=cause,
                    session=self.session,
                    sequence=self.sequence,
                    epoch=self.epoch,
                    revision=self.revision,
                    full=self.full_due,
                    need_full=self.need_full,
                    part=number,
                    parts=len(chunks),
                    observations=tuple(chunk),
                )
            )
        self.full_due = self.due = self.need_full = False
        self.news = set()
        self.reported_at = now
        return reports
