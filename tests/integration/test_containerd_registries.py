"""Registries that refuse, lie, redirect, or want a login."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from spinney_node.drivers import ImageUnavailable
from spinney_node.drivers.containerd.engine import Engine
from spinney_node.drivers.containerd.settings import parse

from tests.integration.engine_fixtures import INDEX, MANIFEST, OciImage, left_behind, silent, tiny


class Liar(BaseHTTPRequestHandler):
    """A registry that does not do what it should; `answers` by path: status, headers, body."""

    answers: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {}

    wanted: ClassVar[dict[str, tuple[str, str]]] = {}
    """By path: the authorization without which the answer is 401 with this challenge."""

    def do_GET(self) -> None:
        status, headers, body = self.answers.get(self.path, (404, {}, b""))
        wanted = self.wanted.get(self.path) or self.wanted.get(self.path.partition("?")[0])
        if wanted is not None and self.headers.get("Authorization", "") != wanted[0]:
            status, headers, body = 401, {"WWW-Authenticate": wanted[1]}, b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def liar() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    Liar.answers, Liar.wanted = {}, {}
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def serve(made: OciImage, name: str = "x") -> dict[str, tuple[int, dict[str, str], bytes]]:
    blobs = {f"/v2/{name}/blobs/{d}": (200, {}, blob) for d, blob in made.blobs.items()}
    return {**blobs, f"/v2/{name}/manifests/1": (200, {"Content-Type": made.media_type}, made.top)}


async def refused(engine: Engine, ref: str) -> str:
    """The words of the refusal."""
    await engine.api.connect()
    with pytest.raises(ImageUnavailable) as e:
        await engine.images.ensure(ref, silent)
    assert await left_behind(engine) == []
    return str(e.value)


async def test_redirects_are_followed_but_not_for_ever(engine: Engine, liar: str) -> None:
    made = tiny("redirect")
    Liar.answers = serve(made, "real")
    for path in list(Liar.answers):
        Liar.answers[path.replace("/real/", "/x/")] = (307, {"Location": path}, b"")
    await engine.api.connect()
    assert (await engine.images.ensure(f"{liar}/x:1", silent)).defaults.env == ["TEXT=redirect"]
    Liar.answers = {"/v2/y/manifests/1": (302, {"Location": "/v2/y/manifests/1"}, b"")}
    with pytest.raises(ImageUnavailable, match="redirects"):
        await engine.images.ensure(f"{liar}/y:1", silent)
    Liar.answers = {"/v2/z/manifests/1": (302, {"Location": "file:///etc/shadow"}, b"")}
    with pytest.raises(ImageUnavailable, match="not secure"):
        await engine.images.ensure(f"{liar}/z:1", silent)


@pytest.mark.parametrize("harm", ["shorter", "longer", "other", "missing"])
async def test_a_blob_that_is_not_what_was_promised_leaves_nothing(engine: Engine, liar: str, harm: str) -> None:
    made = tiny(f"blob {harm}")
    Liar.answers = serve(made)
    path = next(p for p, (_, _, body) in Liar.answers.items() if body[:2] == b"\x1f\x8b")
    body = Liar.answers[path][2]
    Liar.answers[path] = {
        "shorter": (200, {"Content-Length": str(len(body))}, body[:-3]),
        "longer": (200, {}, body + b"more"),
        "other": (200, {}, bytes(len(body))),
        "missing": (404, {}, b""),
    }[harm]
    await refused(engine, f"{liar}/x:1")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}, b""), "login"),
        ((401, {"WWW-Authenticate": 'Bearer realm="file:///x"'}, b""), "not secure"),
        ((401, {"WWW-Authenticate": "Bearer"}, b""), "not secure"),
        ((403, {}, b""), "allow"),
        ((404, {}, b""), "does not have it"),
        ((500, {}, b""), "answered 500"),
        ((200, {"Content-Type": MANIFEST}, b"<html>"), "cannot be read"),
        ((200, {"Content-Type": INDEX}, b"{}"), "cannot be read"),
        ((200, {"Content-Type": MANIFEST}, b" " * (5 << 20)), "larger than"),
    ],
)
async def test_a_registry_that_refuses_or_talks_nonsense(
    engine: Engine, liar: str, answer: tuple[int, dict[str, str], bytes], words: str
) -> None:
    Liar.answers = {"/v2/x/manifests/1": answer}
    assert words in await refused(engine, f"{liar}/x:1")


def token_server(liar: str, name: str, given: str = "") -> None:
    """All of `name` wants the token that ``/token`` gives to whoever says `given`."""
    bearer = f'Bearer realm="http://{liar}/token",service="the registry",scope="repository:{name}:pull"'
    Liar.wanted = dict.fromkeys(Liar.answers, ("Bearer t0k3n", bearer)) | {"/token": (given, "Basic")}
    query = f"scope=repository%3A{name}%3Apull&service=the+registry"
    Liar.answers[f"/token?{query}"] = (200, {}, b'{"token": "t0k3n", "expires_in": 60}')


async def test_a_token_is_fetched_where_the_registry_says(engine: Engine, liar: str) -> None:
    Liar.answers = serve(tiny("token"))
    token_server(liar, "x")
    await engine.api.connect()
    assert (await engine.images.ensure(f"{liar}/x:1", silent)).defaults.env == ["TEXT=token"]


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_a_private_image_with_name_and_password(
    engine_settings: dict[str, Any], tmp_path: Path, liar: str, scheme: str
) -> None:
    Liar.answers = serve(tiny(f"private {scheme}"))
    if scheme == "Bearer":
        token_server(liar, "x", "Basic bWU6czNjcmV0")
    else:
        Liar.wanted = dict.fromkeys(Liar.answers, ("Basic bWU6czNjcmV0", 'Basic realm="x"'))
    (tmp_path / "password").write_text("s3cret\n")
    mine = {"username": "me", "password_file": str(tmp_path / "password")}
    for credentials, works in (({}, False), ({liar: {**mine, "username": "you"}}, False), ({liar: mine}, True)):
        engine = Engine(parse({**engine_settings, "credentials": credentials}))
        await engine.api.connect()
        if works:
            assert (await engine.images.ensure(f"{liar}/x:1", silent)).defaults.env == [f"TEXT=private {scheme}"]
        else:
            assert "login" in await refused(engine, f"{liar}/x:1")
        await engine.close()


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"token": ""}', b'{"token": "a\\r\\nX: y"}', b"\xff", b"[" * 100_000])
async def test_a_token_server_that_talks_nonsense(engine: Engine, liar: str, answer: bytes) -> None:
    Liar.answers = serve(tiny("nonsense"))
    token_server(liar, "x")
    Liar.answers = {path: (200, {}, answer) if "token" in path else what for path, what in Liar.answers.items()}
    assert "token server" in await refused(engine, f"{liar}/x:1")


async def test_a_login_is_not_shown_to_where_a_redirect_leads(engine: Engine, liar: str) -> None:
    """Both are this machine, but under two names."""
    made = tiny("elsewhere")
    Liar.answers = serve(made)
    token_server(liar, "x")
    elsewhere = liar.replace("127.0.0.1", "localhost")
    for path in [p for p in Liar.answers if "/blobs/" in p]:
        Liar.answers[f"{path}?moved"] = Liar.answers[path]
        Liar.wanted[f"{path}?moved"] = ("", "Basic")
        Liar.answers[path] = (307, {"Location": f"http://{elsewhere}{path}?moved"}, b"")
    await engine.api.connect()
    assert (await engine.images.ensure(f"{liar}/x:1", silent)).defaults.env == ["TEXT=elsewhere"]


async def test_another_manifest_than_the_digest_asked_for_is_refused(engine: Engine, liar: str) -> None:
    made = tiny("swap")
    wanted = "sha256:" + "0" * 64
    Liar.answers = {f"/v2/x/manifests/{wanted}": (200, {"Content-Type": MANIFEST}, made.top)}
    assert "another manifest" in await refused(engine, f"{liar}/x@{wanted}")


async def test_a_registry_that_is_not_there(engine: Engine, liar: str) -> None:
    assert "cannot be reached" in await refused(engine, "127.0.0.1:1/x:1")
