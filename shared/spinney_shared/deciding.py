"""What every service's pure half gives to its shell: decisions as data, never deeds.

``decide(state, message, now)`` is deterministic and does no I/O: the same state, message and time make the same
decision; ids come from a seeded source inside the state. It changes the state's records only through the state's own
``put`` and ``drop``, which note the change for the store. The shell (`spinney_shared.loop`, or the simulation) saves
the changes first and only then tells anyone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from .store import Change


class Now(Struct, frozen=True):
    """The time, as an argument. ``mono`` decides, ``wall`` only decorates; both in seconds."""

    mono: float
    wall: float


class Tick(Struct, frozen=True):
    """Time has passed: repair whatever is overdue."""


class Connected(Struct, frozen=True):
    """The broker is reachable (again) and our subscriptions stand."""


class Disconnected(Struct, frozen=True):
    """The broker is out of reach: silence of others means nothing now."""


class Send(Struct, frozen=True):
    """A message to publish after the changes are durable."""

    topic: str
    message: Any
    retain: bool = False
    keep: bool = False
    """Hold it while the broker is away; everything of the sync protocol repairs itself and is not held."""
    correlation: bytes = b""


class Reply(Struct, frozen=True):
    """An answer to a caller inside this process (REST), by the token its request came with."""

    token: int
    result: Any


class Decision(Struct):
    """What is to be done, in this order: save the changes, publish the sends, give the replies, start the actions."""

    changes: list[Change] = []
    sends: list[Send] = []
    replies: list[Reply] = []
    actions: list[Any] = []
    why: list[str] = []

    def add(self, other: Decision) -> None:
        """Take in another decision, after this one."""
        self.changes += other.changes
        self.sends += other.sends
        self.replies += other.replies
        self.actions += other.actions
        self.why += other.why


class IdSource:
    """Random ids from a seed: 24 hexadecimal digits, like the object ids that existing clients expect."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self) -> str:
        """The next id."""
        return f"{self._rng.getrandbits(96):024x}"


Decide = Callable[[Any, Any, Now], Decision]
Settle = Callable[[Any, Now], Decision]


def step(decide: Decide, settle: Settle, state: Any, batch: list[Any], now: Now) -> Decision:
    """One turn: every message of the batch in order, then what the batch as a whole asks for (merged sync messages)."""
    whole = Decision()
    for message in batch:
        whole.add(decide(state, message, now))
    whole.add(settle(state, now))
    return whole
