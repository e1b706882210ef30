"""The owner's side: what each member was told, what it has acknowledged, what it has reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from ..messages import Desired, Observation, Presence, Report
from ..model import InstanceKey, MicroserviceSpec
from .parts import grouped, parted

RESEND_AFTER_S = 2.0
"""How long an acknowledgement may take before the same is said again."""


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
