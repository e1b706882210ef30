"""Who is calling, what they may see, and what they sent.

Every path needs a token unless it says ``opt={"public": True}``: forgetting something closes a door, never opens one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from msgspec import Struct
from msgspec.structs import replace
from spinney_shared.messages import MAX_MESSAGE_BYTES, EventResult, Problem

from ..auth import Denied, user_of
from ..commands import ADMIN, AnyCommand
from ..sla.collect import decode
from ..state import Application, Microservice, State, User
from .errors import ApiError, accepted, bad, not_found
from .port import Core

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")

LARGE_BYTES: Final = 50 * 1024
"""A larger document is read in a thread: that may take a tenth of a second, in which nobody else would be served."""

DRAIN_BYTES: Final = 8 * 1024 * 1024
"""How much of a body that is too large is still read and thrown away, so that the client gets to see the answer."""


class Caller(Struct, frozen=True):
    """The user behind a request."""

    user: User

    @property
    def admin(self) -> bool:
        """May see and touch everything."""
        return ADMIN in self.user.roles

    @property
    def owner(self) -> str | None:
        """Whose applications may be seen; None = everybody's."""
        return None if self.admin else self.user.name


def bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The token of the request; raises Denied."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Denied("log in first: send the header Authorization: Bearer <token>")
    return token.strip()


def logged_in(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard before every handler: raises Denied unless the path is public or the token is good."""
    if not handler.opt.get("public"):
        state = connection.app.state.core.state
        user = user_of(bearer(connection), "access", state.users, state.meta.token_secret, time.time())
        connection.state.caller = Caller(user)


def core_of(request: AnyRequest) -> Core:
    """The root, for handlers."""
    return request.app.state.core


def caller_of(request: AnyRequest) -> Caller:
    """Who is calling, for handlers."""
    return request.state.caller


async def ask(request: AnyRequest, command: AnyCommand) -> EventResult:
    """Carry out a command for the caller; 409 when it is refused, 503 when it does not become durable in time."""
    caller, settings = caller_of(request), request.app.state.settings
    core = core_of(request)
    try:
        with anyio.fail_after(settings.answer_within_s):
            return accepted(await core.command(replace(command, user=caller.user.name, admin=caller.admin)))
    except TimeoutError as error:
        reasons = "; ".join(core.ready()) or "the root is busy"
        words = f"not confirmed within {settings.answer_within_s:g} s ({reasons}); it may still be carried out"
        raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, words) from error


def need_admin(caller: Caller) -> None:
    """403 for everybody else."""
    if not caller.admin:
        raise ApiError(HTTPStatus.FORBIDDEN, "only admins may do this")


def application_of(state: State, caller: Caller, name: str) -> Application:
    """The caller's application of this id or ``name.namespace``; 404 when there is none."""
    known = state.applications.get(name)
    for one in [known] if known else state.applications.values():
        if name in (one.id, f"{one.name}.{one.namespace}") and caller.owner in (None, one.owner):
            return one
    raise not_found(f"application {name[:100]!r}")


def microservice_of(state: State, caller: Caller, name: str) -> Microservice:
    """The caller's microservice of this id or job name; 404 when there is none."""
    known = state.microservices.get(name)
    for one in [known] if known else state.microservices.values():
        owner = state.applications.get(one.application)
        if owner and not one.deleted and name in (one.id, one.spec.job_name) and caller.owner in (None, owner.owner):
            return one
    raise not_found(f"service {name[:100]!r}")


async def body_of(request: AnyRequest) -> bytes:
    """The request's body; 413 when it is larger than a document may be."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > DRAIN_BYTES:
            break
        if size <= MAX_MESSAGE_BYTES:
            parts.append(part)
    if size > MAX_MESSAGE_BYTES:
        words = f"the document has more than {MAX_MESSAGE_BYTES:,} bytes"
        raise ApiError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words, [Problem("$", words)])
    return b"".join(parts)


async def sent(request: AnyRequest, kind: type[T]) -> T:
    """The body as `kind`; 400 with every problem it has."""
    found = decode(await body_of(request), kind)
    if isinstance(found, list):
        raise bad(found)
    return found


async def parsed(request: AnyRequest, parse: Callable[[bytes], T | list[Problem]]) -> T:
    """What `parse` makes of the body; 400 with every problem it has."""
    raw = await body_of(request)
    if len(raw) > LARGE_BYTES:
        found = await anyio.to_thread.run_sync(parse, raw, limiter=request.app.state.parsing)
    else:
        found = parse(raw)
    if isinstance(found, list):
        raise bad(found)
    return found
