"""Image references as people write them."""

import pytest
from spinney_node.drivers import ImageUnavailable
from spinney_node.drivers.containerd.reference import parse
from spinney_node.drivers.containerd.registry import speaks_plain_http

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("team/web", "docker.io/team/web:latest"),
        ("ghcr.io/team/web:v1", "ghcr.io/team/web:v1"),
        ("localhost/web", "localhost/web:latest"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"[::1]:5000/a:1@{DIGEST}", f"[::1]:5000/a:1@{DIGEST}"),
    ],
)
def test_nothing_is_left_out(written: str, meant: str) -> None:
    assert str(parse(written)) == meant
    assert str(parse(meant)) == meant


def test_the_digest_is_what_is_asked_for() -> None:
    assert parse(f"a:1@{DIGEST}").version == DIGEST
    assert parse("a:1").version == "1"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        " ",
        "host:99999999/a",
        "a.b/../c",
        "a?b=c",
        "a#b",
        "a\nb",
        "a:t\n",
        "-a.b/c",
        ".../a",
        "UPPER",
        "a:",
        "a@sha256:12",
        "a@md5:00",
        "a b",
        "../etc",
        "http://x/y",
        "a//b",
        "a:tag/../x",
        "x" * 600,
    ],
)
def test_nonsense_is_refused(bad: str) -> None:
    with pytest.raises(ImageUnavailable, match="image reference"):
        parse(bad)


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("localhost:5000", True),
        ("10.0.0.1:5000", False),
        ("docker.io", False),
        ("127.0.0.1.evil.example", False),
        ("registry.lan:80", True),
        ("registry.lan:81", False),
        ("other.lan:1234", True),
    ],
)
def test_plain_http_only_for_this_machine_and_by_setting(host: str, plain: bool) -> None:
    assert speaks_plain_http(host, ("registry.lan:80", "other.lan")) is plain
