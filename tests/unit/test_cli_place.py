"""Where the root is, whose password opens it, and how a login is kept and renewed."""

import stat
from pathlib import Path

import pytest
from spinney.client import Client
from spinney.errors import CommandError, NotLoggedIn, RootUnreachable
from spinney.login import KeptLogins, Login
from spinney.place import DEFAULT_URL, PASSWORD_FILE, Place, find
from spinney.shapes import Cluster, Tokens
from spinney.stack import Stack

from tests.cli_root import PASSWORD, URL, FakeRoot


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    return file


def clusters(client: Client) -> list[str]:
    return [one.name for one in client.get("/api/clusters", list[Cluster])]


def nobody_to_ask(_: Place) -> None:
    return None


def test_the_local_stack_is_found_with_its_password(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.folder.remember_port("root", 12345)
    password_file = stack.admin_password_file
    place = find(None, tmp_path)
    assert place == Place("http://127.0.0.1:12345", stack.admin, password_file)
    assert place.password() == stack.folder.secret("admin-password")


def test_an_address_given_goes_first_and_gets_no_password_of_the_local_stack(tmp_path: Path) -> None:
    Stack(tmp_path).folder.remember_port("root", 12345)
    assert Stack(tmp_path).admin_password_file == tmp_path / PASSWORD_FILE
    assert find("http://far:1/", tmp_path) == Place("http://far:1")
    assert find("http://127.0.0.1:12345", tmp_path).password_file == tmp_path / PASSWORD_FILE
    assert find(None, tmp_path, user="somebody") == Place("http://127.0.0.1:12345", "somebody")


def test_without_a_stack_it_is_the_usual_address(tmp_path: Path) -> None:
    assert find(None, tmp_path / "none") == Place(DEFAULT_URL)
    (tmp_path / "ports").mkdir()
    (tmp_path / "ports" / "root").write_text("rubbish")
    assert find(None, tmp_path) == Place(DEFAULT_URL)


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(CommandError, match="'root:10000' is no address of a root: write http://HOST:PORT"):
        find("root:10000", Path("none"))


def test_a_password_file_that_is_not_there_is_said() -> None:
    with pytest.raises(CommandError, match="/no/such cannot be read"):
        Place(URL, password_file=Path("/no/such")).password()


def test_one_login_serves_many_requests(password_file: Path) -> None:
    root, place = FakeRoot(), Place(URL, password_file=password_file)
    with root.client(place, Login(place, nobody_to_ask)) as client:
        assert clusters(client) == clusters(client) == ["local"]
    assert [r.url.path for r in root.asked] == ["/api/auth/login", "/api/clusters", "/api/clusters"]


def test_an_old_token_is_renewed_with_the_password_when_refreshing_fails(password_file: Path) -> None:
    root, place = FakeRoot(), Place(URL, password_file=password_file)
    login = Login(place, nobody_to_ask, Tokens("old", "r0"))
    with root.client(place, login) as client:
        assert clusters(client) == ["local"]
    paths = ["/api/clusters", "/api/auth/refresh", "/api/auth/login", "/api/clusters"]
    assert [r.url.path for r in root.asked] == paths
    assert login.tokens == Tokens("t1", "r1")


def test_a_wrong_password_and_none_at_all_say_what_to_do(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    for file, reason in ((wrong, "wrong user name or password"), (None, "there is no password for Admin")):
        root, place = FakeRoot(), Place(URL, password_file=file)
        with (
            root.client(place, Login(place, nobody_to_ask)) as client,
            pytest.raises(NotLoggedIn, match=f"{reason}. Try `spinney login`"),
        ):
            clusters(client)


def test_nobody_is_asked_for_the_password_of_a_root_that_is_not_there() -> None:
    root, place = FakeRoot(), Place(URL)
    root.down = True
    login = Login(place, lambda _: pytest.fail("asked"))
    words = rf"root not reachable at {URL} \(Connection refused\): is the stack up\? Try `spinney up`"
    with root.client(place, login) as client, pytest.raises(RootUnreachable, match=words):
        clusters(client)


def test_logins_are_kept_privately_by_root_and_user(tmp_path: Path) -> None:
    file = tmp_path / "config" / "logins.json"
    KeptLogins(file).put(Place(URL), Tokens("t", "r"))
    KeptLogins(file).put(Place("http://other"), Tokens("o"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KeptLogins(file).get(Place(URL)) == Tokens("t", "r")
    assert KeptLogins(file).get(Place(URL, "somebody else")) is None
    assert KeptLogins(tmp_path / "none").get(Place(URL)) is None


def test_a_broken_file_of_logins_is_said(tmp_path: Path) -> None:
    (tmp_path / "logins.json").write_text("[")
    with pytest.raises(CommandError, match=r"logins\.json cannot be read"):
        KeptLogins(tmp_path / "logins.json").get(Place(URL))
