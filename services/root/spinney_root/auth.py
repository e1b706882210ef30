"""Who may do what: passwords, tokens, roles.

Passwords are kept as salted scrypt hashes, computed in a thread because one takes tens of milliseconds and 16 MiB.
Tokens are JWTs signed with a secret from the store. They name the user and carry a mark of the user's password, so a
token ends with its time, with the account, and with the password; roles are always those of now.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import anyio
import anyio.to_thread
import jwt
from msgspec import Struct

from .commands import ADMIN
from .state import User

ROLES: Final = (ADMIN, "Organization_Admin", "Application_Provider", "Infrastructure_Provider")

ACCESS_S: Final = 3600
REFRESH_S: Final = 7 * 86_400

MAX_PASSWORD: Final = 1000
"""Characters; hashing must not become a way to keep the machine busy."""

_COST, _BLOCK, _PARALLEL, _SALT_BYTES, _HASH_BYTES = 2**14, 8, 1, 16, 32
_ALGORITHM: Final = "HS256"

FAILURES: Final = 5
"""Failed attempts at one name from one address within `WINDOW_S`; more are refused unread."""
WINDOW_S: Final = 60.0
_MAX_REMEMBERED: Final = 10_000


class Denied(Exception):
    """A login or a token is not good; the reason is for the caller and gives nothing away."""


class TooManyFailures(Exception):
    """Too many failed logins; try again later."""


class Tokens(Struct, frozen=True):
    """A pair of tokens: one to use, one to get the next pair with."""

    token: str
    refresh_token: str


def new_secret() -> str:
    """A secret to sign tokens with."""
    return secrets.token_urlsafe(48)


def hash_password(password: str) -> str:
    """A salted hash that carries its own parameters; blocks for tens of milliseconds."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _scrypt(password, salt, _COST, _BLOCK, _PARALLEL)
    return "$".join(["scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), _text(salt), _text(digest)])


def matches(password: str, hashed: str) -> bool:
    """Whether the password made this hash; blocks for tens of milliseconds, the same whether right or wrong."""
    _, cost, block, parallel, salt, digest = hashed.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(digest))


def first_admin(password: str = "", name: str = ADMIN) -> tuple[User, str]:
    """The first admin, and the password to print once: the one given by configuration, or a generated one."""
    password = password or secrets.token_urlsafe(15)
    return User(name, hash_password(password), (ADMIN,)), password


def issue(user: User, secret: str, now_s: float) -> Tokens:
    """New tokens of a user; `now_s` in seconds since the epoch."""
    return Tokens(_token(user, secret, now_s, "access", ACCESS_S), _token(user, secret, now_s, "refresh", REFRESH_S))


def user_of(
    token: str, kind: Literal["access", "refresh"], users: Mapping[str, User], secret: str, now_s: float
) -> User:
    """The user whose valid token this is; raises Denied."""
    options: Any = {"require": ["exp", "sub"], "verify_exp": False, "verify_iat": False}
    try:
        claims = jwt.decode(token, secret, algorithms=[_ALGORITHM], options=options)
    except jwt.InvalidTokenError as error:
        raise Denied("the token is not valid") from error
    user = users.get(claims["sub"])
    if not isinstance(claims["exp"], int) or claims["exp"] <= now_s:
        raise Denied("the token has expired: log in again")
    if claims.get("kind") != kind:
        raise Denied(f"this is not a token for {'access' if kind == 'access' else 'refreshing'}")
    if user is None or not hmac.compare_digest(str(claims.get("mark")), _mark(user)):
        raise Denied("the token is not valid any more: log in again")
    return user


class Logins:
    """The door for passwords: one hash at a time, failures counted by name and address."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        """Monotonic seconds."""
        self._failed: dict[tuple[str, str], list[float]] = {}
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._nobody = ""
        """A hash to compare with when there is no such user, so that both answers take equally long."""

    async def check(self, name: str, password: str, address: str, users: Mapping[str, User]) -> User:
        """The user with this name and password; raises Denied or TooManyFailures."""
        attempts = self._attempts((name, address))
        if len(attempts) >= FAILURES:
            raise TooManyFailures(f"too many failed logins; try again in {WINDOW_S:.0f} s")
        attempts.append(self._clock())  # counted before it is known, so that attempts in parallel count too
        self._nobody = self._nobody or await self.hashed(secrets.token_urlsafe())
        user = users.get(name)
        right = await self._in_thread(lambda: matches(password, user.password if user else self._nobody))
        if user is None or not right:
            raise Denied("wrong user name or password")
        self._failed.pop((name, address), None)
        return user

    async def hashed(self, password: str) -> str:
        """`hash_password` off the event loop."""
        return await self._in_thread(lambda: hash_password(password))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)

    def _attempts(self, who: tuple[str, str]) -> list[float]:
        since = self._clock() - WINDOW_S
        attempts = [at for at in self._failed.pop(who, []) if at > since]
        while len(self._failed) >= _MAX_REMEMBERED:
            del self._failed[next(iter(self._failed))]  # the one that failed longest ago
        self._failed[who] = attempts
        return attempts


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=cost, r=block, p=parallel, dklen=_HASH_BYTES, maxmem=256 * cost * block
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _token(user: User, secret: str, now_s: float, kind: str, lasts_s: int) -> str:
    claims = {"sub": user.name, "kind": kind, "mark": _mark(user), "iat": int(now_s), "exp": int(now_s) + lasts_s}
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def _mark(user: User) -> str:
    return hashlib.sha256(user.password.encode()).hexdigest()[:16]
