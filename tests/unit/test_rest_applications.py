"""REST: applications and services, from their documents to their end, and whose they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient
from spinney_root import sla
from spinney_root.api.access import LARGE_BYTES
from spinney_shared.messages import MAX_MESSAGE_BYTES
from spinney_shared.model import InstanceKey

from tests.documents import SEED, changed
from tests.rest_root import FakeCore, door, problems

Client = TestClient[Any]

PATH = "$.applications[0].microservices[0]"


@pytest.fixture
def core() -> FakeCore:
    return FakeCore().join()


@pytest.fixture
def admin(core: FakeCore) -> Iterator[Client]:
    with door(core) as client:
        yield client


@pytest.fixture
def ann(core: FakeCore) -> Iterator[Client]:
    with door(core, "ann") as client:
        yield client


@pytest.fixture
def bob(core: FakeCore) -> Iterator[Client]:
    with door(core, "bob") as client:
        yield client


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def made(client: Client, **fields: Any) -> tuple[str, str]:
    """The ids of a new application and its microservice."""
    (one,) = ok(client.post("/api/application", json=changed(**fields)))
    return one["applicationID"], one["microservices"][0]


def runs_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def bare(name: str = "other", **fields: Any) -> dict[str, Any]:
    return {"microservice_name": name, "microservice_namespace": "test", "code": "image", **fields}


def test_the_users_document_verbatim(core: FakeCore, ann: Client) -> None:
    (one,) = ok(ann.post("/api/application", json=SEED))
    assert set(one) >= {
        "applicationID", "application_name", "application_namespace", "application_desc", "microservices"
    }  # fmt: skip
    assert (one["application_name"], one["owner"]) == ("clientsrvr", "ann")
    (service,) = ok(ann.get(f"/api/services/{one['applicationID']}"))
    assert [service["microserviceID"]] == one["microservices"]
    assert (service["status"], service["instance_list"]) == ("REQUESTED", [])
    assert (service["virtualization"], service["RR_ip"]) == ("runsc", "10.30.55.55")
    answer = ok(ann.post(f"/api/service/{service['microserviceID']}/instance"))
    why = "no node of 1 node has verified runsc, not found; verified there: runc (1)"
    assert why in answer["message"]
    service = ok(ann.get(f"/api/service/{service['microserviceID']}"))
    assert service["status"] == "NO_QUALIFIED_WORKER_FOUND"
    assert why in service["status_detail"]
    assert not any(instance.cluster for instance in core.state.instances.values())


@pytest.mark.parametrize("word", ["docker", "container", "runc"])
def test_the_same_on_a_runtime_that_is_there(ann: Client, word: str) -> None:
    _, service = made(ann, virtualization=word)
    assert ok(ann.post(f"/api/service/{service}/instance"))["message"].endswith("is wanted")
    shown = ok(ann.get(f"/api/service/{service}"))
    assert (shown["status"], shown["virtualization"]) == ("CLUSTER_SCHEDULED", word)


def test_a_new_application_is_answered_with_all_of_the_callers(admin: Client, ann: Client) -> None:
    made(admin)
    first, _ = made(ann)
    second = changed()
    second["applications"][0]["application_name"] = "second"
    listed = ok(ann.post("/api/application", json=second))
    assert [one["application_name"] for one in listed] == ["clientsrvr", "second"]
    assert listed[0]["applicationID"] == first
    assert len(ok(admin.get("/api/applications"))) == 3


def test_the_same_name_again_is_refused(core: FakeCore, ann: Client, bob: Client) -> None:
    made(ann)
    before = dict(core.state.applications)
    found = problems(ann.post("/api/application", json=SEED), 409)
    assert "undeploy it first" in found["$.applications[0].application_name"]
    assert core.state.applications == before
    made(bob)


def test_applications_by_id_name_and_owner(admin: Client, ann: Client) -> None:
    id, _ = made(ann)
    for name in (id, "clientsrvr.test"):
        assert ok(ann.get(f"/api/application/{name}"))["applicationID"] == id
    assert [one["applicationID"] for one in ok(admin.get("/api/applications/ann"))] == [id]
    assert ok(admin.get("/api/applications/Admin")) == []
    assert [one["applicationID"] for one in ok(ann.get("/api/applications/ann"))] == [id]
    for name in ("nothing", "clientsrvr", "%00", "..%2f.."):
        problems(ann.get(f"/api/application/{name}"), 404)


def test_changing_an_application(ann: Client) -> None:
    id, _ = made(ann)
    one = ok(ann.get(f"/api/application/{id}"))
    changed = ok(ann.put(f"/api/application/{id}", json={**one, "application_desc": "new"}))
    assert changed == {**one, "application_desc": "new"} == ok(ann.get(f"/api/application/{id}"))
    assert "$.application_name" in problems(
        ann.put(f"/api/application/{id}", json={**one, "application_name": "x"}), 400
    )
    assert "$.application_desc" in problems(ann.put(f"/api/application/{id}", json={}), 400)
    assert "$.aplication_desc" in problems(ann.put(f"/api/application/{id}", json={"aplication_desc": "x"}), 400)


def test_deleting_an_application_ends_what_is_in_it(core: FakeCore, ann: Client) -> None:
    id, service = made(ann, virtualization="runc", replicas=2)
    assert ok(ann.delete(f"/api/application/{id}")) == {"message": "application clientsrvr.test deleted"}
    assert all(instance.removing for instance in core.state.instances.values())
    assert ok(ann.get("/api/applications")) == ok(ann.get("/api/services")) == []
    problems(ann.delete(f"/api/application/{id}"), 404)
    problems(ann.get(f"/api/service/{service}"), 404)
    problems(ann.get(f"/api/services/{id}"), 404)
    made(ann)


def test_adding_services(ann: Client) -> None:
    id, first = made(ann)
    listed = ok(ann.post("/api/service", json={"applicationID": id, "microservices": [bare()]}))
    assert {one["microservice_name"] for one in listed} == {"nginx", "other"}
    document = changed(microservice_name="third")
    document["applications"][0]["applicationID"] = id
    assert len(ok(ann.post("/api/service/", json=document))) == 3
    assert len(ok(ann.get("/api/services"))) == 3
    assert len(ok(ann.get(f"/api/application/{id}"))["microservices"]) == 3
    again = problems(ann.post("/api/service", json={"applicationID": id, "microservices": [bare()]}), 409)
    assert "$.microservices[0].microservice_name" in again
    assert first in {one["microserviceID"] for one in ok(ann.get(f"/api/services/{id}"))}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"microservices": []}, "$.applicationID"),
        ({"applicationID": "x"}, "$.microservices"),
        ({"applicationID": "x", "microservices": [{"code": "image"}]}, "$.microservices[0].microservice_name"),
        (SEED, "$.applications[0].applicationID"),
        ([], "$"),
    ],
)
def test_bad_additions_are_explained(ann: Client, body: Any, path: str) -> None:
    assert path in problems(ann.post("/api/service", json=body), 400)


def test_adding_to_what_is_not_there(ann: Client) -> None:
    problems(ann.post("/api/service", json={"applicationID": "nothing", "microservices": [bare()]}), 404)


def test_services_by_id_and_job_name(ann: Client) -> None:
    _, id = made(ann)
    assert ok(ann.get("/api/service/clientsrvr.test.nginx.test")) == ok(ann.get(f"/api/service/{id}"))
    problems(ann.get("/api/service/clientsrvr.test.nginx"), 404)


def test_updating_a_service_renews_its_instances(core: FakeCore, ann: Client) -> None:
    _, id = made(ann, virtualization="runc", replicas=1)
    new = bare("nginx", code="nginx:2", virtualization="runc")
    found = ok(ann.put(f"/api/service/{id}", json=new))
    assert (found["code"], found["generation"], found["instance_list"][0]["generation"]) == ("nginx:2", 2, 2)
    assert ok(ann.put(f"/api/service/{id}", json=changed(memory=5)))["memory"] == 5
    assert "$.microservice_name" in problems(ann.put(f"/api/service/{id}", json=bare("renamed")), 409)
    assert "$.cod" in problems(ann.put(f"/api/service/{id}", json=bare("nginx", cod="x")), 400)
    assert core.state.microservices[id].spec.generation == 3


def test_deleting_a_service(core: FakeCore, ann: Client) -> None:
    application, id = made(ann, virtualization="runc", replicas=2)
    assert ok(ann.delete(f"/api/service/{id}")) == {"message": "service clientsrvr.test.nginx.test deleted"}
    assert all(instance.removing for instance in core.state.instances.values())
    assert ok(ann.get(f"/api/services/{application}")) == []
    problems(ann.get(f"/api/service/{id}"), 404)
    problems(ann.delete(f"/api/service/{id}"), 404)


def test_instances_come_one_by_one_and_go_by_number_or_all(core: FakeCore, ann: Client) -> None:
    _, id = made(ann, virtualization="runc")
    for _ in range(3):
        ok(ann.post(f"/api/service/{id}/instance"))

    def numbers() -> list[int]:
        return [one["instance_number"] for one in ok(ann.get(f"/api/service/{id}"))["instance_list"]]

    assert numbers() == [0, 1, 2]
    assert ok(ann.delete(f"/api/service/{id}/instance/1")) == {
        "message": "instance 1 of clientsrvr.test.nginx.test removed"
    }
    assert numbers() == [0, 2]
    assert core.state.instances[InstanceKey(id, 1)].removing
    for number in ("1", "7", "-2"):
        problems(ann.delete(f"/api/service/{id}/instance/{number}"), 404)
    problems(ann.delete(f"/api/service/{id}/instance/x"), 404)
    ok(ann.delete(f"/api/service/{id}/instance/-1"))
    assert numbers() == []
    ok(ann.delete(f"/api/service/{id}/instance/-1"))


def test_scaling(ann: Client) -> None:
    _, id = made(ann, virtualization="runc")
    found = ok(ann.put(f"/api/v1/services/{id}/replicas", json={"replicas": 3}))
    assert found["status"] == "accepted"
    assert found["microservices"] == {"clientsrvr.test.nginx.test": id}
    assert ok(ann.get(f"/api/service/{id}"))["replicas"] == 3
    ok(ann.put("/api/v1/services/clientsrvr.test.nginx.test/replicas/", json={"replicas": 0}))
    assert ok(ann.get(f"/api/service/{id}"))["replicas"] == 0
    for wrong in (-1, 100_001, "3", 1.5, None):
        assert "$.replicas" in problems(ann.put(f"/api/v1/services/{id}/replicas", json={"replicas": wrong}), 400)


def test_deploying_as_an_event_does(core: FakeCore, ann: Client) -> None:
    event = {"specversion": "1.0", "id": "e1", "source": "me", "type": "deploy", "data": changed(virtualization="runc")}
    first = ok(ann.post("/api/v1/deploy", json=event))
    assert (first["event"], first["status"]) == ("e1", "accepted")
    assert ok(ann.post("/api/v1/deploy", json=event)) == first
    assert len(core.state.instances) == len(core.state.applications) == 1
    problems(ann.post("/api/v1/deploy", json=changed()), 409)
    assert "$.source" in problems(ann.post("/api/v1/deploy", json={**event, "source": ""}), 400)
    assert f"{PATH}.memory" in problems(ann.post("/api/v1/deploy", json={**event, "data": changed(memory="x")}), 400)


def test_why_a_deployment_waits_is_in_the_answer(ann: Client) -> None:
    found = ok(ann.post("/api/v1/deploy", json=SEED))
    assert "runsc" in found["details"]["clientsrvr.test.nginx.test"]


MANY = changed()
MANY["applications"][0]["microservices"] = [bare(f"n{number}") for number in range(1000)]
MISSING = changed()
del MISSING["applications"][0]["microservices"][0]["code"]

BAD = {
    "not JSON": (b'{"sla_version": ', "$", "not JSON"),
    "nothing": (b"", "$", "not JSON"),
    "not text": (b"\xff\xfe", "$", "not JSON"),
    "deep": (b"[" * 100_000, "$", ""),
    "a list": (b"[]", "$", "expected an object"),
    "wrong type": (changed(memory="much"), f"{PATH}.memory", "expected a whole number"),
    "missing field": (MISSING, f"{PATH}.code", ""),
    "unknown field": (changed(bandwith_out=1), f"{PATH}.bandwith_out", "bandwidth_out"),
    "bad name": (changed(microservice_name="a_b"), f"{PATH}.microservice_name", "letters and digits"),
    "unknown constraint": (changed(constraints=[{"type": "moon"}]), f"{PATH}.constraints[0]", ""),
    "1,000 microservices": (MANY, "$.applications[0].microservices", "100"),
    "retired runtime": (changed(virtualization="runv"), f"{PATH}.virtualization", "kata"),
}


@pytest.mark.parametrize("path", ["/api/application", "/api/v1/deploy"])
@pytest.mark.parametrize("name", BAD)
def test_bad_documents_are_explained_and_change_nothing(core: FakeCore, ann: Client, name: str, path: str) -> None:
    body, where, words = BAD[name]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = problems(ann.post(path, content=raw), 400)
    at = next((one for one in found if one.startswith(where)), None)
    assert at is not None, found
    assert words in found[at]
    assert core.state.applications == core.state.microservices == core.state.answered == {}


@pytest.mark.parametrize("path", ["/api/application", "/api/v1/deploy", "/api/service"])
def test_a_document_of_a_megabyte_is_too_large(core: FakeCore, ann: Client, path: str) -> None:
    found = problems(ann.post(path, content=json.dumps(changed(code="x" * 1_000_000)).encode()), 413)
    assert "262,144" in found["$"]
    assert core.state.applications == {}


def test_every_mistake_is_told_at_once(ann: Client) -> None:
    found = problems(ann.post("/api/application", json=changed(memory=-1, vcpus="x", port="a", colour=1)), 400)
    assert {f"{PATH}.{field}" for field in ("memory", "vcpus", "port", "colour")} <= set(found)


def test_a_large_document_is_read_like_a_small_one(ann: Client) -> None:
    document = changed(environment=[f"K{number}={'v' * 200}" for number in range(500)])
    assert LARGE_BYTES < len(json.dumps(document)) < MAX_MESSAGE_BYTES
    made(ann, environment=document["applications"][0]["microservices"][0]["environment"])
    document["applications"][0]["microservices"][0]["memory"] = "x"
    assert f"{PATH}.memory" in problems(ann.post("/api/application", json=document), 400)


def test_only_a_large_document_is_read_in_a_thread(
    core: FakeCore, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []
    real = sla.parse

    def parse(raw: bytes, *, default_replicas: int) -> sla.Parsed:
        seen.append((len(raw), runs_on_loop()))
        return real(raw, default_replicas=default_replicas)

    monkeypatch.setattr(sla, "parse", parse)
    made(ann)
    raw = json.dumps(changed(cmd=["x" * LARGE_BYTES])).encode()
    problems(ann.post("/api/application", content=raw), 409)
    problems(ann.post("/api/v1/deploy", content=raw), 409)
    assert [(size > LARGE_BYTES, on_loop) for size, on_loop in seen] == [(False, True), (True, False), (True, False)]


def test_others_cannot_see_or_touch_an_application(core: FakeCore, ann: Client, bob: Client, admin: Client) -> None:
    application, service = made(ann, virtualization="runc", replicas=1)
    before = (dict(core.state.applications), dict(core.state.microservices), dict(core.state.instances))
    assert (
        ok(bob.get("/api/applications")) == ok(bob.get("/api/services")) == ok(bob.get("/api/applications/ann")) == []
    )
    assert ok(bob.get("/api/v1/instances")) == []
    names = {application, "clientsrvr.test"}
    for name in names:
        problems(bob.get(f"/api/application/{name}"), 404)
        problems(bob.put(f"/api/application/{name}", json={"application_desc": "x"}), 404)
        problems(bob.delete(f"/api/application/{name}"), 404)
        problems(bob.get(f"/api/services/{name}"), 404)
        problems(bob.get("/api/v1/instances", params={"application": name}), 404)
        problems(bob.post("/api/service", json={"applicationID": name, "microservices": [bare()]}), 404)
    for name in (service, "clientsrvr.test.nginx.test"):
        problems(bob.get(f"/api/service/{name}"), 404)
        problems(bob.put(f"/api/service/{name}", json=bare("nginx")), 404)
        problems(bob.delete(f"/api/service/{name}"), 404)
        problems(bob.post(f"/api/service/{name}/instance"), 404)
        problems(bob.delete(f"/api/service/{name}/instance/0"), 404)
        problems(bob.delete(f"/api/service/{name}/instance/-1"), 404)
        problems(bob.put(f"/api/v1/services/{name}/replicas", json={"replicas": 5}), 404)
        problems(bob.get(f"/api/v1/instances/{name}/0/logs"), 404)
        problems(bob.get("/api/v1/instances", params={"microservice": name}), 404)
    assert before == (core.state.applications, core.state.microservices, core.state.instances)
    assert ok(admin.get(f"/api/application/{application}"))["owner"] == "ann"
    ok(admin.post(f"/api/service/{service}/instance"))
