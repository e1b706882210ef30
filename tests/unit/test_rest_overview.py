"""REST: what there is, logs, whether the root is well, and how it says no."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient
from spinney_root.api.port import LogsUnavailable

from tests.documents import changed
from tests.rest_root import FakeCore, door, problems

Client = TestClient[Any]


@pytest.fixture
def core() -> FakeCore:
    return FakeCore().join()


@pytest.fixture
def admin(core: FakeCore) -> Iterator[Client]:
    with door(core) as client:
        yield client


def deployed(client: Client, name: str = "one", **fields: Any) -> tuple[str, str]:
    document = changed(virtualization="runc", **fields)
    document["applications"][0]["application_name"] = name
    found = client.post("/api/v1/deploy", json=document).json()
    return found["applications"][name], next(iter(found["microservices"].values()))


def test_clusters(core: FakeCore, admin: Client) -> None:
    (found,) = admin.get("/api/clusters/").json()
    assert found["virtualization"] == ["container", "runc"]
    assert (found["_id"], found["active"], found["cluster_location"]) == ("id-c1", True, "48.2,11.5,10")
    assert admin.get("/api/clusters").json() == admin.get("/api/clusters/active").json() == [found]
    core.state.owner.peer("c1").online = False
    assert admin.get("/api/clusters/active/").json() == []
    assert [one["active"] for one in admin.get("/api/clusters").json()] == [False]


def test_nodes_and_runtimes(admin: Client) -> None:
    (node,) = admin.get("/api/v1/nodes").json()
    assert [(one["name"], one["state"]) for one in node["runtimes"]] == [("runc", "verified"), ("crun", "failed")]
    crun, runc = admin.get("/api/v1/runtimes/").json()
    assert crun["failed"][0]["reason"] == "cgroups in hybrid mode"
    assert runc["verified"][0]["start_ms"] == 88.0


def test_everybody_who_is_logged_in_sees_what_there_is(core: FakeCore) -> None:
    with door(core, "bob") as bob:
        for path in ("/api/clusters", "/api/v1/nodes", "/api/v1/runtimes"):
            assert len(bob.get(path).json()) >= 1


def test_instances_by_application_service_and_status(core: FakeCore, admin: Client) -> None:
    first, nginx = deployed(admin, replicas=2)
    _, other = deployed(admin, "two", replicas=1)
    core.runs(nginx, 1)

    def numbers(**params: Any) -> list[tuple[str, int]]:
        answer = admin.get("/api/v1/instances", params=params)
        assert answer.status_code == 200, answer.text
        return sorted((one["microservice"], one["instance"]["instance_number"]) for one in answer.json())

    assert numbers() == sorted([(nginx, 0), (nginx, 1), (other, 0)])
    assert numbers(application=first) == numbers(application="one.test") == [(nginx, 0), (nginx, 1)]
    assert numbers(microservice=other) == numbers(microservice="two.test.nginx.test") == [(other, 0)]
    assert numbers(status="RUNNING") == [(nginx, 1)]
    assert numbers(microservice=other, status="RUNNING") == []
    assert len(numbers(limit=2)) == 2
    problems(admin.get("/api/v1/instances", params={"application": "nothing"}), 404)
    for limit in ("0", "-1", "x", "100001"):
        assert "limit" in problems(admin.get("/api/v1/instances", params={"limit": limit}), 400)


def test_logs(core: FakeCore, admin: Client) -> None:
    _, id = deployed(admin, replicas=1)
    core.log = "hello\nworld\n"
    path = f"/api/v1/instances/{id}/0/logs"
    assert admin.get(path).json() == {"logs": "hello\nworld\n"}
    assert admin.get(path, params={"tail_bytes": 6}).json() == {"logs": "world\n"}
    assert admin.get("/api/v1/instances/one.test.nginx.test/0/logs/").json() == {"logs": "hello\nworld\n"}
    for wrong in ("0", "131073", "many"):
        assert "tail_bytes" in problems(admin.get(path, params={"tail_bytes": wrong}), 400)
    problems(admin.get(f"/api/v1/instances/{id}/1/logs"), 404)
    problems(admin.get(f"/api/v1/instances/{id}/-1/logs"), 404)
    problems(admin.get("/api/v1/instances/nothing/0/logs"), 404)


def test_logs_that_cannot_be_had_say_why(core: FakeCore, admin: Client) -> None:
    _, id = deployed(admin, replicas=1)
    core.log = LogsUnavailable("cluster c1 is offline")
    answer = admin.get(f"/api/v1/instances/{id}/0/logs")
    problems(answer, 503)
    assert answer.json()["message"] == "cluster c1 is offline"


def test_health_needs_no_login(core: FakeCore) -> None:
    with door(core, None) as nobody:
        assert nobody.get("/healthz").json() == {"message": "alive"}
        assert nobody.get("/readyz").json() == {"ready": True, "waiting_for": []}
        core.missing = ["the MQTT broker is out of reach"]
        answer = nobody.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "waiting_for": ["the MQTT broker is out of reach"]}
        assert nobody.get("/healthz").status_code == 200


def test_what_does_not_become_durable_in_time(core: FakeCore) -> None:
    core.stuck, core.missing = True, ["cannot save: no primary"]
    with door(core, answer_within_s=0.01) as admin:
        answer = admin.post("/api/application", json=changed())
    problems(answer, 503)
    assert "no primary" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/api/v1", "/api/service", "/../etc/passwd", "/docs"])
def test_unknown_paths(admin: Client, path: str) -> None:
    problems(admin.get(path), 405 if path == "/api/service" else 404)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/api/auth/login"),
        ("POST", "/api/applications"),
        ("PATCH", "/api/application/x"),
        ("DELETE", "/api/clusters"),
        ("POST", "/api/v1/nodes"),
        ("PUT", "/api/service/x/instance"),
        ("GET", "/api/service/x/instance/0"),
    ],
)
def test_wrong_verbs(admin: Client, verb: str, path: str) -> None:
    answer = admin.request(verb, path)
    problems(answer, 405)
    assert answer.headers["allow"]


def test_a_mistake_of_ours_gives_nothing_away(core: FakeCore, admin: Client, caplog: pytest.LogCaptureFixture) -> None:
    core.state.owner = None  # type: ignore[assignment]
    answer = admin.get("/api/clusters")
    problems(answer, 500)
    assert answer.json()["message"] == "a mistake of ours; it has been logged"
    assert "GET /api/clusters failed" in caplog.text
    assert "AttributeError" in caplog.text


def test_trailing_slashes_are_optional_everywhere(core: FakeCore, admin: Client) -> None:
    application, service = deployed(admin, replicas=1)
    for path in (
        "/api/applications",
        "/api/applications/Admin",
        f"/api/application/{application}",
        "/api/services",
        f"/api/services/{application}",
        f"/api/service/{service}",
        f"/api/v1/instances/{service}/0/logs",
        "/api/v1/instances",
        "/api/clusters",
        "/api/clusters/active",
        "/api/permission/Admin",
        "/api/users",
        "/healthz",
        "/readyz",
        "/docs/openapi.json",
        "/api/docs",
    ):
        without, slash = admin.get(path), admin.get(f"{path}/")
        assert without.status_code == slash.status_code == 200, path
        assert without.content == slash.content
    assert admin.post(f"/api/service/{service}/instance/").status_code == 200
    assert admin.delete(f"/api/service/{service}/instance/0/").status_code == 200
