"""REST: logging in, and who there is."""

from __future__ import annotations

import time

import pytest
from spinney_root import auth
from spinney_root.state import User

from tests.rest_root import HASHED, PASSWORD, SECRET, FakeCore, door, problems

LOGIN = "/api/auth/login"


@pytest.fixture
def core() -> FakeCore:
    return FakeCore()


@pytest.fixture(autouse=True)
def no_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever registers gets the one password: hashing is tested with `spinney_root.auth`."""
    monkeypatch.setattr(auth, "hash_password", lambda password: HASHED)


def test_logging_in_gives_tokens_that_open_doors(core: FakeCore) -> None:
    with door(core, None) as nobody:
        answer = nobody.post(LOGIN, json={"username": "Admin", "password": PASSWORD, "organization_name": "any"})
        assert answer.status_code == 200
        assert set(answer.json()) == {"token", "refresh_token"}
        token, refresh = answer.json()["token"], answer.json()["refresh_token"]
        assert nobody.get("/api/applications", headers={"Authorization": f"bearer {token}"}).json() == []
        problems(nobody.get("/api/applications", headers={"Authorization": f"Bearer {refresh}"}), 401)
        renewed = nobody.post("/api/auth/refresh", headers={"Authorization": f"Bearer {refresh}"})
        assert renewed.status_code == 200
        assert set(renewed.json()) == {"token"}
        bearer = {"Authorization": f"Bearer {renewed.json()['token']}"}
        assert nobody.get("/api/applications", headers=bearer).status_code == 200
        problems(nobody.post("/api/auth/refresh", headers=bearer), 401)


def test_wrong_passwords_and_unknown_names_look_the_same_and_are_limited(core: FakeCore) -> None:
    with door(core, None) as nobody:
        unknown = nobody.post(LOGIN, json={"username": "nobody", "password": "wrong"})
        answers = [nobody.post(LOGIN, json={"username": "ann", "password": "wrong"}) for _ in range(6)]
        assert [one.status_code for one in answers] == [401] * 5 + [429]
        assert unknown.json() == answers[0].json() == {"message": "wrong user name or password", "errors": []}
        problems(answers[5], 429)
        assert answers[0].headers["www-authenticate"] == "Bearer"
        assert nobody.post(LOGIN, json={"username": "ann", "password": PASSWORD}).status_code == 429
        assert nobody.post(LOGIN, json={"username": "bob", "password": PASSWORD}).status_code == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"username": "ann"}, "$.password"),
        ({"username": 5, "password": "x"}, "$.username"),
        ({"username": "ann", "password": ""}, "$.password"),
        ({"username": "ann", "password": "x" * 1001}, "$.password"),
        ({"username": "ann", "password": "x", "pasword": "x"}, "$.pasword"),
        ([], "$"),
    ],
)
def test_a_bad_login_is_explained(core: FakeCore, body: object, path: str) -> None:
    with door(core, None) as nobody:
        assert path in problems(nobody.post(LOGIN, json=body), 400)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic QWRtaW46QWRtaW4=", "Bearer a.b.c", "Bearer é"])
def test_without_a_good_token_doors_stay_closed(core: FakeCore, header: str) -> None:
    with door(core, None) as nobody:
        answer = nobody.get("/api/applications", headers={"Authorization": header.encode()})
        problems(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_an_old_token_and_that_of_a_user_who_is_gone(core: FakeCore) -> None:
    old = auth.issue(core.state.users["ann"], SECRET, time.time() - auth.ACCESS_S - 1).token
    with door(core, "ann") as ann:
        assert ann.get("/api/applications").status_code == 200
        assert "expired" in ann.get("/api/applications", headers={"Authorization": f"Bearer {old}"}).json()["message"]
        core.state.drop(core.state.users["ann"])
        problems(ann.get("/api/applications"), 401)


def test_registering(core: FakeCore) -> None:
    with door(core) as admin, door(core, "ann") as ann:
        new = {"username": "cyd", "password": "long enough", "organization_name": "o"}
        problems(ann.post("/api/auth/register", json=new), 403)
        assert admin.post("/api/auth/register", json=new).json() == {
            "username": "cyd", "roles": ["Application_Provider"], "organization_name": "o",
        }  # fmt: skip
        assert "password" not in admin.get("/api/user/cyd").json()
        assert "$.username" in problems(admin.post("/api/auth/register", json={**new, "roles": ["Admin"]}), 409)
        assert core.state.users["cyd"].roles == ("Application_Provider",)
        roles = ["Admin", "Organization_Admin", "Admin"]
        twice = admin.post("/api/auth/register", json={**new, "username": "dee", "roles": roles})
        assert twice.json()["roles"] == ["Admin", "Organization_Admin"]


def test_the_second_of_two_registrations_at_once_is_refused(core: FakeCore, monkeypatch: pytest.MonkeyPatch) -> None:
    def overtaken(password: str) -> str:
        core.state.put(User("cyd", "first", ()))  # while this one's password is being hashed
        return HASHED

    monkeypatch.setattr(auth, "hash_password", overtaken)
    with door(core) as admin:
        problems(admin.post("/api/auth/register", json={"username": "cyd", "password": "long enough"}), 409)
    assert core.state.users["cyd"].password == "first"


@pytest.mark.parametrize(
    ("field", "value"),
    [("username", "a b"), ("username", ""), ("username", "x" * 65), ("username", "a\n"), ("password", "short"),
     ("roles", ["King"]), ("roles", "Admin"), ("role", "Admin")],
)  # fmt: skip
def test_a_bad_registration_is_explained(core: FakeCore, field: str, value: object) -> None:
    with door(core) as admin:
        found = problems(
            admin.post("/api/auth/register", json={"username": "x", "password": "12345678", field: value}), 400
        )
    assert any(path.startswith(f"$.{field}") for path in found)
    assert set(core.state.users) == {"Admin", "ann", "bob"}


def test_everybody_sees_themselves_admins_everybody(core: FakeCore) -> None:
    ann = {"username": "ann", "roles": ["Application_Provider"], "organization_name": ""}
    for path in ("/api/permission", "/api/user"):
        with door(core) as admin, door(core, "ann") as herself:
            assert herself.get(f"{path}/ann").json() == admin.get(f"{path}/ann/").json() == ann
            problems(herself.get(f"{path}/Admin"), 403)
            problems(herself.get(f"{path}/nobody"), 403)
            problems(admin.get(f"{path}/nobody"), 404)


def test_all_users_are_for_admins(core: FakeCore) -> None:
    with door(core) as admin, door(core, "ann") as ann:
        assert [one["username"] for one in admin.get("/api/users").json()] == ["Admin", "ann", "bob"]
        problems(ann.get("/api/users"), 403)


def test_removing_users_but_not_the_last_admin(core: FakeCore) -> None:
    core.state.put(User("other", HASHED, ("Admin",)))
    with door(core) as admin, door(core, "ann") as ann:
        problems(ann.delete("/api/user/ann"), 403)
        assert admin.delete("/api/user/ann").json() == {"message": "user ann deleted"}
        problems(admin.delete("/api/user/ann"), 404)
        assert admin.delete("/api/user/other").status_code == 200
        assert "last admin" in problems(admin.delete("/api/user/Admin"), 409)["$.name"]
    assert set(core.state.users) == {"Admin", "bob"}
