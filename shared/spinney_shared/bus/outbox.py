"""What waits to be sent: a bounded queue, because a broker that is away must not eat our memory.

Only messages marked ``keep`` wait for the broker to come back; all others are worthless by then, since the sync
protocol sends its newest state after every connect.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from . import Outgoing

KEEP_LIMIT = 10_000
"""Messages held while the broker is away: at 1 KiB each 10 MiB, minutes of events of a busy cluster."""

BACKLOG_LIMIT = 100_000
"""Messages queued for a broker that is there but slow; far more than one batch of decisions makes."""


class Counters(Struct):
    """What went through one connection since the process started, in messages."""

    sent: int = 0
    received: int = 0
    dropped: int = 0
    """Not held because the broker was away, or pushed out by newer ones."""
    connects: int = 0


class Outbox:
    """First in, first out; when full, the oldest goes."""

    def __init__(self, counters: Counters, limit: int = KEEP_LIMIT) -> None:
        self._waiting: deque[Outgoing] = deque()
        self._counters = counters
        self._limit = limit

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, message: Outgoing) -> None:
        """Queue a message whatever it is: the broker is there, only busy."""
        self._append(message, BACKLOG_LIMIT)

    def hold_if_kept(self, message: Outgoing) -> None:
        """Queue a message while the broker is away, if it asks for that."""
        if not message.keep:
            self._counters.dropped += 1
            return
        self._append(message, self._limit)

    def forget_unkept(self) -> None:
        """The broker went away: drop what would be stale when it returns."""
        kept = [message for message in self._waiting if message.keep][-self._limit :]
        self._counters.dropped += len(self._waiting) - len(kept)
        self._waiting = deque(kept)

    def take(self) -> Outgoing:
        """The oldest message; raises IndexError when there is none."""
        return self._waiting.popleft()

    def _append(self, message: Outgoing, limit: int) -> None:
        if len(self._waiting) >= limit:
            self._waiting.popleft()
            self._counters.dropped += 1
        self._waiting.append(message)
