"""Following events as they happen, each follower at its own pace.

One that reads too slowly loses the oldest, not the root its memory; in their place it is told how many they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from spinney_shared.messages import CloudEvent

LOST: Final = "spinney.events.lost"
"""The type of the event that stands for those a follower was too slow for; its data has their number as ``lost``."""


class Followers:
    """Everybody who follows; `at_most` events wait for each."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._all: set[_Follower] = set()

    def __len__(self) -> int:
        return len(self._all)

    def tell(self, event: CloudEvent) -> None:
        """Something happened."""
        for follower in self._all:
            follower.put(event)

    @contextmanager
    def follow(self) -> Iterator[AsyncIterator[CloudEvent]]:
        """The events from now on, for as long as the context lasts."""
        follower = _Follower(self._at_most)
        self._all.add(follower)
        try:
            yield follower.events()
        finally:
            self._all.discard(follower)


class _Follower:
    def __init__(self, at_most: int) -> None:
        self._waiting: asyncio.Queue[CloudEvent] = asyncio.Queue(at_most)
        self._lost = 0
        """How many since the follower was last told."""
        self._last_lost: CloudEvent | None = None

    def put(self, event: CloudEvent) -> None:
        if self._waiting.full():
            self._last_lost = self._waiting.get_nowait()
            self._lost += 1
        self._waiting.put_nowait(event)

    async def events(self) -> AsyncIterator[CloudEvent]:
        while True:
            event = await self._waiting.get()
            if self._last_lost is not None:  # older than all that wait
                yield self._loss(self._last_lost)
            yield event

    def _loss(self, last: CloudEvent) -> CloudEvent:
        lost, self._lost, self._last_lost = self._lost, 0, None
        return CloudEvent(
            id=f"lost-{last.id}", source=last.source, type=LOST, subject="events", time=last.time, data={"lost": lost}
        )
