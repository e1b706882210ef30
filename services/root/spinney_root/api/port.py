"""What the REST doors need of the root, and nothing of how it is done; `spinney_root.app` provides it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct
from spinney_shared.messages import CloudEvent, EventResult
from spinney_shared.model import InstanceKey

from ..commands import AnyCommand
from ..state import State


class LogsUnavailable(Exception):
    """The log cannot be shown; the reason is in words."""


class Core(Protocol):
    """The root as the doors see it. Everything runs on one event loop."""

    @property
    def state(self) -> State:
        """The root's memory; to be read only, and not across an ``await``."""
        ...

    async def command(self, command: AnyCommand) -> EventResult:
        """Decide the command and return the answer once it is durable."""
        ...

    async def logs(self, at: InstanceKey, tail_bytes: int) -> str:
        """The end of an instance's log; raises LogsUnavailable."""
        ...

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[CloudEvent]]:
        """The lifecycle events from now on, through a bounded queue of the listener's own."""
        ...

    def ready(self) -> list[str]:
        """What keeps the root from doing its work, in words; empty = ready."""
        ...


class ApiSettings(Struct, frozen=True, kw_only=True):
    """How the doors behave."""

    version: str = "0.1.0"
    """Shown in the OpenAPI document."""
    keepalive_s: float = 15.0
    """Silence on an event stream after which a comment is sent, so that proxies keep it and dead clients show."""
    answer_within_s: float = 30.0
    """How long a command may take to become durable before its caller is told to look again."""
