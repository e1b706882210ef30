"""Which changes must be durable before anyone is told, and which may follow within a moment.

What was *promised* (an application accepted, an instance given to a node) is saved before it is told. What was only
*seen* (a container runs) is learnt again after a crash by the next full report, so it need not hold up the telling: it
is saved together with the next half second's, which also merges an instance's quick steps into one write.
"""

from __future__ import annotations

from collections.abc import Iterable

from .store import Change, Put


class Unsaved:
    """Changes that the store does not have yet, the last one to each record."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str], Change] = {}
        self._urgent: dict[tuple[str, str], None] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, changes: Iterable[Change]) -> None:
        """Note changes in the order they were made; one that may follow later never delays one that may not."""
        for change in changes:
            if isinstance(change, Put):
                at, urgent = (change.record.kind, change.record.key), not change.later
            else:
                at, urgent = (change.kind, change.key), True
            self._changes.pop(at, None)
            self._changes[at] = change
            if urgent:
                self._urgent[at] = None

    def urgent(self) -> list[Change]:
        """What must be saved before anything is told."""
        return [self._changes[at] for at in self._urgent]

    def everything(self) -> list[Change]:
        """All of it."""
        return list(self._changes.values())

    def saved(self, changes: Iterable[Change]) -> None:
        """The store has these now."""
        for change in changes:
            at = (change.record.kind, change.record.key) if isinstance(change, Put) else (change.kind, change.key)
            if self._changes.get(at) is change:
                del self._changes[at]
            self._urgent.pop(at, None)
