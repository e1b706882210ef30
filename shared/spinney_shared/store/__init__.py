"""The port to durable storage: records in, records out, one write per batch.

A record is a frozen struct that knows its ``kind`` (the collection) and its ``key``. The services keep all of them in
memory and only write changes. Implementations: `memory`, `mongo` (root and cluster), `sqlite` (node); one contract
suite (tests/contracts) runs over all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from msgspec import Struct


class Record(Struct, frozen=True):
    """Base of everything stored. Subclasses set ``kind`` and give ``key``."""

    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """Unique within the kind."""
        raise NotImplementedError


class Put(Struct, frozen=True):
    """Write this record over whatever had its key."""

    record: Record
    later: bool = False
    """It is learnt again if it is lost: others may be told before it is durable (`spinney_shared.saving`)."""


class Drop(Struct, frozen=True):
    """Forget the record of this kind and key; dropping what is not there is fine."""

    kind: str
    key: str


Change = Put | Drop


class StoreError(Exception):
    """The store did not take the batch; nothing of it may be told to anyone. Try again."""


class Store(Protocol):
    """Durable storage of one service."""

    async def load(self) -> list[Record]:
        """Every record of the kinds given at construction, in no order; raises StoreError when out of reach."""
        ...

    async def save(self, changes: Sequence[Change]) -> None:
        """All of the changes or none, durable on return; the last change to a key wins. Raises StoreError."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


def merged(changes: Sequence[Change]) -> list[Change]:
    """The changes with only the last one to each (kind, key) kept, in the order of those last ones."""
    last: dict[tuple[str, str], Change] = {}
    for change in changes:
        at = (change.record.kind, change.record.key) if isinstance(change, Put) else (change.kind, change.key)
        last.pop(at, None)
        last[at] = change
    return list(last.values())
