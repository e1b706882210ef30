"""Logging in, and who may log in."""

from __future__ import annotations

import time
from http import HTTPStatus

from litestar import Router, delete, get, post
from litestar.params import FromPath

from .. import auth, shapes, views
from ..commands import ForgetUser, SaveUser
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
    roles = tuple(dict.fromkeys(body.roles)) or ("Application_Provider",)
    user = User(body.username, password, roles, body.organization_name)
    await ask(request, SaveUser(account=user, new=True))
    return views.user(user)


@get(["/user/{name:str}", "/permission/{name:str}"])
async def get_user(request: AnyRequest, name: FromPath[str]) -> shapes.UserAnswer:
    """A user with their roles: everybody sees themselves, admins anybody."""
    caller = caller_of(request)
    if not caller.admin and name != caller.user.name:
        raise ApiError(HTTPStatus.FORBIDDEN, "only admins may see others")
    return views.user(_user(request, name))


@get("/users")
async def list_users(request: AnyRequest) -> list[shapes.UserAnswer]:
    """All users by name (admins only)."""
    need_admin(caller_of(request))
    users = core_of(request).state.users
    return [views.user(users[name]) for name in sorted(users)]


@delete("/user/{name:str}", status_code=HTTPStatus.OK)
async def delete_user(request: AnyRequest, name: FromPath[str]) -> shapes.MessageAnswer:
    """Remove a user (admins only), but not the last admin; what they own stays."""
    need_admin(caller_of(request))
    user = _user(request, name)
    await ask(request, ForgetUser(name=user.name))
    return shapes.MessageAnswer(f"user {user.name} deleted")


def _user(request: AnyRequest, name: str) -> User:
    user = core_of(request).state.users.get(name)
    if user is None:
        raise not_found(f"user {name[:100]!r}")
    return user


router = Router("/api", route_handlers=[login, refresh, register, get_user, list_users, delete_user], tags=["Users"])
