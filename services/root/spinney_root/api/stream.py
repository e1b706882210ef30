"""``/api/v1/events``: lifecycle events as they happen, as server-sent events whose data are CloudEvents.

A stream ends when the client leaves or the server closes; comments break the silence, so that a dead client is noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
from litestar import Router, get
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage
from spinney_shared.messages import CloudEvent

from ..following import LOST
from ..state import State
from .access import AnyRequest, Caller, caller_of, core_of
from .port import Core

_encoder = msgspec.json.Encoder()


@get("/api/v1/events")
async def events(
    request: AnyRequest,
    kind: Annotated[str, QueryParameter(name="type", max_length=100)] = "*",
    subject: Annotated[str, QueryParameter(max_length=200)] = "*",
) -> ServerSentEvent:
    """Lifecycle events from now on; ``type`` and ``subject`` filter by shell patterns (``spinney.instance.*``).

    Who reads too slowly gets ``spinney.events.lost`` in the place of what is missing.
    """
    state = request.app.state
    wanted = Filter(core_of(request).state, caller_of(request), kind, subject)
    return ServerSentEvent(_stream(core_of(request), wanted, state.closing, state.settings.keepalive_s))


class Filter:
    """Which events a listener gets: those that match the patterns, and of instances only those of their own."""

    def __init__(self, state: State, caller: Caller, kind: str, subject: str) -> None:
        self._state, self._caller, self._kind, self._subject = state, caller, kind, subject

    def __call__(self, event: CloudEvent) -> bool:
        """Whether the event is wanted and may be seen."""
        if event.type == LOST:
            return True  # what is missing may have been wanted
        if not fnmatchcase(event.type, self._kind) or not fnmatchcase(event.subject, self._subject):
            return False
        if self._caller.admin or not event.type.startswith("spinney.instance."):
            return True
        application = self._state.applications.get(str(event.data.get("application", "")))
        return application is not None and application.owner == self._caller.user.name


async def _stream(
    core: Core, wanted: Filter, closing: asyncio.Event, keepalive_s: float
) -> AsyncIterator[ServerSentEventMessage]:
    async with core.subscribe() as coming:
        yield ServerSentEventMessage(data=None, comment="connected")
        closed = asyncio.ensure_future(closing.wait())
        following = asyncio.ensure_future(_next(coming))
        try:
            while True:
                await asyncio.wait({closed, following}, timeout=keepalive_s, return_when=asyncio.FIRST_COMPLETED)
                if closed.done():
                    return
                if not following.done():
                    yield ServerSentEventMessage(data=None, comment="still here")
                    continue
                event = following.result()
                if event is None:
                    return
                following = asyncio.ensure_future(_next(coming))
                if wanted(event):
                    yield ServerSentEventMessage(data=_encoder.encode(event).decode(), event=event.type, id=event.id)
        finally:
            closed.cancel()
            following.cancel()
            await asyncio.wait({closed, following})


async def _next(coming: AsyncIterator[CloudEvent]) -> CloudEvent | None:
    return await anext(coming, None)


router = Router("/", route_handlers=[events], tags=["Events"])
