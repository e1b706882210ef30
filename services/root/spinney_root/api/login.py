"""Logging in, and who may log in."""

from __future__ import annotations

import time
from http import HTTPStatus

from litestar import Router, get, post
from spinney_shared.messages import Problem

from .. import auth, shapes, views
from ..commands import SaveUser
from ..state import User
from . import bodies
from .access import AnyRequest, ask, bearer, caller_of, core_of, need_admin, sent
from .errors import ApiError, not_found


@post("/auth/login", status_code=HTTPStatus.OK, opt={"public": True, "body": bodies.Login}, security=[{}])
async def login(request: AnyRequest) -> auth.Tokens:
    """Trade a user name and password for an access token and a refresh token."""
    body, state = await sent(request, bodies.Login), core_of(request).state
    address = request.client.host if request.client else ""
    user = await request.app.state.logins.check(body.username, body.password, address, state.users)
    return auth.issue(user, state.meta.token_secret, time.time())


@post("/auth/refresh", status_code=HTTPStatus.OK, opt={"public": True})
async def refresh(request: AnyRequest) -> shapes.TokenAnswer:
    """Trade a refresh token (as the bearer) for a new access token."""
    state = core_of(request).state
    user = auth.user_of(bearer(request), "refresh", state.users, state.meta.token_secret, time.time())
    return shapes.TokenAnswer(auth.issue(user, state.meta.token_secret, time.time()).token)


@post("/auth/register", status_code=HTTPStatus.OK, opt={"body": bodies.Register})
async def register(request: AnyRequest) -> shapes.UserAnswer:
    """Add a user (admins only); without roles it becomes an Application_Provider."""
    need_admin(caller_of(request))
    body = await sent(request, bodies.Register)
    password = await request.app.state.logins.hashed(body.password)
    if body.username in core_of(request).state.users:
        words = f"there is a user {body.username!r} already"
        raise ApiError(HTTPStatus.CONFLICT, words, [Problem("$.username", words)])
    roles = tuple(dict.fromkeys(body.roles)) or ("Application_Provider",)
    user = User(body.username, password, roles, body.organization_name)
    await ask(request, SaveUser(account=user))
    return views.user(user)


@get("/permission/{name:str}")
async def permission(request: AnyRequest, name: str) -> shapes.UserAnswer:
    """The roles of a user: everybody's own, admins anybody's."""
    caller, user = caller_of(request), core_of(request).state.users.get(name)
    if not caller.admin and name != caller.user.name:
        raise ApiError(HTTPStatus.FORBIDDEN, "only admins may see others' roles")
    if user is None:
        raise not_found(f"user {name[:100]!r}")
    return views.user(user)


router = Router("/api", route_handlers=[login, refresh, register, permission], tags=["Users"])
