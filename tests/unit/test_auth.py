"""Passwords, tokens and the counting of failures."""

from __future__ import annotations

import jwt
import pytest
from spinney_root import auth
from spinney_root.state import User

SECRET = auth.new_secret()
NOW = 1_000_000.0


@pytest.fixture(scope="module")
def admin() -> User:
    return auth.first_admin("correct horse")[0]


@pytest.fixture
def users(admin: User) -> dict[str, User]:
    return {admin.name: admin}


def test_a_password_is_kept_as_a_salted_hash(admin: User) -> None:
    assert "correct horse" not in admin.password
    assert auth.hash_password("correct horse") != admin.password
    assert auth.matches("correct horse", admin.password)
    assert not auth.matches("wrong horse", admin.password)


def test_the_first_password_is_generated_unless_given() -> None:
    first, second = auth.first_admin(), auth.first_admin()
    assert first[1] != second[1]
    assert len(first[1]) >= 20
    assert first[0].roles == ("Admin",)


def test_tokens_name_their_user_until_they_expire(admin: User, users: dict[str, User]) -> None:
    tokens = auth.issue(admin, SECRET, NOW)
    assert auth.user_of(tokens.token, "access", users, SECRET, NOW + auth.ACCESS_S - 1) is admin
    assert auth.user_of(tokens.refresh_token, "refresh", users, SECRET, NOW + auth.ACCESS_S + 1) is admin
    with pytest.raises(auth.Denied, match="expired"):
        auth.user_of(tokens.token, "access", users, SECRET, NOW + auth.ACCESS_S)


def test_one_kind_of_token_is_not_the_other(admin: User, users: dict[str, User]) -> None:
    tokens = auth.issue(admin, SECRET, NOW)
    for token, kind in ((tokens.token, "refresh"), (tokens.refresh_token, "access")):
        with pytest.raises(auth.Denied):
            auth.user_of(token, kind, users, SECRET, NOW)


def test_forged_tokens(admin: User, users: dict[str, User]) -> None:
    good = auth.issue(admin, SECRET, NOW).token
    claims = jwt.decode(good, options={"verify_signature": False})
    forged = [
        jwt.encode(claims, auth.new_secret(), algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode({**claims, "sub": 5}, SECRET, algorithm="HS256"),
        jwt.encode({**claims, "exp": "never"}, SECRET, algorithm="HS256"),
        jwt.encode({"sub": "Admin", "kind": "access"}, SECRET, algorithm="HS256"),
        jwt.encode({**claims, "mark": None}, SECRET, algorithm="HS256"),
        "",
        "a.b.c",
        good[:-2],
    ]
    for token in forged:
        with pytest.raises(auth.Denied):
            auth.user_of(token, "access", users, SECRET, NOW)


def test_a_token_ends_with_the_account_and_with_the_password(admin: User, users: dict[str, User]) -> None:
    token = auth.issue(admin, SECRET, NOW).token
    with pytest.raises(auth.Denied):
        auth.user_of(token, "access", {}, SECRET, NOW)
    with pytest.raises(auth.Denied):
        auth.user_of(token, "access", {"Admin": auth.first_admin("new")[0]}, SECRET, NOW)


async def test_logging_in(admin: User, users: dict[str, User]) -> None:
    logins = auth.Logins(lambda: NOW)
    assert await logins.check("Admin", "correct horse", "::1", users) is admin
    for name in ("Admin", "nobody"):
        with pytest.raises(auth.Denied, match="wrong user name or password"):
            await logins.check(name, "wrong", "::1", users)


async def test_failures_are_limited_by_name_and_address_for_a_while(admin: User, users: dict[str, User]) -> None:
    now = [0.0]
    logins = auth.Logins(lambda: now[0])
    for _ in range(auth.FAILURES):
        with pytest.raises(auth.Denied):
            await logins.check("Admin", "wrong", "10.0.0.1", users)
    with pytest.raises(auth.TooManyFailures):
        await logins.check("Admin", "correct horse", "10.0.0.1", users)
    assert await logins.check("Admin", "correct horse", "10.0.0.2", users) is admin
    now[0] += auth.WINDOW_S
    assert await logins.check("Admin", "correct horse", "10.0.0.1", users) is admin
