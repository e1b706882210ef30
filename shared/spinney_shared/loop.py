"""The one small loop of every service: drain, decide, save, then tell.

Nothing is told before it is durable: a batch whose save fails is saved again until it succeeds, and only then are its
messages published and its callers answered. A crash before that loses nothing that anybody was promised.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .bus import Bus, Outgoing
from .deciding import Decide, Decision, Now, Send, Settle, Tick, step
from .saving import Unsaved
from .store import Change, Record, Store, StoreError

log = logging.getLogger(__name__)

BATCH = 2_000
"""Messages decided in one turn: enough to merge a burst into few writes, few enough to answer within a second."""

SAVE_RETRY_S = 0.5

SAVE_LATER_S = 0.5
"""How long what was only seen may wait to be saved with more of its kind; a tick comes as often."""

TICK_S = 0.5


class Inbox:
    """What waits to be decided. `put` never blocks; the loop takes up to `BATCH` at once."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._there = asyncio.Event()

    def put(self, message: Any) -> None:
        """Queue a message; call it on the event loop's thread."""
        self._items.append(message)
        self._there.set()

    def __len__(self) -> int:
        return len(self._items)

    async def drain(self) -> list[Any]:
        """Wait for something, then take up to `BATCH` messages in order."""
        await self._there.wait()
        batch = [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]
        if not self._items:
            self._there.clear()
        return batch


def clock() -> Now:
    """The time as decisions get it."""
    return Now(mono=time.monotonic(), wall=time.time())


async def load_patiently(store: Store) -> list[Record]:
    """Everything the store has; waits for a store that is not there yet, saying so."""
    said = ""
    while True:
        try:
            return await store.load()
        except StoreError as error:
            if str(error) != said:
                said = str(error)
                log.warning("cannot load the state, trying again every second: %s", error)
            await asyncio.sleep(1.0)


async def save_patiently(store: Store, changes: Sequence[Change]) -> None:
    """Save what must be durable before anyone hears of this process: its session is in its Last Will already."""
    while True:
        try:
            return await store.save(changes)
        except StoreError as error:
            log.warning("cannot save the start, trying again every second: %s", error)
            await asyncio.sleep(1.0)


class Loop:
    """Runs one service: its state, its two pure functions, and the ports they act through."""

    def __init__(
        self,
        *,
        state: Any,
        decide: Decide,
        settle: Settle,
        store: Store,
        bus: Bus,
        tick_s: float = TICK_S,
    ) -> None:
        self.inbox = Inbox()
        self.perform: Callable[[Any], None] = lambda action: None
        """Starts an action; its outcome comes back through the inbox."""
        self.on_send: Callable[[Send], None] = lambda send: None
        """Sees everything that is published, once it is durable."""
        self.turns = 0
        self.store_problem = ""
        """Why the last save failed, in words; empty when it did not."""
        self._state, self._decide, self._settle = state, decide, settle
        self._store, self._bus = store, bus
        self._tick_s = tick_s
        self._unsaved = Unsaved()
        self._saved_at = 0.0
        self._callers: dict[int, asyncio.Future[Any]] = {}
        self._token = 0

    async def run(self) -> None:
        """Turn until cancelled."""
        ticking = asyncio.create_task(self._ticks())
        try:
            while True:
                await self._turn(await self.inbox.drain())
        finally:
            ticking.cancel()

    async def call(self, make: Callable[[int], Any]) -> Any:
        """Put the message that `make` builds around a reply token; wait for its reply, given once it is durable."""
        self._token += 1
        token, future = self._token, asyncio.get_running_loop().create_future()
        self._callers[token] = future
        try:
            self.inbox.put(make(token))
            return await future
        finally:
            self._callers.pop(token, None)

    async def _ticks(self) -> None:
        while True:
            self.inbox.put(Tick())
            await asyncio.sleep(self._tick_s)

    async def _turn(self, batch: list[Any]) -> None:
        decision = step(self._decide, self._settle, self._state, batch, clock())
        await self._save(decision)
        for send in decision.sends:
            self._bus.send(encoded(send))
            self.on_send(send)
        for reply in decision.replies:
            future = self._callers.get(reply.token)
            if future and not future.done():
                future.set_result(reply.result)
        for action in decision.actions:
            self.perform(action)
        for why in decision.why:
            log.info("%s", why)
        self.turns += 1
        await asyncio.sleep(0)  # a long burst must not starve the bus and the callers

    async def _save(self, decision: Decision) -> None:
        self._unsaved.add(decision.changes)
        due = len(self._unsaved) and time.monotonic() - self._saved_at >= SAVE_LATER_S
        changes = self._unsaved.everything() if due else self._unsaved.urgent()
        while changes:
            try:
                await self._store.save(changes)
                self._unsaved.saved(changes)
                self._saved_at = time.monotonic() if due else self._saved_at
                break
            except StoreError as error:
                if str(error) != self.store_problem:
                    log.error("cannot save, holding everything back until it works: %s", error)
                self.store_problem = str(error)
                await asyncio.sleep(SAVE_RETRY_S)
        if self.store_problem and changes:
            log.warning("saving works again")
            self.store_problem = ""


_encoder = msgspec.json.Encoder()


def encoded(send: Send) -> Outgoing:
    """The message as the bus takes it."""
    return Outgoing(
        topic=send.topic,
        payload=_encoder.encode(send.message),
        retain=send.retain,
        keep=send.keep,
        correlation=send.correlation,
    )
