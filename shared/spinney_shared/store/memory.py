"""A store that is only memory: the services' tests and the simulation run on it, and can make it fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from . import Change, Put, Record, merged


def _nothing(changes: Sequence[Change]) -> None:
    """The hook that does not interfere."""


class MemoryStore:
    """Keeps records in a dict. "Durable" means: as long as this object lives; a simulated crash keeps it.

    A hook that raises StoreError fails the save: `before_save` as if nothing had arrived, `after_save` as if the answer
    had been lost after everything was written. Both are told the changes.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: dict[tuple[str, str], Record] = {(record.kind, record.key): record for record in records}
        self.saves = 0
        self.before_save: Callable[[Sequence[Change]], None] = _nothing
        self.after_save: Callable[[Sequence[Change]], None] = _nothing

    async def load(self) -> list[Record]:
        """Every record."""
        return list(self.records.values())

    async def save(self, changes: Sequence[Change]) -> None:
        """Apply the changes; raises StoreError when a hook does."""
        self.before_save(changes)
        for change in merged(changes):
            if isinstance(change, Put):
                self.records[change.record.kind, change.record.key] = change.record
            else:
                self.records.pop((change.kind, change.key), None)
        self.saves += 1
        self.after_save(changes)

    async def close(self) -> None:
        """Nothing to let go of."""
