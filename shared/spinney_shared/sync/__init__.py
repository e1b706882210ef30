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

from .member import Applied, Member, session_id
from .owner import RESEND_AFTER_S, Owner, Peer, Seen, next_epoch
from .parts import DETAIL_LIMIT, PART_BYTES, chunked, grouped, parted

__all__ = [
    "DETAIL_LIMIT", "PART_BYTES", "RESEND_AFTER_S", "Applied", "Member", "Owner", "Peer", "Seen", "chunked", "grouped",
    "next_epoch", "parted", "session_id",
]  # fmt: skip
